//! The heart of a cluster: the snapshot that calls read, and the state that publishes the next one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, broadcast, watch};

use crate::backend::probe::Care;
use crate::backend::{Backend, Limits};
use crate::budget::hedge::HedgeBudget;
use crate::budget::repair::RepairBudget;
use crate::budget::retry::RetryBudget;
use crate::clock;
use crate::cluster::events::{self, Event};
use crate::cluster::evidence::Late;
use crate::cluster::exchange::Servers;
use crate::cluster::features::InUse;
use crate::cluster::invalidation::Invalidations;
use crate::cluster::options::Options;
use crate::cluster::outage::Outage;
use crate::cluster::recovery::Recovery;
use crate::cluster::scripts::Scripts;
use crate::error::Reasons;
use crate::health::slowness::Slowness;
use crate::health::stalls::Stalls;
use crate::health::watchdog::Watchdog;
use crate::health::{Machine, NodeState, Watch};
use crate::node::{Node, NodeId};
#[cfg(feature = "discovery")]
use crate::placement::Placement;
use crate::placement::{Live, Table};
use crate::tasks::Tasks;
use crate::topology::Topology;

pub(crate) type Snapshot = Topology<Arc<Backend>>;

impl Snapshot {
    /// The nodes that serve and can be called: where a fleet keeps a node that this process cannot reach, its keys stay
    /// there, and whatever is bound to no key goes elsewhere.
    pub(crate) fn callable(&self) -> impl Iterator<Item = usize> {
        self.live.iter().filter(|index| self.admits(*index))
    }

    pub(crate) fn is_callable(&self, index: usize) -> bool {
        self.live.contains(index) && self.admits(index)
    }

    fn admits(&self, index: usize) -> bool {
        self.nodes[index].gate().read().admits()
    }
}

/// Shared by all handles of one cluster and by its tasks.
pub(crate) struct Engine {
    pub(super) snapshot: ArcSwap<Snapshot>,
    /// Guards who is healthy; held for microseconds, never across an await.
    pub(super) state: Mutex<EngineState>,
    /// Serialises changes of the set of nodes, which take longer than `state` may be held.
    pub(super) changing: Mutex<()>,
    /// Wakes the monitor when something is due earlier than it thinks.
    pub(super) wake: Notify,
    /// Counts published snapshots, for those who wait for a node.
    pub(super) published: watch::Sender<u64>,
    pub(super) events: broadcast::Sender<Event>,
    pub(super) tasks: Arc<Tasks>,
    pub(super) options: Options,
    pub(super) limits: Arc<Limits>,
    pub(super) lookups: Arc<Semaphore>,
    pub(super) care: Care,
    /// Guards the budget for commands that are sent again though they may have been executed.
    pub(super) budget: Mutex<RetryBudget>,
    /// Guards the budget for reads that ask a second replica.
    pub(super) hedges: Mutex<HedgeBudget>,
    /// Guards the budget for values that are copied to a node that lacks them.
    pub(super) repairs: Mutex<RepairBudget>,
    /// What this process is doing for which key, for those who invalidate it.
    pub(super) invalidations: Arc<Invalidations>,
    /// What nodes that are out will have to forget.
    pub(crate) recovery: Recovery,
    /// What this cluster needs its servers to be new enough for.
    pub(super) in_use: InUse,
    /// Scripts for nodes that do not know them.
    pub(super) scripts: Scripts,
    /// Where `clients()` stands.
    pub(super) cursor: AtomicUsize,
    pub(super) demanded_at: AtomicU64,
}

/// What is known of the nodes' health, and what it waits for.
pub(crate) struct EngineState {
    pub(crate) health: Machine<u64>,
    pub(crate) watchdog: Watchdog,
    pub(crate) slowness: Slowness<u64>,
    /// The nodes as configured, in the order of the snapshot's nodes.
    pub(crate) specs: Vec<Node>,
    /// Time-outs whose verdict waits for the watchdog, oldest first.
    pub(super) late: VecDeque<Late>,
    /// When the one who judges them, in case that nobody ticks, looks next.
    pub(super) judged_at: Option<Instant>,
    pub(super) stalls: Stalls,
    /// Commands that all nodes had been sent at the watchdog's last tick.
    pub(super) sent: u64,
    pub(crate) out_since: BTreeMap<u64, Instant>,
    /// The time of the day when each node came into service, or went out of it.
    pub(super) since: BTreeMap<u64, SystemTime>,
    pub(crate) outage: Outage,
    /// Why each node is out, as of a published snapshot: a caller that asks over and over must not
    /// pay for a list of a thousand nodes each time.
    pub(super) empty: Option<(u64, Reasons)>,
    pub(super) servers: Servers,
    /// Names of drained nodes, also of such as are no part of the cluster now.
    pub(super) drained: BTreeSet<NodeId>,
    /// Those that are drained at all instances of the fleet.
    pub(super) fleet_drained: BTreeSet<NodeId>,
    /// Somebody shares the nodes' health with other processes.
    #[cfg(feature = "gossip")]
    pub(super) is_shared: bool,
    next_key: u64,
}

/// What has to be done once the state is unlocked: closing sockets and telling others take time.
#[derive(Default)]
pub(crate) struct Effects {
    shut: Vec<Arc<Backend>>,
    events: Vec<Event>,
}

