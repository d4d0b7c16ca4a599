//! The twelve hash functions of twemproxy, with what is special to each on x86.
//!
//! C's `char` is signed there, so several of them take bytes from 0x80 on as negative numbers. A
//! textbook implementation differs for every key that is not ASCII.

use md5::{Digest, Md5};

use crate::hash::CRC16;

use super::{named, signed};

named! {
    /// The hash function that a twemproxy pool applies to keys: the `hash:` of its configuration.
    ///
    /// ```
    /// use fluster::placement::TwemproxyHash;
    ///
    /// assert_eq!("murmur".parse(), Ok(TwemproxyHash::Murmur));
    /// assert_eq!(TwemproxyHash::default().to_string(), "fnv1a_64");
    /// ```
    pub enum TwemproxyHash("hash") {
        /// Jenkins's one-at-a-time.
        OneAtATime = "one_at_a_time",
        /// The first four bytes of MD5.
        Md5 = "md5",
        /// CRC-16 in a register of 32 bits that is never cut, as twemproxy has it.
        Crc16 = "crc16",
        /// The upper half of CRC-32, without its highest bit: 32 768 values.
        Crc32 = "crc32",
        /// CRC-32.
        Crc32a = "crc32a",
        /// FNV-1, its 64-bit constants in 32 bits.
        Fnv1_64 = "fnv1_64",
        /// FNV-1a, its 64-bit constants in 32 bits; the default.
        #[default]
        Fnv1a_64 = "fnv1a_64",
        /// FNV-1.
        Fnv1_32 = "fnv1_32",
        /// FNV-1a.
        Fnv1a_32 = "fnv1a_32",
        /// Hsieh's `SuperFastHash`, started at 0.
        Hsieh = "hsieh",
        /// `MurmurHash2` with a seed made of the length.
        Murmur = "murmur",
        /// Jenkins's lookup3 with start value 13.
        Jenkins = "jenkins",
    }
}

impl TwemproxyHash {
    /// The hash of a key; of the empty one it is 0, whatever the function.
    pub(super) fn of(self, key: &[u8]) -> u32 {
        if key.is_empty() {
            return 0;
        }
        match self {
            Self::OneAtATime => one_at_a_time(key),
            Self::Md5 => md5_groups(key)[0],
            Self::Crc16 => crc16(key),
            Self::Crc32 => (crc32fast::hash(key) >> 16) & 0x7fff,
            Self::Crc32a => crc32fast::hash(key),
            Self::Fnv1_64 => fnv1(key, 0x8422_2325, 0x1b3),
            Self::Fnv1a_64 => fnv1a(key, 0x8422_2325, 0x1b3),
            Self::Fnv1_32 => fnv1(key, 2_166_136_261, 16_777_619),
            Self::Fnv1a_32 => fnv1a(key, 2_166_136_261, 16_777_619),
            Self::Hsieh => hsieh(key),
            Self::Murmur => murmur2(key),
            Self::Jenkins => lookup3(key),
        }
    }

    /// The greatest hash there is; `None` where the hashes of usual keys leave most of the space empty.
    pub(super) fn greatest(self) -> Option<u32> {
        match self {
            Self::Crc32 => Some(0x7fff),
            Self::Crc16 => None,
            _ => Some(u32::MAX),
        }
    }
}

/// MD5 as four numbers, the lowest byte first: ketama's way to four points from one digest.
pub(super) fn md5_groups(bytes: &[u8]) -> [u32; 4] {
    let digest: [u8; 16] = Md5::digest(bytes).into();
    let (words, _) = digest.as_chunks::<4>();
    [0, 1, 2, 3].map(|at| u32::from_le_bytes(words[at]))
}

fn fnv1(key: &[u8], start: u32, prime: u32) -> u32 {
    key.iter()
        .fold(start, |h, &byte| h.wrapping_mul(prime) ^ signed(byte))
}

fn fnv1a(key: &[u8], start: u32, prime: u32) -> u32 {
    key.iter()
        .fold(start, |h, &byte| (h ^ signed(byte)).wrapping_mul(prime))
}

fn one_at_a_time(key: &[u8]) -> u32 {
    let mut h = 0_u32;
    for &byte in key {
        h = h.wrapping_add(signed(byte));
        h = h.wrapping_add(h << 10);
        h ^= h >> 6;
    }
    h = h.wrapping_add(h << 3);
    h ^= h >> 11;
    h.wrapping_add(h << 15)
}

fn crc16(key: &[u8]) -> u32 {
    key.iter().fold(0, |crc: u32, &byte| {
        (crc << 8) ^ u32::from(CRC16[usize::from((crc >> 8) as u8 ^ byte)])
    })
}

