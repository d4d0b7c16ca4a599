//! What lies with the nodes that serve, for nodes that serve: looked at once a second.
//!
//! It reaches what no return would: copies that a stand-in has left, writes that ended while their node came back, and
//! the process for which a node was never out, whose readers nobody else helps.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use redis::Pipeline;
use tokio::time::{sleep, timeout};

use super::DIALS;
use super::way::{Trouble, Way};
use crate::backend::Backend;
use crate::clock::{self, later};
use crate::cluster::engine::{Engine, Snapshot};
use crate::connection::link::Link;
use crate::recovery::names::{Names, Set};
use crate::recovery::unknown::UnknownReason;

const LOOK: Duration = Duration::from_secs(1);
/// Nodes to which this process has no connection are looked at with every so many looks.
const UNUSED: u64 = 5;
/// So long others have to see that there was too much, before it is taken off.
const SEEN: Duration = Duration::from_secs(10);

/// Over which connection a server said what it is.
type Asked = HashMap<u64, Weak<Link>>;

pub(in crate::cluster) async fn run_look(engine: &Arc<Engine>, number: u64) {
    let mut asked = Asked::new();
    let mut looks = 0_u64;
    loop {
        if !engine.tasks.pulse().is_current(number) {
            return;
        }
        if !engine.recovery.is_on() {
            engine.recovery.wake.notified().await;
            continue;
        }
        engine.enter_all();
        let limit = engine.recovery.choices.deadline.max(LOOK);
        // The next one goes on from there.
        let _ = timeout(
            limit,
            look(engine, &mut asked, looks.is_multiple_of(UNUSED)),
        )
        .await;
        looks += 1;
        tokio::select! {
            () = sleep(LOOK) => {}
            () = engine.recovery.wake.notified() => {}
        }
    }
}

async fn look(engine: &Arc<Engine>, asked: &mut Asked, everywhere: bool) {
    let snapshot = engine.snapshot.load_full();
    let servers = snapshot.live.iter().map(|at| &snapshot.nodes[at]);
    let mut looks = Vec::new();
    for server in servers.filter(|server| everywhere || server.lane().get().is_some()) {
        let known = asked.get(&server.key()).cloned();
        looks.push(look_at(engine, &snapshot, Arc::clone(server), known));
    }
    let mut looks = stream::iter(looks).buffer_unordered(DIALS);
    let mut news = Vec::new();
    while let Some(look) = looks.next().await {
        // What fails is looked at again.
        news.extend(look.ok());
    }
    asked.extend(news);
    asked.retain(|key, _| snapshot.nodes.iter().any(|node| node.key() == *key));
}

/// Looks at one server; it, and the connection over which it was asked who it is.
async fn look_at(
    engine: &Arc<Engine>,
    snapshot: &Snapshot,
    server: Arc<Backend>,
    known: Option<Weak<Link>>,
) -> Result<(u64, Weak<Link>), Trouble> {
    let deadline = later(clock::now(), engine.recovery.choices.deadline);
    let at = engine.way_to(&server).await?;
    let lane = server.lane().get();
    let lane = lane.as_ref().map(Arc::downgrade).unwrap_or_default();
    let is_known = known.is_some_and(|known| known.ptr_eq(&lane));
    if !is_known {
        is_it_the_same(engine, &server, &at, deadline).await?;
    }
    let index = engine.index_at(&at, deadline).await?;
    for (name, sets) in index {
        let Some(node) = snapshot
            .nodes
            .iter()
            .position(|b| b.id().as_str().as_bytes() == name)
        else {
            continue;
        };
        // Read again: it may have gone out, or come back, since.
        let node = &snapshot.nodes[node];
        if !engine.serves(node) || node.key() == server.key() {
            continue;
        }
        let is_full = sets.contains(&Set::Full);
        let to = Way::Lane(Arc::clone(node));
        let swept = engine.work_off(snapshot, &at, &to, sets, deadline).await;
        match swept {
            Ok(swept) => engine.tell_invalidated(node, swept.keys),
            // It was said.
            Err(Trouble::Refused) => continue,
            Err(Trouble::Failed) => return Err(Trouble::Failed),
        }
        if is_full {
            overflowed(engine, &at, node, deadline).await?;
        }
    }
    Ok((server.key(), lane))
}

/// There was too much for a node that serves: nobody knows what it has.
async fn overflowed(
    engine: &Arc<Engine>,
    at: &Way,
    node: &Arc<Backend>,
    deadline: std::time::Instant,
) -> Result<(), Trouble> {
    let now = clock::now();
    let (back_for, is_told) = {
        let mut state = engine.recovery.state.lock();
        let since = *state.back_since.entry(node.key()).or_insert(now);
        let is_told = state.told.contains(&(node.key(), UnknownReason::Overflow));
        (now.saturating_duration_since(since), is_told)
    };
    if !is_told {
        engine.tell_unknown(node, UnknownReason::Overflow);
    }
    if back_for < SEEN {
        return Ok(());
    }
    let mut pipeline = Pipeline::new();
    let entry = Names::entry(node.id().as_str().as_bytes(), Set::Full);
    let index = engine.recovery.journal.names.index();
    pipeline.cmd("SREM").arg(index).arg(entry);
    at.ask(&pipeline, deadline).await?;
    engine
        .recovery
        .state
        .lock()
        .told
        .remove(&(node.key(), UnknownReason::Overflow));
    Ok(())
}

/// Over a new connection: whether it is the same run of the server as before.
async fn is_it_the_same(
    engine: &Arc<Engine>,
    server: &Arc<Backend>,
    at: &Way,
    deadline: std::time::Instant,
) -> Result<(), Trouble> {
    let facts = at.facts(deadline).await?;
    let before = engine
        .recovery
        .state
        .lock()
        .facts
        .insert(server.key(), facts.clone());
    let Some(before) = before else {
        return Ok(());
    };
    // It came back so soon that nobody missed it.
    if facts.is_rolled_back(&before) {
        engine.tell_unknown(server, UnknownReason::Rollback);
    }
    if facts.lost_its_notes(&before) {
        engine.lost_notes(server.key());
    }
    Ok(())
}
