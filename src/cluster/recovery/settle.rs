//! A write that owes something: its notes, and what is done for those who are back when it ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::Cmd;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::backend::Backend;
use crate::backend::journal::{Note, Noted};
use crate::backend::role::Role;
use crate::clock;
use crate::cluster::engine::Engine;
use crate::connection::reply::Reply;
use crate::connection::request::LaneRequest;
use crate::error::Error;

/// So long a write waits until those who are back have forgotten what was before it. What was sent to them by then
/// comes before what this process reads there afterwards.
const PATIENCE: Duration = Duration::from_millis(50);

/// Keys that are to be taken from a node that is prepared now.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) keys: Vec<Vec<u8>>,
    /// Dropped when it is done, or will not be.
    pub(super) _done: oneshot::Sender<()>,
}

/// What writes leave for a node that is prepared.
#[derive(Debug)]
pub(super) struct Making {
    /// The preparation that takes it.
    pub(super) by: u64,
    pub(super) left: Vec<Left>,
}

/// Notes of a call that may be dropped while nobody knows of them: they are entered late then.
pub(super) struct Underway<'a> {
    engine: &'a Arc<Engine>,
    backend: &'a Arc<Backend>,
    notes: &'a [Note],
}

impl<'a> Underway<'a> {
    pub(super) fn new(
        engine: &'a Arc<Engine>,
        backend: &'a Arc<Backend>,
        notes: &'a [Note],
    ) -> Self {
        Self {
            engine,
            backend,
            notes,
        }
    }

    /// They are known.
    pub(super) fn disarm(&mut self) {
        self.notes = &[];
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        if !self.notes.is_empty() {
            let notes = self.notes.to_vec();
            self.engine.enter_late(Some(self.backend), notes);
        }
    }
}

/// The command that takes keys from a node.
pub(super) fn unlink(keys: &[Vec<u8>]) -> Cmd {
    let mut unlink = redis::cmd("UNLINK");
    for key in keys {
        unlink.arg(key);
    }
    unlink
}

impl Engine {
    /// A request with what it owes. What is not certain of the notes is entered late; nodes that are back by now do not
    /// keep what was before it.
    ///
    /// # Cancellation
    ///
    /// Safe: the notes of what may have been executed are entered all the same.
    pub(crate) async fn execute_noted(
        self: &Arc<Self>,
        backend: &Arc<Backend>,
        began: Instant,
        request: LaneRequest<'_>,
        role: Role<'_>,
        notes: &[Note],
        deadline: Instant,
    ) -> Result<Reply, Error> {
        let mut underway = Underway::new(self, backend, notes);
        let journal = &self.recovery.journal;
        let call = backend.execute_noted(journal, began, request, role, notes, deadline);
        let (result, noted) = call.await;
        underway.disarm();
        match noted {
            Noted::Certain => {}
            Noted::Nothing => return result,
            Noted::Unsure => self.enter_late(Some(backend), notes.to_vec()),
            Noted::Refused(why) => {
                backend.failed_unheard(crate::backend::Unheard::Note, 1, why);
                self.enter_late(None, notes.to_vec());
            }
        }
        if self.is_any_back(notes) {
            // Boxed, as few need it.
            Box::pin(self.settle(notes, deadline)).await;
        }
        result
    }

    /// Whether anybody whom these are owed to serves again, or is about to.
    fn is_any_back(&self, notes: &[Note]) -> bool {
        // Before the look at who serves, as in [`settle`](Self::settle).
        if !self.recovery.state.lock().preparing.is_empty() {
            return true;
        }
        let snapshot = self.snapshot.load();
        notes.iter().any(|note| {
            let mut serving = snapshot.live.iter().map(|at| &snapshot.nodes[at]);
            serving.any(|backend| *backend.id() == note.node)
        })
    }

    /// Whoever is back meanwhile, or about to be, forgets these keys.
    pub(crate) async fn settle(self: &Arc<Self>, notes: &[Note], deadline: Instant) {
        for note in notes {
            let snapshot = self.snapshot.load_full();
            let Some(at) = snapshot.nodes.iter().position(|b| *b.id() == note.node) else {
                continue;
            };
            let backend = &snapshot.nodes[at];
            let left = deadline
                .saturating_duration_since(clock::now())
                .min(PATIENCE);
            // Before the look at who serves: it is taken off the list behind its publication.
            if let Some(done) = self.leave_for(backend.key(), &note.keys) {
                let _ = timeout(left, done).await;
                continue;
            }
            if self.serves(backend) {
                let cmd = unlink(&note.keys);
                let call = backend.call(LaneRequest::ours(&cmd), deadline);
                // What comes of it: the look finds the note all the same.
                let _ = timeout(left, call).await;
            }
        }
    }

    /// Whether the node serves now.
    pub(super) fn serves(&self, backend: &Backend) -> bool {
        let snapshot = self.snapshot.load();
        let mut serving = snapshot.live.iter().map(|at| &snapshot.nodes[at]);
        serving.any(|other| other.key() == backend.key())
    }

    /// Leaves keys for who prepares the node, if somebody does; told when it is done.
    fn leave_for(&self, key: u64, keys: &[Vec<u8>]) -> Option<oneshot::Receiver<()>> {
        let mut state = self.recovery.state.lock();
        let left = &mut state.preparing.get_mut(&key)?.left;
        let (done, told) = oneshot::channel();
        let is_first = left.is_empty();
        left.push(Left {
            keys: keys.to_vec(),
            _done: done,
        });
        drop(state);
        if is_first {
            self.recovery.stir();
        }
        Some(told)
    }
}
