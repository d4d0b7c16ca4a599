//! The placements of other libraries: one file per library over the shared cores.
//!
//! A file says what its library's nodes and keys hash to ([`Recipe`]); points, scored candidates and
//! weighted lists come from `points`, `scored` and `listed`. The guide's chapter on placement says how to
//! add one.

#![allow(
    dead_code,
    reason = "the fingerprint and the plan of the next commits use the rest"
)]

mod farm;
mod foreign;
mod go_redis;
mod ketama;
mod proxenos;
mod redis_array;
mod redis_rb;
mod ringpop;
mod twemproxy;
mod twemproxy_hash;

use crate::build_error::BuildError;

use super::Member;
use super::params::Params;
use super::points::{Point, Points};
use super::tags::HashTags;

pub(super) use self::foreign::{Foreign, Walk};
pub use self::proxenos::{Proxenos, ProxenosHash};
pub use self::redis_array::{RedisArray, RedisArrayHash};
pub use self::ringpop::{Ringpop, RingpopChecksums};
pub use self::twemproxy::{Distribution, Twemproxy};
pub use self::twemproxy_hash::TwemproxyHash;
pub(super) use self::{go_redis::GoRedis, redis_rb::RedisRb};

/// What a library's file provides.
pub(super) trait Recipe: Sized {
    /// The NAME of its RULE.
    const NAME: &'static str;
    /// What the library hashes of a key unless told otherwise.
    const TAGS: HashTags;
    /// Whether it has weights; if not, nodes of another weight than 1 are refused.
    const WEIGHTED: bool = false;

    /// The most points that one node has, whatever its weight.
    fn points_per_node(&self) -> u64 {
        160
    }

    /// Takes what it knows from a RULE's parameters.
    fn read(params: &mut Params<'_>) -> Result<Self, String>;

    /// Its parameters that are not at their defaults, in the order in which they are printed.
    fn params(&self) -> Vec<(&'static str, String)>;

    /// The table of these nodes: at least one, no name twice, no weight 0.
    fn build(&self, members: &[Member<'_>]) -> Result<Foreign, BuildError>;
}

/// Declares [`Preset`] over the libraries' types.
macro_rules! presets {
    ($($kind:ident),+) => {
        /// One library's rule, with its parameters.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub(super) enum Preset {
            $($kind($kind),)+
        }

        impl Preset {
            /// Reads the parameters of the rule `name`; `None` when no library has that name.
            pub(super) fn read(name: &str, params: &mut Params<'_>) -> Option<Result<Self, String>> {
                match name {
                    $($kind::NAME => Some($kind::read(params).map(Self::$kind)),)+
                    _ => None,
                }
            }

            pub(super) fn name(&self) -> &'static str {
                match self { $(Self::$kind(_) => $kind::NAME,)+ }
            }

            pub(super) fn tags(&self) -> HashTags {
                match self { $(Self::$kind(_) => $kind::TAGS,)+ }
            }

            pub(super) fn weighted(&self) -> bool {
                match self { $(Self::$kind(_) => $kind::WEIGHTED,)+ }
            }

            pub(super) fn points_per_node(&self) -> u64 {
                match self { $(Self::$kind(recipe) => recipe.points_per_node(),)+ }
            }

            pub(super) fn params(&self) -> Vec<(&'static str, String)> {
                match self { $(Self::$kind(recipe) => recipe.params(),)+ }
            }

            pub(super) fn build(&self, members: &[Member<'_>]) -> Result<Foreign, BuildError> {
                match self { $(Self::$kind(recipe) => recipe.build(members),)+ }
            }
        }

        $(impl From<$kind> for Preset {
            fn from(recipe: $kind) -> Self {
                Self::$kind(recipe)
            }
        })+
    };
}

presets!(GoRedis, Proxenos, RedisArray, RedisRb, Ringpop, Twemproxy);

/// Declares an enum whose values have names in RULE strings.
macro_rules! named {
    (
        $(#[$attr:meta])*
        pub enum $kind:ident($param:literal) {
            $($(#[$value_attr:meta])* $value:ident = $name:literal,)+
        }
    ) => {
        $(#[$attr])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        #[allow(non_camel_case_types, reason = "the library's own names for bit widths")]
        #[non_exhaustive]
        pub enum $kind {
            $($(#[$value_attr])* $value,)+
        }

        impl $kind {
            /// All there are.
            pub const ALL: &'static [Self] = &[$(Self::$value,)+];

            /// The name, as it stands in a RULE string. [Example](crate::guide::by_example#other-libraries-placements).
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$value => $name,)+ }
            }

            pub(super) fn read(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text).ok_or_else(|| {
                    let all: Vec<_> = Self::ALL.iter().map(|value| value.as_str()).collect();
                    let text = crate::build_error::told(text);
                    format!("{}={text} is not known: write one of {}", $param, all.join(", "))
                })
            }
        }

        impl std::fmt::Display for $kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $kind {
            type Err = crate::build_error::BuildError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::read(text).map_err(|why| crate::build_error::BuildError::Option { name: "placement", why })
            }
        }
    };
}
use named;

/// `true` or `false`, and nothing else.
fn read_bool(name: &str, text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| {
        let text = crate::build_error::told(text);
        format!("{name}={text} is not known: write `true` or `false`")
    })
}

/// A byte as C's signed `char` enters arithmetic of 32 bits: from 0x80 on with all higher bits set.
fn signed(byte: u8) -> u32 {
    byte as i8 as u32
}

/// A 32-bit hash as a value on the circle; the order stays.
#[inline]
fn on_circle(hash: u32) -> u64 {
    u64::from(hash) << 32
}

/// The ring of these points, unless they are too many to number.
fn ring_of(points: Vec<Point>) -> Result<Points, BuildError> {
    if points.len() as u64 > Points::MAX {
        return Err(BuildError::Option {
            name: "placement",
            why: format!("all nodes together have more than {} points", Points::MAX),
        });
    }
    Ok(Points::new(points))
}
