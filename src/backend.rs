//! One node at run time: its gate, its lane, its exclusive connections, its dials.

mod address;
pub(crate) mod answer;
pub(crate) mod aside;
mod calling;
mod dialling;
mod errors;
#[cfg(test)]
mod fuzz;
pub(crate) mod gate;
pub(crate) mod identity;
pub(crate) mod journal;
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
#[cfg(feature = "near")]
pub(crate) mod tracking;
mod unheard;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

pub(crate) use self::calling::Calling;
use self::identity::{Identity, Inquiry};
use self::open::Open;
use self::unheard::Troubles;
pub(crate) use self::unheard::{Trouble, Unheard};
use crate::backend::gate::Gate;
use crate::backend::lane::Lane;
use crate::backend::pool::Pool;
use crate::backend::role::Role;
use crate::clock;
use crate::connection::decode::DecodeLimits;
use crate::connection::dial::Dialer;
use crate::connection::meter::Meter;
use crate::connection::queue::Bounds;
use crate::connection::reply::Reply;
use crate::connection::request::LaneRequest;
use crate::connection::stats::NodeStats;
use crate::error::Error;
use crate::health::verdict::{Observation, Verdict};
use crate::node::{Node, NodeId};

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
    /// The call with what it owes, when the node is given it in place of others.
    fn noted<'a>(
        &self,
        _backend: &'a Arc<Backend>,
        _began: Instant,
        _request: LaneRequest<'a>,
        _role: Role<'a>,
        _deadline: Instant,
    ) -> Option<BoxFuture<'a, Result<Reply, Error>>> {
        None
    }
    /// Keys that were written over an exclusive connection are owed to others, if they should have had them.
    fn sent_aside(&self, _backend: &Arc<Backend>, _keys: &[Vec<u8>]) {}
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
    /// Somebody has notes taken of what nodes that are out should have had.
    pub(crate) is_noting: Arc<AtomicBool>,
    /// What `CLIENT LIST` calls our connections.
    pub(crate) client_name: Arc<str>,
    /// The cluster's name; empty for none.
    pub(crate) cluster: Arc<str>,
}

impl Limits {
    /// The cluster's name, as a field of a log line: none where there is none.
    pub(crate) fn named(&self) -> Option<&str> {
        Some(&*self.cluster).filter(|name| !name.is_empty())
    }

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
    #[cfg(feature = "near")]
    near: tracking::NearSide,
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
            meter: Meter::new(node.id_ref(), &limits.cluster),
            limits,
            stats: Arc::clone(&dialer.stats),
            inquiry: Inquiry::default(),
            troubles: Troubles::default(),
            observer,
            open: Open::default(),
            #[cfg(feature = "near")]
            near: tracking::NearSide::default(),
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
        #[cfg(feature = "near")]
        self.near.shut();
    }
}
