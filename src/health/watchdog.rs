//! Tells a stall of our own process from a silent server.
//!
//! A program whose runtime is blocked for 800 ms sees every reply of that time as late, from all
//! nodes at once. A task that ticks every [`PERIOD`] on the same runtime is late as well, and the time
//! of its lateness counts against no node. A server that really stopped leaves the ticks on time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::waits::Ran;
use crate::clock::later;

/// How often [`Watchdog::tick`] wants to be called.
pub(crate) const PERIOD: Duration = Duration::from_millis(20);

/// How long a time-out's verdict waits when the last tick is overdue, so that the tick that proves a stall can come first: after
/// a stall the runtime wakes the timers of commands and of the watchdog in any order.
pub(crate) const GRACE: Duration = Duration::from_millis(50);

/// A tick this much late is a stall; less is an ordinary busy runtime.
pub(crate) const LATENESS: Duration = Duration::from_millis(100);

/// More stalls than one remembers are dropped, the oldest first.
const REMEMBERED: usize = 64;

/// What is known of the times when this process did not run.
#[derive(Clone, Debug)]
pub(crate) struct Watchdog {
    origin: Instant,
    last_tick: Instant,
    /// Disjoint, in order.
    stalls: VecDeque<(Instant, Instant)>,
    /// The length of those that were dropped.
    forgotten: Duration,
}

