//! Every row of the state machine's table, by hand.

mod asked;
mod held;

use super::*;
use crate::health::verdict::{ProbeResult, Soft};
use crate::health::waits::Wait;

const RT: Duration = Duration::from_millis(500);

/// A cluster and its clock, in milliseconds since the start.
struct Bench {
    health: Machine<u8>,
    start: Instant,
}

fn cluster(n: u8) -> Bench {
    with(Penalty::default(), n)
}

fn with(penalty: Penalty, n: u8) -> Bench {
    let start = Instant::now();
    let mut health = Machine::new(penalty, RT);
    for key in 0..n {
        health.insert(key, start);
    }
    Bench { health, start }
}

fn strike() -> Verdict {
    Verdict::Soft(Soft::Strike(Reason::Busy))
}

impl Bench {
    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    /// Evidence under the node's present epoch, with the longest jitter.
    fn see(&mut self, key: u8, ms: u64, verdict: Verdict) -> Option<Transition<u8>> {
        let epoch = self.health.epoch(key)?;
        self.health.observe(key, epoch, verdict, self.at(ms), 1.0)
    }

    fn hard(&mut self, key: u8, ms: u64, reason: Reason) -> Option<Transition<u8>> {
        self.see(key, ms, Verdict::Hard(reason))
    }

    fn timeout(&mut self, key: u8, sent: u64, ms: u64, silent: bool) -> Option<Transition<u8>> {
        let sent_at = self.at(sent);
        self.waited(key, ms, sent_at, silent, Wait::UNDISTURBED)
    }

    fn waited(
        &mut self,
        key: u8,
        ms: u64,
        sent_at: Instant,
        silent: bool,
        wait: Wait,
    ) -> Option<Transition<u8>> {
        let timeout = Soft::Timeout {
            sent_at,
            silent,
            wait,
        };
        self.see(key, ms, Verdict::Soft(timeout))
    }

    /// A time-out at `ms` of which `millis` remain, the last before `ms`; stalls are the rest of the time.
    fn part(&mut self, key: u8, ms: u64, millis: u64) -> Option<Transition<u8>> {
        let clock = Duration::from_millis(ms);
        let ran = Ran::Part {
            from: clock - Duration::from_millis(millis),
            to: clock,
        };
        let wait = Wait { ran, limit: RT };
        self.waited(key, ms, self.at(ms - 500), true, wait)
    }

    fn lost(&mut self, key: u8, ms: u64, idle: bool) -> Option<Transition<u8>> {
        self.see(key, ms, Verdict::Soft(Soft::Lost { idle }))
    }

    fn due(&mut self, ms: u64) -> Vec<Action<u8>> {
        let now = self.at(ms);
        self.health.due(now, &mut || 1.0, &|_, _| Ran::Throughout)
    }

    /// Runs the timers and returns the id of the one probe they start.
    fn probe(&mut self, ms: u64) -> u64 {
        let ids: Vec<_> = self
            .due(ms)
            .into_iter()
            .filter_map(|action| match action {
                Action::Probe { id, .. } => Some(id),
                _ => None,
            })
            .collect();
        assert_eq!(ids.len(), 1, "one probe starts at {ms} ms");
        ids[0]
    }

    fn probed(&mut self, key: u8, id: u64, ms: u64, result: ProbeResult) -> Option<Transition<u8>> {
        self.health
            .probe_finished(key, id, result, self.at(ms), 1.0)
    }

    /// Two good probes, the first when the wait is over; returns when the second one ends.
    fn bring_back(&mut self, key: u8) -> u64 {
        let due = self.health.next_deadline().expect("it waits");
        let ms = due
            .duration_since(self.start)
            .as_nanos()
            .div_ceil(1_000_000) as u64;
        let id = self.probe(ms);
        self.probed(key, id, ms + 1, ProbeResult::Ok);
        let id = self.probe(ms + 51);
        self.probed(key, id, ms + 52, ProbeResult::Ok);
        ms + 52
    }

    fn state(&self, key: u8) -> NodeState {
        self.health.state(key).expect("a known node")
    }

    fn wait(&self, change: Option<Transition<u8>>, ms: u64) -> u64 {
        let until = change
            .and_then(|change| change.until)
            .expect("it went down");
        until.duration_since(self.at(ms)).as_millis() as u64
    }
}

#[test]
fn proof_ejects_at_once() {
    for reason in [Reason::Refused, Reason::Unreachable, Reason::Timeout] {
        let mut b = cluster(3);
        let change = b.hard(0, 10, reason).expect("a change");
        assert_eq!((change.from, change.to), (NodeState::Up, NodeState::Down));
        assert_eq!((change.epoch, change.level), (1, 1), "{reason}");
        assert_eq!(change.reason, Some(reason));
        assert_eq!(b.wait(Some(change), 10), 100, "the base wait");
        assert!(!b.health.admits(0), "{reason}");
        assert_eq!(b.health.reason(0), Some(reason));
    }
}

