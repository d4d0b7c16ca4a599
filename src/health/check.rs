//! A node that admits is doubted: it is asked until it answers, or has failed often enough.

use std::time::{Duration, Instant};

use crate::clock::later;

/// Between two questions.
const GAP: Duration = Duration::from_millis(100);

/// What was asked of a doubted node so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Check {
    /// The question in flight: its id and its deadline.
    asked: Option<(u64, Instant)>,
    /// When the next one starts.
    next: Instant,
    failed: u32,
}

impl Check {
    /// Begins at once, or a while after the `last` question, whatever became of that: doubts that are raised again and
    /// again must not become a storm of dials.
    pub(super) fn new(now: Instant, last: Option<Instant>) -> Self {
        Self {
            asked: None,
            next: last.map_or(now, |last| later(last, GAP).max(now)),
            failed: 0,
        }
    }

    pub(super) fn asked(&self) -> Option<(u64, Instant)> {
        self.asked
    }

    pub(super) fn deadline(&self) -> Instant {
        self.asked.map_or(self.next, |(_, deadline)| deadline)
    }

    /// Asks, if that is due; returns the deadline.
    pub(super) fn start(&mut self, id: u64, now: Instant, limit: Duration) -> Option<Instant> {
        if self.asked.is_some() || self.next > now {
            return None;
        }
        let deadline = later(now, limit);
        self.asked = Some((id, deadline));
        Some(deadline)
    }

    /// The question in flight ended without a success; what goes on, unless that were `most` failures.
    pub(super) fn after(self, failed: bool, now: Instant, most: u32) -> Option<Self> {
        let failed = self.failed + u32::from(failed);
        (failed < most).then(|| Self {
            asked: None,
            next: later(now, GAP),
            failed,
        })
    }
}
