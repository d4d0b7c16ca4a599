//! Time-outs, and what excuses a node from them: that it was us who stood still.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::Poll;

use tokio::time::advance;

use super::*;

/// The process stands still for so long; and this is what runs first when it goes on, before any tick.
async fn stand_still(lasts: Duration, first: impl FnOnce()) {
    let mut jump = pin!(advance(lasts));
    // The clock moves with the first poll, and the timers with the second.
    let moved = poll_fn(|cx| Poll::Ready(jump.as_mut().poll(cx).is_pending()));
    assert!(moved.await);
    first();
    jump.await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_gives_no_answer_is_out_at_its_third_time_out() {
    let mut world = World::new(&["a", "b"]);
    world.probe.script("a", [Answer::Hangs]);
    world.until(s(1)).await;
    // The calls of one burst are one strike.
    for _ in 0..10 {
        world.time_out_since("a", Phase::Command, world.began + ms(500));
    }
    assert_eq!(world.is("a"), (NodeState::Up, 0));
    world.until(ms(1_500)).await;
    world.time_out("a");
    assert_eq!(world.is("a"), (NodeState::Up, 0), "the second");
    world.until(s(2)).await;
    world.time_out("a");
    assert_eq!(
        world.is("a"),
        (NodeState::Down, 1),
        "judged at once: the ticks are on time"
    );
    assert_eq!(world.told(), ["down a timeout"]);
}

#[tokio::test(start_paused = true)]
async fn time_outs_of_a_process_that_stood_still_count_against_nobody() {
    let mut world = World::new(&["a", "b"]);
    for n in 1..=8 {
        world.until(n * s(2)).await;
        let sent_at = clock::now();
        let time_out = || {
            for name in ["a", "b"] {
                world.time_out_since(name, Phase::Command, sent_at);
            }
        };
        // All timers of the stall end at once, in any order.
        match n % 2 {
            0 => stand_still(ms(800), time_out).await,
            _ => {
                advance(ms(800)).await;
                time_out();
            }
        }
        sleep(ms(100)).await;
    }
    for name in ["a", "b"] {
        assert_eq!(world.is(name), (NodeState::Up, 0), "{name}");
    }
    let engine = world.engine();
    assert_eq!(engine.state.lock().late.len(), 0, "all are judged");
    let told = world.told();
    assert_eq!(
        told.len(),
        8,
        "each stall that a call waited through is told once: {told:?}"
    );
    assert!(
        told.iter().all(|event| event.starts_with("stall 8")),
        "{told:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stall_that_nobody_waited_through_is_no_news() {
    let mut world = World::new(&["a", "b"]);
    world.until(s(2)).await;
    advance(ms(800)).await;
    world.until(s(10)).await;
    assert_eq!(world.told(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_what_was_waited_through_stalls_adds_up() {
    let mut world = World::new(&["a", "b"]);
    world.probe.script("a", [Answer::Hangs]);
    // A rhythm of running for 300 ms and sleeping for 200 ms excuses a silent node for a while, not for ever.
    for n in 1..=12 {
        world.until(n * ms(1_000)).await;
        let sent_at = clock::now();
        sleep(ms(300)).await;
        advance(ms(200)).await;
        world.time_out_since("a", Phase::Command, sent_at);
    }
    sleep(ms(100)).await;
    assert_eq!(world.state("b"), NodeState::Up);
    assert!(!world.state("a").admits(), "it was silent all the time");
    let told = world.told();
    assert!(told.contains(&"down a timeout".to_owned()), "{told:?}");
}

/// Time-outs that are enough to put a node out: each sent long enough after the one before.
fn three_strikes(world: &World, name: &str) {
    let now = clock::now();
    for ago in [1_800, 1_200, 600] {
        world.time_out_since(name, Phase::Command, now - ms(ago));
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_out_that_comes_before_the_next_tick_waits_for_it_and_is_judged_within_50_ms() {
    let world = World::new(&["a", "b"]);
    world.until(s(1)).await;
    let late = || world.engine().state.lock().late.len();
    // 60 ms late: no stall, but maybe the end of one.
    let three = || {
        three_strikes(&world, "a");
        assert_eq!((late(), world.state("a")), (3, NodeState::Up), "who knows?");
    };
    stand_still(ms(60), three).await;
    sleep(ms(48)).await;
    assert_eq!((late(), world.state("a")), (3, NodeState::Up));
    sleep(ms(4)).await;
    assert_eq!((late(), world.state("a")), (0, NodeState::Down));
}

#[tokio::test(start_paused = true)]
async fn a_late_time_out_of_a_node_that_is_gone_is_forgotten() {
    let mut world = World::new(&["a", "b"]);
    world.until(s(1)).await;
    stand_still(ms(60), || three_strikes(&world, "a")).await;
    assert_eq!(world.engine().state.lock().late.len(), 3);
    world.cluster.remove_node("a").expect("it is there");
    sleep(s(1)).await;
    assert_eq!(world.engine().state.lock().late.len(), 0);
    assert_eq!(world.told(), ["topology"]);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_we_slept_through_costs_no_level_and_is_sent_again_at_once() {
    let mut world = World::new(&["a", "b"]);
    world.probe.script("a", [Answer::Hangs]);
    world.refuse("a");
    world.until(ms(110)).await;
    assert_eq!(world.probe.under_way("a"), (1, 1));
    advance(s(10)).await;
    world.settle().await;
    sleep(ms(60)).await;
    assert_eq!(world.is("a"), (NodeState::HalfOpen, 1));
    assert_eq!(
        world.probe.count("a"),
        2,
        "nobody knows what it would have said"
    );
    assert_eq!(world.probe.under_way("a"), (1, 1));
    assert_eq!(world.told(), ["down a refused"]);
    // The second one has its time, and is silent.
    sleep(ms(500)).await;
    assert_eq!(world.is("a"), (NodeState::Down, 2));
}

#[tokio::test(start_paused = true)]
async fn where_nobody_ticks_late_time_outs_are_judged_by_those_who_saw_them() {
    let world = World::new(&["a", "b"]);
    world.settle().await;
    // As where the background lives on a runtime that nobody polls: it is told to end, and says nothing more.
    let pulse = world.engine().tasks().pulse();
    pulse.begin(clock::now());
    for at in [600, 1_101, 1_200] {
        world.until(ms(at)).await;
        world.time_out("a");
        let late = world.engine().state.lock().late.len();
        assert_eq!(late, 1, "the last tick was long ago");
    }
    sleep(ms(48)).await;
    assert_eq!(world.is("a"), (NodeState::Up, 0));
    sleep(ms(4)).await;
    assert_eq!(
        world.is("a"),
        (NodeState::Down, 1),
        "their own timers were on time"
    );
    assert_eq!(world.engine().state.lock().judged_at, None);
    sleep(s(1)).await;
    assert_eq!(
        world.cluster.status().tasks,
        0,
        "whoever was overtaken ends"
    );
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_slept_for_an_hour_goes_on_where_it_was() {
    let mut world = World::new(&["a", "b"]);
    world.probe.script("a", [Answer::Refused]);
    world.refuse("a");
    world.until(s(10)).await;
    let before = world.probe.count("a");
    world.told();
    // The first that runs is a call, which misses the background.
    stand_still(s(3_600), || world.engine().ensure_monitored()).await;
    sleep(ms(60)).await;
    assert_eq!(
        world.probe.count("a"),
        before + 1,
        "due long since, and once"
    );
    sleep(s(10)).await;
    assert_eq!(
        world.engine().tasks().pulse().starts(),
        1,
        "whoever wakes late does not know who else was asleep"
    );
    assert_eq!(world.cluster.status().tasks, 3);
    assert_eq!(world.told()[0], "still down a refused");
    assert_eq!(world.state("b"), NodeState::Up);
}
