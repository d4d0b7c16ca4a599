//! Pipelines over several nodes.

use std::time::Instant;

use redis::{Cmd, Pipeline, Value};

use crate::client::{args, many, refusal_on_lane};
use crate::cluster::FlusterCluster;
use crate::cluster::parse;
use crate::cluster::plan::{Plan, cross_node};
use crate::cluster::scatter::Commands;
use crate::error::Outcome;
use crate::failure::{Error, ErrorKind};
use crate::link::{Reply, Request};
use crate::node::NodeId;

impl FlusterCluster {
    /// Sends the commands of `pipe`, each to its own node, all nodes at once; one result per command, in
    /// the order of the pipeline.
    ///
    /// A node that fails fails only its own commands, and those go on to their next candidates as
    /// [`Failover`](crate::Failover) allows. Commands of one node keep their order; commands of different
    /// nodes have none. `ignore()` on a command has no effect here. A pipeline that is `atomic()` works when
    /// all its keys are on one node; over several it fails as a whole, before anything is sent, and the one
    /// result says so.
    ///
    /// # Cancellation
    ///
    /// Safe; what was sent may still be executed.
    ///
    /// ```no_run
    /// # async fn run(cluster: fluster::FlusterCluster) {
    /// let mut pipe = redis::pipe();
    /// pipe.incr("a", 1).incr("b", 1);
    /// for result in cluster.pipeline(&pipe).await {
    ///     println!("{result:?}");
    /// }
    /// # }
    /// ```
    pub async fn pipeline(&self, pipe: &Pipeline) -> Vec<Result<Value, Error>> {
        if pipe.is_transaction() {
            return match self.transaction(pipe, pipe.len() + 1, 1).await {
                Ok(values) => match values.into_iter().next() {
                    Some(Value::Array(values)) => values.into_iter().map(answered).collect(),
                    other => vec![Ok(other.unwrap_or(Value::Nil))],
                },
                Err(error) => vec![Err(error)],
            };
        }
        let raw = self.each(pipe).await;
        raw.into_iter()
            .map(|result| result.and_then(answered))
            .collect()
    }

    /// One raw answer per command; an error reply is a value here.
    pub(crate) async fn each(&self, pipe: &Pipeline) -> Vec<Result<Value, Error>> {
        let core = self.core();
        let deadline = Instant::now() + self.deadline();
        let plans: Vec<_> = {
            let snapshot = core.snapshot.load();
            pipe.cmd_iter()
                .map(|cmd| Plan::of(&snapshot, cmd))
                .collect()
        };
        let mut results: Vec<Option<Result<Value, Error>>> = Vec::with_capacity(plans.len());
        let mut simple = Commands {
            commands: Vec::new(),
        };
        let mut places = Vec::new();
        let mut others: Vec<(usize, &Cmd)> = Vec::new();
        for (i, (cmd, plan)) in pipe.cmd_iter().zip(plans).enumerate() {
            results.push(None);
            match plan {
                Ok(Plan::One {
                    at,
                    together: false,
                }) => {
                    simple.commands.push((cmd, at));
                    places.push(i);
                }
                Ok(_) => others.push((i, cmd)),
                Err(error) => results[i] = Some(Err(error)),
            }
        }
        let whole = futures_util::future::join_all(
            others
                .iter()
                .map(|(_, cmd)| async { self.answer(cmd).await.map(|(value, _)| value) }),
        );
        let (pieces, whole) = tokio::join!(core.scatter(&simple, deadline), whole);
        for (place, piece) in places.into_iter().zip(pieces) {
            results[place] = Some(piece.map(|(value, _)| value));
        }
        for ((place, _), result) in others.into_iter().zip(whole) {
            results[place] = Some(result);
        }
        let lost = || {
            Error::new(
                ErrorKind::Timeout,
                Outcome::NotSent,
                "the command had no turn",
            )
        };
        results
            .into_iter()
            .map(|result| result.unwrap_or_else(|| Err(lost())))
            .collect()
    }

    /// An atomic pipeline, which must be one node's.
    pub(crate) async fn transaction(
        &self,
        pipe: &Pipeline,
        offset: usize,
        count: usize,
    ) -> Result<Vec<Value>, Error> {
        let core = self.core();
        let request = Request::Many {
            pipeline: pipe,
            offset,
            count,
        };
        if let Some(why) = refusal_on_lane(request) {
            return Err(Error::new(ErrorKind::Refused, Outcome::NotSent, why));
        }
        let backend = {
            let snapshot = core.snapshot.load();
            let mut keys: Vec<&[u8]> = Vec::new();
            for cmd in pipe.cmd_iter() {
                match Plan::of(&snapshot, cmd)? {
                    Plan::One { at, .. } => keys.extend(args(cmd).nth(at)),
                    Plan::Split(_) | Plan::Everywhere(_) => {
                        let name = String::from_utf8_lossy(args(cmd).next().unwrap_or_default())
                            .into_owned();
                        let text = format!(
                            "{name} in an atomic pipeline is for several nodes; send it by itself"
                        );
                        return Err(Error::new(ErrorKind::CrossNode, Outcome::NotSent, text));
                    }
                }
            }
            let Some(first) = keys.first() else {
                return Err(Error::new(
                    ErrorKind::Refused,
                    Outcome::NotSent,
                    "the pipeline is empty",
                ));
            };
            let home = |key: &[u8]| {
                (
                    snapshot.table.owner(key),
                    snapshot.table.first(key, &snapshot.live),
                )
            };
            if keys.iter().any(|key| home(key) != home(first)) {
                return Err(cross_node(
                    &snapshot,
                    "an atomic pipeline",
                    keys.iter().copied(),
                ));
            }
            snapshot.route(first).cloned()
        };
        let Some(backend) = backend else {
            return Err(core.empty().into());
        };
        let deadline = Instant::now() + self.deadline();
        match backend.call(request, deadline).await? {
            Reply::Aborted(e) => {
                Err(
                    Error::new(ErrorKind::Server, Outcome::Answered, e.to_string())
                        .at(backend.id())
                        .because(e),
                )
            }
            reply => Ok(many(reply)),
        }
    }
}

fn answered(value: Value) -> Result<Value, Error> {
    parse(value, &NodeId::from("cluster"))
}
