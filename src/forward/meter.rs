//! Numbers for those who look after it. The label `cluster` is that of gossip, empty without one.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

use super::arrival::Reason;
use super::mark::Invalid;

/// The metrics of one forwarder. Those of each request are looked up once: with its labels that costs as much as the
/// rest of what is counted.
pub(crate) struct Meter {
    cluster: Box<str>,
    requests: [(&'static str, Counter); 5],
    attempts: [(&'static str, Counter); 8],
    forgotten: Counter,
    lasted: Histogram,
}

impl Meter {
    pub(crate) fn new(cluster: &str) -> Self {
        crate::describe::describe();
        let label = || cluster.to_owned();
        let requests = ["local", "forwarded", "stand_in", "refused", "failed"];
        let attempts = [
            "answered",
            "not_owner",
            "draining",
            "not_processed",
            "refused",
            "unreachable",
            "broken",
            "deadline",
        ];
        let request = |result| {
            (
                result,
                metrics::counter!("fluster_forward_requests_total", "cluster" => label(), "result" => result),
            )
        };
        let attempt = |result| {
            (
                result,
                metrics::counter!("fluster_forward_attempts_total", "cluster" => label(), "result" => result),
            )
        };
        Self {
            cluster: cluster.into(),
            requests: requests.map(request),
            attempts: attempts.map(attempt),
            forgotten: metrics::counter!("fluster_forward_forgotten_total", "cluster" => label()),
            lasted: metrics::histogram!("fluster_forward_duration_seconds", "cluster" => label()),
        }
    }

    /// What is under way.
    pub(crate) fn in_flight(cluster: &str) -> Gauge {
        metrics::gauge!("fluster_forward_in_flight", "cluster" => cluster.to_owned())
    }

    /// What became of a request that has a key: `local`, `forwarded`, `stand_in`, `refused`, `failed`.
    pub(crate) fn request(&self, result: &'static str) {
        one(&self.requests, result);
    }

    pub(crate) fn attempt(&self, result: &'static str) {
        one(&self.attempts, result);
    }

    /// The owner was another one than the one before, or is this instance by now.
    pub(crate) fn reroute(&self, to: &'static str) {
        metrics::counter!("fluster_forward_reroutes_total", "cluster" => self.cluster.to_string(), "to" => to)
            .increment(1);
    }

    /// Another instance sent what is not ours.
    pub(crate) fn diverged(&self, reason: Reason) {
        metrics::counter!("fluster_forward_diverged_total", "cluster" => self.cluster.to_string(), "reason" => reason.as_str())
            .increment(1);
    }

    /// A mark that is none; the request that it stood in is an ordinary one.
    pub(crate) fn not_believed(&self, why: Invalid) {
        metrics::counter!("fluster_forward_forged_total", "cluster" => self.cluster.to_string(), "reason" => why.as_str())
            .increment(1);
    }

    /// Nonces that were forgotten while their marks were valid.
    pub(crate) fn forgotten(&self, nonces: u64) {
        if nonces > 0 {
            self.forgotten.absolute(nonces);
        }
    }

    pub(crate) fn lasted(&self, lasted: Duration) {
        self.lasted.record(lasted.as_secs_f64());
    }
}

fn one(all: &[(&'static str, Counter)], result: &str) {
    let mut all = all.iter();
    if let Some((_, counter)) = all.find(|(name, _)| *name == result) {
        counter.increment(1);
    }
}
