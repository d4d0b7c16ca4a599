//! One node at run time: its gate, its lane, its exclusive connections, its dials.

mod address;
pub(crate) mod answer;
mod dialling;
mod errors;
#[cfg(test)]
mod fuzz;
pub(crate) mod gate;
pub(crate) mod identity;
pub(crate) mod lane;
mod observe;
mod open;
pub(crate) mod pool;
pub(crate) mod probe;
pub(crate) mod role;
pub(crate) mod session;
pub(crate) mod stand_in;
#[cfg(test)]
mod tests;
mod unheard;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::time::timeout;

use self::identity::{Identity, Inquiry};
use self::open::Open;
use self::unheard::Troubles;
pub(crate) use self::unheard::{Trouble, Unheard};
use crate::backend::gate::Gate;
use crate::backend::lane::{Cause, Lane, outcome};
use crate::backend::pool::Pool;
use crate::clock;
use crate::connection::decode::DecodeLimits;
use crate::connection::dial::Dialer;
use crate::connection::link::{Fault, Link, LinkError};
use crate::connection::meter::Meter;
use crate::connection::queue::Bounds;
use crate::connection::reply::Reply;
use crate::connection::request::LaneRequest;
use crate::connection::stats::NodeStats;
use crate::error::Error;
use crate::health::verdict::{ConnectionAction, Observation, Verdict};
use crate::node::{Node, NodeId};

/// How long a failed call waits for the dial that tells whether its node is gone, so that the
/// caller's next try already meets the stand-in.
const VERIFY_WAIT: Duration = Duration::from_millis(5);
/// How often a command whose connection died before it was sent gets a new one.
pub(crate) const RESENDS: usize = 2;

/// What a node reports to whoever keeps the health of all nodes.
pub(crate) trait Observer: Send + Sync {
    /// A dial or command told something about the node.
    fn judged(&self, backend: &Arc<Backend>, epoch: u64, verdict: Verdict);
    /// No answer came in time: the watchdog knows how much of that time was this process's own.
    fn timed_out(&self, backend: &Arc<Backend>, epoch: u64, what: Observation);
    /// A command succeeded while somebody wants to know; see [`Backend::watch`].
    fn succeeded(&self, backend: &Arc<Backend>, epoch: u64);
    /// A dial begins, or the background tasks were not heard of for long: they are needed from now on.
    fn dialling(&self);
    /// The server behind the node's lane said who it is.
    fn identified(&self, backend: &Arc<Backend>, identity: &Identity);
    /// Whether another node serves, for those whom this one keeps waiting.
    fn has_others(&self) -> bool;
    /// The node's name leads elsewhere now; its connections were taken out of use.
    fn moved(&self, backend: &Arc<Backend>);
    /// When the node's next probe is due, while it is out.
    fn retry_after(&self, backend: &Backend) -> Option<Duration>;
}

/// Limits that all nodes of a cluster share.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) response_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    /// One call, over all candidates, dials and retries.
    pub(crate) deadline: Duration,
    /// The longest time to live of what a stand-in is given; `None`: as the writer says.
    pub(crate) stand_in_ttl: Option<Duration>,
    pub(crate) pool_size: usize,
    pub(crate) pool_wait: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_lifetime: Duration,
    /// What one call, or one message of a subscription, may bring, in bytes.
    pub(crate) max_reply: u64,
    /// How deep it may be nested, and how long its lines may be.
    pub(crate) max_nesting: usize,
    pub(crate) max_line: usize,
    /// How much may wait to be written on one connection.
    pub(crate) bounds: Bounds,
    /// What `CLIENT LIST` calls our connections.
    pub(crate) client_name: Arc<str>,
}

impl Limits {
    /// What is read of one reply.
    fn of_replies(&self) -> DecodeLimits {
        DecodeLimits {
            nesting: self.max_nesting,
            line: self.max_line,
            ..DecodeLimits::default()
        }
        .reply(self.max_reply)
    }
}

