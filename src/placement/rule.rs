//! The rule itself, and the table it builds.

#[cfg(feature = "compat")]
mod presets;
pub(super) mod text;

use std::collections::HashSet;
use std::num::NonZeroU32;

use crate::build_error::BuildError;

use super::Member;
#[cfg(feature = "compat")]
use super::compat::Preset;
use super::fingerprint::Fingerprint;
use super::modulo::Modulo;
use super::points::Points;
use super::ring::{self, DEFAULT_POINTS};
use super::table::{Core, Table};
use super::tags::HashTags;
use super::weighted::Weighted;

/// The rule from a key to an ordered list of nodes.
///
/// Two processes with the same rule and the same nodes agree on every key, whatever their platform.
/// Default: [`Placement::ring`].
///
/// As a string it is a RULE, `NAME[:PARAM=VALUE,...]`; [`FromStr`](std::str::FromStr),
/// [`Display`](std::fmt::Display) and serde (feature `serde`) speak it:
///
/// ```text
/// ring[:points=128]
/// rendezvous
/// modulo
/// fluster-py
/// fastring[:virtual_nodes=128]
/// ```
///
/// and with the feature `compat`
///
/// ```text
/// go-redis
/// proxenos[:method=SIPHASH,seed=0,secret=HEX,optimize=x64|x86]
/// ringpop[:replica_points=100]
/// twemproxy[:distribution=ketama|modula,hash=fnv1a_64,auto_eject=false|true]
/// redis-rb
/// redis-array[:consistent=false|true,algorithm=...]
/// ```
///
/// Each takes `hash_tags=redis|off|redis-rb|redis-array|XY` beside its own parameters, where X and Y are
/// the two characters around a tag.
///
/// ```
/// use fluster::placement::Placement;
///
/// let placement: Placement = "ring:points=160".parse()?;
/// assert_eq!(placement.to_string(), "ring:points=160");
/// assert_eq!("ring".parse::<Placement>()?, Placement::default());
///
/// let error = "ring:points=none".parse::<Placement>().unwrap_err();
/// assert!(error.to_string().contains("points"));
/// # Ok::<(), fluster::BuildError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Placement {
    rule: Rule,
    tags: HashTags,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Rule {
    Ring {
        points: NonZeroU32,
    },
    Rendezvous,
    Modulo,
    #[cfg(feature = "compat")]
    Preset(Preset),
}

/// The most points one node can have in a cluster: 511 times the default.
///
/// A weight meant as megabytes or connections would otherwise build a ring of gigabytes.
pub(super) const MAX_POINTS_PER_NODE: u64 = 65_535;

impl Placement {
    /// Consistent hashing over XXH3 with 128 points per unit of weight. [Example](crate::guide::by_example#placement-without-redis).
    ///
    /// The placement of the library fastring, bit by bit: the first point at or after the key's
    /// hash owns it, and its candidates are the next distinct nodes around the circle. A lookup
    /// costs about 10 ns at any number of nodes. Shares deviate from the weights by some 9 %
    /// (standard deviation, 1/√points).
    ///
    /// Sources: Karger et al., "Consistent Hashing and Random Trees" (STOC 1997); fastring 0.2.1.
    #[must_use]
    pub fn ring() -> Self {
        const POINTS: NonZeroU32 = NonZeroU32::new(DEFAULT_POINTS).unwrap();
        Self::ring_with_points(POINTS)
    }

    /// [`Placement::ring`] with another number of points per unit of weight.
    ///
    /// More points make shares more even and the table larger (24 to 32 bytes per point, 48 to 80 in
    /// rings of up to 4096 points). A node's points, weight × points, are at most 65 535.
    ///
    /// ```
    /// use std::num::NonZeroU32;
    /// use fluster::placement::Placement;
    ///
    /// let fine = Placement::ring_with_points(NonZeroU32::new(1024).unwrap());
    /// assert_eq!(fine.to_string(), "ring:points=1024");
    /// ```
    #[must_use]
    pub fn ring_with_points(points: NonZeroU32) -> Self {
        Self {
            rule: Rule::Ring { points },
            tags: HashTags::Redis,
        }
    }

