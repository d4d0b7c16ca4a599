//! The metrics of one node; their handles are registered once, when the node is built.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::error_replies::{ErrorReplies, each_code};
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
}

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
    ok: Counter,
    answered: Counter,
    not_sent: Counter,
    rejected: Counter,
    maybe_executed: Counter,
    error_replies: ErrorReplies,
    duration: Histogram,
    state: Gauge,
    degraded: Gauge,
    failovers: Counter,
    lanes: Gauge,
    probing: Gauge,
    subscriptions: Gauge,
    dedicated_idle: Gauge,
    dedicated_in_use: Gauge,
}

impl Meter {
    pub(crate) fn new(node: &NodeId) -> Self {
        let name = || node.to_string();
        let commands = |outcome: &'static str| counter!("fluster_commands_total", "node" => name(), "outcome" => outcome);
        let connections = |kind: &'static str, state: &'static str| gauge!("fluster_connections", "node" => name(), "kind" => kind, "state" => state);
        Self {
            node: name(),
            ok: commands("ok"),
            answered: commands(Outcome::Answered.as_str()),
            not_sent: commands(Outcome::NotSent.as_str()),
            rejected: commands(Outcome::Rejected.as_str()),
            maybe_executed: commands(Outcome::MaybeExecuted.as_str()),
            error_replies: ErrorReplies::new(),
            duration: histogram!("fluster_command_duration_seconds", "node" => name()),
            state: gauge!("fluster_node_state", "node" => name()),
            degraded: gauge!("fluster_node_degraded", "node" => name()),
            failovers: counter!("fluster_failovers_total", "node" => name()),
            lanes: connections("lane", "open"),
            probing: connections("probe", "open"),
            subscriptions: connections("subscription", "open"),
            dedicated_idle: connections("dedicated", "idle"),
            dedicated_in_use: connections("dedicated", "in_use"),
        }
    }

    /// So many commands succeeded, and these took so long.
    pub(crate) fn flush(&self, succeeded: u64, answers: &latency::Histogram) {
        if succeeded > 0 {
            self.ok.increment(succeeded);
        }
        for (took, count) in answers.counts() {
            self.duration.record_many(took, count as usize);
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
        each_code(reply, |code| self.error_replies.count(&self.node, code));
    }

    /// A command that this node did not serve went on to another one.
    pub(crate) fn failed_over(&self) {
        self.failovers.increment(1);
    }

    /// 3 up, 2 on probation, 1 being probed, 0 down.
    pub(crate) fn state(&self, state: NodeState) {
        self.state.set(gauge_of(state));
    }

    /// 1 while the node is much slower than its peers.
    pub(crate) fn degraded(&self, is: bool) {
        self.degraded.set(f64::from(u8::from(is)));
    }

    pub(crate) fn ejected(&self, reason: &'static str) {
        counter!("fluster_ejections_total", "node" => self.node.clone(), "reason" => reason)
            .increment(1);
    }

    pub(crate) fn probed(&self, result: &'static str) {
        counter!("fluster_probes_total", "node" => self.node.clone(), "result" => result)
            .increment(1);
    }

    /// How many exclusive connections there are, and how many of them nobody uses.
    pub(crate) fn pool(&self, open: usize, idle: usize) {
        self.dedicated_idle.set(idle as f64);
        self.dedicated_in_use.set((open - idle) as f64);
    }

    /// Counts an open connection until the guard is dropped; exclusive ones are counted by their pool.
    pub(crate) fn connection(&self, kind: Use) -> OpenConnection {
        let gauge = match kind {
            Use::Lane => Some(&self.lanes),
            Use::Dedicated => None,
            Use::Probe => Some(&self.probing),
            Use::Subscription => Some(&self.subscriptions),
        };
        if let Some(gauge) = gauge {
            gauge.increment(1.0);
        }
        OpenConnection(gauge.cloned())
    }
}

/// One open connection in `fluster_connections`.
#[derive(Debug)]
pub(crate) struct OpenConnection(Option<Gauge>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if let Some(gauge) = &self.0 {
            gauge.decrement(1.0);
        }
    }
}
