//! The exclusive connections of a node: a deadpool pool that checks a connection by its flags alone.
//!
//! No checkout ever costs a round trip, and none can hang on a silent server: a connection says itself
//! that it is dead, poisoned, tainted or stale, and is then replaced.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use deadpool::Runtime;
use deadpool::managed::{self, Metrics, QueueMode, RecycleError, RecycleResult, Timeouts};

use crate::backend::Backend;
use crate::backend::lane::NoLane;
use crate::backend::session::SessionState;
use crate::clock::{self, micros, now_micros};
use crate::connection::dial::DialError;
use crate::connection::link::Link;

/// deadpool cancels a dial that our own time-out should have ended; the margin lets ours win.
const CREATE_MARGIN: Duration = Duration::from_millis(50);

/// A connection that one user has for itself.
#[derive(Debug)]
pub(crate) struct Exclusive {
    pub(crate) link: Arc<Link>,
    /// What its users have left on it.
    pub(crate) left: SessionState,
    lifetime: Duration,
    last_used: Instant,
}

impl Exclusive {
    pub(super) fn new(link: Link, lifetime: Duration) -> Self {
        Self {
            link: Arc::new(link),
            left: SessionState::default(),
            lifetime,
            last_used: clock::now(),
        }
    }

    /// Whether the next user would find the connection as a fresh one.
    pub(crate) fn is_clean(&self) -> bool {
        self.left.is_clean() && self.link.wire().is_clean()
    }

    pub(crate) fn touch(&mut self) {
        self.last_used = clock::now();
    }
}

pub(crate) struct Manager {
    backend: Weak<Backend>,
    /// Connections last used before this moment (see [`now_micros`]) are not trusted any more.
    suspect_before: AtomicU64,
    /// When an idle connection was asked for a sign of life last.
    asked_at: AtomicU64,
}

impl managed::Manager for Manager {
    type Type = Exclusive;
    type Error = NoLane;

    async fn create(&self) -> Result<Exclusive, NoLane> {
        let backend = self.backend.upgrade().ok_or(NoLane::NodeOut)?;
        Exclusive::dial(&backend).await
    }

    async fn recycle(&self, exclusive: &mut Exclusive, _: &Metrics) -> RecycleResult<NoLane> {
        let fit = self.backend.upgrade().is_some_and(|backend| {
            exclusive.link.wire().is_usable()
                && exclusive.is_clean()
                && exclusive.link.epoch() == backend.gate().read().epoch()
                && exclusive.link.moves() == backend.moves()
                && exclusive.link.age() < exclusive.lifetime
                && micros(exclusive.last_used) >= self.suspect_before.load(Relaxed)
        });
        if fit {
            Ok(())
        } else {
            Err(RecycleError::message("not fit for another user"))
        }
    }
}

/// The pool of one node.
pub(crate) struct Pool(managed::Pool<Manager>);

/// An exclusive connection on loan; it goes back when dropped, and is closed then and there if anything is
/// left on it: a command that blocks at the server would take what nobody waits for any more.
pub(crate) struct Loan(managed::Object<Manager>);

impl Deref for Loan {
    type Target = Exclusive;

    fn deref(&self) -> &Exclusive {
        &self.0
    }
}

impl DerefMut for Loan {
    fn deref_mut(&mut self) -> &mut Exclusive {
        &mut self.0
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if !self.is_clean() {
            self.link.close();
        }
    }
}

/// Why there is no exclusive connection.
pub(crate) enum NoLoan {
    /// All are taken, for longer than the caller may wait.
    Saturated,
    Closed,
    Lane(NoLane),
}

