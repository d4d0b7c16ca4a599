//! Pipelines over several nodes.

use std::sync::Arc;

use redis::{FromRedisValue, Pipeline, Value};

use crate::backend::Backend;
use crate::backend::answer::Answer;
use crate::backend::role::Role;
use crate::clock;
use crate::cluster::FlusterCluster;
use crate::cluster::batch::Batch;
use crate::cluster::engine::Snapshot;
use crate::cluster::plan::{Plan, cross_node, home, refused, target};
use crate::cluster::target::Target;
use crate::connection::args::args;
use crate::connection::redis_rs;
use crate::connection::reply::{Reply, parse_of, signed};
use crate::connection::request::{LaneRequest, Request};
use crate::error::{Error, ErrorKind, Outcome};
use crate::node::NodeId;
use crate::tasks::give_way;

impl FlusterCluster {
    /// Sends the commands of `pipe`, each to its own node, all nodes at once; one result per command, in
    /// the order of the pipeline. A command that [`run`](Self::run) cuts is cut here too.
    ///
    /// A node that fails fails only its own commands, and those go on to their next candidates as
    /// [`Failover`](crate::Failover) allows. Commands of one node keep their order; commands of different
    /// nodes have none. `ignore()` on a command has no effect here.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when one of the commands may not share a connection, as `SUBSCRIBE`; nothing was sent then.
    /// Of a pipeline that is `atomic()`, which is executed by one node or not at all: [`ErrorKind::CrossNode`] when its
    /// keys are on several nodes, what the server or the connection says otherwise. One that is not atomic has all of
    /// its errors inside.
    ///
    /// # Cancellation
    ///
    /// Safe; what was sent may still be executed.
    ///
    /// ```no_run
    /// # async fn run(cluster: fluster::FlusterCluster) -> Result<(), fluster::Error> {
    /// let mut pipe = redis::pipe();
    /// pipe.incr("a", 1).incr("b", 1);
    /// for result in cluster.pipeline(&pipe).await? {
    ///     println!("{result:?}");
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn pipeline(&self, pipe: &Pipeline) -> Result<Vec<Result<Value, Error>>, Error> {
        let result = self.pipeline_of(pipe).await;
        if result.is_err() {
            give_way().await;
        }
        result
    }

    async fn pipeline_of(&self, pipe: &Pipeline) -> Result<Vec<Result<Value, Error>>, Error> {
        if pipe.is_transaction() {
            let (values, node) = self.atomic(pipe).await?;
            return Ok(match values.into_iter().next() {
                Some(Value::Array(values)) => {
                    let parse = |value| parse_of(value, node.as_ref());
                    values.into_iter().map(parse).collect()
                }
                other => vec![Ok(other.unwrap_or(Value::Nil))],
            });
        }
        Ok(self.each(pipe).await?.parse())
    }

    /// One raw answer per command.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] for a command that may not share a connection; nothing was sent then.
    pub(crate) async fn each(&self, pipe: &Pipeline) -> Result<Each, Error> {
        let engine = self.engine();
        let now = clock::now();
        let deadline = now + self.deadline();
        let mut said = None;
        if let Some(backend) = self.whole(pipe)? {
            // As it is, to its one node: to keep books of each of ten thousand commands would be a fifth of the cost.
            let request = LaneRequest::all_ours(pipe);
            let reply = backend.execute(now, request, Role::Owner, deadline).await;
            match reply {
                Ok(Reply::Many(values)) if is_good(&values, pipe) => {
                    return Ok(Each::Good(values, backend));
                }
                reply => said = Some((backend, reply)),
            }
        }
        let mut batch = Batch::of(pipe);
        {
            let snapshot = engine.snapshot.load();
            for cmd in redis_rs::commands(pipe) {
                let plan = Plan::of_part(&snapshot, cmd)?;
                batch.push(engine, cmd, plan, self.partially());
            }
        }
        let pieces = engine.scatter_after(said, &batch, deadline).await;
        Ok(Each::Own(batch.finish(engine, pieces)))
    }

    /// The node of all of the pipeline's commands, where each of them has one key and goes as it was given.
    fn whole(&self, pipe: &Pipeline) -> Result<Option<Arc<Backend>>, Error> {
        let engine = self.engine();
        // What a stand-in is given is capped by its keys; and one command alone is answered as a command is.
        if engine.limits().stand_in_ttl.is_some() || pipe.len() < 2 {
            return Ok(None);
        }
        let snapshot = engine.snapshot.load();
        // What a node that is out should have had is noted by its keys.
        if engine.recovery.is_on() && snapshot.live.count() < snapshot.nodes.len() {
            return Ok(None);
        }
        let mut node = None;
        for cmd in redis_rs::commands(pipe) {
            let Ok(Plan::One {
                at,
                together: false,
            }) = Plan::of_part(&snapshot, cmd)?
            else {
                return Ok(None);
            };
            let first = snapshot.first(args(cmd).nth(at).unwrap_or_default());
            if first.is_none() || *node.get_or_insert(first) != first {
                return Ok(None);
            }
            if engine.scripts.eval(cmd).is_some() {
                return Ok(None);
            }
        }
        Ok(node.flatten().map(|node| Arc::clone(&snapshot.nodes[node])))
    }

