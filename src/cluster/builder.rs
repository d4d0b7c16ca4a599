//! From a description of a cluster to the cluster.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::backend::probe::RedisProbe;
use crate::build_error::BuildError;
use crate::cluster::FlusterCluster;
use crate::cluster::engine::Engine;
use crate::cluster::factory::{BackendFactory, table};
use crate::cluster::options::{Failover, Options, Refusals, SlowNodes};
use crate::connection::credentials::CredentialsProvider;
use crate::health::penalty_box::Penalty;
use crate::node::{Node, Transport};
use crate::placement::{HashTags, Placement};
use crate::tasks::Tasks;

/// Describes a cluster; [`build`](Self::build) makes it, and is the only one to judge.
///
/// ```
/// use std::time::Duration;
/// use fluster::{Failover, FlusterCluster, Node, Placement};
///
/// let cluster = FlusterCluster::builder()
///     .urls(["redis://10.0.0.1", "redis://10.0.0.2"])
///     .node(Node::new("redis://10.0.0.3")?.name("c").weight(2))
///     .placement(Placement::ring())
///     .response_timeout(Duration::from_millis(250))
///     .failover(Failover::IfSafe)
///     .build()?;
/// # Ok::<(), fluster::BuildError>(())
/// ```
#[must_use = "a builder does nothing until `build` is called"]
#[derive(Clone, Default)]
pub struct ClusterBuilder {
    nodes: Vec<Result<Node, BuildError>>,
    options: Options,
}

impl ClusterBuilder {
    /// Adds nodes by URL; see [`Node`] for the forms.
    pub fn urls<U: AsRef<str>>(mut self, urls: impl IntoIterator<Item = U>) -> Self {
        self.nodes.extend(urls.into_iter().map(Node::new));
        self
    }

    /// Nodes with names, weights or labels of their own, e.g. as a [`Config`](crate::guide::command_line) or a registry
    /// gives them. They come after those that were given before.
    ///
    /// ```
    /// use fluster::{FlusterCluster, Node};
    ///
    /// let nodes = ["redis://10.0.0.1", "redis://10.0.0.2"].map(Node::new);
    /// let nodes = nodes.into_iter().collect::<Result<Vec<_>, _>>()?;
    /// let cluster = FlusterCluster::builder().urls(nodes).build()?;
    /// # Ok::<(), fluster::BuildError>(())
    /// ```
    #[must_use]
    pub fn nodes(mut self, nodes: impl IntoIterator<Item = Node>) -> Self {
        self.nodes.extend(nodes.into_iter().map(Ok));
        self
    }

    /// Adds one node.
    pub fn node(mut self, node: Node) -> Self {
        self.nodes.push(Ok(node));
        self
    }

    /// The rule from keys to nodes. Default: [`Placement::ring`].
    pub fn placement(mut self, placement: Placement) -> Self {
        self.options.placement = placement;
        self
    }

    /// Whether the part of a key in braces decides its node. Default: what the placement says, which is
    /// Redis Cluster's rule for fluster's own placements.
    pub fn hash_tags(mut self, tags: HashTags) -> Self {
        self.options.hash_tags = Some(tags);
        self
    }

    /// How failing nodes are put out and taken back. Default: [`Penalty::default`].
    pub fn penalty(mut self, penalty: Penalty) -> Self {
        self.options.penalty = penalty;
        self
    }

    /// When a failed command is sent to the next candidate. Default: [`Failover::IfSafe`].
    pub fn failover(mut self, failover: Failover) -> Self {
        self.options.failover = failover;
        self
    }

    /// What happens when a living node refuses a command (`READONLY`, `OOM`, ...). Default:
    /// [`Refusals::Return`].
    pub fn refusals(mut self, refusals: Refusals) -> Self {
        self.options.refusals = refusals;
        self
    }

    /// What happens to nodes that are much slower than their peers. Default: [`SlowNodes::Report`].
    pub fn slow_nodes(mut self, slow: SlowNodes) -> Self {
        self.options.slow_nodes = slow;
        self
    }

    /// How long calls wait for a node to come back when every candidate is out. Default: not at all,
    /// [`ClusterEmptyError`](crate::ClusterEmptyError) comes at once.
    ///
    /// The wait comes before the call's own deadline, not out of it. `get_client` never waits.
    pub fn wait_for_node(mut self, wait: Duration) -> Self {
        self.options.wait_for_node = Some(wait);
        self
    }

    /// The longest time to live of what is written to a stand-in. Default: whatever the writer says.
    ///
    /// Every write command that goes to a stand-in is followed by `PEXPIRE key ttl LT` on the same
    /// connection, so that stale copies are gone soon after the owner is back. Needs Redis 7. A
    /// [`Cache`](crate::cache::Cache) has a limit of its own.
    pub fn stand_in_ttl(mut self, ttl: Duration) -> Self {
        self.options.limits.stand_in_ttl = Some(ttl);
        self
    }

