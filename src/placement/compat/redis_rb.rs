//! redis-rb's `Redis::Distributed`: a ring over CRC-32 that is read backwards.
//!
//! Source: redis-rb 4.8 (`hash_ring.rb`), checked against its own output in
//! `tests/vectors/redis_rb_distributed.json`. A key belongs to the **last** point at or before it, and of
//! nodes with one point to the one that was added last; so points and keys are complemented here, and
//! nodes added in reverse.

use crate::build_error::BuildError;

use super::super::Member;
use super::super::params::Params;
use super::super::points::Point;
use super::super::tags::HashTags;
use super::foreign::KeyHash;
use super::{Foreign, Recipe, on_circle, ring_of};

const POINTS: u32 = 160;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::placement) struct RedisRb;

impl Recipe for RedisRb {
    const NAME: &'static str = "redis-rb";
    const TAGS: HashTags = HashTags::RedisRb;

    fn read(_: &mut Params<'_>) -> Result<Self, String> {
        Ok(Self)
    }

    fn params(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn build(&self, members: &[Member<'_>]) -> Result<Foreign, BuildError> {
        let nodes: Vec<_> = (0_u32..).zip(members).collect();
        let points = nodes.into_iter().rev().flat_map(|(node, member)| {
            (0..POINTS).map(move |i| {
                let hash = crc32fast::hash(format!("{}:{i}", member.name).as_bytes());
                Point::new(on_circle(!hash), node)
            })
        });
        Ok(Foreign::Ring {
            points: ring_of(points.collect())?,
            hash: KeyHash::Crc32Complement,
        })
    }
}
