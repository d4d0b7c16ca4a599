//! Which nodes should have had a write.

use std::sync::Arc;

use crate::backend::Backend;
use crate::backend::journal::Note;
use crate::backend::stand_in::written;
use crate::cluster::attempts::Attempts;
use crate::cluster::engine::{Engine, Snapshot};
use crate::cluster::target::Target;
use crate::connection::request::Request;
use crate::recovery::owed::{Owed, owed};
use crate::recovery::unknown::UnknownReason;

/// Who has what is sent by this snapshot after these were tried; `None` where nobody is passed over. Passed over is who does
/// not serve in the snapshot, and who failed in this very call.
pub(in crate::cluster) fn who_has_it<'a>(
    snapshot: &'a Snapshot,
    tried: &'a Attempts<Arc<Backend>>,
) -> Option<impl Fn(usize) -> bool + Copy + 'a> {
    let is_passed_over = snapshot.live.count() < snapshot.nodes.len() || !tried.is_empty();
    is_passed_over.then_some(move |at: usize| {
        let node = &snapshot.nodes[at];
        snapshot.live.contains(at) && !tried.has(|other| other.key() == node.key())
    })
}

impl Engine {
    /// The next candidate of a target, and what a request owes that it is given: both by one snapshot.
    pub(in crate::cluster) fn next_noted(
        &self,
        target: &Target<'_>,
        request: Request<'_>,
        tried: &Attempts<Arc<Backend>>,
    ) -> Option<(Arc<Backend>, Vec<Note>)> {
        let snapshot = self.snapshot.load();
        let backend = Self::candidate_in(&snapshot, target, tried)?;
        let owed = match self.recovery.is_on() {
            true => self.owed_by(&snapshot, target, request, tried),
            false => Vec::new(),
        };
        Some((backend, owed))
    }

    /// What a request owes that goes to a candidate of its target.
    fn owed_by(
        &self,
        snapshot: &Snapshot,
        target: &Target<'_>,
        request: Request<'_>,
        tried: &Attempts<Arc<Backend>>,
    ) -> Vec<Note> {
        let Some(has_it) = who_has_it(snapshot, tried) else {
            return Vec::new();
        };
        // A queue's node, or any: whoever that is, it is nobody's stand-in.
        if matches!(target, Target::Node(_) | Target::Any) {
            return Vec::new();
        }
        let mut notes = Vec::new();
        for key in written(request) {
            // A caller may place what it writes by another key.
            let placed_by = match target {
                Target::Key(placed_by) => placed_by,
                _ => key,
            };
            self.owe(snapshot, placed_by, key, has_it, &mut notes);
        }
        notes
    }

    /// What writes of these keys owe that go to this node, whoever serves now: it was chosen before, to stand in.
    pub(in crate::cluster) fn owed_at<'k>(
        &self,
        backend: &Arc<Backend>,
        keys: impl IntoIterator<Item = &'k [u8]>,
    ) -> Vec<Note> {
        let snapshot = self.snapshot.load();
        let mut notes = Vec::new();
        for key in keys {
            let has_it = |at: usize| snapshot.nodes[at].key() == backend.key();
            let copies = self.recovery.copies(key).unwrap_or(1);
            // One of several holders is as good as another for whoever asked for it.
            let is_holder = snapshot.table.candidates(key).take(copies).any(has_it);
            if !is_holder {
                self.owe(&snapshot, key, key, has_it, &mut notes);
            }
        }
        notes
    }

    /// Adds those who are owed `key`, which lies where `placed_by` does, once unless it is a cache's.
    pub(crate) fn owe(
        &self,
        snapshot: &Snapshot,
        placed_by: &[u8],
        key: &[u8],
        has_it: impl Fn(usize) -> bool,
        notes: &mut Vec<Note>,
    ) {
        self.owe_copies(snapshot, (placed_by, key), 1, has_it, notes);
    }

    /// The same of a key that lies on so many nodes at least.
    pub(crate) fn owe_copies(
        &self,
        snapshot: &Snapshot,
        (placed_by, key): (&[u8], &[u8]),
        copies: usize,
        has_it: impl Fn(usize) -> bool,
        notes: &mut Vec<Note>,
    ) {
        let Some((known, journals)) = self.recovery.noted(key) else {
            return;
        };
        let candidates = snapshot.table.candidates(placed_by);
        owed(candidates, copies.max(known), has_it, |owed| {
            let at = match owed {
                Owed::To(at) => at,
                Owed::Beyond(at) => {
                    let node = snapshot.nodes[at].key();
                    return self.recovery.doubt(node, UnknownReason::Overflow);
                }
            };
            let node = snapshot.nodes[at].id();
            for names in journals.as_slice() {
                let is_its =
                    |note: &&mut Note| note.node == *node && Arc::ptr_eq(&note.names, names);
                match notes.iter_mut().find(is_its) {
                    Some(note) => note.keys.push(key.to_vec()),
                    None => notes.push(Note {
                        node: node.clone(),
                        names: Arc::clone(names),
                        keys: vec![key.to_vec()],
                    }),
                }
            }
        });
    }
}
