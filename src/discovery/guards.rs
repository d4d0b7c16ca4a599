//! When a snapshot becomes the set of nodes. Pure: time is an argument.
//!
//! Sources lie for a moment: an agent that has just started knows nothing, a zone is written in two
//! steps, half a fleet misses its checks because the network hiccupped. So changes are collected for a
//! moment, an empty snapshot is never applied, and one that drops more than half of the nodes is looked
//! at again before it is believed. Errors are not snapshots, and change nothing here but to end such a
//! second look.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use super::endpoint::Snapshot;
use crate::clock::later;

/// How long to wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waits {
    /// Changes are collected for this long, counted from the first.
    pub(super) debounce: Duration,
    /// A snapshot that drops more than half of the nodes is read again after this long.
    pub(super) hold: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            debounce: Duration::from_millis(200),
            hold: Duration::from_secs(5),
        }
    }
}

/// What has to be done now.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Act {
    /// Make this snapshot the set of nodes.
    Apply(Snapshot),
    /// Ask the source again, whatever has changed.
    ReadAgain,
}

/// What was made of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    /// It is what is applied already.
    Unchanged,
    /// It is applied shortly.
    Soon,
    /// It drops more than half of the nodes, or some of them so soon after that; the source is looked at
    /// again.
    Held,
    /// It has no endpoint.
    Empty,
}

impl Ruling {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Soon => "changed",
            Self::Held => "held",
            Self::Empty => "empty",
        }
    }
}

#[derive(Clone, Debug)]
enum Waiting {
    Nothing,
    /// The latest snapshot is applied at this time.
    Until(Instant, Snapshot),
    /// More than half would have gone; the source is read again at this time.
    Held(Instant),
    /// The source was told to read again: what it says next is believed.
    Confirming,
}

/// The state between a source and a cluster.
#[derive(Clone, Debug)]
pub(super) struct Guards {
    waits: Waits,
    applied: Snapshot,
    waiting: Waiting,
}

impl Guards {
    pub(super) fn new(waits: Waits) -> Self {
        Self {
            waits,
            applied: Snapshot::default(),
            waiting: Waiting::Nothing,
        }
    }

    /// The source was read.
    pub(super) fn seen(&mut self, snapshot: &Snapshot, now: Instant) -> Ruling {
        if snapshot.is_empty() {
            // What waits is older than this: a fleet that is being taken down is not half applied.
            self.waiting = Waiting::Nothing;
            return Ruling::Empty;
        }
        if *snapshot == self.applied {
            self.waiting = Waiting::Nothing;
            return Ruling::Unchanged;
        }
        let is_first = self.applied.is_empty();
        let gone = self.gone_in(snapshot);
        // A registry that fills up again after a restart is held until nobody is missing any more.
        let suspicious = match self.waiting {
            Waiting::Held(_) => gone > 0,
            Waiting::Confirming => false,
            _ => 2 * gone > self.applied.len(),
        };
        if suspicious && !is_first && !self.waits.hold.is_zero() {
            if !matches!(self.waiting, Waiting::Held(_)) {
                self.waiting = Waiting::Held(later(now, self.waits.hold));
            }
            return Ruling::Held;
        }
        let due = match self.waiting {
            // Counted from the first change, so that a source in turmoil does not wait for ever.
            Waiting::Until(due, _) => due,
            Waiting::Confirming => now,
            _ if is_first => now,
            _ => later(now, self.waits.debounce),
        };
        self.waiting = Waiting::Until(due, snapshot.clone());
        Ruling::Soon
    }

    /// The source could not be read.
    pub(super) fn failed(&mut self) {
        // An agent that was away comes back knowing little: its next word is not a confirmation.
        if matches!(self.waiting, Waiting::Held(_) | Waiting::Confirming) {
            self.waiting = Waiting::Nothing;
        }
    }

    /// What is due; at most one thing at a time.
    pub(super) fn due(&mut self, now: Instant) -> Option<Act> {
        match &self.waiting {
            Waiting::Until(due, snapshot) if *due <= now => {
                self.applied = snapshot.clone();
                self.waiting = Waiting::Nothing;
                Some(Act::Apply(self.applied.clone()))
            }
            Waiting::Held(due) if *due <= now => {
                self.waiting = Waiting::Confirming;
                Some(Act::ReadAgain)
            }
            _ => None,
        }
    }

    /// When [`due`](Self::due) has something to say, if nothing else happens.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match &self.waiting {
            Waiting::Until(due, _) | Waiting::Held(due) => Some(*due),
            Waiting::Nothing | Waiting::Confirming => None,
        }
    }

    /// How many of the nodes that are applied would go.
    fn gone_in(&self, next: &Snapshot) -> usize {
        let all = self.applied.endpoints().iter();
        all.filter(|e| !next.has(&e.id)).count()
    }
}
