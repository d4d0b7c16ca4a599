//! Whatever happens, all agree within thirty seconds after it ended.

use super::*;

/// How many seeds `make test` runs; the soak sets more.
const SEEDS: u64 = 200;
/// Who is suspected when a fault ends has so long to hear of it and to object: each of the others tells it once a
/// second, and one of twenty datagrams is lost.
const OBJECTION: Duration = Duration::from_secs(2);

#[test]
fn after_any_faults_all_living_instances_agree_again() {
    let seeds = set("VSIM_SEEDS").unwrap_or(SEEDS);
    let first = set("VSIM_FIRST").unwrap_or(0);
    let halves = [first, first + 1].map(|first_of_half| {
        std::thread::spawn(move || {
            let mut took = Vec::new();
            for seed in (first_of_half..first + seeds).step_by(2) {
                let run = std::panic::catch_unwind(|| one(seed));
                took.push(run.unwrap_or_else(|_| panic!("VSIM_FIRST={seed} VSIM_SEEDS=1")));
            }
            took
        })
    });
    let mut took: Vec<_> = halves
        .into_iter()
        .flat_map(|half| half.join().expect("all agree"))
        .collect();
    took.sort_unstable();
    println!(
        "{} seeds: agreed after {:?} (half), {:?} (95 %), {:?} (last)",
        took.len(),
        took[took.len() / 2],
        took[took.len() * 95 / 100],
        took[took.len() - 1]
    );
}

/// A number that the soak sets.
pub(super) fn set(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// One run; how long it took to agree.
fn one(seed: u64) -> Duration {
    let mut world = World::new(seed);
    let n = world.rng.random_range(3..=5);
    world.net.delay = (0, world.rng.random_range(1..60));
    world.net.twice = 0.02;
    world.net.loss = *[0.0, 0.0, 0.01, 0.05]
        .get(seed as usize % 4)
        .unwrap_or(&0.0);
    if seed.is_multiple_of(10) {
        world.keyring = Some(Keyring::from_bytes([7; 32]));
    }
    for n in 0..n {
        let pause = world.rng.random_range(0..1_000);
        world.run(ms(pause));
        world.add();
        world.with(n, |i, now| i.set_doors(now, (0..5).map(addr)));
        world.nodes[n].doors = (0..5).collect();
    }
    world.until(secs(20), "join", World::agrees);
    world.run(secs(3));
    for _ in 0..world.rng.random_range(1..5) {
        fault(&mut world);
    }
    world.tell(|| "no more faults".into());
    world.net.cuts.clear();
    world.net.loss = world.net.loss.min(0.05);
    for n in 0..world.nodes.len() {
        if world.nodes[n].instance.is_none() && !world.nodes[n].left && world.rng.random_bool(0.7) {
            world.boot(n, 0);
        }
    }
    // Who is stopped still has a fault still.
    let awake = world.nodes.iter().filter_map(|node| node.paused).max();
    if let Some(rest) = awake.and_then(|awake| awake.checked_duration_since(world.now)) {
        world.run(rest + ms(1));
    }
    world.tell(|| "all run".into());
    let ended = world.now;
    let mut took = world.until(secs(30), "agree", World::agrees);
    // All may agree while somebody is suspected, who still owns its keys: it was out of reach for longer than the time
    // of suspicion, which runs out a moment after the fault. For so long it is the fault that speaks.
    while world.now - ended < OBJECTION {
        world.run(ms(50));
        if !world
            .until(secs(30), "agree again", World::agrees)
            .is_zero()
        {
            took = world.now - ended;
        }
    }
    world.tell(|| "all agree".into());
    // From here on nothing happens, and nothing is seen.
    let downs = world.false_downs;
    world.run(secs(10));
    assert_eq!(
        world.false_downs, downs,
        "a living one was given up in peace"
    );
    assert!(
        world.net.loss > 0.0 || world.agrees(),
        "{}",
        world.disagreement().unwrap_or_default()
    );
    for n in world.living() {
        let burden = world.with(n, |i, _| i.burden());
        assert!(burden < 200, "i{n} holds {burden} things");
    }
    took
}

fn fault(world: &mut World) {
    let n = world.nodes.len();
    let which = world.rng.random_range(0..n);
    let lasts = secs(world.rng.random_range(1..12));
    let kind = world.rng.random_range(0..12);
    world.tell(|| format!("fault {kind} of i{which} for {lasts:?}"));
    match kind {
        0 => {
            let loss = std::mem::replace(&mut world.net.loss, world.rng.random_range(0.1..0.6));
            world.run(lasts);
            world.net.loss = loss;
        }
        // Two ways, three ways.
        1..=3 => {
            let groups = world.rng.random_range(2..=3);
            let group: Vec<usize> = (0..n).map(|_| world.rng.random_range(0..groups)).collect();
            for a in 0..n {
                for b in (0..n).filter(|b| group[*b] != group[a]) {
                    world.net.cuts.insert((a, b));
                }
            }
            world.run(lasts);
            world.net.cuts.clear();
        }
        // One way.
        4 => {
            for b in 0..n {
                world.net.cuts.insert((which, b));
            }
            world.run(lasts);
            world.net.cuts.clear();
        }
        5 => {
            for b in 0..n {
                world.net.cuts.insert((b, which));
            }
            world.run(lasts);
            world.net.cuts.clear();
        }
        6 | 7 => {
            world.pause(which, lasts);
            world.run(secs(3));
        }
        // Dies; comes back, with a clock that jumped.
        8 => {
            world.kill(which);
            world.run(lasts);
            let off = world.rng.random_range(-3_600_000..3_600_000);
            world.boot(which, off);
        }
        // Its address is another one's.
        9 => {
            world.kill(which);
            world.nodes[which].ring_id = format!("again{}", world.rng.random_range(0..1_000_000));
            world.run(lasts / 3);
            world.boot(which, 0);
        }
        10 => {
            if world.living().contains(&which) && world.living().len() > 2 {
                world.leave(which);
                world.run(lasts / 3);
                world.kill(which);
            }
        }
        _ => {
            let value = world.rng.random_range(0..100).to_string();
            let said = world.with(which, |i, now| {
                Some(i.change(now, |r| {
                    drop(r.labels.insert("k".into(), value.as_str().into()))
                }))
            });
            assert!(said.is_none_or(|said| said.is_ok()));
            if world.nodes.len() < 7 {
                let new = world.add();
                world.with(new, |i, now| i.set_doors(now, (0..5).map(addr)));
            }
        }
    }
    let pause = world.rng.random_range(0..4_000);
    world.run(ms(pause));
}
