//! The metrics of a queue; handles are registered once per node.

use std::collections::HashMap;
use std::sync::Arc;

use metrics::{Counter, Gauge, Label, counter, gauge};
use parking_lot::Mutex;

use crate::connection::labels::labels;
use crate::node::NodeId;

/// How a push ended on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    Ok,
    Full,
    Refused,
    NotSent,
    MaybeExecuted,
    Failed,
}

const RESULTS: [(Pushed, &str); 6] = [
    (Pushed::Ok, "ok"),
    (Pushed::Full, "full"),
    (Pushed::Refused, "refused"),
    (Pushed::NotSent, "not_sent"),
    (Pushed::MaybeExecuted, "maybe_executed"),
    (Pushed::Failed, "failed"),
];

/// The handles of one queue on one node.
pub(crate) struct NodeMeter {
    pushed: [Counter; 6],
    pub(crate) delivered: Counter,
    pub(crate) redelivered: Counter,
    pub(crate) acked: Counter,
    pub(crate) dead: Counter,
    pub(crate) chores_failed: Counter,
    depth: Mutex<Depth>,
}

struct Depth {
    gauge: Gauge,
    /// Whether this process said it last, as far as it knows.
    told: bool,
}

/// While it lives, a maintenance task may tell the depth of its node; then the gauge ends as "not a number", since a series
/// cannot be taken back.
pub(crate) struct Teller(pub(crate) Arc<NodeMeter>);

impl Drop for Teller {
    fn drop(&mut self) {
        let mut depth = self.0.depth.lock();
        if std::mem::take(&mut depth.told) {
            depth.gauge.set(f64::NAN);
        }
    }
}

impl NodeMeter {
    pub(crate) fn depth(&self, depth: f64) {
        let mut gauge = self.depth.lock();
        gauge.told = true;
        gauge.gauge.set(depth);
    }

    fn new(queue: &str, cluster: &str, node: &NodeId) -> Self {
        let own = || [("queue", queue.to_owned()), ("node", node.to_string())];
        let labels = || labels(cluster, own());
        let pushed = RESULTS.map(|(_, result)| {
            let mut all = labels();
            all.push(Label::new("result", result));
            counter!("fluster_queue_pushed_total", all)
        });
        Self {
            pushed,
            delivered: counter!("fluster_queue_delivered_total", labels()),
            redelivered: counter!("fluster_queue_redelivered_total", labels()),
            acked: counter!("fluster_queue_acked_total", labels()),
            dead: counter!("fluster_queue_dead_total", labels()),
            chores_failed: counter!("fluster_queue_chores_failed_total", labels()),
            depth: Mutex::new(Depth {
                gauge: gauge!("fluster_queue_depth", labels()),
                told: false,
            }),
        }
    }

    pub(crate) fn pushed(&self, how: Pushed) {
        let at = RESULTS.iter().position(|(result, _)| *result == how);
        self.pushed[at.unwrap_or_default()].increment(1);
    }
}

/// The metrics of one queue.
pub(crate) struct QueueMeter {
    queue: Arc<str>,
    cluster: Arc<str>,
    /// Guards the handles; held for a look-up.
    nodes: Mutex<HashMap<NodeId, Arc<NodeMeter>>>,
}

impl QueueMeter {
    pub(crate) fn new(queue: &Arc<str>, cluster: &Arc<str>) -> Self {
        Self {
            queue: Arc::clone(queue),
            cluster: Arc::clone(cluster),
            nodes: Mutex::default(),
        }
    }

    pub(crate) fn of(&self, node: &NodeId) -> Arc<NodeMeter> {
        let mut nodes = self.nodes.lock();
        if let Some(meter) = nodes.get(node) {
            return Arc::clone(meter);
        }
        let meter = Arc::new(NodeMeter::new(&self.queue, &self.cluster, node));
        nodes.insert(node.clone(), Arc::clone(&meter));
        meter
    }
}
