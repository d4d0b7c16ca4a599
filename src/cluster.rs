//! The cluster: what an application builds, asks for clients, changes and shuts down.

pub(crate) mod attempts;
mod batch;
pub(crate) mod builder;
mod change;
pub(crate) mod clients;
#[cfg(feature = "serde")]
pub(crate) mod config;
mod connection;
mod empty;
pub(crate) mod engine;
pub(crate) mod events;
mod everywhere;
mod evidence;
mod exchange;
pub(crate) mod explain;
mod factory;
mod failover;
pub(crate) mod features;
#[cfg(feature = "gossip")]
pub(crate) mod fleet;
mod housekeeping;
#[cfg(test)]
mod in_virtual_time;
pub(crate) mod invalidation;
mod merge;
mod monitor;
#[cfg(feature = "near")]
mod near;
pub(crate) mod options;
mod outage;
mod overrule;
mod pipeline;
mod plan;
mod publish;
mod recovery;
mod reporter;
mod routing;
mod run;
mod scatter;
mod scripts;
pub(crate) mod settings;
pub(crate) mod status;
mod target;
pub(crate) mod warm_up;

use std::fmt;
use std::sync::Arc;
#[cfg(feature = "admin")]
use std::sync::Weak;
use std::time::Duration;

pub(crate) use self::engine::Engine;
use crate::build_error::BuildError;
use crate::clock::{self, later};
use crate::cluster::builder::ClusterBuilder;
use crate::cluster::events::{Events, TopologyChange};
use crate::node::Node;
use crate::placement::Migration;
use crate::tasks;

/// A set of independent Redis servers, seen as one: keys have nodes, nodes have stand-ins.
///
/// | I want to | call |
/// |---|---|
/// | build it from URLs | [`from_urls`](Self::from_urls) |
/// | build it with settings, names, weights | [`builder`](Self::builder), then [`build`](ClusterBuilder::build) |
/// | send a command | [`run`](Self::run); or any method of `redis::AsyncCommands` on a clone |
/// | send one whose key does not stand in it | [`run_with_key`](Self::run_with_key) |
/// | send many commands at once | [`pipeline`](Self::pipeline) |
/// | read, write or delete many keys, with a result for each | [`get_many`](Self::get_many), [`set_many`](Self::set_many), [`del_many`](Self::del_many) |
/// | stay on one node, and decide myself what to repeat | [`get_client`](Self::get_client) |
/// | block, or change the connection | [`get_client`](Self::get_client), then [`dedicated`](crate::Client::dedicated) |
/// | read and write as one step | [`transaction`](Self::transaction) |
/// | listen to channels | [`subscribe`](Self::subscribe), [`psubscribe`](Self::psubscribe), [`ssubscribe`](Self::ssubscribe) |
/// | go through all keys | [`scan`](Self::scan) |
/// | ask every node | [`fan_out`](Self::fan_out), [`clients`](Self::clients) |
/// | keep values on several nodes | [`replicas`](Self::replicas) |
/// | cache what is costly | [`cache`](Self::cache) |
/// | queue jobs | [`queue`](Self::queue) |
/// | know where a key is | [`get_node`](Self::get_node), [`get_node_of`](Self::get_node_of) |
/// | give a call less time | [`with_deadline`](Self::with_deadline) |
/// | connect before the first request, and tell a load balancer | [`warm_up`](Self::warm_up), [`is_ready`](Self::is_ready) |
/// | add and remove nodes under load | [`add_node`](Self::add_node), [`set_nodes`](Self::set_nodes); [`plan`](Self::plan) says what moves |
/// | take a node out of service | [`drain_node`](Self::drain_node) |
/// | see how it is | [`status`](Self::status), [`events`](Self::events) |
/// | know why a key is served by its node | [`explain`](Self::explain) |
/// | end it | [`shutdown`](Self::shutdown) |
///
/// Cheap to clone; all clones are the same cluster. Background tasks start with the first call inside
/// a tokio runtime and end with [`shutdown`](Self::shutdown) or with the last clone.
///
/// ```no_run
/// use fluster::FlusterCluster;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let cluster = FlusterCluster::from_urls(["redis://10.0.0.1", "redis://10.0.0.2", "redis://10.0.0.3"])?;
/// let visits: u64 = cluster.run(redis::cmd("INCR").arg("user:42")).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[doc(alias = "shard")]
#[doc(alias = "sharding")]
#[doc(alias = "pool")]
#[doc(alias = "ring")]
#[doc(alias = "client")]
#[doc(alias = "connection manager")]
pub struct FlusterCluster {
    handle: Arc<Handle>,
    view: View,
}