    /// The share of hedged reads that may be sent to a second replica, 0 to 1. Default: 0.1; a cluster
    /// begins with ten, and saves up to a hundred.
    ///
    /// Separate from the budget for commands that are sent again after a failure. With one slow node of n,
    /// one in n reads begins there: a budget below that leaves some of them slow.
    pub fn hedge_budget(mut self, share: f64) -> Self {
        self.options.hedge_budget = share;
        self
    }

    /// How long a command may wait for its reply. Default: 500 ms.
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.options.limits.response_timeout = timeout;
        self
    }

    /// How long a new connection may take, name look-up, TLS and log-in included. Default: 500 ms, or
    /// 1 s when any node uses TLS.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.connect_timeout = Some(timeout);
        self
    }

    /// How long one call may take over all candidates, dials and retries. Default: three times the
    /// response time-out.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.options.deadline = Some(deadline);
        self
    }

    /// How many exclusive connections a node may have. Default: 16.
    pub fn pool_size(mut self, connections: usize) -> Self {
        self.options.limits.pool_size = connections;
        self
    }

    /// How long [`dedicated`](crate::Client::dedicated) waits when all of them are taken. Default: 250 ms.
    pub fn pool_wait(mut self, wait: Duration) -> Self {
        self.options.limits.pool_wait = wait;
        self
    }

    /// After how much idle time an exclusive connection is closed. Default: 5 minutes.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.options.limits.idle_timeout = timeout;
        self
    }

    /// The age at which an exclusive connection is replaced, ± 20 %. Default: 30 minutes.
    pub fn max_lifetime(mut self, age: Duration) -> Self {
        self.options.limits.max_lifetime = age;
        self
    }

    /// The most that one call on an exclusive connection (a command, or a pipeline as a whole) or one message of a
    /// subscription may bring, in bytes; a server that sends more is hung up on, and the call fails with
    /// [`ErrorKind::ConnectionLost`](crate::ErrorKind::ConnectionLost). At least 64 KiB. Default: 1 GiB.
    ///
    /// What is read while a connection is set up, and for a probe, is limited to 64 KiB.
    pub fn max_reply(mut self, bytes: u64) -> Self {
        self.options.limits.max_reply = bytes;
        self
    }

    /// Where user and password come from, in place of the URL's. Asked at every dial.
    pub fn credentials(mut self, provider: impl CredentialsProvider) -> Self {
        self.options.credentials = Some(Arc::new(provider));
        self
    }

    /// The TLS settings of the `rediss://` nodes. Default: the platform's authorities.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: crate::connection::tls::Tls) -> Self {
        self.options.tls = tls;
        self
    }

    /// The runtime for background tasks and connections, and for the timers of calls, which may then be
    /// awaited on any thread. Default: that of the first call; [the guide](crate::guide::runtimes) says
    /// when that is not enough.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.options.runtime = Some(runtime);
        self
    }

    /// Makes the cluster. Needs no runtime and does no network I/O; a node that is down, or whose name
    /// does not resolve, is no error.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] that names the node or option that is wrong, and the remedy.
    pub fn build(self) -> Result<FlusterCluster, BuildError> {
        let nodes = self.nodes.into_iter().collect::<Result<Vec<_>, _>>()?;
        let options = self.options.settle(nodes.iter().any(uses_tls))?;
        let table = table(&options.placement, &nodes)?;
        let factory = BackendFactory::new(&options, &nodes)?;
        tracing::info!(
            nodes = nodes.len(),
            placement = options.placement.shown(),
            fingerprint = %table.fingerprint(),
            "the cluster is built"
        );
        let tasks = Arc::new(Tasks::new(options.runtime.clone()));
        let engine = Arc::new_cyclic(|weak| {
            let make = |weak: &Weak<Engine>, node: &Node, key, lookups: &_, limits: &_| {
                factory.backend(weak, node, key, lookups, limits, &tasks)
            };
            Engine::new(
                weak,
                nodes,
                table,
                options,
                Arc::clone(&tasks),
                Arc::new(RedisProbe),
                make,
            )
        });
        Ok(FlusterCluster::new(engine))
    }
}

impl fmt::Debug for ClusterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterBuilder")
            .field("nodes", &self.nodes)
            .field("placement", &self.options.placement)
            .field("penalty", &self.options.penalty)
            .field("failover", &self.options.failover)
            .field("limits", &self.options.limits)
            .finish_non_exhaustive()
    }
}

fn uses_tls(node: &Node) -> bool {
    node.endpoint().transport != Transport::Plain
}
