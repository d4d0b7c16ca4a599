//! The rule applied to the nodes of a cluster.

use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;

use super::Member;
#[cfg(feature = "compat")]
use super::compat;
use super::fingerprint::{Feed, Fingerprint, reduced};
use super::layout::{Layout, Parts};
use super::live::Live;
use super::modulo::{self, Modulo};
use super::points::{self, Points};
use super::ring;
use super::scored::{Ranking, Scores};
use super::tags::HashTags;
use super::weighted::{KeyScores, Weighted};

/// From a key to its candidates, for one set of nodes; immutable, made by
/// [`Placement::table`](super::Placement::table).
///
/// Nodes are indices in configuration order. A [`Live`] passed to a method should be made for as
/// many nodes as the table has; nodes it does not know are not live, and further ones are ignored.
///
/// ```
/// use fluster::placement::{Live, Member, Placement};
///
/// # fn main() -> Result<(), fluster::BuildError> {
/// let table = Placement::rendezvous().table(&[Member::new("a"), Member::new("b")])?;
/// let key = b"session:42";
///
/// assert_eq!(table.candidates(key).count(), 2);
/// assert_eq!(table.candidates(key).next(), Some(table.owner(key)));
/// assert_eq!(table.first(key, &Live::none(2)), None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Table {
    core: Core,
    nodes: u32,
    tags: HashTags,
    /// In configuration order.
    names: Arc<[Box<str>]>,
    fingerprint: Fingerprint,
}

#[derive(Clone, Debug)]
pub(super) enum Core {
    Ring(Points),
    Rendezvous(Weighted),
    Modulo(Modulo),
    #[cfg(feature = "compat")]
    Foreign(compat::Foreign),
}

