//! What is said about stalls of our own process: enough to find the cause, and no more.

use std::time::{Duration, Instant};

/// A line at most this often.
const PAUSE: Duration = Duration::from_secs(60);

/// The stalls that were counted and not yet written to the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stalls {
    count: u64,
    longest: Duration,
    said_at: Option<Instant>,
    /// The newest one, while no call is known to have waited through it.
    idle: Option<Duration>,
}

impl Stalls {
    /// The process stood still for `lasted`. Says whether that counts: with nothing under way nobody was
    /// kept waiting, and a program that only sleeps is no news.
    pub(crate) fn happened(&mut self, lasted: Duration, under_way: bool) -> bool {
        self.idle = (!under_way).then_some(lasted);
        if under_way {
            self.add(lasted);
        }
        under_way
    }

    /// A call turns out to have waited through the newest stall; gives it, when it was not counted yet.
    pub(crate) fn touched(&mut self) -> Option<Duration> {
        let lasted = self.idle.take()?;
        self.add(lasted);
        Some(lasted)
    }

    /// The line that is due: how many there were since the last one, and how long the longest was.
    pub(crate) fn line(&mut self, now: Instant) -> Option<(u64, Duration)> {
        let rests = |at| now.saturating_duration_since(at) < PAUSE;
        if self.count == 0 || self.said_at.is_some_and(rests) {
            return None;
        }
        self.said_at = Some(now);
        let longest = std::mem::take(&mut self.longest);
        Some((std::mem::take(&mut self.count), longest))
    }

    fn add(&mut self, lasted: Duration) {
        self.count += 1;
        self.longest = self.longest.max(lasted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_first_stall_is_told_at_once_and_the_others_once_a_minute() {
        let start = Instant::now();
        let mut stalls = Stalls::default();
        assert_eq!(stalls.line(start), None, "nothing happened");
        assert!(stalls.happened(ms(200), true));
        assert_eq!(stalls.line(start), Some((1, ms(200))));
        for lasted in [300, 900, 150] {
            assert!(stalls.happened(ms(lasted), true));
            assert_eq!(stalls.line(start + ms(59_999)), None);
        }
        assert_eq!(stalls.line(start + ms(60_000)), Some((3, ms(900))));
        assert_eq!(stalls.line(start + ms(120_000)), None, "all is said");
    }

    #[test]
    fn a_stall_with_nothing_under_way_is_no_news_until_a_call_was_touched() {
        let start = Instant::now();
        let mut stalls = Stalls::default();
        assert!(!stalls.happened(ms(200), false));
        assert_eq!(stalls.line(start), None);
        assert_eq!(stalls.touched(), Some(ms(200)));
        assert_eq!(stalls.touched(), None, "counted once");
        assert_eq!(stalls.line(start), Some((1, ms(200))));
        assert!(stalls.happened(ms(300), true));
        assert_eq!(stalls.touched(), None, "it was counted when it happened");
    }
}