impl Watchdog {
    /// A watchdog whose first tick is expected one [`PERIOD`] after `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            origin: now,
            last_tick: now,
            stalls: VecDeque::new(),
            forgotten: Duration::ZERO,
        }
    }

    /// The ticks begin anew: that none came until now is nobody's stall.
    pub(crate) fn restart(&mut self, now: Instant) {
        self.last_tick = self.last_tick.max(now);
    }

    /// Notes that the runtime is alive; gives how long it was stalled until now, if it was.
    pub(crate) fn tick(&mut self, now: Instant) -> Option<Duration> {
        let now = now.max(self.last_tick);
        let from = std::mem::replace(&mut self.last_tick, now);
        if now.saturating_duration_since(from) <= PERIOD + LATENESS {
            return None;
        }
        // The end is late on purpose: a freshly woken runtime first works off what piled up, and
        // replies that lie in the socket are read only after that.
        let until = now + GRACE;
        match self.stalls.back_mut() {
            Some((_, end)) if *end >= from => *end = until,
            _ => {
                if self.stalls.len() == REMEMBERED
                    && let Some((from, to)) = self.stalls.pop_front()
                {
                    self.forgotten += to - from;
                }
                self.stalls.push_back((from, until));
            }
        }
        Some(now.saturating_duration_since(from))
    }

    /// Whether every stall up to now is known: the last tick came when it should.
    ///
    /// A time-out seen at such a moment can be judged at once. Otherwise this may be the end of a
    /// stall, with the tick that proves it still to come; [`GRACE`] is how long to wait for it.
    pub(crate) fn is_on_time(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last_tick) <= 2 * PERIOD
    }

    /// Whether a tick has come since `at`, so that the stalls until then are known.
    pub(crate) fn has_ticked_since(&self, at: Instant) -> bool {
        self.last_tick >= at
    }

    /// How much of the wait from `from` to `to` was not stalled.
    pub(crate) fn ran(&self, from: Instant, to: Instant) -> Ran {
        let touched = self.stalls.iter().rev();
        if !touched
            .take_while(|&&(_, end)| from < end)
            .any(|&(start, _)| start < to)
        {
            return Ran::Throughout;
        }
        Ran::Part {
            from: self.running(from),
            to: self.running(to),
        }
    }

    /// The same for a wait whose caller noticed its end at `at`, when nobody ticks: its own timer was to
    /// end it after `limit`, and what that was late by is a stall of the caller's runtime.
    pub(crate) fn ran_by_timer(&self, from: Instant, limit: Duration, at: Instant) -> Ran {
        let late = at.saturating_duration_since(later(from, limit));
        if late <= LATENESS {
            return Ran::Throughout;
        }
        let from = self.running(from);
        Ran::Part {
            from,
            to: from + limit.saturating_sub(late),
        }
    }

    /// How long the process ran until `at`: a clock that stands still in stalls.
    fn running(&self, at: Instant) -> Duration {
        let stalled: Duration = self
            .stalls
            .iter()
            .map(|&(start, end)| end.min(at).saturating_duration_since(start))
            .sum();
        at.saturating_duration_since(self.origin)
            .saturating_sub(self.forgotten)
            .saturating_sub(stalled)
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

    fn ran(dog: &Watchdog, from: Instant, to: Instant) -> Duration {
        match dog.ran(from, to) {
            Ran::Throughout => to - from,
            Ran::Part { from, to } => to - from,
        }
    }

    #[test]
    fn of_a_wait_that_ended_in_a_stall_what_came_before_it_remains() {
        let start = Instant::now();
        let stalls: Vec<_> = (0..8)
            .map(|i| (1_000 + i * 2_000, 1_800 + i * 2_000))
            .collect();
        let mut dog = Watchdog::new(start);
        run(&mut dog, start, 20_000, &stalls);
        for (from, to) in stalls {
            // Sent just before the stall, given up 500 ms later: noticed when the runtime wakes.
            let (sent, given_up) = (start + ms(from - 10), start + ms(to + 1));
            assert_eq!(ran(&dog, sent, given_up), ms(10), "stall at {from} ms");
            assert!(!dog.ran(sent, given_up).is_most_of(ms(500)));
            // Sent long after it: the node's own fault.
            let sent = start + ms(to + 60);
            assert_eq!(dog.ran(sent, sent + ms(500)), Ran::Throughout);
        }
    }

    #[test]
    fn a_stall_that_touches_a_wait_shortens_it_and_excuses_no_more() {
        let start = Instant::now();
        let mut dog = Watchdog::new(start);
        run(&mut dog, start, 3_000, &[(1_000, 1_140)]);
        // Woken at 1140 ms, with 50 ms to work off what piled up.
        let sent = start + ms(1_140);
        assert_eq!(ran(&dog, sent, sent + ms(500)), ms(450));
        assert!(dog.ran(sent, sent + ms(500)).is_most_of(ms(500)));
    }

    #[test]
    fn a_server_that_really_stopped_is_not_excused() {
        let start = Instant::now();
        let mut dog = Watchdog::new(start);
        run(&mut dog, start, 5_000, &[]);
        for sent in [0, 1_000, 1_500] {
            let sent = start + ms(sent);
            assert_eq!(
                dog.ran(sent, sent + ms(500)),
                Ran::Throughout,
                "on-time ticks are no stall"
            );
        }
    }

    #[test]
    fn a_tick_up_to_100_ms_late_is_no_stall() {
        let start = Instant::now();
        let mut dog = Watchdog::new(start);
        assert_eq!(dog.tick(start + ms(120)), None, "100 ms late is ordinary");
        assert_eq!(dog.tick(start + ms(241)), Some(ms(121)), "101 ms late");
    }

    #[test]
    fn a_stall_reaches_from_the_last_tick_to_50_ms_after_the_late_one() {
        let start = Instant::now();
        let mut dog = Watchdog::new(start);
        run(&mut dog, start, 3_000, &[(1_000, 2_000)]);
        let at = |t: u64| start + ms(t);
        assert_eq!(dog.ran(at(0), at(1_000)), Ran::Throughout, "before it");
        assert_eq!(ran(&dog, at(0), at(1_001)), ms(1_000), "its first moment");
        assert_eq!(ran(&dog, at(1_400), at(1_500)), ms(0), "inside it");
        assert_eq!(ran(&dog, at(2_049), at(3_000)), ms(950), "its last moment");
        assert_eq!(dog.ran(at(2_050), at(3_000)), Ran::Throughout, "after it");
    }

    #[test]
    fn an_overdue_tick_may_be_the_end_of_a_stall() {
        let start = Instant::now();
        let mut dog = Watchdog::new(start);
        assert!(dog.is_on_time(start + ms(40)));
        assert!(!dog.is_on_time(start + ms(41)));
        assert!(!dog.has_ticked_since(start + ms(700)));
        dog.tick(start + ms(800));
        assert!(
            dog.is_on_time(start + ms(810)) && dog.has_ticked_since(start + ms(800)),
            "and by now the stall is known"
        );
        assert_eq!(ran(&dog, start + ms(300), start + ms(810)), ms(0));
    }

    #[test]
    fn where_nobody_ticks_the_callers_own_timer_tells() {
        let start = Instant::now();
        let dog = Watchdog::new(start);
        let (sent, limit) = (start + ms(9_000), ms(500));
        let noticed = |late: u64| dog.ran_by_timer(sent, limit, sent + limit + ms(late));
        assert_eq!(noticed(100), Ran::Throughout, "an ordinary busy runtime");
        assert!(noticed(101).is_most_of(limit) && noticed(250).is_most_of(limit));
        assert!(!noticed(251).is_most_of(limit));
        assert!(!noticed(5_000).is_most_of(limit), "it stood still");
    }

    #[test]
    fn ticks_that_begin_anew_make_no_stall_of_the_time_between() {
        let start = Instant::now();
        let mut dog = Watchdog::new(start);
        dog.restart(start + ms(60_000));
        assert_eq!(dog.tick(start + ms(60_020)), None);
        assert_eq!(dog.ran(start, start + ms(60_020)), Ran::Throughout);
        assert_eq!(dog.tick(start + ms(30)), None, "a tick out of order");
        assert!(dog.has_ticked_since(start + ms(60_020)));
    }

    #[test]
    fn memory_is_bounded_and_the_clock_goes_on_over_what_was_forgotten() {
        let start = Instant::now();
        let mut dog = Watchdog::new(start);
        let mut before = Duration::ZERO;
        for i in 1..=1_000 {
            dog.tick(start + ms(i * 1_000));
            dog.tick(start + ms(i * 1_000 + 60));
            dog.tick(start + ms(i * 1_000 + 120));
            let runs = dog.running(start + ms(i * 1_000 + 120));
            assert!(runs >= before, "it never goes back");
            before = runs;
        }
        assert!(
            dog.stalls.len() <= REMEMBERED,
            "{} stalls kept",
            dog.stalls.len()
        );
        let end = start + ms(1_000_000);
        assert_eq!(ran(&dog, end - ms(500), end), ms(0), "the newest is kept");
    }
}
