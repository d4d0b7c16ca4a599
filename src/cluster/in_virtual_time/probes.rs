//! When nodes that are out are asked, and what their answers do.

use super::*;
use crate::health::penalty_box::Penalty;

#[tokio::test(start_paused = true)]
async fn the_first_probe_comes_within_100_ms_and_each_later_one_after_twice_the_wait_up_to_5_s() {
    let mut world = World::new(&["a", "b"]);
    world.probe.script("a", [Answer::Refused]);
    world.refuse("a");
    assert_eq!(world.is("a"), (NodeState::Down, 1));
    assert!(!world.is_live("a") && world.is_live("b"));
    world.until(s(60)).await;
    let at = world.probed_at("a");
    assert!(is_drawn(at[0], ms(100)), "{:?}", at[0]);
    let nominal = [200, 400, 800, 1_600, 3_200].into_iter();
    let nominal = nominal.chain(std::iter::repeat(5_000));
    for (wait, nominal) in pauses(&at).into_iter().zip(nominal) {
        assert!(is_drawn(wait, ms(nominal)), "{wait:?} for {nominal} ms");
    }
    assert_eq!(world.level("a"), 7);
    assert_eq!(world.probe.under_way("a"), (0, 1), "one at a time");
    let told = world.told();
    assert_eq!(told.len(), 1 + at.len(), "one of each probe: {told:?}");
    assert_eq!(
        (&*told[0], &*told[1]),
        ("down a refused", "still down a refused")
    );
    assert_eq!(world.probe.count("b"), 0, "nobody asks who serves");
    assert_eq!(world.cluster.status().nodes[0].probes, at.len() as u64);
}

