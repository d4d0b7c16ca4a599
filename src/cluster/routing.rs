//! From a key to the node that serves it.

use std::sync::Arc;

use redis::{Cmd, FromRedisValue};

use crate::client::Client;
use crate::cluster::FlusterCluster;
use crate::cluster::engine::Snapshot;
use crate::cluster::target::Target;
use crate::connection::request::{LaneRequest, Request};
use crate::error::{ClusterEmptyError, Error};
use crate::node::NodeId;
use crate::tasks::give_way;

impl FlusterCluster {
    /// The client of the node that serves `key` now: its owner, or the stand-in while the owner is out.
    ///
    /// No I/O, no waiting, no allocation. The client stays pinned to its node; ask again for each
    /// operation, it costs some tens of nanoseconds.
    ///
    /// # Errors
    ///
    /// [`ClusterEmptyError`] when every candidate is out.
    ///
    /// ```
    /// # let cluster = fluster::FlusterCluster::from_urls(["redis://127.0.0.1"])?;
    /// let client = cluster.get_client("user:42")?;
    /// assert_eq!(client.node(), &"127.0.0.1:6379");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get_client(&self, key: impl AsRef<[u8]>) -> Result<Client, ClusterEmptyError> {
        let key = key.as_ref();
        let engine = self.engine();
        let snapshot = engine.snapshot.load();
        match snapshot.first(key) {
            Some(index) => {
                let rank = rank(&snapshot, key, index);
                Ok(Client::new(Arc::clone(&snapshot.nodes[index]), rank))
            }
            None => Err(engine.empty()),
        }
    }

    /// The name of the node that serves `key` now. [Example](crate::guide::by_example#routing).
    ///
    /// # Errors
    ///
    /// [`ClusterEmptyError`] when every candidate is out.
    pub fn get_node(&self, key: impl AsRef<[u8]>) -> Result<NodeId, ClusterEmptyError> {
        let engine = self.engine();
        match engine.snapshot.load().route(key.as_ref()) {
            Some(backend) => Ok(backend.id().clone()),
            None => Err(engine.empty()),
        }
    }

    /// The names of the nodes that serve `keys` now, all by the same snapshot, in the order of the keys. [Example](crate::guide::by_example#routing).
    ///
    /// # Errors
    ///
    /// [`ClusterEmptyError`] when every node is out.
    pub fn get_node_batch<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<NodeId>, ClusterEmptyError> {
        let engine = self.engine();
        let snapshot = engine.snapshot.load();
        keys.into_iter()
            .map(|key| snapshot.route(key.as_ref()).map(|b| b.id().clone()))
            .collect::<Option<_>>()
            .ok_or_else(|| engine.empty())
    }

    /// Sends `cmd` to the node that serves `key`, and on to the next candidates as
    /// [`Failover`](crate::Failover) allows, within the cluster's deadline (default: three times the
    /// response time-out).
    ///
    /// The key need not stand in the command: this is also the way for commands that fluster does not
    /// know.
    ///
    /// # Errors
    ///
    /// An answer of the server comes back as [`ErrorKind::Server`](crate::ErrorKind::Server); everything else says what is known
    /// of the command, see [`Error::outcome`]. With every candidate out it is
    /// [`ErrorKind::ClusterEmpty`](crate::ErrorKind::ClusterEmpty).
    ///
    /// # Cancellation
    ///
    /// Safe; the command may still be executed.
    ///
    /// ```no_run
    /// # async fn run(cluster: fluster::FlusterCluster) -> Result<(), fluster::Error> {
    /// let visits: u64 = cluster.run_with_key("user:42", redis::cmd("INCR").arg("user:42")).await?;
    /// # Ok(()) }
    /// ```
    pub async fn run_with_key<T: FromRedisValue>(
        &self,
        key: impl AsRef<[u8]>,
        cmd: &Cmd,
    ) -> Result<T, Error> {
        let limit = self.deadline();
        let request = match LaneRequest::check(Request::One(cmd)) {
            Ok(request) => request,
            Err(error) => {
                give_way().await;
                return Err(error);
            }
        };
        let target = Target::Key(key.as_ref());
        self.engine().route(&target, request, limit).await?.parse()
    }
}

fn rank(snapshot: &Snapshot, key: &[u8], index: usize) -> usize {
    // With every node up the first candidate is the owner: no second walk.
    if snapshot.live.count() == snapshot.nodes.len() {
        0
    } else {
        snapshot.rank(key, index)
    }
}
