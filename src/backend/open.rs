//! The connections of a node that are open, whoever holds them.

use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::Mutex;

use super::Backend;
use crate::connection::wire::Wire;

/// All that were made and are not gone.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// Guards the list; those that are gone are swept out as it grows.
    wires: Mutex<Wires>,
}

#[derive(Debug, Default)]
struct Wires {
    all: Vec<Weak<Wire>>,
    sweep_at: usize,
}

impl Open {
    pub(super) fn add(&self, wire: &Arc<Wire>) {
        let mut wires = self.wires.lock();
        if wires.all.len() >= wires.sweep_at {
            wires.all.retain(|wire| wire.strong_count() > 0);
            wires.sweep_at = 2 * wires.all.len() + 4;
        }
        wires.all.push(Arc::downgrade(wire));
    }
}

impl Backend {
    /// Ends calls whose connections should have ended them and do not: a blocked thread, or a runtime that sleeps,
    /// holds up what drives them.
    pub(crate) fn end_overdue(&self, now: Instant) {
        if !self.is_used() {
            return;
        }
        let wires = self.open.wires.lock();
        let overdue = wires.all.iter().filter_map(Weak::upgrade);
        let overdue: Vec<_> = overdue.filter(|wire| wire.is_overdue(now)).collect();
        drop(wires);
        for wire in overdue {
            wire.end_overdue(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::queue::Bounds;

    #[test]
    fn those_that_are_gone_are_swept_out() {
        let open = Open::default();
        let bounds = Bounds { calls: 1, bytes: 1 };
        let kept = Wire::new(bounds);
        open.add(&kept);
        for _ in 0..1000 {
            open.add(&Wire::new(bounds));
        }
        let wires = open.wires.lock();
        assert!(wires.all.len() < 20, "{}", wires.all.len());
        assert!(wires.all.iter().any(|wire| wire.strong_count() > 0));
    }
}