#[test]
fn three_strikes_eject_and_a_success_between_them_forgives() {
    let mut b = cluster(3);
    assert_eq!(b.see(0, 0, strike()), None, "one");
    assert_eq!(b.see(0, 1, strike()), None, "two");
    b.see(0, 2, Verdict::Alive);
    assert_eq!(b.see(0, 3, strike()), None, "one again");
    assert_eq!(b.see(0, 4, strike()), None, "two again");
    assert!(b.see(0, 5, strike()).is_some(), "three");
}

#[test]
fn strikes_are_forgotten_after_their_window() {
    let mut b = cluster(3);
    b.see(0, 0, strike());
    b.see(0, 10_000, strike());
    assert_eq!(
        b.see(0, 10_001, strike()),
        None,
        "the first two are forgotten"
    );
    assert_eq!(b.see(0, 10_002, strike()), None, "two in the new window");
    assert!(
        b.see(0, 20_001, strike()).is_some(),
        "three in the new window"
    );
}

#[test]
fn neutral_evidence_changes_nothing() {
    let mut b = cluster(3);
    b.see(0, 0, strike());
    let before = b.health.clone();
    assert_eq!(b.see(0, 1, Verdict::Neutral), None);
    assert_eq!(b.health, before);
}

#[test]
fn a_burst_of_time_outs_is_one_strike() {
    let mut b = cluster(3);
    for i in 0..64 {
        assert_eq!(
            b.timeout(0, i, 500 + i, false),
            None,
            "command {i} of the burst"
        );
    }
    assert_eq!(b.timeout(0, 499, 999, false), None, "still the same burst");
    assert_eq!(b.timeout(0, 500, 1_000, false), None, "a second strike");
    assert!(
        b.timeout(0, 501, 1_001, false).is_some(),
        "three span a response time-out"
    );
}

#[test]
fn a_stopped_server_under_load_is_out_with_the_first_time_outs() {
    let mut b = cluster(3);
    let out = (0..64).find(|&i| b.timeout(0, i, 500 + i, true).is_some());
    assert_eq!(out, Some(19), "the twentieth bad result");
}

#[test]
fn time_outs_of_a_node_that_still_speaks_count_once_per_burst() {
    let mut b = cluster(3);
    for burst in 0..15 {
        for i in 0..10 {
            let sent = burst * 500 + i;
            assert_eq!(b.timeout(0, sent, sent + 500, false), None, "burst {burst}");
        }
        let now = b.at(burst * 500 + 510);
        b.health.observe_successes(0, 0, 2, now);
    }
    assert_eq!(
        b.state(0),
        NodeState::Up,
        "15 bad and 30 good are not 150 bad"
    );
}

#[test]
fn half_of_twenty_results_eject_counted_from_the_first_bad_one() {
    let mut b = cluster(3);
    b.health.observe_successes(0, 0, 1_000_000, b.at(0));
    for i in 0..9 {
        assert_eq!(b.see(0, 1_000 + i, strike()), None, "bad result {i}");
        b.health.observe_successes(0, 0, 1, b.at(1_000 + i));
    }
    b.health.observe_successes(0, 0, 1, b.at(1_100));
    assert!(b.see(0, 1_200, strike()).is_some(), "10 of 20");

    let mut b = cluster(3);
    for i in 0..40 {
        b.see(0, 1_000 + i, strike());
        b.health.observe_successes(0, 0, 2, b.at(1_000 + i));
    }
    assert_eq!(b.state(0), NodeState::Up, "a third is bad: good enough");
}

#[test]
fn results_older_than_the_window_do_not_count() {
    let mut b = cluster(3);
    for i in 0..40 {
        // One bad, one good, every 1.1 s: never twenty in ten seconds.
        let ms = i * 1_100;
        assert_eq!(b.see(0, ms, strike()), None, "result {i}");
        b.health.observe_successes(0, 0, 1, b.at(ms));
    }
}

#[test]
fn the_first_idle_connection_that_breaks_is_excused() {
    let mut b = cluster(3);
    for i in 0..20 {
        assert_eq!(
            b.lost(0, i * 100, true),
            None,
            "one idle connection every 100 ms"
        );
    }
    assert_eq!(
        b.health.watch(0, b.at(1_900)),
        Watch::Nothing,
        "no strike at all"
    );
    b.lost(0, 1_950, true);
    assert_eq!(
        b.health.watch(0, b.at(1_950)),
        Watch::Report,
        "the second one within 100 ms"
    );
}

