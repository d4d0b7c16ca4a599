//! Points on a circle of 64-bit values, each owned by a node: the core of every ring rule.
//!
//! Karger et al., "Consistent Hashing and Random Trees" (STOC 1997). A rule says which points a
//! node has and how a key becomes a value; this file sorts, finds and walks. Rules over 32-bit
//! hashes put them into the upper half, which keeps their order; rules that walk backwards
//! complement both points and keys.

use std::iter::FusedIterator;
use std::{fmt, slice};

use super::live::Live;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) value: u64,
    pub(super) node: u32,
}

/// The points of a ring, sorted, with an index on their top bits.
///
/// The index has two to four buckets per point, so that a lookup is one load from the index and on average
/// less than one comparison, where a binary search over 1000 nodes takes 17 unpredictable ones.
#[derive(Clone, Default)]
pub(super) struct Points {
    /// Ascending by value; equal values in the order of adding. Unless the ring is empty, one more
    /// point ends it: the greatest value there is, owned by the first point's owner. It ends every
    /// search, so the search needs no check for the end, and it is the wrap.
    points: Vec<Point>,
    /// For each bucket the first point that is not below it.
    starts: Vec<u32>,
    /// A value's bucket is `value >> shift`.
    shift: u32,
}

impl Points {
    /// The most points that one ring can hold; one place is the end mark's.
    pub(super) const MAX: u64 = u32::MAX as u64 - 1;

    /// The ring of these points; where values are equal, the earlier point comes first.
    pub(super) fn new(points: Vec<Point>) -> Self {
        let mut ring = Self::default();
        ring.edit(|empty| *empty = points);
        ring
    }

    /// How many points there are.
    pub(super) fn len(&self) -> usize {
        self.points.len().saturating_sub(1)
    }

    /// Changes the points in place; added ones come after equal ones that were there.
    pub(super) fn edit(&mut self, change: impl FnOnce(&mut Vec<Point>)) {
        self.points.pop();
        change(&mut self.points);
        // Stable, for the order of equal values; and linear where old points are one sorted run.
        self.points.sort_by_key(|point| point.value);
        self.starts.clear();
        let Some(&first) = self.points.first() else {
            return;
        };

        debug_assert!(
            self.points.len() as u64 <= Self::MAX,
            "callers check the size"
        );
        let bits = (8 * self.points.len()).next_power_of_two().trailing_zeros();
        self.shift = u64::BITS - bits;
        self.starts.reserve_exact(1 << bits);
        let (mut bucket, mut end) = (0, 0);
        for point in &self.points {
            while bucket <= point.value >> self.shift {
                self.starts.push(end);
                bucket += 1;
            }
            end += 1;
        }
        self.points.push(Point {
            value: u64::MAX,
            node: first.node,
        });
        self.starts.resize(1 << bits, end);
    }

    /// Where the first point at or after `value` is; the end mark when there is none.
    #[inline]
    fn position(&self, value: u64) -> Option<usize> {
        let mut at = *self.starts.get((value >> self.shift) as usize)? as usize;
        while self.points[at].value < value {
            at += 1;
        }
        Some(at)
    }

    /// The node of the first point at or after `value`, around the end; `None` without points.
    #[inline]
    pub(super) fn node(&self, value: u64) -> Option<usize> {
        // `shift` is 0 only while there are no points: then `starts` is empty and answers `None`.
        self.position(value).map(|at| self.points[at].node as usize)
    }

    /// The first node from `value` on that is live.
    #[inline]
    pub(super) fn first(&self, value: u64, live: &Live) -> Option<usize> {
        let node = self.node(value)?;
        if live.contains(node) {
            Some(node)
        } else {
            self.first_of_rest(value, live)
        }
    }

    #[cold]
    fn first_of_rest(&self, value: u64, live: &Live) -> Option<usize> {
        // Without this, "nobody is live" would cost a walk over all points.
        if live.count() == 0 {
            return None;
        }
        self.from(value)
            .map(|point| point.node as usize)
            .find(|&node| live.contains(node))
    }

    /// All points once, from the first at or after `value`.
    #[inline]
    fn from(&self, value: u64) -> Circle<'_> {
        let (before, after) = self.points[..self.len()].split_at(match self.position(value) {
            Some(at) if at < self.len() => at,
            _ => 0,
        });
        Circle {
            now: after.iter(),
            then: before.iter(),
        }
    }

    /// The distinct nodes from `value` on, of `nodes` nodes; only live ones if `live` is given.
    #[inline]
    pub(super) fn walk<'t>(&'t self, value: u64, nodes: usize, live: Option<&'t Live>) -> Walk<'t> {
        Walk {
            points: self.from(value),
            live,
            left: live.map_or(nodes, Live::count).min(nodes),
            seen: Seen::new(nodes),
        }
    }
}

impl fmt::Debug for Points {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Points({})", self.len())
    }
}

#[derive(Clone, Debug)]
struct Circle<'t> {
    now: slice::Iter<'t, Point>,
    then: slice::Iter<'t, Point>,
}

