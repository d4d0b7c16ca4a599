//! A node that has answered its probes is made ready to serve.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt as _;
use futures_util::stream;
use redis::Pipeline;
use tokio::time::timeout_at;

use super::settle::{Left, Making, unlink};
use super::way::{Trouble, Way};
use super::work::Swept;
use super::{DIALS, State};
use crate::backend::Backend;
use crate::clock::{self, later};
use crate::cluster::engine::{Engine, Snapshot};
use crate::connection::request::LaneRequest;
use crate::recovery::choices::OnUnknown;
use crate::recovery::unknown::{Absence, Facts, UnknownReason};

/// A node that is prepared; writes leave keys for it meanwhile.
struct Preparing<'a> {
    engine: &'a Engine,
    key: u64,
    id: u64,
}

impl Drop for Preparing<'_> {
    fn drop(&mut self) {
        let mut state = self.engine.recovery.state.lock();
        // Unless the next one has begun. Who waits for it is told.
        let making = state.preparing.get(&self.key);
        if making.is_some_and(|making| making.by == self.id) {
            state.preparing.remove(&self.key);
        }
    }
}

impl Engine {
    /// Takes from a node that is out what was written elsewhere meanwhile; `publish` puts it into service.
    ///
    /// `false` when it was not done in time: what was done stays done, and the next try goes on from there. Other processes
    /// that have it out are waited for beyond that, where they say so.
    pub(in crate::cluster) async fn prepare_return(
        self: &Arc<Self>,
        backend: &Arc<Backend>,
        id: u64,
        deadline: Instant,
        publish: impl FnOnce(bool),
    ) {
        if !self.recovery.is_on() {
            return publish(true);
        }
        let key = backend.key();
        let (by, left) = (id, Vec::new());
        let making = Making { by, left };
        self.recovery.state.lock().preparing.insert(key, making);
        let preparing = Preparing {
            engine: self,
            key,
            id,
        };
        // What is said of it is another thing from now on, and once more when it is ready.
        self.said_anew();
        let made_ready = timeout_at(deadline.into(), self.make_ready(backend, deadline)).await;
        let is_ready = match made_ready {
            Ok(Ok((answered, way))) => match self.wait_for_others(id, &way).await {
                Ok(()) => self.recovery.returned(key, &answered, clock::now()),
                Err(_) => false,
            },
            _ => false,
        };
        if is_ready {
            self.recovery.journal.forget(backend.id());
        }
        publish(is_ready);
        if is_ready {
            // What writes have left in between: they wait for it. From the moment there is no list they do it themselves.
            while let Some(left) = self.take_last(key) {
                // The look finds what fails here.
                let pipeline = unlink_left(&left);
                let deadline = later(clock::now(), self.recovery.choices.deadline);
                let _ = backend
                    .call(LaneRequest::all_ours(&pipeline), deadline)
                    .await;
            }
        }
        drop(preparing);
    }

    /// What was left; `None` once there is nothing, and from then on nothing is.
    fn take_last(&self, key: u64) -> Option<Vec<Left>> {
        let mut state = self.recovery.state.lock();
        let making = state.preparing.get_mut(&key)?;
        let left = std::mem::take(&mut making.left);
        if left.is_empty() {
            state.preparing.remove(&key);
            return None;
        }
        Some(left)
    }

    pub(super) fn take_left(&self, key: u64) -> Vec<Left> {
        let mut state = self.recovery.state.lock();
        let making = state.preparing.get_mut(&key);
        making.map_or_else(Vec::new, |making| std::mem::take(&mut making.left))
    }

    /// Why nobody knows all of what the node has, and the way to it; that was answered as the application chose.
    async fn make_ready(
        self: &Arc<Self>,
        backend: &Arc<Backend>,
        deadline: Instant,
    ) -> Result<(BTreeSet<UnknownReason>, Way), Trouble> {
        let key = backend.key();
        let way = Way::dial(backend).await?;
        let facts = way.facts(deadline).await?;
        let mut doubts = self.doubts(backend, &facts);
        // First, so that it is there when it is looked for; what comes from now on is left for us.
        self.entered_for(backend, deadline).await?;
        let snapshot = self.snapshot.load_full();
        let swept = self.sweep_all(&snapshot, &way, deadline).await?;
        if swept.is_full {
            doubts.insert(UnknownReason::Overflow);
        }
        if self.is_refused(key) {
            doubts.insert(UnknownReason::Refused);
        }
        self.sweep_own(&snapshot, &way, deadline).await?;
        // Whatever was wrong, an empty database has no old value.
        if !facts.is_empty() {
            self.answer_doubts(backend, &way, &doubts, deadline).await?;
        }
        let left = self.take_left(key);
        if !left.is_empty() {
            let pipeline = unlink_left(&left);
            way.ask(&pipeline, deadline).await.or_else(unless_failed)?;
        }
        self.recovery.state.lock().facts.insert(key, facts);
        self.tell_invalidated(backend, swept.keys);
        Ok((doubts, way))
    }

