//! An allocator that counts what the process asks for; a program installs it to compare clients by it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// The system's allocator, with counters.
pub struct Counting;

/// Each thread counts in a slot of its own: one counter for all would be the hottest line of the program.
#[repr(align(128))]
struct Slot {
    made: AtomicU64,
    bytes: AtomicU64,
    live: AtomicI64,
}

const SLOTS: usize = 64;
static COUNTS: [Slot; SLOTS] = [const {
    Slot {
        made: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        live: AtomicI64::new(0),
    }
}; SLOTS];
static NEXT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
}

fn slot() -> &'static Slot {
    // A thread that ends has no cell any more; the first slot will do.
    let mine = MINE.try_with(|mine| {
        if mine.get() == usize::MAX {
            mine.set(NEXT.fetch_add(1, Relaxed) as usize % SLOTS);
        }
        mine.get()
    });
    &COUNTS[mine.unwrap_or(0)]
}

fn count(asked: usize, live: i64) {
    let slot = slot();
    slot.made.fetch_add(u64::from(asked > 0), Relaxed);
    slot.bytes.fetch_add(asked as u64, Relaxed);
    slot.live.fetch_add(live, Relaxed);
}

// SAFETY: every method hands its arguments to the system's allocator, whose contract is the same.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), layout.size() as i64);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), layout.size() as i64);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(0, -(layout.size() as i64));
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, size as i64 - layout.size() as i64);
        unsafe { System.realloc(ptr, layout, size) }
    }
}

/// Allocations made and bytes asked for since the start; zero without the allocator.
#[must_use]
pub fn made() -> (u64, u64) {
    COUNTS.iter().fold((0, 0), |(made, bytes), slot| {
        (
            made + slot.made.load(Relaxed),
            bytes + slot.bytes.load(Relaxed),
        )
    })
}

/// Bytes that are allocated now.
#[must_use]
pub fn live() -> i64 {
    COUNTS.iter().map(|slot| slot.live.load(Relaxed)).sum()
}
