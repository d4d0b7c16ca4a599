//! A node that returns without old values: what this process has noted, and makes of it.
//!
//! The rules are in [`crate::recovery`]; the commands behind writes in `backend/journal.rs`.

mod late;
mod look;
mod others;
pub(super) mod owing;
mod prepare;
mod settle;
mod way;
mod work;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, Semaphore};

pub(super) use self::look::run_look;
use crate::backend::Backend;
use crate::backend::journal::Journal;
use crate::cluster::engine::Engine;
use crate::cluster::events::Event;
use crate::node::NodeId;
use crate::recovery::choices::{Choices, OnReturn};
use crate::recovery::names::Names;
use crate::recovery::unknown::{Facts, UnknownReason};

/// So many connections are dialled at once, to look at nodes that this process does not use.
const DIALS: usize = 64;
/// So many caches have journals of their own: each is looked at once a second.
const CACHES: usize = 1000;

/// What this process knows of nodes that are out, or were.
#[derive(Debug)]
pub(crate) struct Recovery {
    pub(crate) journal: Journal,
    choices: Choices,
    /// Somebody asked for it; callers and nodes read the same one.
    is_on: Arc<AtomicBool>,
    /// Guards whose keys they are; read only while a node is out.
    scope: RwLock<Scope>,
    /// There are caches that are not looked after, which was said.
    has_too_many: AtomicBool,
    /// Guards what is under way; held for a look.
    state: Mutex<State>,
    /// Told when it is switched on, and when there is something to do.
    wake: Notify,
    /// Told when entries were made late.
    entered: Notify,
    /// Told when a node that waits for others need not, and when a write has left something for one.
    stirred: Notify,
    dials: Semaphore,
}

/// Whose keys are noted.
#[derive(Debug, Default)]
struct Scope {
    /// Everybody's.
    all: Option<Arc<Names>>,
    /// Those of caches, by their prefixes.
    caches: BTreeMap<Vec<u8>, Scoped>,
}

/// Of nearly all keys it is one.
pub(super) enum Journals {
    One(Arc<Names>),
    Many(Vec<Arc<Names>>),
}

impl Journals {
    pub(super) fn as_slice(&self) -> &[Arc<Names>] {
        match self {
            Self::One(names) => std::slice::from_ref(names),
            Self::Many(names) => names,
        }
    }
}

/// The keys of a cache.
#[derive(Debug)]
struct Scoped {
    names: Arc<Names>,
    /// On how many nodes each value is.
    copies: usize,
}

impl Scope {
    fn of<'a>(&'a self, key: &'a [u8]) -> impl Iterator<Item = &'a Scoped> {
        let all = self.caches.iter();
        let of_it = all.filter(|(prefix, _)| key.starts_with(prefix));
        of_it.map(|(_, scoped)| scoped)
    }
}

#[derive(Debug, Default)]
struct State {
    /// What the servers said last.
    facts: HashMap<u64, Facts>,
    /// Why nobody will know what a node that is out holds.
    doubts: HashMap<u64, BTreeSet<UnknownReason>>,
    /// Nodes that are prepared now, and the keys that writes left for them meanwhile.
    preparing: HashMap<u64, settle::Making>,
    late: VecDeque<late::Late>,
    /// Entries that are still to be made, by whom they are owed to.
    owed_late: HashMap<NodeId, usize>,
    /// How many make them.
    entering: usize,
    /// Nodes that the operator wants in service, whatever is unknown of them.
    accepted: BTreeSet<u64>,
    /// Nodes that `set_nodes` brought and that were not prepared yet.
    added: BTreeSet<u64>,
    /// Since when a node serves here.
    back_since: HashMap<u64, Instant>,
    /// What was told of nodes that serve: once each.
    told: BTreeSet<(u64, UnknownReason)>,
    totals: HashMap<u64, Totals>,
}

/// What came of one node's returns so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) invalidated: u64,
    pub(crate) unknown: Option<UnknownReason>,
}

impl Recovery {
    pub(crate) fn new(choices: &Choices, is_on: &Arc<AtomicBool>) -> Self {
        Self {
            journal: Journal::new(choices.limit),
            choices: choices.clone(),
            is_on: Arc::clone(is_on),
            scope: RwLock::default(),
            has_too_many: AtomicBool::new(false),
            state: Mutex::default(),
            wake: Notify::new(),
            entered: Notify::new(),
            stirred: Notify::new(),
            dials: Semaphore::new(DIALS),
        }
    }

