//! The metrics of one node; their handles are registered once, when the node is built.
//!
//! The facade cannot take a series back, so the gauges of a node that is gone end as "not a number", which no
//! comparison of an alert is true for; its counters just stand still.

use std::collections::BTreeMap;
use std::sync::Arc;

use metrics::{Counter, Gauge, Label, counter, gauge, histogram};
use parking_lot::Mutex;

use super::error_replies::{ErrorReplies, each_code};
use super::labels::labels;
use super::reply::Reply;
use crate::error::Outcome;
use crate::health::{NodeState, latency};
use crate::node::NodeId;

/// What a connection is for, as a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Lane,
    Dedicated,
    Probe,
    Subscription,
    /// Where a server tells of changes, for what is kept of it in this process.
    #[cfg(feature = "near")]
    Near,
}

/// How many living meters each name has, by cluster and node: two clusters of one process, or a node's successor and the one it takes
/// the name from, share their series, and the last one ends them.
static USERS: Mutex<BTreeMap<(String, String), usize>> = Mutex::new(BTreeMap::new());

/// The state as a number, the better the higher.
fn gauge_of(state: NodeState) -> u8 {
    match state {
        NodeState::Down => 0,
        NodeState::HalfOpen => 1,
        NodeState::Probation => 2,
        NodeState::Up => 3,
    }
}

/// Handles into the metrics recorder that was installed when the node was built.
#[derive(Debug)]
pub(crate) struct Meter {
    node: String,
    /// The name of its cluster; empty for none.
    cluster: String,
    ok: Counter,
    answered: Counter,
    not_sent: Counter,
    rejected: Counter,
    maybe_executed: Counter,
    error_replies: ErrorReplies,
    failovers: Counter,
    noted: Counter,
    lanes: Arc<Tally>,
    probing: Arc<Tally>,
    subscriptions: Arc<Tally>,
    #[cfg(feature = "near")]
    near: Arc<Tally>,
    /// Guards the gauges from being set after their end.
    gauges: Mutex<Option<Gauges>>,
}

/// The gauges that are set, not counted.
#[derive(Debug)]
struct Gauges {
    state: Gauge,
    degraded: Gauge,
    drained: Gauge,
    dedicated_idle: Gauge,
    dedicated_in_use: Gauge,
}

