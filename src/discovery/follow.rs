//! How a cluster follows a source: what becomes of an endpoint, and when a snapshot is believed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::endpoint::{Endpoint, Snapshot};
use super::guards::Waits;
use crate::build_error::BuildError;
use crate::error::text::{one_line, quoted};
use crate::node::Node;
use crate::placement::Placement;

/// Sources have weights of up to 65535; a ring has some hundred points for each unit.
const HEAVIEST: u32 = 256;
/// A table of so many nodes is built in milliseconds.
const MOST_NODES: usize = 4_096;
/// Of 24 to 32 bytes each.
const MOST_POINTS: u64 = 4_000_000;

/// What to make of a source that answers with nothing.
///
/// A cluster has at least one node, so an empty answer is never applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum EmptyPolicy {
    /// It is an answer like any other, and the nodes stay as they are.
    #[default]
    KeepLast,
    /// It is an error of the source: the nodes stay, a warning is logged, the age of the list in use
    /// grows, and the source is asked again with growing pauses.
    Error,
}

/// How a cluster follows a source.
///
/// ```
/// use std::time::Duration;
///
/// use fluster::Node;
/// use fluster::discovery::Follow;
///
/// // TLS, a password and database 2 for every endpoint that is found.
/// let like = Node::new("redis://user:secret@any/2")?;
/// let follow = Follow::new().like(like).hold_shrinks(Duration::from_secs(20));
/// # Ok::<(), fluster::BuildError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Follow {
    mapping: Mapping,
    pub(super) empty: EmptyPolicy,
    pub(super) waits: Waits,
    equal_weights: bool,
    max_nodes: usize,
    max_points: u64,
}

/// The nodes that a snapshot becomes, and what it lists beside them.
pub(super) struct Made {
    pub(super) nodes: Vec<Node>,
    pub(super) left_out: Option<LeftOut>,
}

/// Endpoints that become no node.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) count: usize,
    /// One of them, and what is wrong with it.
    pub(super) first: String,
}

impl LeftOut {
    /// One line for all: a registry may list a thousand such.
    pub(super) fn warn(&self, source: &str) {
        let (endpoints, first) = (self.count, &self.first);
        tracing::warn!(%source, endpoints, "endpoints are left out, as they cannot be nodes; the first: {first}");
    }
}

type Map = dyn Fn(&Endpoint) -> Result<Node, BuildError> + Send + Sync;

#[derive(Clone)]
enum Mapping {
    Plain,
    Like(Node),
    Map(Arc<Map>),
}

impl Default for Follow {
    fn default() -> Self {
        Self::new()
    }
}

impl Follow {
    /// Each endpoint becomes the node `redis://host:port`, named by its id. [Example](crate::guide::by_example#following-a-source).
    pub fn new() -> Self {
        Self {
            mapping: Mapping::Plain,
            empty: EmptyPolicy::KeepLast,
            waits: Waits::default(),
            equal_weights: false,
            max_nodes: MOST_NODES,
            max_points: MOST_POINTS,
        }
    }

    /// Each endpoint becomes a node like this one: its scheme, user, password, database and protocol,
    /// at the endpoint's address, with the endpoint's id, weight and labels. [Example](crate::guide::by_example#following-a-source).
    ///
    /// Endpoints that are listed with a whole URL of their own keep it.
    pub fn like(mut self, template: Node) -> Self {
        self.mapping = Mapping::Like(template);
        self
    }

    /// Each endpoint becomes what this returns. One that it refuses is left out, with a warning. [Example](crate::guide::by_example#following-a-source).
    ///
    /// It is called for every endpoint of every snapshot that changed, inside a task of the runtime.
    pub fn map(
        mut self,
        node: impl Fn(&Endpoint) -> Result<Node, BuildError> + Send + Sync + 'static,
    ) -> Self {
        self.mapping = Mapping::Map(Arc::new(node));
        self
    }