    /// Why nobody knows what the node has, as far as that is known before its notes are read.
    fn doubts(&self, backend: &Backend, facts: &Facts) -> BTreeSet<UnknownReason> {
        let key = backend.key();
        let now = clock::now();
        let (lasted, others_are_out) = self.locked(|state, _| {
            let since = state.out_since.get(&key).copied();
            let snapshot = self.snapshot.load();
            // Whoever went out later may have noted something before.
            let later = snapshot.nodes.iter().any(|other| {
                let other_since = state.out_since.get(&other.key()).copied();
                other.key() != key && other_since.is_some_and(|at| since.is_none_or(|s| at > s))
            });
            (since.map(|at| now.saturating_duration_since(at)), later)
        });
        let state = self.recovery.state.lock();
        let absence = Absence {
            lasted,
            others_are_out,
            is_added: state.added.contains(&key),
        };
        let mut doubts = absence.doubts(state.facts.get(&key), facts);
        doubts.extend(state.doubts.get(&key).into_iter().flatten());
        // What it had to keep for others may be gone.
        let others = state
            .facts
            .get(&key)
            .is_some_and(|before| facts.lost_its_notes(before));
        drop(state);
        if others {
            self.lost_notes(key);
        }
        doubts
    }

    /// A server lost what was noted there: for whom, only they know who are out.
    pub(super) fn lost_notes(&self, key: u64) {
        let snapshot = self.snapshot.load();
        let out = snapshot
            .nodes
            .iter()
            .enumerate()
            .filter(|(at, _)| !snapshot.live.contains(*at));
        for (_, other) in out.filter(|(_, other)| other.key() != key) {
            self.recovery.doubt(other.key(), UnknownReason::Lost);
        }
    }

    /// What all that serve hold for the node is worked off.
    pub(super) async fn sweep_all(
        &self,
        snapshot: &Snapshot,
        way: &Way,
        deadline: Instant,
    ) -> Result<Swept, Trouble> {
        let servers = snapshot.live.iter().map(|at| &snapshot.nodes[at]);
        let mut sweeps = Vec::new();
        for server in servers.filter(|server| server.key() != way.backend().key()) {
            sweeps.push(self.sweep_one(snapshot, Arc::clone(server), way, deadline));
        }
        let mut swept = stream::iter(sweeps).buffer_unordered(DIALS);
        let mut all = Swept::default();
        while let Some(swept) = swept.next().await {
            all += swept?;
        }
        Ok(all)
    }

    async fn sweep_one(
        &self,
        snapshot: &Snapshot,
        server: Arc<Backend>,
        way: &Way,
        deadline: Instant,
    ) -> Result<Swept, Trouble> {
        let node = way.backend();
        let work = async {
            let at = self.way_to(&server).await?;
            let mut all = Swept::default();
            for (names, mut index) in self.indices_at(&at, &[], deadline).await? {
                let Some(sets) = index.remove(node.id().as_str().as_bytes()) else {
                    continue;
                };
                let of = (&names, sets);
                all += self.work_off(snapshot, &at, way, of, deadline).await?;
            }
            Ok(all)
        };
        match work.await {
            Err(Trouble::Refused) => {
                self.recovery.doubt(node.key(), UnknownReason::Refused);
                Ok(Swept::default())
            }
            result => result,
        }
    }

