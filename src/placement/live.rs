//! Who admits traffic.

use std::fmt;

/// Which nodes of a table admit traffic; immutable, and changed by copy.
///
/// Indices are those of [`Table`](super::Table): the place of a node in configuration order.
///
/// ```
/// use fluster::placement::Live;
///
/// let live = Live::all(3).with(1, false);
/// assert!(!live.contains(1));
/// assert_eq!(live.iter().collect::<Vec<_>>(), [0, 2]);
/// assert_eq!(live.with(1, true), Live::all(3));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Live {
    /// One bit per node: the question of every lookup is a load and a shift.
    words: Box<[u64]>,
    /// The live nodes, ascending: the modulo rule picks the k-th of them.
    ascending: Box<[u32]>,
    nodes: u32,
}

impl Live {
    /// All of `nodes` nodes admit traffic. [Example](crate::guide::by_example#placement-without-redis).
    #[must_use]
    pub fn all(nodes: u32) -> Self {
        Self::from_fn(nodes, |_| true)
    }

    /// None of `nodes` nodes admits traffic. [Example](crate::guide::by_example#placement-without-redis).
    #[must_use]
    pub fn none(nodes: u32) -> Self {
        Self::from_fn(nodes, |_| false)
    }

    /// The nodes of `0..nodes` for which `admits` says so.
    ///
    /// ```
    /// use fluster::placement::Live;
    ///
    /// let even = Live::from_fn(5, |node| node % 2 == 0);
    /// assert_eq!(even.iter().collect::<Vec<_>>(), [0, 2, 4]);
    /// ```
    #[must_use]
    pub fn from_fn(nodes: u32, mut admits: impl FnMut(usize) -> bool) -> Self {
        let ascending: Box<[u32]> = (0..nodes).filter(|&node| admits(node as usize)).collect();
        let mut words = vec![0; (nodes as usize).div_ceil(64)];
        for &node in &ascending {
            words[node as usize / 64] |= 1 << (node % 64);
        }
        Self {
            words: words.into(),
            ascending,
            nodes,
        }
    }

    /// A copy in which `node` admits traffic or not; the same again when there is no such node. [Example](crate::guide::by_example#placement-without-redis).
    #[must_use]
    pub fn with(&self, node: usize, admits: bool) -> Self {
        Self::from_fn(self.nodes, |n| {
            if n == node { admits } else { self.contains(n) }
        })
    }

    /// Whether `node` admits traffic; `false` when there is no such node. [Example](crate::guide::by_example#placement-without-redis).
    #[inline]
    #[must_use]
    pub fn contains(&self, node: usize) -> bool {
        self.words
            .get(node / 64)
            .is_some_and(|word| word >> (node % 64) & 1 == 1)
    }

    /// How many nodes admit traffic. [Example](crate::guide::by_example#placement-without-redis).
    #[must_use]
    pub fn count(&self) -> usize {
        self.ascending.len()
    }

    /// How many nodes there are, live or not. [Example](crate::guide::by_example#placement-without-redis).
    #[must_use]
    pub fn nodes(&self) -> u32 {
        self.nodes
    }

    /// The live nodes, ascending. [Example](crate::guide::by_example#placement-without-redis).
    #[must_use = "iterators are lazy and do nothing unless consumed"]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = usize> + DoubleEndedIterator + '_ {
        self.ascending.iter().map(|&node| node as usize)
    }

    /// Whether both have the same nodes and the same of them are live.
    #[cfg(feature = "compat")]
    #[inline]
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.nodes == other.nodes && self.words == other.words
    }

    /// The live ones among the first `nodes`, ascending.
    ///
    /// Rules that pick from this list use it cut to their own table, so that a set made for a
    /// larger one cannot lead them out of bounds.
    #[inline]
    pub(super) fn below(&self, nodes: u32) -> &[u32] {
        if self.nodes <= nodes {
            &self.ascending
        } else {
            &self.ascending[..self.ascending.partition_point(|&node| node < nodes)]
        }
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Live({} of {}: {:?})",
            self.count(),
            self.nodes,
            self.ascending
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_differs_in_one_node_only() {
        let all = Live::all(130);
        let copy = all.with(64, false).with(129, false);
        assert_eq!(copy.count(), 128, "two of 130 are out");
        for node in 0..130 {
            assert_eq!(
                copy.contains(node),
                node != 64 && node != 129,
                "node {node}"
            );
        }
        assert_eq!(copy.with(64, true).with(129, true), all, "and back");
    }

    #[test]
    fn a_node_that_does_not_exist_is_never_live() {
        let all = Live::all(3);
        assert!(!all.contains(3) && !all.contains(64) && !all.contains(usize::MAX));
        assert_eq!(all.with(3, true), all, "nothing to change");
        assert_eq!(Live::all(0).count(), 0, "no nodes, none live");
    }

    #[test]
    fn a_set_for_more_nodes_is_cut_to_the_table() {
        let live = Live::all(9).with(1, false);
        assert_eq!(live.below(3), [0, 2], "cut at three nodes");
        assert_eq!(live.below(9).len(), 8, "not cut");
        assert_eq!(live.below(100).len(), 8, "nor beyond");
    }
}
