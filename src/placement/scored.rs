//! Nodes ranked by a score: the core of every rendezvous rule.

use std::fmt;
use std::iter::FusedIterator;

use super::live::Live;

/// The scores of all nodes for one key; the greatest is the owner, and of equal ones the node that
/// comes first in configuration order.
pub(super) trait Scores {
    /// After how many candidates the rest is sorted. The default is as many as any replication factor in
    /// use: the way to them never allocates.
    const PASSES: usize = 8;

    /// How many nodes there are.
    fn nodes(&self) -> u32;

    /// The score of a node, below [`Scores::nodes`].
    fn score(&self, node: u32) -> u64;

    /// Calls `see` with every node of `live`, or every node, and its score.
    #[inline]
    fn for_each(&self, live: Option<&Live>, mut see: impl FnMut(Scored)) {
        let mut scored = |node| {
            see(Scored {
                score: self.score(node),
                node,
            })
        };
        match live {
            Some(live) => live
                .below(self.nodes())
                .iter()
                .copied()
                .for_each(&mut scored),
            None => (0..self.nodes()).for_each(&mut scored),
        }
    }

    /// The node with the greatest score.
    #[inline]
    fn first(&self, live: Option<&Live>) -> Option<usize> {
        self.best(live).map(|best| best.node as usize)
    }

    #[inline]
    fn best(&self, live: Option<&Live>) -> Option<Scored> {
        let mut best: Option<Scored> = None;
        self.for_each(live, |scored| {
            if best.is_none_or(|best| scored.score > best.score) {
                best = Some(scored);
            }
        });
        best
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Scored {
    score: u64,
    node: u32,
}

impl Scored {
    #[inline]
    fn ranks_before(self, other: Self) -> bool {
        self.score > other.score || self.score == other.score && self.node < other.node
    }
}

/// The nodes from the greatest score down.
///
/// Each of the first few costs a pass over all nodes, like the owner did; a caller who goes on pays
/// for sorting the rest, once, on the heap.
#[derive(Clone)]
pub(super) struct Ranking<'t, S> {
    scores: S,
    live: Option<&'t Live>,
    returned: usize,
    last: Option<Scored>,
    /// What ranks after the passes' nodes, the last first.
    rest: Vec<Scored>,
}

impl<'t, S: Scores> Ranking<'t, S> {
    #[inline]
    pub(super) fn new(scores: S, live: Option<&'t Live>) -> Self {
        Self {
            scores,
            live,
            returned: 0,
            last: None,
            rest: Vec::new(),
        }
    }

    fn after(&self, last: Scored) -> Option<Scored> {
        let mut best: Option<Scored> = None;
        self.scores.for_each(self.live, |scored| {
            if last.ranks_before(scored) && best.is_none_or(|best| scored.score > best.score) {
                best = Some(scored);
            }
        });
        best
    }

    fn sort_rest(&mut self, last: Scored) {
        let Self {
            scores, live, rest, ..
        } = self;
        scores.for_each(*live, |scored| {
            if last.ranks_before(scored) {
                rest.push(scored);
            }
        });
        rest.sort_unstable_by_key(|scored| (scored.score, u32::MAX - scored.node));
    }
}

impl<S: Scores> Iterator for Ranking<'_, S> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let next = match self.last {
            None => self.scores.best(self.live),
            Some(last) if self.returned < S::PASSES => self.after(last),
            Some(last) => {
                if self.returned == S::PASSES {
                    self.sort_rest(last);
                }
                self.rest.pop()
            }
        }?;
        self.returned += 1;
        self.last = Some(next);
        Some(next.node as usize)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let nodes = self.scores.nodes();
        let all = self
            .live
            .map_or(nodes as usize, |live| live.below(nodes).len());
        (all - self.returned, Some(all - self.returned))
    }
}

impl<S: Scores> FusedIterator for Ranking<'_, S> {}

impl<S> fmt::Debug for Ranking<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ranking({} returned)", self.returned)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Fixed(Vec<u64>);

    impl Scores for Fixed {
        fn nodes(&self) -> u32 {
            u32::try_from(self.0.len()).unwrap_or(u32::MAX)
        }

        fn score(&self, node: u32) -> u64 {
            self.0[node as usize]
        }
    }

    proptest! {
        #[test]
        fn the_ranking_is_that_of_a_sort(
            // Few distinct scores, so that ties are common.
            scores in prop::collection::vec(0..20_u64, 0..60),
            out in prop::collection::vec(any::<bool>(), 60),
        ) {
            let nodes = Fixed(scores.clone()).nodes();
            let live = Live::from_fn(nodes, |node| !out[node]);
            let mut expected: Vec<usize> = live.iter().collect();
            expected.sort_by_key(|&node| std::cmp::Reverse(scores[node]));

            let mut ranking = Ranking::new(Fixed(scores), Some(&live));
            prop_assert_eq!(ranking.scores.first(Some(&live)), expected.first().copied());
            for (at, &node) in expected.iter().enumerate() {
                prop_assert_eq!(ranking.size_hint().0, expected.len() - at);
                prop_assert_eq!(ranking.next(), Some(node));
            }
            prop_assert_eq!(ranking.next(), None);
            prop_assert_eq!(ranking.next(), None, "and stays at the end");
        }
    }
}
