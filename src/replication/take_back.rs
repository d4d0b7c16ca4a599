//! Taking back what was written after an invalidation had overtaken it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use redis::{Cmd, Value};
use tokio::runtime::Handle;

use crate::backend::{Backend, Unheard};
use crate::clock;
use crate::cluster::Engine;
use crate::cluster::invalidation::UnderWay;
use crate::connection::args::args;
use crate::connection::reply::Reply;
use crate::connection::request::LaneRequest;
use crate::tasks::Tasks;

/// Deletes a key while it holds this very value: what came after it is not taken back.
const IF_SAME: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

/// Looks again behind a write: each one that is dropped takes the value back where the write was overtaken.
///
/// A look before the write is not enough, since sending it takes time; and the look behind it must not live in
/// the future that writes, which may be dropped at any moment. So it is a guard, and the commands are sent by a
/// task of the cluster. What a server executes later still, from a socket that nobody waits for any more, is
/// beyond it.
#[derive(Clone)]
pub(crate) struct TakeBack {
    work: Arc<UnderWay>,
    /// The `SET` with the value.
    set: Arc<Cmd>,
    nodes: Arc<[Arc<Backend>]>,
    tasks: Arc<Tasks>,
    /// Where to send from: a future may be dropped outside of every runtime.
    runtime: Option<Handle>,
    limit: Duration,
    is_armed: bool,
}

impl TakeBack {
    /// Before `set` is sent to `nodes`.
    pub(crate) fn new(
        engine: &Engine,
        work: Arc<UnderWay>,
        set: &Arc<Cmd>,
        nodes: impl IntoIterator<Item = Arc<Backend>>,
    ) -> Self {
        Self {
            work,
            set: Arc::clone(set),
            nodes: nodes.into_iter().collect(),
            tasks: Arc::clone(engine.tasks()),
            runtime: engine.tasks().runtime(),
            limit: engine.limits().deadline,
            is_armed: true,
        }
    }

    /// Nothing was written.
    pub(crate) fn disarm(mut self) {
        self.is_armed = false;
    }
}

impl Drop for TakeBack {
    fn drop(&mut self) {
        if !self.is_armed || !self.work.is_overtaken() {
            return;
        }
        let (work, set) = (Arc::clone(&self.work), Arc::clone(&self.set));
        let (nodes, limit) = (Arc::clone(&self.nodes), self.limit);
        let _runtime = self.runtime.as_ref().map(Handle::enter);
        // A closed cluster has no connection to send it over.
        let _ = self.tasks.spawn(async move {
            let deadline = clock::now() + limit;
            let value = args(&set).nth(2).unwrap_or_default();
            let all = nodes
                .iter()
                .map(|node| remove(node, work.key(), value, deadline));
            join_all(all).await;
        });
    }
}

/// Deletes the key on one node while it holds `value`; where scripts are forbidden, whatever it holds: a miss
/// is better than an old value.
async fn remove(node: &Arc<Backend>, key: &[u8], value: &[u8], deadline: Instant) {
    let mut eval = redis::cmd("EVAL");
    eval.arg(IF_SAME).arg(1).arg(key).arg(value);
    let mut reply = node.call(LaneRequest::settling(&eval), deadline).await;
    if matches!(reply, Ok(Reply::One(Value::ServerError(_)))) {
        let mut del = redis::cmd("DEL");
        del.arg(key);
        reply = node.call(LaneRequest::settling(&del), deadline).await;
    }
    if node.hear(Unheard::Removal, 1, &reply) && matches!(reply, Ok(Reply::One(Value::Int(1..)))) {
        metrics::counter!("fluster_removals_total", node.labels()).increment(1);
    }
}