impl Table {
    pub(super) fn new(core: Core, members: &[Member<'_>], nodes: u32, tags: HashTags) -> Self {
        let names: Arc<[Box<str>]> = members.iter().map(|member| member.name.into()).collect();
        let mut feed = Feed::new(&names, tags);
        let weights = reduced(members.iter().map(|member| member.weight));
        match &core {
            Core::Ring(points) => {
                feed.text("ring xxh3");
                feed.points(points);
            }
            Core::Rendezvous(_) => {
                feed.text("rendezvous xxh3");
                feed.by_name(weights);
            }
            Core::Modulo(_) => {
                feed.text("modulo murmur3");
                feed.in_order(weights);
            }
            #[cfg(feature = "compat")]
            Core::Foreign(rule) => rule.feed(&mut feed, weights),
        }
        Self {
            fingerprint: feed.finish(),
            core,
            nodes,
            tags,
            names,
        }
    }

    /// The name of a node; `None` when there is no such node. [Example](crate::guide::by_example#placement-without-redis).
    #[must_use]
    pub fn name(&self, node: usize) -> Option<&str> {
        self.names.get(node).map(|name| &**name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// The placement in 64 bits, to see that two processes agree.
    ///
    /// ```
    /// use fluster::placement::{Member, Placement};
    ///
    /// # fn main() -> Result<(), fluster::BuildError> {
    /// let table = Placement::ring().table(&[Member::new("a"), Member::new("b")])?;
    /// assert_eq!(table.fingerprint().to_string(), "444bc386882b9864");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// How many nodes there are; at least 1. [Example](crate::guide::by_example#placement-without-redis).
    #[must_use]
    pub fn nodes(&self) -> u32 {
        self.nodes
    }

    /// Which part of a key the table hashes. [Example](crate::guide::by_example#placement-without-redis).
    #[must_use]
    pub fn hash_tags(&self) -> HashTags {
        self.tags
    }

    /// How the table divides the hashes of keys; `None` for rules that score every node.
    pub(super) fn layout(&self) -> Option<Layout> {
        let (hash, parts) = match &self.core {
            Core::Ring(points) => ("xxh3".to_owned(), Parts::of_ring(points, u64::MAX)),
            Core::Rendezvous(_) => return None,
            Core::Modulo(_) => {
                let (nodes, least) = ((0..self.nodes).collect(), i64::from(i32::MIN));
                ("murmur3".to_owned(), Parts::Residues { nodes, least })
            }
            #[cfg(feature = "compat")]
            Core::Foreign(rule) => return rule.layout(),
        };
        Some(Layout { hash, parts })
    }

    /// What the rule makes of a key before it looks for nodes; `None` for rules that hash it with each node's name.
    pub(crate) fn hash_of(&self, key: &[u8]) -> Option<u64> {
        let key = self.tags.tagged(key);
        match &self.core {
            Core::Ring(_) => Some(ring::value_of(key)),
            Core::Rendezvous(_) => None,
            Core::Modulo(_) => Some(u64::from(modulo::hash_of(key).cast_unsigned())),
            #[cfg(feature = "compat")]
            Core::Foreign(rule) => rule.hash_of(key),
        }
    }

    /// How many keys to look up where nothing can be computed.
    pub(super) fn sample(&self) -> u32 {
        match &self.core {
            #[cfg(feature = "compat")]
            // At some microseconds per node and key, so that it stays below half a second.
            Core::Foreign(rule) if rule.is_slow() => (40_000 / self.nodes).clamp(64, 1_024),
            _ => 16_384,
        }
    }

    /// The node a key belongs to while all are live. [Example](crate::guide::by_example#placement-without-redis).
    ///
    /// Costs what [`Table::first`] costs.
    #[inline]
    #[must_use]
    pub fn owner(&self, key: &[u8]) -> usize {
        let key = self.tags.tagged(key);
        let owner = match &self.core {
            Core::Ring(points) => points.node(ring::value_of(key)),
            Core::Rendezvous(nodes) => nodes.scores(key).first(None),
            Core::Modulo(rule) => rule.owner(key),
            #[cfg(feature = "compat")]
            Core::Foreign(rule) => rule.owner(key),
        };
        // A table has at least one node, and a node at least one point.
        owner.unwrap_or(0)
    }

    /// The first live candidate: the node that serves a key now; `None` when nobody is live. [Example](crate::guide::by_example#placement-without-redis).
    ///
    /// Never allocates, except by a table for which [`Table::for_live`] has another one for `live`. The cost per key: 6 to 14 ns for the ring (3 to 1000 nodes); for rendezvous
    /// 2 ns per live node (12 ns with unequal weights); one hash for modulo, about 20 ns. A ring whose
    /// nodes are mostly out takes longer, as it walks over their points.
    #[inline]
    #[must_use]
    pub fn first(&self, key: &[u8], live: &Live) -> Option<usize> {
        let key = self.tags.tagged(key);
        // Before the others, which would cost it a tenth.
        if let Core::Ring(points) = &self.core {
            return points.first(ring::value_of(key), live);
        }
        self.first_elsewhere(key, live)
    }

    #[inline(never)]
    fn first_elsewhere(&self, key: &[u8], live: &Live) -> Option<usize> {
        match &self.core {
            Core::Ring(points) => points.first(ring::value_of(key), live),
            Core::Rendezvous(nodes) => nodes.scores(key).first(Some(live)),
            Core::Modulo(rule) => rule.first(key, live),
            #[cfg(feature = "compat")]
            Core::Foreign(rule) => rule.first(key, live),
        }
    }

    /// All nodes in the rule's order for a key, the owner first, live or not. [Example](crate::guide::by_example#placement-without-redis).
    ///
    /// This is the order while all are live: a node's place in it is its rank, and whoever serves
    /// the key without being the first is a stand-in.
    #[inline]
    pub fn candidates(&self, key: &[u8]) -> Candidates<'_> {
        self.walk(key, None)
    }

    /// The live nodes in the order in which they serve a key; the first n are its replicas.
    ///
    /// For rings and rendezvous this is [`Table::candidates`] without the nodes that are out; the
    /// modulo rules re-count the nodes that are left. Allocates only from the ninth candidate on. With
    /// rendezvous each of the first eight costs what [`Table::first`] does.
    ///
    /// ```
    /// use fluster::placement::{Live, Member, Placement};
    ///
    /// # fn main() -> Result<(), fluster::BuildError> {
    /// let members = ["a", "b", "c", "d"].map(Member::new);
    /// let table = Placement::ring().table(&members)?;
    /// let live = Live::all(4).with(table.owner(b"k"), false);
    ///
    /// let replicas: Vec<usize> = table.live_candidates(b"k", &live).take(2).collect();
    /// assert_eq!(replicas, table.candidates(b"k").skip(1).take(2).collect::<Vec<_>>());
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn live_candidates<'t>(&'t self, key: &[u8], live: &'t Live) -> Candidates<'t> {
        self.walk(key, Some(live))
    }

    /// The table to use while these nodes are live, where that is another one.
    ///
    /// Only one rule makes its table anew when a node goes out: twemproxy's ketama with `auto_eject`. This
    /// table gives right answers then too, but would make the other one for every key; a cluster keeps
    /// it beside the set of live nodes. Indices stay those of this table.
    ///
    /// ```
    /// use fluster::placement::{Live, Member, Placement};
    ///
    /// # fn main() -> Result<(), fluster::BuildError> {
    /// let table = Placement::ring().table(&[Member::new("a"), Member::new("b")])?;
    /// assert!(table.for_live(&Live::all(2).with(0, false)).is_none());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    #[cfg_attr(
        not(feature = "compat"),
        allow(unused_variables, reason = "only a rule of that feature looks at it")
    )]
    pub fn for_live(&self, live: &Live) -> Option<Self> {
        match &self.core {
            #[cfg(feature = "compat")]
            Core::Foreign(rule) => {
                let core = Core::Foreign(rule.for_live(live)?);
                Some(Self {
                    core,
                    names: Arc::clone(&self.names),
                    ..*self
                })
            }
            _ => None,
        }
    }

