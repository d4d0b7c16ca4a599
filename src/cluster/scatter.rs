//! Many pieces of work for many nodes: grouped by node, sent at once, and on to the next candidates.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use redis::{Cmd, Pipeline, Value};

use crate::backend::Backend;
use crate::client::{args, many, one};
use crate::cluster::core::Core;
use crate::cluster::failover::Next;
use crate::command::{self, Scatter};
use crate::failure::Error;
use crate::link::{Reply, Request};
use crate::node::NodeId;

/// Pieces of work, each with a key of its own; pieces of one node travel together.
pub(crate) trait Work: Sync {
    fn len(&self) -> usize;
    fn key(&self, piece: usize) -> &[u8];
    /// Whether sending the piece twice changes nothing.
    fn is_read_only(&self, piece: usize) -> bool;
    /// What is sent to one node for these pieces.
    fn request(&self, pieces: &[usize]) -> Outgoing;
    /// The answer, taken apart again.
    fn answers(&self, pieces: &[usize], reply: Reply) -> Vec<Value>;
}

/// A request that owns what it sends.
pub(crate) enum Outgoing {
    One(Cmd),
    Many(Pipeline),
}

impl Outgoing {
    pub(crate) fn request(&self) -> Request<'_> {
        match self {
            Self::One(cmd) => Request::One(cmd),
            Self::Many(pipeline) => Request::Many {
                pipeline,
                offset: 0,
                count: pipeline.len(),
            },
        }
    }
}

/// The result of one piece: its answer, which may be an error reply, and who gave it.
pub(crate) type Piece = Result<(Value, NodeId), Error>;

impl Core {
    /// Does all the work; one result per piece. A node that fails fails only its own pieces, and these
    /// go on to their next candidates as the cluster's failover allows.
    pub(crate) async fn scatter(
        self: &Arc<Self>,
        work: &impl Work,
        deadline: Instant,
    ) -> Vec<Piece> {
        let mut done: Vec<Option<Piece>> = (0..work.len()).map(|_| None).collect();
        let mut tried: Vec<Vec<u64>> = vec![Vec::new(); work.len()];
        let mut last: Vec<Option<Error>> = vec![None; work.len()];
        let mut waiting: Vec<usize> = (0..work.len()).collect();
        while !waiting.is_empty() {
            let mut groups: Vec<(Arc<Backend>, Vec<usize>)> = Vec::new();
            for piece in waiting.drain(..) {
                match self.next_candidate(work.key(piece), &tried[piece]) {
                    Some(backend) => {
                        match groups.iter_mut().find(|(b, _)| Arc::ptr_eq(b, &backend)) {
                            Some((_, pieces)) => pieces.push(piece),
                            None => groups.push((backend, vec![piece])),
                        }
                    }
                    None => {
                        let error = last[piece].take().unwrap_or_else(|| self.empty().into());
                        done[piece] = Some(Err(error));
                    }
                }
            }
            let sent = groups.into_iter().map(|(backend, pieces)| async move {
                let outgoing = work.request(&pieces);
                let reply = backend.call(outgoing.request(), deadline).await;
                (backend, pieces, reply)
            });
            for (backend, pieces, reply) in join_all(sent).await {
                let results: Vec<Result<Value, Error>> = match reply {
                    Ok(reply) => work.answers(&pieces, reply).into_iter().map(Ok).collect(),
                    Err(error) => pieces.iter().map(|_| Err(error.clone())).collect(),
                };
                for (&piece, result) in pieces.iter().zip(results) {
                    match self.judge_one(&backend, work.is_read_only(piece), result) {
                        Next::Done(value, node) => done[piece] = Some(Ok((value, node))),
                        Next::Another(error) if Instant::now() < deadline => {
                            backend.meter().failed_over();
                            tried[piece].push(backend.key());
                            last[piece] = Some(error);
                            waiting.push(piece);
                        }
                        Next::Another(error) | Next::Failed(error) => {
                            done[piece] = Some(Err(error))
                        }
                    }
                }
            }
        }
        done.into_iter()
            .map(|piece| piece.unwrap_or_else(|| Err(self.empty().into())))
            .collect()
    }
}

/// The keys of one command, cut by node.
pub(crate) struct Keys<'a> {
    words: Vec<&'a [u8]>,
    scatter: Scatter,
    read_only: bool,
}

impl<'a> Keys<'a> {
    pub(crate) fn new(cmd: &'a Cmd, scatter: Scatter) -> Self {
        Self {
            words: args(cmd).collect(),
            scatter,
            read_only: command::is_read_only(args(cmd)),
        }
    }

    fn at(&self, piece: usize) -> usize {
        1 + piece * self.scatter.stride()
    }

    pub(crate) fn name(&self) -> String {
        String::from_utf8_lossy(self.words[0]).to_uppercase()
    }
}

impl Work for Keys<'_> {
    fn len(&self) -> usize {
        (self.words.len() - 1 - self.scatter.tail()) / self.scatter.stride()
    }

    fn key(&self, piece: usize) -> &[u8] {
        self.words[self.at(piece)]
    }

    fn is_read_only(&self, _: usize) -> bool {
        self.read_only
    }

    fn request(&self, pieces: &[usize]) -> Outgoing {
        let mut cmd = Cmd::new();
        cmd.arg(self.words[0]);
        for &piece in pieces {
            for word in &self.words[self.at(piece)..][..self.scatter.stride()] {
                cmd.arg(*word);
            }
        }
        for word in &self.words[self.words.len() - self.scatter.tail()..] {
            cmd.arg(*word);
        }
        Outgoing::One(cmd)
    }

    fn answers(&self, pieces: &[usize], reply: Reply) -> Vec<Value> {
        match (self.scatter, one(reply)) {
            (Scatter::Values { .. }, Value::Array(values)) if values.len() == pieces.len() => {
                values
            }
            // The number of all stands for the first, so that the sum is right.
            (Scatter::Count, Value::Int(n)) => (0..pieces.len())
                .map(|i| Value::Int(if i == 0 { n } else { 0 }))
                .collect(),
            // `OK`, or an error reply, is said to each.
            (_, value) => vec![value; pieces.len()],
        }
    }
}

/// The commands of a pipeline that have one key each.
pub(crate) struct Commands<'a> {
    /// The command, and the position of the word that decides its node.
    pub(crate) commands: Vec<(&'a Cmd, usize)>,
}

impl Work for Commands<'_> {
    fn len(&self) -> usize {
        self.commands.len()
    }

    fn key(&self, piece: usize) -> &[u8] {
        let (cmd, at) = self.commands[piece];
        args(cmd).nth(at).unwrap_or_default()
    }

    fn is_read_only(&self, piece: usize) -> bool {
        command::is_read_only(args(self.commands[piece].0))
    }

    fn request(&self, pieces: &[usize]) -> Outgoing {
        let mut pipeline = Pipeline::with_capacity(pieces.len());
        for &piece in pieces {
            pipeline.add_command(self.commands[piece].0.clone());
        }
        Outgoing::Many(pipeline)
    }

    fn answers(&self, pieces: &[usize], reply: Reply) -> Vec<Value> {
        let mut values = many(reply);
        values.resize(pieces.len(), Value::Nil);
        values
    }
}
