//! Points on a circle of 64-bit values, each owned by a node: the core of every ring rule.
//!
//! Karger et al., "Consistent Hashing and Random Trees" (STOC 1997). A rule says which points a
//! node has and how a key becomes a value; this file sorts, finds and walks. Rules over 32-bit
//! hashes put them into the upper half, which keeps their order; rules that walk backwards
//! complement both points and keys.

mod walk;

use std::fmt;

use super::live::Live;

use self::walk::Runs;
pub(super) use self::walk::Walk;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    value: u64,
    node: u32,
    /// Where the next point of another node is, around the end: the second candidate is one step
    /// from the first, however many points of one node lie side by side. Free: it fills padding.
    next: u32,
}

impl Point {
    pub(super) fn new(value: u64, node: u32) -> Self {
        Self {
            value,
            node,
            next: 0,
        }
    }
}

/// The points of a ring, sorted, with an index on their top bits.
///
/// The index has several buckets per point, so that a lookup is one load from the index and
/// seldom more than one comparison, where a binary search over 1000 nodes takes 17 unpredictable
/// ones.
#[derive(Clone, Default)]
pub(super) struct Points {
    /// Ascending by value; equal values in the order of adding. Unless the ring is empty, one more
    /// point ends it: the greatest value there is, for the node of the first point. It ends every
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
        ring.edit(|empty| *empty = spread(points));
        ring
    }

    /// How many points there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.points.len().saturating_sub(1)
    }

    /// All points with their nodes, ascending.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (u64, u32)> + '_ {
        let all = &self.points[..self.len()];
        all.iter().map(|point| (point.value, point.node))
    }

    /// Adds points, behind equal ones that are there.
    pub(super) fn add(&mut self, mut points: Vec<Point>) {
        self.edit(|all| all.append(&mut points));
    }

    /// Removes the points of `node` and moves the numbers of later nodes up by one.
    pub(super) fn remove(&mut self, node: u32) {
        self.edit(|all| {
            all.retain_mut(|point| {
                let keep = point.node != node;
                point.node -= u32::from(point.node > node);
                keep
            });
        });
    }

    fn edit(&mut self, change: impl FnOnce(&mut Vec<Point>)) {
        self.points.pop();
        change(&mut self.points);
        debug_assert!(
            self.points.len() as u64 <= Self::MAX,
            "callers check the size"
        );
        // Stable, for the order of equal values; and linear where old points are one sorted run.
        self.points.sort_by_key(|point| point.value);
        self.link();
        self.index();
        let end = self.points.first().map(|first| Point {
            value: u64::MAX,
            ..*first
        });
        self.points.extend(end);
    }

    /// Sets `next` of every point, from the end to the start.
    fn link(&mut self) {
        let Some(first) = self.points.first().map(|point| point.node) else {
            return;
        };
        // Behind the last run comes the first one, unless both are of one node.
        let around = self
            .points
            .iter()
            .position(|point| point.node != first)
            .unwrap_or(0);
        let last = self.points.last().map(|point| point.node);
        let mut next = if last == Some(first) {
            number(around)
        } else {
            0
        };
        let mut node = last;
        for at in (0..self.points.len()).rev() {
            if node != Some(self.points[at].node) {
                next = number(at + 1);
                node = Some(self.points[at].node);
            }
            self.points[at].next = next;
        }
    }

    fn index(&mut self) {
        // Finer while the index stays in the inner caches: fewer lookups meet a second point there,
        // which the processor cannot predict. A large one would lose more by misses than it gains.
        let per_point = if self.points.len() <= 4096 { 8 } else { 2 };
        let buckets = (per_point * self.points.len()).next_power_of_two();
        self.shift = u64::BITS - buckets.trailing_zeros();
        self.starts.clear();
        if self.points.is_empty() {
            return;
        }
        self.starts.reserve_exact(buckets);
        let mut bucket = 0;
        for (at, point) in self.points.iter().enumerate() {
            while bucket <= point.value >> self.shift {
                self.starts.push(number(at));
                bucket += 1;
            }
        }
        self.starts.resize(buckets, number(self.points.len()));
    }

    /// Where the first point at or after `value` is; the end mark when there is none.
    #[inline]
    fn position(&self, value: u64) -> Option<usize> {
        // Without points there are no buckets either, whatever `shift` is.
        let bucket = value.checked_shr(self.shift).unwrap_or(0) as usize;
        let mut at = *self.starts.get(bucket)? as usize;
        // The first step as arithmetic: as a branch it would be the one that is mispredicted.
        at += usize::from(self.points[at].value < value);
        while self.points[at].value < value {
            at += 1;
        }
        Some(at)
    }

    /// The node of the first point at or after `value`, around the end; `None` without points.
    #[inline]
    pub(super) fn node(&self, value: u64) -> Option<usize> {
        self.position(value).map(|at| self.points[at].node as usize)
    }

    /// The first node from `value` on that is live.
    #[inline]
    pub(super) fn first(&self, value: u64, live: &Live) -> Option<usize> {
        let at = self.position(value)?;
        let node = self.points[at].node as usize;
        if live.contains(node) {
            Some(node)
        } else {
            self.first_of_rest(at, live)
        }
    }

    fn first_of_rest(&self, at: usize, live: &Live) -> Option<usize> {
        // Without this, "nobody is live" would cost a walk over all points.
        if live.count() == 0 {
            return None;
        }
        Runs::new(&self.points, at)
            .map(|node| node as usize)
            .find(|&node| live.contains(node))
    }

    /// The distinct nodes from `value` on, of `nodes` nodes; only live ones if `live` is given.
    #[inline]
    pub(super) fn walk<'t>(&'t self, value: u64, nodes: usize, live: Option<&'t Live>) -> Walk<'t> {
        let runs = Runs::new(&self.points, self.position(value).unwrap_or(0));
        Walk::new(runs, nodes, live)
    }
}

