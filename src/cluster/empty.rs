//! What callers are told when nobody can serve.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::clock::{self, now_micros};
use crate::cluster::engine::Engine;
use crate::error::{ClusterEmptyError, Reasons};
use crate::health::verdict::Reason;

/// Callers that find no node pull the next probe forward, at most this often.
const DEMAND_EVERY: Duration = Duration::from_millis(5);

/// When every node is drained only the operator brings one back, and nobody knows when.
const ALL_DRAINED: Duration = Duration::from_secs(1);

impl Engine {
    /// A call has no candidate left, because all are out or those that are in have failed it: the next probes of
    /// those that are out come sooner. That somebody is in, maybe only by the cap, is no reason to let it wait.
    pub(crate) fn demand(self: &Arc<Self>) {
        if self.has_somebody_out() {
            self.ensure_monitored();
            self.pull_probes(clock::now());
        }
    }

    fn has_somebody_out(&self) -> bool {
        let snapshot = self.snapshot.load();
        snapshot.callable().count() < snapshot.nodes.len()
    }

    pub(super) fn pull_probes(&self, now: Instant) {
        let (micros, last) = (now_micros(), self.demanded_at.load(Relaxed));
        let due = micros.saturating_sub(last) >= DEMAND_EVERY.as_micros() as u64
            && self
                .demanded_at
                .compare_exchange(last, micros, Relaxed, Relaxed)
                .is_ok();
        if !due {
            return;
        }
        let snapshot = self.snapshot.load();
        let mut state = self.state.lock();
        let mut sooner = false;
        for backend in snapshot.nodes.iter() {
            sooner |= state.health.demand(backend.key(), now);
        }
        drop(state);
        if sooner {
            self.wake.notify_one();
        }
    }

    /// Nobody can serve: pulls the next probes forward and says why each node is out.
    pub(crate) fn empty(self: &Arc<Self>) -> ClusterEmptyError {
        self.ensure_monitored();
        let now = clock::now();
        self.pull_probes(now);
        let snapshot = self.snapshot.load();
        let mut state = self.state.lock();
        let mut retry_after: Option<Duration> = None;
        for backend in snapshot.nodes.iter() {
            if state.health.overruled(backend.key()).drained {
                continue;
            }
            let wait = state
                .health
                .retry_after(backend.key(), now)
                .unwrap_or_default();
            retry_after = Some(retry_after.map_or(wait, |least| least.min(wait)));
        }
        let version = *self.published.borrow();
        let reasons = match &state.empty {
            Some((of, reasons)) if *of == version => Arc::clone(reasons),
            _ => {
                let reason = |key| match state.health.overruled(key).drained {
                    true => Reason::Drained,
                    false => state.health.reason(key).unwrap_or(Reason::Io),
                };
                let all = snapshot
                    .nodes
                    .iter()
                    .map(|b| (b.id().clone(), reason(b.key())));
                let reasons: Reasons = all.collect();
                state.empty = Some((version, Arc::clone(&reasons)));
                reasons
            }
        };
        drop(state);
        ClusterEmptyError::new(reasons, retry_after.unwrap_or(ALL_DRAINED))
    }
}
