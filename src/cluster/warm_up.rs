//! Connections before the first command, and whether it is worth to take traffic.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use redis::Value;

use crate::clock;
use crate::cluster::FlusterCluster;
use crate::connection::reply::parse;
use crate::connection::request::LaneRequest;
use crate::error::{Error, Outcome};
use crate::node::NodeId;

/// So many nodes are connected to at once.
const AT_ONCE: usize = 64;

/// What [`FlusterCluster::warm_up`] found.
#[derive(Debug)]
#[non_exhaustive]
pub struct WarmUp {
    /// The nodes that answer, in the order in which they did.
    pub ready: Vec<NodeId>,
    /// The others, each with why.
    pub failed: Vec<(NodeId, Error)>,
}

impl WarmUp {
    /// Whether every node answers. [Example](crate::guide::by_example#warming-up).
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty()
    }
}

impl FlusterCluster {
    /// Connects to every node now, 64 at once, rather than with its first command, and says which of them answer.
    ///
    /// For the start of an application, before it takes traffic: no first request waits for a dial, and wrong addresses
    /// and passwords are in the log of the roll-out. Nodes that are out are not asked, and are among the failed ones. It ends
    /// by the handle's deadline ([`with_deadline`](Self::with_deadline); default: the cluster's, 1.5 s). A node that fails is judged as if a
    /// command had failed; nothing else follows from it, and the cluster may be used whatever comes of this.
    ///
    /// # Cancellation
    ///
    /// Safe: connections that were made are kept.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let cluster = fluster::FlusterCluster::from_urls(["redis://10.0.0.1", "redis://10.0.0.2"])?;
    /// let warm = cluster.with_deadline(Duration::from_secs(3)).warm_up().await;
    /// for (node, error) in &warm.failed {
    ///     eprintln!("starting without {node}: {error}");
    /// }
    /// if !cluster.is_ready() {
    ///     return Err("no Redis server answers".into());
    /// }
    /// # Ok(()) }
    /// ```
    #[doc(alias = "connect")]
    pub async fn warm_up(&self) -> WarmUp {
        let engine = self.engine();
        let deadline = clock::now() + self.deadline();
        let ping = &redis::cmd("PING");
        let nodes = Arc::clone(&engine.topology_full().nodes);
        let asked = nodes.iter().map(Arc::clone).map(|backend| async move {
            let reply = backend.call(LaneRequest::ours(ping), deadline).await;
            let answer = reply.and_then(|reply| parse::<Value>(reply.into_value(), backend.id()));
            (backend.id().clone(), answer)
        });
        let mut answers = stream::iter(asked).buffer_unordered(AT_ONCE);
        let (mut ready, mut failed) = (Vec::new(), Vec::new());
        while let Some((node, answer)) = answers.next().await {
            match answer {
                // A server that has another answer than PONG, for want of a permission, is there.
                Err(e) if e.outcome() != Outcome::Answered => failed.push((node, e)),
                _ => ready.push(node),
            }
        }
        WarmUp { ready, failed }
    }

    /// Whether any node serves, so that calls have somewhere to go: for an application's own readiness probe.
    ///
    /// `false` means that every call fails now, or waits for a node as long as
    /// [`wait_for_node`](crate::ClusterBuilder::wait_for_node) allows. A node is thought to serve until something shows that it does not, so ask
    /// after [`warm_up`](Self::warm_up). How many serve: [`status`](Self::status).
    /// [Example](crate::guide::by_example#warming-up).
    #[doc(alias = "readiness")]
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.engine().topology().live.count() > 0
    }
}
