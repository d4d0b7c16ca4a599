//! `FarmHash`'s Fingerprint32, Ringpop's hash.
//!
//! Source: Google's `FarmHash` (`farmhashmk`), which promises that fingerprints never change. Written
//! here because the crate `farmhash` 1.1 adds without wrapping, so it panics in builds that check for
//! overflow, and takes short keys as unsigned bytes where the original takes signed ones.

const C1: u32 = 0xcc9e_2d51;
const C2: u32 = 0x1b87_3593;

/// Bytes that are not ASCII enter short inputs (up to four bytes) sign-extended, as in the original.
pub(super) fn fingerprint32(bytes: &[u8]) -> u32 {
    match bytes.len() {
        0..=4 => up_to_4(bytes),
        5..=12 => up_to_12(bytes),
        13..=24 => up_to_24(bytes),
        _ => long(bytes),
    }
}

fn up_to_4(bytes: &[u8]) -> u32 {
    let (mut b, mut c) = (0_u32, 9_u32);
    for &byte in bytes {
        b = b.wrapping_mul(C1).wrapping_add(super::signed(byte));
        c ^= b;
    }
    avalanche(round(b, round(length(bytes), c)))
}

fn up_to_12(bytes: &[u8]) -> u32 {
    let len = bytes.len();
    let five = length(bytes).wrapping_mul(5);
    let a = length(bytes).wrapping_add(word(bytes, 0));
    let b = five.wrapping_add(word(bytes, len - 4));
    let c = word(bytes, (len >> 1) & 4).wrapping_add(9);
    avalanche(round(c, round(b, round(a, five))))
}

fn up_to_24(bytes: &[u8]) -> u32 {
    let len = bytes.len();
    let [a, b, c, d, e, f] =
        [(len >> 1) - 4, 4, len - 8, len >> 1, 0, len - 4].map(|at| word(bytes, at));
    let mut h = d.wrapping_mul(C1).wrapping_add(length(bytes));
    let mut a = a.rotate_right(12).wrapping_add(f);
    h = round(c, h).wrapping_add(a);
    a = a.rotate_right(3).wrapping_add(c);
    h = round(e, h).wrapping_add(a);
    a = a.wrapping_add(f).rotate_right(12).wrapping_add(d);
    h = round(b, h).wrapping_add(a);
    avalanche(h)
}

fn long(bytes: &[u8]) -> u32 {
    let len = bytes.len();
    let last = [4, 8, 16, 12, 20].map(|back| scramble(word(bytes, len - back)));
    let five = |h: u32| h.rotate_right(19).wrapping_mul(5).wrapping_add(0xe654_6b64);
    let mut h = five(five(length(bytes) ^ last[0]) ^ last[2]);
    let mut g = length(bytes).wrapping_mul(C1);
    let mut f = g.wrapping_add(last[4]).rotate_right(19).wrapping_add(113);
    g = five(five(g ^ last[1]) ^ last[3]);
    for block in 0..(len - 1) / 20 {
        let [a, b, c, d, e] = [0, 4, 8, 12, 16].map(|at| word(bytes, 20 * block + at));
        h = h.wrapping_add(a);
        g = g.wrapping_add(b);
        f = f.wrapping_add(c);
        h = round(d, h).wrapping_add(e);
        g = round(c, g).wrapping_add(a);
        f = round(b.wrapping_add(e.wrapping_mul(C1)), f).wrapping_add(d);
        f = f.wrapping_add(g);
        g = g.wrapping_add(f);
    }
    let twice = |x: u32| {
        let once = x.rotate_right(11).wrapping_mul(C1);
        once.rotate_right(17).wrapping_mul(C1)
    };
    h = five(h.wrapping_add(twice(g)));
    h = h.rotate_right(17).wrapping_mul(C1);
    h = five(h.wrapping_add(twice(f)));
    h.rotate_right(17).wrapping_mul(C1)
}

fn scramble(word: u32) -> u32 {
    word.wrapping_mul(C1).rotate_right(17).wrapping_mul(C2)
}

fn round(word: u32, h: u32) -> u32 {
    let h = (h ^ scramble(word)).rotate_right(19);
    h.wrapping_mul(5).wrapping_add(0xe654_6b64)
}

fn avalanche(mut h: u32) -> u32 {
    h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
    h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}

/// The length enters the hash modulo 2^32.
fn length(bytes: &[u8]) -> u32 {
    bytes.len() as u32
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_have_their_check_values() {
        for (key, hash) in [
            ("", 0xdc56_d17a),
            ("abc", 0x2f63_5ec7),
            ("clé", 0x15a7_7b21),
            ("hello world, 0123456789 abcdef", 0xeb18_2db0),
        ] {
            assert_eq!(fingerprint32(key.as_bytes()), hash, "hash of {key:?}");
        }
    }

    #[test]
    fn every_length_has_a_hash_of_its_own() {
        let all = [0xff; 300];
        let distinct: std::collections::BTreeSet<u32> = (0..all.len())
            .map(|len| fingerprint32(&all[..len]))
            .collect();
        assert_eq!(distinct.len(), all.len(), "and none overflows");
    }
}