impl Meter {
    pub(crate) fn new(node: &NodeId, cluster: &str) -> Self {
        let of = || labels(cluster, [("node", node.to_string())]);
        let commands = |outcome: &'static str| {
            let own = [("node", node.to_string()), ("outcome", outcome.to_owned())];
            counter!("fluster_commands_total", labels(cluster, own))
        };
        let connections = |kind: &'static str, state: &'static str| {
            let own = [
                ("node", node.to_string()),
                ("kind", kind.to_owned()),
                ("state", state.to_owned()),
            ];
            gauge!("fluster_connections", labels(cluster, own))
        };
        let tally = |kind| Arc::new(Tally::new(connections(kind, "open")));
        let gauges = Gauges {
            state: gauge!("fluster_node_state", of()),
            degraded: gauge!("fluster_node_degraded", of()),
            drained: gauge!("fluster_node_drained", of()),
            dedicated_idle: connections("dedicated", "idle"),
            dedicated_in_use: connections("dedicated", "in_use"),
        };
        let meter = Self {
            node: node.to_string(),
            cluster: cluster.to_owned(),
            ok: commands("ok"),
            answered: commands(Outcome::Answered.as_str()),
            not_sent: commands(Outcome::NotSent.as_str()),
            rejected: commands(Outcome::Rejected.as_str()),
            maybe_executed: commands(Outcome::MaybeExecuted.as_str()),
            error_replies: ErrorReplies::new(),
            failovers: counter!("fluster_failovers_total", of()),
            noted: counter!("fluster_return_noted_total", of()),
            lanes: tally("lane"),
            probing: tally("probe"),
            subscriptions: tally("subscription"),
            #[cfg(feature = "near")]
            near: tally("near"),
            gauges: Mutex::new(Some(gauges)),
        };
        meter.begin();
        meter
    }

    /// These, after those of the node.
    fn labels<const N: usize>(&self, own: [(&'static str, &'static str); N]) -> Vec<Label> {
        let mut all = labels("", [("node", self.node.clone())]);
        all.extend(own.map(|(name, value)| Label::new(name, value)));
        all.extend(labels(&self.cluster, []));
        all
    }

    /// What tells its series from others.
    fn key(&self) -> (String, String) {
        (self.cluster.clone(), self.node.clone())
    }

    fn begin(&self) {
        let mut users = USERS.lock();
        let users = users.entry(self.key()).or_default();
        *users += 1;
        if *users == 1 {
            // A node of this name may have been here before.
            for tally in self.tallies() {
                tally.gauge.set(0.0);
            }
            self.pool(0, 0);
        }
        self.state(NodeState::Up);
        self.degraded(false);
    }

    /// The node is gone: its gauges end, unless another one of its name lives.
    pub(crate) fn end(&self) {
        let Some(gauges) = self.gauges.lock().take() else {
            return;
        };
        let mut users = USERS.lock();
        let left = users.get(&self.key()).map_or(0, |n| n - 1);
        match left {
            0 => drop(users.remove(&self.key())),
            _ => drop(users.insert(self.key(), left)),
        }
        for tally in self.tallies() {
            tally.end(left == 0);
        }
        if left == 0 {
            for gauge in [
                gauges.state,
                gauges.degraded,
                gauges.drained,
                gauges.dedicated_idle,
                gauges.dedicated_in_use,
            ] {
                gauge.set(f64::NAN);
            }
        }
    }

    fn tallies(&self) -> impl Iterator<Item = &Arc<Tally>> {
        let all = [&self.lanes, &self.probing, &self.subscriptions].into_iter();
        #[cfg(feature = "near")]
        let all = all.chain([&self.near]);
        all
    }

    /// Once a second, so that exporters that drop what is idle drop what is gone, and that alone.
    pub(crate) fn alive(&self, state: NodeState, degraded: bool, drained: bool) {
        self.state(state);
        self.degraded(degraded);
        self.drained(drained);
        for tally in self.tallies() {
            tally.add(0);
        }
        let counters = [
            &self.ok,
            &self.answered,
            &self.not_sent,
            &self.rejected,
            &self.maybe_executed,
            &self.failovers,
            &self.noted,
        ];
        for counter in counters {
            counter.increment(0);
        }
        self.error_replies.alive();
    }

    fn set(&self, value: impl FnOnce(&Gauges)) {
        if let Some(gauges) = &*self.gauges.lock() {
            value(gauges);
        }
    }

    /// So many commands succeeded, and these took so long.
    pub(crate) fn flush(&self, succeeded: u64, answers: &latency::Histogram) {
        if succeeded > 0 {
            self.ok.increment(succeeded);
        }
        let mut counts = answers.counts().peekable();
        if counts.peek().is_none() {
            return;
        }
        // Asked for each time: a handle would be of no use once an exporter has dropped the idle series.
        let duration = histogram!("fluster_command_duration_seconds", self.labels([]));
        for (took, count) in counts {
            duration.record_many(took, count as usize);
        }
    }

    pub(crate) fn failed(&self, outcome: Outcome) {
        match outcome {
            Outcome::NotSent => &self.not_sent,
            Outcome::Rejected => &self.rejected,
            Outcome::MaybeExecuted => &self.maybe_executed,
            Outcome::Answered => &self.answered,
        }
        .increment(1);
    }

    /// The server said no, and so it is counted by the codes it gave.
    pub(crate) fn error_reply(&self, reply: &Reply) {
        each_code(reply, |code| {
            let register = |code: &'static str| self.labels([("code", code)]);
            self.error_replies.count(code, register);
        });
    }

    /// A command that this node did not serve went on to another one.
    pub(crate) fn failed_over(&self) {
        self.failovers.increment(1);
    }

    /// So many keys were noted at this node for others that are out.
    pub(crate) fn noted(&self, keys: u64) {
        self.noted.increment(keys);
    }

    /// 3 up, 2 on probation, 1 being probed, 0 down.
    pub(crate) fn state(&self, state: NodeState) {
        self.set(|gauges| gauges.state.set(gauge_of(state)));
    }

    /// 1 while the operator has the node drained.
    pub(crate) fn drained(&self, is: bool) {
        self.set(|gauges| gauges.drained.set(f64::from(u8::from(is))));
    }

    /// 1 while the node is much slower than its peers.
    pub(crate) fn degraded(&self, is: bool) {
        self.set(|gauges| gauges.degraded.set(f64::from(u8::from(is))));
    }

    pub(crate) fn ejected(&self, reason: &'static str) {
        counter!("fluster_ejections_total", self.labels([("reason", reason)])).increment(1);
    }

    pub(crate) fn probed(&self, result: &'static str) {
        counter!("fluster_probes_total", self.labels([("result", result)])).increment(1);
    }

    /// How many exclusive connections there are, and how many of them nobody uses.
    pub(crate) fn pool(&self, open: usize, idle: usize) {
        self.set(|gauges| {
            gauges.dedicated_idle.set(idle as f64);
            gauges.dedicated_in_use.set((open - idle) as f64);
        });
    }

    /// Counts an open connection until the guard is dropped; exclusive ones are counted by their pool.
    pub(crate) fn connection(&self, kind: Use) -> OpenConnection {
        let tally = match kind {
            Use::Lane => Some(&self.lanes),
            Use::Dedicated => None,
            Use::Probe => Some(&self.probing),
            Use::Subscription => Some(&self.subscriptions),
            #[cfg(feature = "near")]
            Use::Near => Some(&self.near),
        };
        if let Some(tally) = tally {
            tally.add(1);
        }
        OpenConnection(tally.cloned())
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.end();
    }
}

/// Our share of a gauge that several may add to.
#[derive(Debug)]
struct Tally {
    gauge: Gauge,
    /// What we added; `None` once it has ended, however many connections are still open.
    open: Mutex<Option<i32>>,
}

impl Tally {
    fn new(gauge: Gauge) -> Self {
        let open = Mutex::new(Some(0));
        Self { gauge, open }
    }

    fn add(&self, n: i32) {
        if let Some(open) = &mut *self.open.lock() {
            *open += n;
            self.gauge.increment(n);
        }
    }

    fn end(&self, for_all: bool) {
        let Some(open) = self.open.lock().take() else {
            return;
        };
        match for_all {
            true => self.gauge.set(f64::NAN),
            false => self.gauge.decrement(open),
        }
    }
}

/// One open connection in `fluster_connections`.
#[derive(Debug)]
pub(crate) struct OpenConnection(Option<Arc<Tally>>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if let Some(tally) = &self.0 {
            tally.add(-1);
        }
    }
}
