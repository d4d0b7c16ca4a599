//! The cluster as one client: a command finds its node, or its nodes.

use std::time::Duration;

use redis::{Cmd, FromRedisValue, ToSingleRedisArg, Value};

use crate::backend::answer::Answer;
use crate::clock;
use crate::cluster::FlusterCluster;
use crate::cluster::batch::Batch;
use crate::cluster::merge::Piece;
use crate::cluster::plan::{Plan, refused, target};
use crate::cluster::target::Target;
use crate::command::Scatter;
use crate::connection::args::args;
use crate::error::{Error, ErrorKind, Outcome};
use crate::node::NodeId;
use crate::tasks::give_way;

impl FlusterCluster {
    /// Sends `cmd` to the node of its key, wherever the key stands in it, with failover as
    /// [`run_with_key`](Self::run_with_key) has it.
    ///
    /// `MGET`, `MSET`, `DEL`, `UNLINK`, `EXISTS` and `TOUCH` over several nodes are cut, sent at once and
    /// put together in the order of the call. It is all or nothing for the answer, not for the servers: a
    /// cut `MSET` is not atomic, and when one node fails the error says which keys were done;
    /// [`get_many`](Self::get_many), [`set_many`](Self::set_many) and [`del_many`](Self::del_many) give a
    /// result per key. Commands about the whole cluster (`DBSIZE`, `FLUSHALL`, `KEYS`, ...) go to every
    /// node, see [`allow_partial`](Self::allow_partial). All of it: [the guide](crate::guide::commands).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::CrossNode`] for other commands with keys on different nodes, and
    /// [`ErrorKind::Invalid`] for commands that no node is the right one for, or that fluster does not
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
        self.answer(cmd).await?.parse()
    }

    /// The name of the node that `cmd` would be sent to now. No I/O, no allocation.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::CrossNode`] for a command whose keys are on different nodes, also where [`run`](Self::run)
    /// would cut it; [`ErrorKind::Invalid`] for one that is for all nodes, or for none;
    /// [`ErrorKind::ClusterEmpty`] when every candidate is out.
    ///
    /// ```
    /// # let cluster = fluster::FlusterCluster::from_urls(["redis://127.0.0.1"])?;
    /// let node = cluster.get_node_of(redis::cmd("HSET").arg("user:42").arg("name").arg("Ann"))?;
    /// assert_eq!(node, cluster.get_node("user:42")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get_node_of(&self, cmd: &Cmd) -> Result<NodeId, Error> {
        let engine = self.engine();
        let snapshot = engine.snapshot.load();
        match Plan::of(&snapshot, cmd)? {
            Plan::One { at, .. } => {
                let key = args(cmd).nth(at).unwrap_or_default();
                let backend = snapshot.route(key).map(|b| b.id().clone());
                backend.ok_or_else(|| engine.empty().into())
            }
            Plan::Split(_) => {
                let text = "the command is cut: its keys are on different nodes";
                Err(Error::new(ErrorKind::CrossNode, Outcome::NotSent, text))
            }
            Plan::Anywhere => {
                let first = snapshot.callable().next();
                let node = first.map(|i| snapshot.nodes[i].id().clone());
                node.ok_or_else(|| engine.empty().into())
            }
            Plan::Everywhere(_) => Err(refused("the command is for every node".into())),
        }
    }

    /// The raw answer to `cmd`.
    pub(crate) async fn answer(&self, cmd: &Cmd) -> Result<Answer, Error> {
        let engine = self.engine();
        let limit = self.deadline();
        let planned = Plan::with_request(&engine.snapshot.load(), cmd);
        let (plan, request) = match planned {
            Ok(planned) => planned,
            Err(error) => {
                give_way().await;
                return Err(error);
            }
        };
        let target = match plan {
            Plan::One { at, together } => target(cmd, at, together),
            Plan::Anywhere => Target::Any,
            Plan::Split(_) | Plan::Everywhere(_) => {
                // Boxed, as few need it: every call's future has room for it else, and is moved with it.
                return Box::pin(self.answer_of_several(cmd, plan, limit)).await;
            }
        };
        engine.route(&target, request, limit).await
    }

    async fn answer_of_several(
        &self,
        cmd: &Cmd,
        plan: Plan,
        limit: Duration,
    ) -> Result<Answer, Error> {
        let engine = self.engine();
        let mut batch = Batch::new();
        batch.push(engine, cmd, Ok(plan), self.partially());
        let pieces = engine.scatter(&batch, clock::now() + limit).await;
        batch
            .finish(engine, pieces)
            .pop()
            .unwrap_or_else(|| Ok(Answer::of_several(Value::Nil)))
    }

    /// The values of `keys`, one result per key in their order: a node that fails fails its own keys only. [Example](crate::guide::by_example#many-keys).
    ///
    /// # Cancellation
    ///
    /// Safe.
    pub async fn get_many<K: AsRef<[u8]>, T: FromRedisValue>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Vec<Result<T, Error>> {
        let keys: Vec<K> = keys.into_iter().collect();
        let pieces = self.get_many_from(&keys).await;
        pieces
            .into_iter()
            .map(|piece| piece.and_then(Answer::parse))
            .collect()
    }

    /// Sets each key to its value, one result per key in their order. Not atomic over several nodes. [Example](crate::guide::by_example#many-keys).
    ///
    /// # Cancellation
    ///
    /// Safe; what was sent may still be executed.
    pub async fn set_many<K: AsRef<[u8]>, V: ToSingleRedisArg>(
        &self,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Vec<Result<(), Error>> {
        let mut cmd = redis::cmd("MSET");
        for (key, value) in pairs {
            cmd.arg(key.as_ref()).arg(value);
        }
        let pieces = self.pieces(&cmd, Scatter::Pairs).await;
        pieces
            .into_iter()
            .map(|piece| piece.and_then(Answer::parse))
            .collect()
    }

    /// Deletes `keys`; per key whether it was there, in their order. [Example](crate::guide::by_example#many-keys).
    ///
    /// # Cancellation
    ///
    /// Safe; what was sent may still be executed.
    pub async fn del_many<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Vec<Result<bool, Error>> {
        let mut pipe = redis::Pipeline::new();
        for key in keys {
            pipe.cmd("DEL").arg(key.as_ref());
        }
        // One command per key: a `DEL` of many says only how many there were.
        match self.each(&pipe).await {
            Ok(each) => each.parse(),
            // No `DEL` is refused.
            Err(error) => (0..pipe.len()).map(|_| Err(error.clone())).collect(),
        }
    }

    /// The raw values of `keys`, each with the node that gave it.
    pub(crate) async fn get_many_from<K: AsRef<[u8]>>(&self, keys: &[K]) -> Vec<Piece> {
        let mut cmd = redis::cmd("MGET");
        for key in keys {
            cmd.arg(key.as_ref());
        }
        self.pieces(&cmd, Scatter::Values { tail: 0 }).await
    }

    async fn pieces(&self, cmd: &Cmd, scatter: Scatter) -> Vec<Piece> {
        let engine = self.engine();
        let mut batch = Batch::new();
        batch.push(engine, cmd, Ok(Plan::Split(scatter)), false);
        engine.scatter(&batch, clock::now() + self.deadline()).await
    }
}