    /// An atomic pipeline, which must be one node's.
    ///
    /// The values, and who gave them; nobody, where there was nothing to ask.
    pub(crate) async fn atomic(
        &self,
        pipe: &Pipeline,
    ) -> Result<(Vec<Value>, Option<NodeId>), Error> {
        let engine = self.engine();
        let request = Request::Many(pipe);
        if let Some(nothing) = request.answer_to_nothing() {
            return Ok((nothing.into_values(), None));
        }
        let request = LaneRequest::check(request)?;
        let target = one_home(&engine.snapshot.load(), &[], pipe)?;
        let answer = engine.route(&target, request, self.deadline()).await?;
        let node = answer.node().cloned();
        let values = match answer.value {
            Value::Array(values) => values,
            value => vec![value],
        };
        let reply = match &node {
            Some(node) => signed(Reply::Many(values), request.request(), node),
            None => Reply::Many(values),
        };
        Ok((reply.into_values(), node))
    }

    /// The node of all these keys.
    pub(crate) fn home_of(&self, what: &str, keys: &[Vec<u8>]) -> Result<Arc<Backend>, Error> {
        let snapshot = self.engine().snapshot.load();
        let Some(first) = keys.first() else {
            return Err(refused(format!("{what} without keys has no node")));
        };
        if keys
            .iter()
            .any(|key| home(&snapshot, key) != home(&snapshot, first))
        {
            return Err(cross_node(&snapshot, what, keys.iter().map(Vec::as_slice)));
        }
        let backend = snapshot.route(first).map(Arc::clone);
        backend.ok_or_else(|| self.engine().empty().into())
    }

    /// Refuses a pipeline with keys that are on another node than `keys`.
    pub(crate) fn is_at_home(&self, keys: &[Vec<u8>], pipe: &Pipeline) -> Result<(), Error> {
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        one_home(&self.engine().snapshot.load(), &keys, pipe).map(drop)
    }
}

/// What came of a pipeline that is not atomic.
pub(crate) enum Each {
    /// A value for each command, from one node; no error among them.
    Good(Vec<Value>, Arc<Backend>),
    /// Each command has its own fate.
    Own(Vec<Result<Answer, Error>>),
}

impl Each {
    /// As the caller's type, one result per command.
    pub(crate) fn parse<T: FromRedisValue>(self) -> Vec<Result<T, Error>> {
        match self {
            Self::Good(values, by) => {
                let parse = |value| parse_of(value, Some(by.id()));
                values.into_iter().map(parse).collect()
            }
            Self::Own(answers) => {
                let parse = |result: Result<Answer, Error>| result.and_then(Answer::parse);
                answers.into_iter().map(parse).collect()
            }
        }
    }
}

fn is_good(values: &[Value], pipe: &Pipeline) -> bool {
    let is_error = |value: &Value| matches!(value, Value::ServerError(_));
    values.len() == pipe.len() && !values.iter().any(is_error)
}

/// All keys of the pipeline, and others, when they are one node's.
fn one_home<'a>(
    snapshot: &Snapshot,
    others: &[&'a [u8]],
    pipe: &'a Pipeline,
) -> Result<Target<'a>, Error> {
    let mut keys: Vec<&[u8]> = others.to_vec();
    let mut anywhere = false;
    for cmd in redis_rs::commands(pipe) {
        match Plan::of(snapshot, cmd)? {
            Plan::One { at, together } => match target(cmd, at, together) {
                Target::Key(key) => keys.push(key),
                Target::Keys(all) => keys.extend(all),
                Target::Node(_) | Target::Any => {}
            },
            // They go along, wherever the others go.
            Plan::Anywhere => anywhere = true,
            Plan::Everywhere(_) if is_ping(cmd) => anywhere = true,
            Plan::Split(_) | Plan::Everywhere(_) => {
                let name = String::from_utf8_lossy(args(cmd).next().unwrap_or_default());
                let text =
                    format!("{name} in an atomic pipeline is for several nodes; send it by itself");
                return Err(Error::new(ErrorKind::CrossNode, Outcome::NotSent, text));
            }
        }
    }
    let Some(first) = keys.first() else {
        return match anywhere {
            true => Ok(Target::Any),
            false => Err(refused("the pipeline is empty".into())),
        };
    };
    if keys
        .iter()
        .any(|key| home(snapshot, key) != home(snapshot, first))
    {
        let what = "an atomic pipeline";
        return Err(cross_node(snapshot, what, keys.iter().copied()));
    }
    Ok(Target::Keys(keys))
}

fn is_ping(cmd: &redis::Cmd) -> bool {
    let name = args(cmd).next().unwrap_or_default();
    name.eq_ignore_ascii_case(b"PING")
}
