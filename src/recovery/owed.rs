//! To whom a write of a key is owed.

/// So many nodes may be owed one key; where more are out at once, those beyond are said to be unknown.
pub(crate) const MOST: usize = 8;

/// A node that should have had a write, and does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owed {
    /// One of [`MOST`] at most.
    To(usize),
    /// There were as many before it.
    Beyond(usize),
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
    mut owed: impl FnMut(Owed),
) {
    let (mut left, mut passed) = (copies.max(1), 0);
    for node in candidates {
        if has_it(node) {
            left -= 1;
            if left == 0 {
                break;
            }
        } else {
            passed += 1;
            owed(match passed {
                ..=MOST => Owed::To(node),
                _ => Owed::Beyond(node),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(candidates: impl Iterator<Item = usize>, copies: usize, have: &[usize]) -> Vec<Owed> {
        let mut all = Vec::new();
        owed(candidates, copies, |n| have.contains(&n), |n| all.push(n));
        all
    }

    fn nodes(candidates: &[usize], copies: usize, have: &[usize]) -> Vec<usize> {
        let all = all(candidates.iter().copied(), copies, have);
        let all = all.into_iter().map(|owed| match owed {
            Owed::To(node) => node,
            Owed::Beyond(node) => panic!("{node}"),
        });
        all.collect()
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
        let owed = (0..8).map(Owed::To).chain((8..12).map(Owed::Beyond));
        assert_eq!(all(0..20, 1, &[12]), owed.collect::<Vec<_>>());
    }
}
