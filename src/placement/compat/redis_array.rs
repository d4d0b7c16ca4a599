//! phpredis's `RedisArray`.

use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512};
use twox_hash::XxHash64;

use crate::build_error::BuildError;
use crate::hash::murmur3_x86_32;

use super::super::Member;
use super::super::listed::{Listed, Pick};
use super::super::params::Params;
use super::super::points::Point;
use super::super::tags::HashTags;
use super::foreign::KeyHash;
use super::twemproxy_hash::md5_groups;
use super::{Foreign, Recipe, named, on_circle, read_bool, ring_of};

named! {
    /// The hash functions that [`RedisArray::algorithm`] knows, of those that PHP has.
    pub enum RedisArrayHash("algorithm") {
        /// MD5, the default.
        #[default]
        Md5 = "md5",
        /// SHA-1.
        Sha1 = "sha1",
        /// SHA-224.
        Sha224 = "sha224",
        /// SHA-256.
        Sha256 = "sha256",
        /// SHA-384.
        Sha384 = "sha384",
        /// SHA-512.
        Sha512 = "sha512",
        /// CRC-32 as zlib has it.
        Crc32b = "crc32b",
        /// FNV-1a, 32 bits.
        Fnv1a32 = "fnv1a32",
        /// `MurmurHash3`, x86, 32 bits.
        Murmur3a = "murmur3a",
        /// XXH64.
        Xxh64 = "xxh64",
    }
}

impl RedisArrayHash {
    /// The first eight bytes of the digest as PHP prints it, the lowest first, modulo 2^32 - 1.
    pub(super) fn of(self, key: &[u8]) -> u32 {
        let narrow = |hash: u32| u64::from(hash.swap_bytes());
        let number = match self {
            Self::Md5 => first_eight(&Md5::digest(key)),
            Self::Sha1 => first_eight(&Sha1::digest(key)),
            Self::Sha224 => first_eight(&Sha224::digest(key)),
            Self::Sha256 => first_eight(&Sha256::digest(key)),
            Self::Sha384 => first_eight(&Sha384::digest(key)),
            Self::Sha512 => first_eight(&Sha512::digest(key)),
            Self::Crc32b => narrow(crc32fast::hash(key)),
            Self::Fnv1a32 => narrow(fnv1a_32(key)),
            Self::Murmur3a => narrow(murmur3_x86_32(key) as u32),
            Self::Xxh64 => XxHash64::oneshot(0, key).swap_bytes(),
        };
        // Below 2^32 - 1, so nothing is cut.
        (number % u64::from(u32::MAX)) as u32
    }
}

fn first_eight(digest: &[u8]) -> u64 {
    digest
        .first_chunk()
        .map_or(0, |first| u64::from_le_bytes(*first))
}

fn fnv1a_32(key: &[u8]) -> u32 {
    key.iter().fold(0x811c_9dc5, |h, &byte| {
        (h ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// The parameters of [`Placement::redis_array`](crate::placement::Placement::redis_array).
///
/// ```
/// use fluster::placement::{Placement, RedisArray, RedisArrayHash};
///
/// let rule = Placement::redis_array(RedisArray::default().consistent(true).algorithm(RedisArrayHash::Xxh64));
/// assert_eq!(rule.to_string(), "redis-array:consistent=true,algorithm=xxh64");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RedisArray {
    consistent: bool,
    algorithm: Option<RedisArrayHash>,
}

impl RedisArray {
    /// Whether keys go by a ring, as with the option `consistent` of `RedisArray`. Default: no, by the
    /// place in the list. [Example](crate::guide::by_example#other-libraries-placements).
    #[must_use]
    pub fn consistent(self, consistent: bool) -> Self {
        Self { consistent, ..self }
    }

    /// The hash function, as with the option `algorithm`. Default: CRC-32 in phpredis's own way. [Example](crate::guide::by_example#other-libraries-placements).
    #[must_use]
    pub fn algorithm(self, algorithm: RedisArrayHash) -> Self {
        Self {
            algorithm: Some(algorithm),
            ..self
        }
    }
}

/// Source: phpredis 5.3.7, checked against its own output in
/// `tests/vectors/phpredis_redisarray.json`; the algorithms sha1, sha224, sha384 and sha512 follow the
/// same steps and have no vectors.
impl Recipe for RedisArray {
    const NAME: &'static str = "redis-array";
    const TAGS: HashTags = HashTags::RedisArray;

    fn read(params: &mut Params<'_>) -> Result<Self, String> {
        let consistent = params.take("consistent");
        let algorithm = params.take("algorithm");
        Ok(Self {
            consistent: consistent.map_or(Ok(false), |text| read_bool("consistent", text))?,
            algorithm: algorithm.map(RedisArrayHash::read).transpose()?,
        })
    }

    fn params(&self) -> Vec<(&'static str, String)> {
        let consistent = self.consistent.then(|| ("consistent", "true".to_owned()));
        let algorithm = self.algorithm.map(|hash| ("algorithm", hash.to_string()));
        consistent.into_iter().chain(algorithm).collect()
    }

    fn build(&self, members: &[Member<'_>]) -> Result<Foreign, BuildError> {
        if !self.consistent {
            let hash = match self.algorithm {
                None => KeyHash::Crc32,
                Some(algorithm) => KeyHash::PhpComplement(algorithm),
            };
            let list = Listed::new(members, Pick::Scaled, false);
            return Ok(Foreign::Listed { list, hash });
        }
        // 160 points per host, four from each digest.
        let points = (0_u32..).zip(members).flat_map(|(node, member)| {
            (0..40).flat_map(move |i| {
                let group = md5_groups(format!("{}-{i}", member.name).as_bytes());
                group.map(|hash| Point::new(on_circle(hash), node))
            })
        });
        let hash = match self.algorithm {
            // The register before its final complement.
            None => KeyHash::Crc32Complement,
            Some(algorithm) => KeyHash::Php(algorithm),
        };
        Ok(Foreign::Ring {
            points: ring_of(points.collect())?,
            hash,
        })
    }
}
