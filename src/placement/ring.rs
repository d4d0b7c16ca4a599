//! The default rule: fastring's points and fastring's hash of a key.

use crate::hash::xxh3_64;

use super::points::Point;

/// How many points a node of weight 1 has unless told otherwise.
pub(super) const DEFAULT_POINTS: u32 = 128;

/// Where a key stands on the ring.
#[inline]
pub(super) fn value_of(key: &[u8]) -> u64 {
    xxh3_64(key)
}

/// The points of the node `node`: point i is XXH3 of its name, `#`, and i as four bytes, the
/// lowest first.
///
/// Source: fastring 0.2.1, checked against its own output in `tests/vectors/fastring.json`.
pub(super) fn points_of(name: &str, node: u32, count: u32) -> impl Iterator<Item = Point> {
    let mut bytes = [name.as_bytes(), b"#", &[0; 4]].concat();
    let counter_at = name.len() + 1;
    (0..count).map(move |i| {
        bytes[counter_at..].copy_from_slice(&i.to_le_bytes());
        Point::new(xxh3_64(&bytes), node)
    })
}
