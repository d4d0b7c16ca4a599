//! Nodes in a list, each `weight` times, and a key's place in it: the core of every rule that counts.
//!
//! Such rules say who owns a key and, some of them, that the list is made anew from the nodes that are
//! left. The second candidate is here always the node that the list without the first gives; the others
//! follow in rotation. So the keys of a node that is out spread over all others.

#![allow(
    dead_code,
    reason = "the fingerprint and the plan of the next commits use the rest"
)]

use super::Member;
use super::live::Live;
use super::modulo;

/// From a hash to a place in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pick {
    /// The remainder.
    Modulo,
    /// The hash scaled from 0..2^32-1 to the list's length.
    Scaled,
}

impl Pick {
    /// The place of `hash` in a list of `length`; `None` when that is empty.
    fn place(self, hash: u32, length: u64) -> Option<u64> {
        let last = length.checked_sub(1)?;
        Some(match self {
            Self::Modulo => u64::from(hash) % length,
            // The greatest hash would be one beyond the list (phpredis reads past its end).
            Self::Scaled => {
                let scaled = u128::from(hash) * u128::from(length) / u128::from(u32::MAX);
                u64::try_from(scaled).unwrap_or(last).min(last)
            }
        })
    }
}

/// The list.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    /// Where each node's stretch ends, that is the sum of the weights up to and with it.
    ends: Box<[u64]>,
    pick: Pick,
    /// Whether the list is made from live nodes alone; if not, a live owner keeps its keys.
    ejecting: bool,
}

impl Listed {
    pub(super) fn new(members: &[Member<'_>], pick: Pick, ejecting: bool) -> Self {
        let ends = members.iter().scan(0, |sum, member| {
            *sum += u64::from(member.weight);
            Some(*sum)
        });
        Self {
            ends: ends.collect(),
            pick,
            ejecting,
        }
    }

    fn nodes(&self) -> u32 {
        // A table never has more: `Placement::table` checks.
        u32::try_from(self.ends.len()).unwrap_or(u32::MAX)
    }

    fn weight(&self, node: usize) -> u64 {
        self.ends[node] - node.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    pub(super) fn owner(&self, hash: u32) -> Option<usize> {
        let place = self.pick.place(hash, self.ends.last().copied()?)?;
        Some(self.ends.partition_point(|&end| end <= place))
    }

    pub(super) fn first(&self, hash: u32, live: &Live) -> Option<usize> {
        let among = live.below(self.nodes());
        if among.len() == self.ends.len() {
            return self.owner(hash);
        }
        if !self.ejecting
            && let Some(owner) = self.owner(hash)
            && live.contains(owner)
        {
            return Some(owner);
        }
        self.pick_among(hash, among.len(), |at| among[at] as usize)
            .map(|at| among[at] as usize)
    }

    /// The place in a list of `count` nodes, the one at `at` being `node(at)`, that `hash` picks.
    fn pick_among(&self, hash: u32, count: usize, node: impl Fn(usize) -> usize) -> Option<usize> {
        let total = (0..count).map(|at| self.weight(node(at))).sum();
        let mut place = self.pick.place(hash, total)?;
        (0..count).find(|&at| {
            let weight = self.weight(node(at));
            let found = place < weight;
            place = place.saturating_sub(weight);
            found
        })
    }

    pub(super) fn walk<'t>(&self, hash: u32, live: Option<&'t Live>) -> modulo::ModuloWalk<'t> {
        let among = live.map(|live| live.below(self.nodes()));
        let count = among.map_or(self.ends.len(), <[u32]>::len);
        let node = |at: usize| among.map_or(at, |among| among[at] as usize);
        let first = match live {
            None => self.owner(hash),
            Some(live) => self.first(hash, live),
        };
        let first_at = first.and_then(|first| match among {
            None => Some(first),
            Some(among) => among.binary_search_by_key(&first, |&n| n as usize).ok(),
        });
        let others = count - usize::from(first_at.is_some());
        let without = |at: usize| node(at + usize::from(first_at.is_some_and(|first| at >= first)));
        let next = self.pick_among(hash, others, without).unwrap_or(0);
        modulo::ModuloWalk::new(among, count, first_at, next)
    }

