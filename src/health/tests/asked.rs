//! What is asked of a node beside its probes: checks of one that is doubted, preparations of one that comes back.

use super::*;
use crate::health::questions::Stale;

/// A node with two good probes, where somebody prepares; returns the preparation's id.
fn prepared_cluster() -> (Bench, u64, u64) {
    let mut b = cluster(3);
    b.health.prepare_first(Duration::from_secs(2));
    b.hard(0, 0, Reason::Refused);
    let mut ms = 5_000;
    for _ in 0..2 {
        let id = b.probe(ms);
        assert_eq!(
            b.probed(0, id, ms, ProbeResult::Ok).map(|change| change.to),
            None,
            "not in yet"
        );
        ms += 50;
    }
    let id = preparation(&mut b, ms).expect("it is prepared at once");
    (b, id, ms)
}

fn preparation(b: &mut Bench, ms: u64) -> Option<u64> {
    b.due(ms).into_iter().find_map(|action| match action {
        Action::Prepare { key: 0, id, .. } => Some(id),
        _ => None,
    })
}

fn check(b: &mut Bench, ms: u64) -> Option<u64> {
    b.due(ms).into_iter().find_map(|action| match action {
        Action::Check { key: 0, id, .. } => Some(id),
        _ => None,
    })
}

#[test]
fn a_node_is_prepared_between_its_good_probes_and_probation() {
    let (mut b, id, ms) = prepared_cluster();
    assert_eq!(b.state(0), NodeState::HalfOpen);
    assert_eq!(b.due(ms + 1_000), [], "it is not probed meanwhile");
    let unknown = b.health.prepared(0, id + 1, true, b.at(ms + 1_000), 1.0);
    assert_eq!(unknown, None, "of another id");
    let change = b.health.prepared(0, id, true, b.at(ms + 1_000), 1.0);
    assert_eq!(change.expect("it serves").to, NodeState::Probation);
    let again = b.health.prepared(0, id, false, b.at(ms + 1_001), 1.0);
    assert_eq!(again, None);
}

#[test]
fn a_failed_or_late_preparation_costs_no_level_and_waits_for_a_good_probe() {
    for is_late in [false, true] {
        let (mut b, id, ms) = prepared_cluster();
        let (level, epoch) = (b.health.level(0), b.health.epoch(0));
        let over = match is_late {
            true => {
                assert_eq!(b.due(ms + 2_000), [], "late is no change of state");
                ms + 2_000
            }
            false => {
                let now = b.at(ms + 10);
                assert_eq!(b.health.prepared(0, id, false, now, 1.0), None);
                ms + 10
            }
        };
        assert_eq!(b.state(0), NodeState::HalfOpen);
        assert_eq!((b.health.level(0), b.health.epoch(0)), (level, epoch));
        assert_eq!(preparation(&mut b, over + 400), None, "not without a probe");
        let probe = b.probe(over + 1_000);
        b.probed(0, probe, over + 1_001, ProbeResult::Ok);
        let id = preparation(&mut b, over + 1_001).expect("one good probe is enough");
        let change = b.health.prepared(0, id, true, b.at(over + 1_002), 1.0);
        assert_eq!(change.expect("it serves").to, NodeState::Probation);
    }
}

#[test]
fn a_node_that_fails_its_probe_after_a_preparation_falls_as_ever() {
    let (mut b, id, ms) = prepared_cluster();
    b.health.prepared(0, id, false, b.at(ms), 1.0);
    let probe = b.probe(ms + 1_000);
    let change = b.probed(0, probe, ms + 1_001, ProbeResult::Failed(Reason::Refused));
    assert_eq!(change.expect("out").level, 2);
    let late = b.health.prepared(0, id, true, b.at(ms + 1_002), 1.0);
    assert_eq!(late, None, "of the wait before");
}

#[test]
fn a_doubted_node_is_asked_until_its_strikes_eject_it() {
    let mut b = cluster(3);
    assert!(b.health.check(0, b.at(0)) && !b.health.check(0, b.at(1)));
    for round in 0..3 {
        let ms = 200 * round;
        let id = check(&mut b, ms).expect("asked");
        assert_eq!(b.state(0), NodeState::Up);
        let result = ProbeResult::Failed(Reason::Refused);
        let change = b.health.checked(0, id, result, b.at(ms + 50), 1.0);
        assert_eq!(
            change.map(|c| c.to),
            (round == 2).then_some(NodeState::Down)
        );
        assert_eq!(check(&mut b, ms + 149), None, "100 ms apart");
    }
}

#[test]
fn one_answer_ends_the_doubt_and_what_it_has_added() {
    let mut b = cluster(3);
    b.health.check(0, b.at(0));
    let id = check(&mut b, 0).expect("asked");
    let failed = ProbeResult::Failed(Reason::Refused);
    assert_eq!(b.health.checked(0, id, failed, b.at(10), 1.0), None);
    let id = check(&mut b, 110).expect("asked again");
    assert_eq!(
        b.health.checked(0, id, ProbeResult::Ok, b.at(111), 1.0),
        None
    );
    assert_eq!(check(&mut b, 5_000), None, "it is over");
    for ms in [5_001, 5_002] {
        b.see(0, ms, strike());
    }
    assert_eq!(b.state(0), NodeState::Up, "the first strike is forgiven");
}

