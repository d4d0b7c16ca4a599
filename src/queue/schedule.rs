//! When a message is due.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest delay: beyond it a time is more likely a mistake.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 86_400);

/// When a message is to be delivered, by the clock of the server that has it; see
/// [`push_at`](crate::queue::Queue::push_at).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum When {
    /// At this time; one that has passed means now.
    At(SystemTime),
    /// So long after the server got it.
    After(Duration),
}

impl From<SystemTime> for When {
    fn from(time: SystemTime) -> Self {
        Self::At(time)
    }
}

impl From<Duration> for When {
    fn from(delay: Duration) -> Self {
        Self::After(delay)
    }
}

impl When {
    /// Now.
    pub(crate) const NOW: Self = Self::After(Duration::ZERO);

    pub(crate) fn is_now(self) -> bool {
        self == Self::NOW
    }

    /// For the script: how the number is meant, and milliseconds. The error says what is wrong.
    pub(crate) fn words(self, now: SystemTime) -> Result<(&'static str, u64), String> {
        match self {
            Self::After(delay) => Ok(("in", millis("delay", delay, LONGEST)?)),
            Self::At(time) => {
                let ahead = time.duration_since(now).unwrap_or_default();
                millis("time until the message is due", ahead, LONGEST)?;
                let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
                Ok(("at", u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
            }
        }
    }
}

/// A time in whole milliseconds, rounded up so that a short one is not none.
pub(crate) fn millis(what: &str, time: Duration, longest: Duration) -> Result<u64, String> {
    if time > longest {
        let days = longest.as_secs() / 86_400;
        return Err(format!(
            "the {what}, {time:?}, is too long: use at most {days} days"
        ));
    }
    Ok(u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_milliseconds_and_bounded() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let s = Duration::from_secs;
        assert_eq!(When::from(s(2)).words(now), Ok(("in", 2_000)));
        assert_eq!(
            When::After(Duration::from_nanos(1)).words(now),
            Ok(("in", 1))
        );
        assert_eq!(When::from(now + s(5)).words(now), Ok(("at", 1_000_005_000)));
        assert_eq!(
            When::from(UNIX_EPOCH).words(now),
            Ok(("at", 0)),
            "the past is now"
        );
        assert_eq!(When::At(UNIX_EPOCH - s(9)).words(now), Ok(("at", 0)));
        for bad in [When::After(Duration::MAX), When::At(now + LONGEST + s(1))] {
            assert!(bad.words(now).unwrap_err().contains("too long"), "{bad:?}");
        }
    }
}
