//! Rendezvous hashing as a collection.

#[cfg(feature = "serde")]
mod wire;

use std::collections::HashMap;
use std::fmt;
use std::iter::FusedIterator;
use std::ops::Index;

use crate::build_error::BuildError;

use super::Member;
#[cfg(feature = "compat")]
use super::compat::Proxenos;
use super::hash_ring::RingNode;
use super::rule::Placement;
use super::table::{Candidates, Table};
use super::tags::HashTags;

/// Rendezvous hashing over named nodes, each with a weight and a payload: every node scores every
/// key, and the greatest score owns it.
///
/// It places as [`Placement::rendezvous`] does, and knows nothing of Redis: use it to shard anything.
/// Shares follow the weights exactly; a node added or removed moves only its own share of the keys,
/// from or to all others. Keys are any bytes; hash tags are not applied. With the feature `compat`
/// `Rendezvous::proxenos` makes one that selects as proxenos does.
///
/// A look-up asks every node, some 2 ns each (12 ns with unequal weights, microseconds with proxenos),
/// so it suits up to a few dozen nodes; a [`HashRing`](super::HashRing) has no such limit.
///
/// Sources: Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates" (IEEE/ACM
/// Transactions on Networking, 1998); the weights: Schindelhauer and Schomaker, "Weighted Distributed
/// Hash Tables" (SPAA 2005); `select` and the methods of hashing: proxenos 0.0.3.
///
/// ```
/// use fluster::placement::Rendezvous;
///
/// let mut nodes = Rendezvous::new();
/// nodes.add_node("a", 1)?;
/// nodes.add_node("b", 3)?; // three times the keys
/// nodes.add_node("c", 1)?;
///
/// let owner = &nodes["user:1234"];
/// assert_eq!(nodes.select("user:1234"), Some(owner));
/// assert_eq!(nodes.get_replicas("user:1234", 2)[0], owner);
/// # Ok::<(), fluster::BuildError>(())
/// ```
///
/// With a payload per node:
///
/// ```
/// use fluster::placement::Rendezvous;
///
/// let nodes: Rendezvous<u16> = [("a", 1, 6379), ("b", 2, 6380)].into_iter().collect();
/// assert!(nodes.get("user:1234").is_some_and(|node| [6379, 6380].contains(node.payload())));
/// ```
#[derive(Clone)]
pub struct Rendezvous<T = ()> {
    /// Without hash tags.
    placement: Placement,
    /// In the order of adding.
    nodes: Vec<RingNode<T>>,
    indices: HashMap<String, usize>,
    /// Of the nodes with a weight; `None` when there are none.
    table: Option<Table>,
    /// The place in `nodes` of each node of the table.
    weighty: Vec<usize>,
}

/// Distinct nodes in the order in which they would own a key; made by [`Rendezvous::candidates`].
#[derive(Clone, Debug)]
#[must_use = "iterators are lazy and do nothing unless consumed"]
pub struct RendezvousCandidates<'r, T = ()> {
    walk: Option<Candidates<'r>>,
    weighty: &'r [usize],
    nodes: &'r [RingNode<T>],
}

impl<'r, T> Iterator for RendezvousCandidates<'r, T> {
    type Item = &'r RingNode<T>;

    fn next(&mut self) -> Option<&'r RingNode<T>> {
        let node = self.walk.as_mut()?.next()?;
        Some(&self.nodes[self.weighty[node]])
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let hint = self.walk.as_ref().map(Iterator::size_hint);
        hint.unwrap_or((0, Some(0)))
    }
}

impl<T> FusedIterator for RendezvousCandidates<'_, T> {}

impl<T> Rendezvous<T> {
    /// No nodes yet, to be scored by XXH3 and their weights. [Example](crate::guide::by_example#rendezvous-of-anything).
    #[must_use]
    pub fn new() -> Self {
        Self::of(Placement::rendezvous())
    }

