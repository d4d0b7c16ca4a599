//! What users of such libraries complain of, one by one.

use super::*;

#[test]
fn clusters_that_were_started_apart_become_one_when_the_source_lists_both() {
    for seed in 0..5 {
        let mut world = World::new(seed);
        for n in 0..10 {
            world.add();
            let doors = if n < 5 { 0..5 } else { 5..10 };
            world.with(n, |i, now| i.set_doors(now, doors.map(addr)));
        }
        world.run(secs(10));
        assert!(world.nodes[0].roster.len() == 5 && world.nodes[9].roster.len() == 5);
        for n in 0..10 {
            world.with(n, |i, now| i.set_doors(now, (0..10).map(addr)));
        }
        world.until(secs(10), "one cluster", World::agrees);
    }
}

#[test]
fn a_cluster_that_split_for_twenty_seconds_is_whole_within_ten() {
    let mut took = Vec::new();
    for seed in 0..10 {
        let mut world = World::started(seed, 10);
        world.until(secs(5), "join", World::agrees);
        world.cut(&[0, 1, 2, 3, 4], &[5, 6, 7, 8, 9]);
        world.run(secs(20));
        assert_eq!(
            world.nodes[9]
                .roster
                .values()
                .filter(|m| m.is_reachable())
                .count(),
            5
        );
        world.net.cuts.clear();
        took.push(world.until(secs(20), "whole again", World::agrees));
    }
    took.sort_unstable();
    assert!(took[8] <= secs(10), "{took:?}");
}

#[test]
fn an_instance_that_was_isolated_for_minutes_returns() {
    let mut world = World::started(1, 6);
    world.until(secs(5), "join", World::agrees);
    world.cut(&[5], &[0, 1, 2, 3, 4]);
    world.run(secs(300));
    assert!(
        world.nodes[5]
            .events
            .iter()
            .any(|(_, e)| matches!(e, GossipEvent::Alone))
    );
    world.net.cuts.clear();
    world.until(secs(10), "back", World::agrees);
}

#[test]
fn an_instance_that_starts_before_all_others_joins_when_they_come() {
    let mut world = World::new(1);
    let first = world.add();
    world.with(first, |i, now| i.set_doors(now, (0..4).map(addr)));
    world.run(secs(600));
    assert!(
        world.nodes[first].roster[&addr(first)].is_ready(),
        "alone is no error"
    );
    for _ in 0..3 {
        world.add();
    }
    for n in 1..4 {
        world.with(n, |i, now| i.set_doors(now, (1..4).map(addr)));
    }
    world.until(secs(10), "one cluster", World::agrees);
}

#[test]
fn whom_the_source_lacks_is_forgotten_by_its_word_and_not_by_its_silence() {
    let mut world = World::started(4, 3);
    world.until(secs(5), "join", World::agrees);
    world.kill(2);
    world.run(secs(30));
    let look = |world: &mut World| {
        world.with(0, |i, now| i.set_doors(now, [addr(0), addr(1)]));
        world.run(secs(2));
        world.nodes[0].roster.contains_key(&addr(2))
    };
    assert!(look(&mut world), "it may come back");
    world.run(secs(700));
    assert!(
        world.nodes[0].roster.contains_key(&addr(2)),
        "nobody looked"
    );
    assert!(!look(&mut world), "twice in ten minutes");
    assert!(world.agrees());
}

#[test]
fn a_dead_address_is_not_told_of_for_ever_and_what_was_forgotten_stays_so() {
    let mut world = World::started(4, 4);
    world.until(secs(5), "join", World::agrees);
    world.kill(3);
    world.run(secs(620));
    // New ones are not told of it: it would be remembered for a day more by each.
    let late = world.add();
    world.run(secs(30));
    assert!(!world.nodes[late].roster.contains_key(&addr(3)));
    assert!(world.nodes[0].roster.contains_key(&addr(3)));
    assert!(world.with(0, |i, now| i.forget_everywhere(now, addr(3))));
    assert!(
        !world.with(0, |i, now| i.forget_everywhere(now, addr(1))),
        "it lives"
    );
    world.run(secs(30));
    assert!(
        world
            .living()
            .iter()
            .all(|n| !world.nodes[*n].roster.contains_key(&addr(3)))
    );
    world.boot(3, 0);
    world.until(secs(5), "it may come back", World::agrees);
}

#[test]
fn a_dead_address_that_the_source_does_not_list_is_forgotten_after_ten_minutes() {
    let mut world = World::started(4, 4);
    world.until(secs(5), "join", World::agrees);
    world.kill(3);
    world.run(secs(20));
    for _ in 0..62 {
        for n in 0..3 {
            world.with(n, |i, now| i.set_doors(now, (0..3).map(addr)));
        }
        world.run(secs(10));
    }
    assert!((0..3).all(|n| !world.nodes[n].roster.contains_key(&addr(3))));
}