/// The longest that a call may be given.
const LONGEST_DEADLINE: Duration = Duration::from_secs(365 * 24 * 3600);

/// How calls through this handle differ from the cluster's defaults.
#[derive(Clone, Copy, Debug, Default)]
struct View {
    deadline: Option<Duration>,
    partial: bool,
}

/// What all clones share; the tasks hold the engine, not this, so that the last clone ends them.
struct Handle {
    engine: Arc<Engine>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.engine.close_gates();
        // Aborted tasks end by themselves; nobody is left to wait for them.
        drop(self.engine.tasks().close());
        self.engine.close_connections();
    }
}

/// A handle that does not keep the cluster alive.
#[cfg(feature = "admin")]
#[derive(Clone)]
pub(crate) struct WeakCluster {
    handle: Weak<Handle>,
    view: View,
}

#[cfg(feature = "admin")]
impl WeakCluster {
    pub(crate) fn upgrade(&self) -> Option<FlusterCluster> {
        Some(FlusterCluster {
            handle: self.handle.upgrade()?,
            view: self.view,
        })
    }
}

impl FlusterCluster {
    #[cfg(feature = "admin")]
    pub(crate) fn downgrade(&self) -> WeakCluster {
        WeakCluster {
            handle: Arc::downgrade(&self.handle),
            view: self.view,
        }
    }

    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self {
            handle: Arc::new(Handle { engine }),
            view: View::default(),
        }
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.handle.engine
    }

    /// A handle to the same cluster whose calls may take this long, over all candidates, connections and retries,
    /// in place of the cluster's deadline; a year at most. The clients that it gives keep the cluster's.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn run(cluster: fluster::FlusterCluster) -> Result<(), fluster::Error> {
    /// let hurry = cluster.with_deadline(Duration::from_millis(50));
    /// let name: Option<String> = hurry.run(redis::cmd("GET").arg("name")).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        let view = View {
            // Later than that no clock can say, and nobody waits.
            deadline: Some(deadline.min(LONGEST_DEADLINE)),
            ..self.view
        };
        Self {
            handle: Arc::clone(&self.handle),
            view,
        }
    }

    /// A handle to the same cluster whose commands for all nodes (`DBSIZE`, `KEYS`, `FLUSHALL`, ...) make
    /// do with the nodes that answer. [Example](crate::guide::by_example#many-keys).
    ///
    /// Without it such a command fails, and names the nodes, when one is out.
    #[must_use]
    pub fn allow_partial(&self) -> Self {
        let view = View {
            partial: true,
            ..self.view
        };
        Self {
            handle: Arc::clone(&self.handle),
            view,
        }
    }

    /// Whether commands for all nodes make do with those that answer.
    pub(crate) fn partially(&self) -> bool {
        self.view.partial
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.view
            .deadline
            .unwrap_or(self.engine().limits().deadline)
    }

    /// A cluster of these servers with all defaults; see [`Node`] for the forms of a URL. [Example](crate::guide::by_example#building).
    ///
    /// Needs no runtime and does no network I/O. A server that is down is no error.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] for a URL that cannot be used, for two that name the same server, or for none.
    pub fn from_urls<U: AsRef<str>>(urls: impl IntoIterator<Item = U>) -> Result<Self, BuildError> {
        Self::builder().urls(urls).build()
    }

    /// A builder, for everything else. [Example](crate::guide::by_example#building).
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }

    /// Adds a node under load. About its share of the keys moves to it; all others stay. [Example](crate::guide::by_example#nodes).
    ///
    /// # Errors
    ///
    /// [`BuildError::DuplicateName`] when the name is taken, or what [`build`](ClusterBuilder::build) says.
    pub fn add_node(&self, node: Node) -> Result<TopologyChange, BuildError> {
        self.engine().change(|mut nodes| {
            nodes.push(node);
            Ok(nodes)
        })
    }

    /// Removes a node under load. Its keys move to the others; what is in flight on it is finished. [Example](crate::guide::by_example#nodes).
    ///
    /// # Errors
    ///
    /// [`BuildError::UnknownNode`] when there is none of this name, [`BuildError::NoNodes`] when it is
    /// the last.
    pub fn remove_node(&self, name: impl AsRef<str>) -> Result<TopologyChange, BuildError> {
        let name = name.as_ref();
        self.engine().change(|mut nodes| {
            let index = nodes
                .iter()
                .position(|n| n.id_ref() == name)
                .ok_or_else(|| BuildError::UnknownNode {
                    name: name.to_owned(),
                })?;
            nodes.remove(index);
            Ok(nodes)
        })
    }

    /// Replaces the whole set of nodes under load. [Example](crate::guide::by_example#nodes).
    ///
    /// Nodes that keep their name and URL keep their connections and their health; a new URL under an
    /// old name is a new server. Concurrent changes are applied one after the other; readers never wait.
    ///
    /// # Errors
    ///
    /// What [`build`](ClusterBuilder::build) says; nothing is changed then.
    pub fn set_nodes(
        &self,
        nodes: impl IntoIterator<Item = Node>,
    ) -> Result<TopologyChange, BuildError> {
        self.engine().change(|_| Ok(nodes.into_iter().collect()))
    }

    /// Which keys would move if these were the nodes, without changing anything.
    ///
    /// ```
    /// use fluster::{FlusterCluster, Node};
    ///
    /// let urls = ["redis://10.0.0.1", "redis://10.0.0.2", "redis://10.0.0.3"];
    /// let cluster = FlusterCluster::from_urls(&urls[..2])?;
    ///
    /// let nodes = urls.into_iter().map(Node::new).collect::<Result<Vec<_>, _>>()?;
    /// let migration = cluster.plan(nodes)?;
    /// println!("{migration}"); // 32.9 % of the keys move, between 2 pairs of nodes
    /// assert!(migration.moves().iter().all(|step| step.to == "10.0.0.3:6379"));
    /// # Ok::<(), fluster::BuildError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What [`set_nodes`](Self::set_nodes) would say.
    pub fn plan(&self, nodes: impl IntoIterator<Item = Node>) -> Result<Migration, BuildError> {
        let nodes: Vec<_> = nodes.into_iter().collect();
        self.engine().plan(&nodes)
    }

    /// What happens to the cluster from now on. [Example](crate::guide::by_example#watching).
    #[must_use]
    pub fn events(&self) -> Events {
        Events::new(self.engine().listen())
    }

    /// Refuses new calls, gives those in flight `grace` to finish, then ends every task and closes every
    /// connection. Calls from now on, also through clients still held, get
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed). [Example](crate::guide::by_example#nodes).
    ///
    /// Outside a runtime, and where none was given, nobody is waited for: it all ends at once.
    ///
    /// # Cancellation
    ///
    /// New calls stay refused; the rest ends with the last handle, or with another `shutdown`.
    pub async fn shutdown(&self, grace: Duration) {
        let engine = self.engine();
        engine.close_gates();
        let until = later(clock::now(), grace);
        // Without a runtime there is no timer to wait by, and the rest is done all the same.
        let may_wait = engine.tasks().has_runtime();
        while may_wait && clock::now() < until && in_flight(engine) > 0 {
            engine.tasks().sleep(Duration::from_millis(2)).await;
        }
        let running = engine.tasks().close();
        engine.close_connections();
        if may_wait {
            let ended = tasks::wait_for(running, Duration::from_secs(1));
            engine.tasks().enter(ended).await;
        }
        tracing::info!("the cluster is shut down");
    }
}

fn in_flight(engine: &Engine) -> u64 {
    let snapshot = engine.topology();
    snapshot.nodes.iter().map(|b| b.in_flight()).sum()
}

impl fmt::Debug for FlusterCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snapshot = self.engine().topology();
        f.debug_struct("FlusterCluster")
            .field(
                "nodes",
                &snapshot.nodes.iter().map(|b| b.id()).collect::<Vec<_>>(),
            )
            .field("live", &snapshot.live.count())
            .finish_non_exhaustive()
    }
}
