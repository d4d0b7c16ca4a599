//! What a near cache does, for people and monitors.

use crate::backend::tracking::NearState;
use crate::cache::Cache;
use crate::clock::now_micros;
use crate::near::Count;
use crate::node::NodeId;

use std::time::Duration;

/// A picture of what a cache keeps in this process; see [`near_status`](Cache::near_status).
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct NearStatus {
    /// Reads that this process answered.
    pub hits: u64,
    /// Reads that asked a server, for whatever reason.
    pub misses: u64,
    /// Values that were kept.
    pub stored: u64,
    /// Values that were not kept, since the key was written while they were read.
    pub overtaken: u64,
    /// Keys that servers told of.
    pub told: u64,
    /// Entries that are kept, whether current or not.
    pub entries: u64,
    /// What they weigh, in bytes.
    pub bytes: u64,
    /// The nodes, in the order they were configured.
    pub nodes: Vec<NearNode>,
}

/// One node in a [`NearStatus`].
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct NearNode {
    /// The node's name.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "crate::cluster::status::json::text")
    )]
    pub name: NodeId,
    /// Whether its server tells of changes: `on`, `unused`, `lost` (there is no connection now), `refused` (it does not, or
    /// speaks no RESP3), `mute` (it says that it does, and does not).
    pub state: &'static str,
    /// How long ago the latest proof was asked for that all it told has come; `None` without a connection, or a proof.
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "proven_ms",
            serialize_with = "crate::cluster::status::json::millis"
        )
    )]
    pub proven: Option<Duration>,
}

impl<V, C> Cache<V, C> {
    /// What the near cache of this cache does; `None` without one. [Example](crate::guide::by_example#a-near-cache).
    #[must_use]
    pub fn near_status(&self) -> Option<NearStatus> {
        let store = self.inner.near.as_ref()?.store();
        let counts = store.counts();
        let misses = [
            Count::Absent,
            Count::Epoch,
            Count::Silence,
            Count::Expired,
            Count::Off,
        ];
        let (entries, bytes) = store.size();
        let snapshot = self.inner.cluster.engine().topology();
        let nodes = snapshot.nodes.iter().map(|backend| {
            let tracking = backend.near().tracking();
            let (epoch, proven) = tracking.as_ref().map_or((0, 0), |t| t.current().judged());
            let is_proven = epoch != 0 && proven != 0;
            NearNode {
                name: backend.id().clone(),
                state: match backend.near().state() {
                    NearState::Unused => "unused",
                    NearState::On if epoch == 0 => "lost",
                    NearState::On => "on",
                    NearState::Lost => "lost",
                    NearState::Refused => "refused",
                    NearState::Mute => "mute",
                },
                proven: is_proven
                    .then(|| Duration::from_micros(now_micros().saturating_sub(proven))),
            }
        });
        Some(NearStatus {
            hits: counts.get(Count::Hit),
            misses: misses.into_iter().map(|count| counts.get(count)).sum(),
            stored: counts.get(Count::Stored),
            overtaken: counts.get(Count::Overtaken),
            told: counts.get(Count::Told),
            entries,
            bytes,
            nodes: nodes.collect(),
        })
    }
}
