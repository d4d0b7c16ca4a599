//! Nodes that go, clusters that end, and what is under way then.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_a_probe_of_a_removed_node_brings_is_applied_to_nobody() {
    let mut world = World::new(&["a", "b"]);
    world.probe.script("a", [Answer::After(ms(300))]);
    world.refuse("a");
    world.until(ms(110)).await;
    assert_eq!(world.probe.under_way("a"), (1, 1));
    let node = world.backend("a").node().clone();
    world.cluster.remove_node("a").expect("it is there");
    assert_eq!(world.told(), ["down a refused", "topology"]);
    world.cluster.add_node(node).expect("it is gone");
    world.refuse("a");
    world.until(s(1)).await;
    // Had the answer counted, one more would have brought the new one back earlier than two of its own.
    let at = world.probed_at("a");
    assert_eq!(world.is("a"), (NodeState::Probation, 1));
    assert_eq!(
        at.len(),
        3,
        "one of the old node and two of the new: {at:?}"
    );
    assert_eq!(world.told(), ["topology", "down a refused", "up a"]);
}

#[tokio::test(start_paused = true)]
async fn a_removed_node_is_asked_no_more() {
    let mut world = World::new(&["a", "b"]);
    world.probe.script("a", [Answer::Refused]);
    world.refuse("a");
    world.until(s(2)).await;
    let before = world.probe.count("a");
    world.cluster.remove_node("a").expect("it is there");
    world.told();
    world.until(s(60)).await;
    assert_eq!(world.probe.count("a"), before);
    assert_eq!(world.told(), [""; 0]);
    assert_eq!(world.state("b"), NodeState::Up);
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_every_task_also_those_that_wait_for_a_silent_node() {
    let mut world = World::new(&["a", "b", "c"]);
    for name in ["a", "b"] {
        world.probe.script(name, [Answer::Hangs]);
        world.refuse(name);
    }
    world.until(ms(110)).await;
    let tasks = world.cluster.status().tasks;
    assert_eq!(
        tasks, 5,
        "the monitor, the watchdog, housekeeping, and two probes"
    );
    world.told();
    let began = clock::now();
    world.cluster.shutdown(s(5)).await;
    assert!(clock::since(began) <= STEP, "nothing is in flight");
    assert_eq!(world.cluster.status().tasks, 0);
    for name in ["a", "b"] {
        assert_eq!(world.probe.under_way(name), (0, 1), "{name}");
    }
    world.until(s(60)).await;
    assert_eq!(world.probe.count("a") + world.probe.count("b"), 2);
    assert_eq!(world.told(), [""; 0]);
    assert!(world.backend("c").gate().read().is_closed());
    world.engine().ensure_monitored();
    assert_eq!(world.cluster.status().tasks, 0, "and none begins anew");
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_ends_every_task_too() {
    let world = World::new(&["a", "b"]);
    world.probe.script("a", [Answer::Hangs]);
    world.refuse("a");
    world.until(ms(110)).await;
    let (probe, weak) = (world.probe.clone(), Arc::downgrade(world.engine()));
    drop(world);
    sleep(STEP).await;
    assert_eq!(probe.under_way("a"), (0, 1));
    assert_eq!(weak.strong_count(), 0, "no task keeps the engine");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_calls_start_the_background_once() {
    let world = World::new(&["a"]);
    for _ in 0..1_000 {
        world.engine().ensure_monitored();
    }
    sleep(s(30)).await;
    world.engine().ensure_monitored();
    sleep(s(1)).await;
    assert_eq!(world.engine().tasks().pulse().starts(), 1);
    assert_eq!(world.cluster.status().tasks, 3);
}

#[tokio::test(start_paused = true)]
async fn a_background_that_ended_is_started_anew_by_the_next_call_and_takes_up_what_was_due() {
    let world = World::new(&["a", "b"]);
    world.probe.script("a", [Answer::Refused]);
    world.refuse("a");
    world.settle().await;
    // As when the runtime that it lived on ends: its tasks are dropped.
    let engine = world.engine();
    engine.tasks().pulse().end(1);
    let number = engine.tasks().pulse().begin(clock::now());
    engine.tasks().pulse().end(number);
    world.until(s(10)).await;
    assert_eq!(world.probe.count("a"), 0, "nobody is there to ask");
    engine.ensure_monitored();
    world.until(s(10) + 2 * STEP).await;
    assert_eq!(world.probe.count("a"), 1, "the wait was over long since");
    world.until(s(11)).await;
    let at = world.probed_at("a");
    assert!(is_drawn(at[1] - at[0], ms(200)), "{at:?}");
    assert_eq!(world.probe.under_way("a"), (0, 1), "the old ones are gone");
}