    /// Weighted rendezvous hashing over XXH3: each node scores each key, and the greatest owns it. [Example](crate::guide::by_example#placement-without-redis).
    ///
    /// Shares follow the weights exactly, and when a node goes its keys spread over all others by
    /// their weights. A lookup looks at every node, some 2 ns each (12 ns with unequal weights), so
    /// it suits up to a few dozen nodes.
    ///
    /// The score is -w/ln(u), u in (0, 1) being the hash of key and name. With equal weights nodes
    /// are compared by that hash itself, without any float; otherwise the logarithm is computed with
    /// operations that every platform rounds alike.
    ///
    /// Sources: Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates" (IEEE/ACM
    /// Transactions on Networking, 1998); the logarithmic method of weighting: Schindelhauer and
    /// Schomaker, "Weighted Distributed Hash Tables" (SPAA 2005).
    #[must_use]
    pub fn rendezvous() -> Self {
        Self {
            rule: Rule::Rendezvous,
            tags: HashTags::Redis,
        }
    }

    /// `murmur3(key) mod nodes`, by the place in the list, with hash tags on. [Example](crate::guide::by_example#placement-without-redis).
    ///
    /// The hash is MurmurHash3 for x86, 32 bits, with seed 0, read as a signed number; the remainder is never negative, as
    /// Python's `mmh3.hash(key) % n`. Of three nodes an unsigned remainder (`u32 % n`) is another placement: it agrees on
    /// half of the keys.
    ///
    /// While the owner is out its keys go to the live node at `murmur3(key) mod live nodes`, so
    /// they spread evenly. Names play no part, there are no weights, and adding a node moves almost all keys:
    /// prefer [`Placement::ring`] unless a fleet is sharded this way already.
    ///
    /// Source: Python's `fluster` 0.1.1.
    #[must_use]
    pub fn modulo() -> Self {
        Self {
            rule: Rule::Modulo,
            tags: HashTags::Redis,
        }
    }

    /// The placement of Python's `fluster` 0.1.1: [`Placement::modulo`] with hash tags off.
    ///
    /// ```
    /// use fluster::placement::{HashTags, Placement};
    ///
    /// assert_eq!(Placement::fluster_py(), Placement::modulo().hash_tags(HashTags::Off));
    /// ```
    #[must_use]
    pub fn fluster_py() -> Self {
        Self {
            rule: Rule::Modulo,
            tags: HashTags::Off,
        }
    }

    /// The placement of the library fastring 0.2.1: [`Placement::ring`] with hash tags off.
    ///
    /// ```
    /// use fluster::placement::{HashTags, Placement};
    ///
    /// assert_eq!(Placement::fastring(), Placement::ring().hash_tags(HashTags::Off));
    /// ```
    #[must_use]
    pub fn fastring() -> Self {
        Self::ring().hash_tags(HashTags::Off)
    }

    /// Which part of a key is hashed. Default: [`HashTags::Redis`], off for
    /// [`Placement::fluster_py`] and [`Placement::fastring`], and what the library does for those of
    /// feature `compat`. [Example](crate::guide::by_example#placement-without-redis).
    #[must_use]
    pub fn hash_tags(self, tags: HashTags) -> Self {
        Self { tags, ..self }
    }

