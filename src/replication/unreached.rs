//! Replicas that failed a write which others have: it is owed to them.

use std::sync::Arc;
use std::time::Instant;

use crate::backend::Backend;
use crate::backend::journal::Note;
use crate::cluster::Engine;
use crate::node::NodeId;

/// They are entered when this is dropped, where the write is; nowhere, while nobody has it.
pub(crate) struct Unreached {
    engine: Arc<Engine>,
    key: Arc<[u8]>,
    /// One that has the write.
    at: Option<Arc<Backend>>,
    nodes: Vec<NodeId>,
    /// Nobody asked for that.
    is_off: bool,
}

impl Unreached {
    pub(crate) fn new(engine: &Arc<Engine>, key: &Arc<[u8]>) -> Self {
        Self {
            engine: Arc::clone(engine),
            key: Arc::clone(key),
            at: None,
            nodes: Vec::new(),
            is_off: !engine.recovery.is_on() || engine.recovery.copies(key).is_none(),
        }
    }

    pub(crate) fn is_at(&mut self, backend: &Arc<Backend>) {
        if !self.is_off {
            self.at.get_or_insert_with(|| Arc::clone(backend));
        }
    }

    pub(crate) fn add(&mut self, node: &NodeId) {
        if !self.is_off {
            self.nodes.push(node.clone());
        }
    }

    fn take(&mut self) -> Option<(Arc<Backend>, Vec<Note>)> {
        let at = self.at.clone()?;
        let nodes = std::mem::take(&mut self.nodes);
        let journals = self.engine.recovery.journals_of(&self.key);
        let mut notes = Vec::new();
        for node in nodes {
            notes.extend(journals.iter().map(|names| Note {
                node: node.clone(),
                names: Arc::clone(names),
                keys: vec![self.key.to_vec()],
            }));
        }
        (!notes.is_empty()).then_some((at, notes))
    }

    /// Enters them now.
    pub(crate) async fn enter(&mut self, deadline: Instant) {
        if let Some((at, notes)) = self.take() {
            let engine = Arc::clone(&self.engine);
            engine.enter_now(&at, notes, deadline).await;
        }
    }
}

impl Drop for Unreached {
    fn drop(&mut self) {
        if let Some((at, notes)) = self.take() {
            self.engine.enter_late(Some(&at), notes);
        }
    }
}
