//! A consistent-hash ring as a collection.

mod node;
#[cfg(feature = "serde")]
mod wire;

use std::collections::HashMap;
use std::fmt;
use std::iter::FusedIterator;
use std::num::NonZeroU32;
use std::ops::Index;

use super::points::{self, Points};
use super::ring::{self, DEFAULT_POINTS};

pub use self::node::RingNode;

/// A consistent-hash ring of named nodes, each with a weight and a payload.
///
/// It has the features of Python's fastring and its placement bit by bit (XXH3, 128 points per
/// unit of weight), and knows nothing of Redis: use it to shard anything. A node added or removed
/// moves only its own share of the keys. Keys are any bytes; hash tags are not applied.
///
/// Adding or removing one node costs a pass over all points (a few ns each); `extend` and `collect`
/// add many nodes in one pass.
///
/// Sources: Karger et al., "Consistent Hashing and Random Trees" (STOC 1997); fastring 0.2.1.
///
/// ```
/// use fluster::placement::HashRing;
///
/// let mut ring = HashRing::new();
/// ring.add_node("a", 1);
/// ring.add_node("b", 3); // three times the keys
/// ring.add_node("c", 1);
///
/// let owner = &ring["user:1234"];
/// assert_eq!(ring.get_node("user:1234"), Some(owner));
/// assert_eq!(ring.get_replicas("user:1234", 2)[0], owner);
/// ```
///
/// With a payload per node:
///
/// ```
/// use fluster::placement::HashRing;
///
/// let mut ring = HashRing::new();
/// ring.add_node_with("a", 1, "10.0.0.1:6379");
/// assert_eq!(ring.get("user:1234").map(|node| *node.payload()), Some("10.0.0.1:6379"));
/// ```
#[derive(Clone)]
#[doc(alias = "ketama")]
#[doc(alias = "consistent hashing")]
pub struct HashRing<T = ()> {
    points_per_weight: NonZeroU32,
    /// In the order of adding; a point's owner is the index here.
    nodes: Vec<RingNode<T>>,
    indices: HashMap<String, u32>,
    points: Points,
}

/// Distinct nodes in the order in which they would own a key; made by [`HashRing::candidates`].
#[derive(Clone, Debug)]
#[must_use = "iterators are lazy and do nothing unless consumed"]
pub struct RingCandidates<'r, T = ()> {
    walk: points::Walk<'r>,
    nodes: &'r [RingNode<T>],
}

impl<'r, T> Iterator for RingCandidates<'r, T> {
    type Item = &'r RingNode<T>;

    #[inline]
    fn next(&mut self) -> Option<&'r RingNode<T>> {
        self.walk.next().map(|node| &self.nodes[node])
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.walk.size_hint()
    }
}

impl<T> FusedIterator for RingCandidates<'_, T> {}

impl<T> HashRing<T> {
    /// An empty ring with 128 points per unit of weight. [Example](crate::guide::by_example#a-ring-of-anything).
    #[must_use]
    pub fn new() -> Self {
        const POINTS: NonZeroU32 = NonZeroU32::new(DEFAULT_POINTS).unwrap();
        Self::with_virtual_nodes(POINTS)
    }

    /// An empty ring with another number of points ("virtual nodes") per unit of weight.
    ///
    /// ```
    /// use std::num::NonZeroU32;
    /// use fluster::placement::HashRing;
    ///
    /// let mut ring = HashRing::with_virtual_nodes(NonZeroU32::new(40).unwrap());
    /// assert!(ring.add_node("a", 1));
    /// ```
    #[must_use]
    pub fn with_virtual_nodes(points: NonZeroU32) -> Self {
        Self {
            points_per_weight: points,
            nodes: Vec::new(),
            indices: HashMap::new(),
            points: Points::default(),
        }
    }

