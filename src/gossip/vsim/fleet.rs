//! What is said of nodes, carried by the real protocol.

use super::*;
use crate::fleet::{Evidence, Said, node_key};
use crate::gossip::instance::Picture;
use crate::gossip::testimony;

/// Says that these nodes are down.
fn testify(world: &mut World, n: usize, down: &[u64]) {
    let down = down.iter().map(|node| (*node, Said::Down(None)));
    let bodies = testimony::bodies("redis", &Evidence::new(1, down, 16));
    world.with(n, |i, now| i.testify(now, bodies));
}

fn picture(world: &mut World, n: usize) -> Picture {
    let picture = world.with(n, |i, _| {
        i.share();
        i.take_picture(true)
    });
    picture.expect("it is shared")
}

/// Who says that the node is down, as an instance hears it.
fn say_down(world: &mut World, n: usize, node: u64) -> Vec<String> {
    let picture = picture(world, n);
    let says = |speaker: &&crate::gossip::instance::Speaker| {
        let mut nodes = speaker.said.iter().flat_map(|part| &part.nodes);
        nodes.any(|(is, said)| *is == node && said.is_vote())
    };
    let speakers = picture.speakers.iter().filter(says);
    speakers.map(|s| s.ring_id.to_string()).collect()
}

fn all_hear(world: &mut World, node: u64, from: &[&str], limit: Duration) -> Duration {
    let began = world.now;
    loop {
        let living = world.living();
        let all = living.iter().all(|n| say_down(world, *n, node) == *from);
        if all {
            return world.now - began;
        }
        assert!(
            world.now - began < limit,
            "{from:?} of {node} within {limit:?}"
        );
        world.run(ms(10));
    }
}

fn settled(seed: u64, n: usize) -> World {
    let mut world = World::started(seed, n);
    world.until(secs(60), "all agree", World::agrees);
    world
}

#[test]
fn evidence_reaches_all_within_a_second_and_is_void_when_its_author_is_down() {
    for (seed, n) in [(1, 5), (2, 5), (3, 50)] {
        let mut world = settled(seed, n);
        testify(&mut world, 0, &[7]);
        let took = all_hear(&mut world, 7, &["i0"], secs(3));
        println!("{n} instances: said to all after {took:?}");
        testify(&mut world, 0, &[]);
        all_hear(&mut world, 7, &[], secs(3));
        testify(&mut world, 1, &[7, 8]);
        all_hear(&mut world, 8, &["i1"], secs(3));
        world.kill(1);
        let took = all_hear(&mut world, 8, &[], secs(60));
        println!("{n} instances: void after {took:?}");
    }
}

#[test]
fn more_than_an_item_holds_is_cut_and_taken_back_as_a_whole() {
    let mut world = settled(4, 3);
    let many: Vec<u64> = (0..300).collect();
    testify(&mut world, 2, &many);
    for node in [0, 150, 299] {
        all_hear(&mut world, node, &["i2"], secs(5));
    }
    testify(&mut world, 2, &[150]);
    all_hear(&mut world, 299, &[], secs(5));
    all_hear(&mut world, 150, &["i2"], secs(5));
}

#[test]
fn a_later_start_of_an_instance_that_was_given_up_says_again_what_it_said() {
    let mut world = settled(5, 4);
    testify(&mut world, 3, &[7]);
    all_hear(&mut world, 7, &["i3"], secs(3));
    let before = world.nodes[3].instance.as_ref().map(Instance::me);
    world.pause(3, secs(30));
    world.run(secs(31));
    world.until(secs(60), "all agree", World::agrees);
    let after = world.nodes[3].instance.as_ref().map(Instance::me);
    assert_ne!(before, after, "it is another one now");
    all_hear(&mut world, 7, &["i3"], secs(10));
}

#[test]
fn a_drain_outlives_a_rolling_restart_of_all() {
    let mut world = settled(6, 5);
    let (key, other) = (node_key("redis", "a"), node_key("redis", "b"));
    let is_drained = |world: &mut World, key| {
        let living = world.living();
        let drained = living
            .iter()
            .map(|n| picture(world, *n).drains.is_drained(key));
        drained.collect::<Vec<_>>()
    };
    let said = world.with(0, |i, now| Some(i.say_drain(now, key, true)));
    assert_eq!(said, Some(Ok(true)));
    world.with(4, |i, now| Some(i.say_drain(now, other, true)));
    world.run(secs(5));
    for n in 0..5 {
        world.kill(n);
        world.run(secs(20));
        world.boot(n, 0);
        world.run(secs(10));
    }
    assert_eq!(is_drained(&mut world, key), [true; 5]);
    assert_eq!(is_drained(&mut world, other), [true; 5]);
    world.with(2, |i, now| Some(i.say_drain(now, key, false)));
    world.run(secs(5));
    assert_eq!(is_drained(&mut world, key), [false; 5]);
    assert_eq!(is_drained(&mut world, other), [true; 5]);
}

#[test]
fn what_is_said_costs_nothing_while_it_does_not_change() {
    let bytes = |shares: bool| {
        let mut world = settled(7, 20);
        if shares {
            (0..20).for_each(|n| testify(&mut world, n, &[]));
        }
        world.run(secs(30));
        let before: u64 = world.nodes.iter().map(|node| node.bytes).sum();
        world.run(secs(60));
        world.nodes.iter().map(|node| node.bytes).sum::<u64>() - before
    };
    let (without, with) = (bytes(false), bytes(true));
    println!(
        "bytes a second and instance: {} and {}",
        without / 1_200,
        with / 1_200
    );
    assert!(with * 100 < without * 110, "{without} {with}");
}
