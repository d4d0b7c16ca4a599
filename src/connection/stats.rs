//! The signs of life of one node, counted by everything that touches it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::clock::micros;
use crate::health::latency::{BUCKETS, Histogram, bucket};

/// Counters of one node; the ones that every read touches stand apart from the others.
#[derive(Debug)]
pub(crate) struct NodeStats {
    heard: Heard,
    answers: [AtomicU32; BUCKETS],
    commands: AtomicU64,
    /// Commands that succeeded since somebody took the count, but for those whose answers were timed.
    untimed: AtomicU64,
    /// Microseconds within which 95 of 100 answers of the last window came; 0 while not known.
    usual: AtomicU64,
    /// When the node last came into use after it was out, or after the cluster had begun without it;
    /// 0 when it was there all the time.
    returned: AtomicU64,
    /// When a connection was lost last; 0 when none was.
    lost: AtomicU64,
    pub(crate) dials: AtomicU64,
    pub(crate) failed_dials: AtomicU64,
    pub(crate) probes: AtomicU64,
    pub(crate) ejections: AtomicU64,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Heard(AtomicU64);

impl Default for NodeStats {
    fn default() -> Self {
        Self {
            heard: Heard::default(),
            answers: [const { AtomicU32::new(0) }; BUCKETS],
            commands: AtomicU64::new(0),
            untimed: AtomicU64::new(0),
            usual: AtomicU64::new(0),
            returned: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            dials: AtomicU64::new(0),
            failed_dials: AtomicU64::new(0),
            probes: AtomicU64::new(0),
            ejections: AtomicU64::new(0),
        }
    }
}

impl NodeStats {
    /// A command is put on a connection.
    pub(crate) fn sending(&self) {
        self.commands.fetch_add(1, Relaxed);
    }

    /// Commands sent so far.
    pub(crate) fn commands(&self) -> u64 {
        self.commands.load(Relaxed)
    }

    /// A command succeeded, after a wait that it was told to make.
    pub(crate) fn succeeded(&self) {
        self.untimed.fetch_add(1, Relaxed);
    }

    /// Those since the last call.
    pub(crate) fn take_untimed(&self) -> u64 {
        self.untimed.swap(0, Relaxed)
    }

    /// A command succeeded, after so long.
    pub(crate) fn answered(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.answers[bucket(micros)].fetch_add(1, Relaxed);
    }

    /// The answers counted since the last call.
    pub(crate) fn take_answers(&self) -> Histogram {
        Histogram(std::array::from_fn(|i| {
            match self.answers[i].load(Relaxed) {
                0 => 0,
                _ => self.answers[i].swap(0, Relaxed),
            }
        }))
    }

    /// A byte came from the node, on any connection.
    pub(crate) fn heard(&self, now: u64) {
        self.heard.0.store(now, Relaxed);
    }

    /// Whether anything came from the node since `at`.
    pub(crate) fn heard_since(&self, at: Instant) -> bool {
        self.heard.0.load(Relaxed) >= micros(at)
    }

    /// Microseconds (see [`micros`]) of the last byte from the node; 0 when there was none.
    pub(crate) fn last_heard(&self) -> u64 {
        self.heard.0.load(Relaxed)
    }

    /// Keeps how long all but the slowest answers took.
    pub(crate) fn set_usual(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.usual.store(micros, Relaxed);
    }

    /// How long all but the slowest 5 % of the answers took lately.
    pub(crate) fn usual(&self) -> Option<Duration> {
        match self.usual.load(Relaxed) {
            0 => None,
            micros => Some(Duration::from_micros(micros)),
        }
    }

    /// The node is in use again, or for the first time: what it holds may be less than its peers have.
    pub(crate) fn returned(&self, now: Instant) {
        self.returned.store(micros(now), Relaxed);
    }

    /// Whether the node came into use less than `window` ago; without a window, whether it ever did.
    pub(crate) fn returned_within(&self, window: Option<Duration>, now: Instant) -> bool {
        match (self.returned.load(Relaxed), window) {
            (0, _) => false,
            (_, None) => true,
            (at, Some(window)) => {
                let ago = micros(now).saturating_sub(at);
                u128::from(ago) < window.as_micros()
            }
        }
    }

    /// A connection ended that we had not given up, or one was given up since nothing came over it: what leads to
    /// the node may have changed.
    pub(crate) fn lost_connection(&self, now: u64) {
        self.lost.store(now, Relaxed);
    }

    /// Microseconds (see [`micros`]) of the last connection lost; 0 when there was none.
    pub(crate) fn last_lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }
}
