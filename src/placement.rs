//! Which node a key belongs to: the rule, the table it builds, and a hash ring of its own.
//!
//! This module needs no Redis, no runtime and no I/O. A [`Placement`] is the rule; with the
//! cluster's nodes it makes a [`Table`], which turns a key into its **candidates**: distinct nodes
//! in the order of the rule, the **owner** first. A [`Live`] says which nodes admit traffic; a key
//! whose owner is out goes to its next live candidate, and back to the owner the moment it is in
//! again, because no table is rebuilt for either.
//!
//! | rule | what it is | when to use it |
//! |---|---|---|
//! | [`Placement::ring`] | consistent hashing, exactly as the library fastring | default: some 10 ns per key at any size, weights |
//! | [`Placement::rendezvous`] | weighted rendezvous hashing | up to some 50 nodes: even shares without points; the cost grows with the nodes |
//! | [`Placement::modulo`] | `hash mod nodes` | compatibility with fleets that shard that way; moves most keys when a node is added |
//! | [`Placement::fluster_py`] | the same, hash tags off | sharing servers with Python's `fluster` |
//! | [`Placement::fastring`] | the ring, hash tags off | sharing servers with Python's `fastring` |
//!
//! With the feature `compat` there are also the placements of twemproxy, go-redis, redis-rb, phpredis, ringpop
//! and proxenos; see [the guide](crate::guide::placement).
//!
//! [`HashRing`] and [`Rendezvous`] are the same as collections: nodes by name, with a payload, added and
//! removed in place.
//!
//! ```
//! use fluster::placement::{Live, Member, Placement};
//!
//! # fn main() -> Result<(), fluster::BuildError> {
//! let members = [Member::new("a"), Member::new("b"), Member::new("c").weight(2)];
//! let table = Placement::ring().table(&members)?;
//!
//! let owner = table.owner(b"user:1234");
//! let everyone = Live::all(3);
//! assert_eq!(table.first(b"user:1234", &everyone), Some(owner));
//!
//! // The owner fails: its keys go to the next candidate, nobody else's move.
//! let without_owner = everyone.with(owner, false);
//! let stand_in = table.first(b"user:1234", &without_owner);
//! assert_eq!(stand_in, table.candidates(b"user:1234").nth(1));
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "compat")]
mod compat;
mod fingerprint;
mod hash_ring;
mod layout;
#[cfg(feature = "compat")]
mod listed;
mod live;
mod migration;
mod modulo;
mod params;
mod points;
mod rendezvous;
mod ring;
mod rule;
mod scored;
mod slot;
mod table;
mod tags;
mod weighted;

#[cfg(feature = "compat")]
pub use self::compat::{
    Distribution, Proxenos, ProxenosHash, RedisArray, RedisArrayHash, Ringpop, RingpopChecksums,
    Twemproxy, TwemproxyHash,
};
pub use self::fingerprint::Fingerprint;
pub use self::hash_ring::{HashRing, RingCandidates, RingNode};
pub use self::live::Live;
pub use self::migration::{Migration, Move};
pub use self::rendezvous::{Rendezvous, RendezvousCandidates};
pub use self::rule::Placement;
pub use self::slot::redis_cluster_slot;
pub use self::table::{Candidates, Table};
pub use self::tags::HashTags;

use crate::node::{Address, Node};

/// One node as a placement rule sees it.
///
/// The name alone identifies a node: addresses, credentials and the place in the list can change
/// without moving a key. The exceptions are rules that exist elsewhere: those that count go by the place
/// in the list ([`Placement::modulo`], [`Placement::fluster_py`], twemproxy's modula, `RedisArray`),
/// proxenos by the address, ringpop by the identity where there is one.
///
/// ```
/// use fluster::placement::Member;
///
/// let member = Member::new("cache0").weight(3);
/// assert_eq!((member.name, member.weight), ("cache0", 3));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Member<'a> {
    /// The node's name, unique in its cluster.
    pub name: &'a str,
    /// How many shares of the keys the node gets, relative to the others; at least 1. Default: 1.
    pub weight: u32,
    /// Host and port, which proxenos's rule places by. Default: none, and it looks into the name.
    pub address: Option<(&'a str, u16)>,
    /// What ringpop's rule hashes in place of the name. Default: none.
    pub identity: Option<&'a str>,
}

impl<'a> Member<'a> {
    /// A node of weight 1. [Example](crate::guide::by_example#placement-without-redis).
    #[must_use]
    pub fn new(name: &'a str) -> Self {
        Self {
            name,
            weight: 1,
            address: None,
            identity: None,
        }
    }

    /// The node's share of the keys relative to the others, at least 1. Default: 1. [Example](crate::guide::by_example#placement-without-redis).
    #[must_use]
    pub fn weight(self, weight: u32) -> Self {
        Self { weight, ..self }
    }

    /// Host and port; the host of IPv6 without brackets. [Example](crate::guide::by_example#other-libraries-placements).
    #[must_use]
    pub fn address(self, host: &'a str, port: u16) -> Self {
        Self {
            address: Some((host, port)),
            ..self
        }
    }

    /// What ringpop hashes in place of the name. [Example](crate::guide::by_example#other-libraries-placements).
    #[must_use]
    pub fn identity(self, identity: &'a str) -> Self {
        Self {
            identity: Some(identity),
            ..self
        }
    }
}

/// Name, weight, host and port of the URL, and the label `identity`.
impl<'a> From<&'a Node> for Member<'a> {
    fn from(node: &'a Node) -> Self {
        Self {
            name: node.id_ref().as_str(),
            weight: node.weight_value(),
            address: match &node.endpoint().address {
                Address::Tcp { host, port } => Some((host, *port)),
                Address::Unix(_) | Address::Sentinel(_) => None,
            },
            identity: node.labels().get("identity").map(String::as_str),
        }
    }
}