fn hsieh(key: &[u8]) -> u32 {
    let half = |low: u8, high: u8| u32::from(u16::from_le_bytes([low, high]));
    let (words, tail) = key.as_chunks::<4>();
    let mut h = 0_u32;
    for &[a, b, c, d] in words {
        h = h.wrapping_add(half(a, b));
        h = (h << 16) ^ (half(c, d) << 11) ^ h;
        h = h.wrapping_add(h >> 11);
    }
    match *tail {
        [a, b, c] => {
            h = h.wrapping_add(half(a, b));
            h ^= h << 16;
            h ^= signed(c) << 18;
            h = h.wrapping_add(h >> 11);
        }
        [a, b] => {
            h = h.wrapping_add(half(a, b));
            h ^= h << 11;
            h = h.wrapping_add(h >> 17);
        }
        [a] => {
            h = h.wrapping_add(u32::from(a));
            h ^= h << 10;
            h = h.wrapping_add(h >> 1);
        }
        _ => {}
    }
    h ^= h << 3;
    h = h.wrapping_add(h >> 5);
    h ^= h << 4;
    h = h.wrapping_add(h >> 17);
    h ^= h << 25;
    h.wrapping_add(h >> 6)
}

fn murmur2(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let length = key.len() as u32;
    let mut h = 0xdead_beef_u32.wrapping_mul(length) ^ length;
    let (words, tail) = key.as_chunks::<4>();
    for &word in words {
        let k = u32::from_le_bytes(word).wrapping_mul(M);
        h = h.wrapping_mul(M) ^ (k ^ (k >> 24)).wrapping_mul(M);
    }
    if !tail.is_empty() {
        h = (h ^ little_endian(tail)).wrapping_mul(M);
    }
    h = (h ^ (h >> 13)).wrapping_mul(M);
    h ^ (h >> 15)
}

fn lookup3(key: &[u8]) -> u32 {
    let start = 0xdead_beef_u32
        .wrapping_add(key.len() as u32)
        .wrapping_add(13);
    let [mut a, mut b, mut c] = [start; 3];
    // The last block, also when it is a full one, goes through the final steps instead.
    let last_at = (key.len() - 1) / 12 * 12;
    let words = |block: &[u8]| {
        let mut padded = [0; 12];
        padded[..block.len()].copy_from_slice(block);
        let (words, _) = padded.as_chunks::<4>();
        [0, 1, 2].map(|at| u32::from_le_bytes(words[at]))
    };
    for block in key[..last_at].chunks(12) {
        let [x, y, z] = words(block);
        (a, b, c) = (a.wrapping_add(x), b.wrapping_add(y), c.wrapping_add(z));
        for (turn, which) in [(4, 0), (6, 1), (8, 2), (16, 0), (19, 1), (4, 2)] {
            let mix = |x: &mut u32, y: &mut u32, z: &mut u32| {
                *x = x.wrapping_sub(*z) ^ z.rotate_left(turn);
                *z = z.wrapping_add(*y);
            };
            match which {
                0 => mix(&mut a, &mut b, &mut c),
                1 => mix(&mut b, &mut c, &mut a),
                _ => mix(&mut c, &mut a, &mut b),
            }
        }
    }
    let [x, y, z] = words(&key[last_at..]);
    (a, b, c) = (a.wrapping_add(x), b.wrapping_add(y), c.wrapping_add(z));
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

/// Up to four bytes as a number, the lowest first.
fn little_endian(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, &byte| number << 8 | u32::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_twelve_have_their_check_values() {
        for (name, values) in [
            ("one_at_a_time", [0xed13_1f5b_u32, 0x754f_6019, 0x16b7_31a4]),
            ("md5", [0x9850_0190, 0x72ca_8ca2, 0x9a7e_2b3f]),
            ("crc16", [0x7c74_9dd6, 0xf365_4bc0, 0x9510_0151]),
            ("crc32", [0x3524, 0x06c7, 0x2c7d]),
            ("crc32a", [0x3524_41c2, 0x06c7_2a74, 0xac7d_0bee]),
            ("fnv1_64", [0x6baf_adcb, 0xf10c_ec18, 0x2457_25df]),
            ("fnv1a_64", [0x0541_574b, 0x1e09_1436, 0xecf5_04af]),
            ("fnv1_32", [0x439c_2f4b, 0xaabe_94b8, 0x08df_ecff]),
            ("fnv1a_32", [0x1a47_e90b, 0x6754_3736, 0x9f32_a70f]),
            ("hsieh", [0xe518_6b3a, 0x1709_4bda, 0x7f10_ea32]),
            ("murmur", [0x7b0c_c428, 0x2148_18a7, 0xeec0_9903]),
            ("jenkins", [0x8f41_5600, 0xe0fd_b421, 0x9f66_2aca]),
        ] {
            let hash: TwemproxyHash = name.parse().expect("a hash of twemproxy");
            assert_eq!(hash.to_string(), name);
            assert_eq!(hash.of(b""), 0, "{name} of nothing");
            for (key, value) in ["abc", "clé", "hello world, 0123456789 abcdef"]
                .into_iter()
                .zip(values)
            {
                assert_eq!(hash.of(key.as_bytes()), value, "{name} of {key:?}");
            }
        }
        assert_eq!(TwemproxyHash::ALL.len(), 12);
    }
}