/// Sorts by value, equal values in their order: by the top bits first, then each handful by itself.
///
/// Hashes spread evenly, so this is linear, where a sort of 128 000 points would be half of what a
/// change of the nodes costs. Values that clump share a bucket, and cost what a sort costs.
fn spread(points: Vec<Point>) -> Vec<Point> {
    let Some(bits) = points.len().checked_ilog2().filter(|bits| *bits > 0) else {
        return points;
    };
    let bucket = |point: &Point| (point.value >> (u64::BITS - bits)) as usize;
    let mut ends = vec![0_usize; 1 << bits];
    for point in &points {
        ends[bucket(point)] += 1;
    }
    let mut sum = 0;
    for end in &mut ends {
        // Where the bucket starts; it is its end once all its points are placed.
        sum += std::mem::replace(end, sum);
    }
    // With a place for the end mark: a `Vec` that grows for one element doubles.
    let mut sorted = Vec::with_capacity(points.len() + 1);
    sorted.extend_from_slice(&points);
    for point in points {
        let at = &mut ends[bucket(&point)];
        sorted[*at] = point;
        *at += 1;
    }
    let mut start = 0;
    for end in ends {
        sorted[start..end].sort_by_key(|point| point.value);
        start = end;
    }
    sorted
}

/// A place in the points; `Points::MAX` makes it fit.
fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

impl fmt::Debug for Points {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Points({})", self.len())
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
                .map(|&(value, node)| Point::new(value, node))
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
        points.add(vec![Point::new(5, 2)]);
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
            // Few of them, so that points of one node lie side by side, also around the end.
            nodes in 1..12_u32,
            out in 0..12_usize,
        ) {
            let mut plain: Vec<(u64, u32)> = values.iter().copied().zip((0..nodes).cycle()).collect();
            let points = ring(&plain);
            plain.sort_by_key(|&(value, _)| value);
            let from = plain.iter().position(|&(value, _)| value >= wanted).unwrap_or(0);
            prop_assert_eq!(points.node(wanted), Some(plain[from].1 as usize));

            let mut order: Vec<usize> = Vec::new();
            for &(_, node) in plain[from..].iter().chain(&plain[..from]) {
                if !order.contains(&(node as usize)) {
                    order.push(node as usize);
                }
            }
            prop_assert_eq!(&points.walk(wanted, nodes as usize, None).collect::<Vec<_>>(), &order);
            let live = Live::all(nodes).with(out, false);
            order.retain(|&node| node != out);
            prop_assert_eq!(points.first(wanted, &live), order.first().copied());
            prop_assert_eq!(points.walk(wanted, nodes as usize, Some(&live)).collect::<Vec<_>>(), order);
        }
    }
}
