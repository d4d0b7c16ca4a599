//! Which node gets a message, and which the next one when it will not have it.

/// How pushes are spread over the nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Spread {
    /// One node after the other. The default.
    #[default]
    RoundRobin,
    /// By the message's key, as the cluster places it: messages of one key are on one node, in their
    /// order, while that node lives. Messages without a key are placed by their id.
    ByKey,
    /// The node with the fewest messages, as of at most a second ago; each push counts at once.
    LeastDepth,
}

/// The indices of `nodes` nodes in turn, beginning with the `cursor`-th.
pub(crate) fn turn(nodes: usize, cursor: usize) -> Vec<usize> {
    (0..nodes).map(|n| (cursor % nodes + n) % nodes).collect()
}

/// The indices of all nodes, emptiest first; of equals, the one whose turn it is.
pub(crate) fn least(depths: &[u64], cursor: usize) -> Vec<usize> {
    let mut order = turn(depths.len(), cursor);
    order.sort_by_key(|&n| depths[n]);
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_node_comes_once(nodes in 0usize..40, cursor: usize, seed: u64) {
            let depths: Vec<u64> = (0..nodes as u64).map(|n| seed.rotate_left(n as u32) % 5).collect();
            for mut order in [turn(nodes, cursor), least(&depths, cursor)] {
                order.sort_unstable();
                prop_assert_eq!(order, (0..nodes).collect::<Vec<_>>());
            }
            let order = least(&depths, cursor);
            prop_assert!(order.windows(2).all(|w| depths[w[0]] <= depths[w[1]]));
        }

        #[test]
        fn turns_are_even(nodes in 1usize..10, start in 0usize..1_000) {
            let mut first = vec![0; nodes];
            for cursor in start..start + 7 * nodes {
                first[turn(nodes, cursor)[0]] += 1;
            }
            prop_assert_eq!(first, vec![7; nodes]);
        }
    }
}
