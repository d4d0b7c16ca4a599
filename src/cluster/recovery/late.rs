//! Entries that could not be made behind their write.

use std::sync::Arc;
use std::time::Duration;

use super::settle::Underway;
use crate::backend::journal::{Journal, Note};
use crate::backend::{Backend, Unheard};
use crate::clock::{self, later};
use crate::cluster::engine::Engine;
use crate::connection::request::LaneRequest;
use crate::recovery::unknown::UnknownReason;

/// More are not kept; what is beyond is said to be unknown.
const MOST: usize = 10_000;
/// How long one server may take for one.
const PATIENCE: Duration = Duration::from_millis(500);
/// So many are entered at once.
const AT_ONCE: usize = 16;
/// How many servers are asked for one.
const TRIES: usize = 4;

/// What is owed, and the server that has the write.
#[derive(Debug)]
pub(super) struct Late {
    /// Nobody, when it refused the entry.
    at: Option<Arc<Backend>>,
    notes: Vec<Note>,
}

impl Engine {
    /// Enters in the background what may not have been entered: at the server that has the write, else at the next one
    /// that takes it, and then the first one is owed it too.
    pub(crate) fn enter_late(self: &Arc<Self>, at: Option<&Arc<Backend>>, notes: Vec<Note>) {
        {
            let mut state = self.recovery.state.lock();
            if state.late.len() >= MOST {
                drop(state);
                return self.give_up(&notes, UnknownReason::Overflow);
            }
            for note in &notes {
                *state.owed_late.entry(note.node.clone()).or_default() += 1;
            }
            state.late.push_back(Late {
                at: at.map(Arc::clone),
                notes,
            });
        }
        self.enter_all();
    }

    /// Enters at a server that has the write what is known late, before the write's result is given; in the background, when
    /// that fails.
    pub(crate) async fn enter_now(
        self: &Arc<Self>,
        at: &Arc<Backend>,
        notes: Vec<Note>,
        deadline: std::time::Instant,
    ) {
        let mut underway = Underway::new(self, at, &notes);
        let entries = Journal::entries(&notes);
        let reply = at.call(LaneRequest::all_ours(&entries), deadline).await;
        if at.hear(Unheard::Note, 1, &reply) {
            underway.disarm();
            self.settle(&notes, deadline).await;
        }
    }

    /// Somebody works off what is to be entered, a few at once: a server that is slow must not hold up what goes to
    /// others. Without a runtime the next one who has one does.
    pub(super) fn enter_all(self: &Arc<Self>) {
        let more = {
            let mut state = self.recovery.state.lock();
            let most = state.late.len().min(AT_ONCE);
            let more = most.saturating_sub(state.entering);
            state.entering += more;
            more
        };
        for _ in 0..more {
            let entering = Entering(Arc::clone(self));
            // Dropped where it cannot be spawned.
            let _ = self.tasks.spawn(async move { entering.run().await });
        }
    }

    fn give_up(&self, notes: &[Note], why: UnknownReason) {
        let snapshot = self.snapshot.load();
        for note in notes {
            if let Some(backend) = snapshot.nodes.iter().find(|b| *b.id() == note.node) {
                match self.serves(backend) {
                    true => self.tell_unknown(backend, why),
                    false => self.recovery.doubt(backend.key(), why),
                }
            }
        }
    }

    async fn enter_one(self: &Arc<Self>, late: &Late) {
        let snapshot = self.snapshot.load_full();
        let key = late.notes.first().and_then(|note| note.keys.first());
        let others = snapshot.live_candidates(key.map_or(&[], Vec::as_slice));
        let others = others.map(|at| Arc::clone(&snapshot.nodes[at]));
        let is_owed = |node: &Arc<Backend>| late.notes.iter().any(|note| note.node == *node.id());
        let is_first =
            |node: &Arc<Backend>| late.at.as_ref().is_some_and(|at| at.key() == node.key());
        let others = others.filter(|node| !is_owed(node) && !is_first(node));
        let first = late.at.iter().cloned();
        for server in first.chain(others).take(TRIES) {
            let mut notes = late.notes.clone();
            if let Some(first) = late.at.as_ref().filter(|_| !is_first(&server)) {
                // What it was given may lie there all the same.
                let owed = late.notes.iter().map(|note| Note {
                    node: first.id().clone(),
                    ..note.clone()
                });
                notes.extend(owed);
            }
            let entries = Journal::entries(&notes);
            let deadline = later(clock::now(), PATIENCE);
            let reply = server.call(LaneRequest::all_ours(&entries), deadline).await;
            if server.hear(Unheard::Note, 1, &reply) {
                return;
            }
        }
        self.give_up(&late.notes, UnknownReason::Refused);
    }
}

/// Whoever makes the entries.
struct Entering(Arc<Engine>);

impl Entering {
    async fn run(&self) {
        loop {
            // It stays counted until it is made, but leaves the list: who is dropped in between has tried.
            let Some(late) = self.0.recovery.state.lock().late.pop_front() else {
                return;
            };
            let counted = Counted(&self.0, &late.notes);
            self.0.enter_one(&late).await;
            drop(counted);
        }
    }
}

impl Drop for Entering {
    fn drop(&mut self) {
        self.0.recovery.state.lock().entering -= 1;
        self.0.recovery.wake.notify_one();
    }
}

/// An entry that is not made yet.
struct Counted<'a>(&'a Engine, &'a [Note]);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let mut state = self.0.recovery.state.lock();
        for note in self.1 {
            if let Some(left) = state.owed_late.get_mut(&note.node) {
                *left -= 1;
                if *left == 0 {
                    state.owed_late.remove(&note.node);
                }
            }
        }
        drop(state);
        self.0.recovery.entered.notify_waiters();
    }
}
