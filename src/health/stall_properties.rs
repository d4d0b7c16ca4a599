//! What must hold of stalls and waits, whatever their order: time is counted once, and exactly.

use proptest::collection::vec;
use proptest::prelude::*;

use super::waits::{Ran, Wait, Waits};
use super::watchdog::{GRACE, LATENESS, PERIOD, Watchdog};
use super::*;

const LIMIT: Duration = Duration::from_millis(500);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Times between ticks: mostly on time, now and then a stall.
fn ticks() -> impl Strategy<Value = Vec<u64>> {
    vec(prop_oneof![5 => 10..60_u64, 1 => 100..1_500_u64], 1..80)
}

/// The watchdog after these ticks, when the last one was, and which milliseconds were stalled.
fn watched(start: Instant, gaps: &[u64]) -> (Watchdog, u64, Vec<bool>) {
    let mut dog = Watchdog::new(start);
    let (mut at, mut stalled) = (0, Vec::new());
    for gap in gaps {
        let from = at;
        at += gap;
        let until = at + GRACE.as_millis() as u64;
        stalled.resize(until as usize, false);
        let late = ms(*gap) > PERIOD + LATENESS;
        assert_eq!(dog.tick(start + ms(at)).is_some(), late);
        if late {
            stalled[from as usize..until as usize].fill(true);
        }
    }
    (dog, at, stalled)
}

fn length(ran: Ran, whole: u64) -> Duration {
    match ran {
        Ran::Throughout => ms(whole),
        Ran::Part { from, to } => to - from,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// What remains of a wait is its milliseconds that were in no stall, each counted once.
    #[test]
    fn what_remains_is_what_no_stall_covers(gaps in ticks(), a in 0.0..1.0, b in 0.0..1.0) {
        let start = Instant::now();
        let (dog, end, stalled) = watched(start, &gaps);
        let (a, b) = ((a * end as f64) as u64, (b * end as f64) as u64);
        let (from, to) = (a.min(b), a.max(b));
        let ran = length(dog.ran(start + ms(from), start + ms(to)), to - from);
        let free = (from..to).filter(|&at| !stalled[at as usize]).count();
        prop_assert_eq!(ran, ms(free as u64));
    }

    /// Two halves of a wait are the whole.
    #[test]
    fn what_remains_adds_up(gaps in ticks(), cut in 0.0..1.0) {
        let start = Instant::now();
        let (dog, end, _) = watched(start, &gaps);
        let cut = (cut * end as f64) as u64;
        let part = |from: u64, to: u64| length(dog.ran(start + ms(from), start + ms(to)), to - from);
        prop_assert_eq!(part(0, cut) + part(cut, end), part(0, end));
    }

    /// Any number of calls that wait within less than half of a time-out are no strike, and those that
    /// wait longer in all are as many as the time allows, at most.
    #[test]
    fn waits_count_by_the_clock_and_not_per_call(
        waits in vec((0..3_000_u64, 0..250_u64), 1..100),
    ) {
        let mut ends: Vec<_> = waits.iter().map(|(from, takes)| (from + takes, *from)).collect();
        ends.sort_unstable();
        let (mut kept, mut strikes) = (Waits::default(), 0);
        for &(to, from) in &ends {
            let ran = Ran::Part { from: ms(from), to: ms(to) };
            strikes += u64::from(kept.unanswered(Wait { ran, limit: LIMIT }));
        }
        let waited = (0..3_250).filter(|at| ends.iter().any(|(to, from)| (from..to).contains(&at))).count();
        prop_assert!(strikes * 250 <= waited as u64, "{strikes} strikes in {waited} ms");
    }

    /// Whatever the rhythm, a silent node that is waited for again and again gathers strikes.
    #[test]
    fn no_rhythm_of_stalls_excuses_a_node_for_ever(gaps in vec(prop_oneof![2 => 10..60_u64, 1 => 130..400_u64], 400)) {
        let start = Instant::now();
        let (dog, end, stalled) = watched(start, &gaps);
        let (mut kept, mut strikes) = (Waits::default(), 0_u64);
        for from in (0..end.saturating_sub(500)).step_by(500) {
            let ran = dog.ran(start + ms(from), start + ms(from + 500));
            strikes += u64::from(kept.unanswered(Wait { ran, limit: LIMIT }));
        }
        let free = stalled.iter().filter(|&&stalled| !stalled).count() as u64;
        // Each wait yields at most one strike, and each strike uses up at most a whole wait.
        prop_assert!(strikes >= (free / 500).saturating_sub(2), "{strikes} strikes in {free} ms");
        prop_assert!(free < 1_500 || strikes > 0);
    }
}
