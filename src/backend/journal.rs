//! What is written down at a server behind a write that other nodes should have had.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::{Pipeline, Value};

use super::stand_in::caps_of;
use crate::backend::role::Role;
use crate::backend::{Backend, Calling, Unheard};
use crate::clock;
use crate::connection::followed::{Followed, Ours, pack_word};
use crate::connection::link::Link;
use crate::connection::reply::Reply;
use crate::connection::request::LaneRequest;
use crate::error::{Error, Outcome};
use crate::node::NodeId;
use crate::recovery::names::{Names, Set};
use crate::recovery::unknown::DAY;

/// The index is told again after so long, and what was full may have room.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// How many entries there are is asked once in so many at most.
const COUNTED_EVERY: usize = 1000;

/// Keys that one node should have had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) node: NodeId,
    /// Of the journal that they are written into.
    pub(crate) names: Arc<Names>,
    pub(crate) keys: Vec<Vec<u8>>,
}

impl Note {
    fn node(&self) -> &[u8] {
        self.node.as_str().as_bytes()
    }

    /// The key of the set that it goes into.
    fn open(&self) -> Vec<u8> {
        self.names.key(self.node(), Set::Open)
    }

    /// That set, at a server.
    fn place(&self, server: u64) -> Place {
        Place {
            server,
            names: Arc::as_ptr(&self.names) as usize,
            node: self.node.clone(),
        }
    }
}

/// What is known of the entries.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// They are there.
    Certain,
    /// Nothing was sent, so nothing is owed.
    Nothing,
    /// Nobody knows, of them or of the write.
    Unsure,
    /// The server said no, in these words.
    Refused(String),
}

/// What this process wrote down where.
#[derive(Debug)]
pub(crate) struct Journal {
    limit: usize,
    /// Guards what each server was told; held for a look.
    marks: Mutex<HashMap<Place, Mark>>,
}

/// The open set of one node, in one journal, at one server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    server: u64,
    /// Where the journal's names are, which live as long as the cluster.
    names: usize,
    node: NodeId,
}

/// What one server was told of one node.
#[derive(Debug)]
struct Mark {
    /// The connection over which the index was told, and answered: another one may lead to a server that is empty.
    told_on: Weak<Link>,
    told_at: Instant,
    /// The key of the set, as it is written.
    open: Box<[u8]>,
    entries: usize,
    is_full: bool,
}

/// Commands that go behind a write.
struct Behind {
    ours: Ours,
    caps: usize,
    /// Where a count is answered, and of which note.
    counts: Vec<(usize, usize)>,
    /// Of whom the index is told.
    told: Vec<usize>,
}

/// More than nearly all notes take.
const ROOM: usize = 256;
/// A word that is the same in all of them, as it is written.
const SADD: &[u8] = b"$4\r\nSADD\r\n";
const SCARD: &[u8] = b"$5\r\nSCARD\r\n";

impl Journal {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            marks: Mutex::default(),
        }
    }

    /// What was told of the node is of no use any more: it is back.
    pub(crate) fn forget(&self, node: &NodeId) {
        self.marks.lock().retain(|place, _| place.node != *node);
    }

    /// What was told a server is of no use any more: it is gone.
    pub(crate) fn forget_server(&self, key: u64) {
        self.marks.lock().retain(|place, _| place.server != key);
    }

    /// The entries of these notes, with all that a server needs to know of them.
    pub(crate) fn entries(notes: &[Note]) -> Pipeline {
        let mut pipeline = Pipeline::new();
        for note in notes {
            let open = note.open();
            tell(&mut pipeline, note, Set::Open);
            add(&mut pipeline, note, &open);
            keep(&mut pipeline, note, &open);
        }
        pipeline
    }

    /// What goes behind a write at this server, which has this connection now.
    fn behind(
        &self,
        server: u64,
        lane: Option<&Arc<Link>>,
        notes: &[Note],
        caps: Option<&Pipeline>,
        now: Instant,
    ) -> Behind {
        let mut behind = Behind {
            ours: Ours::with_capacity(ROOM),
            caps: caps.map_or(0, Pipeline::len),
            counts: Vec::new(),
            told: Vec::new(),
        };
        let ours = &mut behind.ours;
        if let Some(caps) = caps {
            ours.commands(caps);
        }
        let every = (self.limit / 10).clamp(1, COUNTED_EVERY);
        let mut marks = self.marks.lock();
        for (at, note) in notes.iter().enumerate() {
            let mark = marks.get_mut(&note.place(server));
            let mark = mark.filter(|mark| now.saturating_duration_since(mark.told_at) < TOLD_EVERY);
            if mark.as_ref().is_some_and(|mark| mark.is_full) {
                let mut pipeline = Pipeline::new();
                // Who works off what there is may have taken it for all.
                tell(&mut pipeline, note, Set::Full);
                ours.commands(&pipeline);
                continue;
            }
            let is_told = |mark: &&mut Mark| {
                lane.is_some_and(|lane| std::ptr::eq(mark.told_on.as_ptr(), Arc::as_ptr(lane)))
            };
            let Some(mark) = mark.filter(is_told) else {
                let mut pipeline = Self::entries(std::slice::from_ref(note));
                pipeline.cmd("SCARD").arg(note.open());
                behind.told.push(at);
                ours.commands(&pipeline);
                behind.counts.push((ours.len() - 1, at));
                continue;
            };
            ours.begin(2 + note.keys.len());
            ours.packed(SADD);
            ours.packed(&mark.open);
            note.keys.iter().for_each(|key| ours.word(key));
            let before = mark.entries / every;
            mark.entries += note.keys.len();
            if mark.entries / every > before {
                behind.counts.push((ours.len(), at));
                ours.begin(2);
                ours.packed(SCARD);
                ours.packed(&mark.open);
            }
        }
        behind
    }

    fn mark(&self, server: u64, note: &Note, lane: &Arc<Link>, entries: usize, is_full: bool) {
        let mut open = Vec::new();
        pack_word(&mut open, &note.open());
        let mark = Mark {
            told_on: Arc::downgrade(lane),
            told_at: clock::now(),
            open: open.into(),
            entries,
            is_full,
        };
        self.marks.lock().insert(note.place(server), mark);
    }
}