#[test]
fn connections_that_break_together_are_one_strike() {
    let mut b = cluster(3);
    for i in 0..100 {
        assert_eq!(b.lost(0, i, false), None, "connection {i}");
    }
    assert_eq!(b.lost(0, 100, false), None, "the second event");
    assert!(b.lost(0, 200, false).is_some(), "the third event");
}

#[test]
fn suspicion_may_take_half_of_the_nodes_and_never_the_last() {
    for (n, most) in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (10, 5)] {
        let mut b = cluster(n);
        for key in 0..n {
            for i in 0..100 {
                b.see(key, i, strike());
            }
        }
        let out = (0..n).filter(|&key| !b.health.admits(key)).count();
        assert_eq!(out, most, "of {n} nodes");
    }
}

#[test]
fn proof_may_take_every_node_and_counts_against_suspicion() {
    let mut b = cluster(3);
    b.hard(0, 0, Reason::Refused);
    for i in 0..10 {
        assert_eq!(b.see(1, i, strike()), None, "one of three is out already");
    }
    assert!(b.hard(1, 20, Reason::Refused).is_some());
    assert!(b.hard(2, 21, Reason::Refused).is_some());
    assert!((0..3).all(|key| !b.health.admits(key)), "none is left");
}

#[test]
fn a_capped_node_goes_with_its_next_strike_once_there_is_room() {
    let mut b = cluster(2);
    b.hard(0, 0, Reason::Refused);
    for i in 0..5 {
        b.see(1, i, strike());
    }
    b.health.remove(0);
    b.health.insert(2, b.at(10));
    assert!(b.see(1, 11, strike()).is_some(), "another node serves now");
}

#[test]
fn traffic_does_not_move_a_node_that_is_out() {
    let mut b = cluster(3);
    b.hard(0, 0, Reason::Refused);
    let everything = |b: &mut Bench, ms| {
        let before = b.health.clone();
        for verdict in [Verdict::Alive, strike(), Verdict::Hard(Reason::Refused)] {
            assert_eq!(b.see(0, ms, verdict), None, "{verdict:?}");
        }
        b.health.observe_successes(0, 1, 99, b.at(ms));
        assert_eq!(b.health, before, "at {ms} ms");
    };
    everything(&mut b, 10);
    b.probe(100);
    assert_eq!(b.state(0), NodeState::HalfOpen);
    everything(&mut b, 110);
}

#[test]
fn evidence_of_an_older_epoch_is_ignored() {
    let mut b = cluster(3);
    b.hard(0, 0, Reason::Refused);
    b.bring_back(0);
    assert_eq!(b.state(0), NodeState::Probation);
    let before = b.health.clone();
    let now = b.at(300);
    for verdict in [Verdict::Alive, strike(), Verdict::Hard(Reason::Timeout)] {
        assert_eq!(
            b.health.observe(0, 0, verdict, now, 0.5),
            None,
            "{verdict:?}"
        );
    }
    assert_eq!(b.health.observe_successes(0, 0, 99, now), None);
    assert_eq!(b.health, before);
}

#[test]
fn a_node_that_replaces_one_of_the_same_key_inherits_nothing() {
    let mut b = cluster(3);
    b.hard(0, 0, Reason::Refused);
    let id = b.probe(100);
    b.health.remove(0);
    b.health.insert(0, b.at(110));
    assert_eq!(b.health.epoch(0), Some(2), "beyond its predecessor's");
    let before = b.health.clone();
    assert_eq!(
        b.probed(0, id, 120, ProbeResult::Failed(Reason::Refused)),
        None
    );
    let now = b.at(120);
    assert_eq!(
        b.health
            .observe(0, 1, Verdict::Hard(Reason::Refused), now, 0.5),
        None
    );
    assert_eq!(b.health, before);
    assert_eq!(b.health.next_deadline(), None, "no timer of the old one");
}

#[test]
fn two_good_probes_bring_a_node_back_on_probation() {
    let mut b = cluster(3);
    b.hard(0, 0, Reason::Refused);
    assert_eq!(b.due(99), [], "it waits");
    let id = b.probe(100);
    assert_eq!(b.due(150), [], "one probe at a time");
    assert_eq!(
        b.probed(0, id, 160, ProbeResult::Ok),
        None,
        "one is not enough"
    );
    assert_eq!(b.due(209), [], "a pause between them");
    let id = b.probe(210);
    let change = b.probed(0, id, 215, ProbeResult::Ok).expect("a change");
    assert_eq!(
        (change.from, change.to),
        (NodeState::HalfOpen, NodeState::Probation)
    );
    assert_eq!((change.epoch, change.level), (1, 1), "the level stays");
    assert!(b.health.admits(0));
}

