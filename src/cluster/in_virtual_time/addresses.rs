//! Names that lead to nodes, and lead elsewhere in time.

use super::*;

const OLD: &str = "10.0.0.1:6379";
const NEW: &str = "10.0.0.9:6379";

/// The name of node `a` leads to another server from now on.
fn move_away(world: &World) {
    world.network.serve(NEW, Manner::Well);
    world.network.name("a.test", &[NEW]);
}

#[tokio::test(start_paused = true)]
async fn the_name_of_a_used_node_is_looked_up_each_30_seconds() {
    let world = World::served(&["a", "b"]);
    world.call("a").await.expect("an answer");
    assert_eq!(world.network.look_ups("a.test"), 1, "to find it");
    world.until(s(29)).await;
    assert_eq!(world.network.look_ups("a.test"), 1);
    world.until(s(32)).await;
    assert_eq!(world.network.look_ups("a.test"), 2);
    world.until(s(155)).await;
    let asked = world.network.look_ups("a.test");
    assert!(
        (5..=6).contains(&asked),
        "{asked} in two and a half minutes"
    );
    assert_eq!(world.network.look_ups("b.test"), 0, "nobody uses it");
}

#[tokio::test(start_paused = true)]
async fn after_a_lost_connection_a_name_is_looked_up_each_second_for_half_a_minute() {
    let world = World::served(&["a", "b"]);
    world.call("a").await.expect("an answer");
    world.until(s(40)).await;
    let before = world.network.look_ups("a.test");
    // The server restarts: it ends what there is, and nobody asks for it.
    world.network.serve(OLD, Manner::Gone);
    world.settle().await;
    world.network.serve(OLD, Manner::Well);
    world.until(s(71)).await;
    let closely = world.network.look_ups("a.test") - before;
    assert!((29..=31).contains(&closely), "{closely} in 31 s");
    world.until(s(71 + 60)).await;
    let after = world.network.look_ups("a.test") - before - closely;
    assert!((1..=2).contains(&after), "{after} in the minute after");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_leads_elsewhere_takes_the_calls_along_and_is_told_once() {
    let mut world = World::served(&["a", "b"]);
    world.call("a").await.expect("an answer");
    let epoch = world.backend("a").gate().read().epoch();
    move_away(&world);
    world.until(s(29)).await;
    world.call("a").await.expect("an answer");
    assert_eq!(world.network.heard(OLD, "GET"), 2, "nobody knows yet");
    world.until(s(32)).await;
    world.call("a").await.expect("an answer");
    assert_eq!(
        (
            world.network.heard(OLD, "GET"),
            world.network.heard(NEW, "GET")
        ),
        (2, 1)
    );
    world.until(s(200)).await;
    assert_eq!(world.told(), ["moved a"]);
    let now = world.backend("a").gate().read().epoch();
    assert_eq!(now, epoch + 1, "what the old server does is of no account");
    assert_eq!(world.is("a"), (NodeState::Up, 0));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_goes_out_is_looked_up_at_once_and_found_where_it_is_now() {
    let mut world = World::served(&["a", "b"]);
    world.call("a").await.expect("an answer");
    world.until(s(5)).await;
    world.network.serve(OLD, Manner::Gone);
    let asked = world.network.look_ups("a.test");
    let error = world.call("a").await.expect_err("it is gone");
    assert_eq!(error.outcome(), crate::Outcome::NotSent, "{error}");
    world.settle().await;
    assert_eq!(world.state("a"), NodeState::Down);
    assert!(world.network.look_ups("a.test") > asked);
    world.until(s(8)).await;
    assert!(!world.state("a").admits());
    move_away(&world);
    // Its name is asked for before each probe.
    world.until(s(8 + 5)).await;
    assert!(world.state("a").admits(), "{:?}", world.told());
    world.call("a").await.expect("an answer");
    assert_eq!(world.network.heard(NEW, "GET"), 1);
    let told = world.told();
    let moved = told.iter().filter(|event| *event == "moved a");
    assert_eq!(
        (moved.count(), &*told[0]),
        (1, "down a refused"),
        "{told:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_resolver_delays_no_dial_for_longer_than_50_ms_and_is_asked_once() {
    let world = World::served(&["a", "b"]);
    world.call("a").await.expect("an answer");
    world.until(s(5)).await;
    world.network.silence_resolver(true);
    let asked = world.network.look_ups("a.test");
    for (n, limit) in [(0, ms(52)), (1, STEP), (2, STEP)] {
        // The server ends its connections: where does the name lead now?
        world.network.serve(OLD, Manner::Gone);
        world.settle().await;
        world.network.serve(OLD, Manner::Well);
        let began = clock::now();
        world.call("a").await.expect("the last address serves");
        assert!(
            clock::since(began) <= limit,
            "{n}: {:?}",
            clock::since(began)
        );
    }
    world.until(s(120)).await;
    assert_eq!(
        world.network.look_ups("a.test"),
        asked + 1,
        "who is silent is not asked anew"
    );
    world.network.silence_resolver(false);
    move_away(&world);
    world.until(s(120) + s(31)).await;
    world.call("a").await.expect("an answer");
    assert_eq!(world.network.heard(NEW, "GET"), 1, "it is heard again");
}
#[tokio::test(start_paused = true)]
async fn a_resolver_that_fails_is_asked_no_more_often_than_one_that_answers() {
    let world = World::served(&["a", "b"]);
    world.call("a").await.expect("an answer");
    world.network.name("a.test", &[]);
    world.until(s(155)).await;
    let asked = world.network.look_ups("a.test");
    assert!(
        (5..=6).contains(&asked),
        "{asked} in two and a half minutes"
    );
    world.call("a").await.expect("the last address serves");
    assert_eq!(world.network.connections(OLD), 1);
    // It knows the name again.
    move_away(&world);
    world.until(s(155 + 32)).await;
    world.call("a").await.expect("an answer");
    assert_eq!(world.network.heard(NEW, "GET"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_unknown_from_the_start_is_no_proof_and_found_when_it_is_known() {
    let mut world = World::served(&["a", "b"]);
    world.network.name("a.test", &[]);
    let error = world.call("a").await.expect_err("there is no such name");
    assert_eq!(error.outcome(), crate::Outcome::NotSent, "{error}");
    assert_eq!(
        world.is("a"),
        (NodeState::Up, 0),
        "it is the resolver's word alone"
    );
    world.until(s(60)).await;
    let asked = world.network.look_ups("a.test");
    assert!((2..=4).contains(&asked), "{asked} in a minute");
    world.network.name("a.test", &[OLD]);
    world.call("a").await.expect("whoever dials asks");
    assert_eq!(world.told(), [""; 0]);
}
