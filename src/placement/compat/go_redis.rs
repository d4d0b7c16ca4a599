//! go-redis's `Ring`: rendezvous hashing over XXH64.
//!
//! Source: go-redis 9.22, checked against its own output in `tests/vectors/go_redis_ring.json`. Only
//! the names of the shards count.

use twox_hash::XxHash64;

use crate::build_error::BuildError;

use super::super::Member;
use super::super::params::Params;
use super::super::scored::Scores;
use super::super::tags::HashTags;
use super::{Foreign, Recipe};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::placement) struct GoRedis;

impl Recipe for GoRedis {
    const NAME: &'static str = "go-redis";
    const TAGS: HashTags = HashTags::Redis;

    fn read(_: &mut Params<'_>) -> Result<Self, String> {
        Ok(Self)
    }

    fn params(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn build(&self, members: &[Member<'_>]) -> Result<Foreign, BuildError> {
        let hash = |member: &Member<'_>| xxh64(member.name.as_bytes());
        Ok(Foreign::GoRedis(Shards(members.iter().map(hash).collect())))
    }
}

fn xxh64(bytes: &[u8]) -> u64 {
    XxHash64::oneshot(0, bytes)
}

/// The hashes of the shards' names.
#[derive(Clone, Debug)]
pub(in crate::placement) struct Shards(Box<[u64]>);

impl Shards {
    #[inline]
    pub(super) fn scores(&self, key: &[u8]) -> ShardScores<'_> {
        ShardScores {
            shards: self,
            key: xxh64(key),
        }
    }
}

/// The scores of one key.
#[derive(Clone, Debug)]
pub(in crate::placement) struct ShardScores<'t> {
    shards: &'t Shards,
    key: u64,
}

impl Scores for ShardScores<'_> {
    #[inline]
    fn nodes(&self) -> u32 {
        // A table never has more: `Placement::table` checks.
        u32::try_from(self.shards.0.len()).unwrap_or(u32::MAX)
    }

    /// One step of xorshift* seeded with both hashes.
    #[inline]
    fn score(&self, node: u32) -> u64 {
        let mut x = self.key ^ self.shards.0[node as usize];
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        x.wrapping_mul(2_685_821_657_736_338_717)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xxh64_has_its_check_values() {
        for (key, hash) in [
            ("", 0xef46_db37_51d8_e999_u64),
            ("abc", 0x44bc_2cf5_ad77_0999),
            ("clé", 0xd498_478f_4ee6_f91e),
            ("hello world, 0123456789 abcdef", 0xa568_5cc8_aa5f_0d6c),
        ] {
            assert_eq!(xxh64(key.as_bytes()), hash, "XXH64 of {key:?}");
        }
    }
}
