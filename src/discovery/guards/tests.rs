use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::endpoint::{Endpoint, Snapshot};
use super::{Act, Guards, Ruling, Waits};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The endpoints whose bits are set.
fn of(bits: u8) -> Snapshot {
    let ports = (0..8).filter(|n| bits & (1 << n) != 0);
    ports.map(|n| Endpoint::new("h", 7000 + n)).collect()
}

/// Guards that have applied this.
fn following(bits: u8, now: Instant) -> Guards {
    let mut guards = Guards::new(Waits::default());
    assert_eq!(guards.seen(&of(bits), now), Ruling::Soon);
    assert_eq!(
        guards.due(now),
        Some(Act::Apply(of(bits))),
        "the first, at once"
    );
    guards
}

#[test]
fn changes_are_collected_from_the_first_one_on() {
    let now = Instant::now();
    let mut g = following(0b111, now);
    assert_eq!(g.seen(&of(0b1111), now), Ruling::Soon);
    assert_eq!(g.due(now + ms(199)), None);
    assert_eq!(g.seen(&of(0b1_1111), now + ms(150)), Ruling::Soon);
    assert_eq!(g.next_deadline(), Some(now + ms(200)));
    assert_eq!(g.due(now + ms(200)), Some(Act::Apply(of(0b1_1111))));
    assert_eq!((g.due(now + ms(900)), g.next_deadline()), (None, None));
}

#[test]
fn a_change_that_is_taken_back_is_none() {
    let now = Instant::now();
    let mut g = following(0b111, now);
    g.seen(&of(0b110), now);
    assert_eq!(g.seen(&of(0b111), now + ms(50)), Ruling::Unchanged);
    assert_eq!(g.due(now + ms(9_000)), None);
}

#[test]
fn an_empty_snapshot_is_never_applied() {
    let now = Instant::now();
    let mut g = following(0b111, now);
    g.seen(&of(0b110), now);
    assert_eq!(g.seen(&of(0), now + ms(50)), Ruling::Empty);
    assert_eq!(g.due(now + ms(60_000)), None);
}

#[test]
fn dropping_more_than_half_is_read_again_and_then_believed() {
    let now = Instant::now();
    let mut g = following(0b1111, now);
    assert_eq!(
        g.seen(&of(0b0011), now),
        Ruling::Soon,
        "half is not more than half"
    );
    g.due(now + ms(200)).unwrap();
    let mut g = following(0b1111, now);
    assert_eq!(g.seen(&of(0b0001), now), Ruling::Held);
    assert_eq!(g.seen(&of(0b0010), now + ms(4_000)), Ruling::Held);
    assert_eq!(g.due(now + ms(4_999)), None);
    assert_eq!(g.due(now + ms(5_000)), Some(Act::ReadAgain));
    assert_eq!(g.due(now + ms(5_000)), None, "once");
    assert_eq!(g.seen(&of(0b0010), now + ms(5_001)), Ruling::Soon);
    assert_eq!(g.due(now + ms(5_001)), Some(Act::Apply(of(0b0010))));
}

#[test]
fn a_shrink_that_was_a_moment_s_lie_is_forgotten() {
    let now = Instant::now();
    let mut g = following(0b1111, now);
    g.seen(&of(0b0001), now);
    assert_eq!(g.seen(&of(0b1111), now + ms(1_000)), Ruling::Unchanged);
    assert_eq!((g.due(now + ms(9_000)), g.next_deadline()), (None, None));
}

#[test]
fn a_registry_that_fills_up_again_is_held_until_all_are_there() {
    let now = Instant::now();
    let mut g = following(0b111, now);
    for (n, bits) in [0b001, 0b011].into_iter().enumerate() {
        let at = now + ms(1_000 * n as u64);
        assert_eq!(g.seen(&of(bits), at), Ruling::Held, "{bits:b}");
    }
    assert_eq!(g.seen(&of(0b1111), now + ms(2_000)), Ruling::Soon);
    assert_eq!(g.due(now + ms(2_200)), Some(Act::Apply(of(0b1111))));
}

#[test]
fn an_error_is_no_confirmation() {
    let now = Instant::now();
    let mut g = following(0b1111, now);
    g.seen(&of(0b0001), now);
    assert_eq!(g.due(now + ms(5_000)), Some(Act::ReadAgain));
    g.failed();
    assert_eq!(g.seen(&of(0b0001), now + ms(6_000)), Ruling::Held, "anew");
    assert_eq!(g.next_deadline(), Some(now + ms(11_000)));
}

#[test]
fn a_replaced_fleet_is_a_shrink_and_an_error_does_not_stop_a_change() {
    let now = Instant::now();
    let mut g = following(0b0000_1111, now);
    assert_eq!(g.seen(&of(0b1111_0000), now), Ruling::Held);
    let mut g = following(0b0011, now);
    g.seen(&of(0b0111), now);
    g.failed();
    assert_eq!(
        g.due(now + ms(200)),
        Some(Act::Apply(of(0b0111))),
        "it was seen"
    );
}

#[test]
fn without_a_hold_a_shrink_is_a_change_like_any_other() {
    let now = Instant::now();
    let waits = Waits {
        hold: Duration::ZERO,
        ..Waits::default()
    };
    let mut g = Guards::new(waits);
    g.seen(&of(0b1111), now);
    g.due(now).unwrap();
    assert_eq!(g.seen(&of(0b0001), now), Ruling::Soon);
    assert_eq!(g.due(now + ms(200)), Some(Act::Apply(of(0b0001))));
}

#[derive(Clone, Debug)]
enum Step {
    Seen(u8),
    Failed,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<u8>().prop_map(Step::Seen),
        2 => prop::sample::select(vec![0u8, 1, 0b1111, 0b0111, 0xff]).prop_map(Step::Seen),
        1 => Just(Step::Failed),
        5 => (0u64..7_000).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn whatever_a_source_says_the_rules_hold(steps in vec(step(), 1..60)) {
        let start = Instant::now();
        let (mut now, mut g) = (start, Guards::new(Waits::default()));
        let mut applied = Snapshot::default();
        // What the source said last, and whether it has failed since.
        let mut last: Option<Snapshot> = None;
        let mut failed = false;
        let mut looked_again = false;
        for step in steps.into_iter().chain([Step::Wait(6_000), Step::Wait(1_000)]) {
            match step {
                Step::Seen(bits) => {
                    g.seen(&of(bits), now);
                    (last, failed) = (Some(of(bits)), false);
                }
                Step::Failed => {
                    g.failed();
                    (failed, looked_again) = (true, false);
                }
                Step::Wait(n) => now += ms(n),
            }
            while let Some(act) = g.due(now) {
                match act {
                    Act::ReadAgain => {
                        looked_again = true;
                        g.seen(last.as_ref().unwrap(), now);
                    }
                    Act::Apply(next) => {
                        prop_assert!(!next.is_empty(), "never empty");
                        prop_assert_eq!(last.as_ref(), Some(&next), "only the latest word is applied");
                        let gone = applied.endpoints().iter().filter(|e| !next.has(&e.id)).count();
                        prop_assert!(2 * gone <= applied.len() || looked_again, "{applied:?} {next:?}");
                        looked_again = false;
                        applied = next;
                    }
                }
            }
            if let Some(due) = g.next_deadline() {
                prop_assert!(due > now && due <= now + ms(5_000), "it never waits for longer");
            }
        }
        prop_assert_eq!(g.next_deadline(), None, "nothing waits for ever");
        if let Some(last) = last.filter(|last| !failed && !last.is_empty()) {
            prop_assert_eq!(last, applied, "what a source says for long enough is in force");
        }
    }
}
