//! An allocator that counts what the tests of a binary ask for; the binary installs it.

#![allow(dead_code, reason = "each binary that has it uses a part")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// The system's allocator, with counters.
pub struct Counting;

/// Of one thread: tests run beside one another.
#[derive(Clone, Copy)]
pub struct Counts {
    /// Bytes asked for and not given back, and the most that there were.
    pub live: i64,
    pub peak: i64,
    /// Allocations, and the bytes that they asked for, what was given back left out.
    pub made: u64,
    pub bytes: u64,
}

/// Bytes that all threads hold.
static LIVE: AtomicI64 = AtomicI64::new(0);

thread_local! {
    static MINE: Cell<Counts> = const { Cell::new(Counts { live: 0, peak: 0, made: 0, bytes: 0 }) };
}

fn count(bytes: i64, made: u64) {
    LIVE.fetch_add(bytes, Relaxed);
    // While a thread ends, its counter is gone, and so is whoever would read it.
    let _ = MINE.try_with(|mine| {
        let mut now = mine.get();
        now.live += bytes;
        now.peak = now.peak.max(now.live);
        now.made += made;
        now.bytes += u64::try_from(bytes).unwrap_or(0);
        mine.set(now);
    });
}

// SAFETY: every method hands its arguments to the system's allocator, whose contract is the same.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64, 1);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64, 1);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-(layout.size() as i64), 0);
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64, 1);
        unsafe { System.realloc(ptr, layout, size) }
    }
}

/// Bytes that all threads hold now.
pub fn live() -> i64 {
    LIVE.load(Relaxed)
}

/// What this thread has counted so far.
pub fn mine() -> Counts {
    MINE.get()
}

/// From now on the peak is that of what follows.
pub fn forget_peak() {
    let now = MINE.get();
    MINE.set(Counts {
        peak: now.live,
        ..now
    });
}
