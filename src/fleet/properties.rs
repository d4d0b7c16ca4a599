//! What must hold of the rule whatever is said, and in whatever order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;

use super::council::{Council, Local, Order, Rules, Seen, Voice};
use super::drains::{Drains, Stamp, Word};
use super::evidence::{Evidence, Said};
use super::votes::{Ruling, Votes};

/// What each instance of a fleet is, and which of eight nodes it calls down.
#[derive(Clone, Copy, Debug)]
enum Is {
    Speaks(u8),
    Silent,
    Down(u8),
    Left(u8),
}

fn is() -> impl Strategy<Value = Is> {
    prop_oneof![
        6 => any::<u8>().prop_map(Is::Speaks),
        1 => Just(Is::Silent),
        1 => any::<u8>().prop_map(Is::Down),
        1 => any::<u8>().prop_map(Is::Left),
    ]
}

fn evidence(bits: u8) -> Arc<Evidence> {
    let down = (0..8).filter(|node| bits >> node & 1 == 1);
    Arc::new(Evidence::new(
        1,
        down.map(|node| (node, Said::Down(None))),
        1,
    ))
}

fn rules(agreed: bool) -> Rules {
    Rules {
        agreed,
        refuse: false,
        jurors: 15,
        max_out: 0.5,
        hold_up: Duration::from_secs(3),
    }
}

fn voice(id: usize, seen: Seen) -> Voice<usize> {
    Voice {
        id,
        ring_id: format!("instance-{id}").into(),
        seen,
    }
}

/// What the instance `me` makes of it all, after everybody had spoken once.
fn judged(agreed: bool, me: usize, fleet: &[Is], order: impl Fn(usize) -> usize) -> Vec<Order> {
    let now = Instant::now();
    let mut council = Council::new(rules(agreed), "redis", me);
    let spoke = |place| match fleet[place] {
        Is::Speaks(bits) | Is::Down(bits) | Is::Left(bits) => {
            voice(place, Seen::Speaks(evidence(bits)))
        }
        Is::Silent => voice(place, Seen::Silent),
    };
    let places = || (0..fleet.len()).map(&order);
    council.hear(now, places().map(spoke));
    let is = |place| match fleet[place] {
        Is::Speaks(bits) => voice(place, Seen::Speaks(evidence(bits))),
        Is::Silent => voice(place, Seen::Silent),
        Is::Down(_) => voice(place, Seen::Down),
        Is::Left(_) => voice(place, Seen::Left),
    };
    council.hear(now, places().map(is));
    let mine = match fleet[me] {
        Is::Speaks(bits) => bits,
        _ => 0,
    };
    let locals: Vec<_> = (0..8)
        .map(|node| Local {
            node,
            is_out: mine >> node & 1 == 1,
            votes: mine >> node & 1 == 1,
            silent_for: Duration::ZERO,
        })
        .collect();
    council.judge(now, &locals)
}