#[test]
fn a_failed_probe_waits_longer_up_to_the_maximum() {
    let mut b = cluster(3);
    let mut ms = 0;
    let mut waits = vec![b.hard(0, 0, Reason::Refused)];
    for i in 0..9 {
        ms += b.wait(waits[i], ms);
        let id = b.probe(ms);
        waits.push(b.probed(0, id, ms, ProbeResult::Failed(Reason::Refused)));
    }
    let waits: Vec<_> = waits.iter().map(|change| change.unwrap().level).collect();
    assert_eq!(waits, [1, 2, 3, 4, 5, 6, 7, 7, 7, 7]);
    assert_eq!(
        b.health.retry_after(0, b.at(ms)),
        Some(Duration::from_secs(5))
    );
}

#[test]
fn a_probe_past_its_deadline_failed_and_its_late_answer_is_ignored() {
    let mut b = cluster(3);
    b.hard(0, 0, Reason::Refused);
    let id = b.probe(100);
    assert_eq!(b.health.next_deadline(), Some(b.at(600)));
    let actions = b.due(600);
    let [Action::Publish(change)] = actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!((change.to, change.level), (NodeState::Down, 2));
    assert_eq!(change.reason, Some(Reason::Timeout));
    assert_eq!(b.probed(0, id, 610, ProbeResult::Ok), None, "too late");
    assert_eq!(b.state(0), NodeState::Down);
}

#[test]
fn a_probe_of_another_id_is_ignored() {
    let mut b = cluster(3);
    b.hard(0, 0, Reason::Refused);
    let id = b.probe(100);
    let before = b.health.clone();
    assert_eq!(b.probed(0, id + 1, 110, ProbeResult::Ok), None);
    assert_eq!(b.probed(1, id, 110, ProbeResult::Ok), None, "another node");
    assert_eq!(b.health, before);
}

#[test]
fn a_server_that_is_not_ready_keeps_its_level_and_is_asked_every_second() {
    let mut b = cluster(3);
    let change = b.hard(0, 0, Reason::NotReady);
    assert_eq!(change.unwrap().level, 0, "no step up");
    assert_eq!(b.wait(change, 0), 100, "the first level's wait");
    let mut ms = 100;
    for wait in [200, 400, 800, 1_000, 1_000] {
        let id = b.probe(ms);
        let change = b.probed(0, id, ms, ProbeResult::NotReady(Reason::NotReady));
        assert_eq!(change.unwrap().level, 0);
        assert_eq!(b.wait(change, ms), wait);
        ms += wait;
    }
    let ms = b.bring_back(0) + 1;
    let change = b.hard(0, ms, Reason::NotReady);
    assert_eq!(b.wait(change, ms), 100, "serving in between starts anew");
    // One that had failed for long before it began to load.
    let mut b = cluster(3);
    b.hard(0, 0, Reason::Config);
    let id = b.probe(5_000);
    let change = b.probed(0, id, 5_000, ProbeResult::NotReady(Reason::Busy));
    assert_eq!(change.unwrap().level, 7, "neither up nor down");
    assert_eq!(b.wait(change, 5_000), 1_000, "at most a second");
}

#[test]
fn what_waiting_does_not_cure_is_probed_at_the_slowest() {
    for reason in [Reason::Config, Reason::NotRedis] {
        let mut b = cluster(3);
        let change = b.hard(0, 0, reason);
        assert_eq!(change.unwrap().level, 7, "{reason}");
        assert_eq!(b.wait(change, 0), 5_000, "{reason}");
    }
    for (result, reason) in [
        (ProbeResult::Config, Reason::Config),
        (ProbeResult::NotRedis, Reason::NotRedis),
    ] {
        let mut b = cluster(3);
        b.hard(0, 0, Reason::Refused);
        let id = b.probe(100);
        let change = b.probed(0, id, 100, result).expect("a change");
        assert_eq!((change.level, change.reason), (7, Some(reason)));
    }
}

#[test]
fn one_strike_on_probation_ejects_at_a_higher_level() {
    let mut b = cluster(3);
    b.hard(0, 0, Reason::Refused);
    let ms = b.bring_back(0);
    b.see(0, ms + 1, Verdict::Alive);
    let change = b.see(0, ms + 2, strike()).expect("out again");
    assert_eq!((change.from, change.level), (NodeState::Probation, 2));
}

#[test]
fn the_first_broken_idle_connection_is_excused_on_probation_too() {
    let mut b = cluster(3);
    b.hard(0, 0, Reason::Refused);
    let ms = b.bring_back(0);
    assert_eq!(b.lost(0, ms + 1, true), None);
    assert_eq!(b.state(0), NodeState::Probation);
}