/// A node that can be talked to.
pub(crate) struct Backend {
    node: Node,
    key: u64,
    gate: Gate,
    /// Whether successes matter to the node's health now: [`Self::WATCH_NOTHING`], ...
    watch: AtomicU8,
    /// Successes since somebody took the count, while they are counted.
    counted: AtomicU64,
    lane: Lane,
    pool: OnceLock<Pool>,
    dials: Semaphore,
    dialer: Dialer,
    limits: Arc<Limits>,
    stats: Arc<NodeStats>,
    meter: Meter,
    inquiry: Inquiry,
    troubles: Troubles,
    observer: Arc<dyn Observer>,
    open: Open,
    /// Somebody looked at what the server is set to do.
    looked_at: AtomicBool,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend")
            .field("node", &self.node)
            .field("gate", &self.gate)
            .finish_non_exhaustive()
    }
}

impl Backend {
    /// Successes cost nothing.
    pub(crate) const WATCH_NOTHING: u8 = 0;
    /// Successes are counted: they weigh in the share of bad results.
    pub(crate) const WATCH_COUNT: u8 = 1;
    /// Each success is reported: it clears strikes or ends probation.
    pub(crate) const WATCH_REPORT: u8 = 2;

    pub(crate) fn new(
        node: Node,
        key: u64,
        dialer: Dialer,
        limits: Arc<Limits>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self {
            key,
            gate: Gate::open(),
            watch: AtomicU8::new(Self::WATCH_NOTHING),
            counted: AtomicU64::new(0),
            lane: Lane::new(clock::now()),
            pool: OnceLock::new(),
            dials: Semaphore::new(dialling::DIALS as usize),
            limits,
            stats: Arc::clone(&dialer.stats),
            meter: Meter::new(node.id_ref()),
            inquiry: Inquiry::default(),
            troubles: Troubles::default(),
            observer,
            open: Open::default(),
            looked_at: AtomicBool::new(false),
            dialer,
            node,
        }
    }

    /// Whether this is the first who looks at what the server is set to do.
    pub(crate) fn is_first_look(&self) -> bool {
        // Most calls only read.
        !self.looked_at.load(Relaxed) && !self.looked_at.swap(true, Relaxed)
    }