proptest! {
    #[test]
    fn all_who_hear_the_same_decide_the_same_in_whatever_order_they_hear_it(
        fleet in vec(is(), 1..40),
        turn in any::<usize>(),
    ) {
        let n = fleet.len();
        let speakers: Vec<_> = (0..n).filter(|place| matches!(fleet[*place], Is::Speaks(_))).collect();
        let mut all = speakers.iter().map(|me| {
            let orders = judged(true, *me, &fleet, |place| (place + turn % n) % n);
            orders.iter().map(|order| (order.ruling, order.hold, order.keep)).collect::<Vec<_>>()
        });
        if let Some(first) = all.next() {
            prop_assert!(all.all(|other| other == first));
        }
    }

    #[test]
    fn one_more_voice_for_down_never_brings_a_node_back(jurors in 0..20_usize, live in 0..20_usize, down in 0..20_usize) {
        let live = live.min(jurors);
        let down = down.min(live);
        let of = |down| Votes { jurors, live, down }.ruling();
        if down < live {
            prop_assert!(of(down) != Ruling::Out || of(down + 1) == Ruling::Out);
        }
        if of(down) == Ruling::Out {
            prop_assert!(down >= 2 && 2 * down > live && 2 * live > jurors);
        }
    }

    #[test]
    fn never_is_a_node_held_by_half_of_those_who_are_heard_or_fewer(fleet in vec(is(), 2..16)) {
        let Some(me) = fleet.iter().position(|is| matches!(is, Is::Speaks(_))) else {
            return Ok(());
        };
        let orders = judged(true, me, &fleet, |place| place);
        let live = fleet.iter().filter(|is| matches!(is, Is::Speaks(_))).count();
        let mut held = 0;
        for (node, order) in orders.iter().enumerate() {
            let down = fleet.iter().filter(|is| matches!(is, Is::Speaks(bits) if bits >> node & 1 == 1));
            let down = down.count();
            held += usize::from(order.hold);
            prop_assert!(!order.hold || (down >= 2 && 2 * down > live), "{order:?}");
            prop_assert!(!(order.hold && order.keep));
            prop_assert_eq!(order.votes.down, down);
        }
        prop_assert!(held <= 4, "a panic holds nobody: {held} of 8");
        for order in judged(false, me, &fleet, |place| place) {
            prop_assert!(!order.hold && !order.keep, "advice binds nobody");
        }
    }

    #[test]
    fn the_words_on_drains_merge_in_any_order_and_any_number_of_times(
        said in vec((0..6_u64, any::<bool>(), 0..20_u64, 0..3_u64), 0..40),
        cut in any::<usize>(),
    ) {
        let word = |(key, on, at, by): (u64, bool, u64, u64)| {
            (key, Word { stamp: Stamp { at, by }, on })
        };
        let words: Vec<_> = said.into_iter().map(word).collect();
        let mut all = Drains::default();
        all.merge(words.clone(), 100);
        let (mut one, mut other) = (Drains::default(), Drains::default());
        let cut = cut % (words.len() + 1);
        one.merge(words[cut..].iter().rev().copied(), 100);
        other.merge(words[..cut].to_vec(), 100);
        one.merge(other.words().collect::<Vec<_>>(), 100);
        prop_assert_eq!(&one, &all);
        prop_assert!(!one.merge(words, 100), "it is known");
    }
}

fn local(is_out: bool, silent_for: Duration) -> Local {
    Local {
        node: 0,
        is_out,
        votes: is_out,
        silent_for,
    }
}

fn three(now: Instant, bits: [u8; 3], agreed: bool) -> Council<usize> {
    let mut council = Council::new(rules(agreed), "redis", 0);
    say(&mut council, now, bits);
    council
}

fn say(council: &mut Council<usize>, now: Instant, bits: [u8; 3]) {
    let voices = bits.iter().enumerate();
    council.hear(
        now,
        voices.map(|(id, bits)| voice(id, Seen::Speaks(evidence(*bits)))),
    );
}

/// Four nodes, so that one may be out.
fn nodes(first: Local) -> [Local; 4] {
    let other = |node| Local {
        node,
        ..local(false, Duration::ZERO)
    };
    [first, other(1), other(2), other(3)]
}

#[test]
fn a_hold_outlasts_its_decision_by_three_seconds_and_by_twice_as_much_each_time() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut council = three(start, [1, 1, 1], true);
    let mut ms = 0;
    for lasts in [3_000, 6_000, 12_000, 24_000, 48_000, 60_000, 60_000] {
        say(&mut council, at(ms), [1, 1, 1]);
        assert!(council.judge(at(ms), &nodes(local(true, Duration::ZERO)))[0].hold);
        ms += 500;
        say(&mut council, at(ms), [0, 0, 0]);
        for (later, hold) in [(0, true), (lasts - 1, true), (lasts, false)] {
            let order = council.judge(at(ms + later), &nodes(local(true, Duration::ZERO)))[0];
            assert_eq!(
                (order.ruling, order.hold),
                (Ruling::Up, hold),
                "{lasts} {later}"
            );
            assert_eq!(
                order.keep, !hold,
                "its keys are where the others look for them"
            );
        }
        ms += lasts;
    }
    ms += 600_000;
    say(&mut council, at(ms), [1, 1, 1]);
    council.judge(at(ms), &nodes(local(true, Duration::ZERO)));
    say(&mut council, at(ms), [0, 0, 0]);
    assert!(council.judge(at(ms), &nodes(local(true, Duration::ZERO)))[0].hold);
    assert!(!council.judge(at(ms + 3_000), &nodes(local(true, Duration::ZERO)))[0].hold);
}