impl<'t> Iterator for Circle<'t> {
    type Item = &'t Point;

    #[inline]
    fn next(&mut self) -> Option<&'t Point> {
        self.now.next().or_else(|| {
            self.now = std::mem::take(&mut self.then);
            self.now.next()
        })
    }
}

/// Distinct nodes along a ring.
#[derive(Clone, Debug)]
pub(super) struct Walk<'t> {
    points: Circle<'t>,
    live: Option<&'t Live>,
    /// How many nodes are still to come, at most: the walk ends with the last of them instead of
    /// looking through the remaining points for one more.
    left: usize,
    seen: Seen,
}

impl Iterator for Walk<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.left == 0 {
            return None;
        }
        for point in self.points.by_ref() {
            let node = point.node as usize;
            if self.live.is_none_or(|live| live.contains(node)) && self.seen.insert(point.node) {
                self.left -= 1;
                return Some(node);
            }
        }
        self.left = 0;
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left))
    }
}

impl FusedIterator for Walk<'_> {}

/// The nodes a walk has returned: a short list, then one bit per node.
#[derive(Clone, Debug)]
struct Seen {
    list: [u32; Self::LISTED],
    listed: usize,
    nodes: usize,
    /// Empty, and not allocated, until the list is full.
    bits: Vec<u64>,
}

impl Seen {
    /// As many as any replication factor in use; the walk to them never allocates.
    const LISTED: usize = 8;

    #[inline]
    fn new(nodes: usize) -> Self {
        Self {
            list: [0; Self::LISTED],
            listed: 0,
            nodes,
            bits: Vec::new(),
        }
    }

    /// Notes `node`; `false` if it was noted before.
    #[inline]
    fn insert(&mut self, node: u32) -> bool {
        if !self.bits.is_empty() {
            return self.insert_bit(node);
        }
        if self.list[..self.listed].contains(&node) {
            return false;
        }
        if self.listed < Self::LISTED {
            self.list[self.listed] = node;
            self.listed += 1;
            return true;
        }
        self.bits = vec![0; self.nodes.div_ceil(64)];
        for listed in self.list {
            self.insert_bit(listed);
        }
        self.insert_bit(node)
    }

    fn insert_bit(&mut self, node: u32) -> bool {
        let word = &mut self.bits[node as usize / 64];
        let bit = 1 << (node % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ring(points: &[(u64, u32)]) -> Points {
        Points::new(
            points
                .iter()
                .map(|&(value, node)| Point { value, node })
                .collect(),
        )
    }

    #[test]
    fn a_key_on_a_point_belongs_to_it_and_the_end_wraps() {
        let points = ring(&[(30, 2), (10, 0), (20, 1)]);
        for (value, node) in [
            (0, 0),
            (10, 0),
            (11, 1),
            (20, 1),
            (21, 2),
            (30, 2),
            (31, 0),
            (u64::MAX, 0),
        ] {
            assert_eq!(points.node(value), Some(node), "value {value}");
        }
    }

    #[test]
    fn points_at_both_ends_are_found() {
        let points = ring(&[(u64::MAX, 7), (0, 3)]);
        assert_eq!(points.node(0), Some(3));
        assert_eq!(points.node(1), Some(7));
        assert_eq!(points.node(u64::MAX), Some(7));
    }

    #[test]
    fn of_equal_points_the_one_added_first_owns() {
        let mut points = ring(&[(5, 1), (5, 0)]);
        points.edit(|all| all.push(Point { value: 5, node: 2 }));
        assert_eq!(points.node(5), Some(1));
        assert_eq!(points.walk(5, 3, None).collect::<Vec<_>>(), [1, 0, 2]);
    }

    #[test]
    fn a_ring_without_points_has_no_nodes() {
        let points = ring(&[]);
        assert_eq!(points.node(0), None);
        assert_eq!(points.first(u64::MAX, &Live::all(3)), None);
        assert_eq!(points.walk(7, 3, None).next(), None);
    }

    proptest! {
        #[test]
        fn the_index_finds_what_a_search_from_the_start_finds(
            values in prop::collection::vec(prop_oneof![any::<u64>(), 0..50_u64, (u64::MAX - 50)..=u64::MAX], 1..80),
            wanted in prop_oneof![any::<u64>(), 0..50_u64, (u64::MAX - 50)..=u64::MAX],
        ) {
            let mut plain: Vec<(u64, u32)> = values.iter().copied().zip(0..).collect();
            let points = ring(&plain);
            plain.sort_by_key(|&(value, _)| value);
            let from = plain.iter().position(|&(value, _)| value >= wanted).unwrap_or(0);
            prop_assert_eq!(points.node(wanted), Some(plain[from].1 as usize));
            let order: Vec<usize> = plain[from..].iter().chain(&plain[..from]).map(|&(_, node)| node as usize).collect();
            prop_assert_eq!(points.walk(wanted, values.len(), None).collect::<Vec<_>>(), order);
        }
    }
}
