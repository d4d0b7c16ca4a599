//! Nodes that an operator took out of service at all instances, and when: the last word counts, and outlives whoever
//! said it.

use std::collections::BTreeMap;

use crate::hash::xxh3_64;

/// Nodes of all scopes that a word is kept of.
const MOST: usize = 64;
/// A word that is so far ahead of our clock, in milliseconds, is not believed: nobody could ever say another one.
const AHEAD: u64 = 24 * 3_600_000;

/// A node of a scope, as it travels.
pub(crate) fn node_key(scope: &str, node: &str) -> u64 {
    let text = [scope.as_bytes(), &[0], node.as_bytes()].concat();
    xxh3_64(&text)
}

/// When something was said, and by whom: of two the higher is the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Stamp {
    /// Milliseconds of the wall clock, at least one more than any that was known.
    pub(crate) at: u64,
    /// The ring id of who said it, as a hash.
    pub(crate) by: u64,
}

/// One word of an operator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Word {
    pub(crate) stamp: Stamp,
    /// Whether the node is drained; else it was restored.
    pub(crate) on: bool,
}

/// There is no room for one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// The last word on each node. Merging is a join: blind to order and to repetition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drains {
    words: BTreeMap<u64, Word>,
}

impl Drains {
    /// An operator's word; whether it is another than the last one.
    pub(crate) fn say(&mut self, key: u64, on: bool, wall: u64, by: u64) -> Result<bool, Full> {
        if self.is_drained(key) == on {
            return Ok(false);
        }
        if on && self.drained().count() >= MOST {
            return Err(Full);
        }
        let newest = self.words.values().map(|word| word.stamp.at).max();
        let at = newest.map_or(wall, |newest| wall.max(newest.saturating_add(1)));
        let stamp = Stamp { at, by };
        self.words.insert(key, Word { stamp, on });
        self.trim();
        Ok(true)
    }

    /// What somebody else knows; whether it was news.
    pub(crate) fn merge(
        &mut self,
        others: impl IntoIterator<Item = (u64, Word)>,
        wall: u64,
    ) -> bool {
        let before = self.words.clone();
        for (key, word) in others {
            if word.stamp.at > wall.saturating_add(AHEAD) {
                continue;
            }
            let known = self.words.entry(key).or_insert(word);
            *known = (*known).max(word);
        }
        self.trim();
        self.words != before
    }

    /// Keeps as much as there is room for, the same everywhere: what is drained first, then the latest words.
    fn trim(&mut self) {
        if self.words.len() > MOST {
            let mut all: Vec<_> = std::mem::take(&mut self.words).into_iter().collect();
            all.sort_by_key(|(key, word)| std::cmp::Reverse((word.on, word.stamp, *key)));
            all.truncate(MOST);
            self.words = all.into_iter().collect();
        }
    }

    pub(crate) fn is_drained(&self, key: u64) -> bool {
        self.words.get(&key).is_some_and(|word| word.on)
    }

    /// Who said the last word on a node.
    pub(crate) fn word(&self, key: u64) -> Option<Word> {
        self.words.get(&key).copied()
    }

    fn drained(&self) -> impl Iterator<Item = u64> {
        let on = self.words.iter().filter(|(_, word)| word.on);
        on.map(|(key, _)| *key)
    }

    /// Whether no more nodes can be drained.
    pub(crate) fn is_full(&self) -> bool {
        self.drained().count() >= MOST
    }

    pub(crate) fn words(&self) -> impl ExactSizeIterator<Item = (u64, Word)> {
        self.words.iter().map(|(key, word)| (*key, *word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(of: &Drains) -> Vec<(u64, Word)> {
        of.words().collect()
    }

    #[test]
    fn the_last_word_counts_though_the_clock_of_who_said_it_is_behind() {
        let (mut a, mut b) = (Drains::default(), Drains::default());
        assert_eq!(a.say(1, true, 1_000_000, 7), Ok(true));
        assert!(b.merge(all(&a), 5));
        assert!(!b.merge(all(&a), 5), "no news");
        assert!(b.is_drained(1));
        assert_eq!(b.say(1, false, 5, 9), Ok(true));
        assert_eq!(b.say(1, false, 5, 9), Ok(false), "it is restored already");
        assert!(a.merge(all(&b), 1_000_000));
        assert!(!a.is_drained(1) && a == b);
        assert!(!b.merge(all(&a), 5));
    }

    #[test]
    fn a_word_from_a_far_future_is_not_believed() {
        let mut drains = Drains::default();
        let stamp = Stamp {
            at: u64::MAX,
            by: 1,
        };
        assert!(!drains.merge([(1, Word { stamp, on: true })], 1_000));
        assert_eq!(drains.say(1, true, 1_000, 1), Ok(true));
        assert_eq!(drains.say(1, false, 1_000, 1), Ok(true));
        assert!(!drains.is_drained(1));
    }

    #[test]
    fn there_is_room_for_sixty_four_and_what_was_restored_gives_way() {
        let mut drains = Drains::default();
        for key in 0..200 {
            assert_eq!(drains.say(key, true, key, 1), Ok(true));
            assert_eq!(drains.say(key, false, key, 1), Ok(true));
        }
        assert_eq!(drains.words().len(), MOST);
        for key in 0..64 {
            assert_eq!(drains.say(key, true, 1_000 + key, 1), Ok(true));
        }
        assert_eq!(drains.say(64, true, 9_999, 1), Err(Full));
        assert!((0..64).all(|key| drains.is_drained(key)) && drains.is_full());
        assert_eq!(drains.words().len(), MOST);
    }
}
