//! How many commands may be sent a second time, so that an outage does not double the load.

use std::time::{Duration, Instant};

use crate::budget::token_bucket::TokenBucket;

/// Tokens added for each command that is sent: a tenth may be repeated.
const SHARE: f64 = 0.1;
/// At most so many are saved up; a cluster begins with them.
const BURST: f64 = 100.0;
/// With little traffic this many are still added per second: a hundred in ten seconds.
const FLOOR_PER_SECOND: f64 = 10.0;

/// A token bucket for commands that may have been executed and are sent again all the same.
///
/// Choosing a stand-in for a node that is out is no repetition and costs nothing. Source: the retry
/// budgets of Finagle and linkerd.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    tokens: TokenBucket,
    sent: u64,
    at: Instant,
}

impl RetryBudget {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            tokens: TokenBucket::full(BURST),
            sent: 0,
            at: now,
        }
    }

    /// When the number of commands sent was last looked at.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) < Duration::from_millis(100)
    }

    /// Adds what the traffic since the last call has earned; `sent` counts all commands so far.
    pub(crate) fn earn(&mut self, sent: u64, now: Instant) {
        let time = now.saturating_duration_since(self.at).as_secs_f64();
        let traffic = sent.saturating_sub(self.sent) as f64 * SHARE;
        self.tokens.add(traffic.max(time * FLOOR_PER_SECOND));
        self.sent = sent.max(self.sent);
        self.at = now;
    }

    /// Takes one token; `false` when there is none: the failure then goes to the caller.
    pub(crate) fn take(&mut self) -> bool {
        self.tokens.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_at_once_then_a_tenth_of_the_traffic() {
        let start = Instant::now();
        let mut budget = RetryBudget::new(start);
        assert_eq!((0..1000).filter(|_| budget.take()).count(), 100);
        budget.earn(500, start + Duration::from_secs(1));
        assert_eq!((0..1000).filter(|_| budget.take()).count(), 50);
        budget.earn(1_000_000, start + Duration::from_secs(2));
        assert_eq!(
            (0..1000).filter(|_| budget.take()).count(),
            100,
            "no more than the burst is saved"
        );
    }

    #[test]
    fn with_little_traffic_ten_a_second_are_still_allowed() {
        let start = Instant::now();
        let mut budget = RetryBudget::new(start);
        while budget.take() {}
        budget.earn(3, start + Duration::from_secs(2));
        assert_eq!((0..1000).filter(|_| budget.take()).count(), 20);
    }
}
