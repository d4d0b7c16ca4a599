//! What each metric is and in which unit it counts, told to the recorder, so that an exporter can say it beside the figures.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Each metric of fluster: its kind, its name, its unit where it has one, and what it is.
const METRICS: &[(Kind, &str, Option<Unit>, &str)] = {
    use Kind::{Counter, Gauge, Histogram};
    &[
        (
            Counter,
            "fluster_commands_total",
            Some(Unit::Count),
            "Attempts of commands at a node, by outcome",
        ),
        (
            Counter,
            "fluster_error_replies_total",
            Some(Unit::Count),
            "Error replies of a node, by code",
        ),
        (
            Histogram,
            "fluster_command_duration_seconds",
            Some(Unit::Seconds),
            "How long commands took that succeeded, waiting for a connection included",
        ),
        (
            Gauge,
            "fluster_node_state",
            None,
            "3 up, 2 on probation, 1 being probed, 0 down; NaN once the node is gone",
        ),
        (
            Gauge,
            "fluster_node_degraded",
            None,
            "1 while the node is much slower than the others",
        ),
        (
            Gauge,
            "fluster_node_drained",
            None,
            "1 while the operator has the node drained",
        ),
        (
            Counter,
            "fluster_ejections_total",
            Some(Unit::Count),
            "Times that a node went out, by reason",
        ),
        (
            Counter,
            "fluster_probes_total",
            Some(Unit::Count),
            "Probes of a node that was out, by result",
        ),
        (
            Counter,
            "fluster_shifted_replies_total",
            Some(Unit::Count),
            "Connections closed since a reply came in the place of another",
        ),
        (
            Counter,
            "fluster_proofs_refused_total",
            Some(Unit::Count),
            "Times that a server was found to forbid ECHO to our user",
        ),
        (
            Counter,
            "fluster_client_stalls_total",
            Some(Unit::Count),
            "Times that this process stood still for more than 100 ms while a call waited",
        ),
        (
            Counter,
            "fluster_failovers_total",
            Some(Unit::Count),
            "Commands that a node failed and that went on to another one",
        ),
        (
            Gauge,
            "fluster_connections",
            Some(Unit::Count),
            "Connections of a node, by kind and state",
        ),
        (
            Counter,
            "fluster_replicated_writes_total",
            Some(Unit::Count),
            "Replicated writes, by result",
        ),
        (
            Counter,
            "fluster_return_noted_total",
            Some(Unit::Count),
            "Keys noted at a server behind their writes, for nodes that are out",
        ),
        (
            Counter,
            "fluster_return_keys_total",
            Some(Unit::Count),
            "Keys taken from a node that returned, since they were written elsewhere meanwhile",
        ),
        (
            Counter,
            "fluster_return_unknown_total",
            Some(Unit::Count),
            "Returns of which nobody knew which keys are old, by reason",
        ),
        (
            Counter,
            "fluster_return_refused_total",
            Some(Unit::Count),
            "Notes, and what works them off, that failed or were refused at a server",
        ),
        (
            Counter,
            "fluster_hedges_total",
            Some(Unit::Count),
            "Hedged reads, by result",
        ),
        (
            Counter,
            "fluster_read_repairs_total",
            Some(Unit::Count),
            "Values put on a node that had lost them",
        ),
        (
            Counter,
            "fluster_read_repairs_failed_total",
            Some(Unit::Count),
            "Repairs that failed at a node",
        ),
        (
            Counter,
            "fluster_replica_writes_failed_total",
            Some(Unit::Count),
            "Replicated writes that failed at a node after their quorum was met",
        ),
        (
            Counter,
            "fluster_stand_in_caps_failed_total",
            Some(Unit::Count),
            "Keys written to a stand-in that keep their full time to live",
        ),
        (
            Counter,
            "fluster_removals_total",
            Some(Unit::Count),
            "Values taken back that were written after their invalidation",
        ),
        (
            Counter,
            "fluster_removals_failed_total",
            Some(Unit::Count),
            "Values that could not be taken back",
        ),
        (
            Counter,
            "fluster_cache_unkept_total",
            Some(Unit::Count),
            "Computed values that could not be kept",
        ),
        (
            Counter,
            "fluster_cache_reads_total",
            Some(Unit::Count),
            "Reads of a cache, by result",
        ),
        (
            Counter,
            "fluster_queue_pushed_total",
            Some(Unit::Count),
            "Pushes to a node, by result",
        ),
        (
            Counter,
            "fluster_queue_delivered_total",
            Some(Unit::Count),
            "Deliveries fetched by this process",
        ),
        (
            Counter,
            "fluster_queue_redelivered_total",
            Some(Unit::Count),
            "Of these, repeated ones",
        ),
        (
            Counter,
            "fluster_queue_acked_total",
            Some(Unit::Count),
            "Deliveries that this process acknowledged in time",
        ),
        (
            Counter,
            "fluster_queue_dead_total",
            Some(Unit::Count),
            "Dead letters that this process made",
        ),
        (
            Counter,
            "fluster_queue_chores_failed_total",
            Some(Unit::Count),
            "Tries of this process to do the chores of a node that failed",
        ),
        (
            Gauge,
            "fluster_queue_depth",
            Some(Unit::Count),
            "Messages due, under way or delayed",
        ),
        (
            Gauge,
            "fluster_keys_moved_ratio",
            None,
            "Share of the keys that the last change of nodes moved, 0 to 1",
        ),
        (
            Gauge,
            "fluster_discovery_endpoints",
            Some(Unit::Count),
            "Endpoints that the source lists",
        ),
        (
            Counter,
            "fluster_discovery_snapshots_total",
            Some(Unit::Count),
            "Lists of the source, by result",
        ),
        (
            Gauge,
            "fluster_discovery_age_seconds",
            Some(Unit::Seconds),
            "How long ago the source last gave a list that is not empty",
        ),
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Tells the recorder that is installed. Once for each cluster and instance: who made the first one may have had none.
pub(crate) fn describe() {
    for &(kind, name, unit, text) in METRICS {
        match (kind, unit) {
            (Kind::Counter, Some(unit)) => describe_counter!(name, unit, text),
            (Kind::Counter, None) => describe_counter!(name, text),
            (Kind::Gauge, Some(unit)) => describe_gauge!(name, unit, text),
            (Kind::Gauge, None) => describe_gauge!(name, text),
            (Kind::Histogram, Some(unit)) => describe_histogram!(name, unit, text),
            (Kind::Histogram, None) => describe_histogram!(name, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The names in the first columns of the guide's tables.
    fn documented() -> BTreeSet<&'static str> {
        let chapters = [
            include_str!("guide/observability.md"),
            include_str!("guide/discovery.md"),
        ];
        let rows = chapters.into_iter().flat_map(str::lines);
        let cells = rows.filter_map(|row| row.strip_prefix("| `")?.split(" | ").next());
        let words = cells.flat_map(|cell| cell.split(['`', ',', ' ']));
        words
            .filter_map(|word| word.strip_prefix("fluster_"))
            .collect()
    }

    #[test]
    fn every_documented_metric_is_described_and_no_other() {
        let described: BTreeSet<&str> = METRICS
            .iter()
            .filter_map(|(_, name, ..)| name.strip_prefix("fluster_"))
            .collect();
        assert_eq!(described.len(), METRICS.len(), "each once");
        assert_eq!(described, documented());
    }

    #[test]
    fn kinds_and_units_are_those_of_the_names() {
        for (kind, name, unit, text) in METRICS {
            assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}");
            assert_eq!(
                *unit == Some(Unit::Seconds),
                name.ends_with("_seconds"),
                "{name}"
            );
            assert_eq!(
                *unit == Some(Unit::Bytes),
                name.contains("_bytes_"),
                "{name}"
            );
            assert!(text.len() > 10 && !text.ends_with('.'), "{name}: {text}");
        }
    }
}
