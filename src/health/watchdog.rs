//! Tells a stall of our own process from a silent server.
//!
//! A program whose runtime is blocked for 800 ms sees every reply of that time as late, from all
//! nodes at once. A task that ticks every [`PERIOD`] on the same runtime is late as well, and its
//! lateness excuses the nodes. A server that really stopped leaves the ticks on time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How often [`Watchdog::tick`] wants to be called.
pub(crate) const PERIOD: Duration = Duration::from_millis(20);

/// How long a time-out's verdict waits when the last tick is overdue, so that the tick that proves a stall can come first: after
/// a stall the runtime wakes the timers of commands and of the watchdog in any order.
pub(crate) const GRACE: Duration = Duration::from_millis(50);

/// A tick this much late is a stall; less is an ordinary busy runtime.
const LATENESS: Duration = Duration::from_millis(100);

/// More stalls than one remembers are dropped, the oldest first.
const REMEMBERED: usize = 64;

/// What is known of the times when this process did not run.
#[derive(Clone, Debug)]
pub(crate) struct Watchdog {
    last_tick: Instant,
    /// Disjoint, in order.
    stalls: VecDeque<(Instant, Instant)>,
}

impl Watchdog {
    /// A watchdog whose first tick is expected one [`PERIOD`] after `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            last_tick: now,
            stalls: VecDeque::new(),
        }
    }

    /// Notes that the runtime is alive; says whether it was stalled until now.
    pub(crate) fn tick(&mut self, now: Instant) -> bool {
        let from = std::mem::replace(&mut self.last_tick, now);
        if now.saturating_duration_since(from) <= PERIOD + LATENESS {
            return false;
        }
        // The end is late on purpose: a freshly woken runtime first works off what piled up, and
        // replies that lie in the socket are read only after that.
        let until = now + GRACE;
        match self.stalls.back_mut() {
            Some((_, end)) if *end >= from => *end = until,
            _ => {
                if self.stalls.len() == REMEMBERED {
                    self.stalls.pop_front();
                }
                self.stalls.push_back((from, until));
            }
        }
        true
    }

    /// Whether every stall up to now is known: the last tick came when it should.
    ///
    /// A time-out seen at such a moment can be judged at once. Otherwise this may be the end of a
    /// stall, with the tick that proves it still to come; [`GRACE`] is how long to wait for it.
    pub(crate) fn is_on_time(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last_tick) <= 2 * PERIOD
    }

    /// Whether any part of `[from, to]` fell into a stall: a time-out of a command sent at `from`
    /// and given up at `to` then says nothing about the node.
    pub(crate) fn stalled_between(&self, from: Instant, to: Instant) -> bool {
        self.stalls
            .iter()
            .rev()
            .any(|&(start, end)| start <= to && from <= end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Ticks every 20 ms from `from` to `to`, except in the stalls; a stall ends with a tick.
    fn run(dog: &mut Watchdog, start: Instant, to: u64, stalls: &[(u64, u64)]) {
        for at in (20..=to).step_by(20) {
            if !stalls.iter().any(|&(a, b)| at > a && at < b) {
                dog.tick(start + ms(at));
            }
        }
    }

    #[test]
    fn eight_stalls_of_800_ms_excuse_the_eight_time_outs_in_them() {
        let start = Instant::now();
        let stalls: Vec<_> = (0..8)
            .map(|i| (1_000 + i * 2_000, 1_800 + i * 2_000))
            .collect();
        let mut dog = Watchdog::new(start);
        run(&mut dog, start, 20_000, &stalls);
        for (from, to) in stalls {
            // Sent just before the stall, given up 500 ms later: noticed when the runtime wakes.
            let (sent, given_up) = (start + ms(from - 10), start + ms(to + 1));
            assert!(dog.stalled_between(sent, given_up), "stall at {from} ms");
            // Sent long after it: the node's own fault.
            let sent = start + ms(to + 60);
            assert!(!dog.stalled_between(sent, sent + ms(500)), "after {to} ms");
        }
    }

    #[test]
    fn a_server_that_really_stopped_is_not_excused() {
        let start = Instant::now();
        let mut dog = Watchdog::new(start);
        run(&mut dog, start, 5_000, &[]);
        for sent in [0, 1_000, 1_500] {
            let sent = start + ms(sent);
            assert!(
                !dog.stalled_between(sent, sent + ms(500)),
                "on-time ticks are no stall"
            );
        }
    }

    #[test]
    fn a_tick_up_to_100_ms_late_is_no_stall() {
        let start = Instant::now();
        let mut dog = Watchdog::new(start);
        assert!(!dog.tick(start + ms(120)), "100 ms late is still ordinary");
        assert!(dog.tick(start + ms(241)), "101 ms late is a stall");
    }

    #[test]
    fn a_stall_reaches_from_the_last_tick_to_50_ms_after_the_late_one() {
        let start = Instant::now();
        let mut dog = Watchdog::new(start);
        run(&mut dog, start, 3_000, &[(1_000, 2_000)]);
        let at = |t: u64| start + ms(t);
        assert!(!dog.stalled_between(at(0), at(999)), "before it");
        assert!(dog.stalled_between(at(0), at(1_000)), "its first instant");
        assert!(dog.stalled_between(at(1_400), at(1_500)), "inside it");
        assert!(
            dog.stalled_between(at(2_050), at(3_000)),
            "its last instant"
        );
        assert!(!dog.stalled_between(at(2_051), at(3_000)), "after it");
    }

    #[test]
    fn an_overdue_tick_may_be_the_end_of_a_stall() {
        let start = Instant::now();
        let mut dog = Watchdog::new(start);
        assert!(dog.is_on_time(start + ms(40)));
        assert!(!dog.is_on_time(start + ms(41)));
        dog.tick(start + ms(800));
        assert!(
            dog.is_on_time(start + ms(810)),
            "and by now the stall is known"
        );
        assert!(dog.stalled_between(start + ms(300), start + ms(810)));
    }

    #[test]
    fn memory_is_bounded_and_keeps_the_newest_stalls() {
        let start = Instant::now();
        let mut dog = Watchdog::new(start);
        for i in 1..=1_000 {
            dog.tick(start + ms(i * 1_000));
            dog.tick(start + ms(i * 1_000 + 60));
            dog.tick(start + ms(i * 1_000 + 120));
        }
        assert!(
            dog.stalls.len() <= REMEMBERED,
            "{} stalls kept",
            dog.stalls.len()
        );
        let end = start + ms(1_000_000);
        assert!(dog.stalled_between(end, end), "the newest is kept");
    }
}