impl Pool {
    pub(crate) fn new(backend: &Arc<Backend>) -> Self {
        let limits = backend.limits();
        let manager = Manager {
            backend: Arc::downgrade(backend),
            suspect_before: AtomicU64::new(0),
            asked_at: AtomicU64::new(now_micros()),
        };
        let builder = managed::Pool::builder(manager)
            .max_size(limits.pool_size)
            // Last in, first out: the ones not needed stay idle and are closed in time.
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts {
                wait: Some(limits.pool_wait),
                create: Some(limits.connect_timeout + CREATE_MARGIN),
                recycle: None,
            });
        match builder.build() {
            Ok(pool) => Self(pool),
            // Only said without a runtime, which is given above.
            Err(e) => unreachable!("deadpool refuses its own settings: {e}"),
        }
    }

    pub(crate) async fn get(&self) -> Result<Loan, NoLoan> {
        use managed::{PoolError, TimeoutType};
        self.0.get().await.map(Loan).map_err(|e| match e {
            PoolError::Timeout(TimeoutType::Wait) => NoLoan::Saturated,
            PoolError::Backend(why) => NoLoan::Lane(why),
            PoolError::Timeout(_) => NoLoan::Lane(NoLane::Dial(DialError::timed_out(
                "no connection in the time for one",
            ))),
            PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
                NoLoan::Closed
            }
        })
    }

    /// The connection that was idle for longest, when it is time to ask one: all have been idle for `patience`
    /// before they are asked, and one is asked in that time. It stays in the pool meanwhile, where the last one
    /// to be given back is the first to go out again, so that asking keeps none from being closed as idle.
    pub(crate) fn to_be_asked(&self, patience: Duration) -> Option<Arc<Link>> {
        let (now, patience) = (now_micros(), patience.as_micros() as u64);
        let asked_at = &self.0.manager().asked_at;
        let before = asked_at.load(Relaxed);
        if now.saturating_sub(before) < patience {
            return None;
        }
        let mut longest: Option<(u64, Arc<Link>)> = None;
        self.keep_idle(|e| {
            let idle = e.link.wire().idle_micros(now);
            let is_longer = longest.as_ref().is_none_or(|(other, _)| idle > *other);
            if idle >= patience && is_longer && e.link.wire().is_usable() {
                longest = Some((idle, Arc::clone(&e.link)));
            }
            true
        });
        let (_, link) = longest?;
        let mine = asked_at.compare_exchange(before, now, Relaxed, Relaxed);
        mine.is_ok().then_some(link)
    }

    /// Whether any connection is established.
    pub(crate) fn has_live(&self) -> bool {
        self.0.status().size > 0
    }

    /// Connections open now, and those of them that nobody uses.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        let status = self.0.status();
        (status.size, status.available)
    }

    /// Closes every idle connection.
    pub(crate) fn discard_idle(&self) {
        self.keep_idle(|_| false);
    }

    /// Closes the idle connections from before the node's name led elsewhere, which it did `moves` times.
    pub(crate) fn discard_strays(&self, moves: u64) {
        self.keep_idle(|e| e.link.moves() == moves);
    }

    /// Closes the idle connections that know that they are dead.
    pub(crate) fn discard_dead(&self) {
        self.keep_idle(|e| e.link.wire().is_usable());
    }

    /// Closes the idle connections that are dead, were not used for `idle`, or are too old.
    pub(crate) fn sweep(&self, idle: Duration) {
        self.keep_idle(|e| {
            e.link.wire().is_usable()
                && clock::since(e.last_used) < idle
                && e.link.age() < e.lifetime
        });
    }

    /// From now on, connections last used before `since` are replaced at their next checkout: what was idle for
    /// as long as one that gave no answer is no better.
    pub(crate) fn suspect(&self, since: Instant) {
        let suspects = &self.0.manager().suspect_before;
        suspects.fetch_max(micros(since), Relaxed);
    }

    pub(crate) fn close(&self) {
        self.0.close();
        self.discard_idle();
    }

    fn keep_idle(&self, mut keep: impl FnMut(&Exclusive) -> bool) {
        // The removed ones are dropped here, after deadpool has let go of its lock.
        drop(self.0.retain(|e, _| keep(e)).removed);
    }
}
