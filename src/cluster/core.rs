//! The heart of a cluster: the snapshot that calls read, and the state that publishes the next one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, broadcast, watch};

use crate::backend::probe::Probe;
use crate::backend::{Backend, Limits, Observer};
use crate::budget::hedge::HedgeBudget;
use crate::budget::repair::RepairBudget;
use crate::budget::retry::RetryBudget;
use crate::clock::now_micros;
use crate::cluster::events::{self, Event};
use crate::cluster::monitor;
use crate::cluster::options::Options;
use crate::cluster::scripts::Scripts;
use crate::error::{ClusterEmptyError, Reasons};
use crate::health::slowness::Slowness;
use crate::health::verdict::{Observation, Reason, Seen, Verdict, judge};
use crate::health::watchdog::{GRACE, Watchdog};
use crate::health::{Health, NodeState, Watch};
use crate::node::Node;
use crate::placement::{Live, Table};
use crate::tasks::Tasks;
use crate::topology::Topology;

/// Callers that find no node pull the next probe forward, at most this often.
const DEMAND_EVERY: Duration = Duration::from_millis(5);

pub(crate) type Snapshot = Topology<Arc<Backend>>;

/// Shared by all handles of one cluster and by its tasks.
pub(crate) struct Core {
    pub(crate) snapshot: ArcSwap<Snapshot>,
    /// Guards who is healthy; held for microseconds, never across an await.
    state: Mutex<State>,
    /// Serialises changes of the set of nodes, which take longer than `state` may be held.
    pub(crate) changing: Mutex<()>,
    /// Wakes the monitor when something is due earlier than it thinks.
    pub(crate) wake: Notify,
    /// Counts published snapshots, for those who wait for a node.
    pub(crate) published: watch::Sender<u64>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) options: Options,
    pub(crate) limits: Arc<Limits>,
    pub(crate) lookups: Arc<Semaphore>,
    pub(crate) probe: Arc<dyn Probe>,
    /// Guards the budget for commands that are sent again though they may have been executed.
    pub(crate) budget: Mutex<RetryBudget>,
    /// Guards the budget for reads that ask a second replica.
    pub(crate) hedges: Mutex<HedgeBudget>,
    /// Guards the budget for values that are copied to a node that lacks them.
    pub(crate) repairs: Mutex<RepairBudget>,
    /// Scripts for nodes that do not know them.
    pub(crate) scripts: Scripts,
    /// Where `clients()` stands.
    pub(crate) cursor: AtomicUsize,
    monitored: AtomicBool,
    demanded_at: AtomicU64,
}

/// What is known of the nodes' health, and what it waits for.
pub(crate) struct State {
    pub(crate) health: Health<u64>,
    pub(crate) watchdog: Watchdog,
    pub(crate) slowness: Slowness<u64>,
    /// The nodes as configured, in the order of the snapshot's nodes.
    pub(crate) specs: Vec<Node>,
    /// Time-outs whose verdict waits for the watchdog, oldest first.
    late: VecDeque<Late>,
    pub(crate) out_since: BTreeMap<u64, Instant>,
    /// Why each node is out, as of a published snapshot: a caller that asks over and over must not
    /// pay for a list of a thousand nodes each time.
    empty: Option<(u64, Reasons)>,
    next_key: u64,
}

struct Late {
    due: Instant,
    at: Instant,
    backend: Weak<Backend>,
    epoch: u64,
    what: Observation,
}

/// What has to be done once the state is unlocked: closing sockets and telling others take time.
#[derive(Default)]
pub(crate) struct Effects {
    shut: Vec<Arc<Backend>>,
    events: Vec<Event>,
}

