//! What a cluster looks like at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::clock;
use crate::cluster::FlusterCluster;
use crate::cluster::engine::EngineState;
use crate::health::NodeState;
use crate::health::verdict::Reason;
use crate::node::{Node, NodeId};
use crate::placement::Fingerprint;

/// A picture of the whole cluster; see [`status`](FlusterCluster::status).
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
#[doc(alias = "health check")]
pub struct ClusterStatus {
    /// Counts the snapshots published so far.
    pub epoch: u64,
    /// The placement rule, as it is written in a configuration.
    pub placement: String,
    /// The placement in 64 bits: processes with the same one agree on every key.
    pub fingerprint: Fingerprint,
    /// Background tasks and connections running now.
    pub tasks: usize,
    /// The nodes, in the order they were configured.
    pub nodes: Vec<NodeStatus>,
}

impl ClusterStatus {
    /// How many nodes admit traffic. [Example](crate::guide::by_example#watching).
    #[must_use]
    pub fn active(&self) -> usize {
        self.nodes.iter().filter(|n| n.admits).count()
    }

    /// The node of this name. [Example](crate::guide::by_example#watching).
    #[must_use]
    pub fn node(&self, name: impl AsRef<str>) -> Option<&NodeStatus> {
        self.nodes.iter().find(|n| n.name == *name.as_ref())
    }
}

/// One node in a [`ClusterStatus`].
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct NodeStatus {
    /// The node's name.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_text"))]
    pub name: NodeId,
    /// `host:port` or the socket's path, without credentials.
    pub address: String,
    /// Its weight.
    pub weight: u32,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it does for traffic: `up`, `probation`, `half_open` or `down`.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_text"))]
    pub state: NodeState,
    /// Whether it is sent traffic: its state admits it, and nobody drained the node.
    pub admits: bool,
    /// Whether it was [drained](FlusterCluster::drain_node), and not restored since.
    pub drained: bool,
    /// Whether it is much slower than its peers.
    pub degraded: bool,
    /// How far up the back-off it is, 0 to 7.
    pub level: u32,
    /// Why it is out, or was last.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_optional_text"))]
    pub reason: Option<Reason>,
    /// The time until its next probe, while it is out.
    pub retry_after: Option<Duration>,
    /// Commands on its lane that wait for their reply.
    pub in_flight: u64,
    /// Whether its lane is connected.
    pub connected: bool,
    /// Exclusive connections that are open.
    pub dedicated: usize,
    /// Dials on behalf of callers so far.
    pub dials: u64,
    /// Dials that failed so far, probes included.
    pub failed_dials: u64,
    /// Probes so far.
    pub probes: u64,
    /// How often it went out so far.
    pub ejections: u64,
}

impl FlusterCluster {
    /// A picture of the cluster at this moment. No I/O; never shows a credential.
    ///
    /// ```
    /// # let cluster = fluster::FlusterCluster::from_urls(["redis://127.0.0.1"])?;
    /// let status = cluster.status();
    /// assert_eq!(status.active(), 1);
    /// assert_eq!(status.nodes[0].address, "127.0.0.1:6379");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn status(&self) -> ClusterStatus {
        let engine = self.engine();
        engine.locked(|state, _| {
            // Under the lock, so that the snapshot, the nodes and their health belong together.
            let snapshot = engine.snapshot.load();
            let now = clock::now();
            let nodes = state
                .specs
                .iter()
                .zip(snapshot.nodes.iter())
                .map(|(spec, backend)| node_status(state, spec, backend, now))
                .collect();
            ClusterStatus {
                epoch: snapshot.epoch,
                placement: engine.options.placement.shown(),
                fingerprint: snapshot.table.fingerprint(),
                tasks: engine.tasks.count(),
                nodes,
            }
        })
    }
}

fn node_status(
    state: &EngineState,
    spec: &Node,
    backend: &Arc<Backend>,
    now: Instant,
) -> NodeStatus {
    let (health, key, stats) = (&state.health, backend.key(), backend.stats());
    let lane = backend.lane().get();
    NodeStatus {
        name: spec.id(),
        address: spec.endpoint().to_string(),
        weight: spec.weight_value(),
        labels: spec.labels().clone(),
        state: health.state(key).unwrap_or(NodeState::Down),
        admits: health.standing(key).callable,
        drained: health.overruled(key).drained,
        degraded: state.slowness.is_degraded(key),
        level: health.level(key).unwrap_or_default(),
        reason: health.reason(key),
        retry_after: health.retry_after(key, now),
        in_flight: lane.as_ref().map_or(0, |l| l.wire().in_flight()),
        connected: lane.is_some(),
        dedicated: backend.pool_if_used().map_or(0, |p| p.sizes().0),
        dials: stats.dials.load(Relaxed),
        failed_dials: stats.failed_dials.load(Relaxed),
        probes: stats.probes.load(Relaxed),
        ejections: stats.ejections.load(Relaxed),
    }
}

#[cfg(feature = "serde")]
fn as_text<S: serde::Serializer>(value: &impl std::fmt::Display, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(value)
}

#[cfg(feature = "serde")]
#[allow(clippy::ref_option, reason = "the signature that serde asks for")]
fn as_optional_text<S: serde::Serializer>(
    value: &Option<impl std::fmt::Display>,
    s: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => s.collect_str(value),
        None => s.serialize_none(),
    }
}
