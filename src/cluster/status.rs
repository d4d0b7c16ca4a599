//! What a cluster looks like at one moment.

#[cfg(feature = "serde")]
pub(crate) mod json;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use crate::backend::Backend;
use crate::clock;
use crate::cluster::FlusterCluster;
use crate::cluster::engine::{Engine, EngineState};
use crate::cluster::recovery::Totals;
use crate::health::NodeState;
use crate::health::verdict::Reason;
use crate::node::{Node, NodeId};
use crate::placement::Fingerprint;
use crate::recovery::unknown::UnknownReason;

/// The number of the form that [`ClusterStatus`] has as JSON. New fields do not change it, and readers leave alone what
/// they do not know; a field that goes or means something else does.
const SCHEMA: u32 = 1;

/// A picture of the whole cluster; see [`status`](FlusterCluster::status).
///
/// As JSON (feature `serde`) it is what the program `fluster` prints and the page of the feature `admin` serves, too:
/// times of the day are texts such as `2026-11-26T20:15:00.250Z`, durations are milliseconds in fields that end in `_ms`,
/// and what is not known is `null`.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
#[doc(alias = "health check")]
pub struct ClusterStatus {
    /// The number of this form; 1.
    pub schema: u32,
    /// The version of fluster.
    pub fluster: &'static str,
    /// The cluster's [name](crate::ClusterBuilder::name).
    pub name: Option<String>,
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
    #[cfg_attr(feature = "serde", serde(serialize_with = "json::text"))]
    pub name: NodeId,
    /// `host:port` or the socket's path, without credentials. Of a node [behind sentinels](crate::guide::sentinels) where
    /// they said last that its master listens; `master@host:port,..`, with all of them, until they have.
    pub address: String,
    /// Its weight.
    pub weight: u32,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it does for traffic: `up`, `probation`, `half_open` or `down`.
    #[cfg_attr(feature = "serde", serde(serialize_with = "json::text"))]
    pub state: NodeState,
    /// Whether it is sent traffic: its state admits it, and nobody drained the node.
    pub admits: bool,
    /// Whether it was [drained](FlusterCluster::drain_node), and not restored since.
    pub drained: bool,
    /// Whether other processes find it out and it is held here, as [the fleet](https://docs.rs/fluster/latest/fluster/guide/fleet/index.html) agreed.
    pub held: bool,
    /// Whether its keys stay with it though this process cannot reach it, as the fleet agreed: calls to it fail.
    pub kept: bool,
    /// Whether it is much slower than its peers.
    pub degraded: bool,
    /// How far up the back-off it is, 0 to 7.
    pub level: u32,
    /// Why it is out, or was last.
    #[cfg_attr(feature = "serde", serde(serialize_with = "json::optional_text"))]
    pub reason: Option<Reason>,
    /// The time of the day when it came into service, or went out of it.
    #[cfg_attr(feature = "serde", serde(serialize_with = "json::time"))]
    pub since: SystemTime,
    /// For how long it has been out; `None` while it is not. As JSON `out_for_ms`.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "out_for_ms", serialize_with = "json::millis")
    )]
    pub out_for: Option<Duration>,
    /// The time until its next probe, while it is out. As JSON `retry_after_ms`.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "retry_after_ms", serialize_with = "json::millis")
    )]
    pub retry_after: Option<Duration>,
    /// Within which 95 of 100 of its answers came lately; `None` until there were enough, and while it is out. As JSON `p95_ms`, with fractions.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "p95_ms", serialize_with = "json::fraction")
    )]
    pub p95: Option<Duration>,
    /// Commands that it was sent so far.
    pub commands: u64,
    /// The version that its server says, once it was asked.
    pub version: Option<String>,
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
    /// How many keys were [taken from it](crate::OnReturn::Invalidate) so far, since they were written elsewhere while it
    /// was out.
    pub invalidated: u64,
    /// Why it was not known which of its keys are old, when that last happened.
    #[cfg_attr(feature = "serde", serde(serialize_with = "json::optional_text"))]
    pub unknown: Option<UnknownReason>,
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
        self.engine().status()
    }
}

impl Engine {
    pub(crate) fn status(&self) -> ClusterStatus {
        self.locked(|state, _| {
            // Under the lock, so that the snapshot, the nodes and their health belong together.
            let snapshot = self.snapshot.load();
            let now = clock::now();
            let nodes = state
                .specs
                .iter()
                .zip(snapshot.nodes.iter())
                .map(|(spec, backend)| {
                    let totals = self.recovery.totals(backend.key());
                    node_status(state, spec, backend, totals, now)
                })
                .collect();
            ClusterStatus {
                schema: SCHEMA,
                fluster: env!("CARGO_PKG_VERSION"),
                name: self.limits.named().map(str::to_owned),
                epoch: snapshot.epoch,
                placement: self.options.placement.shown(),
                fingerprint: snapshot.table.fingerprint(),
                tasks: self.tasks.count(),
                nodes,
            }
        })
    }
}

fn node_status(
    state: &EngineState,
    spec: &Node,
    backend: &Arc<Backend>,
    totals: Totals,
    now: Instant,
) -> NodeStatus {
    let (health, key, stats) = (&state.health, backend.key(), backend.stats());
    let (lane, standing) = (backend.lane().get(), health.standing(key));
    let is = health.state(key).unwrap_or(NodeState::Down);
    let out_since = state.out_since.get(&key).filter(|_| !is.admits());
    let identity = backend.inquiry().last();
    NodeStatus {
        name: spec.id(),
        address: backend.address(),
        weight: spec.weight_value(),
        labels: spec.labels().clone(),
        state: is,
        admits: standing.callable,
        drained: health.overruled(key).drained,
        held: health.overruled(key).hold,
        kept: standing.kept && !standing.callable,
        degraded: state.slowness.is_degraded(key),
        level: health.level(key).unwrap_or_default(),
        reason: health.reason(key),
        since: state.since(key),
        out_for: out_since.map(|at| now.saturating_duration_since(*at)),
        retry_after: health.retry_after(key, now),
        p95: stats.usual().filter(|_| is.admits()),
        commands: stats.commands(),
        version: identity.and_then(|i| i.version).map(|v| v.to_string()),
        in_flight: lane.as_ref().map_or(0, |l| l.wire().in_flight()),
        connected: lane.is_some(),
        dedicated: backend.pool_if_used().map_or(0, |p| p.sizes().0),
        dials: stats.dials.load(Relaxed),
        failed_dials: stats.failed_dials.load(Relaxed),
        probes: stats.probes.load(Relaxed),
        ejections: stats.ejections.load(Relaxed),
        invalidated: totals.invalidated,
        unknown: totals.unknown,
    }
}
