//! How many replicas have to agree.

use std::fmt;

/// How many of a key's replicas must have acknowledged a write before it counts.
///
/// It counts against the replicas that were asked for, not against those that are live: with one of
/// three out, `All` fails.
///
/// ```
/// use fluster::replication::Quorum;
///
/// assert_eq!(Quorum::Majority.of(3), Some(2));
/// assert_eq!(Quorum::Majority.of(4), Some(3));
/// assert_eq!(Quorum::AtLeast(4).of(3), None, "can never be met");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Deserialize, serde::Serialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum Quorum {
    /// One: the write is somewhere. The default.
    #[default]
    One,
    /// More than half: two majorities always have a replica in common.
    Majority,
    /// Every replica.
    All,
    /// At least so many.
    AtLeast(usize),
}

impl Quorum {
    /// The acknowledgements that `replicas` need; `None` when they cannot be met: none at all, or more
    /// than there are replicas. [Example](crate::guide::by_example#replicas).
    #[must_use]
    pub fn of(self, replicas: usize) -> Option<usize> {
        let needed = match self {
            Self::One => 1,
            Self::Majority => replicas / 2 + 1,
            Self::All => replicas,
            Self::AtLeast(n) => n,
        };
        (1..=replicas).contains(&needed).then_some(needed)
    }
}

impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One => f.write_str("one"),
            Self::Majority => f.write_str("a majority"),
            Self::All => f.write_str("all"),
            Self::AtLeast(n) => write!(f, "at least {n}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_majorities_overlap_and_no_quorum_is_met_by_nothing() {
        for n in 1..50 {
            let majority = Quorum::Majority.of(n).unwrap();
            assert!(2 * majority > n && 2 * (majority - 1) <= n);
            assert_eq!(Quorum::One.of(n), Some(1));
            assert_eq!(Quorum::All.of(n), Some(n));
            assert_eq!(Quorum::AtLeast(n).of(n), Some(n));
            assert_eq!(Quorum::AtLeast(n + 1).of(n), None);
            assert_eq!(Quorum::AtLeast(0).of(n), None);
        }
        assert_eq!(Quorum::One.of(0), None);
        assert_eq!(Quorum::All.of(0), None);
    }
}
