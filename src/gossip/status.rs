//! What an instance looks like at one moment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::shared::Shared;
use super::view::Member;
use crate::clock;

/// A picture of one instance, and of whom it knows; see [`status`](super::Gossip::status).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GossipStatus {
    /// The name of the cluster.
    pub cluster: String,
    /// This instance.
    pub me: MemberStatus,
    /// How many members there are in each state, this one included.
    pub members: BTreeMap<String, u32>,
    /// How many of them own keys.
    pub ring: u32,
    /// The ring in 16 hexadecimal digits: instances with the same one agree on every key. `None` while nobody is ready.
    pub fingerprint: Option<String>,
    /// How many pictures there were.
    pub epoch: u64,
    /// The keys, by their ids; the first one seals. None: plaintext.
    pub key_ids: Vec<u8>,
    /// Since the start.
    pub uptime: Duration,
    /// Datagrams sent and received since the start.
    pub packets: (u64, u64),
    /// Bytes sent and received in the last second.
    pub bytes_per_second: (f64, f64),
    /// Datagrams that were not listened to, since the start.
    pub refused: u64,
    /// Members that have another ring of the same members.
    pub diverged: u32,
    /// How late a timer was at worst in the last second.
    pub lag: Duration,
}

/// One member in a [`GossipStatus`], or in the answer to an operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MemberStatus {
    /// The name by which it owns keys.
    pub ring_id: String,
    /// Where the others reach it.
    pub address: SocketAddr,
    /// Which start at this address it is.
    pub generation: u64,
    /// `alive`, `suspect`, `down` or `left`.
    pub state: String,
    /// `joining`, `ready`, `draining` or `leaving`.
    pub phase: String,
    /// Since when it is in this state.
    pub since: Duration,
    /// Its share of the keys relative to the others.
    pub weight: u16,
    /// Where it takes requests.
    pub http: Option<String>,
    /// What it says of itself.
    pub labels: BTreeMap<String, String>,
}

impl MemberStatus {
    pub(crate) fn new(member: &Member) -> Self {
        Self {
            ring_id: member.ring_id.to_string(),
            address: member.address,
            generation: member.generation,
            state: member.state.as_str().to_owned(),
            phase: member.phase.as_str().to_owned(),
            since: clock::since(member.since),
            weight: member.weight,
            http: member.http.as_ref().map(ToString::to_string),
            labels: member
                .labels
                .iter()
                .map(|(key, value)| (key.to_string(), value.to_string()))
                .collect(),
        }
    }
}

impl GossipStatus {
    pub(crate) fn of(shared: &Shared) -> Self {
        let (view, numbers) = (shared.view.load(), shared.numbers.lock().clone());
        let mut members = BTreeMap::new();
        for member in view.members() {
            *members.entry(member.state.as_str().to_owned()).or_insert(0) += 1;
        }
        let counters = &numbers.counters;
        Self {
            cluster: shared.cluster.clone(),
            me: MemberStatus::new(view.me()),
            members,
            ring: view.ring().len() as u32,
            fingerprint: view
                .fingerprint()
                .map(|fingerprint| fingerprint.to_string()),
            epoch: view.epoch(),
            key_ids: numbers.key_ids,
            uptime: clock::since(shared.started),
            packets: (counters.sent.iter().sum(), counters.received.iter().sum()),
            bytes_per_second: numbers.rate,
            refused: counters.refused.iter().sum(),
            diverged: numbers.diverged as u32,
            lag: counters.lag,
        }
    }
}
