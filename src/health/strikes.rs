//! What counts as how many strikes.

use std::time::{Duration, Instant};

use super::rules::Rules;
use super::waits::{Wait, Waits};
use crate::clock::later;
use crate::health::verdict::Soft;

/// Connections lost within this time broke for one reason.
const LOST_TOGETHER: Duration = Duration::from_millis(100);

/// What one piece of soft evidence amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// Part of an event already counted, or excused.
    Nothing,
    /// Evidence, not enough to eject a node in good standing.
    Strike,
    /// Enough.
    Ejects,
}

/// The soft evidence against one node since its last success, and the share of bad results.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Strikes {
    count: u32,
    /// When the first of `count` arrived.
    first: Option<Instant>,
    /// When the command of the first time-out among `count` was sent.
    first_sent: Option<Instant>,
    /// The first of the lost connections that are one event.
    lost: Option<Instant>,
    /// The same for idle ones, whose first is excused.
    idle_lost: Option<Instant>,
    rate: Rate,
    /// When the last time-out that `rate` counted for its whole burst was sent.
    rate_sent: Option<Instant>,
    /// Time-outs too short to count, so far.
    waits: Waits,
}

impl Strikes {
    /// Whether a wait without an answer is evidence: what remains of it, or what was left of those
    /// before it and this one together.
    pub(super) fn counts(&mut self, wait: Wait) -> bool {
        self.waits.unanswered(wait)
    }

    /// Adds evidence; time-outs that [count](Self::counts).
    ///
    /// Commands sent within one response time-out of each other can all be lost to one burst of
    /// dropped packets, so they are one strike, and one bad result. The exception is a node from
    /// which nothing came at all since they were sent (`silent`): the strikes must still span a
    /// response time-out, but each command is a bad result of its own, so that a stopped server
    /// under load is out at its first time-outs and not a second later.
    pub(super) fn record(&mut self, soft: Soft, now: Instant, rules: &Rules) -> Weight {
        let penalty = &rules.penalty;
        let expired = self
            .first
            .is_some_and(|first| now.saturating_duration_since(first) > penalty.strike_window);
        if expired {
            self.forgive();
        }
        let (strike, bad) = match soft {
            Soft::Strike(_) => (true, true),
            Soft::Lost { idle } => {
                // Servers close idle connections for reasons of their own.
                if idle && !together(&mut self.idle_lost, now) {
                    return Weight::Nothing;
                }
                if together(&mut self.lost, now) {
                    return Weight::Nothing;
                }
                (true, true)
            }
            Soft::Timeout {
                sent_at, silent, ..
            } => {
                let after = |start: Option<Instant>| {
                    start.is_none_or(|start| sent_at >= later(start, rules.response_timeout))
                };
                let strike = after(self.first_sent);
                let bad = silent || after(self.rate_sent);
                if strike {
                    self.first_sent.get_or_insert(sent_at);
                }
                if bad && !silent {
                    self.rate_sent = Some(sent_at);
                }
                (strike, bad)
            }
        };
        if strike {
            self.count = self.count.saturating_add(1);
            self.first.get_or_insert(now);
        }
        if bad {
            self.rate.add_bad(now, penalty.rate_window);
        }
        let full = self.count >= penalty.strikes
            || (bad && self.rate.is_full(penalty.rate_min, penalty.rate_percent));
        if full { Weight::Ejects } else { Weight::Strike }
    }

    /// Adds `n` successes.
    pub(super) fn succeed(&mut self, n: u64, now: Instant, rules: &Rules) {
        self.forgive();
        self.waits.answered();
        self.rate.add_good(n, now, rules.penalty.rate_window);
    }

    /// Whether the next success would change something at once.
    pub(super) fn any(&self) -> bool {
        self.count > 0 || self.waits.any()
    }

    /// Whether successes change the share of bad results.
    pub(super) fn is_rated(&self, now: Instant, rules: &Rules) -> bool {
        self.rate.is_open(now, rules.penalty.rate_window)
    }

    fn forgive(&mut self) {
        self.count = 0;
        self.first = None;
        self.first_sent = None;
    }
}

/// Whether `now` belongs to the event that began at `start`; begins a new one if not.
fn together(start: &mut Option<Instant>, now: Instant) -> bool {
    let same = start.is_some_and(|at| now.saturating_duration_since(at) < LOST_TOGETHER);
    if !same {
        *start = Some(now);
    }
    same
}

const SLOTS: usize = 10;

/// Good and bad results of a sliding window, from the first bad one on.
///
/// Kept in ten slots: two thousand results a second must not cost memory.
#[derive(Clone, Debug, Default, PartialEq)]
struct Rate {
    /// When slot 0 began; `None` while nothing bad is in the window.
    origin: Option<Instant>,
    /// The newest slot's number since `origin`.
    newest: u64,
    slots: [(u64, u64); SLOTS],
    last_bad: Option<Instant>,
}

impl Rate {
    fn add_bad(&mut self, now: Instant, window: Duration) {
        if !self.is_open(now, window) {
            *self = Self {
                origin: Some(now),
                ..Self::default()
            };
        }
        self.last_bad = Some(now);
        self.slot(now, window).1 += 1;
    }

    /// Successes before the first failure say nothing: a node that served a million requests and
    /// stops must not be carried by them.
    fn add_good(&mut self, n: u64, now: Instant, window: Duration) {
        if self.is_open(now, window) {
            let good = &mut self.slot(now, window).0;
            *good = good.saturating_add(n);
        }
    }

    fn is_open(&self, now: Instant, window: Duration) -> bool {
        self.last_bad
            .is_some_and(|last| now.saturating_duration_since(last) <= window)
    }

    fn is_full(&self, min: u32, percent: u32) -> bool {
        let (good, bad) = self.slots.iter().fold((0_u64, 0_u64), |sum, slot| {
            (sum.0.saturating_add(slot.0), sum.1.saturating_add(slot.1))
        });
        let all = good.saturating_add(bad);
        min > 0
            && all >= u64::from(min)
            && u128::from(bad) * 100 >= u128::from(all) * u128::from(percent)
    }

    /// The slot of `now`; clears those that fell out of the window.
    fn slot(&mut self, now: Instant, window: Duration) -> &mut (u64, u64) {
        let since = self.origin.map_or(Duration::ZERO, |origin| {
            now.saturating_duration_since(origin)
        });
        let slot_length = (window / SLOTS as u32).as_nanos().max(1);
        let number = u64::try_from(since.as_nanos() / slot_length).unwrap_or(u64::MAX);
        // A clock reading older than the newest slot counts there.
        let number = number.max(self.newest);
        let gone = (number - self.newest).min(SLOTS as u64);
        for i in 0..gone {
            self.slots[((number - i) % SLOTS as u64) as usize] = (0, 0);
        }
        self.newest = number;
        &mut self.slots[(number % SLOTS as u64) as usize]
    }
}
