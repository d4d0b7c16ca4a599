//! Numbers for those who look after it. The label `cluster` is that of gossip, empty without one.

use std::time::Duration;

use super::arrival::Reason;
use super::mark::Invalid;

/// What became of a request that has a key: `local`, `forwarded`, `stand_in`, `refused`, `failed`.
pub(crate) fn request(cluster: &str, result: &'static str) {
    metrics::counter!("fluster_forward_requests_total", "cluster" => cluster.to_owned(), "result" => result)
        .increment(1);
}

pub(crate) fn attempt(cluster: &str, result: &'static str) {
    metrics::counter!("fluster_forward_attempts_total", "cluster" => cluster.to_owned(), "result" => result)
        .increment(1);
}

/// The owner was another one than the one before, or is this instance by now.
pub(crate) fn reroute(cluster: &str, to: &'static str) {
    metrics::counter!("fluster_forward_reroutes_total", "cluster" => cluster.to_owned(), "to" => to)
        .increment(1);
}

/// Another instance sent what is not ours.
pub(crate) fn diverged(cluster: &str, reason: Reason) {
    metrics::counter!("fluster_forward_diverged_total", "cluster" => cluster.to_owned(), "reason" => reason.as_str())
        .increment(1);
}

/// A mark that is none; the request that it stood in is an ordinary one.
pub(crate) fn not_believed(cluster: &str, why: Invalid) {
    metrics::counter!("fluster_forward_forged_total", "cluster" => cluster.to_owned(), "reason" => why.as_str())
        .increment(1);
}

/// Nonces that were forgotten while their marks were valid.
pub(crate) fn forgotten(cluster: &str, nonces: u64) {
    if nonces > 0 {
        metrics::counter!("fluster_forward_forgotten_total", "cluster" => cluster.to_owned())
            .absolute(nonces);
    }
}

pub(crate) fn lasted(cluster: &str, lasted: Duration) {
    metrics::histogram!("fluster_forward_duration_seconds", "cluster" => cluster.to_owned())
        .record(lasted.as_secs_f64());
}