#[test]
fn a_panic_ends_a_hold_at_once() {
    let now = Instant::now();
    let mut council = three(now, [0b1, 0b1, 0b0], true);
    let orders = council.judge(now, &nodes(local(true, Duration::ZERO)));
    assert!(orders[0].hold && orders[1].keep);
    say(&mut council, now, [0b111, 0b111, 0b0]);
    let all = nodes(local(true, Duration::ZERO)).map(|local| Local {
        votes: local.node < 3,
        ..local
    });
    for order in council.judge(now, &all) {
        assert!(!order.hold && !order.keep, "{order:?}");
        assert_eq!(order.ruling, Ruling::Panic);
    }
}

#[test]
fn only_who_has_not_heard_a_contested_node_asks_it_and_every_two_seconds() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut council = three(start, [0, 1, 0], true);
    let asks = |council: &mut Council<usize>, ms, silent| {
        let silent = Duration::from_millis(silent);
        council.judge(at(ms), &nodes(local(false, silent)))[0].ask
    };
    assert!(!asks(&mut council, 0, 1_999), "it was heard");
    assert!(asks(&mut council, 1, 2_000));
    let asked = (2..10_000)
        .filter(|ms| asks(&mut council, *ms, 5_000))
        .count();
    assert_eq!(asked, 4);
    say(&mut council, at(10_000), [0, 0, 0]);
    let asked = (10_000..20_000)
        .filter(|ms| asks(&mut council, *ms, 20_000))
        .count();
    assert_eq!(asked, 0, "silence alone is no doubt");
}

#[test]
fn a_node_that_the_others_find_well_or_ready_is_asked_though_it_is_out_here() {
    let now = Instant::now();
    let mut council = three(now, [1, 0, 0], true);
    let out = local(true, Duration::ZERO);
    let order = council.judge(now, &nodes(out))[0];
    assert!(order.ask && order.keep && !order.hold);
    let mut council = three(now, [1, 1, 1], true);
    assert!(
        !council.judge(now, &nodes(out))[0].ask,
        "the others say the same"
    );
    say(&mut council, now, [1, 1, 0]);
    assert!(
        council.judge(now, &nodes(out))[0].ask,
        "one finds it well again"
    );
    // Asked a moment ago, it is not asked at once again.
    let now = now + Duration::from_secs(2);
    let ready = Arc::new(Evidence::new(1, [(0, Said::Prepared)], 1));
    council.hear(
        now,
        [
            voice(0, Seen::Speaks(evidence(1))),
            voice(1, Seen::Speaks(evidence(1))),
            voice(2, Seen::Speaks(ready)),
        ],
    );
    let orders = council.judge(now, &nodes(out));
    assert!(orders[0].ask, "it is ready there");
    assert!(orders[0].awaited, "one has it out still");
    assert!(!orders[1].awaited, "of the others nobody says anything");
}