impl Core {
    pub(crate) fn new(
        weak: &Weak<Self>,
        nodes: Vec<Node>,
        table: Table,
        options: Options,
        tasks: Arc<Tasks>,
        probe: Arc<dyn Probe>,
        mut backend: impl FnMut(&Weak<Self>, &Node, u64, &Arc<Semaphore>, &Arc<Limits>) -> Arc<Backend>,
    ) -> Self {
        let now = Instant::now();
        let limits = Arc::new(options.limits.clone());
        let lookups = Arc::new(Semaphore::new(crate::connection::resolve::LOOKUPS));
        let mut health = Health::new(options.penalty.clone(), limits.response_timeout);
        let backends: Arc<[_]> = nodes
            .iter()
            .zip(0u64..)
            .map(|(node, key)| {
                health.insert(key, now);
                backend(weak, node, key, &lookups, &limits)
            })
            .collect();
        let next_key = backends.len() as u64;
        for backend in backends.iter() {
            backend.meter().state(NodeState::Up);
        }
        Self {
            snapshot: ArcSwap::from_pointee(Topology::new(backends, Arc::new(table))),
            state: Mutex::new(State {
                health,
                watchdog: Watchdog::new(now),
                slowness: Slowness::new(),
                empty: None,
                specs: nodes,
                late: VecDeque::new(),
                out_since: BTreeMap::new(),
                next_key,
            }),
            changing: Mutex::new(()),
            wake: Notify::new(),
            published: watch::Sender::new(0),
            events: broadcast::Sender::new(events::BACKLOG),
            tasks,
            hedges: Mutex::new(HedgeBudget::new(options.hedge_budget)),
            repairs: Mutex::new(RepairBudget::new(now)),
            options,
            limits,
            lookups,
            probe,
            budget: Mutex::new(RetryBudget::new(now)),
            scripts: Scripts::default(),
            cursor: AtomicUsize::new(0),
            monitored: AtomicBool::new(false),
            demanded_at: AtomicU64::new(0),
        }
    }

    /// Runs `change` with the state locked, then does what it left to do.
    pub(crate) fn locked<R>(&self, change: impl FnOnce(&mut State, &mut Effects) -> R) -> R {
        let mut effects = Effects::default();
        let result = change(&mut self.state.lock(), &mut effects);
        for backend in effects.shut {
            backend.shut();
            monitor::refresh_address(self, &backend, Duration::ZERO);
        }
        for event in effects.events {
            // No receiver is no error.
            let _ = self.events.send(event);
        }
        result
    }

    /// Applies a verdict; publishes a snapshot when it changes who admits.
    pub(crate) fn apply(&self, backend: &Arc<Backend>, epoch: u64, verdict: Verdict, now: Instant) {
        self.locked(|state, effects| {
            let counted = backend.take_counted();
            if counted > 0
                && let Some(t) = state
                    .health
                    .observe_successes(backend.key(), epoch, counted, now)
            {
                self.publish(state, effects, t, now);
            }
            let transition =
                state
                    .health
                    .observe(backend.key(), epoch, verdict, now, fastrand::f64());
            if let Some(t) = transition {
                self.publish(state, effects, t, now);
            }
            set_watch(state, backend, now);
        });
        self.wake.notify_one();
    }

    /// Judges a time-out, at once or after the watchdog had time to prove a stall of our own.
    fn timed_out(&self, backend: &Arc<Backend>, epoch: u64, what: Observation, now: Instant) {
        let stalled = {
            let mut state = self.state.lock();
            if state.watchdog.is_on_time(now) {
                Some(state.watchdog.stalled_between(what.sent_at, now))
            } else {
                let backend = Arc::downgrade(backend);
                let due = now + GRACE;
                state.late.push_back(Late {
                    due,
                    at: now,
                    backend,
                    epoch,
                    what,
                });
                None
            }
        };
        match stalled {
            Some(stalled) => {
                let what = Observation { stalled, ..what };
                self.apply(backend, epoch, judge(&what).verdict, now);
            }
            None => self.wake.notify_one(),
        }
    }

    /// Applies the time-outs whose wait for the watchdog is over; says when the next one is due.
    pub(crate) fn apply_late(&self, now: Instant) -> Option<Instant> {
        loop {
            let (late, stalled) = {
                let mut state = self.state.lock();
                let due = state.late.front()?.due;
                if due > now {
                    return Some(due);
                }
                let late = state.late.pop_front()?;
                let stalled = state.watchdog.stalled_between(late.what.sent_at, late.at);
                (late, stalled)
            };
            if let Some(backend) = late.backend.upgrade() {
                let what = Observation {
                    stalled,
                    ..late.what
                };
                self.apply(&backend, late.epoch, judge(&what).verdict, now);
            }
        }
    }

    /// Starts the background tasks, once, on the runtime at hand; again when that one ended.
    pub(crate) fn ensure_monitored(self: &Arc<Self>) {
        if self.monitored.load(Relaxed) || self.monitored.swap(true, Relaxed) {
            return;
        }
        if !monitor::start(self) {
            self.monitored.store(false, Relaxed);
        }
    }

    pub(crate) fn not_monitored(&self) {
        self.monitored.store(false, Relaxed);
    }