    /// Adds a node with a payload; `false`, and nothing changes, when the name is there already. [Example](crate::guide::by_example#a-ring-of-anything).
    ///
    /// Weight 0 is allowed: such a node is in the ring but gets no keys.
    ///
    /// # Panics
    ///
    /// If the ring would have more than 4 294 967 294 points (weight × points per weight, over all
    /// nodes): it would take 64 GiB.
    pub fn add_node_with(&mut self, name: impl Into<String>, weight: u32, payload: T) -> bool {
        let nodes = self.len();
        self.extend([RingNode::new(name, weight, payload)]);
        self.len() > nodes
    }

    /// Removes a node and gives its payload back; `None` when there is no such node. [Example](crate::guide::by_example#a-ring-of-anything).
    ///
    /// Its keys go to the next candidate of each; no other key moves.
    pub fn remove_node(&mut self, name: &str) -> Option<T> {
        let removed = self.indices.remove(name)?;
        for index in self.indices.values_mut() {
            *index -= u32::from(*index > removed);
        }
        self.points.remove(removed);
        Some(self.nodes.remove(removed as usize).payload)
    }

    /// The name of the node that owns `key`; `None` when no node has points. [Example](crate::guide::by_example#a-ring-of-anything).
    #[must_use]
    pub fn get_node(&self, key: impl AsRef<[u8]>) -> Option<&str> {
        self.get(key).map(RingNode::name)
    }

    /// The node that owns `key`; `None` when no node has points. [Example](crate::guide::by_example#a-ring-of-anything).
    #[must_use]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<&RingNode<T>> {
        self.points
            .node(ring::value_of(key.as_ref()))
            .map(|node| &self.nodes[node])
    }

    /// The owner of each key, in the order of the keys.
    ///
    /// ```
    /// use fluster::placement::HashRing;
    ///
    /// let ring: HashRing = ["a", "b"].into_iter().collect();
    /// assert_eq!(ring.get_node_batch(["k1", "k2"]), [ring.get_node("k1"), ring.get_node("k2")]);
    /// ```
    #[must_use]
    pub fn get_node_batch<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Vec<Option<&str>> {
        keys.into_iter().map(|key| self.get_node(key)).collect()
    }

    /// The names of the first `count` candidates of `key`, the owner first; fewer when fewer nodes
    /// have points. [Example](crate::guide::by_example#a-ring-of-anything).
    #[must_use]
    pub fn get_replicas(&self, key: impl AsRef<[u8]>, count: usize) -> Vec<&str> {
        self.candidates(key)
            .take(count)
            .map(RingNode::name)
            .collect()
    }

    /// All nodes that have points, in the order in which they would own `key`. [Example](crate::guide::by_example#a-ring-of-anything).
    ///
    /// Allocates only from the ninth on.
    pub fn candidates(&self, key: impl AsRef<[u8]>) -> RingCandidates<'_, T> {
        let value = ring::value_of(key.as_ref());
        RingCandidates {
            walk: self.points.walk(value, self.nodes.len(), None),
            nodes: &self.nodes,
        }
    }

    /// The node with this name. [Example](crate::guide::by_example#a-ring-of-anything).
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&RingNode<T>> {
        self.indices
            .get(name)
            .map(|&index| &self.nodes[index as usize])
    }

    /// The payload of the node with this name, to be changed in place. [Example](crate::guide::by_example#a-ring-of-anything).
    pub fn payload_mut(&mut self, name: &str) -> Option<&mut T> {
        self.indices
            .get(name)
            .map(|&index| &mut self.nodes[index as usize].payload)
    }

    /// How many nodes there are, those of weight 0 included. [Example](crate::guide::by_example#a-ring-of-anything).
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are no nodes. [Example](crate::guide::by_example#a-ring-of-anything).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether a node has this name. [Example](crate::guide::by_example#a-ring-of-anything).
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.indices.contains_key(name)
    }

    /// The nodes in the order of adding. [Example](crate::guide::by_example#a-ring-of-anything).
    pub fn iter(&self) -> std::slice::Iter<'_, RingNode<T>> {
        self.nodes.iter()
    }

    /// How many points a node has per unit of weight. Default: 128. [Example](crate::guide::by_example#a-ring-of-anything).
    #[must_use]
    pub fn virtual_nodes(&self) -> NonZeroU32 {
        self.points_per_weight
    }

    /// How many points a node of this weight has, if the ring has room for them.
    fn room_for(&self, weight: u32, taken: usize) -> Option<u32> {
        let count = u64::from(self.points_per_weight.get()) * u64::from(weight);
        let room = Points::MAX.checked_sub(taken as u64)?;
        u32::try_from(count).ok().filter(|_| count <= room)
    }

    /// Adds what has a new name, in one pass; `Err` with the first node that is too heavy.
    fn add_all(&mut self, nodes: impl IntoIterator<Item = RingNode<T>>) -> Result<(), RingNode<T>> {
        let mut added = Vec::new();
        let mut too_heavy = None;
        for node in nodes {
            if self.contains(&node.name) {
                continue;
            }
            let taken = self.points.len() + added.len();
            let (Some(count), Ok(index)) = (
                self.room_for(node.weight, taken),
                u32::try_from(self.nodes.len()),
            ) else {
                too_heavy = Some(node);
                break;
            };
            added.extend(ring::points_of(&node.name, index, count));
            self.indices.insert(node.name.clone(), index);
            self.nodes.push(node);
        }
        if !added.is_empty() {
            self.points.add(added);
        }
        too_heavy.map_or(Ok(()), Err)
    }
}

