//! What it costs to find a command's key and its node: `cargo bench --bench routing [-- ROUNDS]`.
//!
//! Every case runs once per round, over the same 20 000 commands, so that a noisy neighbour hits all of
//! them alike; the quietest round counts. `of the key` is the look-up alone, the key known.

use std::hint::black_box;
use std::time::Instant;

use fluster::FlusterCluster;
use redis::Cmd;

const COMMANDS: usize = 20_000;
/// The documented limit for commands with one key.
const LIMIT: f64 = 100.0;

fn commands(make: impl Fn(&str) -> Cmd) -> Vec<Cmd> {
    (0..COMMANDS)
        .map(|n| make(&format!("session:{n:08x}")))
        .collect()
}

fn one(name: &'static str, key: &str, rest: &[&str]) -> Cmd {
    let mut cmd = redis::cmd(name);
    cmd.arg(key).arg(rest);
    cmd
}

fn main() {
    // `cargo bench` passes flags of its own harness.
    let rounds: usize = std::env::args()
        .find_map(|arg| arg.parse().ok())
        .unwrap_or(30);
    let cases: Vec<(&str, Vec<Cmd>)> = vec![
        ("GET", commands(|k| one("GET", k, &[]))),
        ("get", commands(|k| one("get", k, &[]))),
        (
            "SET ... EX",
            commands(|k| one("SET", k, &["some value", "EX", "60"])),
        ),
        (
            "HSET",
            commands(|k| one("HSET", k, &["field", "value", "other", "value"])),
        ),
        ("ZADD", commands(|k| one("ZADD", k, &["1", "member"]))),
        (
            "OBJECT ENCODING",
            commands(|k| {
                let mut cmd = redis::cmd("OBJECT");
                cmd.arg("ENCODING").arg(k);
                cmd
            }),
        ),
        (
            "EVALSHA, 1 key",
            commands(|k| {
                let mut cmd = redis::cmd("EVALSHA");
                cmd.arg("0123456789012345678901234567890123456789")
                    .arg(1)
                    .arg(k)
                    .arg("x");
                cmd
            }),
        ),
        (
            "MGET, 5 keys, 1 tag",
            commands(|k| {
                let mut cmd = redis::cmd("MGET");
                for n in 0..5 {
                    cmd.arg(format!("{{{k}}}{n}"));
                }
                cmd
            }),
        ),
    ];
    println!("ns per command, quietest of {rounds} rounds\n");
    println!("{:<24} {:>9} {:>9}", "", "3 nodes", "100");
    let mut worst: f64 = 0.0;
    let clusters = [3, 100].map(|nodes| {
        let urls = (0..nodes).map(|n| format!("redis://10.0.{}.{}", n / 250, n % 250 + 1));
        FlusterCluster::from_urls(urls).expect("nodes")
    });
    let keys: Vec<String> = (0..COMMANDS).map(|n| format!("session:{n:08x}")).collect();
    print!("{:<24}", "of the key");
    for cluster in &clusters {
        let time = quietest(rounds, || {
            for key in &keys {
                black_box(cluster.get_node(black_box(key))).expect("a node");
            }
        });
        print!(" {time:>9.1}");
    }
    println!();
    for (name, commands) in &cases {
        print!("{name:<24}");
        for cluster in &clusters {
            let time = quietest(rounds, || {
                for cmd in commands {
                    black_box(cluster.get_node_of(black_box(cmd))).expect("a node");
                }
            });
            print!(" {time:>9.1}");
            if name
                .split(' ')
                .next()
                .is_some_and(|n| ["GET", "SET", "HSET"].contains(&n))
            {
                worst = worst.max(time);
            }
        }
        println!();
    }
    println!("\nGET, SET, HSET: {worst:.1} ns at most, the limit is {LIMIT} ns");
    // On a loaded machine the quietest round is still loud.
    assert!(worst < 3.0 * LIMIT, "{worst:.1} ns");
}

/// The time of one command in the quietest round.
fn quietest(rounds: usize, mut run: impl FnMut()) -> f64 {
    let mut least = f64::INFINITY;
    for _ in 0..rounds {
        let began = Instant::now();
        run();
        least = least.min(began.elapsed().as_nanos() as f64 / COMMANDS as f64);
    }
    least
}