    /// Nobody can serve: pulls the next probes forward and says why each node is out.
    pub(crate) fn empty(self: &Arc<Self>) -> ClusterEmptyError {
        self.ensure_monitored();
        let now = Instant::now();
        let micros = now_micros();
        let last = self.demanded_at.load(Relaxed);
        let demand = micros.saturating_sub(last) >= DEMAND_EVERY.as_micros() as u64
            && self
                .demanded_at
                .compare_exchange(last, micros, Relaxed, Relaxed)
                .is_ok();
        let snapshot = self.snapshot.load();
        let mut state = self.state.lock();
        let mut retry_after: Option<Duration> = None;
        let mut sooner = false;
        for backend in snapshot.nodes.iter() {
            if demand {
                sooner |= state.health.demand(backend.key(), now);
            }
            let wait = state
                .health
                .retry_after(backend.key(), now)
                .unwrap_or_default();
            retry_after = Some(retry_after.map_or(wait, |least| least.min(wait)));
        }
        let version = *self.published.borrow();
        let reasons = match &state.empty {
            Some((of, reasons)) if *of == version => Arc::clone(reasons),
            _ => {
                let reason = |key| state.health.reason(key).unwrap_or(Reason::Io);
                let all = snapshot
                    .nodes
                    .iter()
                    .map(|b| (b.id().clone(), reason(b.key())));
                let reasons: Reasons = all.collect();
                state.empty = Some((version, Arc::clone(&reasons)));
                reasons
            }
        };
        drop(state);
        if sooner {
            self.wake.notify_one();
        }
        ClusterEmptyError::new(reasons, retry_after.unwrap_or_default())
    }

    /// Ends everything: gates shut for good, tasks aborted, connections closed.
    pub(crate) fn close_gates(&self) {
        for backend in self.snapshot.load().nodes.iter() {
            backend.gate().close();
        }
    }

    pub(crate) fn close_connections(&self) {
        for backend in self.snapshot.load().nodes.iter() {
            backend.gate().close();
            if let Some(pool) = backend.pool_if_used() {
                pool.close();
            }
            backend.shut();
            backend.flush();
        }
        self.published.send_modify(|n| *n += 1);
    }
}

impl State {
    pub(crate) fn new_key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key - 1
    }

    pub(crate) fn forget(&mut self, key: u64) {
        self.health.remove(key);
        self.slowness.forget(key);
        self.out_since.remove(&key);
    }
}

impl Effects {
    pub(crate) fn tell(&mut self, event: Event) {
        self.events.push(event);
    }

    pub(crate) fn shut(&mut self, backend: Arc<Backend>) {
        self.shut.push(backend);
    }
}

/// Who admits, in the order of `nodes`.
pub(crate) fn live(state: &State, nodes: &[Arc<Backend>]) -> Live {
    Live::from_fn(nodes.len() as u32, |i| state.health.admits(nodes[i].key()))
}

/// Tells the node which of its successes matter.
pub(crate) fn set_watch(state: &State, backend: &Backend, now: Instant) {
    backend.watch().store(
        match state.health.watch(backend.key(), now) {
            Watch::Nothing => Backend::WATCH_NOTHING,
            Watch::Count => Backend::WATCH_COUNT,
            Watch::Report => Backend::WATCH_REPORT,
        },
        Relaxed,
    );
}

/// A handle to the core that the nodes can hold without keeping the cluster alive.
pub(crate) struct Reporter(pub(crate) Weak<Core>);

impl Observer for Reporter {
    fn observed(&self, backend: &Arc<Backend>, epoch: u64, what: Observation) {
        let Some(core) = self.0.upgrade() else { return };
        let now = Instant::now();
        let judgement = judge(&what);
        if judgement.refuses_writes {
            // A demoted master: its name may lead to the new one by now.
            monitor::refresh_address(&core, backend, Duration::from_secs(1));
        }
        if matches!(what.seen, Seen::Io(std::io::ErrorKind::TimedOut, _)) {
            core.timed_out(backend, epoch, what, now);
            return;
        }
        let idle = backend.watch().load(Relaxed) == Backend::WATCH_NOTHING;
        // An application's errors are proof of life, and nobody is waiting for that.
        if judgement.verdict != Verdict::Neutral && !(judgement.verdict == Verdict::Alive && idle) {
            core.apply(backend, epoch, judgement.verdict, now);
        }
    }

    fn succeeded(&self, backend: &Arc<Backend>, epoch: u64) {
        if let Some(core) = self.0.upgrade() {
            core.apply(backend, epoch, Verdict::Alive, Instant::now());
        }
    }

    fn dialling(&self) {
        if let Some(core) = self.0.upgrade() {
            core.ensure_monitored();
        }
    }

    fn retry_after(&self, backend: &Backend) -> Option<Duration> {
        let core = self.0.upgrade()?;
        let state = core.state.lock();
        state.health.retry_after(backend.key(), Instant::now())
    }
}
