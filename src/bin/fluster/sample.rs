//! Keys to look at a placement with.

use crate::text::push_hex;

/// The key of this number: `key:` and digits that differ everywhere. Keys that count up keep their likeness
/// under CRC-32 and FNV, and would show shares that no real keys have.
pub fn key(number: u64, into: &mut Vec<u8>) {
    into.clear();
    into.extend(b"key:");
    push_hex(&mixed(number).to_be_bytes(), into);
}

/// The same with a hash tag, and another key behind it.
pub fn tagged(number: u64, into: &mut Vec<u8>) {
    into.clear();
    into.push(b'{');
    push_hex(&mixed(number).to_be_bytes(), into);
    into.extend(b"}:");
    push_hex(&(number as u16).to_be_bytes(), into);
}

/// The output function of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
/// Generators", OOPSLA 2014): the same keys in every run.
fn mixed(number: u64) -> u64 {
    let z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