    /// What the node itself holds for others that serve by now.
    async fn sweep_own(
        &self,
        snapshot: &Snapshot,
        way: &Way,
        deadline: Instant,
    ) -> Result<(), Trouble> {
        let indices = match self.indices_at(way, &[], deadline).await {
            Err(Trouble::Refused) => return Ok(()),
            indices => indices?,
        };
        let mut all = Vec::new();
        for (names, index) in indices {
            for (name, sets) in index {
                all.push((Arc::clone(&names), name, sets));
            }
        }
        for (names, name, sets) in all {
            let other = snapshot.live.iter().map(|at| &snapshot.nodes[at]);
            let mut other = other.filter(|other| other.id().as_str().as_bytes() == name);
            let Some(other) = other.find(|other| other.key() != way.backend().key()) else {
                continue;
            };
            let (to, of) = (Way::Lane(Arc::clone(other)), (&names, sets));
            match self.work_off(snapshot, way, &to, of, deadline).await {
                Ok(swept) => self.tell_invalidated(other, swept.keys),
                Err(Trouble::Refused) => {}
                Err(Trouble::Failed) => return Err(Trouble::Failed),
            }
        }
        Ok(())
    }

    /// Until this process has entered late what the node is owed.
    async fn entered_for(&self, backend: &Backend, deadline: Instant) -> Result<(), Trouble> {
        loop {
            let mut entered = std::pin::pin!(self.recovery.entered.notified());
            // Before the look: else what is entered in between is missed.
            entered.as_mut().enable();
            if !self
                .recovery
                .state
                .lock()
                .owed_late
                .contains_key(backend.id())
            {
                return Ok(());
            }
            let told = timeout_at(deadline.into(), entered).await;
            told.map_err(|_| Trouble::Failed)?;
        }
    }

    fn is_refused(&self, key: u64) -> bool {
        let state = self.recovery.state.lock();
        let doubts = state.doubts.get(&key);
        doubts.is_some_and(|doubts| doubts.contains(&UnknownReason::Refused))
    }

    /// Does with a node of which nobody knows what it has as the application chose.
    async fn answer_doubts(
        self: &Arc<Self>,
        backend: &Arc<Backend>,
        way: &Way,
        doubts: &BTreeSet<UnknownReason>,
        deadline: Instant,
    ) -> Result<(), Trouble> {
        if doubts.is_empty() {
            return Ok(());
        }
        for why in doubts {
            self.tell_unknown(backend, *why);
        }
        let is_accepted = self.recovery.state.lock().accepted.contains(&backend.key());
        match self.recovery.choices.on_unknown {
            OnUnknown::Flush => {
                let mut pipeline = Pipeline::new();
                pipeline.cmd("FLUSHDB");
                way.ask(&pipeline, deadline).await.or_else(unless_failed)?;
                self.lost_notes(backend.key());
            }
            OnUnknown::StayOut if !is_accepted => {
                // Not known: then it is no part of the cluster any more.
                let _ = self.drain(backend.id().as_str(), true);
                return Err(Trouble::Failed);
            }
            OnUnknown::Serve | OnUnknown::StayOut => {}
        }
        Ok(())
    }

    /// The shared connection where there is one, else one that is dropped with the answer.
    pub(super) async fn way_to(&self, server: &Arc<Backend>) -> Result<Way, Trouble> {
        if server.lane().get().is_some() {
            return Ok(Way::Lane(Arc::clone(server)));
        }
        let permit = self.recovery.dials.acquire().await;
        let way = Way::dial(server).await;
        drop(permit);
        way
    }
}

impl super::Recovery {
    /// The node may serve; `false` when there is another doubt since, which is not answered.
    fn returned(&self, key: u64, answered: &BTreeSet<UnknownReason>, now: Instant) -> bool {
        let mut state = self.state.lock();
        let doubts = state.doubts.get(&key);
        if doubts.is_some_and(|doubts| !doubts.is_subset(answered)) {
            return false;
        }
        let State {
            doubts,
            accepted,
            added,
            back_since,
            told,
            ..
        } = &mut *state;
        doubts.remove(&key);
        accepted.remove(&key);
        added.remove(&key);
        back_since.insert(key, now);
        told.retain(|(of, _)| *of != key);
        true
    }
}

/// What takes from the node what writes have left, in one piece: a round trip for each of them would take longer than they
/// take to leave more.
pub(super) fn unlink_left(left: &[Left]) -> Pipeline {
    let mut pipeline = Pipeline::new();
    for left in left {
        pipeline.add_command(unlink(&left.keys));
    }
    pipeline
}

/// What is refused was said, and is no reason to stay out.
pub(super) fn unless_failed<T: Default>(why: Trouble) -> Result<T, Trouble> {
    match why {
        Trouble::Refused => Ok(T::default()),
        Trouble::Failed => Err(Trouble::Failed),
    }
}
