//! The metrics of a cluster, as one table.

use metrics::Unit;

use super::{Kind, Metric};

/// Each of them, but for those of [near caches](super::near).
pub(super) const METRICS: &[Metric] = {
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
            "fluster_address_changes_total",
            Some(Unit::Count),
            "Times that a node's name, or its sentinels, led to another address",
        ),
        (
            Counter,
            "fluster_sentinel_refused_total",
            Some(Unit::Count),
            "Times that a sentinel that was asked named nobody, or no master, by reason",
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
            "fluster_return_unready_total",
            Some(Unit::Count),
            "Returns in which another instance was not ready for the node in time",
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
    ]
};
