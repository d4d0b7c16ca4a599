//! What one connection proves of what was read over it.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

/// The last number that was given out; 0 is no connection.
static LAST: AtomicU64 = AtomicU64::new(0);

/// So many own writes of kept keys must have come back.
const OWED: u64 = 100;

/// The state of a connection over which a server tells of changes.
#[derive(Debug)]
pub(crate) struct Current {
    /// A number that no other connection ever had, nor this one before the server forgot what we had read; 0 once
    /// nothing is told any more.
    epoch: AtomicU64,
    /// When the latest question was asked that was answered: all that the server told before the answer was applied.
    proven: AtomicU64,
    /// How often it told of something.
    told: AtomicU64,
    /// Own writes of kept keys since it last told of anything.
    owed: AtomicU64,
}

/// What was seen of it before a question was asked, or a key written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    told: u64,
    owed: u64,
}

impl Current {
    pub(crate) fn new() -> Self {
        Self {
            epoch: AtomicU64::new(fresh()),
            proven: AtomicU64::new(0),
            told: AtomicU64::new(0),
            owed: AtomicU64::new(0),
        }
    }

    /// What is read over it from now on is kept under this number; 0 for not at all.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Acquire)
    }

    /// The number of what is current, and up to when that is proven.
    ///
    /// The proof comes first: the number behind it is no older, so that who finds a proof from after a flush finds
    /// the number of after the flush as well.
    pub(crate) fn judged(&self) -> (u64, u64) {
        let proven = self.proven.load(Acquire);
        (self.epoch.load(Acquire), proven)
    }

    /// Nothing is told over it any more.
    pub(crate) fn end(&self) {
        self.epoch.store(0, Release);
    }

    /// The server has forgotten what was read over it.
    pub(crate) fn renew(&self) {
        self.heard();
        // One that has ended stays so.
        let _ = self
            .epoch
            .fetch_update(AcqRel, Acquire, |now| (now != 0).then(fresh));
    }

    /// The server told of something.
    pub(crate) fn heard(&self) {
        self.told.fetch_add(1, Relaxed);
        self.owed.store(0, Relaxed);
    }

    /// This process has written a key that is kept from it, and this was seen before: the server must tell.
    pub(crate) fn owes(&self, before: Told) {
        // What it told meanwhile may be that already.
        if self.told.load(Relaxed) == before.told {
            self.owed.fetch_add(1, Relaxed);
        }
    }

    /// What is seen of it now.
    pub(crate) fn told(&self) -> Told {
        // In this order: what it tells meanwhile counts as told behind it.
        let told = self.told.load(Acquire);
        let owed = self.owed.load(Relaxed);
        Told { told, owed }
    }

    /// A question was answered that was asked at this time; all that was told before the answer has been applied.
    ///
    /// `false` when the server should have told of own writes, and did not: it, or what is between, never does.
    pub(crate) fn prove(&self, asked: u64, before: Told) -> bool {
        if before.owed >= OWED && self.told.load(Relaxed) == before.told {
            return false;
        }
        self.proven.fetch_max(asked, Release);
        true
    }
}

fn fresh() -> u64 {
    LAST.fetch_add(1, Relaxed) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_given_once_and_an_end_is_for_good() {
        let (a, b) = (Current::new(), Current::new());
        let first = a.epoch();
        assert!(first != 0 && first != b.epoch());
        a.renew();
        assert!(![first, b.epoch(), 0].contains(&a.epoch()));
        a.end();
        a.renew();
        assert_eq!(a.epoch(), 0);
    }

    #[test]
    fn a_proof_is_as_old_as_its_question_and_never_goes_back() {
        let current = Current::new();
        let told = current.told();
        assert!(current.prove(7, told) && current.prove(5, told));
        assert_eq!(current.judged().1, 7);
    }

    #[test]
    fn a_hundred_own_writes_that_nothing_came_back_of_are_no_proof() {
        let current = Current::new();
        for _ in 0..OWED {
            assert!(current.prove(1, current.told()));
            current.owes(current.told());
        }
        let before = current.told();
        assert!(!current.prove(2, before));
        assert_eq!(current.judged().1, 1);
        current.heard();
        assert!(current.prove(3, before), "it came before the answer");
        let seen = current.told();
        current.heard();
        for _ in 0..OWED {
            current.owes(seen);
        }
        assert!(
            current.prove(4, current.told()),
            "it came before the write had ended"
        );
        assert!(current.prove(4, current.told()));
    }
}