fn tell(pipeline: &mut Pipeline, note: &Note, set: Set) {
    let entry = Names::entry(note.node(), set);
    pipeline.cmd("SADD").arg(note.names.index()).arg(entry);
}

fn add(pipeline: &mut Pipeline, note: &Note, open: &[u8]) {
    pipeline.cmd("SADD").arg(open);
    for key in &note.keys {
        pipeline.arg(key);
    }
}

/// A day later nobody needs it.
fn keep(pipeline: &mut Pipeline, note: &Note, open: &[u8]) {
    for key in [note.names.index(), open] {
        pipeline.cmd("EXPIRE").arg(key).arg(DAY.as_secs());
    }
}

impl Backend {
    /// [`execute`](Self::execute), with notes behind the request, in the same breath: both are taken back whole or not at
    /// all, and both were answered when this returns.
    ///
    /// # Cancellation
    ///
    /// As [`call`](Self::call): what was sent may be executed, the notes too.
    pub(crate) async fn execute_noted(
        self: &Arc<Self>,
        journal: &Journal,
        began: Instant,
        request: LaneRequest<'_>,
        role: Role<'_>,
        notes: &[Note],
        deadline: Instant,
    ) -> (Result<Reply, Error>, Noted) {
        let caps = self.limits().stand_in_ttl;
        let caps = caps.and_then(|ttl| caps_of(role, request.request(), ttl));
        let lane = self.lane().get();
        let behind = journal.behind(self.key(), lane.as_ref(), notes, caps.as_ref(), began);
        let both = Followed::new(request.request(), &behind.ours);
        let result = self
            .call_from(began, request.followed(&both), deadline)
            .await;
        let mut said = both.said().unwrap_or_default();
        if let Err(error) = &result {
            let noted = match error.outcome() {
                Outcome::NotSent => Noted::Nothing,
                _ => Noted::Unsure,
            };
            return (result, noted);
        }
        if said.len() < behind.ours.len() {
            return (result, Noted::Unsure);
        }
        if behind.caps > 0 {
            let caps = Reply::Many(said.drain(..behind.caps).collect());
            self.hear(Unheard::Cap, behind.caps, &Ok(caps));
        }
        let refusal = said.iter().find_map(|value| match value {
            Value::ServerError(e) => {
                Some(format!("{} {}", e.code(), e.details().unwrap_or_default()))
            }
            _ => None,
        });
        if let Some(why) = refusal {
            return (result, Noted::Refused(why));
        }
        let now = self.lane().get();
        let is_same = match (&lane, &now) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            _ => false,
        };
        // Without a word to the index, over another connection: maybe to a server that lost it.
        let all_told = behind.told.len() == notes.len();
        if !is_same && !all_told {
            return (result, Noted::Unsure);
        }
        let counted = |at: usize| {
            let of = behind.counts.iter().find(|(_, of)| *of == at)?;
            match said.get(of.0 - behind.caps) {
                Some(Value::Int(count)) => usize::try_from(*count).ok(),
                _ => None,
            }
        };
        for (at, note) in notes.iter().enumerate() {
            let count = counted(at);
            let is_full = count.is_some_and(|count| count > journal.limit);
            if is_full {
                self.overflow(note, deadline).await;
            }
            if let Some(lane) = lane.as_ref().filter(|_| is_same)
                && (behind.told.contains(&at) || is_full)
            {
                let entries = count.unwrap_or_default();
                journal.mark(self.key(), note, lane, entries, is_full);
            }
        }
        self.meter()
            .noted(notes.iter().map(|note| note.keys.len() as u64).sum());
        (result, Noted::Certain)
    }

    /// There are too many: nobody will know which.
    async fn overflow(self: &Arc<Self>, note: &Note, deadline: Instant) {
        let index = note.names.index();
        let mut pipeline = Pipeline::new();
        pipeline.atomic();
        tell(&mut pipeline, note, Set::Full);
        pipeline.cmd("EXPIRE").arg(index).arg(DAY.as_secs());
        pipeline.cmd("UNLINK").arg(note.open());
        let reply = self.call(LaneRequest::all_ours(&pipeline), deadline).await;
        self.hear(Unheard::Note, 1, &reply);
    }

    /// [`execute`](Self::execute) of what goes to this node whoever serves now, with what it owes.
    pub(crate) fn execute_held<'a>(
        self: &'a Arc<Self>,
        began: Instant,
        request: LaneRequest<'a>,
        role: Role<'a>,
        deadline: Instant,
    ) -> Calling<'a> {
        if matches!(role, Role::Owner) || !self.limits().is_noting.load(Relaxed) {
            return self.execute(began, request, role, deadline);
        }
        let noted = self
            .observer
            .noted(self, began, request, role.clone(), deadline);
        let call = self.execute(began, request, role, deadline);
        match noted {
            Some(noted) => call.by(noted),
            None => call,
        }
    }
}
