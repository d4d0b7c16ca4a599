//! How long to wait after an attempt that failed. Pure: the random number is an argument.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::clock::half_jitter;

/// Half of it is always waited: the shortest wait is 0.2 s.
const FIRST: Duration = Duration::from_millis(400);
const LONGEST: Duration = Duration::from_secs(30);

/// Waits that double, each drawn from the upper half of its step: 0.2 s at least, 30 s at most.
#[derive(Debug)]
pub(super) struct Retry(ExponentialBackoff);

impl Default for Retry {
    fn default() -> Self {
        // No jitter here: backon adds it on top, outside the maximum.
        Self(
            ExponentialBuilder::new()
                .with_factor(2.0)
                .with_min_delay(FIRST)
                .with_max_delay(LONGEST)
                .without_max_times()
                .build(),
        )
    }
}

impl Retry {
    /// The wait after an attempt; `unit` is a random number from 0 to 1.
    pub(super) fn after(&mut self, succeeded: bool, unit: f64) -> Duration {
        if succeeded {
            *self = Self::default();
            return Duration::ZERO;
        }
        half_jitter(self.0.next().unwrap_or(LONGEST).min(LONGEST), unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_from_a_fifth_of_a_second_to_half_a_minute_and_start_again() {
        let mut retry = Retry::default();
        let low: Vec<_> = (0..12).map(|_| retry.after(false, 0.0)).collect();
        assert_eq!(low[0], Duration::from_millis(200));
        assert!(low.windows(2).all(|w| w[0] <= w[1]), "{low:?}");
        assert_eq!(*low.last().unwrap(), Duration::from_secs(15));
        assert_eq!(retry.after(false, 1.0), Duration::from_secs(30));
        assert_eq!(retry.after(true, 0.5), Duration::ZERO);
        assert_eq!(retry.after(false, 1.0), Duration::from_millis(400));
    }
}