    /// The table of these nodes, in this order. [Example](crate::guide::by_example#placement-without-redis).
    ///
    /// # Errors
    ///
    /// [`BuildError`] when there are no nodes, two have one name, a weight is 0, or not 1 under a rule
    /// that has no weights, or a node would have more than 65 535 points on the ring.
    pub fn table(&self, members: &[Member<'_>]) -> Result<Table, BuildError> {
        let nodes = check(members)?;
        if !self.is_weighted() {
            no_weights(self, members)?;
        }
        let core = match &self.rule {
            Rule::Ring { points } => Core::Ring(ring_of(members, *points)?),
            Rule::Rendezvous => Core::Rendezvous(Weighted::new(members)),
            Rule::Modulo => Core::Modulo(Modulo { nodes }),
            #[cfg(feature = "compat")]
            Rule::Preset(preset) => Core::Foreign(preset.build(members)?),
        };
        Ok(Table::new(core, members, nodes, self.tags))
    }

    /// The fingerprint of these nodes under this rule; see [`Fingerprint`]. [Example](crate::guide::by_example#placement-without-redis).
    ///
    /// # Errors
    ///
    /// Those of [`Placement::table`], which it makes for that.
    pub fn fingerprint(&self, members: &[Member<'_>]) -> Result<Fingerprint, BuildError> {
        Ok(self.table(members)?.fingerprint())
    }

    /// The most points that nodes of these weights have on a table of this rule; 0 where it has none.
    #[cfg_attr(
        not(feature = "discovery"),
        allow(dead_code, reason = "asked before a list is applied")
    )]
    pub(crate) fn points(&self, weights: impl Iterator<Item = u32>) -> u64 {
        match &self.rule {
            Rule::Ring { points } => {
                let all = weights.fold(0_u64, |sum, weight| sum.saturating_add(weight.into()));
                all.saturating_mul(points.get().into())
            }
            Rule::Rendezvous | Rule::Modulo => 0,
            #[cfg(feature = "compat")]
            Rule::Preset(preset) => {
                let nodes = u64::try_from(weights.count()).unwrap_or(u64::MAX);
                nodes.saturating_mul(preset.points_per_node())
            }
        }
    }

    fn is_weighted(&self) -> bool {
        match &self.rule {
            Rule::Ring { .. } | Rule::Rendezvous => true,
            Rule::Modulo => false,
            #[cfg(feature = "compat")]
            Rule::Preset(preset) => preset.weighted(),
        }
    }

    /// Whether it is rendezvous hashing by name: what a collection of that name can have.
    #[cfg(feature = "serde")]
    pub(super) fn is_rendezvous(&self) -> bool {
        match &self.rule {
            Rule::Rendezvous => true,
            Rule::Ring { .. } | Rule::Modulo => false,
            #[cfg(feature = "compat")]
            Rule::Preset(preset) => matches!(preset, Preset::Proxenos(_)),
        }
    }

    /// Whether the library whose rule it is names its nodes by their addresses.
    #[cfg(feature = "gossip")]
    pub(crate) fn names_by_address(&self) -> bool {
        match &self.rule {
            Rule::Ring { .. } | Rule::Rendezvous | Rule::Modulo => false,
            #[cfg(feature = "compat")]
            Rule::Preset(preset) => matches!(preset, Preset::Ringpop(_)),
        }
    }

    /// The rule as a string for logs and status: a secret in it is not shown.
    pub(crate) fn shown(&self) -> String {
        let text = self.to_string();
        match text.split_once("secret=") {
            Some((before, secret)) => {
                let after = secret.find(',').map_or("", |at| &secret[at..]);
                format!("{before}secret=<hidden>{after}")
            }
            None => text,
        }
    }
}

impl Default for Placement {
    fn default() -> Self {
        Self::ring()
    }
}

