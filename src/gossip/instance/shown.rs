//! What tests look at, and what a later version would say.

use std::time::Instant;

use super::Instance;
use crate::gossip::identity::Id;
use crate::gossip::records::Records;

impl Instance {
    pub(crate) fn me(&self) -> Id {
        self.me
    }

    /// What is held, in pieces.
    pub(crate) fn burden(&self) -> usize {
        self.swim.timers() + self.out.len() + self.seen.len() + self.replays.len()
    }

    /// Says what a later version would say.
    pub(crate) fn say_raw(&mut self, now: Instant, item: &[u8]) {
        self.swim.broadcast(item);
        self.settle(now);
    }

    pub(crate) fn records(&self) -> parking_lot::MutexGuard<'_, Records> {
        self.records.lock()
    }
}
