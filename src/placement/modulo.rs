//! `hash mod nodes`, the rule of Python's `fluster`.

use std::iter::FusedIterator;

use crate::hash::murmur3_x86_32;

use super::live::Live;

/// The rule over this many nodes.
///
/// Source: `fluster` 0.1.1 for Python, checked against its own output in
/// `tests/vectors/fluster_py.json`. The owner is the node at `hash mod nodes`; while it is out,
/// the live ones are listed ascending and the key goes to the one at `hash mod live`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Modulo {
    pub(super) nodes: u32,
}

impl Modulo {
    pub(super) fn owner(self, key: &[u8]) -> Option<usize> {
        floor_modulo(hash_of(key), self.nodes as usize)
    }

    pub(super) fn first(self, key: &[u8], live: &Live) -> Option<usize> {
        let hash = hash_of(key);
        let owner = floor_modulo(hash, self.nodes as usize)?;
        if live.contains(owner) {
            return Some(owner);
        }
        let live = live.below(self.nodes);
        floor_modulo(hash, live.len()).map(|at| live[at] as usize)
    }

    /// The owner, then the **other** nodes from `hash mod their count` on.
    ///
    /// The owner is left out of that list also while it is live: so the second candidate is the
    /// node that serves the key the moment the owner goes out, and not one that does so for one try.
    pub(super) fn walk<'t>(self, key: &[u8], live: Option<&'t Live>) -> ModuloWalk<'t> {
        let hash = hash_of(key);
        let live = live.map(|live| live.below(self.nodes));
        let count = live.map_or(self.nodes as usize, <[u32]>::len);
        let owner = floor_modulo(hash, self.nodes as usize);
        let owner_at = owner.and_then(|owner| match live {
            None => Some(owner),
            Some(live) => live
                .binary_search_by_key(&owner, |&node| node as usize)
                .ok(),
        });
        let others = count - usize::from(owner_at.is_some());
        let next = floor_modulo(hash, others).unwrap_or(0);
        ModuloWalk::new(live, count, owner_at, next)
    }
}

/// What decides.
pub(super) fn hash_of(key: &[u8]) -> i32 {
    murmur3_x86_32(key)
}

/// The remainder from 0 to `count` - 1, for negative hashes too (Python's `%`); `None` of none.
fn floor_modulo(hash: i32, count: usize) -> Option<usize> {
    let count = i64::try_from(count).ok().filter(|&count| count > 0)?;
    usize::try_from(i64::from(hash).rem_euclid(count)).ok()
}

/// One node, then the others in rotation.
#[derive(Clone, Debug)]
pub(super) struct ModuloWalk<'t> {
    /// The nodes to walk, ascending; `None` stands for all of them, 0, 1, 2, ...
    live: Option<&'t [u32]>,
    /// Where the owner is in that list.
    owner_at: Option<usize>,
    owner_due: bool,
    others: usize,
    /// Where the next one is in the list without the owner.
    next: usize,
    left: usize,
}

impl<'t> ModuloWalk<'t> {
    /// `live`, or the first `count` nodes: the one at `owner_at`, then the others from their `next`-th on.
    pub(super) fn new(
        live: Option<&'t [u32]>,
        count: usize,
        owner_at: Option<usize>,
        next: usize,
    ) -> Self {
        let others = count - usize::from(owner_at.is_some());
        Self {
            live,
            owner_at,
            owner_due: owner_at.is_some(),
            others,
            next,
            left: others,
        }
    }

    fn node(&self, at: usize) -> usize {
        self.live.map_or(at, |live| live[at] as usize)
    }
}

impl Iterator for ModuloWalk<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.owner_due {
            self.owner_due = false;
            return self.owner_at.map(|at| self.node(at));
        }
        self.left = self.left.checked_sub(1)?;
        let at = self.next;
        self.next = if at + 1 == self.others { 0 } else { at + 1 };
        let skipped = usize::from(self.owner_at.is_some_and(|owner_at| at >= owner_at));
        Some(self.node(at + skipped))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.left + usize::from(self.owner_due);
        (left, Some(left))
    }
}

impl FusedIterator for ModuloWalk<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_hash_has_a_positive_remainder() {
        assert_eq!(floor_modulo(-1, 3), Some(2));
        assert_eq!(
            floor_modulo(i32::MIN, 7),
            Some(5),
            "-2147483648 % 7 in Python"
        );
        assert_eq!(floor_modulo(5, 0), None, "nobody to choose from");
    }

    /// Who shards by hand in another language than Python has this one.
    #[test]
    fn an_unsigned_remainder_of_three_nodes_agrees_on_half_of_the_keys() {
        let agrees = |n: &u32| {
            let hash = murmur3_x86_32(format!("user:{n}").as_bytes());
            floor_modulo(hash, 3) == Some(hash.cast_unsigned() as usize % 3)
        };
        let agreed = (0..10_000).filter(agrees).count();
        assert!((4_800..5_200).contains(&agreed), "{agreed}");
    }

    #[test]
    fn the_second_candidate_is_the_node_that_serves_once_the_owner_is_out() {
        let rule = Modulo { nodes: 7 };
        let live = Live::all(7).with(2, false);
        for key in 0..500_u32 {
            let key = key.to_string();
            let order: Vec<usize> = rule.walk(key.as_bytes(), Some(&live)).collect();
            if rule.owner(key.as_bytes()) != Some(order[0]) {
                continue; // its owner is out already; this rule re-counts with every further one
            }
            let without = live.with(order[0], false);
            assert_eq!(
                rule.first(key.as_bytes(), &without),
                Some(order[1]),
                "key {key}"
            );
        }
    }

    #[test]
    fn without_an_opinion_on_liveness_all_are_live() {
        let rule = Modulo { nodes: 5 };
        for key in ["", "a", "b", "c", "d", "e"] {
            let all = rule.walk(key.as_bytes(), None).collect::<Vec<_>>();
            assert_eq!(
                all,
                rule.walk(key.as_bytes(), Some(&Live::all(5)))
                    .collect::<Vec<_>>()
            );
        }
    }
}
