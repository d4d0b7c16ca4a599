//! Filling what is missing on a node that came back without its data.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use redis::{Cmd, Pipeline, Value};

use crate::backend::{Backend, Unheard};
use crate::clock;
use crate::cluster::Engine;
use crate::cluster::invalidation::UnderWay;
use crate::connection::args::args;
use crate::connection::reply::Reply;
use crate::connection::request::LaneRequest;
use crate::replication::{LONGEST_TTL, Replicas, TakeBack};

/// When a missing value is filled from another replica.
///
/// Only a node that came into use less than `window` ago is doubted: everybody else's "no such key" is
/// believed, so that a miss costs one read. A doubted miss is asked of the next replica, and what that one
/// has is put on the first with `SET .. NX` and the same remaining time to live; the read does not wait for
/// it. Only plain `GET`s of the replicas' own key are repaired, a thousand a second at most.
///
/// A repair that began before this process wrote or deleted the key, by a [`Cache`](crate::cache::Cache) or by
/// [`Replicas::write`], writes nothing after it, or takes back what it wrote. A delete by another process at the same
/// moment can be undone by a repair until the copy's time to live ends.
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
    /// Doubts nodes for this long after they came back. [Example](crate::guide::by_example#replicas).
    #[must_use]
    pub fn within(window: Duration) -> Self {
        Self { window }
    }
}

impl Replicas {
    /// Whether this replica's "no such key" is worth a second question.
    pub(super) fn is_doubted(&self, index: usize) -> bool {
        self.repair.is_some_and(|repair| {
            let stats = self.members[index].backend.stats();
            stats.returned_within(Some(repair.window), clock::now())
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
        let engine = self.cluster.engine();
        for &index in missing {
            if !engine.may_repair(clock::now()) {
                return;
            }
            let limits = [engine.limits().stand_in_ttl, self.stand_in_ttl];
            let cap = limits.into_iter().flatten().min();
            let copy = Copy {
                from: Arc::clone(&self.members[has].backend),
                to: Arc::clone(&self.members[index].backend),
                cap: cap.filter(|_| self.members[index].stand_in),
                work: Arc::new(engine.invalidations().begin(key)),
                engine: Arc::downgrade(engine),
                deadline: clock::now() + engine.limits().deadline,
            };
            // A closed cluster has nothing to repair.
            let _ = engine.tasks().spawn(async move {
                if copy.run().await {
                    metrics::counter!("fluster_read_repairs_total", copy.to.labels()).increment(1);
                }
            });
        }
    }
}

/// One value on its way from one replica to another.
struct Copy {
    from: Arc<Backend>,
    to: Arc<Backend>,
    /// The longest life of the copy.
    cap: Option<Duration>,
    /// Began before the value was read.
    work: Arc<UnderWay>,
    engine: Weak<Engine>,
    deadline: Instant,
}

impl Copy {
    /// Puts the value where there is none, with the time it has left; whether it was put there.
    async fn run(&self) -> bool {
        let key = self.work.key();
        // Both at one moment: a value must not get the time of its successor.
        let mut both = Pipeline::new();
        both.atomic().cmd("GET").arg(&**key).cmd("PTTL").arg(&**key);
        let request = LaneRequest::all_ours(&both);
        let reply = self.from.call(request, self.deadline).await;
        if !self.from.hear(Unheard::Repair, 1, &reply) {
            return false;
        }
        let Some(Value::Array(pair)) = reply.map(Reply::into_values).unwrap_or_default().pop()
        else {
            return false;
        };
        let [Value::BulkString(value), Value::Int(left)] = pair.as_slice() else {
            return false;
        };
        let Some(ttl) = life(*left, self.cap) else {
            return false;
        };
        let mut set = redis::cmd("SET");
        set.arg(&**key).arg(value).arg("NX");
        if let Some(ms) = ttl {
            set.arg("PX").arg(ms);
        }
        self.put(&Arc::new(set)).await
    }

    async fn put(&self, set: &Arc<Cmd>) -> bool {
        let guard = match self.engine.upgrade() {
            // What it read is old by now.
            _ if self.work.is_overtaken() => return false,
            None => return false,
            Some(engine) => {
                let to = Arc::clone(&self.to);
                TakeBack::new(&engine, Arc::clone(&self.work), set, [to])
            }
        };
        let done = self.to.call(LaneRequest::ours(set), self.deadline).await;
        let worked = self.to.hear(Unheard::Repair, 1, &done);
        let wrote = done.is_ok_and(|reply| reply.into_value() == Value::Okay);
        if worked && !wrote {
            // There was a value, and it stays.
            guard.disarm();
        }
        wrote
    }
}

/// The life of a copy in milliseconds, for a value with so much left (-1: for ever; then so is the copy, `None`)
/// and a cap; nothing for a value that is about to end.
fn life(left: i64, cap: Option<Duration>) -> Option<Option<u64>> {
    let cap = cap.map(|cap| u64::try_from(cap.as_millis()).unwrap_or(u64::MAX).max(1));
    let left = match left {
        -1 => return Some(cap),
        left => u64::try_from(left).ok().filter(|left| *left > 0)?,
    };
    // A server refuses what overflows its clock, and then nothing would be repaired.
    let longest = LONGEST_TTL.as_millis() as u64;
    Some(Some(left.min(cap.unwrap_or(u64::MAX)).min(longest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_lives_as_long_as_its_value_and_a_stand_ins_no_longer_than_its_cap() {
        let cap = Some(Duration::from_secs(60));
        assert_eq!(life(-1, None), Some(None));
        assert_eq!(life(-1, cap), Some(Some(60_000)));
        assert_eq!(life(5, None), Some(Some(5)));
        assert_eq!(life(5, cap), Some(Some(5)));
        assert_eq!(life(100_000, cap), Some(Some(60_000)));
        assert_eq!(life(0, None), None, "about to end");
        assert_eq!(life(-2, cap), None, "it is gone");
        assert_eq!(life(i64::MIN, cap), None);
        let longest = LONGEST_TTL.as_millis() as u64;
        assert_eq!(life(i64::MAX, None), Some(Some(longest)));
    }
}
