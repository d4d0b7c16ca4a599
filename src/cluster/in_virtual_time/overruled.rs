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

#[cfg(feature = "gossip")]
mod by_the_fleet {
    use super::*;
    use crate::cluster::fleet::FleetWord;
    use crate::connection::network::fake::Manner;
    use crate::error::{ErrorKind, Outcome};
    use crate::fleet::Said;
    use redis::Value;

    fn heed(world: &World, name: &str, word: FleetWord) {
        let key = world.backend(name).key();
        world.engine().heed(&[(key, word)].into());
    }

    const HOLD: FleetWord = FleetWord {
        hold: true,
        keep: false,
        drained: false,
        ask: false,
        awaited: false,
    };
    const KEEP: FleetWord = FleetWord {
        hold: false,
        keep: true,
        ..HOLD
    };

    #[tokio::test(start_paused = true)]
    async fn a_held_node_serves_nobody_however_well_it_answers_and_comes_back_by_a_probe_of_our_own()
     {
        let mut world = World::new(&["a", "b", "c"]);
        heed(&world, "a", HOLD);
        assert!(!world.is_live("a") && !world.backend("a").gate().read().settles());
        world.until(s(20)).await;
        assert_eq!(
            world.is("a"),
            (NodeState::HalfOpen, 0),
            "its level is its own"
        );
        let probes = world.probe.count("a");
        assert!((10..=23).contains(&probes), "every two seconds: {probes}");
        let (_, facts) = world.engine().fleet_facts();
        let votes = |name: &str| {
            facts
                .iter()
                .any(|fact| fact.node == *name && fact.said.is_some_and(Said::is_vote))
        };
        assert!(!votes("a"), "its probes are good");
        heed(&world, "a", FleetWord::default());
        world.settle().await;
        assert!(world.is_live("a") && world.state("a") == NodeState::Probation);
        assert_eq!(world.told(), ["down a fleet", "up a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_kept_node_that_is_out_keeps_its_keys_and_refuses_their_calls() {
        let mut world = World::new(&["a", "b"]);
        world.probe.script("a", [Answer::Refused]);
        heed(&world, "a", KEEP);
        assert!(world.is_live("a") && world.backend("a").gate().read().admits());
        world.refuse("a");
        assert!(world.is_live("a"), "its keys stay");
        let error = world.call("a").await.expect_err("it is out here");
        assert_eq!(error.kind(), ErrorKind::UnreachableHere);
        assert_eq!(error.outcome(), Outcome::NotSent);
        assert!(error.retry_after().is_some() && error.is_connection_error());
        let status = world.cluster.status();
        let node = status.node("a").expect("it is there");
        assert!(node.kept && !node.admits && !node.held);
        // What is bound to no key goes elsewhere.
        let snapshot = world.engine().topology_full();
        assert_eq!(snapshot.callable().count(), 1);
        let clients: Vec<_> = world.cluster.clients().rounds(2).flatten().collect();
        assert_eq!(clients.len(), 2);
        assert!(clients.iter().all(|client| client.node().as_str() == "b"));
        heed(&world, "a", FleetWord::default());
        assert!(!world.is_live("a"), "its stand-in serves");
        let told = world.told();
        let kept = |is| {
            told.iter()
                .filter(|t| t.contains(&format!("kept: {is}")))
                .count()
        };
        assert_eq!((kept(true), kept(false)), (1, 1), "{told:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn held_and_kept_a_node_fails_every_key_and_drained_it_does_nothing_else() {
        let world = World::new(&["a", "b"]);
        heed(&world, "a", FleetWord { keep: true, ..HOLD });
        assert!(world.is_live("a"));
        let error = world.call("a").await.expect_err("it is held");
        assert_eq!(error.kind(), ErrorKind::UnreachableHere);
        heed(
            &world,
            "a",
            FleetWord {
                drained: true,
                ..KEEP
            },
        );
        assert!(!world.is_live("a"), "an operator beats all");
        world.cluster.drain_node("a").expect("it is there");
        world.cluster.restore_node("a").expect("it is there");
        assert!(!world.is_live("a"), "it is drained at all instances");
        heed(&world, "a", KEEP);
        assert!(world.is_live("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_the_fleet_doubts_is_asked_and_one_that_is_out_is_probed_sooner() {
        let ask = FleetWord {
            ask: true,
            ..FleetWord::default()
        };
        let world = World::new(&["a", "b"]);
        world.settle().await;
        heed(&world, "a", ask);
        world.settle().await;
        assert_eq!(world.probe.count("a"), 1);
        world.probe.script("b", [Answer::Refused]);
        world.refuse("b");
        world.until(s(10)).await;
        let before = world.probe.count("b");
        heed(&world, "b", ask);
        world.until(s(10) + ms(600)).await;
        assert!(world.probe.count("b") > before, "not after its penalty");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_fails_at_a_kept_node_goes_to_no_other_node_whatever_it_fails_with() {
        let failures = [
            (Manner::Gone, ErrorKind::Connect),
            (Manner::Says("-LOADING wait"), ErrorKind::Server),
        ];
        for (manner, kind) in failures {
            for keep in [false, true] {
                let world = World::served(&["a", "b"]);
                let mut keys = (0..).map(|n| format!("key:{n}"));
                let at_a =
                    |key: &String| world.cluster.get_node(key).is_ok_and(|node| node == *"a");
                let key = keys.find(at_a).expect("half of them");
                heed(&world, "a", FleetWord { keep, ..KEEP });
                if kind == ErrorKind::Server {
                    // Else it is refused while it connects.
                    let _: Value = world
                        .cluster
                        .run(redis::cmd("GET").arg(&key))
                        .await
                        .expect("it serves");
                }
                world.network.serve("10.0.0.1:6379", manner);
                let mut get = redis::cmd("GET");
                get.arg(&key);
                let got = world.cluster.run::<Value>(&get).await;
                let heard = world.network.heard("10.0.0.2:6379", "GET");
                match keep {
                    false => assert!(got.is_ok() && heard == 1, "a stand-in has it: {got:?}"),
                    true => {
                        assert_eq!(got.map_err(|e| e.kind()), Err(kind));
                        assert_eq!(heard, 0, "nobody else would look there");
                    }
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn when_nobody_shares_anything_any_more_each_node_stands_by_itself() {
        let world = World::new(&["a", "b", "c"]);
        heed(
            &world,
            "a",
            FleetWord {
                drained: true,
                ..HOLD
            },
        );
        heed(&world, "b", KEEP);
        world.until(s(1)).await;
        assert!(!world.is_live("a"));
        world.engine().heed_nobody();
        world.settle().await;
        assert!(world.is_live("a") && !world.backend("b").gate().read().is_kept());
    }
}
