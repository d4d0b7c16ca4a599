//! One lane per node or two: `cargo run --release --bin lanes -- [--rounds N] [--slice-ms N]
//! [--fresh]`.
//!
//! Two clusters over the same servers have two lanes per node between them. Compared are: one lane for
//! all; two lanes in turn; a second lane for the large values alone. The load is GETs of 64 B from 64
//! tasks, alone and beside two tasks that read and write 1 MB; with the servers nearby, and behind a
//! proxy that holds each reply back for 1 ms. Rounds are interleaved, in shuffled order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fluster::FlusterCluster;
use fluster_peers::histogram::Histogram;
use fluster_peers::results::Results;
use fluster_peers::support::{self, Server, fleet, urls};
use fluster_peers::{load, machine, rivals, summary};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

// The fault suite's own proxy, a process of its own.
#[path = "../../../tests/faults"]
#[allow(dead_code, reason = "the fault suite uses all of it")]
mod faults {
    pub mod proxy;
}
use faults::proxy::{Fault, Proxy};

const TASKS: usize = 64;
const LARGE_TASKS: usize = 2;
const LARGE: usize = 1 << 20;

#[derive(Clone, Copy, PartialEq)]
enum Lanes {
    One,
    InTurn,
    BySize,
}

/// What a slice shares.
struct Shared {
    clusters: [FlusterCluster; 2],
    lanes: Lanes,
    turn: AtomicUsize,
    keys: Arc<[String]>,
    measuring: AtomicBool,
    stop: AtomicBool,
    large: AtomicU64,
}

impl Shared {
    fn cluster(&self, large: bool) -> &FlusterCluster {
        match self.lanes {
            Lanes::One => &self.clusters[0],
            Lanes::InTurn => &self.clusters[self.turn.fetch_add(1, Relaxed) % 2],
            Lanes::BySize => &self.clusters[usize::from(large)],
        }
    }
}

async fn small(shared: Arc<Shared>, task: usize) -> Histogram {
    let mut times = Histogram::default();
    let mut at = task * 7919;
    while !shared.stop.load(Relaxed) {
        let began = Instant::now();
        let key = &shared.keys[at % load::KEYS];
        at += 1;
        let value: Option<Vec<u8>> = shared
            .cluster(false)
            .run(redis::cmd("GET").arg(key))
            .await
            .expect("a live server");
        assert_eq!(value.map_or(0, |value| value.len()), load::VALUE.len());
        if shared.measuring.load(Relaxed) {
            times.record(began.elapsed());
        }
    }
    times
}

async fn large(shared: Arc<Shared>, task: usize) {
    let value = vec![b'v'; LARGE];
    let mut at = task;
    while !shared.stop.load(Relaxed) {
        let key = format!("large:{}", at % 30);
        at += 1;
        let cluster = shared.cluster(true);
        if at % 2 == 0 {
            let mut set = redis::cmd("SET");
            let () = cluster
                .run(set.arg(&key).arg(&value))
                .await
                .expect("a live server");
        } else {
            let got: Option<Vec<u8>> = cluster
                .run(redis::cmd("GET").arg(&key))
                .await
                .expect("a live server");
            assert!(got.is_none_or(|got| got.len() == LARGE));
        }
        if shared.measuring.load(Relaxed) {
            shared.large.fetch_add(1, Relaxed);
        }
    }
}

fn slice(
    runtime: &Runtime,
    clusters: &[FlusterCluster; 2],
    lanes: Lanes,
    mixed: bool,
    keys: &Arc<[String]>,
    length: Duration,
) -> Value {
    let shared = Arc::new(Shared {
        clusters: clusters.clone(),
        lanes,
        turn: AtomicUsize::new(0),
        keys: Arc::clone(keys),
        measuring: AtomicBool::new(false),
        stop: AtomicBool::new(false),
        large: AtomicU64::new(0),
    });
    let smalls: Vec<_> = (0..TASKS)
        .map(|task| runtime.spawn(small(Arc::clone(&shared), task)))
        .collect();
    let larges: Vec<_> = (0..if mixed { LARGE_TASKS } else { 0 })
        .map(|task| runtime.spawn(large(Arc::clone(&shared), task)))
        .collect();
    std::thread::sleep(length / 5);
    shared.measuring.store(true, Relaxed);
    let (cpu, began) = (machine::cpu_time(), Instant::now());
    std::thread::sleep(length);
    let (cpu, took) = (machine::cpu_time() - cpu, began.elapsed().as_secs_f64());
    shared.measuring.store(false, Relaxed);
    shared.stop.store(true, Relaxed);
    let mut times = Histogram::default();
    for task in smalls {
        times.merge(&runtime.block_on(task).expect("no failure"));
    }
    for task in larges {
        runtime.block_on(task).expect("no failure");
    }
    json!({
        "ops": times.samples() as f64 / took,
        "large": shared.large.load(Relaxed) as f64 / took,
        "cpu_us": cpu.as_secs_f64() * 1e6 / times.samples().max(1) as f64,
        "p50_us": times.quantile(0.5),
        "p99_us": times.quantile(0.99),
    })
}

fn main() {
    // The program is its own proxy, started once more.
    faults::proxy::serve_when_told_to();
    let (mut rounds, mut length, mut fresh) = (15, Duration::from_millis(300), false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
        match arg.as_str() {
            "--rounds" => rounds = value().parse().expect("a number of rounds"),
            "--slice-ms" => length = Duration::from_millis(value().parse().expect("milliseconds")),
            "--fresh" => fresh = true,
            other => panic!("{other}: see the first lines of benches/peers/src/lanes.rs"),
        }
    }
    let servers: [Server; 3] = fleet();
    let keys = load::keys_on(&servers);
    let proxies: Vec<Proxy> = servers.iter().map(Proxy::start).collect();
    for proxy in &proxies {
        proxy.set(Fault::Delay(Duration::from_millis(1)));
    }
    let runtime = load::runtime();
    // A value of 1 MB among many takes its time on two cores.
    let limit = Some(Duration::from_secs(20));
    let pair = |urls: Vec<String>| {
        runtime.block_on(async { [(), ()].map(|()| rivals::cluster(&urls, limit)) })
    };
    let near = pair(urls(&servers));
    let far = pair(proxies.iter().map(Proxy::url).collect());
    let about = json!({
        "what": "lanes",
        "machine": machine::describe(),
        "slice_ms": length.as_millis() as u64,
        "packages": summary::versions(),
    });
    let mut results = Results::open("lanes.jsonl", &about, fresh);
    for round in 0..rounds {
        for (link, clusters) in [("near", &near), ("1 ms", &far)] {
            for mixed in [false, true] {
                let mut order = [
                    ("one", Lanes::One),
                    ("one again", Lanes::One),
                    ("two in turn", Lanes::InTurn),
                    ("two by size", Lanes::BySize),
                ];
                fastrand::shuffle(&mut order);
                for (who, lanes) in order {
                    let op = format!("{link}{}", if mixed { ", beside 1 MB" } else { "" });
                    let cell = json!({"round": round, "op": op, "tasks": TASKS, "who": who});
                    if results.has(&cell) || (who == "two by size" && !mixed) {
                        continue;
                    }
                    let mut row = slice(&runtime, clusters, lanes, mixed, &keys, length);
                    for (field, value) in cell.as_object().expect("fields") {
                        row[field] = value.clone();
                    }
                    results.push(row);
                }
            }
        }
        eprintln!("round {} of {rounds}", round + 1);
    }
    println!("{}", summary::lanes(results.rows()));
    runtime.shutdown_timeout(Duration::from_secs(1));
}