/// What every rule asks of its nodes; their number.
fn check(members: &[Member<'_>]) -> Result<u32, BuildError> {
    if members.is_empty() {
        return Err(BuildError::NoNodes);
    }
    let mut names = HashSet::with_capacity(members.len());
    for member in members {
        if !names.insert(member.name) {
            return Err(BuildError::DuplicateName {
                name: member.name.to_owned(),
            });
        }
        if member.weight == 0 {
            return Err(BuildError::Node {
                name: member.name.to_owned(),
                why: "weight 0 would get no keys: use at least 1, or leave the node out".to_owned(),
            });
        }
    }
    u32::try_from(members.len()).map_err(|_| BuildError::Option {
        name: "placement",
        why: format!("{} nodes are more than a table can number", members.len()),
    })
}

/// A weight that is silently without effect would look like a fault of the placement.
fn no_weights(rule: &Placement, members: &[Member<'_>]) -> Result<(), BuildError> {
    let Some(heavy) = members.iter().find(|member| member.weight != 1) else {
        return Ok(());
    };
    Err(BuildError::Node {
        name: heavy.name.to_owned(),
        why: format!(
            "its weight is {}, and rule `{}` has no weights: leave it out, or use a rule that has",
            heavy.weight,
            rule.name()
        ),
    })
}

fn ring_of(members: &[Member<'_>], points: NonZeroU32) -> Result<Points, BuildError> {
    let mut all = Vec::new();
    for (node, member) in (0..).zip(members) {
        let count = u64::from(points.get()) * u64::from(member.weight);
        let count = u32::try_from(count).ok().filter(|_| count <= MAX_POINTS_PER_NODE).ok_or_else(|| {
            BuildError::Node {
                name: member.name.to_owned(),
                why: format!(
                    "weight {} × {points} points per weight is {count} points on the ring, and at \
                     most {MAX_POINTS_PER_NODE} are allowed: divide all weights by a common factor, \
                     or use fewer points",
                    member.weight
                ),
            }
        })?;
        if all.len() as u64 + u64::from(count) > Points::MAX {
            return Err(BuildError::Option {
                name: "placement",
                why: format!(
                    "all nodes together have more than {} points: use fewer",
                    Points::MAX
                ),
            });
        }
        all.extend(ring::points_of(member.name, node, count));
    }
    Ok(Points::new(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_counted_without_a_table() {
        assert_eq!(Placement::ring().points([1, 2, 3].into_iter()), 6 * 128);
        assert_eq!(Placement::rendezvous().points([u32::MAX; 9].into_iter()), 0);
        let all = Placement::ring_with_points(NonZeroU32::MAX).points([u32::MAX; 9].into_iter());
        assert_eq!(all, u64::MAX, "it saturates");
        #[cfg(feature = "compat")]
        for (rule, per_node) in [
            ("redis-rb", 160),
            ("ringpop:replica_points=7", 7),
            ("twemproxy", 160),
        ] {
            let rule: Placement = rule.parse().unwrap();
            assert_eq!(rule.points([1; 3].into_iter()), 3 * per_node, "{rule}");
        }
    }

    #[test]
    fn nodes_that_no_rule_can_place_are_refused() {
        for rule in [
            Placement::ring(),
            Placement::rendezvous(),
            Placement::modulo(),
        ] {
            assert_eq!(rule.table(&[]).err(), Some(BuildError::NoNodes), "{rule}");
            let twice = [Member::new("a"), Member::new("b"), Member::new("a")];
            let error = rule.table(&twice).expect_err("a twice");
            assert_eq!(
                error,
                BuildError::DuplicateName {
                    name: "a".to_owned()
                },
                "{rule}"
            );
            let error = rule
                .table(&[Member::new("idle").weight(0)])
                .expect_err("weight 0");
            assert!(
                matches!(&error, BuildError::Node { name, .. } if name == "idle"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_node_may_have_65535_points_and_not_one_more() {
        let placement = "ring:points=255".parse::<Placement>().expect("a RULE");
        assert!(
            placement.table(&[Member::new("a").weight(257)]).is_ok(),
            "65 535 points"
        );
        for weight in [258, u32::MAX] {
            let error = placement
                .table(&[Member::new("a").weight(weight)])
                .expect_err("too many");
            assert!(
                matches!(&error, BuildError::Node { name, .. } if name == "a"),
                "{error}"
            );
        }
    }
}