#[test]
fn a_check_without_an_answer_is_a_strike_and_those_the_cap_forgives_end_as_well() {
    let mut b = cluster(1);
    b.health.check(0, b.at(0));
    for round in 0..3 {
        let ms = 600 * round;
        check(&mut b, ms).expect("asked");
        assert_eq!(b.due(ms + 500), [], "late");
        assert_eq!(b.state(0), NodeState::Up, "the only node stays");
    }
    assert_eq!(check(&mut b, 10_000), None, "after three it is over");
}

#[test]
fn doubt_of_a_node_that_is_out_is_a_demand() {
    let mut b = cluster(3);
    for _ in 0..6 {
        b.hard(0, 0, Reason::Config);
    }
    let before = b.health.retry_after(0, b.at(0));
    assert!(b.health.check(0, b.at(0)));
    assert!(b.health.retry_after(0, b.at(0)) < before);
}

#[test]
fn a_new_doubt_asks_no_sooner_than_100_ms_after_the_last_question() {
    let mut b = cluster(3);
    b.health.check(0, b.at(0));
    let id = check(&mut b, 0).expect("asked");
    b.health.checked(0, id, ProbeResult::Ok, b.at(1), 1.0);
    assert!(b.health.check(0, b.at(2)), "the last one is over");
    assert_eq!(check(&mut b, 99), None);
    check(&mut b, 100).expect("asked");
}

#[test]
fn a_doubted_node_falls_as_by_a_proof_of_the_same() {
    for (result, reason) in [
        (ProbeResult::Failed(Reason::Refused), Reason::Refused),
        (ProbeResult::NotReady(Reason::NotReady), Reason::NotReady),
        (ProbeResult::Config, Reason::Config),
    ] {
        let mut doubted = cluster(3);
        doubted.health.check(0, doubted.at(0));
        for ms in [0, 200, 400] {
            let id = check(&mut doubted, ms).expect("asked");
            let at = doubted.at(ms + 1);
            doubted.health.checked(0, id, result, at, 1.0);
        }
        let mut proven = cluster(3);
        proven.hard(0, 401, reason);
        assert_eq!(doubted.state(0), NodeState::Down, "{result:?}");
        let level = |b: &Bench| b.health.level(0);
        let wait = |b: &Bench| b.health.retry_after(0, b.at(401));
        assert_eq!(level(&doubted), level(&proven), "{result:?}");
        assert_eq!(wait(&doubted), wait(&proven), "{result:?}");
    }
}

#[test]
fn demand_hurries_a_node_that_was_prepared_in_vain() {
    let (mut b, id, ms) = prepared_cluster();
    b.health.prepared(0, id, false, b.at(ms), 1.0);
    let is_probe = |action: &Action<u8>| matches!(action, Action::Probe { key: 0, .. });
    assert!(!b.due(ms + 100).iter().any(is_probe), "it waits for longer");
    assert!(b.health.demand(0, b.at(ms + 100)));
    assert!(b.due(ms + 500).iter().any(is_probe));
}

#[test]
fn a_node_that_is_ready_waits_for_others_for_two_seconds_at_most() {
    let awaited = |b: &mut Bench, awaited| {
        let overrule = b.health.overruled(0);
        b.health.overrule(
            0,
            Overrule {
                awaited,
                ..overrule
            },
        );
    };
    // Nobody is awaited: nobody is waited for.
    let (mut b, id, ms) = prepared_cluster();
    assert!(!b.health.is_ready(0));
    assert!(b.health.ready(0, id, b.at(ms)) && b.health.is_ready(0));
    assert_eq!(b.health.awaits(0, id, b.at(ms)), Ok(None));
    // Somebody is, until the end, or until a word.
    awaited(&mut b, true);
    let end = b.at(ms + 2_000);
    assert_eq!(b.health.awaits(0, id, b.at(ms)), Ok(Some(end)));
    assert_eq!(b.health.awaits(0, id, b.at(ms + 1_999)), Ok(Some(end)));
    assert_eq!(b.health.awaits(0, id, end), Ok(None));
    awaited(&mut b, false);
    assert_eq!(b.health.awaits(0, id, b.at(ms + 1)), Ok(None));
    assert_eq!(
        b.health.state(0),
        Some(NodeState::HalfOpen),
        "until it is said"
    );
    let rise = b.health.prepared(0, id, true, b.at(ms + 1), 1.0).unwrap();
    assert_eq!(rise.to, NodeState::Probation);
    assert_eq!(b.health.awaits(0, id, b.at(ms + 2)), Err(Stale));
    assert!(!b.health.ready(0, id, b.at(ms + 2)), "of an earlier one");

    // Held meanwhile, it is prepared anew; given up, it waits for a good probe.
    let (mut b, id, ms) = prepared_cluster();
    assert!(b.health.ready(0, id, b.at(ms)));
    b.health.hold(0, true, b.at(ms + 1), 1.0);
    assert_eq!(b.health.awaits(0, id, b.at(ms + 2)), Err(Stale));
    let (mut b, id, ms) = prepared_cluster();
    awaited(&mut b, true);
    assert!(b.health.ready(0, id, b.at(ms)));
    assert_eq!(preparation(&mut b, ms + 3_900), None);
    assert_eq!(b.health.awaits(0, id, b.at(ms + 3_900)), Ok(None));
    assert_eq!(preparation(&mut b, ms + 4_000), None);
    assert_eq!(b.health.awaits(0, id, b.at(ms + 4_000)), Err(Stale));
}
