//! To whom a write of a key is owed.

/// So many nodes may be owed one key; where more are out at once, those beyond are said to be unknown.
pub(crate) const MOST: usize = 8;

/// The nodes that should have had a write, and do not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owed {
    /// In the order of the candidates, [`MOST`] at most.
    pub(crate) nodes: Vec<usize>,
    /// There are more.
    pub(crate) beyond: Vec<usize>,
}

/// Walks the candidates of a key, in the order that holds whoever is out, until `copies` of them have the write; whoever
/// was passed over is owed.
///
/// That is the owner and the regular replicas, but also a stand-in of a stand-in: it was passed over while it was out,
/// and may hold a copy from before. Where fewer than `copies` have it, all others are owed.
pub(crate) fn owed(
    candidates: impl IntoIterator<Item = usize>,
    copies: usize,
    has_it: impl Fn(usize) -> bool,
) -> Owed {
    let mut owed = Owed::default();
    let mut left = copies.max(1);
    for node in candidates {
        if has_it(node) {
            left -= 1;
            if left == 0 {
                break;
            }
        } else if owed.nodes.len() < MOST {
            owed.nodes.push(node);
        } else {
            owed.beyond.push(node);
        }
    }
    owed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(candidates: &[usize], copies: usize, have: &[usize]) -> Vec<usize> {
        owed(candidates.iter().copied(), copies, |n| have.contains(&n)).nodes
    }

    #[test]
    fn whoever_was_passed_over_is_owed() {
        assert_eq!(nodes(&[4, 1, 3], 1, &[4, 1, 3]), [0_usize; 0], "all are in");
        assert_eq!(nodes(&[4, 1, 3], 1, &[1, 3]), [4]);
        assert_eq!(
            nodes(&[4, 1, 3], 1, &[3]),
            [4, 1],
            "a stand-in of a stand-in"
        );
        assert_eq!(
            nodes(&[4, 1, 3], 1, &[4, 3]),
            [0_usize; 0],
            "it was not asked"
        );
    }

    #[test]
    fn replicas_are_owed_too_and_with_too_few_of_them_all_others() {
        assert_eq!(nodes(&[4, 1, 3, 0], 2, &[4, 3, 0]), [1]);
        assert_eq!(nodes(&[4, 1, 3, 0], 2, &[3, 0]), [4, 1]);
        assert_eq!(
            nodes(&[4, 1], 2, &[4]),
            [1],
            "nobody stands in, and one is left"
        );
        assert_eq!(nodes(&[4, 1, 3, 0], 2, &[3]), [4, 1, 0]);
    }

    #[test]
    fn more_than_most_are_told_apart() {
        let all = owed(0..20, 1, |n| n == 12);
        assert_eq!(all.nodes, (0..8).collect::<Vec<_>>());
        assert_eq!(all.beyond, (8..12).collect::<Vec<_>>());
    }
}
