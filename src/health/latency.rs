//! How fast nodes answer: counts by time, and the quantiles of a window.

use std::time::Duration;

/// Buckets of a histogram: four to an octave, from 1 µs to above an hour.
pub(crate) const BUCKETS: usize = 128;

/// Fewer answers in a window say nothing.
const MIN_SAMPLES: u64 = 50;

/// The bucket of a time.
pub(crate) fn bucket(micros: u64) -> usize {
    let micros = micros.max(1);
    let octave = micros.ilog2() as usize;
    // The two bits below the leading one.
    let quarter = if octave >= 2 {
        (micros >> (octave - 2)) & 3
    } else {
        (micros << (2 - octave)) & 3
    };
    (4 * octave + quarter as usize).min(BUCKETS - 1)
}

/// The upper end of a bucket.
fn upper(bucket: usize) -> Duration {
    let (octave, quarter) = (bucket / 4, bucket % 4);
    let micros = (1u64 << octave) as f64 * (1.0 + (quarter as f64 + 1.0) / 4.0);
    Duration::from_secs_f64(micros / 1e6)
}

/// The middle of a bucket, for those who want one number: off by an eighth at most.
fn middle(bucket: usize) -> Duration {
    let (octave, quarter) = (bucket / 4, bucket % 4);
    let micros = (1u64 << octave) as f64 * (1.0 + (quarter as f64 + 0.5) / 4.0);
    Duration::from_secs_f64(micros / 1e6)
}

/// Counted answers of one window.
#[derive(Clone, Debug)]
pub(crate) struct Histogram(pub(crate) [u32; BUCKETS]);

impl Default for Histogram {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl Histogram {
    /// Adds the answers of another one.
    pub(crate) fn add(&mut self, more: &Self) {
        for (sum, more) in self.0.iter_mut().zip(&more.0) {
            *sum = sum.saturating_add(*more);
        }
    }

    /// How often answers took about so long, where any did.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (Duration, u32)> + '_ {
        let all = self.0.iter().enumerate();
        all.filter(|(_, count)| **count > 0)
            .map(|(bucket, count)| (middle(bucket), *count))
    }

    /// How many answers there were.
    pub(crate) fn samples(&self) -> u64 {
        self.0.iter().map(|n| u64::from(*n)).sum()
    }

    /// The time within which `share` of the answers came; `None` when there were too few.
    pub(crate) fn quantile(&self, share: f64) -> Option<Duration> {
        let samples = self.samples();
        if samples < MIN_SAMPLES {
            return None;
        }
        let wanted = (samples as f64 * share).ceil() as u64;
        let mut seen = 0;
        let at = self.0.iter().position(|n| {
            seen += u64::from(*n);
            seen >= wanted
        })?;
        Some(upper(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_at_most_a_quarter_wide() {
        for micros in [1, 2, 3, 7, 100, 999, 20_000, 123_456, 5_000_000] {
            let upper = upper(bucket(micros)).as_secs_f64() * 1e6;
            assert!(
                upper > micros as f64 && upper <= micros as f64 * 1.5 + 1.0,
                "{micros}: {upper}"
            );
        }
        for micros in [8, 100, 999, 20_000, 123_456, 5_000_000] {
            let off = middle(bucket(micros)).as_secs_f64() * 1e6 / micros as f64;
            assert!((0.87..1.13).contains(&off), "{micros}: {off}");
        }
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert!(
            (1..100_000u64).all(|m| bucket(m) <= bucket(m + 1)),
            "monotone"
        );
    }

    #[test]
    fn a_median_needs_fifty_answers() {
        let mut h = Histogram([0; BUCKETS]);
        h.0[bucket(1000)] = 49;
        assert_eq!(h.quantile(0.5), None);
        h.0[bucket(9000)] = 48;
        let median = h.quantile(0.5).unwrap();
        assert!(
            median >= Duration::from_micros(1000) && median < Duration::from_micros(1500),
            "{median:?}"
        );
        assert!(h.quantile(0.95).unwrap() >= Duration::from_micros(9000));
    }
}