#[test]
fn probation_ends_with_twenty_successes_or_after_five_seconds() {
    let mut b = cluster(3);
    b.hard(0, 0, Reason::Refused);
    let ms = b.bring_back(0);
    for i in 0..19 {
        assert_eq!(b.see(0, ms + 1, Verdict::Alive), None, "success {i}");
    }
    let change = b.see(0, ms + 1, Verdict::Alive).expect("the twentieth");
    assert_eq!((change.to, change.level), (NodeState::Up, 1));

    let mut b = cluster(3);
    b.hard(0, 0, Reason::Refused);
    let ms = b.bring_back(0);
    assert_eq!(b.due(ms + 4_999), [], "still on probation");
    assert_eq!(b.health.next_deadline(), Some(b.at(ms + 5_000)));
    let actions = b.due(ms + 5_000);
    assert!(
        matches!(actions[..], [Action::Publish(change)] if change.to == NodeState::Up),
        "without any traffic: {actions:?}"
    );
    let mut b = cluster(3);
    b.hard(0, 0, Reason::Refused);
    let ms = b.bring_back(0);
    let change = b.health.observe_successes(0, 1, 20, b.at(ms + 1));
    assert_eq!(change.expect("counted ones do as well").to, NodeState::Up);
}

#[test]
fn a_level_is_forgiven_per_ten_seconds_of_service() {
    let mut b = cluster(3);
    b.hard(0, 0, Reason::Config);
    let ms = b.bring_back(0) + 5_000;
    b.due(ms);
    assert_eq!((b.state(0), b.health.level(0)), (NodeState::Up, Some(7)));
    for (later, level) in [
        (9_999, 7),
        (10_000, 6),
        (19_999, 6),
        (35_000, 4),
        (90_000, 0),
    ] {
        assert_eq!(b.due(ms + later), [], "nothing to publish");
        assert_eq!(
            b.health.level(0),
            Some(level),
            "after {later} ms of service"
        );
    }
    assert_eq!(b.health.next_deadline(), None, "nothing left to forgive");
}

#[test]
fn the_fifth_ejection_in_a_minute_is_held_for_long() {
    let long = Penalty::default().flap_hold(60 * RT);
    let mut b = with(long.clone(), 3);
    let mut ms = 0;
    for i in 1..=5 {
        let change = b.hard(0, ms, Reason::Refused);
        let wait = b.wait(change, ms);
        assert_eq!(wait == 30_000, i == 5, "ejection {i} waits {wait} ms");
        if i < 5 {
            ms = b.bring_back(0) + 1;
        }
    }
    // The same five, spread over more than a minute.
    let mut b = with(long, 3);
    let mut ms = 0;
    for i in 1..=10 {
        let change = b.hard(0, ms, Reason::Refused);
        assert!(b.wait(change, ms) <= 5_000, "ejection {i}");
        ms = b.bring_back(0) + 15_000;
        b.due(ms);
    }
}

#[test]
fn a_flapping_server_that_is_loading_is_still_asked_every_second() {
    let mut b = cluster(3);
    let mut ms = 0;
    for i in 1..=6 {
        let change = b.hard(0, ms, Reason::NotReady);
        assert!(b.wait(change, ms) <= 1_000, "ejection {i}");
        ms = b.bring_back(0) + 1;
    }
}

#[test]
fn silence_of_most_nodes_raises_no_level() {
    let mut b = cluster(4);
    let levels: Vec<_> = (0..4)
        .map(|key| b.hard(key, u64::from(key), Reason::Timeout).unwrap())
        .map(|change| (change.level, change.client_suspect))
        .collect();
    assert_eq!(levels, [(1, false), (1, false), (0, true), (0, true)]);
    // Their probes fail together as well, and keep the base pace.
    for round in 0..5 {
        let ms = 110 + round * 700;
        let ids: Vec<_> = b
            .due(ms)
            .into_iter()
            .filter_map(|action| match action {
                Action::Probe { key, id, .. } => Some((key, id)),
                _ => None,
            })
            .collect();
        assert_eq!(ids.len(), 4, "round {round}");
        for (key, id) in ids {
            let ms = ms + 500 + u64::from(key);
            let change = b.probed(key, id, ms, ProbeResult::Failed(Reason::Timeout));
            if round > 0 {
                assert_eq!(b.wait(change, ms), 100, "round {round}");
            }
            assert!(change.unwrap().level <= 2, "round {round}");
        }
    }
}

#[test]
fn failures_more_than_a_second_apart_raise_levels() {
    let mut b = cluster(2);
    b.hard(0, 0, Reason::Timeout);
    let change = b.hard(1, 1_001, Reason::Timeout).unwrap();
    assert_eq!((change.level, change.client_suspect), (1, false));
}

