//! Which of the servers that this process does not use it looks at.

use std::ops::Range;

/// In so many looks all of them have had their turn, unless there are very many.
const ROUND: usize = 5;
/// So many have it in one look at most: each is a connection.
const MOST: usize = 16;

/// Whose turn it is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turns {
    has_begun: bool,
    next: usize,
}

impl Turns {
    /// Which of so many are looked at now: all at first, then some in turn; none, while this process uses no server at
    /// all, and so has no reader.
    pub(crate) fn next(&mut self, all: usize, is_in_use: bool) -> Range<usize> {
        if !std::mem::replace(&mut self.has_begun, true) {
            return 0..all;
        }
        if !is_in_use || all == 0 {
            return 0..0;
        }
        // There are fewer than there were.
        let from = if self.next < all { self.next } else { 0 };
        let to = all.min(from + all.div_ceil(ROUND).min(MOST));
        self.next = to;
        from..to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_have_their_turn_at_first_and_then_again_within_five_looks() {
        for all in 0..=80 {
            let mut turns = Turns::default();
            assert_eq!(turns.next(all, false), 0..all, "at the start");
            let mut seen: Vec<usize> = (0..ROUND).flat_map(|_| turns.next(all, true)).collect();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen, (0..all).collect::<Vec<_>>());
        }
    }

    #[test]
    fn of_a_thousand_few_are_asked_at_once_and_none_by_a_process_that_uses_none() {
        let mut turns = Turns::default();
        turns.next(1000, true);
        let mut seen = Vec::new();
        for _ in 0..1000_usize.div_ceil(MOST) {
            let some = turns.next(1000, true);
            assert!(some.len() <= MOST);
            seen.extend(some);
        }
        assert_eq!(seen, (0..1000).collect::<Vec<_>>());
        assert_eq!(turns.next(1000, false), 0..0);
        assert_eq!(turns.next(3, true), 0..1, "most of them are gone");
    }
}
