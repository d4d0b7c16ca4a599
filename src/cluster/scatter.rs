//! Many pieces of work for many nodes: grouped by node, sent at once, and on to the next candidates.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use redis::Value;

use crate::backend::Backend;
use crate::backend::answer::Answer;
use crate::backend::journal::Note;
use crate::backend::role::Role;
use crate::clock;
use crate::cluster::attempts::Attempts;
use crate::cluster::batch::Batch;
use crate::cluster::engine::{Engine, Snapshot};
use crate::cluster::failover::Heard;
use crate::cluster::merge::Piece;
use crate::cluster::recovery::owing::who_has_it;
use crate::connection::reply::Reply;
use crate::error::{Error, ErrorKind, Outcome};
use crate::tasks::give_way;

impl Engine {
    /// Does all the work; one result per piece. A node that fails fails only its own pieces, and these
    /// go on to their next candidates as the cluster's failover allows.
    pub(crate) async fn scatter(
        self: &Arc<Self>,
        batch: &Batch<'_>,
        deadline: Instant,
    ) -> Vec<Piece> {
        self.scatter_after(None, batch, deadline).await
    }

    /// The same, of which this is what one node said to all of it, where it was asked before.
    pub(crate) async fn scatter_after(
        self: &Arc<Self>,
        mut said: Option<(Arc<Backend>, Result<Reply, Error>)>,
        batch: &Batch<'_>,
        deadline: Instant,
    ) -> Vec<Piece> {
        let mut done: Vec<Option<Piece>> = (0..batch.len()).map(|_| None).collect();
        let mut attempts: Vec<Attempts<Arc<Backend>>> = vec![Attempts::default(); batch.len()];
        let mut waiting: Vec<usize> = (0..batch.len()).collect();
        let mut asked = said.is_some();
        while !waiting.is_empty() {
            let heard = match said.take() {
                Some((backend, reply)) => vec![(backend, std::mem::take(&mut waiting), reply)],
                None => {
                    // Whom it is owed to is said by the snapshot that it is sent by.
                    let noted = self.recovery.is_on().then(|| self.snapshot.load_full());
                    let noted = noted.as_deref();
                    let groups = self.groups(noted, batch, &attempts, &mut waiting, &mut done);
                    let groups = groups.into_iter().map(|(backend, pieces)| {
                        let owed = noted.map(|by| self.owed_by_all(by, batch, &pieces, &attempts));
                        (backend, pieces, owed.unwrap_or_default())
                    });
                    let groups: Vec<_> = groups.collect();
                    asked |= !groups.is_empty();
                    join_all(
                        groups
                            .into_iter()
                            .map(|(backend, pieces, notes)| async move {
                                let outgoing = batch.request(self, &pieces);
                                let role = self.role_of(batch, &pieces, &backend);
                                let (now, request) = (clock::now(), outgoing.request());
                                let reply = match notes.is_empty() {
                                    true => backend.execute(now, request, role, deadline).await,
                                    false => {
                                        let call = self.execute_noted(
                                            &backend, now, request, role, &notes, deadline,
                                        );
                                        Box::pin(call).await
                                    }
                                };
                                (backend, pieces, reply)
                            }),
                    )
                    .await
                }
            };
            for (backend, pieces, reply) in heard {
                let results = results(batch, &backend, &pieces, reply);
                let mut granted = None;
                for (&piece, result) in pieces.iter().zip(results) {
                    let read_only = batch.is_read_only(piece);
                    let target = batch.target(piece);
                    match self.heard_one(target, &backend, read_only, &mut granted, result) {
                        Heard::Done(value) => {
                            done[piece] = Some(Ok(Answer::by(value, Arc::clone(&backend))));
                        }
                        Heard::Failed(error, step) => {
                            let node = Arc::clone(&backend);
                            match attempts[piece].failed(node, error, step, deadline) {
                                Some(error) => done[piece] = Some(Err(error)),
                                None => waiting.push(piece),
                            }
                        }
                    }
                }
            }
            // Pieces of several nodes may meet on the next one: in the order of their commands.
            waiting.sort_unstable();
        }
        if !asked {
            give_way().await;
        }
        done.into_iter()
            .map(|piece| piece.unwrap_or_else(|| Err(self.empty().into())))
            .collect()
    }
}

impl Engine {
    /// The pieces that wait, by the nodes that are to have them now; what no node is left for is done.
    fn groups(
        self: &Arc<Self>,
        noted: Option<&Snapshot>,
        batch: &Batch<'_>,
        attempts: &[Attempts<Arc<Backend>>],
        waiting: &mut Vec<usize>,
        done: &mut [Option<Piece>],
    ) -> Vec<(Arc<Backend>, Vec<usize>)> {
        let mut groups: Vec<(Arc<Backend>, Vec<usize>)> = Vec::new();
        for piece in waiting.drain(..) {
            let attempts = &attempts[piece];
            let next = match noted {
                None => self.next_candidate(batch.target(piece), attempts),
                Some(snapshot) => Self::candidate_in(snapshot, batch.target(piece), attempts),
            };
            let Some(backend) = next else {
                let error = attempts.last_error().cloned();
                self.demand();
                done[piece] = Some(Err(error.unwrap_or_else(|| self.empty().into())));
                continue;
            };
            if let Some(left) = attempts.left() {
                left.meter().failed_over();
            }
            match groups.iter_mut().find(|(b, _)| Arc::ptr_eq(b, &backend)) {
                Some((_, pieces)) => pieces.push(piece),
                None => groups.push((backend, vec![piece])),
            }
        }
        groups
    }

    /// What these pieces owe that go to one node.
    fn owed_by_all(
        &self,
        snapshot: &Snapshot,
        batch: &Batch<'_>,
        pieces: &[usize],
        attempts: &[Attempts<Arc<Backend>>],
    ) -> Vec<Note> {
        let mut notes = Vec::new();
        for &piece in pieces.iter().filter(|piece| !batch.is_read_only(**piece)) {
            let Some(has_it) = who_has_it(snapshot, &attempts[piece]) else {
                continue;
            };
            for key in batch.target(piece).keys() {
                self.owe(snapshot, key, key, has_it, &mut notes);
            }
        }
        notes
    }

    /// What the node is to the keys that these pieces write.
    fn role_of<'a>(&self, batch: &Batch<'a>, pieces: &[usize], backend: &Arc<Backend>) -> Role<'a> {
        let written = pieces.iter().filter(|piece| !batch.is_read_only(**piece));
        let keys = written.flat_map(|piece| batch.target(*piece).keys());
        Role::StandInFor(keys.filter(|key| self.is_stand_in(key, backend)).collect())
    }
}

/// What one node's reply is to each of these pieces.
fn results(
    batch: &Batch<'_>,
    backend: &Backend,
    pieces: &[usize],
    reply: Result<Reply, Error>,
) -> Vec<Result<Value, Error>> {
    let error = match reply {
        Ok(Reply::Aborted(e)) => Error::answered(backend.id(), e),
        Ok(reply) => {
            let mut results: Vec<_> = batch.answers(pieces, reply).into_iter().map(Ok).collect();
            // Never seen; a value made up here would be a wrong answer.
            let short = "the server did not answer every command of a pipeline";
            results.resize_with(pieces.len(), || {
                let outcome = Outcome::MaybeExecuted;
                Err(Error::new(ErrorKind::ConnectionLost, outcome, short).at(backend.id()))
            });
            return results;
        }
        Err(error) => error,
    };
    pieces.iter().map(|_| Err(error.clone())).collect()
}