#[test]
fn refused_dials_are_never_our_own_network() {
    let mut b = cluster(3);
    for key in 0..3 {
        let change = b.hard(key, 0, Reason::Refused).unwrap();
        assert_eq!((change.level, change.client_suspect), (1, false));
    }
}

#[test]
fn unreachable_is_only_a_strike_when_most_nodes_are() {
    let mut b = cluster(4);
    assert!(b.hard(0, 0, Reason::Unreachable).is_some(), "one of four");
    assert!(
        b.hard(1, 1, Reason::Unreachable).is_some(),
        "half is not most"
    );
    assert_eq!(
        b.hard(2, 2, Reason::Unreachable),
        None,
        "three of four: our own network"
    );
    assert!(b.health.client_suspect(b.at(2)));
    assert!(
        b.health.admits(2) && b.health.admits(3),
        "half of them stay"
    );
    assert!(
        !b.health.client_suspect(b.at(1_003)),
        "a second later it is forgotten"
    );
    assert!(
        b.hard(2, 1_500, Reason::Unreachable).is_some(),
        "alone it is proof again"
    );
}

#[test]
fn the_only_node_of_a_cluster_backs_off() {
    let mut b = cluster(1);
    b.hard(0, 0, Reason::Unreachable);
    let id = b.probe(100);
    let change = b
        .probed(0, id, 100, ProbeResult::Failed(Reason::Unreachable))
        .unwrap();
    assert_eq!((change.level, change.client_suspect), (2, false));
}

#[test]
fn demand_pulls_the_next_probe_forward() {
    let mut b = cluster(1);
    b.hard(0, 0, Reason::Config);
    assert!(b.health.demand(0, b.at(10)), "sooner than 5 s");
    assert_eq!(
        b.health.retry_after(0, b.at(10)),
        Some(Duration::from_millis(490))
    );
    assert_eq!(
        b.health.next_deadline(),
        Some(b.at(500)),
        "the longest pause"
    );
    assert!(!b.health.demand(0, b.at(20)), "no sooner than that");
    let id = b.probe(500);
    assert!(!b.health.demand(0, b.at(510)), "it is being probed");
    b.probed(0, id, 800, ProbeResult::Failed(Reason::Timeout));
    assert!(b.health.demand(0, b.at(900)));
    assert_eq!(
        b.health.next_deadline(),
        Some(b.at(1_300)),
        "counted from the probe's end"
    );
    assert!(!b.health.demand(9, b.at(900)), "an unknown node");
}

#[test]
fn demand_at_a_low_level_waits_the_shortest_pause() {
    let mut b = cluster(1);
    b.hard(0, 0, Reason::Refused);
    let id = b.probe(100);
    b.probed(0, id, 100, ProbeResult::Failed(Reason::Refused));
    assert!(b.health.demand(0, b.at(101)), "sooner than 200 ms");
    assert_eq!(b.health.next_deadline(), Some(b.at(200)));
}

#[test]
fn demand_brings_a_held_node_forward() {
    let mut b = with(Penalty::default().flap_count(1), 3);
    let change = b.hard(0, 0, Reason::Refused);
    assert_eq!(b.wait(change, 0), 5_000, "held");
    assert!(b.health.demand(0, b.at(1_000)));
    assert_eq!(
        b.health.next_deadline(),
        Some(b.at(1_000)),
        "its pause is over already"
    );
}

#[test]
fn a_healthy_node_wants_to_hear_of_no_success() {
    let mut b = cluster(3);
    let watch = |b: &Bench, ms| b.health.watch(0, b.at(ms));
    assert_eq!(watch(&b, 0), Watch::Nothing);
    b.see(0, 0, strike());
    assert_eq!(watch(&b, 1), Watch::Report, "a strike to clear");
    b.see(0, 2, Verdict::Alive);
    assert_eq!(watch(&b, 3), Watch::Count, "a bad result in the window");
    assert_eq!(watch(&b, 10_001), Watch::Nothing, "out of the window");
    b.hard(0, 10_002, Reason::Refused);
    assert_eq!(watch(&b, 10_003), Watch::Nothing, "out of service");
    b.due(10_102);
    assert_eq!(watch(&b, 10_103), Watch::Nothing, "being probed");
    assert_eq!(
        b.health.watch(9, b.at(0)),
        Watch::Nothing,
        "an unknown node"
    );
    let mut b = cluster(3);
    b.hard(0, 0, Reason::Refused);
    let ms = b.bring_back(0);
    assert_eq!(watch(&b, ms), Watch::Report, "on probation");
}

