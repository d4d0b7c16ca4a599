//! Nodes that fail together, or over and over, and callers who need one of them.

use super::*;

/// Probes of a node that began within a time, both since the world began.
fn probes_within(world: &World, name: &str, from: Duration, to: Duration) -> usize {
    let at = world.probed_at(name);
    at.iter().filter(|at| (from..to).contains(*at)).count()
}

#[tokio::test(start_paused = true)]
async fn callers_without_a_node_pull_the_next_probes_forward() {
    let world = World::new(&["a", "b"]);
    for name in ["a", "b"] {
        world.probe.script(name, [Answer::Refused]);
        world.refuse(name);
    }
    world.until(s(60)).await;
    assert_eq!((world.level("a"), world.level("b")), (7, 7));
    for n in 0..1_000 {
        world.until(s(60) + n * ms(10)).await;
        let retry_after = world.engine().empty().retry_after();
        assert!(retry_after <= ms(500), "{retry_after:?}");
    }
    for name in ["a", "b"] {
        let asked = probes_within(&world, name, s(61), s(70));
        assert!((17..=18).contains(&asked), "each 500 ms: {asked} in 9 s");
    }
    // Nobody asks any more.
    world.until(s(100)).await;
    let asked = probes_within(&world, "a", s(75), s(100));
    assert!((5..=10).contains(&asked), "{asked} in 25 s");
}

#[tokio::test(start_paused = true)]
async fn callers_bring_a_node_back_long_before_its_wait_would_end() {
    let mut world = World::new(&["a", "b"]);
    for name in ["a", "b"] {
        world.probe.script(name, [Answer::Refused]);
        world.refuse(name);
    }
    world.until(s(60)).await;
    world.told();
    world.probe.script("b", [Answer::Good]);
    // A call that ran out of candidates, and is the only one.
    world.engine().demand();
    world.until(s(60) + ms(500) + ms(50) + 4 * STEP).await;
    assert_eq!(world.is("b"), (NodeState::Probation, 7));
    assert_eq!(world.told().last().map(String::as_str), Some("up b"));
}

#[tokio::test(start_paused = true)]
async fn callers_pull_nothing_forward_that_is_not_out() {
    let world = World::new(&["a", "b"]);
    for n in 0..100 {
        world.until(n * ms(10)).await;
        world.engine().demand();
    }
    assert_eq!((world.probe.count("a"), world.probe.count("b")), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn suspicion_leaves_half_of_the_nodes_in() {
    let world = World::new(&["a", "b", "c", "d"]);
    let names = ["a", "b", "c", "d"];
    for name in names {
        world.probe.script(name, [Answer::Refused]);
    }
    for _ in 0..10 {
        names.iter().for_each(|name| world.strike(name));
        world.settle().await;
    }
    let in_service = names.iter().filter(|name| world.is_live(name)).count();
    assert_eq!(in_service, 2);
    names.iter().for_each(|name| world.refuse(name));
    let in_service = names.iter().filter(|name| world.is_live(name)).count();
    assert_eq!(in_service, 0, "proof takes all");
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_of_our_own_network_nobody_backs_off() {
    let mut world = World::new(&["a", "b", "c", "d", "e"]);
    let names = ["a", "b", "c", "d", "e"];
    world.settle().await;
    for name in names {
        world.probe.script(name, [Answer::Hangs]);
        // A dial without an answer is proof.
        world.time_out_since(name, Phase::Setup, world.began);
    }
    // From the third of five on it is rather we who are cut off.
    assert_eq!(names.map(|name| world.level(name)), [1, 1, 0, 0, 0]);
    world.until(s(20)).await;
    assert_eq!(names.map(|name| world.level(name)), [1, 1, 0, 0, 0]);
    for name in names {
        // Half a second for the answer, and at most 100 ms until the next.
        let at = world.probed_at(name);
        assert!(
            pauses(&at).iter().all(|&p| p <= ms(600) + 4 * STEP),
            "{at:?}"
        );
        assert!(
            (33..=40).contains(&at.len()),
            "{} probes of {name}",
            at.len()
        );
    }
    world.told();
    names
        .iter()
        .for_each(|name| world.probe.script(name, [Answer::Good]));
    world.until(s(20) + ms(600) + ms(50) + 6 * STEP).await;
    for name in names {
        assert_eq!(world.state(name), NodeState::Probation, "{name}");
    }
    assert_eq!(
        world.told().iter().filter(|e| e.starts_with("up")).count(),
        5
    );
}

/// Ejects a node until its flaps are held; tells when, since the world began.
async fn flap(world: &World, name: &str) -> Duration {
    for n in 1..=5 {
        world.refuse(name);
        if n < 5 {
            while !world.state(name).admits() {
                world.settle().await;
            }
        }
    }
    clock::since(world.began)
}

#[tokio::test(start_paused = true)]
async fn a_node_that_flaps_is_held_for_up_to_five_seconds() {
    let world = World::new(&["a", "b", "c", "d"]);
    let held = flap(&world, "a").await;
    let before = world.probe.count("a");
    assert_eq!(before, 8, "two good probes after each of four falls");
    world.until(held + ms(2_498)).await;
    assert_eq!(world.probe.count("a"), before, "at least half of the hold");
    world.until(held + s(5) + ms(50) + 4 * STEP).await;
    assert_eq!(world.probe.count("a"), before + 2);
    assert_eq!(world.state("a"), NodeState::Probation);
}

#[tokio::test(start_paused = true)]
async fn a_flapping_node_is_let_go_when_fewer_than_half_of_the_nodes_are_in() {
    let world = World::new(&["a", "b", "c", "d"]);
    let held = flap(&world, "a").await;
    let before = world.probe.count("a");
    for name in ["b", "c"] {
        world.probe.script(name, [Answer::Refused]);
        world.refuse(name);
        world.settle().await;
    }
    // Level 5: an ordinary wait is 1.6 s at most.
    world.until(held + ms(1_600) + ms(50) + 6 * STEP).await;
    assert_eq!(world.probe.count("a"), before + 2);
    assert_eq!(world.is("a"), (NodeState::Probation, 5));
}
