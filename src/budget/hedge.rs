//! How many reads may be sent a second time because the first node is slow.

use crate::budget::token_bucket::TokenBucket;

/// A cluster begins with so many hedges, for those whose traffic is small,
const FIRST_HEDGES: f64 = 10.0;
/// and saves up at most so many: all tasks of a busy process meet a slow node at the same moment.
const SAVED_HEDGES: f64 = 100.0;
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
}
