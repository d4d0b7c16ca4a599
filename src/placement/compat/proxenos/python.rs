//! What proxenos takes from Python: integers without a limit, and their random generator.

use rand_mt::Mt;

/// CPython's `random.Random(seed).randint(0, sys.maxsize)` where `sys.maxsize` is 2^63 - 1.
pub(super) fn random_63(seed: &Integer) -> u64 {
    let mut twister = Mt::new_with_key(seed.magnitude().iter().copied());
    loop {
        let (low, high) = (twister.next_u32(), twister.next_u32());
        let value = u64::from(high) << 32 | u64::from(low);
        if value >> 63 == 0 {
            return value;
        }
    }
}

/// An integer of Python, of up to 512 bits.
#[derive(Clone, Debug)]
pub(super) struct Integer {
    /// The lowest first; all zero beyond the first two when it is negative, see there.
    words: [u32; 16],
    /// Then the first two words are its two's complement in 64 bits.
    negative: bool,
}

impl Integer {
    pub(super) fn signed(value: i64) -> Self {
        let mut words = [0; 16];
        (words[0], words[1]) = (value as u32, (value >> 32) as u32);
        Self {
            words,
            negative: value < 0,
        }
    }

    pub(super) fn from_be_bytes(bytes: &[u8]) -> Self {
        let mut words = [0; 16];
        for (word, bytes) in words.iter_mut().zip(bytes.rchunks(4)) {
            *word = bytes
                .iter()
                .fold(0, |word, &byte| word << 8 | u32::from(byte));
        }
        Self {
            words,
            negative: false,
        }
    }

    /// Exclusive or with a number that is not negative, and the absolute value of that.
    pub(super) fn xor(&self, other: u64) -> Self {
        let mut words = self.words;
        words[0] ^= other as u32;
        words[1] ^= (other >> 32) as u32;
        if self.negative {
            // Bit 63 of `other` is 0, so the sign stays.
            let value = (u64::from(words[1]) << 32 | u64::from(words[0])).wrapping_neg();
            (words[0], words[1]) = (value as u32, (value >> 32) as u32);
        }
        Self {
            words,
            negative: false,
        }
    }

    /// The words up to the highest that is not 0; at least one.
    pub(super) fn magnitude(&self) -> &[u32] {
        let highest = self.words.iter().rposition(|&word| word != 0);
        &self.words[..=highest.unwrap_or(0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_number_has_the_magnitude_of_python() {
        // abs(-5 ^ 3) == 8
        assert_eq!(Integer::signed(-5).xor(3).magnitude(), [8]);
        // abs(-2**63 ^ 0) == 2**63
        assert_eq!(Integer::signed(i64::MIN).xor(0).magnitude(), [0, 1 << 31]);
        assert_eq!(
            Integer::signed(0).xor(0).magnitude(),
            [0],
            "at least one word"
        );
    }
}
