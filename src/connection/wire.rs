//! One connection as its callers and its driver share it: the queue under its lock, and what is read without one.

mod call;
mod overdue;
mod silence;

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::{self, Handle};
use tokio::sync::Notify;

pub(crate) use self::call::{Call, Keeper, Placed, Unanswered};
use super::fault::Ended;
use super::queue::{Bounds, Queue};
use crate::clock::micros;
use crate::tasks::runtime_here;

/// How much of the set-up's replies is kept, enough for an error line or the first words of another service.
const SETUP_KEPT: usize = 256;

/// The timer is off.
const NEVER: u64 = u64::MAX;

/// What the two sides of a connection know of each other.
#[derive(Debug)]
pub(crate) struct Wire {
    /// Guards what is to be written and who waits; held for an append, or to hand out what was read.
    queue: Mutex<Queue>,
    /// Told when there is room again for those who found none.
    room: Notify,
    driver: DriverSide,
    /// No new commands.
    retired: AtomicBool,
    /// When the first call was sent that was given up since something came; 0 for none.
    given_up: AtomicU64,
    /// The runtime that the driver lives on.
    runtime: OnceLock<runtime::Id>,
    /// The first bytes of the set-up's replies, written by the driver, read once by the dial.
    said: Mutex<Vec<u8>>,
}

/// What the driver writes and callers read at each call; on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct DriverSide {
    last_active: AtomicU64,
    last_read: AtomicU64,
    dead: AtomicBool,
    /// When its timer is to fire, in microseconds.
    due: AtomicU64,
    /// That moment, when it was found to be overdue before.
    missed: AtomicU64,
}

impl Wire {
    pub(crate) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::new(Queue::new(bounds)),
            room: Notify::new(),
            driver: DriverSide {
                last_active: AtomicU64::new(0),
                last_read: AtomicU64::new(0),
                dead: AtomicBool::new(false),
                due: AtomicU64::new(NEVER),
                missed: AtomicU64::new(NEVER),
            },
            retired: AtomicBool::new(false),
            given_up: AtomicU64::new(0),
            runtime: OnceLock::new(),
            said: Mutex::new(Vec::new()),
        })
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }

    /// The set-up is over: from now on whatever comes unasked ends the connection.
    pub(crate) fn setup_done(&self) {
        self.queue().setup_done();
        *self.said.lock() = Vec::new();
    }

    /// Keeps the first bytes that came during the set-up.
    pub(super) fn note_said(&self, bytes: &[u8]) {
        let mut said = self.said.lock();
        let room = SETUP_KEPT - said.len();
        said.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// What the peer said during the set-up, up to [`SETUP_KEPT`] bytes.
    pub(crate) fn setup_bytes(&self) -> Vec<u8> {
        self.said.lock().clone()
    }

    /// Commands may no longer be put on this connection, or could not arrive.
    pub(crate) fn is_usable(&self) -> bool {
        !self.is_dead() && !self.retired.load(Relaxed)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.driver.dead.load(Relaxed)
    }

    /// No new commands; those in flight run to their own deadlines.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Relaxed);
    }

    /// Callers that wait for an answer.
    pub(crate) fn in_flight(&self) -> u64 {
        self.queue().callers() as u64
    }

    /// Nothing of a user's is in flight, and no abandoned command's reply is outstanding.
    pub(crate) fn is_clean(&self) -> bool {
        self.queue().is_clean()
    }

    /// Microseconds from the last byte in or out to `now`.
    pub(crate) fn idle_micros(&self, now: u64) -> u64 {
        now.saturating_sub(self.driver.last_active.load(Relaxed))
    }

    pub(super) fn active_at(&self, now: u64) {
        self.driver.last_active.store(now, Relaxed);
    }

    pub(super) fn read_at(&self, now: u64) {
        self.driver.last_read.store(now, Relaxed);
    }

    /// The driver lives on the runtime at hand.
    pub(super) fn driven_here(&self) {
        if let Ok(handle) = Handle::try_current() {
            // It is set once, by the one driver.
            let _ = self.runtime.set(handle.id());
        }
    }

    /// Whether the driver's timer cannot be relied on here: it may sleep with its runtime while ours runs.
    fn is_driven_elsewhere(&self) -> bool {
        match (self.runtime.get(), runtime_here()) {
            (Some(theirs), Some(ours)) => *theirs != ours,
            // Where there is none here, no timer can be made.
            (None, ours) => ours.is_some(),
            (Some(_), None) => false,
        }
    }

    /// The driver's timer is set to this.
    pub(super) fn armed(&self, queue: &mut Queue, at: Option<Instant>) {
        queue.armed(at);
        self.driver.due.store(at.map_or(NEVER, micros), Relaxed);
    }

    /// Ends the connection, unless it has ended: everybody who waits is told, and what was not written never is.
    pub(crate) fn end(&self, why: Ended) {
        let mut wakers = Vec::new();
        self.driver.dead.store(true, Relaxed);
        self.queue().end(why, &mut wakers);
        self.driver.due.store(NEVER, Relaxed);
        for waker in wakers {
            waker.wake();
        }
        self.room.notify_waiters();
    }

    /// Told whenever there may be room again.
    pub(super) fn room(&self) -> tokio::sync::futures::Notified<'_> {
        self.room.notified()
    }

    pub(super) fn tell_room(&self) {
        self.room.notify_waiters();
    }
}
