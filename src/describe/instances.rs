//! The metrics of an application's own instances: gossip, the fleet, the admin page, forwarding.

use metrics::Unit;

use super::{Kind, Metric};

/// As those of the [table](super::table).
pub(super) const INSTANCES: &[Metric] = {
    use Kind::{Counter, Gauge, Histogram};
    &[
        (
            Gauge,
            "fluster_gossip_members",
            Some(Unit::Count),
            "Members, by state, this instance included",
        ),
        (
            Gauge,
            "fluster_gossip_ring_members",
            Some(Unit::Count),
            "Members that own keys",
        ),
        (
            Gauge,
            "fluster_gossip_keys_moved_ratio",
            None,
            "Share of the keys that the last change of the ring moved, 0 to 1",
        ),
        (
            Counter,
            "fluster_gossip_ring_changes_total",
            Some(Unit::Count),
            "Changes of the ring",
        ),
        (
            Counter,
            "fluster_gossip_probes_failed_total",
            Some(Unit::Count),
            "Members that did not answer directly",
        ),
        (
            Counter,
            "fluster_gossip_refuted_total",
            Some(Unit::Count),
            "Times that this instance had to say that it lives",
        ),
        (
            Counter,
            "fluster_gossip_renewed_total",
            Some(Unit::Count),
            "Times that this instance was given up and came back",
        ),
        (
            Counter,
            "fluster_gossip_heals_total",
            Some(Unit::Count),
            "Knocks where somebody may be who was lost, by result",
        ),
        (
            Counter,
            "fluster_gossip_syncs_total",
            Some(Unit::Count),
            "Exchanges that this instance was asked for, by result",
        ),
        (
            Counter,
            "fluster_gossip_packets_total",
            Some(Unit::Count),
            "Datagrams, by direction and type",
        ),
        (
            Counter,
            "fluster_gossip_bytes_total",
            Some(Unit::Bytes),
            "Payload of datagrams, by direction",
        ),
        (
            Gauge,
            "fluster_fleet_decision",
            None,
            "What the instances find of a node: 2 up, 1 undecided, 0 out",
        ),
        (
            Gauge,
            "fluster_fleet_down_votes",
            Some(Unit::Count),
            "Jurors that are heard and say that a node is down",
        ),
        (
            Gauge,
            "fluster_fleet_kept",
            None,
            "1 while a node's keys stay with it though this instance cannot reach it",
        ),
        (
            Gauge,
            "fluster_fleet_diverged_instances",
            Some(Unit::Count),
            "Instances with other nodes, other names or another placement",
        ),
        (
            Counter,
            "fluster_fleet_asks_total",
            Some(Unit::Count),
            "Nodes that were asked because others doubt them, by result",
        ),
        (
            Counter,
            "fluster_gossip_refused_total",
            Some(Unit::Count),
            "Datagrams that were not listened to, by reason",
        ),
        (
            Counter,
            "fluster_gossip_items_total",
            Some(Unit::Count),
            "Records of others that were odd, by result",
        ),
        (
            Gauge,
            "fluster_gossip_backlog",
            Some(Unit::Count),
            "Changes that are still passed on, by kind",
        ),
        (
            Counter,
            "fluster_gossip_dropped_total",
            Some(Unit::Count),
            "Datagrams that did not fit the socket or a limit",
        ),
        (
            Counter,
            "fluster_gossip_stalls_total",
            Some(Unit::Count),
            "Times that this process did not run for half a second",
        ),
        (
            Gauge,
            "fluster_gossip_lag_seconds",
            Some(Unit::Seconds),
            "How late a timer was at worst in the last second",
        ),
        (
            Gauge,
            "fluster_gossip_leave_seconds",
            Some(Unit::Seconds),
            "How long leaving took",
        ),
        (
            Gauge,
            "fluster_gossip_diverged",
            Some(Unit::Count),
            "Members with another ring of the same members; must be 0",
        ),
        (
            Counter,
            "fluster_admin_requests_total",
            Some(Unit::Count),
            "Requests to the admin page, by what became of them",
        ),
        (
            Counter,
            "fluster_forward_requests_total",
            Some(Unit::Count),
            "Requests that have a key, by result",
        ),
        (
            Counter,
            "fluster_forward_attempts_total",
            Some(Unit::Count),
            "Attempts to forward a request, by result",
        ),
        (
            Counter,
            "fluster_forward_reroutes_total",
            Some(Unit::Count),
            "Times that the owner was another one than before, between two attempts",
        ),
        (
            Counter,
            "fluster_forward_diverged_total",
            Some(Unit::Count),
            "Requests that others sent and that this instance does not own, by reason",
        ),
        (
            Histogram,
            "fluster_forward_duration_seconds",
            Some(Unit::Seconds),
            "Until the answer began, or did not, all attempts together",
        ),
        (
            Gauge,
            "fluster_forward_in_flight",
            Some(Unit::Count),
            "Requests that are on their way",
        ),
        (
            Counter,
            "fluster_forward_forged_total",
            Some(Unit::Count),
            "Marks that were not believed, by reason",
        ),
        (
            Counter,
            "fluster_forward_forgotten_total",
            Some(Unit::Count),
            "Marks that would no longer be known if they came again",
        ),
    ]
};
