//! The slots of Redis Cluster.

use crate::hash::CRC16;

use super::tags::HashTags;

/// The hash slot of `key` in Redis Cluster, 0 to 16383: what `CLUSTER KEYSLOT` answers.
///
/// CRC-16/XMODEM of the part that [`HashTags::Redis`] picks, modulo 16384. fluster has no slots; this is
/// for tools that compare, or move, a deployment with one that has.
///
/// Source: "Key distribution model" in the [Redis Cluster specification], checked against redis-server
/// in `tests/vectors/redis_cluster_slot.json`.
///
/// [Redis Cluster specification]: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#key-distribution-model
///
/// ```
/// use fluster::placement::redis_cluster_slot;
///
/// assert_eq!(redis_cluster_slot(b"user:{7}:cart"), redis_cluster_slot(b"7"));
/// assert!(redis_cluster_slot(b"abc") < 16_384);
/// ```
#[must_use]
pub fn redis_cluster_slot(key: &[u8]) -> u16 {
    const SLOTS: u16 = 16_384;
    let step = |crc: u16, &byte: &u8| (crc << 8) ^ CRC16[usize::from((crc >> 8) as u8 ^ byte)];
    HashTags::Redis.tagged(key).iter().fold(0, step) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_have_their_published_check_values() {
        for (key, slot) in [
            ("", 0),
            ("abc", 7638),
            ("clé", 3008),
            ("hello world, 0123456789 abcdef", 337),
            ("123456789", 0x31c3),
        ] {
            assert_eq!(redis_cluster_slot(key.as_bytes()), slot, "slot of {key:?}");
        }
    }
}
