//! Ringpop's hash ring, over `FarmHash`'s Fingerprint32.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use crate::build_error::BuildError;

use super::super::Member;
use super::super::params::{Params, points_from};
use super::super::points::Point;
use super::super::tags::HashTags;
use super::farm::fingerprint32;
use super::foreign::KeyHash;
use super::{Foreign, Recipe, on_circle, ring_of};

/// The parameters of [`Placement::ringpop`](crate::placement::Placement::ringpop).
///
/// ```
/// use std::num::NonZeroU32;
/// use fluster::placement::{Placement, Ringpop};
///
/// let points = NonZeroU32::new(160).unwrap();
/// let rule = Placement::ringpop(Ringpop::default().replica_points(points));
/// assert_eq!(rule.to_string(), "ringpop:replica_points=160");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ringpop {
    replica_points: NonZeroU32,
}

impl Ringpop {
    const DEFAULT: NonZeroU32 = NonZeroU32::new(100).unwrap();

    /// How many points each member has. Default: 100. [Example](crate::guide::by_example#other-libraries-placements).
    #[must_use]
    pub fn replica_points(self, points: NonZeroU32) -> Self {
        Self {
            replica_points: points,
        }
    }

    /// What ringpop-go's `HashRing` reports for these members as its checksums, to compare a fleet with.
    ///
    /// ```
    /// use fluster::placement::{Member, Ringpop};
    ///
    /// let sums = Ringpop::default().checksums(&[Member::new("127.0.0.1:3000")]);
    /// assert_eq!(sums.identity, 955_462_725);
    /// ```
    #[must_use]
    pub fn checksums(&self, members: &[Member<'_>]) -> RingpopChecksums {
        let identities: BTreeSet<&str> = members.iter().map(identity).collect();
        let identities: Vec<&str> = identities.into_iter().collect();
        let mut points = self.points(members);
        // Stable: what is equal stays in the order of addresses.
        points.sort_by_key(|&(hash, _)| hash);
        let replicas: String = points
            .iter()
            .map(|&(hash, node)| format!("{hash}-{};", members[node as usize].name))
            .collect();
        RingpopChecksums {
            identity: fingerprint32(identities.join(";").as_bytes()),
            replica: fingerprint32(replicas.as_bytes()),
        }
    }

    /// All points, by address and number, which is the order of equal ones.
    fn points(&self, members: &[Member<'_>]) -> Vec<(u32, u32)> {
        let mut nodes: Vec<_> = (0_u32..).zip(members).collect();
        nodes.sort_by_key(|(_, member)| member.name);
        let points = nodes.into_iter().flat_map(|(node, member)| {
            let identity = identity(member);
            let separator = if identity == member.name { "" } else { "#" };
            (0..self.replica_points.get()).map(move |i| {
                let replica = format!("{identity}{separator}{i}");
                (fingerprint32(replica.as_bytes()), node)
            })
        });
        points.collect()
    }
}

impl Default for Ringpop {
    fn default() -> Self {
        Self {
            replica_points: Self::DEFAULT,
        }
    }
}

fn identity<'a>(member: &Member<'a>) -> &'a str {
    member.identity.unwrap_or(member.name)
}

/// The checksums of a ringpop ring; made by [`Ringpop::checksums`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RingpopChecksums {
    /// `HashRing.Checksum()`: of the members' identities.
    pub identity: u32,
    /// `HashRing.Checksums()["replica"]`: of all points with their members.
    pub replica: u32,
}

/// Source: ringpop-go's `hashring`, checked against its own output in `tests/vectors/ringpop_go.json`.
impl Recipe for Ringpop {
    const NAME: &'static str = "ringpop";
    const TAGS: HashTags = HashTags::Off;

    fn read(params: &mut Params<'_>) -> Result<Self, String> {
        let replica_points = params
            .take("replica_points")
            .map_or(Ok(Self::DEFAULT), |text| {
                points_from("replica_points", text)
            })?;
        Ok(Self { replica_points })
    }

    fn params(&self) -> Vec<(&'static str, String)> {
        let changed = self.replica_points != Self::DEFAULT;
        changed
            .then(|| ("replica_points", self.replica_points.to_string()))
            .into_iter()
            .collect()
    }

    fn points_per_node(&self) -> u64 {
        self.replica_points.get().into()
    }

    fn build(&self, members: &[Member<'_>]) -> Result<Foreign, BuildError> {
        let points = self.points(members).into_iter();
        let points = points.map(|(hash, node)| Point::new(on_circle(hash), node));
        Ok(Foreign::Ring {
            points: ring_of(points.collect())?,
            hash: KeyHash::Farm,
        })
    }
}