impl HashRing<()> {
    /// Adds a node; `false`, and nothing changes, when the name is there already. [Example](crate::guide::by_example#a-ring-of-anything).
    ///
    /// Weight 0 is allowed: such a node is in the ring but gets no keys.
    ///
    /// # Panics
    ///
    /// As [`HashRing::add_node_with`].
    pub fn add_node(&mut self, name: impl Into<String>, weight: u32) -> bool {
        self.add_node_with(name, weight, ())
    }
}

impl<T> Default for HashRing<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Equal rings have the same nodes, added in the same order, and place every key alike.
impl<T: PartialEq> PartialEq for HashRing<T> {
    fn eq(&self, other: &Self) -> bool {
        self.points_per_weight == other.points_per_weight && self.nodes == other.nodes
    }
}

impl<T: Eq> Eq for HashRing<T> {}

impl<T: fmt::Debug> fmt::Debug for HashRing<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashRing")
            .field("virtual_nodes", &self.points_per_weight)
            .field("nodes", &self.nodes)
            .finish_non_exhaustive()
    }
}

/// The name of a key's owner: `&ring["user:1234"]`.
impl<T, K: AsRef<[u8]> + ?Sized> Index<&K> for HashRing<T> {
    type Output = str;

    /// # Panics
    ///
    /// If no node has points; [`HashRing::get_node`] gives `None` instead.
    fn index(&self, key: &K) -> &str {
        self.get_node(key)
            .expect("a ring that is indexed has a node of weight 1 or more")
    }
}

impl<'r, T> IntoIterator for &'r HashRing<T> {
    type Item = &'r RingNode<T>;
    type IntoIter = std::slice::Iter<'r, RingNode<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T> IntoIterator for HashRing<T> {
    type Item = RingNode<T>;
    type IntoIter = std::vec::IntoIter<RingNode<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.nodes.into_iter()
    }
}

/// Adds names (weight 1), `(name, weight)`, `(name, weight, payload)` or [`RingNode`]s in one pass;
/// names that are there already are skipped.
impl<T, N: Into<RingNode<T>>> Extend<N> for HashRing<T> {
    /// # Panics
    ///
    /// As [`HashRing::add_node_with`].
    fn extend<I: IntoIterator<Item = N>>(&mut self, nodes: I) {
        if let Err(node) = self.add_all(nodes.into_iter().map(Into::into)) {
            panic!(
                "node \"{}\" of weight {} has no room in the ring",
                node.name, node.weight
            );
        }
    }
}

/// Collects what [`Extend`] accepts into a ring with 128 points per unit of weight.
impl<T, N: Into<RingNode<T>>> FromIterator<N> for HashRing<T> {
    fn from_iter<I: IntoIterator<Item = N>>(nodes: I) -> Self {
        let mut ring = Self::new();
        ring.extend(nodes);
        ring
    }
}
