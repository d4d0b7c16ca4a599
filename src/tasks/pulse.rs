//! Whether the background is alive: what every call can see at the price of one load.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::clock::micros;

/// A background that was silent for this long lives on a runtime that nobody polls.
const SILENT: Duration = Duration::from_secs(2);

/// How often somebody may try to start it anew.
const AGAIN: Duration = Duration::from_millis(500);

/// No background was started yet: nobody misses it.
const NEVER: u64 = u64::MAX;
/// It was started and has ended.
const ENDED: u64 = 0;

/// The last sign of life of the background tasks, and which start of them counts.
#[derive(Debug)]
pub(crate) struct Pulse {
    /// Microseconds, see [`micros`].
    last: AtomicU64,
    /// How often the background was started: what an older start does is of no account.
    start: AtomicU64,
    asked: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            last: AtomicU64::new(NEVER),
            start: AtomicU64::new(0),
            asked: AtomicU64::new(0),
        }
    }
}

impl Pulse {
    /// Begins a new start, and gives its number.
    pub(crate) fn begin(&self, now: Instant) -> u64 {
        let number = self.start.fetch_add(1, SeqCst) + 1;
        self.last.store(micros(now), Relaxed);
        number
    }

    /// Begins a start where there is none; one caller of many gets its number.
    pub(crate) fn begin_again(&self, now: Instant) -> Option<u64> {
        let last = self.last.load(Relaxed);
        let ended = matches!(last, NEVER | ENDED);
        let won = ended
            && self
                .last
                .compare_exchange(last, micros(now), SeqCst, Relaxed)
                .is_ok();
        won.then(|| self.begin(now))
    }

    /// Whether this start is the newest: an older one ends when its runtime wakes.
    pub(crate) fn is_current(&self, number: u64) -> bool {
        self.start.load(SeqCst) == number
    }

    /// How often the background was started.
    pub(crate) fn starts(&self) -> u64 {
        self.start.load(SeqCst)
    }

    /// A sign of life.
    pub(crate) fn beat(&self, now: Instant) {
        self.last.store(micros(now), Relaxed);
    }

    /// The start of this number has ended, for example with its runtime.
    pub(crate) fn end(&self, number: u64) {
        if self.is_current(number) {
            self.last.store(ENDED, Relaxed);
        }
    }

    /// Whether a background was started and has not ended.
    pub(crate) fn beats(&self) -> bool {
        !matches!(self.last.load(Relaxed), NEVER | ENDED)
    }

    /// Whether the background, once started, has ended: its runtime is gone, or the cluster is closed.
    pub(crate) fn has_ended(&self) -> bool {
        self.last.load(Relaxed) == ENDED
    }

    /// Whether the background, once started, has ended or been silent for too long.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        match self.last.load(Relaxed) {
            ENDED => true,
            last => u128::from(micros(now).saturating_sub(last)) > SILENT.as_micros(),
        }
    }

    /// Whether the caller is the one to see to it; the next one may in half a second.
    pub(crate) fn claim(&self, now: Instant) -> bool {
        let (now, last) = (micros(now), self.asked.load(Relaxed));
        let rests = last > 0 && u128::from(now.saturating_sub(last)) < AGAIN.as_micros();
        !rests
            && self
                .asked
                .compare_exchange(last, now, Relaxed, Relaxed)
                .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_background_is_missed_after_seconds_of_silence_or_when_it_ended() {
        let (pulse, now) = (Pulse::default(), Instant::now());
        assert!(!pulse.is_overdue(now + ms(90_000)), "none was started");
        assert!(!pulse.beats());
        let number = pulse.begin(now);
        assert!(!pulse.is_overdue(now + ms(2_000)));
        assert!(pulse.is_overdue(now + ms(2_001)));
        pulse.beat(now + ms(2_001));
        assert!(!pulse.is_overdue(now + ms(4_001)));
        pulse.end(number);
        assert!(pulse.is_overdue(now) && pulse.has_ended());
        assert!(pulse.begin_again(now).is_some() && pulse.begin_again(now).is_none());
    }

    #[test]
    fn an_older_start_counts_for_nothing() {
        let (pulse, now) = (Pulse::default(), Instant::now());
        let old = pulse.begin(now);
        let new = pulse.begin(now);
        assert!(!pulse.is_current(old) && pulse.is_current(new));
        pulse.end(old);
        assert!(!pulse.is_overdue(now), "the new one lives");
    }

    #[test]
    fn one_caller_at_a_time_sees_to_it() {
        let (pulse, now) = (Pulse::default(), Instant::now());
        assert!(pulse.claim(now));
        assert!(!pulse.claim(now) && !pulse.claim(now + ms(499)));
        assert!(pulse.claim(now + ms(501)));
    }
}
