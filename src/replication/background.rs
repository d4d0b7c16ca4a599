//! Requests that nobody waits for any more.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use redis::{Cmd, Value};

use crate::backend::Unheard;
use crate::backend::journal::Note;
use crate::clock;
use crate::cluster::Engine;
use crate::connection::reply::Reply;
use crate::connection::request::LaneRequest;
use crate::error::Error;
use crate::replication::ReplicaMember;
use crate::replication::unreached::Unreached;

/// Requests to several replicas, each with the index of its node.
pub(super) type Running = FuturesUnordered<BoxFuture<'static, (usize, Result<Value, Error>)>>;

/// One command, which was checked, to one replica. It owns what it needs, so that it can outlive the call.
pub(super) fn send_write(
    engine: &Arc<Engine>,
    index: usize,
    member: &ReplicaMember,
    cmd: &Arc<Cmd>,
    owed: &Arc<[Note]>,
    deadline: Instant,
) -> BoxFuture<'static, (usize, Result<Value, Error>)> {
    if owed.is_empty() {
        return send(index, member, cmd, deadline);
    }
    let (engine, member) = (Arc::clone(engine), member.clone());
    let (cmd, owed) = (Arc::clone(cmd), Arc::clone(owed));
    Box::pin(async move {
        let (now, request) = (clock::now(), LaneRequest::ours(&cmd));
        let role = member.role();
        let call = engine.execute_noted(&member.backend, now, request, role, &owed, deadline);
        (index, call.await.map(Reply::into_value))
    })
}

/// The same without notes.
pub(super) fn send(
    index: usize,
    member: &ReplicaMember,
    cmd: &Arc<Cmd>,
    deadline: Instant,
) -> BoxFuture<'static, (usize, Result<Value, Error>)> {
    let (member, cmd) = (member.clone(), Arc::clone(cmd));
    Box::pin(async move {
        let request = LaneRequest::ours(&cmd);
        let reply = member
            .backend
            .execute(clock::now(), request, member.role(), deadline)
            .await;
        (index, reply.map(Reply::into_value))
    })
}

/// Lets reads run to their own deadlines: one that lost a race still tells its node's health whether the
/// node answers.
pub(super) fn leave(engine: &Engine, mut running: Running) {
    if running.is_empty() {
        return;
    }
    let rest = async move { while running.next().await.is_some() {} };
    // A closed cluster ends them here: its connections are gone as well.
    let _ = engine.tasks().spawn(rest);
}

/// Lets the writes of a quorum that was met run to their own deadlines on the other replicas. What becomes of
/// them there is counted: a replica that refuses them all has copies that differ. `held` is dropped behind the
/// last of them.
pub(super) fn leave_writes(
    engine: &Engine,
    members: &[ReplicaMember],
    mut running: Running,
    held: impl Send + 'static,
    mut unreached: Unreached,
) {
    if running.is_empty() {
        return;
    }
    let backends: Vec<_> = members.iter().map(|m| Arc::clone(&m.backend)).collect();
    let rest = async move {
        while let Some((index, result)) = running.next().await {
            if !backends[index].hear(Unheard::Write, 1, &result.map(Reply::One)) {
                unreached.add(backends[index].id());
            }
        }
        // What they are owed is entered where the write is.
        drop(unreached);
        drop(held);
    };
    // A closed cluster ends them here: its connections are gone as well.
    let _ = engine.tasks().spawn(rest);
}
