//! The tables of other libraries' rules, and what a key is to them.

use std::fmt;

use super::super::fingerprint::Feed;
use super::super::layout::{Layout, Parts};
use super::super::listed::Listed;
use super::super::live::Live;
use super::super::modulo;
use super::super::points::{self, Points};
use super::super::scored::{Ranking, Scores};
use super::farm::fingerprint32;
use super::go_redis::{ShardScores, Shards};
use super::ketama::Ketama;
use super::on_circle;
use super::proxenos::{ServiceScores, Services};
use super::redis_array::RedisArrayHash;
use super::twemproxy_hash::TwemproxyHash;

/// From a key to 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::placement) enum KeyHash {
    Crc32,
    /// For rings that are read backwards, and for the register of CRC-32 before its last step.
    Crc32Complement,
    Farm,
    Php(RedisArrayHash),
    PhpComplement(RedisArrayHash),
    Twemproxy(TwemproxyHash),
}

impl KeyHash {
    #[inline]
    fn of(self, key: &[u8]) -> u32 {
        match self {
            Self::Crc32 => crc32fast::hash(key),
            Self::Crc32Complement => !crc32fast::hash(key),
            Self::Farm => fingerprint32(key),
            Self::Php(hash) => hash.of(key),
            Self::PhpComplement(hash) => !hash.of(key),
            Self::Twemproxy(hash) => hash.of(key),
        }
    }

    /// Where a key stands on the ring.
    #[inline]
    fn value_of(self, key: &[u8]) -> u64 {
        on_circle(self.of(key))
    }

    /// The greatest hash there is; `None` where hashes do not fill the space below it evenly.
    pub(in crate::placement) fn greatest(self) -> Option<u32> {
        match self {
            Self::Twemproxy(hash) => hash.greatest(),
            _ => Some(u32::MAX),
        }
    }
}

/// Enters fingerprints: a change of a name changes those.
impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crc32 => f.write_str("crc32"),
            Self::Crc32Complement => f.write_str("crc32 complemented"),
            Self::Farm => f.write_str("farm fingerprint32"),
            Self::Php(hash) => write!(f, "php {hash}"),
            Self::PhpComplement(hash) => write!(f, "php {hash} complemented"),
            Self::Twemproxy(hash) => write!(f, "twemproxy {hash}"),
        }
    }
}

/// A table over one of the shared cores.
#[derive(Clone, Debug)]
pub(in crate::placement) enum Foreign {
    GoRedis(Shards),
    Proxenos(Services),
    Ring { points: Points, hash: KeyHash },
    Listed { list: Listed, hash: KeyHash },
    Ketama { servers: Box<Ketama>, hash: KeyHash },
}

impl Foreign {
    // Not inlined: the look-up of our own ring would grow by all of it.
    #[inline(never)]
    pub(in crate::placement) fn owner(&self, key: &[u8]) -> Option<usize> {
        match self {
            Self::Ring { points, hash } => points.node(hash.value_of(key)),
            Self::Listed { list, hash } => list.owner(hash.of(key)),
            Self::GoRedis(shards) => shards.scores(key).first(None),
            Self::Proxenos(services) => services.scores(key).first(None),
            Self::Ketama { servers, hash } => servers.points().node(hash.value_of(key)),
        }
    }

    #[inline(never)]
    pub(in crate::placement) fn first(&self, key: &[u8], live: &Live) -> Option<usize> {
        match self {
            Self::Ring { points, hash } => points.first(hash.value_of(key), live),
            Self::Listed { list, hash } => list.first(hash.of(key), live),
            Self::GoRedis(shards) => shards.scores(key).first(Some(live)),
            Self::Proxenos(services) => services.scores(key).first(Some(live)),
            Self::Ketama { servers, hash } => {
                let value = hash.value_of(key);
                if servers.is_of(live) {
                    servers.points().node(value)
                } else {
                    servers.over(live).points().node(value)
                }
            }
        }
    }

