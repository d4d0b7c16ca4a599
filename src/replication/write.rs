//! A write to all replicas at once.

use std::sync::Arc;

use futures_util::stream::StreamExt as _;
use redis::{Cmd, Value};

use crate::clock;
use crate::cluster::Engine;
use crate::connection::labels::labels;
use crate::connection::reply::parse;
use crate::connection::request::{LaneRequest, Request};
use crate::replication::background::{Running, leave_writes, send_write};
use crate::replication::unreached::Unreached;
use crate::replication::{Acks, Quorum, QuorumError, ReplicaMember, Replicas, refused};

impl Replicas {
    /// Sends `cmd` to all replicas at once and returns as soon as `quorum` of them have acknowledged it. [Example](crate::guide::by_example#replicas).
    ///
    /// The others go on in the background, until the call's deadline or the cluster's shutdown. An error
    /// reply is no acknowledgement; every other reply is one, so a `SET .. NX` that found the key counts.
    /// No replica takes the place of one that fails during the call.
    ///
    /// # Errors
    ///
    /// When the quorum cannot be met. With too few live replicas that is known before anything is sent,
    /// and nothing is. Otherwise every replica's answer is waited for, so that the error is complete.
    ///
    /// # Cancellation
    ///
    /// Safe; the write may be executed on any of the replicas.
    pub async fn write(&self, cmd: &Cmd, quorum: Quorum) -> Result<Acks, QuorumError> {
        let cmd = Arc::new(cmd.clone());
        let engine = self.cluster.engine();
        let _invalidating = engine.invalidations().delete(self.key());
        self.write_each(quorum, |_| Arc::clone(&cmd), ()).await
    }

    /// [`write`](Self::write) with a command of its own for each replica; `held` is dropped when the last of
    /// them has ended.
    pub(crate) async fn write_each(
        &self,
        quorum: Quorum,
        command: impl Fn(&ReplicaMember) -> Arc<Cmd>,
        held: impl Send + 'static,
    ) -> Result<Acks, QuorumError> {
        let (engine, requested) = (self.cluster.engine(), self.requested);
        let mut acks = Acks {
            requested,
            ..Acks::default()
        };
        let fail = |needed, error| QuorumError {
            needed,
            acks: Acks {
                requested,
                ..Acks::default()
            },
            refused: Some(error),
        };
        let Some(needed) = quorum.of(requested) else {
            let text = format!(
                "a quorum of {quorum} of {requested} replicas can never be met: use 1 to {requested}"
            );
            return Err(fail(0, refused(text)));
        };
        if self.members.len() < needed {
            return Err(fail(needed, self.too_few(needed)));
        }
        let deadline = clock::now() + self.cluster.deadline();
        let mut running = Running::new();
        for (index, member) in self.members.iter().enumerate() {
            let cmd = command(member);
            if let Err(error) = LaneRequest::check(Request::One(&cmd)) {
                return Err(fail(needed, error));
            }
            running.push(send_write(
                engine, index, member, &cmd, &self.owed, deadline,
            ));
        }
        let mut open: Vec<bool> = vec![true; self.members.len()];
        let mut unreached = Unreached::new(engine, &self.key);
        while let Some((index, result)) = running.next().await {
            open[index] = false;
            let node = self.members[index].backend.id();
            // An error reply says that the write did not happen.
            match result.and_then(|value| parse::<Value>(value, node)) {
                Ok(value) => {
                    acks.acked.push((node.clone(), value));
                    unreached.is_at(&self.members[index].backend);
                }
                Err(error) => {
                    acks.failed.push((node.clone(), error));
                    unreached.add(node);
                }
            }
            if acks.acked.len() >= needed {
                let rest = self.nodes().zip(&open).filter(|(_, open)| **open);
                acks.pending = rest.map(|(node, _)| node.clone()).collect();
                count(engine, "ok");
                unreached.enter(deadline).await;
                leave_writes(engine, &self.members, running, held, unreached);
                return Ok(acks);
            }
        }
        count(engine, "failed");
        engine.demand();
        Err(QuorumError {
            needed,
            acks,
            refused: None,
        })
    }
}

/// What became of a replicated write.
fn count(engine: &Engine, result: &str) {
    let labels = labels(&engine.limits().cluster, [("result", result.to_owned())]);
    metrics::counter!("fluster_replicated_writes_total", labels).increment(1);
}