    /// No nodes yet, to be scored as proxenos does, with any of its methods of hashing.
    ///
    /// Its nodes are IP addresses with a port, which are their names here (`10.0.0.1:6379`,
    /// `[fe80::1]:6379`), and they have no weights.
    ///
    /// ```
    /// use fluster::placement::{Proxenos, ProxenosHash, Rendezvous};
    ///
    /// let mut nodes = Rendezvous::proxenos(Proxenos::new(ProxenosHash::Md5));
    /// nodes.add_node("10.0.0.1:6379", 1)?;
    /// nodes.add_node("10.0.0.2:6379", 1)?;
    /// assert!(nodes.select("user:1234").is_some());
    ///
    /// let error = nodes.add_node("cache.example:6379", 1).unwrap_err();
    /// assert!(error.to_string().contains("IP address"), "{error}");
    /// # Ok::<(), fluster::BuildError>(())
    /// ```
    #[cfg(feature = "compat")]
    #[must_use]
    pub fn proxenos(rule: Proxenos) -> Self {
        Self::of(Placement::proxenos(rule))
    }

    fn of(placement: Placement) -> Self {
        Self {
            placement: placement.hash_tags(HashTags::Off),
            nodes: Vec::new(),
            indices: HashMap::new(),
            table: None,
            weighty: Vec::new(),
        }
    }

    /// Adds a node with a payload; `false`, and nothing changes, when the name is there already. [Example](crate::guide::by_example#rendezvous-of-anything).
    ///
    /// Weight 0 is allowed: such a node is there but gets no keys. Costs a pass over all nodes;
    /// `collect` takes many at once.
    ///
    /// # Errors
    ///
    /// [`BuildError::Node`] with proxenos, and nothing changes, when the name is no IP address with a
    /// port, or the weight is more than 1. With fluster's own rule there is none.
    pub fn add_node_with(
        &mut self,
        name: impl Into<String>,
        weight: u32,
        payload: T,
    ) -> Result<bool, BuildError> {
        self.add_all([RingNode::new(name, weight, payload)])
            .map(|added| added > 0)
    }

    /// Removes a node and gives its payload back; `None` when there is no such node. [Example](crate::guide::by_example#rendezvous-of-anything).
    ///
    /// Its keys go to the next candidate of each; no other key moves.
    pub fn remove_node(&mut self, name: &str) -> Option<T> {
        let removed = self.indices.remove(name)?;
        for index in self.indices.values_mut() {
            *index -= usize::from(*index > removed);
        }
        let node = self.nodes.remove(removed);
        // Nodes that made a table make one without their neighbour too.
        drop(self.rank());
        Some(node.payload)
    }

    /// The name of the node that owns `key`; `None` when no node has a weight. [Example](crate::guide::by_example#rendezvous-of-anything).
    #[must_use]
    pub fn select(&self, key: impl AsRef<[u8]>) -> Option<&str> {
        self.get(key).map(RingNode::name)
    }

