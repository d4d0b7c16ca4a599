//! The cluster as one client: a command finds its node, or its nodes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Cmd, FromRedisValue, Value};

use crate::client::args;
use crate::cluster::core::Core;
use crate::cluster::plan::Plan;
use crate::cluster::scatter::{Keys, Piece, Work};
use crate::cluster::{FlusterCluster, parse};
use crate::command::Scatter;
use crate::error::Outcome;
use crate::failure::{Error, ErrorKind};
use crate::node::NodeId;

impl FlusterCluster {
    /// Sends `cmd` to the node of its key, wherever the key stands in it, with failover as
    /// [`run_with_key`](Self::run_with_key) has it.
    ///
    /// `MGET`, `MSET`, `DEL`, `UNLINK`, `EXISTS` and `TOUCH` over several nodes are cut, sent at once and
    /// put together in the order of the call. It is all or nothing for the answer, not for the servers: a
    /// cut `MSET` is not atomic, and when one node fails the error says which keys were done;
    /// [`mget`](Self::mget), [`mset`](Self::mset) and [`del`](Self::del) give a result per key. Commands
    /// about the whole cluster (`DBSIZE`, `FLUSHALL`, `KEYS`, `SCRIPT LOAD`, ...) go to every node, see
    /// [`partial`](Self::partial).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::CrossNode`] for other commands with keys on different nodes, and
    /// [`ErrorKind::Refused`] for commands that no node is the right one for, or that fluster does not
    /// know; both before anything is sent, with the remedy. Else as `run_with_key`.
    ///
    /// # Cancellation
    ///
    /// Safe; the command may still be executed.
    ///
    /// ```no_run
    /// # async fn run(cluster: fluster::FlusterCluster) -> Result<(), fluster::Error> {
    /// let names: Vec<Option<String>> = cluster.run(redis::cmd("MGET").arg(&["a", "b", "c"])).await?;
    /// # Ok(()) }
    /// ```
    pub async fn run<T: FromRedisValue>(&self, cmd: &Cmd) -> Result<T, Error> {
        let (value, node) = self.answer(cmd).await?;
        match node {
            Some(node) => parse(value, &node),
            None => parse(value, &NodeId::from("cluster")),
        }
    }

    /// The raw answer to `cmd`, and who gave it when it was one node.
    pub(crate) async fn answer(&self, cmd: &Cmd) -> Result<(Value, Option<NodeId>), Error> {
        let core = self.core();
        let limit = self.deadline();
        let plan = Plan::of(&core.snapshot.load(), cmd)?;
        match plan {
            Plan::One { at, together } => {
                let key = args(cmd).nth(at).unwrap_or_default();
                let (value, node) = core.route(key, cmd, limit, together).await?;
                Ok((value, Some(node)))
            }
            Plan::Split(scatter) => Ok((core.split(cmd, scatter, limit).await?, None)),
            Plan::Everywhere(gather) => {
                let value = core
                    .everywhere(cmd, gather, limit, self.view.partial)
                    .await?;
                Ok((value, None))
            }
        }
    }

    /// The values of `keys`, one result per key in their order: a node that fails fails its own keys only.
    ///
    /// # Cancellation
    ///
    /// Safe.
    pub async fn mget<K: AsRef<[u8]>, T: FromRedisValue>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Vec<Result<T, Error>> {
        let mut cmd = redis::cmd("MGET");
        for key in keys {
            cmd.arg(key.as_ref());
        }
        let pieces = self
            .core()
            .pieces(&cmd, Scatter::Values { tail: 0 }, self.deadline())
            .await;
        pieces
            .into_iter()
            .map(|piece| piece.and_then(|(value, node)| parse(value, &node)))
            .collect()
    }

    /// Sets each key to its value, one result per key in their order. Not atomic over several nodes.
    ///
    /// # Cancellation
    ///
    /// Safe; what was sent may still be executed.
    pub async fn mset<K: AsRef<[u8]>, V: redis::ToRedisArgs>(
        &self,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Vec<Result<(), Error>> {
        let mut cmd = redis::cmd("MSET");
        for (key, value) in pairs {
            cmd.arg(key.as_ref()).arg(value);
        }
        let pieces = self
            .core()
            .pieces(&cmd, Scatter::Pairs, self.deadline())
            .await;
        pieces
            .into_iter()
            .map(|piece| piece.and_then(|(value, node)| parse(value, &node)))
            .collect()
    }

    /// Deletes `keys`; per key whether it was there, in their order.
    ///
    /// # Cancellation
    ///
    /// Safe; what was sent may still be executed.
    pub async fn del<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Vec<Result<bool, Error>> {
        let mut pipe = redis::Pipeline::new();
        for key in keys {
            pipe.cmd("DEL").arg(key.as_ref());
        }
        // One command per key: a `DEL` of many says only how many there were.
        let results = self.pipeline(&pipe).await;
        let here = NodeId::from("cluster");
        results
            .into_iter()
            .map(|result| result.and_then(|value| parse(value, &here)))
            .collect()
    }
}

impl Core {
    async fn pieces(self: &Arc<Self>, cmd: &Cmd, scatter: Scatter, limit: Duration) -> Vec<Piece> {
        let work = Keys::new(cmd, scatter);
        self.scatter(&work, Instant::now() + limit).await
    }

    async fn split(
        self: &Arc<Self>,
        cmd: &Cmd,
        scatter: Scatter,
        limit: Duration,
    ) -> Result<Value, Error> {
        let work = Keys::new(cmd, scatter);
        let pieces = self.scatter(&work, Instant::now() + limit).await;
        let failed = |piece: &Piece| match piece {
            Err(_) => true,
            Ok((value, _)) => matches!(value, Value::ServerError(_)),
        };
        if pieces.iter().any(failed) {
            return Err(incomplete(&work, &pieces, failed));
        }
        let values = pieces
            .into_iter()
            .filter_map(Result::ok)
            .map(|(value, _)| value);
        Ok(match scatter {
            Scatter::Values { .. } => Value::Array(values.collect()),
            Scatter::Pairs => Value::Okay,
            Scatter::Count => Value::Int(values.fold(0, |sum, value| match value {
                Value::Int(n) => sum + n,
                _ => sum,
            })),
        })
    }
}

/// The error of a cut command: the first failure, and which keys were done all the same.
fn incomplete(work: &Keys<'_>, pieces: &[Piece], failed: impl Fn(&Piece) -> bool) -> Error {
    const SHOWN: usize = 16;
    let mut done: Vec<String> = Vec::new();
    let mut bad = 0;
    let mut cause: Option<Error> = None;
    for (i, piece) in pieces.iter().enumerate() {
        if !failed(piece) {
            if done.len() < SHOWN {
                done.push(work.key(i).escape_ascii().to_string());
            }
            continue;
        }
        bad += 1;
        if cause.is_none() {
            cause = Some(match piece {
                Err(error) => error.clone(),
                Ok((value, node)) => match parse::<Value>(value.clone(), node) {
                    Err(error) => error,
                    Ok(_) => Error::new(ErrorKind::Server, Outcome::Answered, "no answer").at(node),
                },
            });
        }
    }
    let good = pieces.len() - bad;
    let listed = if good > done.len() {
        format!("{}, ...", done.join(", "))
    } else {
        done.join(", ")
    };
    let what = format!(
        "{}: {bad} of {} keys failed; done: {}",
        work.name(),
        pieces.len(),
        if good == 0 { "none".into() } else { listed }
    );
    match cause {
        Some(cause) => cause.wrap(&what),
        None => Error::new(ErrorKind::Server, Outcome::Answered, what),
    }
}
