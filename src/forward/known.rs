//! Which marks came already. Pure: the time is an argument.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::mark::TOLERANCE;
use crate::sealed::NONCE;

/// Nonces in one of the two sets.
const REMEMBERED: usize = 32_768;
/// How long a set is filled: twice the tolerance, so that a mark is remembered while it is valid.
const TURN: Duration = Duration::from_millis(2 * TOLERANCE);

/// The nonces that came already: two sets that change places. What they no longer know is believed, for it is still
/// bound to its request.
#[derive(Debug)]
pub(crate) struct Known {
    now: HashSet<[u8; NONCE]>,
    before: HashSet<[u8; NONCE]>,
    turned: Instant,
    /// Nonces that were forgotten before their time.
    forgotten: u64,
}

impl Known {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            now: HashSet::new(),
            before: HashSet::new(),
            turned: now,
            forgotten: 0,
        }
    }

    /// Whether it comes for the first time, as far as is known. Asked only of what is ours: others must not fill it.
    pub(crate) fn is_new(&mut self, nonce: [u8; NONCE], now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.turned);
        if passed >= TURN || self.now.len() >= REMEMBERED {
            if passed < TURN {
                self.forgotten += self.before.len() as u64;
            }
            std::mem::swap(&mut self.before, &mut self.now);
            self.now.clear();
            if passed >= 2 * TURN {
                self.before.clear();
            }
            self.turned = now;
        }
        !self.before.contains(&nonce) && self.now.insert(nonce)
    }

    /// How many were forgotten before their time.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_known_as_long_as_a_mark_is_valid() {
        let start = Instant::now();
        let mut known = Known::new(start);
        assert!(known.is_new([1; NONCE], start) && !known.is_new([1; NONCE], start));
        let valid = Duration::from_millis(2 * TOLERANCE);
        for n in 1..=valid.as_secs() {
            assert!(
                !known.is_new([1; NONCE], start + Duration::from_secs(n)),
                "after {n} s"
            );
        }
        assert!(
            known.is_new([1; NONCE], start + 4 * valid),
            "it is no longer valid"
        );
        assert_eq!(known.forgotten(), 0);
    }

    #[test]
    fn what_is_known_stays_within_its_bound_and_what_is_forgotten_is_counted() {
        let start = Instant::now();
        let mut known = Known::new(start);
        for n in 0..3 * REMEMBERED as u64 {
            let mut nonce = [0; NONCE];
            nonce[..8].copy_from_slice(&n.to_le_bytes());
            assert!(known.is_new(nonce, start));
            assert!(known.now.len() <= REMEMBERED && known.before.len() <= REMEMBERED);
        }
        assert_eq!(known.forgotten(), REMEMBERED as u64);
    }
}