#[test]
fn all_addresses_may_change_at_once_where_the_source_tells_the_new_ones() {
    let mut world = World::started(5, 5);
    world.until(secs(5), "join", World::agrees);
    for n in 0..5 {
        world.kill(n);
        world.add();
        let ring_id = world.nodes[n].ring_id.clone();
        world.kill(5 + n);
        world.nodes[5 + n].ring_id = ring_id;
        world.nodes[5 + n].doors = (5..10).collect();
        world.boot(5 + n, 0);
    }
    world.until(secs(10), "the new ones", World::agrees);
    // One at a time, each takes the ring id of the old one over.
    let address = addr(10);
    world.add();
    world.kill(10);
    world.nodes[10].ring_id = "i0".into();
    world.nodes[10].doors = vec![6];
    world.boot(10, 0);
    world.kill(5);
    world.until(secs(15), "taken over", World::agrees);
    assert!(world.nodes[7].roster[&address].is_ready());
}

#[test]
fn a_clock_that_was_set_back_does_not_keep_an_instance_out() {
    for (seed, off) in [(1, -3_600_000), (2, -100), (3, 3_600_000)] {
        let mut world = World::started(seed, 5);
        world.until(secs(5), "join", World::agrees);
        for dead in [0, 20] {
            world.kill(4);
            world.run(secs(dead));
            world.boot(4, off);
            world.until(secs(20), "back", World::agrees);
        }
        let tells = world.count(|e| matches!(e, GossipEvent::AddressTaken));
        assert_eq!(tells, 0);
    }
}

#[test]
fn two_processes_at_one_address_do_not_declare_each_other_down_for_ever() {
    let mut world = World::started(6, 5);
    world.until(secs(5), "join", World::agrees);
    // Another process behind the same advertised address; what is sent there reaches either of them.
    let twin = world.add();
    world.twins = Some((4, twin));
    let setup = Setup {
        cluster: "vsim".into(),
        address: addr(4),
        wall: WALL + 50_000,
        record: Record {
            ring_id: "twin".into(),
            http: None,
            phase: Phase::Joining,
            weight: 1,
            labels: BTreeMap::new(),
        },
        times: world.profile.times(),
        keyring: None,
        seed: [9; 32],
    };
    world.boot_as(twin, setup);
    world.run(secs(60));
    let renewed = world.count(|e| matches!(e, GossipEvent::Renewed | GossipEvent::AddressTaken));
    world.run(secs(120));
    let later =
        world.count(|e| matches!(e, GossipEvent::Renewed | GossipEvent::AddressTaken)) - renewed;
    assert!(world.count(|e| matches!(e, GossipEvent::AddressTaken)) >= 1);
    assert!(later <= 40, "{later} renewals in two minutes");
    world.kill(twin);
    world.twins = None;
    world.until(secs(60), "the other one is back", |w| {
        w.nodes[0].roster.values().filter(|m| m.is_ready()).count() == 5
    });
}

#[test]
fn a_leave_is_complete_though_most_datagrams_are_lost() {
    for seed in 0..5 {
        let mut world = World::started(seed, 8);
        world.until(secs(5), "join", World::agrees);
        world.net.loss = 0.6;
        world.leave(7);
        world.net.loss = 0.0;
        let gone = |w: &World| w.agrees();
        world.until(secs(12), "left", gone);
        world.kill(7);
        let down = world.count(|e| matches!(e, GossipEvent::MemberDown(m) if m.address == addr(7)));
        assert_eq!(down, 0, "it left");
    }
}

#[test]
fn one_slow_member_does_not_make_others_look_dead() {
    let mut world = World::started(8, 8);
    world.until(secs(5), "join", World::agrees);
    // It runs one second of every two.
    for _ in 0..30 {
        world.pause(3, secs(1));
        world.run(secs(2));
    }
    let wrong = world.count(|e| matches!(e, GossipEvent::MemberDown(m) if m.address != addr(3)));
    assert_eq!(wrong, 0);
    world.until(secs(5), "well", World::agrees);
}

#[test]
fn who_dies_while_it_leaves_has_left() {
    for seed in 0..10 {
        let mut world = World::started(seed, 5);
        world.until(secs(5), "join", World::agrees);
        world.run(secs(3));
        world.with(3, |i, now| i.begin_leaving(now));
        world.run(ms(50));
        world.kill(3);
        world.until(secs(20), "left", |w| {
            w.living()
                .iter()
                .all(|n| w.nodes[*n].roster[&addr(3)].state == MemberState::Left)
        });
    }
}

#[test]
fn who_leaves_is_not_woken_by_its_own_good_bye() {
    for seed in 0..20 {
        let mut world = World::started(seed, 5);
        world.until(secs(5), "join", World::agrees);
        world.leave(4);
        world.run(secs(5));
        let renewed = |(_, e): &(Instant, GossipEvent)| matches!(e, GossipEvent::Renewed);
        assert!(!world.nodes[4].events.iter().any(renewed), "seed {seed}");
        let names = (0..4).map(|n| &*world.nodes[n].roster[&addr(4)].ring_id);
        assert!(names.into_iter().all(|name| name == "i4"), "seed {seed}");
    }
}

#[test]
fn how_late_an_instance_was_is_seen_also_when_a_datagram_woke_it() {
    let mut world = World::started(1, 3);
    world.until(secs(5), "join", World::agrees);
    world.run(secs(2));
    let of = |world: &mut World| {
        let counted = world.with(2, |i, _| Some((i.counters.stalls, i.counters.lag)));
        counted.expect("it runs")
    };
    assert_eq!(of(&mut world).0, 0);
    world.pause(2, secs(3));
    world.run(secs(4));
    let (stalls, lag) = of(&mut world);
    assert!(stalls == 1 && lag > secs(2), "{stalls} {lag:?}");
}
