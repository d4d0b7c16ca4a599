//! Going, step by step.

use std::time::Duration;

/// The least who are told by hand.
const TOLD: usize = 3;
/// When those who were told are told again: a datagram may be lost.
pub(crate) const AGAIN: Duration = Duration::from_millis(200);
/// What a hook may take.
pub(crate) const HOOK: Duration = Duration::from_secs(5);

/// How many of the others hear it by hand: 40 %, and at least three. The rest hears it from them.
pub(crate) fn told(others: usize) -> usize {
    (others * 2).div_ceil(5).max(TOLD).min(others)
}

/// How leaving went; see [`leave`](super::Gossip::leave).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LeaveReport {
    /// How many others were there.
    pub others: usize,
    /// How many of them were told by hand, twice each.
    pub told: usize,
    /// The time until the others were told: keys were gone from here before that.
    pub out_after: Duration,
    /// The time in all.
    pub lasted: Duration,
    /// What went wrong, in the order it did. It did not stop the rest.
    pub errors: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_in_ten_are_told_and_never_fewer_than_three_where_there_are_three() {
        let all: Vec<_> = [0, 1, 2, 3, 4, 7, 8, 20, 999]
            .map(|n| (n, told(n)))
            .to_vec();
        let expected = [
            (0, 0),
            (1, 1),
            (2, 2),
            (3, 3),
            (4, 3),
            (7, 3),
            (8, 4),
            (20, 8),
            (999, 400),
        ];
        assert_eq!(all, expected);
    }
}
