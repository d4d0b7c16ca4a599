//! What decides the node of a piece of work, and which node that is now.

use std::sync::Arc;

use crate::backend::Backend;
use crate::cluster::attempts::Attempts;
use crate::cluster::engine::{Engine, Snapshot};

/// What decides where something is sent.
#[derive(Clone, Debug)]
pub(crate) enum Target<'a> {
    /// One key: its candidates, one after the other.
    Key(&'a [u8]),
    /// The keys of one command: a node will do while it is the candidate of all of them.
    Keys(Vec<&'a [u8]>),
    /// This node and no other.
    Node(Arc<Backend>),
    /// One live node after the other, as they are configured.
    Any,
}

impl Target<'_> {
    /// A key that stands for all of them.
    pub(crate) fn key(&self) -> &[u8] {
        match self {
            Self::Key(key) => key,
            Self::Keys(keys) => keys.first().copied().unwrap_or_default(),
            Self::Node(_) | Self::Any => &[],
        }
    }
}

impl<'a> Target<'a> {
    /// All of its keys.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        let (one, many) = match self {
            Self::Key(key) => (Some(*key), [].as_slice()),
            Self::Keys(keys) => (None, keys.as_slice()),
            Self::Node(_) | Self::Any => (None, [].as_slice()),
        };
        one.into_iter().chain(many.iter().copied())
    }
}

impl Target<'_> {
    /// Whether its keys stay with the node whatever becomes of the call there. What has no keys may go anywhere.
    pub(crate) fn stays_at(&self, backend: &Backend) -> bool {
        !matches!(self, Self::Any) && backend.gate().read().is_kept()
    }
}

impl Engine {
    /// The first live candidate that was not tried yet.
    pub(crate) fn next_candidate(
        &self,
        target: &Target<'_>,
        tried: &Attempts<Arc<Backend>>,
    ) -> Option<Arc<Backend>> {
        Self::candidate_in(&self.snapshot.load(), target, tried)
    }

    /// The same by this snapshot.
    pub(crate) fn candidate_in(
        snapshot: &Snapshot,
        target: &Target<'_>,
        tried: &Attempts<Arc<Backend>>,
    ) -> Option<Arc<Backend>> {
        match target {
            Target::Key(key) => candidate(snapshot, key, tried).cloned(),
            Target::Keys(keys) => {
                let mut all = keys.iter().map(|key| candidate(snapshot, key, tried));
                let first = all.next()??;
                all.all(|other| other.is_some_and(|other| Arc::ptr_eq(other, first)))
                    .then(|| Arc::clone(first))
            }
            Target::Any => {
                let mut callable = snapshot.callable().map(|i| &snapshot.nodes[i]);
                callable.find(|b| !was_tried(tried, b)).cloned()
            }
            Target::Node(backend) => (!was_tried(tried, backend)).then(|| Arc::clone(backend)),
        }
    }

    /// Whether a node serves the target now, as far as its first key says.
    pub(crate) fn is_served(&self, target: &Target<'_>) -> bool {
        let snapshot = self.snapshot.load();
        match target {
            Target::Any => snapshot.callable().next().is_some(),
            target => snapshot.route(target.key()).is_some(),
        }
    }

    /// Whether the node is another than the key's owner; `false` where nothing follows from it, as it costs a look-up.
    pub(crate) fn is_stand_in(&self, key: &[u8], backend: &Arc<Backend>) -> bool {
        self.limits.stand_in_ttl.is_some() && self.is_no_owner(key, backend)
    }

    /// Whether the key is another node's, whoever serves it now.
    pub(crate) fn is_no_owner(&self, key: &[u8], backend: &Arc<Backend>) -> bool {
        let snapshot = self.snapshot.load();
        !Arc::ptr_eq(&snapshot.nodes[snapshot.table.owner(key)], backend)
    }
}

fn was_tried(tried: &Attempts<Arc<Backend>>, backend: &Backend) -> bool {
    tried.has(|other| other.key() == backend.key())
}

fn candidate<'a>(
    snapshot: &'a Snapshot,
    key: &[u8],
    tried: &Attempts<Arc<Backend>>,
) -> Option<&'a Arc<Backend>> {
    if tried.is_empty() {
        return snapshot.route(key);
    }
    snapshot
        .live_candidates(key)
        .map(|i| &snapshot.nodes[i])
        .find(|b| !was_tried(tried, b))
}
