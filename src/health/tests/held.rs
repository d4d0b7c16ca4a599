//! A node that others find out, while this process finds it well or not.

use super::*;

#[test]
fn a_held_node_falls_at_its_level_is_asked_on_and_stays_out_however_well_it_answers() {
    let mut b = cluster(3);
    let fall = b.health.hold(0, true, b.at(0), 1.0).expect("it admitted");
    assert_eq!((fall.from, fall.to), (NodeState::Up, NodeState::Down));
    assert_eq!((fall.reason, fall.level), (Some(Reason::Fleet), 0));
    assert_eq!(b.wait(Some(fall), 0), 100, "the shortest wait");
    assert!(
        b.health.votes_down(0, b.at(1)),
        "nothing was seen of it yet"
    );
    assert_eq!(b.health.hold(0, true, b.at(1), 1.0), None, "it is held");
    let mut ms = 200;
    for _ in 0..8 {
        let id = b.probe(ms);
        assert_eq!(b.probed(0, id, ms, ProbeResult::Ok), None);
        ms += 2_000;
    }
    assert_eq!(b.health.state(0), Some(NodeState::HalfOpen));
    assert!(!b.health.votes_down(0, b.at(ms)), "its probes are good");
    // Let go, it is asked at once, and that answer brings it back.
    let ms = ms - 2_000 + 10;
    assert_eq!(b.health.hold(0, false, b.at(ms), 1.0), None);
    let id = b.probe(ms);
    let rise = b.probed(0, id, ms, ProbeResult::Ok).expect("it is back");
    assert_eq!((rise.to, rise.level), (NodeState::Probation, 0));
}

#[test]
fn a_held_node_that_fails_its_probes_is_a_node_that_is_down() {
    let mut b = cluster(3);
    b.health.hold(0, true, b.at(0), 1.0);
    let id = b.probe(200);
    let down = b.probed(0, id, 200, ProbeResult::Failed(Reason::Refused));
    assert_eq!(
        down.map(|down| (down.to, down.level)),
        Some((NodeState::Down, 1))
    );
    assert!(b.health.votes_down(0, b.at(201)));
    assert_eq!(b.health.hold(0, false, b.at(210), 1.0), None);
    assert!(
        b.health.votes_down(0, b.at(211)),
        "nobody's word brings it back"
    );
}

#[test]
fn to_be_held_is_no_flap() {
    let mut b = with(Penalty::default().flap_count(2).flap_hold(30 * RT), 3);
    let mut ms = 0;
    for _ in 0..5 {
        let fall = b.health.hold(0, true, b.at(ms), 1.0);
        assert_eq!(b.wait(fall, ms), 100, "as the first time");
        for _ in 0..2 {
            ms += 150;
            let id = b.probe(ms);
            b.probed(0, id, ms, ProbeResult::Ok);
        }
        b.health.hold(0, false, b.at(ms), 1.0);
        let id = b.probe(ms);
        assert!(b.probed(0, id, ms, ProbeResult::Ok).is_some());
        ms += 100;
    }
}

#[test]
fn while_our_own_network_is_the_likelier_culprit_nothing_that_we_saw_is_a_vote() {
    let mut b = cluster(3);
    b.hard(0, 0, Reason::Unreachable);
    assert!(b.health.votes_down(0, b.at(1)));
    b.hard(1, 10, Reason::Unreachable);
    assert!(!b.health.votes_down(0, b.at(11)), "two of three at once");
    assert!(b.health.votes_down(0, b.at(2_000)), "for a second");
}