    /// Which node has each place; `None` when the list is very long, or hashes are scaled.
    pub(super) fn residues(&self) -> Option<Vec<u32>> {
        const LONGEST: usize = 1 << 20;
        let length = usize::try_from(*self.ends.last()?).ok()?;
        if self.pick != Pick::Modulo || length > LONGEST {
            return None;
        }
        let stretch = |node: u32| {
            let weight = usize::try_from(self.weight(node as usize)).unwrap_or(0);
            std::iter::repeat_n(node, weight)
        };
        Some((0..self.nodes()).flat_map(stretch).collect())
    }

    /// The last hash of each node, ascending; `None` unless hashes are scaled.
    pub(super) fn last_hashes(&self) -> Option<Vec<(u32, u32)>> {
        if self.pick != Pick::Scaled {
            return None;
        }
        let total = u128::from(*self.ends.last()?);
        let last = |(node, &end): (u32, &u64)| {
            // The first hash beyond: the least h with h * total / (2^32 - 1) >= end.
            let beyond = (u128::from(end) * u128::from(u32::MAX)).div_ceil(total);
            let last = u32::try_from(beyond - 1).unwrap_or(u32::MAX);
            (
                if u128::from(end) == total {
                    u32::MAX
                } else {
                    last
                },
                node,
            )
        };
        Some((0..).zip(&self.ends).map(last).collect())
    }

    /// What the list is made of, for fingerprints.
    pub(super) fn weights(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.ends.len()).map(|node| self.weight(node))
    }

    pub(super) fn is_ejecting(&self) -> bool {
        self.ejecting
    }

    pub(super) fn is_scaled(&self) -> bool {
        self.pick == Pick::Scaled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(weights: &[u32], pick: Pick, ejecting: bool) -> Listed {
        let members: Vec<_> = weights
            .iter()
            .map(|&weight| Member::new("any").weight(weight))
            .collect();
        Listed::new(&members, pick, ejecting)
    }

    #[test]
    fn each_node_has_as_many_places_as_its_weight() {
        let list = listed(&[2, 1, 3], Pick::Modulo, false);
        let owners: Vec<_> = (0..8).map(|hash| list.owner(hash)).collect();
        assert_eq!(owners, [0, 0, 1, 2, 2, 2, 0, 0].map(Some));
        assert_eq!(list.residues(), Some(vec![0, 0, 1, 2, 2, 2]));
        let long = listed(&[u32::MAX, 1], Pick::Modulo, false);
        assert_eq!(long.residues(), None, "too long");
    }

    #[test]
    fn scaled_hashes_stay_in_the_list() {
        let list = listed(&[1; 3], Pick::Scaled, false);
        assert_eq!(list.owner(0), Some(0));
        assert_eq!(list.owner(u32::MAX - 1), Some(2));
        assert_eq!(list.owner(u32::MAX), Some(2), "one beyond in the original");
        for &(last, node) in &list.last_hashes().expect("scaled") {
            assert_eq!(list.owner(last), Some(node as usize), "{last}");
            if last < u32::MAX {
                assert_eq!(list.owner(last + 1), Some(node as usize + 1), "{last}");
            }
        }
    }

    #[test]
    fn a_live_owner_keeps_its_keys_unless_the_list_is_made_anew() {
        let live = Live::all(4).with(1, false);
        let (keeping, ejecting) = (
            listed(&[1; 4], Pick::Modulo, false),
            listed(&[1; 4], Pick::Modulo, true),
        );
        assert_eq!(keeping.first(3, &live), Some(3), "3 mod 4");
        assert_eq!(ejecting.first(3, &live), Some(0), "3 mod 3 of 0, 2, 3");
        for hash in 0..20 {
            for list in [&keeping, &ejecting] {
                let order: Vec<usize> = list.walk(hash, Some(&live)).collect();
                assert_eq!(order.first().copied(), list.first(hash, &live));
                let mut sorted = order.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, [0, 2, 3], "each live node once: {order:?}");
            }
            let without = Live::all(4).with(hash as usize % 4, false);
            let second = keeping.walk(hash, None).nth(1);
            assert_eq!(keeping.first(hash, &without), second, "hash {hash}");
            assert_eq!(ejecting.first(hash, &without), second, "hash {hash}");
        }
        assert_eq!(keeping.first(3, &Live::none(4)), None);
        assert_eq!(keeping.walk(3, Some(&Live::none(4))).next(), None);
    }
}