#[test]
fn what_stalls_leave_of_time_outs_adds_up_to_strikes() {
    let mut b = cluster(3);
    let (mut ms, mut waits) = (1_000, 0);
    let out = loop {
        waits += 1;
        if let Some(change) = b.part(0, ms, 100) {
            break change;
        }
        assert!(waits < 20, "a silent node is excused for ever");
        ms += 600;
    };
    assert_eq!(
        (out.to, out.reason),
        (NodeState::Down, Some(Reason::Timeout))
    );
    assert_eq!(
        waits, 9,
        "three waits of 100 ms are more than half of one, three times"
    );
}

#[test]
fn a_part_of_a_wait_is_neither_a_strike_nor_a_sign_of_our_own_network() {
    let mut b = with(Penalty::default().strikes(1), 3);
    for key in 0..3 {
        for _ in 0..64 {
            assert_eq!(b.part(key, 1_000, 249), None, "64 calls, one silence");
        }
        assert_eq!(
            b.health.watch(key, b.at(1_000)),
            Watch::Report,
            "an answer clears it"
        );
    }
    assert!(!b.health.client_suspect(b.at(1_000)));
    b.see(0, 1_100, Verdict::Alive);
    assert_eq!(b.health.watch(0, b.at(1_100)), Watch::Nothing);
    assert_eq!(b.part(0, 1_700, 249), None, "it answered in between");
    assert!(b.part(1, 1_700, 1).is_some(), "this one did not");
}

#[test]
fn a_probe_that_our_own_stall_swallowed_is_repeated_and_costs_nothing() {
    let mut b = cluster(2);
    b.hard(0, 0, Reason::Refused);
    let id = b.probe(100);
    let level = b.health.level(0);
    assert_eq!(b.probed(0, id, 900, ProbeResult::NotRun), None);
    assert_eq!(b.health.state(0), Some(NodeState::HalfOpen));
    let id = b.probe(950);
    // The machine's own deadline knows it too.
    let swallowed = |_: Instant, _: Instant| Ran::Part {
        from: Duration::ZERO,
        to: Duration::from_millis(249),
    };
    let actions = b.health.due(b.at(1_800), &mut || 1.0, &swallowed);
    assert_eq!(actions, [], "nothing changed, and a short pause");
    assert_eq!(b.probed(0, id, 1_801, ProbeResult::Ok), None, "it is over");
    assert_eq!(b.health.level(0), level, "no longer wait for it");
    let id = b.probe(1_850);
    b.probed(0, id, 1_851, ProbeResult::Ok);
    assert_eq!(b.health.level(0), level);
}

#[test]
fn the_originals_rules_eject_at_the_first_error_and_trust_the_first_answer() {
    let mut b = with(Penalty::fluster_py(), 3);
    let change = b.timeout(0, 0, 500, false);
    assert_eq!(b.wait(change, 500), 10_000);
    let id = b.probe(10_500);
    let change = b.probed(0, id, 10_501, ProbeResult::Failed(Reason::Refused));
    assert_eq!(b.wait(change, 10_501), 15_000, "half as long again");
    assert!(!b.health.demand(0, b.at(10_600)), "nobody hurries it");
    let id = b.probe(25_501);
    let change = b.probed(0, id, 25_502, ProbeResult::Ok).expect("back");
    assert_eq!(
        (change.to, change.level),
        (NodeState::Up, 0),
        "and forgiven"
    );
    let change = b.hard(0, 25_600, Reason::Refused);
    assert_eq!(b.wait(change, 25_600), 10_000, "the first wait again");
}

#[test]
fn all_nodes_are_probed_at_once() {
    let mut b = cluster(100);
    for key in 0..100 {
        b.hard(key, 0, Reason::Refused);
    }
    let probes = b
        .due(100)
        .into_iter()
        .filter(|action| matches!(action, Action::Probe { .. }));
    assert_eq!(probes.count(), 100);
}

#[test]
fn a_reinserted_node_keeps_its_state() {
    let mut b = cluster(3);
    b.hard(0, 0, Reason::Refused);
    b.health.insert(0, b.at(10));
    assert_eq!(b.state(0), NodeState::Down);
    assert_eq!(b.state(0).as_str(), "down");
    assert_eq!(b.health.state(9), None, "an unknown node");
    assert_eq!(b.see(9, 0, strike()), None);
}

