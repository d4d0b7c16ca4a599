//! Which keys move from one table to another.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use crate::hash::xxh3_64;

use super::layout;
use super::table::Table;

/// How many keys would change their owner between two tables, and where they go; made by
/// [`Table::migration`].
///
/// ```
/// use fluster::placement::{Member, Placement};
///
/// # fn main() -> Result<(), fluster::BuildError> {
/// let names = ["a", "b", "c", "d"].map(Member::new);
/// let (three, four) = (Placement::ring().table(&names[..3])?, Placement::ring().table(&names)?);
///
/// let migration = three.migration(&four);
/// assert!(migration.is_exact());
/// assert!((0.15..0.35).contains(&migration.moved()), "about a quarter: {migration}");
/// assert!(migration.moves().iter().all(|step| step.to == "d"), "to nobody else");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Migration {
    moves: Vec<Move>,
    sampled: Option<u32>,
}

/// The keys that go from one node to another; part of a [`Migration`].
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Move {
    /// The name of the node that has them.
    pub from: String,
    /// The name of the node that gets them.
    pub to: String,
    /// Their share of all keys, 0 to 1.
    pub share: f64,
}

impl Migration {
    /// The share of all keys whose owner changes, 0 to 1. [Example](crate::guide::by_example#placement-without-redis).
    #[must_use]
    pub fn moved(&self) -> f64 {
        // The shares of a whole ring add up to a last digit more than 1; and not `sum`, whose nothing is -0.
        let moved = self.moves.iter().fold(0.0, |sum, step| sum + step.share);
        moved.min(1.0)
    }

    /// The pairs of nodes between which keys move, the largest share first. [Example](crate::guide::by_example#placement-without-redis).
    #[must_use]
    pub fn moves(&self) -> &[Move] {
        &self.moves
    }

    /// Whether the shares are those of all hashes; otherwise they were counted on some keys. [Example](crate::guide::by_example#placement-without-redis).
    ///
    /// They are exact between two tables of one hash function that are both rings or both by remainder, for
    /// keys that the function spreads evenly and that have no hash tag (with tags, the tags count).
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.sampled.is_none()
    }

    /// How many keys were looked up, unless the shares are exact. [Example](crate::guide::by_example#placement-without-redis).
    #[must_use]
    pub fn sampled_keys(&self) -> Option<u32> {
        self.sampled
    }

    /// How far [`moved`](Self::moved) may be off: half of a 95 % confidence interval; 0 when exact. [Example](crate::guide::by_example#placement-without-redis).
    #[must_use]
    pub fn margin(&self) -> f64 {
        self.sampled.map_or(0.0, |keys| {
            let (moved, keys) = (self.moved(), f64::from(keys));
            // Wilson's, which is not 0 where no key, or every key, of the sample moved.
            const Z: f64 = 1.96;
            let spread = moved * (1.0 - moved) / keys + Z * Z / (4.0 * keys * keys);
            Z / (1.0 + Z * Z / keys) * spread.sqrt()
        })
    }
}

/// One line: `24.9 % of the keys move, between 3 pairs of nodes`.
impl fmt::Display for Migration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} %", 100.0 * self.moved())?;
        if let Some(keys) = self.sampled {
            write!(f, " (± {:.1} %, by {keys} keys)", 100.0 * self.margin())?;
        }
        let pairs = self.moves.len();
        write!(f, " of the keys move, between {pairs} pairs of nodes")
    }
}

/// Its share of moved keys, how exact that is, and the moves.
#[cfg(feature = "serde")]
impl serde::Serialize for Migration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;

        let mut all = serializer.serialize_struct("Migration", 4)?;
        all.serialize_field("moved", &self.moved())?;
        all.serialize_field("margin", &self.margin())?;
        all.serialize_field("sampled_keys", &self.sampled)?;
        all.serialize_field("moves", &self.moves)?;
        all.end()
    }
}

/// A made-up key. Its digits differ everywhere: CRC-32 and FNV keep the likeness of keys that count up.
fn sampled(number: u32) -> String {
    format!("fluster:{:016x}", xxh3_64(&number.to_le_bytes()))
}

impl Table {
    /// What moves when this table is replaced by `to`: keys whose owner has another name there. [Example](crate::guide::by_example#placement-without-redis).
    ///
    /// Exact between two rings, or two tables by remainder, of one key hash; see
    /// [`Migration::is_exact`]. Otherwise 16 384 keys are looked up in both, or 64 to 1024 under proxenos, where
    /// a lookup costs microseconds per node. With 1000 nodes rings take about 1 ms, modulo rules 600 ms (a
    /// million pairs of nodes), rules that score nodes 70 ms to half a second.
    #[must_use]
    pub fn migration(&self, to: &Self) -> Migration {
        // By number first: that is done for every arc, and names are long.
        let mut numbered = BTreeMap::new();
        let sampled = self.each_move(to, |nodes, share| {
            *numbered.entry(nodes).or_insert(0.0) += share;
        });
        let name =
            |table: &Self, node: u32| table.name(node as usize).unwrap_or_default().to_owned();
        let mut moves: Vec<Move> = numbered
            .into_iter()
            .map(|((one, other), share)| Move {
                from: name(self, one),
                to: name(to, other),
                share,
            })
            .collect();
        moves.sort_by(|one, other| other.share.total_cmp(&one.share));
        Migration { moves, sampled }
    }

    /// What [`Migration::moved`] says, for those who do not ask where to.
    pub(crate) fn moved(&self, to: &Self) -> f64 {
        let mut moved = 0.0;
        self.each_move(to, |_, share| moved += share);
        moved.min(1.0)
    }

    /// The share of all keys that each node owns, 0 to 1: exact where the rule divides its hashes, otherwise counted on
    /// some keys, as [`migration`](Self::migration) counts them.
    #[cfg(feature = "admin")]
    pub(crate) fn shares(&self) -> Vec<f64> {
        let mut shares = vec![0.0; self.nodes() as usize];
        let mut see = |(node, _): (u32, u32), share: f64| {
            if let Some(sum) = shares.get_mut(node as usize) {
                *sum += share;
            }
        };
        let exact = self
            .layout()
            .and_then(|layout| layout::shares(&layout, &layout, &mut see));
        if exact.is_none() {
            let keys = self.sample();
            for number in 0..keys {
                let owner = self.owner(sampled(number).as_bytes()) as u32;
                see((owner, owner), f64::from(keys).recip());
            }
        }
        shares
    }

    /// Sees the shares of keys that move, from a node to another; how many keys were sampled, if any.
    fn each_move(&self, to: &Self, mut see: impl FnMut((u32, u32), f64)) -> Option<u32> {
        let places: HashMap<&str, u32> = to.names().zip(0..).collect();
        let place: Vec<Option<u32>> = self.names().map(|name| places.get(name).copied()).collect();
        let mut see_move = |(one, other): (u32, u32), share: f64| {
            if place[one as usize] != Some(other) {
                see((one, other), share);
            }
        };
        let layouts = self.layout().zip(to.layout());
        let exact = layouts.and_then(|(from, to)| layout::shares(&from, &to, &mut see_move));
        if exact.is_some() {
            return None;
        }
        let keys = self.sample().min(to.sample());
        for number in 0..keys {
            let key = sampled(number);
            let (one, other) = (self.owner(key.as_bytes()), to.owner(key.as_bytes()));
            see_move((one as u32, other as u32), f64::from(keys).recip());
        }
        Some(keys)
    }
}
