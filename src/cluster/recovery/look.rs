//! What lies with the nodes that serve, for nodes that serve: looked at once a second.
//!
//! It reaches what no return would: copies that a stand-in has left, writes that ended while their node came back, and
//! the process for which a node was never out, whose readers nobody else helps.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream;
use redis::Pipeline;
use tokio::time::{sleep, timeout};

use super::DIALS;
use super::way::{Trouble, Way};
use super::work::Open;
use crate::backend::Backend;
use crate::clock::{self, later};
use crate::cluster::engine::{Engine, Snapshot};
use crate::connection::link::Link;
use crate::recovery::choices::OnUnknown;
use crate::recovery::names::{Names, Set};
use crate::recovery::turns::Turns;
use crate::recovery::unknown::UnknownReason;

const LOOK: Duration = Duration::from_secs(1);
/// So long others have to see that there was too much, before it is taken off.
const SEEN: Duration = Duration::from_secs(10);

/// What is known of a server since it was looked at last.
#[derive(Clone, Default)]
struct Known {
    /// Over which connection it said what it is.
    asked: Option<Weak<Link>>,
    open: Vec<Open>,
}

pub(in crate::cluster) async fn run_look(engine: &Arc<Engine>, number: u64) {
    let mut known = HashMap::new();
    let mut turns = Turns::default();
    loop {
        if !engine.tasks.pulse().is_current(number) {
            return;
        }
        engine.enter_all();
        let limit = engine.recovery.choices.deadline.max(LOOK);
        // The next one goes on from there.
        let _ = timeout(limit, look(engine, &mut known, &mut turns)).await;
        tokio::select! {
            () = sleep(LOOK) => {}
            () = engine.recovery.wake.notified() => {}
        }
    }
}

async fn look(engine: &Arc<Engine>, known: &mut HashMap<u64, Known>, turns: &mut Turns) {
    let snapshot = engine.snapshot.load_full();
    let servers = snapshot.live.iter().map(|at| &snapshot.nodes[at]);
    let (used, unused): (Vec<_>, Vec<_>) =
        servers.partition(|server| server.lane().get().is_some());
    let some = turns.next(unused.len(), !used.is_empty());
    let servers = used.into_iter().chain(some.map(|at| unused[at]));
    let looks = servers.map(|server| {
        let before = known.get(&server.key()).cloned().unwrap_or_default();
        look_at(engine, &snapshot, Arc::clone(server), before)
    });
    let looks: Vec<_> = looks.collect();
    let mut looks = stream::iter(looks).buffer_unordered(DIALS);
    while let Some(look) = looks.next().await {
        // What fails is looked at again.
        known.extend(look.ok());
    }
    known.retain(|key, _| snapshot.nodes.iter().any(|node| node.key() == *key));
}

/// Looks at one server; it, and what is known of it now.
async fn look_at(
    engine: &Arc<Engine>,
    snapshot: &Snapshot,
    server: Arc<Backend>,
    before: Known,
) -> Result<(u64, Known), Trouble> {
    let deadline = later(clock::now(), engine.recovery.choices.deadline);
    let at = engine.way_to(&server).await?;
    let lane = server.lane().get();
    let lane = lane.as_ref().map(Arc::downgrade).unwrap_or_default();
    let is_known = before.asked.is_some_and(|asked| asked.ptr_eq(&lane));
    if !is_known {
        is_it_the_same(engine, &server, &at, deadline).await?;
    }
    let mut open = Vec::new();
    for (names, index) in engine.indices_at(&at, &before.open, deadline).await? {
        for (name, sets) in index {
            let mut nodes = snapshot.nodes.iter();
            let Some(node) = nodes.find(|b| b.id().as_str().as_bytes() == name) else {
                continue;
            };
            // It may have gone out, or come back, since.
            if !engine.serves(node) || node.key() == server.key() {
                continue;
            }
            if sets.contains(&Set::Open) {
                open.push((Arc::clone(&names), name));
            }
            let is_full = sets.contains(&Set::Full);
            let (to, of) = (Way::Lane(Arc::clone(node)), (&names, sets));
            let swept = engine.work_off(snapshot, &at, &to, of, deadline).await;
            match swept {
                Ok(swept) => engine.tell_invalidated(node, swept.keys),
                // It was said.
                Err(Trouble::Refused) => continue,
                Err(Trouble::Failed) => return Err(Trouble::Failed),
            }
            if is_full {
                overflowed(engine, &at, node, &names, deadline).await?;
            }
        }
    }
    // Those that were left out, since they are empty, are known as before.
    let is_new = |of: &Open| !open.iter().any(|o| Arc::ptr_eq(&o.0, &of.0) && o.1 == of.1);
    let left_out: Vec<_> = before.open.into_iter().filter(is_new).collect();
    open.extend(left_out);
    let asked = Some(lane);
    Ok((server.key(), Known { asked, open }))
}

/// There was too much for a node that serves: nobody knows what it has.
async fn overflowed(
    engine: &Arc<Engine>,
    at: &Way,
    node: &Arc<Backend>,
    names: &Names,
    deadline: Instant,
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
    pipeline.cmd("SREM").arg(names.index()).arg(entry);
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
    deadline: Instant,
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
        let why = UnknownReason::Rollback;
        match engine.recovery.choices.on_unknown {
            OnUnknown::Serve => engine.tell_unknown(server, why),
            // It does not serve on as it is.
            OnUnknown::Flush | OnUnknown::StayOut => {
                engine.recovery.doubt(server.key(), why);
                engine.unready(server);
            }
        }
    }
    if facts.lost_its_notes(&before) {
        engine.lost_notes(server.key());
    }
    Ok(())
}
