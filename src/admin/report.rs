//! What the page shows, as one document.

use serde::Serialize;

use super::depths::QueueDepth;
use super::inner::Inner;
use crate::clock;
use crate::cluster::status::{ClusterStatus, json};

/// The cluster's status, and what stands beside it.
#[derive(Serialize)]
pub(super) struct Report {
    #[serde(flatten)]
    status: ClusterStatus,
    /// The time of the day.
    at: String,
    /// How long the page has been there.
    up_for_ms: u64,
    /// Nodes that are sent traffic.
    active: usize,
    /// The share of all keys that each node owns, in the order of the nodes.
    shares: Vec<f64>,
    /// Whether there are actions.
    actions: bool,
    queues: Vec<QueueDepth>,
    #[cfg(feature = "gossip")]
    instances: Option<instances::Instances>,
}

impl Report {
    /// # Cancellation
    ///
    /// Safe.
    pub(super) async fn make(inner: &Inner) -> Self {
        let queues = inner.depths.get(&inner.parts.queues).await;
        let status = inner.engine().status();
        let shares = inner.shares();
        Self {
            at: json::rfc3339(clock::time_of_day()),
            up_for_ms: json::whole(clock::since(inner.began)),
            active: status.active(),
            // Four digits are enough for a picture.
            shares: shares
                .iter()
                .map(|share| (share * 1e4).round() / 1e4)
                .collect(),
            actions: inner.access.allow_actions,
            queues,
            #[cfg(feature = "gossip")]
            instances: instances::Instances::of(inner),
            status,
        }
    }
}

#[cfg(feature = "gossip")]
mod instances {
    use std::collections::BTreeMap;

    use serde::Serialize;

    use super::Inner;
    use crate::clock;
    use crate::cluster::status::json;
    use crate::gossip::Member;

    /// So many are listed; how many there are is said.
    const LISTED: usize = 1000;

    /// The instances of the application, as this one knows them.
    #[derive(Serialize)]
    pub(super) struct Instances {
        cluster: String,
        /// How many there are in each state.
        members: BTreeMap<String, u32>,
        /// How many own keys.
        ring: u32,
        fingerprint: Option<String>,
        /// How many have another ring of the same members.
        diverged: u32,
        list: Vec<Instance>,
    }

    #[derive(Serialize)]
    struct Instance {
        name: String,
        address: String,
        state: &'static str,
        phase: &'static str,
        is_me: bool,
        since_ms: u64,
        weight: u16,
    }

    impl Instances {
        pub(super) fn of(inner: &Inner) -> Option<Self> {
            let gossip = inner.parts.gossip.as_ref()?.upgrade()?;
            let (status, view) = (gossip.status(), gossip.view());
            let mut members: Vec<_> = view.members().iter().collect();
            // Those that are not well first.
            members.sort_by_key(|member| (member.is_ready(), !member.is_me));
            Some(Self {
                cluster: status.cluster,
                members: status.members,
                ring: status.ring,
                fingerprint: status.fingerprint,
                diverged: status.diverged,
                list: members
                    .into_iter()
                    .take(LISTED)
                    .map(|m| Instance::of(m))
                    .collect(),
            })
        }
    }

    impl Instance {
        fn of(member: &Member) -> Self {
            Self {
                name: member.ring_id.to_string(),
                address: member.address.to_string(),
                state: member.state.as_str(),
                phase: member.phase.as_str(),
                is_me: member.is_me,
                since_ms: json::whole(clock::since(member.since)),
                weight: member.weight,
            }
        }
    }
}
