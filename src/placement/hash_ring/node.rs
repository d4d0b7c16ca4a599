//! A node of the ring, and what it can be made of.

/// A node of a [`HashRing`](super::HashRing) or a [`Rendezvous`](crate::placement::Rendezvous).
///
/// ```
/// use fluster::placement::{HashRing, RingNode};
///
/// let ring: HashRing<u16> = [RingNode::new("a", 2, 6379)].into_iter().collect();
/// let node = ring.get("key").unwrap();
/// assert_eq!((node.name(), node.weight(), *node.payload()), ("a", 2, 6379));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RingNode<T = ()> {
    pub(in crate::placement) name: String,
    pub(in crate::placement) weight: u32,
    pub(in crate::placement) payload: T,
}

impl<T> RingNode<T> {
    /// A node to be added by `extend` or `collect`. [Example](crate::guide::by_example#a-ring-of-anything).
    pub fn new(name: impl Into<String>, weight: u32, payload: T) -> Self {
        Self {
            name: name.into(),
            weight,
            payload,
        }
    }

    /// The name, unique among its neighbours. [Example](crate::guide::by_example#a-ring-of-anything).
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The share of the keys relative to the others; 0 means none. [Example](crate::guide::by_example#a-ring-of-anything).
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// What was added with the node. [Example](crate::guide::by_example#a-ring-of-anything).
    #[must_use]
    pub fn payload(&self) -> &T {
        &self.payload
    }
}

impl From<&str> for RingNode<()> {
    fn from(name: &str) -> Self {
        Self::new(name, 1, ())
    }
}

impl From<String> for RingNode<()> {
    fn from(name: String) -> Self {
        Self::new(name, 1, ())
    }
}

impl<S: Into<String>> From<(S, u32)> for RingNode<()> {
    fn from((name, weight): (S, u32)) -> Self {
        Self::new(name, weight, ())
    }
}

impl<S: Into<String>, T> From<(S, u32, T)> for RingNode<T> {
    fn from((name, weight, payload): (S, u32, T)) -> Self {
        Self::new(name, weight, payload)
    }
}
