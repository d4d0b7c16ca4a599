//! What others say of a node, beside its own health: the operator, those who prepare it, those who doubt it.

use super::*;
use crate::backend::probe::fake::FakePreparation;

/// A world whose nodes are prepared before they serve.
fn prepared(names: &[&str]) -> (World, FakePreparation) {
    let (probe, preparation) = (FakeProbe::default(), FakePreparation::default());
    let care = Care {
        preparation: Some(Arc::new(preparation.clone())),
        ..probe.care()
    };
    (
        World::with(names, probe, care, |builder| builder),
        preparation,
    )
}

/// Somebody doubts a node that admits.
fn doubt(world: &World, name: &str) {
    let (key, engine) = (world.backend(name).key(), world.engine());
    assert!(engine.locked(|state, _| state.health.check(key, clock::now())));
    engine.wake.notify_one();
}

#[tokio::test(start_paused = true)]
async fn a_drained_node_is_watched_on_and_serves_again_when_it_is_restored() {
    let mut world = World::new(&["a", "b", "c"]);
    world.probe.script("a", [Answer::Refused, Answer::Good]);
    world.cluster.drain_node("a").expect("it is there");
    let gate = |world: &World| world.backend("a").gate().read();
    assert!(!world.is_live("a") && gate(&world).is_drained());
    world.refuse("a");
    world.until(s(1)).await;
    assert_eq!(world.is("a"), (NodeState::Probation, 2));
    assert_eq!(world.probe.count("a"), 3);
    assert!(
        !world.is_live("a") && gate(&world).is_drained(),
        "the operator beats all"
    );
    world.cluster.restore_node("a").expect("it is there");
    assert!(world.is_live("a") && gate(&world).admits());
    world.cluster.restore_node("a").expect("which does nothing");
    let told = [
        "drained a",
        "down a refused",
        "still down a refused",
        "up a",
        "restored a",
    ];
    assert_eq!(world.told(), told);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_restored_while_it_is_out_serves_when_its_probes_are_good() {
    let world = World::new(&["a", "b"]);
    world.probe.script("a", [Answer::Refused]);
    world.cluster.drain_node("a").expect("it is there");
    world.refuse("a");
    world.until(s(2)).await;
    world.cluster.restore_node("a").expect("it is there");
    assert!(!world.is_live("a"), "health comes first");
    world.probe.script("a", [Answer::Good]);
    world.until(s(2) + ms(1_700)).await;
    assert!(world.is_live("a") && world.state("a").admits());
}

#[tokio::test(start_paused = true)]
async fn a_node_is_prepared_once_between_its_good_probes_and_its_first_call() {
    let (mut world, preparation) = prepared(&["a", "b"]);
    preparation.script([(ms(700), true)]);
    world.refuse("a");
    world.until(ms(300)).await;
    assert_eq!(
        world.is("a"),
        (NodeState::HalfOpen, 1),
        "it is being prepared"
    );
    assert!(!world.is_live("a") && !world.backend("a").gate().read().settles());
    let since = preparation.began()[0] - world.began;
    world.until(since + ms(699)).await;
    assert_eq!(world.state("a"), NodeState::HalfOpen);
    world.until(since + ms(703)).await;
    assert_eq!(world.is("a"), (NodeState::Probation, 1));
    assert!(world.is_live("a"));
    assert_eq!((preparation.began().len(), world.probe.count("a")), (1, 2));
    assert_eq!(world.told(), ["down a refused", "up a"]);
}

#[tokio::test(start_paused = true)]
async fn a_preparation_that_fails_or_takes_too_long_leaves_the_node_out_at_its_level() {
    for (takes, is_ready) in [(ms(100), false), (s(600), true)] {
        let (mut world, preparation) = prepared(&["a", "b"]);
        preparation.script([(takes, is_ready)]);
        world.refuse("a");
        world.until(ms(200)).await;
        let limit = takes.min(s(2));
        let since = preparation.began()[0] - world.began;
        world.until(since + limit + 3 * STEP).await;
        assert_eq!(world.is("a"), (NodeState::HalfOpen, 1), "{takes:?}");
        assert_eq!((preparation.began().len(), world.probe.count("a")), (1, 2));
        world.until(since + limit + s(1) + 6 * STEP).await;
        let at = world.probed_at("a");
        assert_eq!(at.len(), 3, "one good probe: {at:?}");
        assert!(is_drawn(at[2] - since - limit, s(1) + 2 * STEP), "{at:?}");
        assert_eq!(preparation.began().len(), 2, "and it is prepared again");
        assert_eq!(world.is("a"), (NodeState::Probation, 1));
        assert_eq!(world.told(), ["down a refused", "up a"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_in_doubt_that_answers_is_asked_once_and_stays() {
    let mut world = World::new(&["a", "b"]);
    world.settle().await;
    doubt(&world, "a");
    world.until(s(10)).await;
    assert_eq!(
        (world.is("a"), world.probe.count("a")),
        ((NodeState::Up, 0), 1)
    );
    assert_eq!(world.told(), [""; 0]);
    doubt(&world, "a");
    world.until(s(20)).await;
    assert_eq!(
        world.probe.count("a"),
        2,
        "a doubt is settled by its answer"
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_in_doubt_is_out_at_its_third_failure_in_a_row() {
    let mut world = World::new(&["a", "b"]);
    world.probe.script("a", [Answer::Refused]);
    world.settle().await;
    let doubted = clock::since(world.began);
    doubt(&world, "a");
    world.until(doubted + ms(190)).await;
    assert_eq!(
        (world.is("a"), world.probe.count("a")),
        ((NodeState::Up, 0), 2)
    );
    world.until(doubted + ms(205)).await;
    assert_eq!(
        (world.is("a"), world.probe.count("a")),
        ((NodeState::Down, 1), 3)
    );
    for pause in pauses(&world.probed_at("a")) {
        assert!((ms(100)..=ms(102)).contains(&pause), "{pause:?}");
    }
    assert_eq!(world.told(), ["down a refused"]);
    // From here on it is one that is out like any other.
    world.until(doubted + ms(200) + ms(100) + 6 * STEP).await;
    assert_eq!((world.level("a"), world.probe.count("a")), (2, 4));
}

#[tokio::test(start_paused = true)]
async fn a_doubt_takes_no_more_nodes_than_any_other_suspicion() {
    let mut world = World::new(&["a", "b"]);
    for name in ["a", "b"] {
        world.probe.script(name, [Answer::Refused]);
    }
    world.settle().await;
    doubt(&world, "a");
    doubt(&world, "b");
    world.until(s(1)).await;
    let admitting = ["a", "b"].iter().filter(|name| world.state(name).admits());
    assert_eq!(admitting.count(), 1, "at least one stays in");
    let told = world.told();
    let downs = told.iter().filter(|event| event.starts_with("down"));
    assert_eq!(downs.count(), 1, "{told:?}");
}