    pub(crate) fn id(&self) -> &NodeId {
        self.node.id_ref()
    }

    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    /// What tells this run-time node from any other, also of the same name.
    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(crate) fn lane(&self) -> &Lane {
        &self.lane
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn stats(&self) -> &NodeStats {
        &self.stats
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    pub(crate) fn inquiry(&self) -> &Inquiry {
        &self.inquiry
    }

    fn troubles(&self) -> &Troubles {
        &self.troubles
    }

    pub(crate) fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    pub(crate) fn watch(&self) -> &AtomicU8 {
        &self.watch
    }

    /// Whether anybody has dialled the node yet.
    pub(crate) fn is_used(&self) -> bool {
        self.stats.dials.load(Relaxed) > 0
    }

    /// Commands that wait for their reply, and exclusive connections on loan.
    pub(crate) fn in_flight(&self) -> u64 {
        let on_lane = self.lane.get().map_or(0, |link| link.wire().in_flight());
        let on_loan = self.pool.get().map_or(0, |pool| {
            let (open, idle) = pool.sizes();
            (open - idle) as u64
        });
        on_lane + on_loan
    }

    /// The successes counted since the last call.
    pub(crate) fn take_counted(&self) -> u64 {
        self.counted.swap(0, Relaxed)
    }

    pub(crate) fn pool(self: &Arc<Self>) -> &Pool {
        self.pool.get_or_init(|| Pool::new(self))
    }

    pub(crate) fn pool_if_used(&self) -> Option<&Pool> {
        self.pool.get()
    }

    /// A connection that had been idle gave no answer: others that are idle as well get no caller any more.
    pub(crate) fn suspect_idle(&self, since: Instant) {
        if let Some(pool) = self.pool.get() {
            pool.suspect(since);
        }
    }

    /// The node went out: nothing idle survives, nothing new is put on what is in use.
    pub(crate) fn shut(&self) {
        self.lane.shut();
        if let Some(pool) = self.pool.get() {
            pool.discard_idle();
        }
    }

    /// Puts the request on the lane and waits for the reply.
    ///
    /// A command whose connection died before it was written gets another connection; any other failure is
    /// returned with what is known.
    ///
    /// # Cancellation
    ///
    /// Safe. What was not written yet never is; what was may still be executed.
    pub(crate) async fn call(
        self: &Arc<Self>,
        request: LaneRequest<'_>,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        self.call_from(clock::now(), request, deadline).await
    }

    /// [`call`](Self::call) by a caller who has just looked at the clock: on the way of a command that
    /// is answered at once, reading it again and again was the largest cost of our own.
    pub(crate) async fn call_from(
        self: &Arc<Self>,
        began: Instant,
        request: LaneRequest<'_>,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        let tasks = &self.dialer.tasks;
        if !tasks.has_runtime() {
            return Err(self.no_runtime());
        }
        if !tasks.is_placed() {
            return self.call_inside(began, request, deadline).await;
        }
        // Boxed, as few need it: else every call's future has room for it twice, and is moved once more.
        let inside = Box::pin(self.call_inside(began, request, deadline));
        tasks.enter(inside).await
    }

    async fn call_inside(
        self: &Arc<Self>,
        began: Instant,
        request: LaneRequest<'_>,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        if self.dialer.tasks.pulse().is_overdue(began) {
            self.observer.dialling();
        }
        let mut now = began;
        let mut resends = 0;
        loop {
            let pass = self.gate.read();
            let may_pass = pass.admits() || (request.settles() && pass.settles());
            if !may_pass {
                // A caller that tries again in a loop must not keep everybody else from running.
                tokio::task::yield_now().await;
                return Err(self.refuse(pass.is_closed()));
            }
            let link = match self.lane.get() {
                Some(link) => link,
                None => {
                    // Boxed, as few need it: every call's future has room for it else, and is moved with it.
                    let link = Box::pin(self.new_lane(deadline)).await?;
                    now = clock::now();
                    link
                }
            };
            let left = deadline.saturating_duration_since(now);
            if left.is_zero() {
                return Err(self.too_late());
            }
            let limit = self.limits.response_timeout.min(left);
            let sent_at = now;
            self.stats.sending();
            match link.call_from(now, request.request(), Some(limit)).await {
                Ok(reply) => {
                    let action = self.answered(&reply, pass.epoch(), sent_at, Some(began));
                    if action == ConnectionAction::Discard {
                        // It was logged in, and is not any more: a dial tells whether a new one may be.
                        self.lane.retire(&link);
                        let _ = self.dial_lane(Cause::LoggedOut);
                    }
                    return Ok(reply);
                }
                Err(e) => {
                    let epoch = pass.epoch();
                    // What the caller's own deadline cut short says nothing about the node.
                    let cut_short = limit < self.limits.response_timeout;
                    if cut_short && e.fault == Fault::Timeout {
                        return Err(self.call_error(e, limit));
                    }
                    let failed = self.failed(&link, &e, epoch, sent_at, deadline);
                    let again = Box::pin(failed).await;
                    if again && resends < RESENDS {
                        resends += 1;
                        now = clock::now();
                        continue;
                    }
                    return Err(self.call_error(e, limit));
                }
            }
        }
    }

    /// A call failed on `link`: takes it out of use, reports, starts the dial that tells more.
    /// Returns whether the command may be put on another connection of this node.
    async fn failed(
        self: &Arc<Self>,
        link: &Arc<Link>,
        e: &LinkError,
        epoch: u64,
        sent_at: Instant,
        deadline: Instant,
    ) -> bool {
        let seen = self.call_observation(e, sent_at);
        if e.fault == Fault::Timeout && e.was_idle {
            self.suspect_idle(sent_at);
        }
        match e.fault {
            Fault::Misuse | Fault::Saturated => return false,
            Fault::Timeout => {
                self.gives_no_answer(link, epoch, seen);
                return false;
            }
            Fault::Lost | Fault::Garbage | Fault::Stray | Fault::Flood => {}
        }
        self.lane.retire(link);
        if let Some(pool) = self.pool.get() {
            pool.discard_dead();
        }
        self.report(epoch, seen);
        if e.unsent {
            // Who may pass is looked at again, with the next try.
            return self.gate.read().settles();
        }
        if let Ok(dial) = self.dial_lane(Cause::NoLane) {
            let limit = VERIFY_WAIT.min(deadline.saturating_duration_since(clock::now()));
            // Only its effect on the node's state matters here, and that it had its time.
            let _ = timeout(limit, outcome(dial)).await;
        }
        false
    }
}
