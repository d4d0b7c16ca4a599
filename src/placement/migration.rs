//! Which keys move from one table to another.

use std::collections::BTreeMap;
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
    /// The share of all keys whose owner changes, 0 to 1.
    #[must_use]
    pub fn moved(&self) -> f64 {
        // The shares of a whole ring add up to a last digit more than 1.
        self.moves
            .iter()
            .map(|step| step.share)
            .sum::<f64>()
            .min(1.0)
    }

    /// The pairs of nodes between which keys move, the largest share first.
    #[must_use]
    pub fn moves(&self) -> &[Move] {
        &self.moves
    }

    /// Whether the shares are those of all hashes; otherwise they were counted on some keys.
    ///
    /// They are exact between two tables of one hash function that are both rings or both by remainder, for
    /// keys that the function spreads evenly and that have no hash tag (with tags, the tags count).
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.sampled.is_none()
    }

    /// How many keys were looked up, unless the shares are exact.
    #[must_use]
    pub fn sampled_keys(&self) -> Option<u32> {
        self.sampled
    }

    /// How far [`moved`](Self::moved) may be off: half of a 95 % confidence interval; 0 when exact.
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

    fn of(shares: BTreeMap<(&str, &str), f64>, sampled: Option<u32>) -> Self {
        let mut moves: Vec<Move> = shares
            .into_iter()
            .filter(|((from, to), _)| from != to)
            .map(|((from, to), share)| Move {
                from: from.to_owned(),
                to: to.to_owned(),
                share,
            })
            .collect();
        moves.sort_by(|one, other| other.share.total_cmp(&one.share));
        Self { moves, sampled }
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

impl Table {
    /// What moves when this table is replaced by `to`: keys whose owner has another name there.
    ///
    /// Exact between two rings, or two tables by remainder, of one key hash; see
    /// [`Migration::is_exact`]. Otherwise some thousand keys are looked up in both. It takes milliseconds for
    /// a thousand nodes, under proxenos some tens of microseconds per node and key.
    #[must_use]
    pub fn migration(&self, to: &Self) -> Migration {
        let pair = |from: usize, into: usize| {
            (
                self.name(from).unwrap_or_default(),
                to.name(into).unwrap_or_default(),
            )
        };
        let mut shares = BTreeMap::new();
        let layouts = self.layout().zip(to.layout());
        if let Some(parts) = layouts.and_then(|(from, to)| layout::shares(&from, &to)) {
            // By number first: that is done for every arc, and names are long.
            let mut numbered = BTreeMap::new();
            for (nodes, share) in parts {
                *numbered.entry(nodes).or_insert(0.0) += share;
            }
            for ((from, to), share) in numbered {
                *shares
                    .entry(pair(from as usize, to as usize))
                    .or_insert(0.0) += share;
            }
            return Migration::of(shares, None);
        }
        let keys = self.sample().min(to.sample());
        for number in 0..keys {
            // Digits that differ everywhere: CRC-32 and FNV keep the likeness of keys that count up.
            let key = format!("fluster:{:016x}", xxh3_64(&number.to_le_bytes()));
            let nodes = pair(self.owner(key.as_bytes()), to.owner(key.as_bytes()));
            *shares.entry(nodes).or_insert(0.0) += 1.0;
        }
        for share in shares.values_mut() {
            *share /= f64::from(keys);
        }
        Migration::of(shares, Some(keys))
    }
}
