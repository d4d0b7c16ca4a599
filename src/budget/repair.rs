//! How many missing values may be filled on nodes that came back without them.

use std::time::{Duration, Instant};

use crate::budget::token_bucket::TokenBucket;

/// Copies to nodes that came back without their data, per second.
const REPAIRS_PER_SECOND: f64 = 1000.0;

/// How many missing values may be filled: a node that came back empty is warmed up by its readers, but
/// not at the price of the traffic.
#[derive(Debug)]
pub(crate) struct RepairBudget {
    tokens: TokenBucket,
    at: Instant,
}

impl RepairBudget {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            tokens: TokenBucket::full(REPAIRS_PER_SECOND),
            at: now,
        }
    }

    /// Takes one repair; `false` when there were a thousand in the last second.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let time = now
            .saturating_duration_since(self.at)
            .min(Duration::from_secs(1));
        self.tokens.add(time.as_secs_f64() * REPAIRS_PER_SECOND);
        self.at = now;
        self.tokens.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repairs_are_a_thousand_a_second() {
        let start = Instant::now();
        let mut budget = RepairBudget::new(start);
        assert_eq!((0..5000).filter(|_| budget.take(start)).count(), 1000);
        let later = start + Duration::from_millis(500);
        assert_eq!((0..5000).filter(|_| budget.take(later)).count(), 500);
        let much_later = start + Duration::from_secs(60);
        assert_eq!((0..5000).filter(|_| budget.take(much_later)).count(), 1000);
    }
}
