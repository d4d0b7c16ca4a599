//! The exclusive connections of a node: a deadpool pool that checks a connection by its flags alone.
//!
//! No checkout ever costs a round trip, and none can hang on a silent server: a connection says itself
//! that it is dead, poisoned, tainted or stale, and is then replaced.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use deadpool::Runtime;
use deadpool::managed::{self, Metrics, QueueMode, RecycleError, RecycleResult, Timeouts};

use crate::backend::Backend;
use crate::backend::lane::NoLane;
use crate::backend::leftover::Leftover;
use crate::clock::{micros, now_micros};
use crate::connection::dial::DialError;
use crate::connection::link::Link;

/// deadpool cancels a dial that our own time-out should have ended; the margin lets ours win.
const CREATE_MARGIN: Duration = Duration::from_millis(50);

/// A connection that one user has for itself.
#[derive(Debug)]
pub(crate) struct Exclusive {
    pub(crate) link: Link,
    /// What its users have left on it.
    pub(crate) left: Leftover,
    lifetime: Duration,
    last_used: Instant,
}

impl Exclusive {
    pub(super) fn new(link: Link, lifetime: Duration) -> Self {
        Self {
            link,
            left: Leftover::default(),
            lifetime,
            last_used: Instant::now(),
        }
    }

    /// Whether the next user would find the connection as a fresh one.
    pub(crate) fn is_clean(&self) -> bool {
        self.left.is_clean() && self.link.wire().is_clean()
    }

    pub(crate) fn touch(&mut self) {
        self.last_used = Instant::now();
    }
}

pub(crate) struct Manager {
    backend: Weak<Backend>,
    /// Connections last used before this moment (see [`now_micros`]) are not trusted any more.
    suspect_before: AtomicU64,
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

/// An exclusive connection on loan; it goes back, or is closed, when dropped.
pub(crate) type Loan = managed::Object<Manager>;

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
        self.0.get().await.map_err(|e| match e {
            PoolError::Timeout(TimeoutType::Wait) => NoLoan::Saturated,
            PoolError::Backend(why) => NoLoan::Lane(why),
            PoolError::Timeout(_) => NoLoan::Lane(NoLane::Dial(DialError::timed_out())),
            PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
                NoLoan::Closed
            }
        })
    }

    /// An idle connection, if there is one; none is dialled, nobody is waited for.
    pub(crate) async fn borrow_idle(&self) -> Option<Loan> {
        if self.0.status().available == 0 {
            return None;
        }
        let at_once = Some(Duration::ZERO);
        let timeouts = Timeouts {
            wait: at_once,
            create: at_once,
            recycle: None,
        };
        self.0.timeout_get(&timeouts).await.ok()
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

    /// Closes the idle connections that know that they are dead.
    pub(crate) fn discard_dead(&self) {
        self.keep_idle(|e| e.link.wire().is_usable());
    }

    /// Closes the idle connections that are dead, were not used for `idle`, or are too old.
    pub(crate) fn sweep(&self, idle: Duration) {
        self.keep_idle(|e| {
            e.link.wire().is_usable() && e.last_used.elapsed() < idle && e.link.age() < e.lifetime
        });
    }

    /// From now on, connections last used before this moment are replaced at their next checkout.
    pub(crate) fn suspect(&self) {
        self.0.manager().suspect_before.store(now_micros(), Relaxed);
    }

    pub(crate) fn close(&self) {
        self.0.close();
        self.discard_idle();
    }

    fn keep_idle(&self, keep: impl Fn(&Exclusive) -> bool) {
        // The removed ones are dropped here, after deadpool has let go of its lock.
        drop(self.0.retain(|e, _| keep(e)).removed);
    }
}