    /// The node that owns `key`; `None` when no node has a weight. [Example](crate::guide::by_example#rendezvous-of-anything).
    #[must_use]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<&RingNode<T>> {
        let table = self.table.as_ref()?;
        Some(&self.nodes[self.weighty[table.owner(key.as_ref())]])
    }

    /// The owner of each key, in the order of the keys. [Example](crate::guide::by_example#rendezvous-of-anything).
    #[must_use]
    pub fn get_node_batch<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Vec<Option<&str>> {
        keys.into_iter().map(|key| self.select(key)).collect()
    }

    /// The names of the first `count` candidates of `key`, the owner first; fewer when fewer nodes
    /// have a weight. [Example](crate::guide::by_example#rendezvous-of-anything).
    #[must_use]
    pub fn get_replicas(&self, key: impl AsRef<[u8]>, count: usize) -> Vec<&str> {
        self.candidates(key)
            .take(count)
            .map(RingNode::name)
            .collect()
    }

    /// All nodes that have a weight, in the order in which they would own `key`. [Example](crate::guide::by_example#rendezvous-of-anything).
    ///
    /// Each of the first eight (of the first one, with proxenos) costs what [`Rendezvous::get`] does;
    /// then the others are sorted.
    pub fn candidates(&self, key: impl AsRef<[u8]>) -> RendezvousCandidates<'_, T> {
        RendezvousCandidates {
            walk: self.table.as_ref().map(|t| t.candidates(key.as_ref())),
            weighty: &self.weighty,
            nodes: &self.nodes,
        }
    }

    /// The node with this name. [Example](crate::guide::by_example#rendezvous-of-anything).
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&RingNode<T>> {
        self.indices.get(name).map(|&index| &self.nodes[index])
    }

    /// The payload of the node with this name, to be changed in place. [Example](crate::guide::by_example#rendezvous-of-anything).
    pub fn payload_mut(&mut self, name: &str) -> Option<&mut T> {
        let index = *self.indices.get(name)?;
        Some(&mut self.nodes[index].payload)
    }

    /// How many nodes there are, those of weight 0 included. [Example](crate::guide::by_example#rendezvous-of-anything).
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are no nodes. [Example](crate::guide::by_example#rendezvous-of-anything).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether a node has this name. [Example](crate::guide::by_example#rendezvous-of-anything).
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.indices.contains_key(name)
    }

    /// The nodes in the order of adding. [Example](crate::guide::by_example#rendezvous-of-anything).
    pub fn iter(&self) -> std::slice::Iter<'_, RingNode<T>> {
        self.nodes.iter()
    }

    /// Adds what has a new name, and says how many that were; all of them or, on an error, none.
    fn add_all(
        &mut self,
        nodes: impl IntoIterator<Item = RingNode<T>>,
    ) -> Result<usize, BuildError> {
        let before = self.len();
        for node in nodes {
            if !self.contains(&node.name) {
                self.indices.insert(node.name.clone(), self.nodes.len());
                self.nodes.push(node);
            }
        }
        let added = self.len() - before;
        if added > 0
            && let Err(error) = self.rank()
        {
            for node in self.nodes.drain(before..) {
                self.indices.remove(&node.name);
            }
            return Err(error);
        }
        Ok(added)
    }

    /// Makes the table anew; on an error it stays as it was.
    fn rank(&mut self) -> Result<(), BuildError> {
        let weighty = (0..self.nodes.len()).filter(|&index| self.nodes[index].weight > 0);
        let weighty: Vec<usize> = weighty.collect();
        let member = |&index: &usize| {
            let node = &self.nodes[index];
            Member::new(&node.name).weight(node.weight)
        };
        let members: Vec<_> = weighty.iter().map(member).collect();
        self.table = match members.is_empty() {
            true => None,
            false => Some(self.placement.table(&members)?),
        };
        self.weighty = weighty;
        Ok(())
    }
}

impl Rendezvous<()> {
    /// Adds a node; `false`, and nothing changes, when the name is there already. [Example](crate::guide::by_example#rendezvous-of-anything).
    ///
    /// # Errors
    ///
    /// As [`Rendezvous::add_node_with`].
    pub fn add_node(&mut self, name: impl Into<String>, weight: u32) -> Result<bool, BuildError> {
        self.add_node_with(name, weight, ())
    }
}

impl<T> Default for Rendezvous<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Equal ones have the same rule and the same nodes, added in the same order, and place every key alike.
impl<T: PartialEq> PartialEq for Rendezvous<T> {
    fn eq(&self, other: &Self) -> bool {
        self.placement == other.placement && self.nodes == other.nodes
    }
}

impl<T: Eq> Eq for Rendezvous<T> {}

/// A secret of the rule is not shown.
impl<T: fmt::Debug> fmt::Debug for Rendezvous<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rendezvous")
            .field("rule", &self.placement.shown())
            .field("nodes", &self.nodes)
            .finish_non_exhaustive()
    }
}

/// The name of a key's owner: `&nodes["user:1234"]`.
impl<T, K: AsRef<[u8]> + ?Sized> Index<&K> for Rendezvous<T> {
    type Output = str;

    /// # Panics
    ///
    /// If no node has a weight; [`Rendezvous::select`] gives `None` instead.
    fn index(&self, key: &K) -> &str {
        self.select(key)
            .expect("nodes that are indexed have one of weight 1 or more")
    }
}

impl<'r, T> IntoIterator for &'r Rendezvous<T> {
    type Item = &'r RingNode<T>;
    type IntoIter = std::slice::Iter<'r, RingNode<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T> IntoIterator for Rendezvous<T> {
    type Item = RingNode<T>;
    type IntoIter = std::vec::IntoIter<RingNode<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.nodes.into_iter()
    }
}

/// Collects names (weight 1), `(name, weight)`, `(name, weight, payload)` or [`RingNode`]s under
/// fluster's own rule; the second of a name is skipped.
impl<T, N: Into<RingNode<T>>> FromIterator<N> for Rendezvous<T> {
    fn from_iter<I: IntoIterator<Item = N>>(nodes: I) -> Self {
        let mut all = Self::new();
        // Our own rule takes any name and any weight.
        drop(all.add_all(nodes.into_iter().map(Into::into)));
        all
    }
}
