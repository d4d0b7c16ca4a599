//! How fast nodes answer, and which of them is slow compared with its peers.
//!
//! A slow node is not a dead one: moving the keys of a sharded store scatters its data, so slowness is
//! reported, and counts as suspicion only where the application says so.

use std::collections::BTreeMap;
use std::time::Duration;

/// Buckets of a histogram: four to an octave, from 1 µs to above an hour.
pub(crate) const BUCKETS: usize = 128;

/// How long a window lasts.
pub(crate) const WINDOW: Duration = Duration::from_secs(5);
/// Fewer answers in a window say nothing.
const MIN_SAMPLES: u64 = 50;
/// Slow is slower than this multiple of the peers' median ...
const SLOW_FACTOR: f64 = 5.0;
/// ... and than this: five times next to nothing is still fast.
const SLOW_AT_LEAST: Duration = Duration::from_millis(20);
/// So many slow windows in a row mark a node,
const WINDOWS_TO_MARK: u32 = 3;
/// and so many below this multiple clear it.
const CLEAR_FACTOR: f64 = 3.0;
const WINDOWS_TO_CLEAR: u32 = 2;

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

    fn samples(&self) -> u64 {
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

/// Which nodes are slow, window by window.
#[derive(Debug)]
pub(crate) struct Slowness<K> {
    nodes: BTreeMap<K, Track>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Track {
    slow: u32,
    fast: u32,
    degraded: bool,
}

impl<K: Copy + Ord> Slowness<K> {
    pub(crate) fn new() -> Self {
        Self {
            nodes: BTreeMap::new(),
        }
    }

    pub(crate) fn forget(&mut self, key: K) {
        self.nodes.remove(&key);
    }

    pub(crate) fn is_degraded(&self, key: K) -> bool {
        self.nodes.get(&key).is_some_and(|t| t.degraded)
    }

    /// Takes the medians of one window (`None` for a node with too few answers) and says whose mark
    /// changed.
    pub(crate) fn window(&mut self, medians: &[(K, Option<Duration>)]) -> Vec<(K, bool)> {
        let mut changed = Vec::new();
        for (i, &(key, median)) in medians.iter().enumerate() {
            let others = medians.iter().enumerate().filter(|(j, _)| *j != i);
            let mut peers: Vec<_> = others.filter_map(|(_, (_, median))| *median).collect();
            peers.sort_unstable();
            let (Some(median), Some(&peer)) = (median, peers.get(peers.len() / 2)) else {
                continue;
            };
            let track = self.nodes.entry(key).or_default();
            let times = median.as_secs_f64() / peer.as_secs_f64().max(1e-6);
            if times > SLOW_FACTOR && median > SLOW_AT_LEAST {
                (track.slow, track.fast) = (track.slow + 1, 0);
            } else if times < CLEAR_FACTOR || median <= SLOW_AT_LEAST {
                (track.slow, track.fast) = (0, track.fast + 1);
            } else {
                (track.slow, track.fast) = (0, 0);
            }
            let degraded = match track.degraded {
                false => track.slow >= WINDOWS_TO_MARK,
                true => track.fast < WINDOWS_TO_CLEAR,
            };
            if degraded != track.degraded {
                track.degraded = degraded;
                changed.push((key, degraded));
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Option<Duration> {
        Some(Duration::from_millis(n))
    }

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

    #[test]
    fn three_slow_windows_mark_a_node_and_two_good_ones_clear_it() {
        let mut s = Slowness::new();
        let slow = [(1, ms(200)), (2, ms(1)), (3, ms(2))];
        let fast = [(1, ms(3)), (2, ms(1)), (3, ms(2))];
        assert!(s.window(&slow).is_empty());
        assert!(s.window(&slow).is_empty());
        assert_eq!(s.window(&slow), [(1, true)]);
        assert!(s.is_degraded(1) && !s.is_degraded(2));
        assert!(s.window(&fast).is_empty());
        assert_eq!(s.window(&fast), [(1, false)]);
    }

    #[test]
    fn a_good_window_in_between_starts_the_count_anew() {
        let mut s = Slowness::new();
        let slow = [(1, ms(200)), (2, ms(1)), (3, ms(1))];
        let fast = [(1, ms(1)), (2, ms(1)), (3, ms(1))];
        for window in [&slow, &slow, &fast, &slow, &slow] {
            assert!(s.window(window).is_empty());
        }
    }

    #[test]
    fn slow_for_all_or_five_times_next_to_nothing_is_not_slow() {
        let mut s = Slowness::new();
        for _ in 0..5 {
            assert!(
                s.window(&[(1, ms(300)), (2, ms(250)), (3, ms(280))])
                    .is_empty()
            );
        }
        for _ in 0..5 {
            assert!(s.window(&[(1, ms(15)), (2, ms(1)), (3, ms(1))]).is_empty());
        }
        assert!(
            s.window(&[(1, ms(900)), (2, None), (3, None)]).is_empty(),
            "no peers, no comparison"
        );
    }
}
