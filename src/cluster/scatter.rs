//! Many pieces of work for many nodes: grouped by node, sent at once, and on to the next candidates.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use redis::{Pipeline, Value};

use crate::backend::Backend;
use crate::backend::standin::caps;
use crate::cluster::batch::Batch;
use crate::cluster::core::Core;
use crate::cluster::failover::Next;
use crate::cluster::merge::Piece;
use crate::connection::reply::Reply;
use crate::error::{Error, ErrorKind, Outcome};

/// What is known of a piece that has no result yet.
#[derive(Clone, Default)]
struct Attempts {
    tried: Vec<u64>,
    /// How the last one failed, and on which node.
    last: Option<(Error, Arc<Backend>)>,
}

impl Core {
    /// Does all the work; one result per piece. A node that fails fails only its own pieces, and these
    /// go on to their next candidates as the cluster's failover allows.
    pub(crate) async fn scatter(
        self: &Arc<Self>,
        batch: &Batch<'_>,
        deadline: Instant,
    ) -> Vec<Piece> {
        let mut done: Vec<Option<Piece>> = (0..batch.len()).map(|_| None).collect();
        let mut attempts: Vec<Attempts> = vec![Attempts::default(); batch.len()];
        let mut waiting: Vec<usize> = (0..batch.len()).collect();
        while !waiting.is_empty() {
            let mut groups: Vec<(Arc<Backend>, Vec<usize>)> = Vec::new();
            for piece in waiting.drain(..) {
                let Attempts { tried, last } = &mut attempts[piece];
                let next = self.next_candidate(batch.target(piece), tried);
                match (next, last.take()) {
                    (Some(backend), last) => {
                        if let Some((_, left)) = last {
                            left.meter().failed_over();
                        }
                        match groups.iter_mut().find(|(b, _)| Arc::ptr_eq(b, &backend)) {
                            Some((_, pieces)) => pieces.push(piece),
                            None => groups.push((backend, vec![piece])),
                        }
                    }
                    (None, Some((error, _))) => done[piece] = Some(Err(error)),
                    (None, None) => done[piece] = Some(Err(self.empty().into())),
                }
            }
            let sent = groups.into_iter().map(|(backend, pieces)| async move {
                let outgoing = batch.request(self, &pieces);
                let caps = self.caps_of(batch, &pieces, &backend);
                let request = outgoing.request();
                let reply = backend
                    .call_with(Instant::now(), request, deadline, caps)
                    .await;
                (backend, pieces, reply)
            });
            for (backend, pieces, reply) in join_all(sent).await {
                let results = results(batch, &backend, &pieces, reply);
                let mut granted = None;
                for (&piece, result) in pieces.iter().zip(results) {
                    let read_only = batch.is_read_only(piece);
                    match self.judge_one(&backend, read_only, &mut granted, result) {
                        Next::Done(value) => {
                            done[piece] = Some(Ok((value, backend.id().clone())));
                        }
                        Next::Another(error) if Instant::now() < deadline => {
                            let attempts = &mut attempts[piece];
                            attempts.tried.push(backend.key());
                            attempts.last = Some((error, Arc::clone(&backend)));
                            waiting.push(piece);
                        }
                        Next::Another(error) | Next::Failed(error) => {
                            done[piece] = Some(Err(error))
                        }
                    }
                }
            }
            // Pieces of several nodes may meet on the next one: in the order of their commands.
            waiting.sort_unstable();
        }
        done.into_iter()
            .map(|piece| piece.unwrap_or_else(|| Err(self.empty().into())))
            .collect()
    }
}

impl Core {
    /// What limits the life of those pieces that the node is given as a stand-in.
    fn caps_of(
        &self,
        batch: &Batch<'_>,
        pieces: &[usize],
        backend: &Arc<Backend>,
    ) -> Option<Pipeline> {
        let ttl = self.limits.standin_ttl?;
        let written = pieces.iter().filter(|piece| !batch.is_read_only(**piece));
        let keys = written.flat_map(|piece| batch.target(*piece).keys());
        caps(keys.filter(|key| self.stands_in(key, backend)), ttl)
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
