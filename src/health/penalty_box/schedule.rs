//! How long each ejection in a row lasts.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

use super::Penalty;
use crate::clock::half_jitter;

/// A multiplier just above 1 would need millions of steps to reach its cap; a table this long
/// already spans weeks of probing.
const MAX_LEVELS: usize = 1_000;

/// The table of waits per level, made once so that a level can also fall (a back-off iterator
/// only goes up).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Schedule {
    waits: Vec<Duration>,
    jitter: bool,
}

impl Schedule {
    /// The table for `penalty`. Values that [`Penalty::validate`] refuses are bent into range.
    pub(crate) fn new(penalty: &Penalty) -> Self {
        let (min, max) = (penalty.min_wait, penalty.max_wait);
        let factor = Some(penalty.multiplier)
            .filter(|factor| factor.is_finite() && *factor >= 1.0)
            .unwrap_or(1.0);
        // No jitter here: backon adds it on top, outside the maximum.
        let steps = ExponentialBuilder::new()
            .with_factor(factor as f32)
            .with_min_delay(min)
            .with_max_delay(max)
            .without_max_times()
            .build();
        let mut waits: Vec<Duration> = Vec::new();
        for step in steps.take(MAX_LEVELS) {
            let step = whole_micros(step).max(min).min(max);
            if waits.last().is_some_and(|last| step <= *last) {
                break;
            }
            waits.push(step);
        }
        Self {
            waits,
            jitter: penalty.jitter,
        }
    }

    /// The level from which waits no longer grow.
    pub(crate) fn max_level(&self) -> u32 {
        u32::try_from(self.waits.len()).unwrap_or(u32::MAX)
    }

    /// The longest wait of `level`; level 0 waits like level 1.
    pub(crate) fn nominal(&self, level: u32) -> Duration {
        let index = level.clamp(1, self.max_level().max(1)) - 1;
        self.waits.get(index as usize).copied().unwrap_or_default()
    }

    /// The wait drawn from the upper half of `nominal` by `unit`, a number from 0 to 1.
    ///
    /// The half that is always waited keeps a storm of probes away; staying below `nominal` keeps
    /// the documented maximum true.
    pub(crate) fn draw(&self, nominal: Duration, unit: f64) -> Duration {
        if self.jitter {
            half_jitter(nominal, unit)
        } else {
            nominal
        }
    }
}

/// backon computes in `f32`, which makes 200 ms into 200.000003 ms.
fn whole_micros(wait: Duration) -> Duration {
    let micros = wait.saturating_add(Duration::from_nanos(500)).as_micros();
    u64::try_from(micros).map_or(Duration::MAX, Duration::from_micros)
}
