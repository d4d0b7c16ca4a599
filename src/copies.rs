//! What may be spent on copies beyond what was asked for: hedged reads, and repairs of missing values.

use std::time::{Duration, Instant};

use crate::token_bucket::TokenBucket;

/// A cluster begins with so many hedges, for those whose traffic is small,
const FIRST_HEDGES: f64 = 10.0;
/// and saves up at most so many: all tasks of a busy process meet a slow node at the same moment.
const SAVED_HEDGES: f64 = 100.0;
/// Copies to nodes that came back without their data, per second.
const REPAIRS_PER_SECOND: f64 = 1000.0;

/// How many reads may be sent a second time because the first node is slow: a share of all reads that
/// could be. Source: Dean and Barroso, "The Tail at Scale" (2013), whose hedged requests are held to a
/// few per cent of the load.
#[derive(Debug)]
pub(crate) struct HedgeBudget {
    share: f64,
    tokens: TokenBucket,
}

impl HedgeBudget {
    /// `share` of all reads, 0 to 1.
    pub(crate) fn new(share: f64) -> Self {
        Self {
            share,
            tokens: match share > 0.0 {
                true => TokenBucket::with(FIRST_HEDGES, SAVED_HEDGES),
                false => TokenBucket::full(0.0),
            },
        }
    }

    /// A read that could be hedged begins.
    pub(crate) fn read(&mut self) {
        self.tokens.add(self.share);
    }

    /// Takes one hedge; `false` when the budget is spent: the first node's answer is waited for.
    pub(crate) fn take(&mut self) -> bool {
        self.tokens.take()
    }
}

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
    fn hedges_stay_below_their_share_of_the_reads() {
        let mut budget = HedgeBudget::new(0.1);
        let hedged = (0..10_000).filter(|_| {
            budget.read();
            budget.take()
        });
        let hedged = hedged.count();
        assert!((1000..=1010).contains(&hedged), "{hedged}");
    }

    #[test]
    fn a_share_of_nothing_hedges_nothing() {
        let mut budget = HedgeBudget::new(0.0);
        budget.read();
        assert!(!budget.take());
    }

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
