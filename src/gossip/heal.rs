//! When to knock, and at whose door: joining, and finding those again who were lost.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::seq::IndexedRandom as _;
use rand::{Rng, RngExt as _};

use crate::clock::half_jitter;

/// The first pause between two rounds while alone; half of it at least.
const FIRST: Duration = Duration::from_millis(500);
/// The longest.
const LONGEST: Duration = Duration::from_secs(5);
/// Doors at once.
pub(crate) const DOORS: usize = 3;
/// One healing in so many instances and periods.
const HEALERS: f64 = 3.0;
/// `heal_now` gives up after so many that do not answer.
pub(crate) const FAILURES: usize = 10;
/// How long an answer is waited for.
pub(crate) const ANSWER: Duration = Duration::from_secs(1);

/// The rounds of knocking of an instance that is alone.
#[derive(Debug)]
pub(crate) struct Knocking {
    pause: Duration,
    due: Instant,
}

impl Knocking {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            pause: FIRST,
            due: now,
        }
    }

    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// A round was made; the next one comes later each time, with fresh chance, for ever.
    pub(crate) fn knocked(&mut self, now: Instant, unit: f64) {
        self.due = now + half_jitter(self.pause, unit);
        self.pause = (2 * self.pause).min(LONGEST);
    }

    /// At once, and quickly from then on: something is new.
    pub(crate) fn again(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// We were stopped: the time did not pass for us.
    pub(crate) fn shift(&mut self, lag: Duration) {
        self.due += lag;
    }
}

/// Some of the doors, at random.
pub(crate) fn some(doors: &[SocketAddr], rng: &mut impl Rng) -> Vec<SocketAddr> {
    doors.sample(rng, DOORS).copied().collect()
}

/// Whether this instance, of so many, knocks in this period: three in all do, whatever their number.
pub(crate) fn heals(instances: usize, rng: &mut impl Rng) -> bool {
    let chance = (HEALERS / instances.max(1) as f64).min(1.0);
    rng.random_bool(chance)
}

/// What [`heal_now`](super::Gossip::heal_now) tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct HealReport {
    /// Where somebody answered.
    pub answered: Vec<SocketAddr>,
    /// Where nobody did within a second.
    pub silent: Vec<SocketAddr>,
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn who_is_alone_knocks_ever_more_rarely_and_for_ever() {
        let start = Instant::now();
        let mut knocking = Knocking::new(start);
        assert_eq!(knocking.due(), start);
        let mut now = start;
        let mut pauses = Vec::new();
        for _ in 0..1_000 {
            knocking.knocked(now, 1.0);
            pauses.push(knocking.due() - now);
            now = knocking.due();
        }
        assert_eq!(
            pauses[..5],
            [500, 1_000, 2_000, 4_000, 5_000].map(Duration::from_millis)
        );
        assert!(pauses[5..].iter().all(|pause| *pause == LONGEST));
        knocking.again(now);
        knocking.knocked(now, 0.0);
        assert_eq!(knocking.due() - now, FIRST / 2);
    }

    #[test]
    fn about_three_instances_heal_in_a_period_whatever_their_number() {
        let mut rng = StdRng::seed_from_u64(1);
        assert!((0..1_000).all(|_| heals(1, &mut rng) && heals(3, &mut rng)));
        let healers = (0..1_000 * 100).filter(|_| heals(1_000, &mut rng)).count();
        assert!((200..400).contains(&healers), "{healers} in 100 periods");
    }

    #[test]
    fn doors_are_distinct_and_few() {
        let mut rng = StdRng::seed_from_u64(1);
        let doors: Vec<_> = (1..=10)
            .map(|port| SocketAddr::from(([10, 0, 0, 1], port)))
            .collect();
        let some = some(&doors, &mut rng);
        assert_eq!(some.len(), DOORS);
        assert!(some[0] != some[1] && some[1] != some[2] && some[0] != some[2]);
        assert_eq!(super::some(&doors[..2], &mut rng).len(), 2);
    }
}
