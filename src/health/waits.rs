//! How much of a wait without an answer this process really waited.
//!
//! A process that stands still hears nobody. Its time-outs say something about a node only as far as it
//! ran while it waited: a time-out of which less than half remains is no evidence by itself, and what
//! remains is kept for the next one. So no rhythm of sleeping and waking excuses a silent node for ever,
//! and no stall makes evidence out of nothing.

use std::time::Duration;

/// How much of a wait this process ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ran {
    /// All of it: no stall touched it.
    Throughout,
    /// The part between these two readings of a clock that stands still while the process does.
    Part { from: Duration, to: Duration },
}

impl Ran {
    /// Whether it is at least half of a wait that was to last for `limit`.
    ///
    /// Half, because all of it can never be left: a wait that a stall touched is shorter by it.
    pub(crate) fn is_most_of(self, limit: Duration) -> bool {
        match self {
            Self::Throughout => true,
            Self::Part { from, to } => to.saturating_sub(from) >= limit / 2,
        }
    }
}

/// A wait that ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) ran: Ran,
    /// How long it was to last.
    pub(crate) limit: Duration,
}

impl Wait {
    /// A wait that nothing of ours disturbed.
    #[cfg(test)]
    pub(crate) const UNDISTURBED: Self = Self {
        ran: Ran::Throughout,
        limit: Duration::ZERO,
    };
}

/// What was waited for one node in parts too short to count, since its last answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Waits {
    carried: Duration,
    /// How far, on the clock of [`Ran::Part`], the time was used up. Calls that wait at the same time
    /// wait for the same silence: time is counted once, not once per call.
    counted: Duration,
}

impl Waits {
    /// A wait ended without an answer: does it count, alone or with what was carried over?
    pub(super) fn unanswered(&mut self, wait: Wait) -> bool {
        let Ran::Part { from, to } = wait.ran else {
            self.carried = Duration::ZERO;
            return true;
        };
        let new = to.saturating_sub(from.max(self.counted));
        self.counted = self.counted.max(to);
        self.carried = self.carried.saturating_add(new);
        let counts = wait.ran.is_most_of(wait.limit) || self.carried >= wait.limit / 2;
        if counts {
            self.carried = Duration::ZERO;
        }
        counts
    }

    /// The node answered.
    pub(super) fn answered(&mut self) {
        self.carried = Duration::ZERO;
    }

    /// Whether the next answer would change something.
    pub(super) fn any(&self) -> bool {
        !self.carried.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn part(from: u64, to: u64) -> Wait {
        Wait {
            ran: Ran::Part {
                from: ms(from),
                to: ms(to),
            },
            limit: ms(500),
        }
    }

    #[test]
    fn half_of_a_wait_counts_and_less_does_not() {
        assert!(Waits::default().unanswered(part(1_000, 1_250)));
        assert!(!Waits::default().unanswered(part(1_000, 1_249)));
        assert!(Waits::default().unanswered(Wait::UNDISTURBED));
    }

    #[test]
    fn parts_add_up_until_they_are_half_of_a_wait() {
        let mut waits = Waits::default();
        assert!(!waits.unanswered(part(0, 100)));
        assert!(!waits.unanswered(part(100, 200)));
        assert!(waits.any());
        assert!(waits.unanswered(part(300, 350)), "100 + 100 + 50 ms");
        assert!(!waits.any(), "used up");
        assert!(!waits.unanswered(part(400, 500)), "it begins anew");
    }

    #[test]
    fn calls_that_wait_at_the_same_time_count_once() {
        let mut waits = Waits::default();
        for _ in 0..64 {
            assert!(!waits.unanswered(part(0, 200)));
        }
        // Overlapping ones bring only what is new.
        assert!(!waits.unanswered(part(100, 249)));
        assert!(waits.unanswered(part(100, 250)));
    }

    #[test]
    fn an_answer_clears_what_was_carried_over() {
        let mut waits = Waits::default();
        assert!(!waits.unanswered(part(0, 240)));
        waits.answered();
        assert!(!waits.any());
        assert!(!waits.unanswered(part(240, 480)));
    }

    #[test]
    fn a_whole_wait_takes_the_carried_part_with_it() {
        let mut waits = Waits::default();
        assert!(!waits.unanswered(part(0, 200)));
        assert!(waits.unanswered(Wait::UNDISTURBED));
        assert!(!waits.unanswered(part(900, 1_000)), "one strike, not two");
    }
}
