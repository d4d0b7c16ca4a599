//! Times in buckets 3 % wide, so that recording one costs nothing worth measuring.

use std::time::Duration;

const PER_OCTAVE: u64 = 32;
const BUCKETS: usize = 40 * PER_OCTAVE as usize;

/// Counted times, up to some 18 minutes.
#[derive(Clone)]
pub struct Histogram {
    counts: Box<[u32; BUCKETS]>,
    longest: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS]
                .into_boxed_slice()
                .try_into()
                .expect("the length"),
            longest: Duration::ZERO,
        }
    }
}

fn bucket(nanos: u64) -> usize {
    let nanos = nanos.max(PER_OCTAVE);
    let octave = u64::from(nanos.ilog2());
    let within = (nanos >> (octave - 5)) & (PER_OCTAVE - 1);
    (((octave - 5) * PER_OCTAVE + within) as usize).min(BUCKETS - 1)
}

fn upper(bucket: usize) -> u64 {
    let (octave, within) = (bucket as u64 / PER_OCTAVE, bucket as u64 % PER_OCTAVE);
    (PER_OCTAVE + within + 1) << octave
}

impl Histogram {
    pub fn record(&mut self, time: Duration) {
        self.counts[bucket(time.as_nanos() as u64)] += 1;
        self.longest = self.longest.max(time);
    }

    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts.iter()) {
            *mine += theirs;
        }
        self.longest = self.longest.max(other.longest);
    }

    #[must_use]
    pub fn samples(&self) -> u64 {
        self.counts.iter().map(|&n| u64::from(n)).sum()
    }

    #[must_use]
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// The time within which `share` of all ended, in microseconds; 0 of none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> f64 {
        let wanted = (self.samples() as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (at, &n) in self.counts.iter().enumerate() {
            seen += u64::from(n);
            if n > 0 && seen >= wanted {
                return upper(at) as f64 / 1e3;
            }
        }
        0.0
    }
}
