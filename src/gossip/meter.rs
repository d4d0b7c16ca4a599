//! Numbers and lines for those who look after a cluster of instances.

use std::collections::BTreeMap;

use super::events::GossipEvent;
use super::frame::{Kind, Refusal};
use super::shared::Numbers;
use super::view::{Member, MemberState, MemberView};

/// What is told once a second.
pub(crate) struct Meter {
    cluster: String,
}

impl Meter {
    pub(crate) fn new(cluster: &str) -> Self {
        crate::describe::describe();
        Self {
            cluster: cluster.to_owned(),
        }
    }

    pub(crate) fn report(&self, numbers: &Numbers, view: &MemberView) {
        let cluster = || self.cluster.clone();
        let mut states: BTreeMap<_, u32> = [
            MemberState::Alive,
            MemberState::Suspect,
            MemberState::Down,
            MemberState::Left,
        ]
        .map(|state| (state, 0))
        .into();
        for member in view.members() {
            *states.entry(member.state).or_default() += 1;
        }
        for (state, count) in states {
            metrics::gauge!("fluster_gossip_members", "cluster" => cluster(), "state" => state.as_str())
                .set(f64::from(count));
        }
        let gauge = |name: &'static str, value: f64| {
            metrics::gauge!(name, "cluster" => cluster()).set(value)
        };
        gauge("fluster_gossip_ring_members", view.ring().len() as f64);
        gauge("fluster_gossip_keys_moved_ratio", numbers.moved);
        gauge(
            "fluster_gossip_lag_seconds",
            numbers.counters.lag.as_secs_f64(),
        );
        gauge("fluster_gossip_diverged", numbers.diverged as f64);
        for (kind, waiting) in [("members", numbers.backlog.0), ("items", numbers.backlog.1)] {
            metrics::gauge!("fluster_gossip_backlog", "cluster" => cluster(), "kind" => kind)
                .set(waiting as f64);
        }
        let counters = &numbers.counters;
        let total = |name: &'static str, value: u64| {
            metrics::counter!(name, "cluster" => cluster()).absolute(value)
        };
        total("fluster_gossip_ring_changes_total", numbers.ring_changes);
        total("fluster_gossip_probes_failed_total", counters.probes_failed);
        total("fluster_gossip_refuted_total", counters.refuted);
        total("fluster_gossip_renewed_total", counters.renewed);
        total("fluster_gossip_dropped_total", counters.dropped);
        total("fluster_gossip_stalls_total", counters.stalls);
        for (result, value) in [
            ("answered", counters.heals_answered),
            ("silent", counters.heals_silent),
        ] {
            metrics::counter!("fluster_gossip_heals_total", "cluster" => cluster(), "result" => result).absolute(value);
        }
        for (result, value) in [
            ("equal", counters.syncs_equal),
            ("different", counters.syncs_different),
        ] {
            metrics::counter!("fluster_gossip_syncs_total", "cluster" => cluster(), "result" => result).absolute(value);
        }
        for (direction, packets, bytes) in [
            ("out", &counters.sent, counters.sent_bytes),
            ("in", &counters.received, counters.received_bytes),
        ] {
            metrics::counter!("fluster_gossip_bytes_total", "cluster" => cluster(), "direction" => direction)
                .absolute(bytes);
            for kind in Kind::ALL {
                metrics::counter!(
                    "fluster_gossip_packets_total",
                    "cluster" => cluster(), "direction" => direction, "type" => kind.as_str()
                )
                .absolute(packets[kind as usize]);
            }
        }
        for (result, value) in [
            ("refused", numbers.items.refused),
            ("unknown", numbers.items.unknown),
            ("forked", numbers.items.forked),
        ] {
            metrics::counter!("fluster_gossip_items_total", "cluster" => cluster(), "result" => result).absolute(value);
        }
        for reason in Refusal::ALL {
            metrics::counter!("fluster_gossip_refused_total", "cluster" => cluster(), "reason" => reason.as_str())
                .absolute(counters.refused[reason as usize]);
        }
    }
}

/// A member wants what the rule cannot do.
pub(crate) fn log_unfit(cluster: &str, m: &Member) {
    tracing::warn!(
        %cluster, member = %m.ring_id, address = %m.address, weight = m.weight,
        "an instance cannot be placed with this weight: it weighs 1 or owns nothing until it has another one"
    );
}

/// Of what happens, the lines that somebody should read.
pub(crate) fn log(cluster: &str, event: &GossipEvent) {
    match event {
        GossipEvent::MemberUp(m) | GossipEvent::MemberRenewed(m) => {
            tracing::info!(%cluster, member = %m.ring_id, address = %m.address, "an instance is there");
        }
        GossipEvent::MemberLeft(m) => {
            tracing::info!(%cluster, member = %m.ring_id, address = %m.address, "an instance left");
        }
        GossipEvent::MemberDown(m) => {
            tracing::warn!(%cluster, member = %m.ring_id, address = %m.address, "an instance is gone without a word");
        }
        GossipEvent::RingChanged {
            new,
            added,
            removed,
            moved,
            ..
        } => {
            let fingerprint = new.map(|f| f.to_string()).unwrap_or_default();
            let (added, removed) = (added.len(), removed.len());
            tracing::info!(%cluster, %fingerprint, added, removed, moved, "keys have other owners");
        }
        GossipEvent::RingDiverged(m) => {
            tracing::warn!(
                %cluster, member = %m.ring_id, address = %m.address,
                "an instance knows the same members and has another ring: its placement is another one"
            );
        }
        GossipEvent::RingIdTaken(m) => {
            tracing::warn!(
                %cluster, member = %m.ring_id, address = %m.address,
                "two instances have one ring id; this one was started first, and owns nothing"
            );
        }
        GossipEvent::AddressTaken => {
            tracing::warn!(%cluster, "another process is at our address: this instance owns no keys until that ends");
        }
        GossipEvent::Renewed => {
            tracing::warn!(%cluster, "the others had given this instance up; it is there again");
        }
        GossipEvent::Refused { reason } => {
            tracing::warn!(%cluster, reason = reason.as_str(), "a datagram was not listened to");
        }
        GossipEvent::Ready => tracing::info!(%cluster, "this instance takes keys"),
        GossipEvent::Alone => tracing::warn!(%cluster, "no other instance is there"),
        GossipEvent::Left => tracing::info!(%cluster, "this instance left"),
        GossipEvent::MemberSuspected(_)
        | GossipEvent::RecordChanged { .. }
        | GossipEvent::HealTried { .. }
        | GossipEvent::Missed(_) => {}
    }
}
