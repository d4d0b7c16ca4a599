//! Taking a value back, wherever it may be.

use std::sync::Arc;

use futures_util::future::join_all;
use redis::Value;

use crate::backend::Backend;
use crate::backend::journal::Note;
use crate::backend::role::Role;
use crate::cache::Cache;
use crate::clock;
use crate::connection::reply::{Reply, parse};
use crate::connection::request::LaneRequest;
use crate::error::Error;
use crate::node::NodeId;
use crate::replication::unreached::Unreached;

/// Where a value was deleted, and where that could not be done.
#[derive(Clone, Debug, Default)]
#[must_use = "a copy may be left on the nodes that could not be reached"]
pub struct Deletion {
    reached: Vec<(NodeId, bool)>,
    unreached: Vec<(NodeId, Error)>,
}

impl Deletion {
    /// Whether every node that may have a copy was reached. [Example](crate::guide::by_example#a-cache).
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.unreached.is_empty()
    }

    /// Whether any node had a copy. [Example](crate::guide::by_example#a-cache).
    #[must_use]
    pub fn existed(&self) -> bool {
        self.reached.iter().any(|(_, had)| *had)
    }

    /// The nodes that have no copy now. [Example](crate::guide::by_example#a-cache).
    pub fn reached(&self) -> impl ExactSizeIterator<Item = &NodeId> {
        self.reached.iter().map(|(node, _)| node)
    }

    /// The nodes that may still have a copy, and why they could not be reached. A node that is out may
    /// come back with it. [Example](crate::guide::by_example#a-cache).
    #[must_use]
    pub fn unreached(&self) -> &[(NodeId, Error)] {
        &self.unreached
    }
}

impl<V, C> Cache<V, C> {
    /// Deletes the value of `key` on all of its replicas, live or not, and on every node that may have
    /// stood in for one of them. [Example](crate::guide::by_example#a-cache).
    ///
    /// Those are the nodes that would have been a replica while another one was out, as far back as copies
    /// on stand-ins live ([`stand_in_ttl`](crate::cache::CacheBuilder::stand_in_ttl)) and as far as this process
    /// has seen. What could not be reached is in the result, not an error: ask it.
    ///
    /// It ends what this process has under way for the key: whoever computes it now, repairs it, or still writes a
    /// copy of it, writes nothing after this, or takes it back; callers of
    /// [`get_or_compute`](Self::get_or_compute) who come later begin anew. What other processes have under way it
    /// cannot end: [the guide](crate::guide::replication#what-an-invalidation-ends).
    ///
    /// # Cancellation
    ///
    /// Safe; the value may be deleted on any of the nodes.
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Deletion {
        let full = self.full(key.as_ref());
        let mut cmd = redis::cmd("DEL");
        cmd.arg(&full);
        let cluster = &self.inner.cluster;
        let _invalidating = cluster.engine().invalidations().delete(&full);
        let deadline = clock::now() + cluster.deadline();
        let cmd = &cmd;
        let engine = cluster.engine();
        let owed = &self.owed(&full);
        let calls = self.holders(&full).into_iter().map(|backend| async move {
            let request = LaneRequest::settling(cmd);
            let is_owed = owed.iter().any(|note| note.node == *backend.id());
            let reply = if owed.is_empty() || is_owed {
                backend.call(request, deadline).await
            } else {
                let (now, role) = (clock::now(), Role::Owner);
                engine
                    .execute_noted(&backend, now, request, role, owed, deadline)
                    .await
            };
            (backend, reply.map(Reply::into_value))
        });
        let mut unreached = Unreached::new(engine, &full.as_slice().into());
        let mut deletion = Deletion::default();
        for (backend, result) in join_all(calls).await {
            let node = backend.id().clone();
            match result.and_then(|value: Value| parse::<u64>(value, &node)) {
                Ok(count) => {
                    deletion.reached.push((node, count > 0));
                    unreached.is_at(&backend);
                }
                Err(error) => {
                    if !owed.iter().any(|note| note.node == node) {
                        unreached.add(&node);
                    }
                    deletion.unreached.push((node, error));
                }
            }
        }
        // Whoever could not be reached does not bring it back.
        unreached.enter(deadline).await;
        deletion
    }

    /// Every node that may hold a copy. A node that was in use all the time holds back those behind it:
    /// nobody stands in past as many of these as there are replicas.
    fn holders(&self, full: &[u8]) -> Vec<Arc<Backend>> {
        let engine = self.inner.cluster.engine();
        let snapshot = engine.topology();
        let (wanted, now) = (self.inner.replicas, clock::now());
        let (mut holders, mut steady) = (Vec::new(), 0);
        for index in snapshot.table.candidates(full) {
            let backend = &snapshot.nodes[index];
            holders.push(index);
            let was_out = backend
                .stats()
                .returned_within(self.inner.stand_in_ttl, now);
            steady += usize::from(snapshot.live.contains(index) && !was_out);
            if steady == wanted {
                break;
            }
        }
        // Rules that count the live nodes anew may have chosen others.
        for index in snapshot.live_candidates(full).take(wanted) {
            if !holders.contains(&index) {
                holders.push(index);
            }
        }
        let holders = holders.into_iter().map(|i| Arc::clone(&snapshot.nodes[i]));
        holders.collect()
    }

    /// To whom a delete is owed that are out now.
    fn owed(&self, full: &[u8]) -> Vec<Note> {
        let engine = self.inner.cluster.engine();
        let mut notes = Vec::new();
        if engine.recovery.is_on() {
            let snapshot = engine.topology();
            let is_live = |at: usize| snapshot.live.contains(at);
            engine.owe(&snapshot, full, full, is_live, &mut notes);
        }
        notes
    }
}
