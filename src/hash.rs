//! The hash functions that decide where a key lives, pinned to the values other libraries compute.
//!
//! A change of one bit here moves every user's keys, so each function is tested against published
//! check values and never swapped for "a faster one".

/// XXH3, 64 bits, seed 0, default secret: fastring's hash and that of our own rules.
#[inline]
pub(crate) fn xxh3_64(bytes: &[u8]) -> u64 {
    twox_hash::XxHash3_64::oneshot(bytes)
}

/// `MurmurHash3` `x86_32` with seed 0, read as a signed number as Python's `mmh3.hash` does.
pub(crate) fn murmur3_x86_32(bytes: &[u8]) -> i32 {
    // The crate reads from any `io::Read`; a slice cannot fail.
    let hash = murmur3::murmur3_32(&mut { bytes }, 0).unwrap_or_default();
    i32::from_ne_bytes(hash.to_ne_bytes())
}

/// The table of CRC-16 with polynomial 0x1021, the highest bit first.
pub(crate) const CRC16: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc << 1) ^ if crc >> 15 == 1 { 0x1021 } else { 0 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = ["", "abc", "clé", "hello world, 0123456789 abcdef"];

    #[test]
    fn xxh3_gives_the_published_check_values() {
        let expected = [
            0x2d06_8005_38d3_94c2,
            0x78af_5f94_892f_3950,
            0x061b_b717_7f5a_5f6a,
            0x6312_94f3_e0d6_8fbe,
        ];
        for (key, value) in KEYS.into_iter().zip(expected) {
            assert_eq!(xxh3_64(key.as_bytes()), value, "XXH3-64 of {key:?}");
        }
    }

    #[test]
    fn murmur3_gives_the_signed_check_values() {
        let expected = [0, -1_277_324_294, -368_815_421, -1_300_022_298];
        for (key, value) in KEYS.into_iter().zip(expected) {
            assert_eq!(
                murmur3_x86_32(key.as_bytes()),
                value,
                "murmur3_x86_32 of {key:?}"
            );
        }
    }
}