#[test]
fn what_waits_at_the_server_of_before_says_nothing_about_its_successor() {
    let mut b = cluster(3);
    let old = b.health.epoch(0).expect("known");
    b.see(0, 10, strike());
    b.see(0, 20, strike());
    let moved = b.health.moved(0, b.at(30)).expect("another epoch");
    assert_eq!((moved.from, moved.to), (NodeState::Up, NodeState::Up));
    let proof = Verdict::Hard(Reason::Timeout);
    assert_eq!(b.health.observe(0, old, proof, b.at(40), 1.0), None);
    assert!(b.see(0, 50, strike()).is_none(), "its first strike");
    assert!(b.health.admits(0));
    // Out of service nothing else than its probe decides, which is due at once.
    b.hard(0, 60, Reason::Refused).expect("out");
    assert!(b.health.next_deadline().expect("a wait") > b.at(70));
    assert_eq!(b.health.moved(0, b.at(70)), None);
    assert_eq!(b.health.next_deadline(), Some(b.at(70)));
}

#[test]
fn a_probe_of_the_server_of_before_says_nothing_about_its_successor() {
    let mut b = cluster(3);
    b.hard(0, 0, Reason::Refused).expect("out");
    let old = b.probe(5_000);
    assert_eq!(b.health.moved(0, b.at(5_010)), None);
    let new = b.probe(5_010);
    assert_ne!(old, new);
    let failed = ProbeResult::Failed(Reason::Refused);
    assert_eq!(b.probed(0, old, 5_020, failed), None);
}

#[test]
fn a_drained_node_does_not_count_for_the_cap_and_may_go_itself() {
    let drained = Overrule {
        drained: true,
        ..Overrule::default()
    };
    // Of four, two may go by suspicion; with one drained, one of the other three.
    let mut bench = cluster(4);
    bench.health.overrule(0, drained);
    for (key, to) in [(1, NodeState::Down), (2, NodeState::Up)] {
        for ms in [10, 20, 30] {
            bench.see(key, ms, strike());
        }
        assert_eq!(bench.health.state(key), Some(to), "node {key}");
    }
    // The cap protects those who serve.
    for ms in [40, 50, 60] {
        bench.see(0, ms, strike());
    }
    assert_eq!(bench.health.state(0), Some(NodeState::Down));
    assert_eq!(bench.health.state(2), Some(NodeState::Up));

    // Out and drained, it takes nobody's place.
    let mut bench = cluster(3);
    bench.hard(0, 0, Reason::Refused);
    bench.health.overrule(0, drained);
    for ms in [10, 20, 30] {
        bench.see(1, ms, strike());
    }
    assert_eq!(bench.health.state(1), Some(NodeState::Down));
}

#[test]
fn a_flap_hold_gives_way_when_fewer_than_half_of_the_nodes_admit() {
    let mut b = with(Penalty::default().flap_count(1).flap_hold(30 * RT), 4);
    for (key, next) in [(0, 15_000), (1, 15_000)] {
        let change = b.hard(key, 0, Reason::Refused);
        assert_eq!(b.wait(change, 0), 15_000, "held: half still admit");
        assert_eq!(b.health.next_deadline(), Some(b.at(next)));
    }
    let change = b.hard(2, 10, Reason::Refused);
    assert_eq!(b.wait(change, 10), 100, "as any other");
    assert_eq!(
        b.health.next_deadline(),
        Some(b.at(100)),
        "and so do the first two"
    );
    let probes = b.due(110).into_iter();
    let probes = probes.filter(|action| matches!(action, Action::Probe { .. }));
    assert_eq!(probes.count(), 3);

    // Those who are drained are no part of the half.
    let mut b = with(Penalty::default().flap_count(1).flap_hold(30 * RT), 3);
    let change = b.hard(0, 0, Reason::Refused);
    assert_eq!(b.wait(change, 0), 15_000);
    let drained = Overrule {
        drained: true,
        ..Overrule::default()
    };
    b.health.overrule(1, drained);
    assert_eq!(
        b.health.next_deadline(),
        Some(b.at(15_000)),
        "one of two admits"
    );
    b.health.overrule(2, drained);
    assert_eq!(b.health.next_deadline(), Some(b.at(100)));
}

#[test]
fn nodes_that_are_removed_count_no_longer() {
    let mut b = cluster(5);
    let drained = Overrule {
        drained: true,
        ..Overrule::default()
    };
    b.health.overrule(4, drained);
    b.hard(0, 0, Reason::Unreachable);
    b.hard(1, 1, Reason::Unreachable);
    assert_eq!((b.health.in_use(), b.health.is_tallied()), (4, true));
    assert!(!b.health.client_suspect(b.at(2)), "two of five");
    for key in [2, 0, 4] {
        b.health.remove(key);
        assert!(b.health.is_tallied(), "without {key}");
    }
    assert_eq!(b.health.in_use(), 2);
    assert!(
        !b.health.client_suspect(b.at(2)),
        "one that was silent is gone"
    );
    b.hard(3, 3, Reason::Unreachable);
    assert!(b.health.client_suspect(b.at(4)), "both");
}
