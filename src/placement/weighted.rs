//! Weighted rendezvous hashing: every node scores every key, the greatest score owns it.

use crate::hash::xxh3_64;

use super::Member;
use super::scored::Scores;

/// The nodes of a rendezvous table.
#[derive(Clone, Debug)]
pub(super) struct Weighted {
    hashes: Box<[u64]>,
    /// `None` when all weights are equal.
    weights: Option<Box<[f64]>>,
}

impl Weighted {
    pub(super) fn new(members: &[Member<'_>]) -> Self {
        let equal = members
            .windows(2)
            .all(|pair| pair[0].weight == pair[1].weight);
        Self {
            hashes: members
                .iter()
                .map(|member| xxh3_64(member.name.as_bytes()))
                .collect(),
            weights: (!equal).then(|| members.iter().map(|m| f64::from(m.weight)).collect()),
        }
    }

    #[inline]
    pub(super) fn scores(&self, key: &[u8]) -> KeyScores<'_> {
        KeyScores {
            nodes: self,
            key: xxh3_64(key),
        }
    }
}

/// The scores of one key.
#[derive(Clone, Debug)]
pub(super) struct KeyScores<'t> {
    nodes: &'t Weighted,
    key: u64,
}

impl Scores for KeyScores<'_> {
    #[inline]
    fn nodes(&self) -> u32 {
        // A table never has more: `Placement::table` checks.
        u32::try_from(self.nodes.hashes.len()).unwrap_or(u32::MAX)
    }

    #[inline]
    fn score(&self, node: u32) -> u64 {
        let hash = mix(self.key ^ self.nodes.hashes[node as usize]);
        match &self.nodes.weights {
            // -1/ln(u) grows with u, so with equal weights the hash ranks as its logarithm would.
            None => hash,
            // Positive floats order as their bits do.
            Some(weights) => (weights[node as usize] / minus_ln_of_unit(hash)).to_bits(),
        }
    }
}

/// Spreads one bit of difference over all 64: `SplitMix64`'s finaliser (Stafford's variant 13).
///
/// It is a bijection, so two nodes tie on a key only if the hashes of their names are equal.
#[inline]
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// -ln(u), where u in (0, 1) are the upper 52 bits of `hash`.
///
/// Not `f64::ln`: its last bits differ between platforms and versions of libm, and two processes
/// must not disagree about one key. This uses additions, multiplications and divisions only, which
/// IEEE 754 rounds alike everywhere, in a fixed order (Rust never fuses or reorders them). The
/// error stays below 1e-14 of the result, also next to u = 1, where winners are.
#[inline]
fn minus_ln_of_unit(hash: u64) -> f64 {
    const MANTISSA: u32 = f64::MANTISSA_DIGITS - 1;
    const ONE: u64 = 1.0_f64.to_bits();

    // k + 1/2 for k of 52 bits is exact, is never 0, and its half-way mark keeps u below 1.
    let unit = ((hash >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;

    // unit = m * 2^-halvings with m in [sqrt(1/2), sqrt(2)).
    let bits = unit.to_bits();
    let mut halvings = (ONE >> MANTISSA) as i32 - (bits >> MANTISSA) as i32;
    let mut m = f64::from_bits(bits & ((1 << MANTISSA) - 1) | ONE);
    if m >= std::f64::consts::SQRT_2 {
        m /= 2.0;
        halvings -= 1;
    }

    // ln(m) = 2 artanh(s) with s = (m-1)/(m+1); s² < 0.0295, so ten terms reach the last bit.
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let mut series = 1.0 / 19.0;
    for odd in [17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        series = series * z + 1.0 / odd;
    }
    f64::from(halvings) * std::f64::consts::LN_2 - 2.0 * s * series
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn scores_are_pinned() {
        // Computed once; a change moves keys in every fleet.
        let equal = Weighted::new(&[Member::new("a"), Member::new("b")]);
        let weighted = Weighted::new(&[Member::new("a"), Member::new("b").weight(3)]);
        let of = |table: &Weighted| [table.scores(b"key").score(0), table.scores(b"key").score(1)];
        assert_eq!(of(&equal), [0x10cd_e353_cb3f_fe69, 0xd858_f05c_54ec_9f3b]);
        assert_eq!(
            of(&weighted),
            [4_600_285_938_552_276_625, 4_625_710_838_017_439_415]
        );
    }

    #[test]
    fn the_logarithm_is_finite_and_positive_at_both_ends() {
        assert_eq!(
            minus_ln_of_unit(0),
            53.0 * std::f64::consts::LN_2,
            "u = 2^-53"
        );
        let least = minus_ln_of_unit(u64::MAX);
        assert!(
            least > 0.0 && (least * 2_f64.powi(53) - 1.0).abs() < 1e-14,
            "u = 1 - 2^-53: {least}"
        );
    }

    proptest! {
        #[test]
        fn the_logarithm_is_that_of_the_standard_library(hash in any::<u64>(), shift in 0..52_u32) {
            for hash in [hash, hash >> shift, !(hash >> shift)] {
                let unit = ((hash >> 12) as f64 + 0.5) / 2_f64.powi(52);
                let expected = -unit.ln();
                let error = (minus_ln_of_unit(hash) / expected - 1.0).abs();
                prop_assert!(error < 1e-14, "u = {unit}: off by {error:e}");
            }
        }
    }
}
