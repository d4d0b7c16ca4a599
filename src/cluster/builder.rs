//! From a description of a cluster to the cluster.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::backend::probe::Care;
use crate::build_error::BuildError;
use crate::cluster::FlusterCluster;
use crate::cluster::engine::Engine;
use crate::cluster::factory::{BackendFactory, table};
use crate::cluster::options::{Failover, Options, Refusals, SlowNodes};
use crate::cluster::settings::settings;
use crate::connection::credentials::CredentialsProvider;
use crate::describe::describe;
use crate::health::penalty_box::Penalty;
use crate::node::{Node, Transport};
use crate::placement::{HashTags, Placement};
use crate::recovery::choices::{OnReturn, OnUnknown};
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
    /// Adds nodes by URL; see [`Node`] for the forms. [Example](crate::guide::by_example#building).
    pub fn urls<U: AsRef<str>>(mut self, urls: impl IntoIterator<Item = U>) -> Self {
        self.nodes.extend(urls.into_iter().map(Node::new));
        self
    }

    /// Nodes with names, weights or labels of their own, e.g. as a [configuration](crate::guide::settings) or a registry
    /// gives them. They come after those that were given before.
    ///
    /// ```
    /// use fluster::{FlusterCluster, Node};
    ///
    /// let nodes = ["redis://10.0.0.1", "redis://10.0.0.2"].map(Node::new);
    /// let nodes = nodes.into_iter().collect::<Result<Vec<_>, _>>()?;
    /// let cluster = FlusterCluster::builder().nodes(nodes).build()?;
    /// # Ok::<(), fluster::BuildError>(())
    /// ```
    pub fn nodes(mut self, nodes: impl IntoIterator<Item = Node>) -> Self {
        self.nodes.extend(nodes.into_iter().map(Ok));
        self
    }

    /// Adds one node. [Example](crate::guide::by_example#building).
    pub fn node(mut self, node: Node) -> Self {
        self.nodes.push(Ok(node));
        self
    }

    /// How failing nodes are put out and taken back. Default: [`Penalty::default`]. [Example](crate::guide::by_example#building).
    pub fn penalty(mut self, penalty: Penalty) -> Self {
        self.options.penalty = penalty;
        self
    }

    /// Where user and password come from, in place of the URL's. Asked at every dial. [Example](crate::guide::by_example#building).
    pub fn credentials(mut self, provider: impl CredentialsProvider) -> Self {
        self.options.credentials = Some(Arc::new(provider));
        self
    }

    /// The TLS settings of the `rediss://` nodes. Default: the platform's authorities. [Example](crate::guide::by_example#tls).
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: crate::connection::tls::Tls) -> Self {
        self.options.tls = tls;
        self
    }

    /// The runtime for background tasks and connections, and for the timers of calls, which may then be
    /// awaited on any thread. Default: that of the first call; [the guide](crate::guide::runtimes) says
    /// when that is not enough. [Example](crate::guide::by_example#building).
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.options.runtime = Some(runtime);
        self
    }

    /// Makes the cluster. Needs no runtime and does no network I/O; a node that is down, or whose name
    /// does not resolve, is no error. [Example](crate::guide::by_example#building).
    ///
    /// # Errors
    ///
    /// A [`BuildError`] that names the node or option that is wrong, and the remedy.
    pub fn build(self) -> Result<FlusterCluster, BuildError> {
        self.build_with(Care::default())
    }

    /// [`build`](Self::build), with others to see to the nodes than the servers' own probes.
    pub(crate) fn build_with(self, care: Care) -> Result<FlusterCluster, BuildError> {
        let nodes = self.nodes.into_iter().collect::<Result<Vec<_>, _>>()?;
        let options = self.options.settle(nodes.iter().any(uses_tls))?;
        let table = table(&options.placement, &nodes)?;
        let factory = BackendFactory::new(&options, &nodes)?;
        describe();
        tracing::info!(
            cluster = options.limits.named(),
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
            Engine::new(weak, nodes, table, options, Arc::clone(&tasks), care, make)
        });
        engine.begin_recovery();
        Ok(FlusterCluster::new(engine))
    }

    #[cfg(test)]
    pub(crate) fn options_mut(&mut self) -> &mut Options {
        &mut self.options
    }
}

/// A method of the builder for each entry of the list.
macro_rules! setters {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident: $type:ty, $how:ident $(($absent:literal))?, [$($path:tt)+], $when:literal;
    )+) => {
        impl ClusterBuilder {
            $(
                $(#[doc = $doc])+
                ///
                /// [Example](crate::guide::by_example#settings).
                pub fn $name(mut self, $name: setters!(@of $how $type)) -> Self {
                    self.options.$($path)+ = setters!(@$how $name);
                    self
                }
            )+
        }

        impl fmt::Debug for ClusterBuilder {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut shown = f.debug_struct("ClusterBuilder");
                shown.field("nodes", &self.nodes).field("penalty", &self.options.penalty);
                $(shown.field(stringify!($name), &self.options.$($path)+);)+
                shown.finish_non_exhaustive()
            }
        }
    };
    (@of text $type:ty) => { impl Into<$type> };
    (@of $how:ident $type:ty) => { $type };
    (@text $value:ident) => { $value.into().into() };
    (@plain $value:ident) => { $value };
    (@optional $value:ident) => { Some($value) };
}
settings!(setters);

fn uses_tls(node: &Node) -> bool {
    node.endpoint().transport != Transport::Plain
}
