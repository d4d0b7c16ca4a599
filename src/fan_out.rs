//! Reads that ask every live node.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;
use redis::{Cmd, ToRedisArgs, Value};

use crate::clock;
use crate::cluster::FlusterCluster;
use crate::connection::reply::parse;
use crate::connection::request::{LaneRequest, Request};
use crate::error::Error;
use crate::node::NodeId;
use crate::tasks::give_way;

impl FlusterCluster {
    /// Sends `cmd` to every live node at once; one result per node, in the order of the nodes.
    ///
    /// Nodes that are out are not asked and not listed: with all of them out, the list is empty. An error reply is an
    /// `Err` of its node alone, and so is one that does not answer within the cluster's deadline.
    ///
    /// # Cancellation
    ///
    /// Safe; the command may still be executed where it was sent.
    ///
    /// ```no_run
    /// # async fn run(cluster: fluster::FlusterCluster) {
    /// for (node, size) in cluster.fan_out(&redis::cmd("DBSIZE")).await {
    ///     println!("{node}: {size:?}");
    /// }
    /// # }
    /// ```
    pub async fn fan_out(&self, cmd: &Cmd) -> Vec<(NodeId, Result<Value, Error>)> {
        let engine = self.engine();
        let deadline = clock::now() + self.deadline();
        let snapshot = engine.topology_full();
        let asked = snapshot.callable().map(|i| Arc::clone(&snapshot.nodes[i]));
        let answers = join_all(asked.map(|backend| async move {
            let reply = match LaneRequest::check(Request::One(cmd)) {
                Ok(request) => backend.call(request, deadline).await,
                Err(refused) => Err(refused),
            };
            let value = reply.and_then(|reply| parse(reply.into_value(), backend.id()));
            (backend.id().clone(), value)
        }))
        .await;
        if answers.iter().all(|(_, answer)| answer.is_err()) {
            give_way().await;
        }
        answers
    }

    /// The members of the sorted set `key` on all live nodes with scores from `max` down to `min`, each
    /// with the highest score any node has for it, cut to whole numbers. [Example](crate::guide::by_example#many-keys).
    ///
    /// For sorted sets whose members were written to whichever node was there; the original's method of
    /// the same name. Costs one command per node.
    ///
    /// # Errors
    ///
    /// The first node's error, when any fails: a set with a part missing would pass for the whole.
    /// [`ErrorKind::ClusterEmpty`](crate::ErrorKind::ClusterEmpty) when every node is out.
    pub async fn zrevrange_with_int_score(
        &self,
        key: impl ToRedisArgs,
        max: impl ToRedisArgs,
        min: impl ToRedisArgs,
    ) -> Result<HashMap<String, i64>, Error> {
        let mut cmd = redis::cmd("ZREVRANGEBYSCORE");
        cmd.arg(key).arg(max).arg(min).arg("WITHSCORES");
        let answers = self.fan_out(&cmd).await;
        if answers.is_empty() {
            return Err(self.engine().empty().into());
        }
        let mut highest = HashMap::new();
        for (node, answer) in answers {
            let pairs: Vec<(String, f64)> = parse(answer?, &node)?;
            for (member, score) in pairs {
                let score = score as i64;
                let best = highest.entry(member).or_insert(score);
                *best = score.max(*best);
            }
        }
        Ok(highest)
    }
}
