//! What becomes of requests, counted; and a warning while somebody asks who may not.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::refusal::Refusal;
use crate::clock;
use crate::connection::labels::labels;

/// Whoever guesses may fill a counter, but no log.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// Counts requests by their answers, for one page.
#[derive(Debug)]
pub(super) struct Knocks {
    cluster: String,
    /// Guards what was not said yet; held for a look.
    unsaid: Mutex<Unsaid>,
}

#[derive(Debug, Default)]
struct Unsaid {
    said_at: Option<Instant>,
    count: u64,
}

impl Unsaid {
    /// One more; how many there were since the last warning, when it is time for another.
    fn one_more(&mut self, now: Instant) -> Option<u64> {
        self.count += 1;
        let is_soon = |at| now.saturating_duration_since(at) < SAID_EVERY;
        if self.said_at.is_some_and(is_soon) {
            return None;
        }
        self.said_at = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

impl Knocks {
    pub(super) fn new(cluster: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
            unsaid: Mutex::default(),
        }
    }

    /// A request was answered, or refused.
    pub(super) fn heard(&self, refused: Option<Refusal>) {
        let result = refused.map_or("answered", Refusal::word);
        let labels = labels(&self.cluster, [("result", result.to_owned())]);
        metrics::counter!("fluster_admin_requests_total", labels).increment(1);
        if !refused.is_some_and(Refusal::is_suspicious) {
            return;
        }
        let due = self.unsaid.lock().one_more(clock::now());
        if let Some(requests) = due {
            tracing::warn!(
                cluster = %self.cluster, reason = result, requests,
                "somebody asks the admin page who may not: with a wrong token, under a foreign name, or from another page"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_guesses_is_said_once_a_minute_with_how_often() {
        let (mut unsaid, now) = (Unsaid::default(), clock::now());
        assert_eq!(unsaid.one_more(now), Some(1));
        for n in 0..59 {
            assert_eq!(unsaid.one_more(now + Duration::from_secs(n)), None);
        }
        assert_eq!(unsaid.one_more(now + SAID_EVERY), Some(60));
        assert_eq!(unsaid.one_more(now + SAID_EVERY), None);
    }
}