    /// Whether anything has to be noted at all.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Relaxed)
    }

    /// On how many nodes the key is, when it is one that is noted.
    pub(crate) fn copies(&self, key: &[u8]) -> Option<usize> {
        let scope = self.scope.read();
        let copies = scope.of(key).map(|scoped| scoped.copies).max();
        copies.or_else(|| scope.all.as_ref().map(|_| 1))
    }

    /// The journals that the key is noted in: those of the caches that it may be of, else the one of all.
    pub(crate) fn journals_of(&self, key: &[u8]) -> Vec<Arc<Names>> {
        let noted = self.noted(key);
        noted.map_or_else(Vec::new, |(_, journals)| journals.as_slice().to_vec())
    }

    /// On how many nodes the key is, and the journals that it is noted in, when it is one that is noted.
    pub(super) fn noted(&self, key: &[u8]) -> Option<(usize, Journals)> {
        let scope = self.scope.read();
        let mut caches = scope.of(key);
        let Some(first) = caches.next() else {
            let all = scope.all.as_ref()?;
            return Some((1, Journals::One(Arc::clone(all))));
        };
        let mut copies = first.copies;
        let first = Arc::clone(&first.names);
        let mut more = Vec::new();
        for scoped in caches {
            copies = copies.max(scoped.copies);
            more.push(Arc::clone(&scoped.names));
        }
        Some((
            copies,
            match more.is_empty() {
                true => Journals::One(first),
                false => {
                    more.insert(0, first);
                    Journals::Many(more)
                }
            },
        ))
    }

    /// All that this process works off.
    fn journals(&self) -> Vec<Arc<Names>> {
        let scope = self.scope.read();
        let caches = scope.caches.values();
        let caches = caches.map(|scoped| Arc::clone(&scoped.names));
        caches.chain(scope.all.clone()).collect()
    }

    /// Keys with this prefix, each on so many nodes, are noted from now on; all that are not a cache's, without one.
    /// `false` when there are too many caches.
    fn note(&self, prefix: Option<(&[u8], usize)>) -> bool {
        let names = |prefix| Arc::new(Names::new(&self.choices.name, prefix));
        let mut scope = self.scope.write();
        let Some((prefix, copies)) = prefix else {
            scope.all.get_or_insert_with(|| names(None));
            return true;
        };
        if let Some(known) = scope.caches.get_mut(prefix) {
            known.copies = copies.max(known.copies);
            return true;
        }
        if scope.caches.len() >= CACHES {
            return false;
        }
        let names = names(Some(prefix));
        let scoped = Scoped { names, copies };
        scope.caches.insert(prefix.to_vec(), scoped);
        true
    }

    /// Whoever waits for others looks again.
    pub(super) fn stir(&self) {
        self.stirred.notify_waiters();
    }

    /// How a node's returns went so far.
    pub(crate) fn totals(&self, key: u64) -> Totals {
        self.state
            .lock()
            .totals
            .get(&key)
            .copied()
            .unwrap_or_default()
    }

    /// The operator wants the node in service as it is.
    pub(super) fn accept(&self, key: u64) {
        self.state.lock().accepted.insert(key);
    }

    /// The set of nodes brought this one.
    pub(super) fn added(&self, key: u64) {
        self.state.lock().added.insert(key);
    }

    /// The node is no part of the cluster any more.
    pub(super) fn forget(&self, key: u64) {
        let mut state = self.state.lock();
        state.facts.remove(&key);
        state.doubts.remove(&key);
        state.preparing.remove(&key);
        state.accepted.remove(&key);
        state.added.remove(&key);
        state.back_since.remove(&key);
        state.told.retain(|(of, _)| *of != key);
        state.totals.remove(&key);
        drop(state);
        self.journal.forget_server(key);
    }

    /// Nobody will know what the node holds, once it is back.
    pub(super) fn doubt(&self, key: u64, why: UnknownReason) {
        self.state.lock().doubts.entry(key).or_default().insert(why);
    }
}

impl Engine {
    /// Keys with this prefix, each on so many nodes, are noted and taken back; all keys, without one.
    pub(crate) fn invalidate_on_return(self: &Arc<Self>, prefix: Option<(&[u8], usize)>) {
        if !self.snapshot.load().table.keeps_order() {
            tracing::warn!(
                "nodes that return are not rid of old values: this placement moves keys between nodes that were never out"
            );
            return;
        }
        let recovery = &self.recovery;
        if !recovery.note(prefix) {
            if !recovery.has_too_many.swap(true, Relaxed) {
                tracing::warn!(
                    CACHES,
                    "more caches than can be looked after: for the others, nodes that return are not rid of old values"
                );
            }
            return;
        }
        if recovery.is_on.swap(true, Relaxed) {
            return;
        }
        let limit = recovery.choices.deadline;
        self.locked(|state, _| state.health.prepare_first(limit));
        recovery.wake.notify_one();
    }

    /// What the builder asked for.
    pub(super) fn begin_recovery(self: &Arc<Self>) {
        if self.recovery.choices.on_return == OnReturn::Invalidate {
            self.invalidate_on_return(None);
        }
    }

    /// Says that nobody knows what a node holds, once for each of its returns.
    fn tell_unknown(&self, backend: &Backend, reason: UnknownReason) {
        {
            let mut state = self.recovery.state.lock();
            if !state.told.insert((backend.key(), reason)) {
                return;
            }
            state.totals.entry(backend.key()).or_default().unknown = Some(reason);
        }
        let node = backend.id().clone();
        let on_unknown = self.recovery.choices.on_unknown;
        let mut labels = backend.labels();
        labels.push(metrics::Label::new("reason", reason.as_str()));
        metrics::counter!("fluster_return_unknown_total", labels).increment(1);
        tracing::warn!(%node, %reason, ?on_unknown, "nobody knows which keys of a node that returns are old");
        self.locked(|_, effects| effects.tell(Event::ReturnUnknown { node, reason }));
    }

    /// Keys were taken from a node that returned.
    fn tell_invalidated(&self, backend: &Backend, keys: usize) {
        if keys == 0 {
            return;
        }
        let of = |state: &mut State| {
            state.totals.entry(backend.key()).or_default().invalidated += keys as u64;
        };
        of(&mut self.recovery.state.lock());
        let node = backend.id().clone();
        metrics::counter!("fluster_return_keys_total", backend.labels()).increment(keys as u64);
        tracing::info!(%node, keys, "keys that were written elsewhere are taken from a node");
        self.locked(|_, effects| effects.tell(Event::KeysInvalidated { node, keys }));
    }
}
