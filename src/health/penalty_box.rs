//! The table of who waits until when.

mod penalty;
mod schedule;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

pub use self::penalty::Penalty;
#[cfg(feature = "serde")]
pub(crate) use self::penalty::parameters;
pub(crate) use self::schedule::Schedule;
use crate::clock::later;

/// A place where nodes wait while they are out, each failed attempt longer than the one before.
///
/// It is a pure table: the time and the random numbers (`unit`, from 0 to 1, used when
/// [`Penalty::jitter`] is on) are arguments, so its behaviour can be tested to the millisecond. A
/// cluster keeps its own; use one directly to give other things than nodes the same treatment.
///
/// ```
/// use std::time::{Duration, Instant};
/// use fluster::{Penalty, PenaltyBox};
///
/// let seconds = Duration::from_secs_f64;
/// let start = Instant::now();
/// let mut penalty_box = PenaltyBox::new(Penalty::fluster_py().min_wait(seconds(0.5)));
///
/// penalty_box.add("cache0", start, 0.0);
/// assert!(penalty_box.is_penalized(&"cache0"));
/// assert_eq!(penalty_box.due(start).next(), None);
///
/// // Its wait is over: try it. It stays in the box until it is known to work.
/// let now = start + seconds(0.5);
/// assert_eq!(penalty_box.due(now).collect::<Vec<_>>(), ["cache0"]);
///
/// // Still down: it waits longer.
/// assert_eq!(penalty_box.failed(&"cache0", now, 0.0), Some(seconds(0.75)));
///
/// // It works again.
/// assert!(penalty_box.released(&"cache0"));
/// assert!(penalty_box.is_empty());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PenaltyBox<K> {
    schedule: Schedule,
    inside: BTreeMap<K, Sentence>,
    /// Those of `inside` that still wait, in the order of their release.
    waiting: BTreeSet<(Instant, K)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Sentence {
    level: u32,
    /// `None` from the end of the wait until the verdict of the attempt.
    until: Option<Instant>,
}

impl<K: Clone + Ord> PenaltyBox<K> {
    /// An empty box; of `penalty` it uses the waits and the jitter. [Example](crate::guide::by_example#a-penalty-box-of-anything).
    ///
    /// Parameters that [`Penalty::validate`] refuses are bent into range.
    #[must_use]
    pub fn new(penalty: Penalty) -> Self {
        Self {
            schedule: Schedule::new(&penalty),
            inside: BTreeMap::new(),
            waiting: BTreeSet::new(),
        }
    }

    /// Puts `key` into the box for the shortest wait and returns how long that is. [Example](crate::guide::by_example#a-penalty-box-of-anything).
    ///
    /// A key that is already inside keeps its wait; what is left of it is returned.
    pub fn add(&mut self, key: K, now: Instant, unit: f64) -> Duration {
        if let Some(sentence) = self.inside.get(&key) {
            return sentence
                .until
                .map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        }
        let wait = self.schedule.draw(self.schedule.nominal(1), unit);
        self.sentence(key, 1, later(now, wait));
        wait
    }

    /// Whether `key` is inside, waiting or being tried. [Example](crate::guide::by_example#a-penalty-box-of-anything).
    #[must_use]
    pub fn is_penalized(&self, key: &K) -> bool {
        self.inside.contains_key(key)
    }

    /// The keys whose wait is over, in the order of their release, each handed out once. [Example](crate::guide::by_example#a-penalty-box-of-anything).
    ///
    /// They stay inside until [`released`](Self::released) or [`failed`](Self::failed) says how
    /// the attempt went.
    pub fn due(&mut self, now: Instant) -> impl Iterator<Item = K> + use<'_, K> {
        std::iter::from_fn(move || self.pop_due(now))
    }

    /// The next key whose wait is over, handed out once, as by [`due`](Self::due). [Example](crate::guide::by_example#a-penalty-box-of-anything).
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        if self.waiting.first()?.0 > now {
            return None;
        }
        let (_, key) = self.waiting.pop_first()?;
        if let Some(sentence) = self.inside.get_mut(&key) {
            sentence.until = None;
        }
        Some(key)
    }

    /// Notes that `key` was tried and is still down, and returns its next, longer wait. [Example](crate::guide::by_example#a-penalty-box-of-anything).
    ///
    /// `None` when it is not inside: it was released or removed meanwhile.
    pub fn failed(&mut self, key: &K, now: Instant, unit: f64) -> Option<Duration> {
        let level = self.inside.get(key)?.level;
        let level = level.saturating_add(1).min(self.schedule.max_level());
        let wait = self.schedule.draw(self.schedule.nominal(level), unit);
        self.sentence(key.clone(), level, later(now, wait));
        Some(wait)
    }

    /// Takes `key` out of the box; says whether it was inside. [Example](crate::guide::by_example#a-penalty-box-of-anything).
    pub fn released(&mut self, key: &K) -> bool {
        let Some(sentence) = self.inside.remove(key) else {
            return false;
        };
        if let Some(until) = sentence.until {
            self.waiting.remove(&(until, key.clone()));
        }
        true
    }

    /// When the next wait ends. [Example](crate::guide::by_example#a-penalty-box-of-anything).
    #[must_use]
    pub fn next_release(&self) -> Option<Instant> {
        self.waiting.first().map(|(until, _)| *until)
    }

    /// Lets `key` go at `until` if that is sooner; says whether it is. [Example](crate::guide::by_example#a-penalty-box-of-anything).
    pub fn pull_forward(&mut self, key: &K, until: Instant) -> bool {
        match self.inside.get(key) {
            Some(Sentence {
                level,
                until: Some(old),
            }) if until < *old => {
                let level = *level;
                self.sentence(key.clone(), level, until);
                true
            }
            _ => false,
        }
    }

    /// How many keys are inside. [Example](crate::guide::by_example#a-penalty-box-of-anything).
    #[must_use]
    pub fn len(&self) -> usize {
        self.inside.len()
    }

    /// Whether nobody is inside. [Example](crate::guide::by_example#a-penalty-box-of-anything).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inside.is_empty()
    }

    /// Puts `key` inside until `until`, whatever its sentence was before.
    pub(crate) fn sentence(&mut self, key: K, level: u32, until: Instant) {
        let sentence = Sentence {
            level,
            until: Some(until),
        };
        let before = self.inside.insert(key.clone(), sentence);
        if let Some(old) = before.and_then(|before| before.until) {
            self.waiting.remove(&(old, key.clone()));
        }
        self.waiting.insert((until, key));
    }
}
