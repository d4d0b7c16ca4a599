//! A thousand instances: minutes of a core each, so `make gossip-soak` runs them.

use super::times::{all_see, move_to_zone_b};
use super::*;

const MANY: usize = 1_000;
const SEEDS: u64 = 3;

/// The longest that each may take, and the bytes a second of each instance in peace: twice what a simulation of the
/// bare protocol had, with one seed.
struct Limits {
    dead: Duration,
    seen: Duration,
    healed: Duration,
    label: Duration,
    idle: u64,
}

/// All rings are equal after this, when all are started at once.
const JOINED: Duration = Duration::from_secs(66);

#[test]
#[ignore = "minutes for each of three seeds: make gossip-soak"]
fn a_thousand_instances_agree_and_notice_a_death_and_are_whole_after_a_partition() {
    let limits = Limits {
        dead: ms(15_600),
        seen: secs(32),
        healed: secs(32),
        label: ms(2_800),
        idle: 376,
    };
    thousand(0.0, &limits);
}

#[test]
#[ignore = "minutes for each of three seeds: make gossip-soak"]
fn a_thousand_instances_do_so_with_a_loss_of_five_percent() {
    let limits = Limits {
        dead: secs(14),
        seen: secs(34),
        healed: ms(21_400),
        label: ms(2_800),
        idle: 2_942,
    };
    thousand(0.05, &limits);
}

fn bytes(world: &World) -> u64 {
    world.nodes.iter().map(|node| node.bytes).sum::<u64>() / MANY as u64
}

fn thousand(loss: f64, limits: &Limits) {
    let first = seeds::set("VSIM_FIRST").unwrap_or(0);
    for seed in first..first + SEEDS {
        let mut world = World::started(seed, MANY);
        world.net.loss = loss;
        let joined = world.until(JOINED, "join", World::agrees);
        let join = bytes(&world) / 1_000;
        println!("1000, loss {loss}, seed {seed}: joined {joined:?}, {join} kB each");
        world.run(secs(20));
        let before = bytes(&world);
        world.run(secs(10));
        let idle = (bytes(&world) - before) / 10;
        let is_known = move_to_zone_b(&mut world, 3);
        let label = world.until(limits.label, "the label", is_known);
        world.kill(500);
        let down = |w: &World| all_see(w, 500, MemberState::Down);
        let dead = world.until(limits.dead, "death", down);
        assert_eq!(world.false_downs, 0, "nobody else is given up");
        println!("1000, loss {loss}, seed {seed}: idle {idle} B/s, label {label:?}, dead {dead:?}");
        assert!(idle <= limits.idle, "{idle} bytes a second each");

        let (one, other): (Vec<_>, Vec<_>) = (0..MANY).partition(|n| n % 2 == 0);
        world.cut(&one, &other);
        let is_split = |w: &World| {
            let half = |n: &usize| {
                let reachable = w.nodes[*n].roster.values().filter(|m| m.is_reachable());
                reachable.count() <= MANY / 2
            };
            w.living().iter().all(half)
        };
        let seen = world.until(limits.seen, "the partition", is_split);
        world.net.cuts.clear();
        let before = bytes(&world);
        let healed = world.until(limits.healed, "whole again", World::agrees);
        let heal = (bytes(&world) - before) / 1_000;
        println!(
            "1000, loss {loss}, seed {seed}: partition seen {seen:?}, healed {healed:?}, {heal} kB each"
        );
    }
}
