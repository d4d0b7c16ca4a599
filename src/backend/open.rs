//! The connections of a node that are open, whoever holds them.

use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::Mutex;

use super::Backend;
use crate::connection::link::{End, Link};
use crate::connection::wire::Wire;

/// All that were made and are not gone.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// Guards the list; those that are gone are swept out as it grows.
    wires: Mutex<Wires>,
}

#[derive(Debug, Default)]
struct Wires {
    all: Vec<Line>,
    sweep_at: usize,
}

#[derive(Debug)]
struct Line {
    wire: Weak<Wire>,
    end: End,
    /// How often the node's name had moved when it was dialled.
    moves: u64,
}

impl Open {
    pub(super) fn add(&self, link: &Link) {
        let line = Line {
            wire: Arc::downgrade(link.wire()),
            end: link.end(),
            moves: link.moves(),
        };
        self.wires.lock().add(line);
    }

    /// Ends those from before the node's name led elsewhere, which it did `moves` times, whoever holds them: what is not
    /// written is never, and what is has no answer.
    pub(super) fn end_strays(&self, moves: u64) {
        let strays: Vec<_> = {
            let wires = self.wires.lock();
            let strays = wires.all.iter().filter(|line| line.moves < moves);
            let alive = strays.filter_map(|line| Some((line.wire.upgrade()?, line.end.clone())));
            alive.collect()
        };
        for (wire, end) in strays {
            end.end(&wire);
        }
    }
}

impl Wires {
    fn add(&mut self, line: Line) {
        if self.all.len() >= self.sweep_at {
            self.all.retain(|line| line.wire.strong_count() > 0);
            self.sweep_at = 2 * self.all.len() + 4;
        }
        self.all.push(line);
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
        let overdue = wires.all.iter().filter_map(|line| line.wire.upgrade());
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

    fn link(moves: u64) -> Link {
        let bounds = Bounds { calls: 1, bytes: 1 };
        let driver = tokio::spawn(std::future::pending::<()>()).abort_handle();
        Link::new(Wire::new(bounds), driver, 0).after(moves)
    }

    #[tokio::test]
    async fn those_that_are_gone_are_swept_out() {
        let open = Open::default();
        let kept = link(0);
        open.add(&kept);
        for _ in 0..1000 {
            open.add(&link(0));
        }
        let wires = open.wires.lock();
        assert!(wires.all.len() < 20, "{}", wires.all.len());
        assert!(wires.all.iter().any(|line| line.wire.strong_count() > 0));
    }

    #[tokio::test]
    async fn those_of_the_server_before_are_ended_and_no_others() {
        let open = Open::default();
        let (old, new) = (link(1), link(2));
        open.add(&old);
        open.add(&new);
        open.end_strays(2);
        assert!(old.wire().is_dead() && !new.wire().is_dead());
    }
}