    #[inline(never)]
    pub(in crate::placement) fn walk<'t>(
        &'t self,
        key: &[u8],
        nodes: usize,
        live: Option<&'t Live>,
    ) -> Walk<'t> {
        match self {
            Self::Ring { points, hash } => Walk::Ring(points.walk(hash.value_of(key), nodes, live)),
            Self::Listed { list, hash } => Walk::Listed(list.walk(hash.of(key), live)),
            Self::GoRedis(shards) => Walk::GoRedis(Ranking::new(shards.scores(key), live)),
            Self::Proxenos(services) => Walk::Proxenos(Ranking::new(services.scores(key), live)),
            Self::Ketama { servers, hash } => {
                let value = hash.value_of(key);
                match live.filter(|live| !servers.is_of(live)) {
                    None => Walk::Ring(servers.points().walk(value, nodes, None)),
                    Some(live) => {
                        let over = servers.over(live);
                        let order: Vec<usize> = over.points().walk(value, nodes, None).collect();
                        Walk::Known(order.into_iter())
                    }
                }
            }
        }
    }

    /// The table to use while these nodes are live, where the rule makes it anew from them.
    pub(in crate::placement) fn for_live(&self, live: &Live) -> Option<Self> {
        match self {
            Self::Ketama { servers, hash } if !servers.is_of(live) => Some(Self::Ketama {
                servers: Box::new(servers.over(live)),
                hash: *hash,
            }),
            _ => None,
        }
    }

    /// The hash of the key; `None` where each node has one of its own.
    pub(in crate::placement) fn hash_of(&self, key: &[u8]) -> Option<u64> {
        match self {
            Self::Ring { hash, .. } | Self::Listed { hash, .. } | Self::Ketama { hash, .. } => {
                Some(u64::from(hash.of(key)))
            }
            Self::GoRedis(_) | Self::Proxenos(_) => None,
        }
    }

    /// Whether the live nodes serve a key in the order of all candidates.
    pub(in crate::placement) fn keeps_order(&self) -> bool {
        match self {
            Self::GoRedis(_) | Self::Proxenos(_) | Self::Ring { .. } => true,
            Self::Listed { .. } | Self::Ketama { .. } => false,
        }
    }

    /// How the hashes of keys are divided, where they are spread over their space.
    pub(in crate::placement) fn layout(&self) -> Option<Layout> {
        let (hash, points) = match self {
            Self::GoRedis(_) | Self::Proxenos(_) => return None,
            Self::Ring { points, hash } => (hash, points),
            Self::Ketama { servers, hash } => (hash, servers.points()),
            Self::Listed { list, hash } => {
                let greatest = hash.greatest()?;
                let parts = if let Some(ends) = list.last_hashes() {
                    let end = |(last, node)| (u64::from(last), node);
                    Parts::Arcs {
                        ends: ends.into_iter().map(end).collect(),
                        greatest: u64::from(greatest),
                    }
                } else if greatest == u32::MAX {
                    let nodes = list.residues()?;
                    Parts::Residues { nodes, least: 0 }
                } else {
                    return None;
                };
                let hash = hash.to_string();
                return Some(Layout { hash, parts });
            }
        };
        Some(Layout {
            parts: Parts::of_ring(points, on_circle(hash.greatest()?) | u64::from(u32::MAX)),
            hash: hash.to_string(),
        })
    }

    /// Whether a lookup takes microseconds per node.
    pub(in crate::placement) fn is_slow(&self) -> bool {
        matches!(self, Self::Proxenos(_))
    }

    /// All that decides, for fingerprints; the weights in lowest terms.
    pub(in crate::placement) fn feed(
        &self,
        feed: &mut Feed<'_>,
        weights: impl Iterator<Item = u64>,
    ) {
        feed.text(self.name());
        match self {
            // The names are fed already, and nothing else counts.
            Self::GoRedis(_) => {}
            Self::Proxenos(services) => {
                let (nodes, params) = services.identity();
                feed.by_name(nodes.iter().copied());
                for (name, value) in params {
                    feed.text(name);
                    feed.text(&value);
                }
            }
            Self::Ring { points, hash } => {
                feed.text(&hash.to_string());
                feed.points(points);
            }
            Self::Ketama { servers, hash } => {
                feed.text(&hash.to_string());
                feed.points(servers.points());
                // They decide again when a node is out.
                feed.by_name(weights);
            }
            Self::Listed { list, hash } => {
                feed.text(&hash.to_string());
                feed.text(if list.is_scaled() { "scaled" } else { "modulo" });
                feed.text(if list.is_ejecting() {
                    "ejecting"
                } else {
                    "keeping"
                });
                feed.in_order(list.weights());
            }
        }
    }

    pub(in crate::placement) fn name(&self) -> &'static str {
        match self {
            Self::GoRedis(_) => "GoRedis",
            Self::Proxenos(_) => "Proxenos",
            Self::Ring { .. } => "Points",
            Self::Listed { .. } => "Listed",
            Self::Ketama { .. } => "Ketama",
        }
    }
}

/// The candidates of a key.
#[derive(Clone, Debug)]
pub(in crate::placement) enum Walk<'t> {
    Ring(points::Walk<'t>),
    Listed(modulo::ModuloWalk<'t>),
    GoRedis(Ranking<'t, ShardScores<'t>>),
    Proxenos(Ranking<'t, ServiceScores<'t>>),
    /// Worked out beforehand, on a ring that is gone by now.
    Known(std::vec::IntoIter<usize>),
}

impl Iterator for Walk<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        match self {
            Self::Ring(walk) => walk.next(),
            Self::Listed(walk) => walk.next(),
            Self::GoRedis(walk) => walk.next(),
            Self::Proxenos(walk) => walk.next(),
            Self::Known(walk) => walk.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Self::Ring(walk) => walk.size_hint(),
            Self::Listed(walk) => walk.size_hint(),
            Self::GoRedis(walk) => walk.size_hint(),
            Self::Proxenos(walk) => walk.size_hint(),
            Self::Known(walk) => walk.size_hint(),
        }
    }
}