    /// All nodes weigh 1, whatever the source says. For sources whose weights mean something else. [Example](crate::guide::by_example#following-a-source).
    pub fn equal_weights(mut self) -> Self {
        self.equal_weights = true;
        self
    }

    /// What to make of a source that answers with nothing. Default: [`EmptyPolicy::KeepLast`]. [Example](crate::guide::by_example#following-a-source).
    pub fn empty(mut self, policy: EmptyPolicy) -> Self {
        self.empty = policy;
        self
    }

    /// How long changes are collected, from the first one on, before they are applied as one. The first
    /// snapshot is applied at once. Default: 200 ms. [Example](crate::guide::by_example#following-a-source).
    pub fn debounce(mut self, wait: Duration) -> Self {
        self.waits.debounce = wait;
        self
    }

    /// How long a snapshot that drops more than half of the nodes is held before the source is read
    /// again, and what it says then is believed. Zero: such a snapshot is a change like any other.
    /// Default: 5 s. [Example](crate::guide::by_example#following-a-source).
    pub fn hold_shrinks(mut self, wait: Duration) -> Self {
        self.waits.hold = wait;
        self
    }

    /// The most endpoints that a list may have. A longer one is refused as a whole and the nodes stay: a
    /// source decides how much memory each process that follows it spends. The sources of this crate
    /// read 65 536 endpoints at most. Default: 4096. [Example](crate::guide::by_example#following-a-source).
    pub fn max_nodes(mut self, most: usize) -> Self {
        self.max_nodes = most;
        self
    }

    /// The most points that all nodes of a list together may ask for, on a placement that has points: by
    /// default 128 per unit of weight, of 24 to 32 bytes each. A list that asks for more is refused as a
    /// whole, and the nodes stay. Default: 4 000 000, such as 1000 nodes of weight 31. [Example](crate::guide::by_example#following-a-source).
    pub fn max_points(mut self, most: u64) -> Self {
        self.max_points = most;
        self
    }

    /// The nodes that these endpoints become. Those that become none are left out, with one warning in
    /// the log. None at all, with an error in the log, when the list is longer than
    /// [`max_nodes`](Self::max_nodes), or asks for more than [`max_points`](Self::max_points) on the
    /// default placement. [Example](crate::guide::by_example#following-a-source).
    ///
    /// When a weight is above 256, all are divided by the smallest whole number that brings them to 256 at
    /// most, and are at least 1. What [`map`](Self::map) returns is left as it is.
    #[must_use]
    pub fn nodes(&self, snapshot: &Snapshot) -> Vec<Node> {
        let made = self.made(snapshot).and_then(|made| {
            self.check_points(&made.nodes, &Placement::default())?;
            Ok(made)
        });
        match made {
            Ok(made) => {
                if let Some(left_out) = made.left_out {
                    left_out.warn("a list");
                }
                made.nodes
            }
            Err(why) => {
                tracing::error!("no node is made of a list: {why}");
                Vec::new()
            }
        }
    }

    /// Refuses a list that is too long, before anything is made of it.
    pub(super) fn check_length(&self, snapshot: &Snapshot) -> Result<(), String> {
        match snapshot.len() > self.max_nodes {
            true => Err(format!(
                "it lists {} endpoints, and at most {} are applied: raise `Follow::max_nodes`, or filter them",
                snapshot.len(),
                self.max_nodes
            )),
            false => Ok(()),
        }
    }

    /// Refuses nodes whose points would take too much memory, before there is a table of them.
    pub(super) fn check_points(&self, nodes: &[Node], placement: &Placement) -> Result<(), String> {
        let points = placement.points(nodes.iter().map(Node::weight_value));
        match points > self.max_points {
            true => Err(format!(
                "its {} nodes ask for {points} points by their weights, and at most {} are applied: \
                 raise `Follow::max_points`, or use `Follow::equal_weights`",
                nodes.len(),
                self.max_points
            )),
            false => Ok(()),
        }
    }

