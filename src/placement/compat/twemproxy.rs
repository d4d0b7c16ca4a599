//! twemproxy (nutcracker): ketama and modula.

use crate::build_error::BuildError;

use super::super::Member;
use super::super::listed::{Listed, Pick};
use super::super::live::Live;
use super::super::params::Params;
use super::super::tags::HashTags;
use super::foreign::KeyHash;
use super::ketama::{self, Ketama};
use super::{Foreign, Recipe, TwemproxyHash, named, read_bool};

named! {
    /// How a twemproxy pool distributes keys: the `distribution:` of its configuration.
    ///
    /// Its third one, `random`, has no owner of a key and so no placement.
    pub enum Distribution("distribution") {
        /// Consistent hashing, the default.
        #[default]
        Ketama = "ketama",
        /// The remainder by the sum of the weights.
        Modula = "modula",
    }
}

/// The parameters of [`Placement::twemproxy`](crate::placement::Placement::twemproxy): those of a pool
/// in `nutcracker.yml`.
///
/// ```
/// use fluster::placement::{Distribution, HashTags, Placement, Twemproxy, TwemproxyHash};
///
/// let pool = Twemproxy::default()
///     .distribution(Distribution::Ketama)
///     .hash(TwemproxyHash::Murmur)
///     .auto_eject(true);
/// // hash_tag: "{}"
/// let rule = Placement::twemproxy(pool).hash_tags(HashTags::Redis);
/// assert_eq!(rule.to_string(), "twemproxy:hash=murmur,auto_eject=true,hash_tags=redis");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Twemproxy {
    distribution: Distribution,
    hash: TwemproxyHash,
    auto_eject: bool,
}

impl Twemproxy {
    /// The distribution. Default: [`Distribution::Ketama`]. [Example](crate::guide::by_example#other-libraries-placements).
    #[must_use]
    pub fn distribution(self, distribution: Distribution) -> Self {
        Self {
            distribution,
            ..self
        }
    }

    /// The hash function. Default: [`TwemproxyHash::Fnv1a_64`]. [Example](crate::guide::by_example#other-libraries-placements).
    #[must_use]
    pub fn hash(self, hash: TwemproxyHash) -> Self {
        Self { hash, ..self }
    }

    /// Whether the pool has `auto_eject_hosts: true`. Default: no. [Example](crate::guide::by_example#other-libraries-placements).
    ///
    /// With it the whole distribution is made anew from the live servers, so keys of live servers move
    /// too while one is out, as they do behind twemproxy. Without it they stay; twemproxy answers
    /// requests for a dead server with an error, whereas fluster gives them to the next candidate.
    #[must_use]
    pub fn auto_eject(self, auto_eject: bool) -> Self {
        Self { auto_eject, ..self }
    }
}

/// Source: twemproxy 0.5.0, checked against its own placement in `tests/vectors/twemproxy.json`.
impl Recipe for Twemproxy {
    const NAME: &'static str = "twemproxy";
    const TAGS: HashTags = HashTags::Off;
    const WEIGHTED: bool = true;

    fn read(params: &mut Params<'_>) -> Result<Self, String> {
        let distribution = params.take("distribution").map(Distribution::read);
        let hash = params.take("hash").map(TwemproxyHash::read);
        let auto_eject = params.take("auto_eject");
        Ok(Self {
            distribution: distribution.transpose()?.unwrap_or_default(),
            hash: hash.transpose()?.unwrap_or_default(),
            auto_eject: auto_eject.map_or(Ok(false), |text| read_bool("auto_eject", text))?,
        })
    }

    fn params(&self) -> Vec<(&'static str, String)> {
        let default = Self::default();
        [
            (
                "distribution",
                self.distribution.to_string(),
                self.distribution != default.distribution,
            ),
            ("hash", self.hash.to_string(), self.hash != default.hash),
            ("auto_eject", self.auto_eject.to_string(), self.auto_eject),
        ]
        .into_iter()
        .filter_map(|(name, value, changed)| changed.then_some((name, value)))
        .collect()
    }

    fn build(&self, members: &[Member<'_>]) -> Result<Foreign, BuildError> {
        let total: u64 = members.iter().map(|member| u64::from(member.weight)).sum();
        if u32::try_from(total).is_err() {
            return Err(BuildError::Option {
                name: "placement",
                why: format!(
                    "the weights add up to {total}, and twemproxy counts to {}: divide all by a common \
                     factor",
                    u32::MAX
                ),
            });
        }
        // `Placement::table` has checked that they can be numbered.
        let nodes = u32::try_from(members.len()).unwrap_or(u32::MAX);
        let hash = KeyHash::Twemproxy(self.hash);
        Ok(match (self.distribution, self.auto_eject) {
            (Distribution::Modula, ejecting) => Foreign::Listed {
                list: Listed::new(members, Pick::Modulo, ejecting),
                hash,
            },
            (Distribution::Ketama, true) => Foreign::Ketama {
                servers: Box::new(Ketama::new(members, nodes)),
                hash,
            },
            (Distribution::Ketama, false) => Foreign::Ring {
                points: ketama::continuum(&ketama::servers(members), &Live::all(nodes)),
                hash,
            },
        })
    }
}