#[test]
fn who_is_ready_waits_for_those_who_have_it_out_and_for_nobody_else() {
    let now = Instant::now();
    let awaited = |others: [Option<Said>; 2]| {
        let mut council = Council::new(rules(false), "redis", 0);
        let voices = others.iter().enumerate().map(|(at, said)| {
            let said = said.map(|said| (0, said));
            voice(at + 1, Seen::Speaks(Arc::new(Evidence::new(1, said, 1))))
        });
        let me = Evidence::new(1, [(0, Said::Prepared)], 1);
        council.hear(now, voices.chain([voice(0, Seen::Speaks(Arc::new(me)))]));
        let me = Local {
            votes: false,
            ..local(true, Duration::ZERO)
        };
        council.judge(now, &nodes(me))[0]
    };
    for ready in [None, Some(Said::Prepared)] {
        assert!(!awaited([ready, ready]).awaited, "{ready:?}");
        for out in [Said::Down(None), Said::Unready] {
            assert!(awaited([ready, Some(out)]).awaited, "{ready:?} {out:?}");
        }
    }
    let votes = awaited([Some(Said::Unready), Some(Said::Unready)]).votes;
    assert_eq!((votes.live, votes.down), (3, 0), "no votes");
    // Who is gone is waited for no more.
    let mut council = three(now, [0, 1, 0], false);
    say(&mut council, now, [0, 1, 0]);
    let gone = voice(1, Seen::Down);
    let rest = [0, 2].map(|id| voice(id, Seen::Speaks(evidence(0))));
    assert!(council.judge(now, &nodes(local(true, Duration::ZERO)))[0].awaited);
    council.hear(now, rest.into_iter().chain([gone]));
    assert!(!council.judge(now, &nodes(local(true, Duration::ZERO)))[0].awaited);
}

#[test]
fn without_a_quorum_everybody_goes_by_itself_unless_that_is_refused() {
    let start = Instant::now();
    for refuse in [false, true] {
        let rules = Rules {
            refuse,
            ..rules(true)
        };
        let mut council = Council::new(rules, "redis", 0);
        say(&mut council, start, [0, 0, 0]);
        let gone = |council: &mut Council<usize>, at| {
            council.hear(
                at,
                [
                    voice(0, Seen::Speaks(evidence(0))),
                    voice(1, Seen::Down),
                    voice(2, Seen::Down),
                ],
            );
            council.judge(at, &nodes(local(false, Duration::ZERO)))[0]
        };
        let order = gone(&mut council, start);
        assert_eq!(order.ruling, Ruling::NoQuorum);
        assert_eq!((order.hold, order.keep), (refuse, refuse));
        let order = gone(&mut council, start + Duration::from_secs(60));
        assert_eq!(order.ruling, Ruling::Alone, "nobody is waited for longer");
        assert!(!order.hold && !order.keep);
    }
}

#[test]
fn a_restart_under_the_same_ring_id_costs_no_quorum() {
    let now = Instant::now();
    let mut council = three(now, [0, 0, 0], true);
    let again = |old: usize, new: usize| Voice {
        id: new,
        ring_id: format!("instance-{old}").into(),
        seen: Seen::Speaks(evidence(0)),
    };
    council.hear(
        now,
        [
            voice(0, Seen::Speaks(evidence(0))),
            voice(1, Seen::Down),
            voice(2, Seen::Down),
            again(1, 11),
            again(2, 12),
        ],
    );
    let order = council.judge(now, &nodes(local(false, Duration::ZERO)))[0];
    assert_eq!((order.ruling, order.votes.jurors), (Ruling::Up, 3));
}

#[test]
fn another_placement_is_told_after_five_seconds() {
    let start = Instant::now();
    let mut council = three(start, [0, 0, 0], true);
    let other = || Seen::Speaks(Arc::new(Evidence::new(2, [], 1)));
    let hear = |council: &mut Council<usize>, at| {
        council.hear(
            at,
            [
                voice(0, Seen::Speaks(evidence(0))),
                voice(1, Seen::Speaks(evidence(0))),
                voice(2, other()),
            ],
        );
    };
    hear(&mut council, start);
    assert_eq!(
        council
            .diverged(start + Duration::from_millis(4_999))
            .count(),
        0
    );
    assert_eq!(
        council
            .diverged(start + Duration::from_secs(5))
            .collect::<Vec<_>>(),
        [2]
    );
    say(&mut council, start, [0, 0, 0]);
    assert_eq!(council.diverged(start + Duration::from_secs(60)).count(), 0);
}