impl Engine {
    pub(crate) fn new(
        weak: &Weak<Self>,
        nodes: Vec<Node>,
        table: Table,
        options: Options,
        tasks: Arc<Tasks>,
        care: Care,
        mut backend: impl FnMut(&Weak<Self>, &Node, u64, &Arc<Semaphore>, &Arc<Limits>) -> Arc<Backend>,
    ) -> Self {
        let now = clock::now();
        let limits = Arc::new(options.limits.clone());
        let in_use = InUse::new(limits.stand_in_ttl.is_some());
        let lookups = Arc::new(Semaphore::new(crate::connection::resolve::LOOKUPS));
        let mut health = Machine::new(options.penalty.clone(), limits.response_timeout);
        if care.preparation.is_some() {
            health.prepare_first(options.recovery.deadline);
        }
        let backends: Arc<[_]> = nodes
            .iter()
            .zip(0u64..)
            .map(|(node, key)| {
                health.insert(key, now);
                backend(weak, node, key, &lookups, &limits)
            })
            .collect();
        let next_key = backends.len() as u64;
        let today = clock::time_of_day();
        for backend in backends.iter() {
            backend.meter().state(NodeState::Up);
        }
        Self {
            snapshot: ArcSwap::from_pointee(Topology::new(backends, Arc::new(table))),
            state: Mutex::new(EngineState {
                health,
                watchdog: Watchdog::new(now),
                slowness: Slowness::new(),
                empty: None,
                specs: nodes,
                late: VecDeque::new(),
                judged_at: None,
                stalls: Stalls::default(),
                sent: 0,
                out_since: BTreeMap::new(),
                since: (0..next_key).map(|key| (key, today)).collect(),
                outage: Outage::default(),
                servers: Servers::default(),
                drained: BTreeSet::new(),
                fleet_drained: BTreeSet::new(),
                #[cfg(feature = "gossip")]
                is_shared: false,
                next_key,
            }),
            changing: Mutex::new(()),
            wake: Notify::new(),
            published: watch::Sender::new(0),
            events: broadcast::Sender::new(events::BACKLOG),
            tasks,
            hedges: Mutex::new(HedgeBudget::new(options.hedge_budget)),
            repairs: Mutex::new(RepairBudget::new(now)),
            recovery: Recovery::new(&options.recovery, &limits.is_noting),
            options,
            limits,
            lookups,
            care,
            budget: Mutex::new(RetryBudget::new(now)),
            invalidations: Arc::default(),
            in_use,
            scripts: Scripts::default(),
            cursor: AtomicUsize::new(0),
            demanded_at: AtomicU64::new(0),
        }
    }

    /// Runs `change` with the state locked, then does what it left to do.
    pub(crate) fn locked<R>(&self, change: impl FnOnce(&mut EngineState, &mut Effects) -> R) -> R {
        let mut effects = Effects::default();
        let result = change(&mut self.state.lock(), &mut effects);
        for backend in effects.shut {
            backend.shut();
            backend.refresh_address(Duration::ZERO);
        }
        for event in effects.events {
            // No receiver is no error.
            let _ = self.events.send(event);
        }
        result
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
            backend.meter().end();
        }
        self.published.send_modify(|n| *n += 1);
    }
}

/// What the rooms above may ask.
impl Engine {
    /// The nodes, who owns which key, and who serves now.
    pub(crate) fn topology(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// The same, to be kept over an await.
    pub(crate) fn topology_full(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Told of each new topology.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.published.subscribe()
    }

    /// Told what an application may want to know.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    pub(crate) fn tasks(&self) -> &Arc<Tasks> {
        &self.tasks
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    #[cfg(feature = "discovery")]
    pub(crate) fn placement(&self) -> &Placement {
        &self.options.placement
    }

    pub(crate) fn invalidations(&self) -> &Arc<Invalidations> {
        &self.invalidations
    }

    /// A read that may be hedged begins.
    pub(crate) fn count_read(&self) {
        self.hedges.lock().read();
    }

    /// Takes one hedge from the budget.
    pub(crate) fn may_hedge(&self) -> bool {
        self.hedges.lock().take()
    }

    /// Takes one repair from the budget.
    pub(crate) fn may_repair(&self, now: Instant) -> bool {
        self.repairs.lock().take(now)
    }
}

impl EngineState {
    pub(crate) fn new_key(&mut self) -> u64 {
        let key = self.next_key;
        self.next_key += 1;
        self.since.insert(key, clock::time_of_day());
        key
    }

    /// When the node came into service, or went out of it.
    pub(super) fn since(&self, key: u64) -> SystemTime {
        self.since
            .get(&key)
            .copied()
            .unwrap_or(SystemTime::UNIX_EPOCH)
    }

    pub(crate) fn is_drained(&self, node: &NodeId) -> bool {
        self.drained.contains(node) || self.fleet_drained.contains(node)
    }

    pub(crate) fn forget(&mut self, key: u64) {
        self.health.remove(key);
        self.slowness.forget(key);
        self.servers.forget(key);
        self.out_since.remove(&key);
        self.since.remove(&key);
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

/// Who serves, in the order of `nodes`.
pub(crate) fn live(state: &EngineState, nodes: &[Arc<Backend>]) -> Live {
    Live::from_fn(nodes.len() as u32, |i| {
        state.health.standing(nodes[i].key()).serves
    })
}

/// Tells the node which of its successes matter.
pub(crate) fn set_watch(state: &EngineState, backend: &Backend, now: Instant) {
    backend.watch().store(
        match state.health.watch(backend.key(), now) {
            Watch::Nothing => Backend::WATCH_NOTHING,
            Watch::Count => Backend::WATCH_COUNT,
            Watch::Report => Backend::WATCH_REPORT,
        },
        Relaxed,
    );
}
