//! Filling what is missing on a node that came back without its data.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Cmd, Pipeline, Value};

use crate::backend::{Backend, Unheard};
use crate::connection::args::args;
use crate::connection::reply::{many, one};
use crate::connection::request::Request;
use crate::replication::Replicas;

/// When a missing value is filled from another replica.
///
/// Only a node that came into use less than `window` ago is doubted: everybody else's "no such key" is
/// believed, so that a miss costs one read. A doubted miss is asked of the next replica, and what that one
/// has is put on the first with `SET .. NX` and the same remaining time to live; the read does not wait for
/// it. Only plain `GET`s of the replicas' own key are repaired, a thousand a second at most.
///
/// A delete that runs at the same moment can be undone by a repair until the copy's time to live ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadRepair {
    /// How long a node that came back, or was added, is doubted. Default: 10 minutes.
    pub window: Duration,
}

impl Default for ReadRepair {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(600),
        }
    }
}

impl ReadRepair {
    /// Doubts nodes for this long after they came back.
    #[must_use]
    pub fn within(window: Duration) -> Self {
        Self { window }
    }
}

impl Replicas {
    /// Whether this replica's "no such key" is worth a second question.
    pub(super) fn is_doubted(&self, index: usize) -> bool {
        self.repair.is_some_and(|repair| {
            let vitals = self.members[index].backend.vitals();
            vitals.returned_within(Some(repair.window), Instant::now())
        })
    }

    /// Copies the key from the replica that has it to those that do not, in the background.
    pub(super) fn fill(&self, cmd: &Cmd, missing: &[usize], has: usize) {
        let words: Vec<&[u8]> = args(cmd).take(3).collect();
        let [name, key] = words.as_slice() else {
            return;
        };
        if !name.eq_ignore_ascii_case(b"GET") || *key != self.key() {
            return;
        }
        let core = self.cluster.core();
        for &index in missing {
            if !core.repairs.lock().take(Instant::now()) {
                return;
            }
            let from = Arc::clone(&self.members[has].backend);
            let to = Arc::clone(&self.members[index].backend);
            let key = Arc::clone(&self.key);
            let limit = core.limits.deadline;
            // A closed cluster has nothing to repair.
            let _ = core.tasks.spawn(async move {
                if copy(&from, &to, &key, limit).await {
                    metrics::counter!("fluster_read_repairs_total", "node" => to.id().to_string())
                        .increment(1);
                }
            });
        }
    }
}

/// Puts the value where there is none, with the time it has left; whether it was put there.
async fn copy(from: &Arc<Backend>, to: &Arc<Backend>, key: &[u8], limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    // Both at one moment: a value must not get the time of its successor.
    let mut both = Pipeline::new();
    both.atomic().cmd("GET").arg(key).cmd("PTTL").arg(key);
    let request = Request::Many {
        pipeline: &both,
        offset: both.len() + 1,
        count: 1,
    };
    let reply = from.call(request, deadline).await;
    if !from.hear(Unheard::Repair, 1, &reply) {
        return false;
    }
    let Some(Value::Array(pair)) = reply.map(many).unwrap_or_default().pop() else {
        return false;
    };
    let [Value::BulkString(value), Value::Int(ttl)] = pair.as_slice() else {
        return false;
    };
    let mut set = redis::cmd("SET");
    set.arg(key).arg(value).arg("NX");
    match *ttl {
        -1 => {}
        ttl @ 1.. => {
            set.arg("PX").arg(ttl);
        }
        // It is about to end.
        _ => return false,
    }
    let done = to.call(Request::One(&set), deadline).await;
    to.hear(Unheard::Repair, 1, &done) && done.is_ok_and(|reply| one(reply) == Value::Okay)
}