#[tokio::test(start_paused = true)]
async fn a_probe_without_an_answer_ends_at_its_limit_and_counts_once() {
    let mut world = World::new(&["a", "b"]);
    world.probe.script("a", [Answer::Hangs]);
    world.refuse("a");
    world.until(ms(110)).await;
    let first = world.probed_at("a")[0];
    world.until(first + ms(498)).await;
    assert_eq!(world.is("a"), (NodeState::HalfOpen, 1));
    assert_eq!(world.probe.under_way("a"), (1, 1));
    world.until(first + ms(502)).await;
    assert_eq!(world.is("a"), (NodeState::Down, 2));
    assert_eq!(world.probe.under_way("a"), (0, 1), "it is over");
    assert_eq!(world.told(), ["down a refused", "still down a timeout"]);
    world.until(first + ms(599)).await;
    assert_eq!(world.probe.count("a"), 1);
    world.until(first + ms(703)).await;
    assert_eq!(
        world.probe.count("a"),
        2,
        "after the wait of a second failure"
    );
    assert_eq!(world.probe.under_way("a"), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_answer_a_moment_before_the_limit_is_one_and_a_moment_after_it_is_none() {
    for (takes, is) in [(498, (NodeState::HalfOpen, 1)), (510, (NodeState::Down, 2))] {
        let world = World::new(&["a", "b"]);
        world.probe.script("a", [Answer::After(ms(takes))]);
        world.refuse("a");
        world.until(ms(110)).await;
        let first = world.probed_at("a")[0];
        world.until(first + ms(515)).await;
        assert_eq!(world.is("a"), is, "an answer after {takes} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn two_good_probes_bring_a_node_back_and_five_seconds_later_it_is_trusted() {
    let mut world = World::new(&["a", "b"]);
    world.probe.script("a", [Answer::Refused, Answer::Good]);
    world.refuse("a");
    world.until(ms(400)).await;
    let at = world.probed_at("a");
    assert_eq!(at.len(), 3, "a bad one and two good ones: {at:?}");
    assert!(is_drawn(at[2] - at[1], ms(50)), "{at:?}");
    assert_eq!(world.is("a"), (NodeState::Probation, 2));
    assert!(world.is_live("a") && world.backend("a").gate().read().on_probation());
    let told = ["down a refused", "still down a refused", "up a"];
    assert_eq!(world.told(), told);
    world.until(at[2] + s(5) - STEP).await;
    assert_eq!(world.state("a"), NodeState::Probation);
    world.until(at[2] + s(5) + 2 * STEP).await;
    assert_eq!(world.state("a"), NodeState::Up);
    // Each ten seconds in service forgive a level.
    for (seconds, level) in [(14, 2), (16, 1), (24, 1), (26, 0)] {
        world.until(at[2] + s(seconds)).await;
        assert_eq!(world.is("a"), (NodeState::Up, level), "after {seconds} s");
    }
    assert_eq!(world.probe.count("a"), 3);
    assert_eq!(world.told(), [""; 0], "all that is nobody's news");
}

#[tokio::test(start_paused = true)]
async fn twenty_successes_end_probation_and_one_strike_before_them_does_so_worse() {
    for (successes, state) in [(19, NodeState::Probation), (20, NodeState::Up)] {
        let world = World::new(&["a", "b"]);
        world.refuse("a");
        world.until(ms(300)).await;
        let backend = world.backend("a");
        let reporter = Reporter(Arc::downgrade(world.engine()));
        assert_eq!(
            backend.watch().load(std::sync::atomic::Ordering::Relaxed),
            Backend::WATCH_REPORT
        );
        for _ in 0..successes {
            reporter.succeeded(&backend, backend.gate().read().epoch());
        }
        assert_eq!(world.state("a"), state, "{successes} successes");
        world.strike("a");
        let after = match state {
            NodeState::Up => (NodeState::Up, 1),
            _ => (NodeState::Down, 2),
        };
        assert_eq!(world.is("a"), after, "{successes} successes and a strike");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_loads_is_asked_each_second_and_climbs_no_level() {
    let mut world = World::new(&["a", "b"]);
    world.probe.script("a", [Answer::Error(Class::NotReady)]);
    let loading = Seen::Error(Class::NotReady);
    world.observe("a", Observation::new(Phase::Command, loading, clock::now()));
    assert_eq!(world.is("a"), (NodeState::Down, 0));
    world.until(s(60)).await;
    let at = world.probed_at("a");
    let last = pauses(&at).split_off(5);
    assert!(last.iter().all(|&wait| is_drawn(wait, s(1))), "{last:?}");
    assert!((60..=120).contains(&at.len()), "{} probes", at.len());
    assert_eq!(world.is("a"), (NodeState::Down, 0));
    world.probe.script("a", [Answer::Good]);
    world.until(s(60) + ms(1_060)).await;
    assert_eq!(world.is("a"), (NodeState::Probation, 0), "back at once");
    let told = world.told();
    let (first, last) = (&told[0], &told[told.len() - 1]);
    assert_eq!((&**first, &**last), ("down a not_ready", "up a"));
}

#[tokio::test(start_paused = true)]
async fn what_waiting_alone_does_not_cure_is_asked_at_the_longest_wait_at_once() {
    for (answer, reason) in [
        (Answer::Error(Class::NoAuth), "config"),
        (Answer::Error(Class::WrongPass), "config"),
        (Answer::WrongToken, "not_redis"),
    ] {
        let mut world = World::new(&["a", "b"]);
        world.probe.script("a", [answer]);
        world.refuse("a");
        world.until(s(30)).await;
        let at = world.probed_at("a");
        let slow = pauses(&at);
        assert!(slow.iter().all(|&wait| is_drawn(wait, s(5))), "{slow:?}");
        assert!((6..=12).contains(&slow.len()), "{} waits", slow.len());
        assert_eq!(world.is("a"), (NodeState::Down, 7), "{answer:?}");
        assert_eq!(world.told()[1], format!("still down a {reason}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_save_is_as_good_as_one_that_can() {
    let world = World::new(&["a", "b"]);
    world.probe.script("a", [Answer::Error(Class::Misconf)]);
    world.refuse("a");
    world.until(ms(200)).await;
    assert_eq!(
        (world.is("a"), world.probe.count("a")),
        ((NodeState::Probation, 1), 2)
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_does_not_delay_the_return_of_another() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let world = World::new(&names);
    for name in ["a", "b", "c"] {
        world.probe.script(name, [Answer::Hangs]);
    }
    for name in names {
        world.refuse(name);
    }
    assert!(
        names.iter().all(|name| !world.is_live(name)),
        "proof takes all"
    );
    world.until(ms(100) + ms(50) + 3 * STEP).await;
    for name in ["d", "e", "f"] {
        assert_eq!(world.state(name), NodeState::Probation, "{name}");
    }
    for name in ["a", "b", "c"] {
        assert_eq!(world.state(name), NodeState::HalfOpen, "{name}");
        assert_eq!(world.probe.under_way(name), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_panics_is_a_failed_one_and_the_driver_lives_on() {
    let mut world = World::new(&["a", "b"]);
    let script = [Answer::Panics, Answer::Panics, Answer::Good];
    world.probe.script("a", script);
    world.refuse("a");
    world.refuse("b");
    world.until(s(3)).await;
    assert_eq!(
        world.is("b"),
        (NodeState::Probation, 1),
        "nobody else is touched"
    );
    assert_eq!(world.is("a"), (NodeState::Probation, 3));
    let at = world.probed_at("a");
    assert_eq!(at.len(), 4, "{at:?}");
    // Nobody says that it failed, so it does when its time is over.
    assert!(is_drawn(at[1] - at[0] - ms(500), ms(200)), "{at:?}");
    let told = world.told();
    let of_a: Vec<_> = told.iter().filter(|event| event.contains(" a")).collect();
    let late = "still down a timeout";
    assert_eq!(of_a, ["down a refused", late, late, "up a"]);
}

#[tokio::test(start_paused = true)]
async fn the_penalty_that_was_set_is_the_one_that_is_kept() {
    let probe = FakeProbe::default();
    let care = probe.care();
    let world = World::with(&["a", "b"], probe, care, |builder| {
        builder.penalty(Penalty::fluster_py())
    });
    world
        .probe
        .script("a", [Answer::Refused, Answer::Refused, Answer::Good]);
    world.refuse("a");
    world.until(s(120)).await;
    let expected = [10_000, 25_000, 47_500].map(ms);
    let at = world.probed_at("a");
    assert_eq!(at.len(), 3, "one good probe is enough: {at:?}");
    for (at, expected) in at.into_iter().zip(expected) {
        assert!((expected..=expected + 3 * STEP).contains(&at), "{at:?}");
    }
    assert_eq!(world.is("a"), (NodeState::Up, 0), "and all is forgiven");
}

#[tokio::test(start_paused = true)]
async fn a_probe_whose_question_is_swallowed_ends_at_its_limit_whatever_else_is_answered() {
    let mut world = World::served(&["a", "b"]);
    let server = "10.0.0.1:6379";
    // The set-up is answered, and asks by ECHO.
    world.network.serve(server, Manner::Swallows("PING"));
    world.refuse("a");
    for _ in 0..100 {
        // The other node is busy, and its replies come.
        world.call("b").await.expect("an answer");
        sleep(ms(100)).await;
    }
    let (asked, made) = (
        world.network.heard(server, "PING"),
        world.network.connections(server),
    );
    assert!((3..20).contains(&asked), "asked {asked} times in 10 s");
    assert_eq!(made, asked, "one connection for each, and none left over");
    assert_eq!(world.network.heard(server, "ECHO"), asked);
    let told = world.told();
    assert_eq!(told[0], "down a refused");
    assert!(told.len() > 3, "{told:?}");
    for told in &told[1..] {
        assert_eq!(told, "still down a timeout");
    }
    world.network.serve(server, Manner::Well);
    world.until(s(30)).await;
    assert_eq!(world.state("a"), NodeState::Up);
}
