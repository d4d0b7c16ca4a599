//! The metrics of near caches.

use metrics::Unit;

use super::{Kind, Metric};

/// As those of the [table](super::table).
pub(super) const NEAR: &[Metric] = {
    use Kind::{Counter, Gauge};
    &[
        (
            Counter,
            "fluster_near_reads_total",
            Some(Unit::Count),
            "Reads of a near cache, by what was found in this process",
        ),
        (
            Counter,
            "fluster_near_fills_total",
            Some(Unit::Count),
            "Values read for a near cache, by whether they were kept",
        ),
        (
            Gauge,
            "fluster_near_entries",
            None,
            "What a near cache keeps in this process",
        ),
        (
            Gauge,
            "fluster_near_bytes_kept",
            Some(Unit::Bytes),
            "What that weighs",
        ),
        (
            Counter,
            "fluster_near_told_total",
            Some(Unit::Count),
            "Keys that a server said had changed",
        ),
        (
            Counter,
            "fluster_near_flushes_total",
            Some(Unit::Count),
            "Times that a server said it had forgotten what was read from it",
        ),
        (
            Counter,
            "fluster_near_refused_total",
            Some(Unit::Count),
            "Times that nothing could be kept of a node, since its server does not tell of changes",
        ),
    ]
};
