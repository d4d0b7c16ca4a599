//! What a store did, counted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Count {
    Hit,
    Absent,
    Epoch,
    Silence,
    Expired,
    Off,
    Stored,
    Overtaken,
    Unfit,
    Lost,
    Told,
}

const ALL: usize = 11;

/// How often each of them came, and of which of these somebody was told.
#[derive(Debug)]
pub(crate) struct Counts([Cell; ALL], [AtomicU64; ALL]);

/// What one core counts up is no other's cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Cell(AtomicU64);

impl Counts {
    pub(super) fn new() -> Self {
        Self(
            std::array::from_fn(|_| Cell::default()),
            std::array::from_fn(|_| AtomicU64::new(0)),
        )
    }

    pub(crate) fn add(&self, what: Count) {
        self.0[what as usize].0.fetch_add(1, Relaxed);
    }

    /// Those since the last call; one caller at a time.
    pub(crate) fn take(&self, what: Count) -> u64 {
        let now = self.get(what);
        now.saturating_sub(self.1[what as usize].swap(now, Relaxed))
    }

    pub(crate) fn get(&self, what: Count) -> u64 {
        self.0[what as usize].0.load(Relaxed)
    }
}