    /// Whether the live nodes serve a key in the order of [`candidates`](Self::candidates), whoever is out: else a node
    /// that was never out takes over keys from another such node when a third one goes out.
    pub(crate) fn keeps_order(&self) -> bool {
        match &self.core {
            Core::Ring(_) | Core::Rendezvous(_) => true,
            Core::Modulo(_) => false,
            #[cfg(feature = "compat")]
            Core::Foreign(rule) => rule.keeps_order(),
        }
    }

    #[inline]
    fn walk<'t>(&'t self, key: &[u8], live: Option<&'t Live>) -> Candidates<'t> {
        let key = self.tags.tagged(key);
        Candidates(match &self.core {
            Core::Ring(points) => {
                Walk::Ring(points.walk(ring::value_of(key), self.nodes as usize, live))
            }
            Core::Rendezvous(nodes) => Walk::Rendezvous(Ranking::new(nodes.scores(key), live)),
            Core::Modulo(rule) => Walk::Modulo(rule.walk(key, live)),
            #[cfg(feature = "compat")]
            Core::Foreign(rule) => Walk::Foreign(rule.walk(key, self.nodes as usize, live)),
        })
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            core, nodes, tags, ..
        } = self;
        let core = match core {
            Core::Ring(points) => format!("{points:?}"),
            Core::Rendezvous(_) => "Rendezvous".to_owned(),
            Core::Modulo(_) => "Modulo".to_owned(),
            #[cfg(feature = "compat")]
            Core::Foreign(rule) => rule.name().to_owned(),
        };
        write!(f, "Table({core}, {nodes} nodes, hash tags {tags})")
    }
}

/// Distinct nodes in the order in which they serve a key; made by [`Table::candidates`] and
/// [`Table::live_candidates`].
#[derive(Clone, Debug)]
#[must_use = "iterators are lazy and do nothing unless consumed"]
pub struct Candidates<'t>(Walk<'t>);

#[derive(Clone, Debug)]
enum Walk<'t> {
    Ring(points::Walk<'t>),
    Rendezvous(Ranking<'t, KeyScores<'t>>),
    Modulo(modulo::ModuloWalk<'t>),
    #[cfg(feature = "compat")]
    Foreign(compat::Walk<'t>),
}

impl Iterator for Candidates<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        match &mut self.0 {
            Walk::Ring(walk) => walk.next(),
            Walk::Rendezvous(ranking) => ranking.next(),
            Walk::Modulo(walk) => walk.next(),
            #[cfg(feature = "compat")]
            Walk::Foreign(walk) => walk.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Walk::Ring(walk) => walk.size_hint(),
            Walk::Rendezvous(ranking) => ranking.size_hint(),
            Walk::Modulo(walk) => walk.size_hint(),
            #[cfg(feature = "compat")]
            Walk::Foreign(walk) => walk.size_hint(),
        }
    }
}

impl FusedIterator for Candidates<'_> {}
