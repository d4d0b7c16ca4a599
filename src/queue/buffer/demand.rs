//! How much a node is asked for at once: as much as is popped soon, and no more bytes than fit.

use std::time::{Duration, Instant};

/// What one node's messages may take while they wait to be popped. `COUNT` knows no bytes: how many that is goes
/// by the largest of the last messages.
const BYTES: usize = 8 << 20;
/// What is used up within this time was too little: it doubles.
const SOON: Duration = Duration::from_millis(50);
/// What lasts longer than this was too much: others could have had it. It halves.
const LONG: Duration = Duration::from_secs(1);

/// A piece of something whose bytes are seen when it is here.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sizes {
    largest: usize,
}

impl Sizes {
    /// Notes the sizes of a piece. What was large before weighs half from piece to piece.
    pub(crate) fn note(&mut self, sizes: impl IntoIterator<Item = usize>) {
        self.largest = sizes.into_iter().max().unwrap_or(0).max(self.largest / 2);
    }

    /// How many fit beside `held` bytes that are here.
    pub(crate) fn fitting(self, held: usize) -> usize {
        BYTES.saturating_sub(held) / self.largest.max(1)
    }
}

/// What one node is asked for.
#[derive(Debug)]
pub(crate) struct Demand {
    most: usize,
    now: usize,
    sizes: Sizes,
    /// When a whole fetch came that is not used up yet.
    filled: Option<Instant>,
    /// Fetches in a row that were used up soon. The first of them went to those who had waited for it.
    quick: u32,
}

impl Demand {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            now: 1,
            sizes: Sizes::default(),
            filled: None,
            quick: 0,
        }
    }

    /// How much may be fetched beside so many messages of so many bytes that wait: nothing while at least half of
    /// what is wanted is there, so that fetches are few and large.
    pub(crate) fn room(&self, waiting: usize, bytes: usize) -> usize {
        if waiting > self.now / 2 {
            return 0;
        }
        let fits = self.sizes.fitting(bytes).min(self.now - waiting);
        fits.max(usize::from(waiting == 0))
    }

    /// A fetch of up to `asked` gave messages of these sizes.
    pub(crate) fn fetched(&mut self, asked: usize, sizes: &[usize], now: Instant) {
        self.sizes.note(sizes.iter().copied());
        self.filled = (sizes.len() >= asked).then_some(now);
    }

    /// So few are left that the next fetch may begin.
    pub(crate) fn used_up(&mut self, now: Instant) {
        // Of what was not a whole fetch the server has no more.
        let Some(filled) = self.filled.take() else {
            return;
        };
        let lasted = now.saturating_duration_since(filled);
        self.quick = if lasted <= SOON { self.quick + 1 } else { 0 };
        if self.quick >= 2 {
            self.now = (2 * self.now).min(self.most);
        } else if lasted > LONG {
            self.now = (self.now / 2).max(1);
        }
    }

    /// Nobody popped what was here.
    pub(crate) fn unwanted(&mut self) {
        (self.now, self.quick, self.filled) = (1, 0, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prefetch_starts_at_one_and_doubles_while_it_is_used_up_soon() {
        let mut now = Instant::now();
        let mut demand = Demand::new(32);
        let mut asked = Vec::new();
        for _ in 0..9 {
            let count = demand.room(0, 0);
            asked.push(count);
            demand.fetched(count, &vec![10; count], now);
            now += SOON;
            demand.used_up(now);
        }
        assert_eq!(asked, [1, 1, 2, 4, 8, 16, 32, 32, 32]);
        // Slow jobs leave more to others, one halving per fetch.
        for expected in [16, 8, 4] {
            demand.fetched(demand.now, &vec![10; demand.now], now);
            now += 2 * LONG;
            demand.used_up(now);
            assert_eq!(demand.room(0, 0), expected);
        }
        demand.unwanted();
        assert_eq!(demand.room(0, 0), 1);
    }

    /// A slow worker takes the first at once, since it waited for it.
    #[test]
    fn a_slow_worker_has_one_ahead() {
        let mut now = Instant::now();
        let mut demand = Demand::new(32);
        for _ in 0..5 {
            demand.fetched(1, &[10], now);
            demand.used_up(now);
            now += 10 * LONG;
            demand.fetched(1, &[10], now - 10 * LONG);
            demand.used_up(now);
            assert_eq!(demand.room(0, 0), 1);
        }
    }

    #[test]
    fn what_a_server_has_no_more_of_says_nothing() {
        let now = Instant::now();
        let mut demand = Demand::new(32);
        demand.now = 8;
        for _ in 0..5 {
            demand.fetched(8, &[10; 7], now);
            demand.used_up(now);
        }
        assert_eq!(demand.room(0, 0), 8);
    }

    #[test]
    fn large_messages_are_fetched_by_their_bytes() {
        let now = Instant::now();
        let mut demand = Demand::new(10_000);
        demand.now = 10_000;
        demand.fetched(1, &[1 << 20, 10], now);
        assert_eq!(demand.room(0, 0), 8);
        assert_eq!(demand.room(7, 7 << 20), 1);
        assert_eq!(demand.room(8, 8 << 20), 0);
        demand.fetched(1, &[BYTES * 3], now);
        assert_eq!(demand.room(0, 0), 1, "one of any size");
        for _ in 0..24 {
            demand.fetched(1, &[10], now);
        }
        assert_eq!(demand.room(0, 0), 10_000, "they are forgotten");
    }

    proptest! {
        #[test]
        fn what_waits_is_bounded_and_never_stands_still(
            most in 0usize..100,
            steps in prop::collection::vec((0usize..200, 0usize..(4 << 20), 0u64..3_000), 1..100)
        ) {
            let mut now = Instant::now();
            let mut demand = Demand::new(most);
            for (waiting, size, after) in steps {
                let room = demand.room(waiting, waiting * size);
                prop_assert!(waiting + room <= most.max(1).max(waiting));
                prop_assert!(waiting > 0 || room > 0);
                demand.fetched(room, &vec![size; room], now);
                now += Duration::from_millis(after);
                demand.used_up(now);
                prop_assert!((1..=most.max(1)).contains(&demand.now));
            }
        }
    }
}