    /// What the endpoints become, unless they are too many.
    pub(super) fn made(&self, snapshot: &Snapshot) -> Result<Made, String> {
        self.check_length(snapshot)?;
        let each = snapshot.endpoints().iter();
        let heaviest = each.clone().map(|e| e.weight).max().unwrap_or(1);
        let divisor = heaviest.div_ceil(HEAVIEST).max(1);
        let (mut nodes, mut left_out) = (Vec::new(), None::<LeftOut>);
        for endpoint in each {
            match self.node(endpoint, divisor) {
                Ok(node) => nodes.push(node),
                Err(e) => match &mut left_out {
                    Some(left_out) => left_out.count += 1,
                    None => {
                        let first =
                            format!("{}: {}", quoted(&endpoint.id), one_line(e.to_string()));
                        left_out = Some(LeftOut { count: 1, first });
                    }
                },
            }
        }
        Ok(Made { nodes, left_out })
    }

    fn node(&self, endpoint: &Endpoint, divisor: u32) -> Result<Node, BuildError> {
        let node = match &self.mapping {
            Mapping::Map(map) => map(endpoint)?,
            Mapping::Like(template) if endpoint.node().is_none() => {
                endpoint.to_node()?.in_the_way_of(template)
            }
            Mapping::Plain | Mapping::Like(_) => endpoint.to_node()?,
        };
        let is_ours = !matches!(self.mapping, Mapping::Map(_));
        let node = match node.weight_value() {
            _ if self.equal_weights => node.weight(1),
            weight if is_ours && divisor > 1 => node.weight((weight / divisor).max(1)),
            _ => node,
        };
        node.validate()?;
        Ok(node)
    }
}

impl fmt::Debug for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow")
            .field("empty", &self.empty)
            .field("waits", &self.waits)
            .field("max_nodes", &self.max_nodes)
            .field("max_points", &self.max_points)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_gives_everything_but_the_address_the_name_and_the_weight() {
        let template = Node::new("redis://user:secret@any:1/2?protocol=resp3").unwrap();
        let mut endpoint = Endpoint::new("10.0.0.9", 7000);
        endpoint.id = "vm/r1".into();
        endpoint.weight = 4;
        let listed = Endpoint::from(Node::new("redis://10.0.0.8").unwrap().weight(3));
        let snapshot: Snapshot = [endpoint, listed].into_iter().collect();
        let nodes = Follow::new().like(template).nodes(&snapshot);
        let wanted = Node::new("redis://user:secret@10.0.0.9:7000/2?protocol=resp3").unwrap();
        assert_eq!(nodes[1], wanted.name("vm/r1").weight(4));
        assert_eq!(nodes[0], Node::new("redis://10.0.0.8").unwrap().weight(3));
        let equal = Follow::new().equal_weights().nodes(&snapshot);
        assert!(equal.iter().all(|n| n.weight_value() == 1));
    }

    #[test]
    fn heavy_weights_keep_their_proportions_and_light_ones_their_values() {
        let weights = |all: &[u32]| {
            let endpoints = all.iter().zip(1..).map(|(weight, port)| {
                let mut endpoint = Endpoint::new("h", port);
                endpoint.weight = *weight;
                endpoint
            });
            let nodes = Follow::new().nodes(&endpoints.collect());
            nodes.iter().map(Node::weight_value).collect::<Vec<_>>()
        };
        assert_eq!(weights(&[1, 10, 256]), [1, 10, 256]);
        assert_eq!(weights(&[1, 1_000, 2_000, 3_000]), [1, 83, 166, 250]);
        assert_eq!(weights(&[65_535, u32::MAX]), [1, 255]);
    }

    #[test]
    fn what_becomes_no_node_is_left_out_alone() {
        let snapshot: Snapshot = [Endpoint::new("a", 1), Endpoint::new("b", 0)]
            .into_iter()
            .collect();
        assert_eq!(Follow::new().nodes(&snapshot).len(), 1);
        let named = Follow::new().map(|e| Ok(e.to_node()?.name(format!("cache-{}", e.host))));
        assert_eq!(named.nodes(&snapshot)[0].id(), "cache-a");
    }
}
