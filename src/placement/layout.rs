//! How a table divides the space of its key hash, as far as that can be written down.

use super::points::Points;

/// Which node has which part of the hashes of one function.
#[derive(Debug)]
pub(super) struct Layout {
    /// The function; only layouts of one function can be compared.
    pub(super) hash: String,
    pub(super) parts: Parts,
}

#[derive(Debug)]
pub(super) enum Parts {
    /// Up to and with each value, ascending, from the value before. Hashes beyond the last one belong to
    /// the first node again. None is above `greatest`.
    Arcs {
        ends: Vec<(u64, u32)>,
        greatest: u64,
    },
    /// By the remainder of the hash, which is one of 2^32 from `least` on.
    Residues { nodes: Vec<u32>, least: i64 },
}

impl Parts {
    pub(super) fn of_ring(points: &Points, greatest: u64) -> Self {
        let mut ends: Vec<(u64, u32)> = Vec::with_capacity(points.len());
        for (value, node) in points.iter() {
            // Of equal points the first has the keys.
            if ends.last().is_none_or(|&(last, _)| last < value) {
                ends.push((value, node));
            }
        }
        Self::Arcs { ends, greatest }
    }
}

/// Sees the share of hashes of pairs of nodes, the node in `from` and that in `to`, piece by piece, a
/// pair several times; `None` unless both divide the same hashes in the same manner.
pub(super) fn shares(from: &Layout, to: &Layout, see: impl FnMut((u32, u32), f64)) -> Option<()> {
    if from.hash != to.hash {
        return None;
    }
    match (&from.parts, &to.parts) {
        (
            Parts::Arcs {
                ends: one,
                greatest,
            },
            Parts::Arcs {
                ends: other,
                greatest: same,
            },
        ) if greatest == same => {
            of_arcs(one, other, *greatest, see);
            Some(())
        }
        (
            Parts::Residues { nodes: one, least },
            Parts::Residues {
                nodes: other,
                least: same,
            },
        ) if least == same => of_residues(one, other, *least, see),
        _ => None,
    }
}

fn of_arcs(
    one: &[(u64, u32)],
    other: &[(u64, u32)],
    greatest: u64,
    mut see: impl FnMut((u32, u32), f64),
) {
    let whole = greatest as f64 + 1.0;
    let (mut at, mut beside) = (0, 0);
    // The first hash that is not counted yet.
    let mut from = 0_u64;
    loop {
        let (end, node) = arc(one, at);
        let (end_beside, node_beside) = arc(other, beside);
        let last = end.min(end_beside).min(greatest);
        see((node, node_beside), ((last - from) as f64 + 1.0) / whole);
        if last == greatest {
            return;
        }
        from = last + 1;
        at += usize::from(end == last);
        beside += usize::from(end_beside == last);
    }
}

/// The arc at a place in the list; behind the last one, the rest of the circle.
fn arc(ends: &[(u64, u32)], at: usize) -> (u64, u32) {
    let first = ends.first().map_or(0, |&(_, node)| node);
    ends.get(at).copied().unwrap_or((u64::MAX, first))
}

/// Counts one period of both remainders, and how often it fits into the hashes.
fn of_residues(
    one: &[u32],
    other: &[u32],
    least: i64,
    mut see: impl FnMut((u32, u32), f64),
) -> Option<()> {
    const LONGEST: usize = 1 << 22;
    const HASHES: i64 = 1 << 32;
    let period = one.len() / gcd(one.len(), other.len()) * other.len();
    if period > LONGEST {
        return None;
    }
    let length = i64::try_from(period).ok()?;
    let offset = least.rem_euclid(length);
    for (remainder, at) in (0_i64..).zip(0..period) {
        // How many of the hashes have this remainder by the period.
        let first = (remainder - offset).rem_euclid(length);
        let count = (HASHES - first + length - 1) / length;
        let pair = (one[at % one.len()], other[at % other.len()]);
        see(pair, count as f64 / HASHES as f64);
    }
    Some(())
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Sums = BTreeMap<(u32, u32), f64>;

    fn add(sums: &mut Sums) -> impl FnMut((u32, u32), f64) {
        |pair, share| *sums.entry(pair).or_insert(0.0) += share
    }

    #[test]
    fn arcs_are_merged_around_the_end() {
        // Of 16 hashes: 0-3 and 12-15 are of 0, 4-11 of 1; then 0-7 of 5, the rest of 6.
        let (one, other) = ([(3, 0), (11, 1)], [(7, 5), (15, 6)]);
        let mut shares = Sums::new();
        of_arcs(&one, &other, 15, add(&mut shares));
        let expected = [((0, 5), 4.0), ((0, 6), 4.0), ((1, 5), 4.0), ((1, 6), 4.0)];
        assert_eq!(shares, expected.map(|(pair, n)| (pair, n / 16.0)).into());
        for (one, other) in [([(u64::MAX, 0)], [(0, 1)]), ([(7, 0)], [(7, 1)])] {
            let mut whole = Sums::new();
            of_arcs(&one, &other, u64::MAX, add(&mut whole));
            assert_eq!(whole, [((0, 1), 1.0)].into());
        }
    }

    proptest! {
        #[test]
        fn residues_are_counted_as_if_one_by_one(one in 1..12_usize, other in 1..12_usize, signed in any::<bool>()) {
            let least = if signed { i64::from(i32::MIN) } else { 0 };
            let nodes = |n: usize| (0..n as u32).collect::<Vec<_>>();
            let mut shares = Sums::new();
            let short = of_residues(&nodes(one), &nodes(other), least, add(&mut shares));
            prop_assert!(short.is_some());
            let total: f64 = shares.values().sum();
            prop_assert!((total - 1.0).abs() < 1e-12, "{}", total);
            // Over a stretch that is a multiple of every period up to 11.
            let stretch = 27_720_i64;
            let mut counted = BTreeMap::new();
            for hash in least..least + stretch {
                let at = |n: usize| hash.rem_euclid(n as i64) as u32;
                *counted.entry((at(one), at(other))).or_insert(0.0) += 1.0 / stretch as f64;
            }
            for (pair, share) in counted {
                prop_assert!((shares[&pair] - share).abs() < 1e-7, "{:?}", pair);
            }
        }
    }
}
