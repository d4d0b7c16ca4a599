//! Along the ring, from a key's point on.

use std::fmt;
use std::iter::FusedIterator;

use super::super::live::Live;
use super::Point;

/// Runs of points of one node, once around.
#[derive(Clone)]
pub(super) struct Runs<'t> {
    /// With the end mark, at which a walk may start.
    points: &'t [Point],
    at: usize,
    /// How many points are left until the walk is back where it began.
    left: usize,
}

impl<'t> Runs<'t> {
    #[inline]
    pub(super) fn new(points: &'t [Point], at: usize) -> Self {
        Self {
            points,
            at,
            left: points.len().saturating_sub(1),
        }
    }
}

impl Iterator for Runs<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        if self.left == 0 {
            return None;
        }
        let point = self.points[self.at];
        let next = point.next as usize;
        // The end mark is the first point seen from behind, so it may be passed like any other.
        let around = if next > self.at {
            0
        } else {
            self.points.len() - 1
        };
        self.left = self.left.saturating_sub(next + around - self.at);
        self.at = next;
        Some(point.node)
    }
}

impl fmt::Debug for Runs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Runs(at {}, {} left)", self.at, self.left)
    }
}

/// Distinct nodes along a ring.
#[derive(Clone, Debug)]
pub(in crate::placement) struct Walk<'t> {
    runs: Runs<'t>,
    live: Option<&'t Live>,
    /// How many nodes are still to come, at most: the walk ends with the last of them instead of
    /// looking through the remaining points for one more.
    left: usize,
    seen: Seen,
}

impl<'t> Walk<'t> {
    #[inline]
    pub(super) fn new(runs: Runs<'t>, nodes: usize, live: Option<&'t Live>) -> Self {
        let left = live.map_or(nodes, Live::count).min(nodes);
        Self {
            runs,
            live,
            left,
            seen: Seen::new(nodes),
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.left == 0 {
            return None;
        }
        for node in self.runs.by_ref() {
            let live = self.live.is_none_or(|live| live.contains(node as usize));
            if live && self.seen.insert(node) {
                self.left -= 1;
                return Some(node as usize);
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
