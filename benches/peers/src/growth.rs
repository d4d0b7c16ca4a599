//! How fluster's cost grows, with threads and with nodes:
//! `cargo run --release --bin growth -- [--rounds N] [--only threads,changes,memory]`.
//!
//! * threads: `get_client` in a tight loop on 1, 2, ... threads, beside the lookup alone;
//! * changes: a node is added and removed while a reader asks for clients all the time: the writer's
//!   CPU, and the reader's longest gap beside its longest gap while nothing changes;
//! * memory: nodes that are only configured, and nodes that are connected and idle.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use fluster::placement::{Live, Member, Placement};
use fluster::{FlusterCluster, Node};
use fluster_peers::counting::{self, Counting};
use fluster_peers::results::Results;
use fluster_peers::support::{Server, urls};
use fluster_peers::{load, machine, summary};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Addresses of this machine's loopback network on which nobody listens; nobody is dialled.
fn addresses(n: usize) -> impl Iterator<Item = String> {
    (0..n).map(|i| format!("redis://127.77.{}.{}:9", i / 250, i % 250 + 1))
}

/// Runs `work` on so many threads at once for `length`; nanoseconds per call of it.
fn tight(threads: usize, length: Duration, work: &(impl Fn(&str) + Sync), keys: &[String]) -> f64 {
    const BATCH: usize = 500;
    let start = Barrier::new(threads);
    let stop = AtomicBool::new(false);
    let times: Vec<f64> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let (start, stop) = (&start, &stop);
                scope.spawn(move || {
                    start.wait();
                    let (mut done, mut at) = (0_u64, thread * 997);
                    let began = machine::thread_cpu_time();
                    let until = Instant::now() + length;
                    while !stop.load(Relaxed) {
                        for _ in 0..BATCH {
                            work(black_box(&keys[at % keys.len()]));
                            at += 1;
                        }
                        done += BATCH as u64;
                        if Instant::now() >= until {
                            stop.store(true, Relaxed);
                        }
                    }
                    // CPU time: with more threads than cores, waiting for one is not the loop's cost.
                    let took = machine::thread_cpu_time() - began;
                    took.as_nanos() as f64 / done as f64
                })
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    times.iter().sum::<f64>() / threads as f64
}

fn threads(results: &mut Results, rounds: u64) {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let mut counts = vec![1, 2, 4, cores, 2 * cores];
    counts.sort_unstable();
    counts.dedup();
    let keys = load::keys();
    for round in 0..rounds {
        for nodes in [3, 100] {
            let names: Vec<String> = addresses(nodes)
                .map(|url| url.replace("redis://", ""))
                .collect();
            let members: Vec<Member<'_>> = names.iter().map(|name| Member::new(name)).collect();
            let table = Placement::ring().table(&members).expect("a table");
            let live = Live::all(nodes as u32);
            let cluster = FlusterCluster::from_urls(addresses(nodes)).expect("good URLs");
            for &threads in &counts {
                let cell =
                    json!({"part": "threads", "round": round, "nodes": nodes, "threads": threads});
                if results.has(&cell) {
                    continue;
                }
                let length = Duration::from_millis(30);
                let lookup = |key: &str| {
                    let _ = black_box(table.first(key.as_bytes(), &live));
                };
                let get_client = |key: &str| drop(black_box(cluster.get_client(key)));
                let get_node = |key: &str| drop(black_box(cluster.get_node(key)));
                let mut row = cell;
                row["lookup_ns"] = json!(tight(threads, length, &lookup, &keys));
                row["get_client_ns"] = json!(tight(threads, length, &get_client, &keys));
                row["get_node_ns"] = json!(tight(threads, length, &get_node, &keys));
                results.push(row);
            }
        }
    }
}

/// The longest time between two clients that a reader gets while `writer` runs.
fn longest_gap<T>(cluster: &FlusterCluster, writer: impl FnOnce() -> T) -> (Duration, T) {
    let stop = Arc::new(AtomicBool::new(false));
    let (cluster, stopped) = (cluster.clone(), Arc::clone(&stop));
    let reader = std::thread::spawn(move || {
        let mut longest = Duration::ZERO;
        let mut last = Instant::now();
        while !stopped.load(Relaxed) {
            drop(black_box(cluster.get_client(black_box("session:1"))));
            let now = Instant::now();
            longest = longest.max(now - last);
            last = now;
        }
        longest
    });
    std::thread::sleep(Duration::from_millis(5));
    let result = writer();
    stop.store(true, Relaxed);
    (reader.join().expect("no panic"), result)
}

fn changes(results: &mut Results, rounds: u64) {
    for round in 0..rounds {
        for nodes in [3, 10, 100, 300, 1000] {
            let cell = json!({"part": "changes", "round": round, "nodes": nodes});
            if results.has(&cell) {
                continue;
            }
            let cluster = FlusterCluster::from_urls(addresses(nodes)).expect("good URLs");
            let new = Node::new("redis://127.78.0.1:9")
                .expect("a URL")
                .name("new");
            let cpu = |change: &dyn Fn()| {
                let (before, began) = (machine::thread_cpu_time(), Instant::now());
                change();
                (
                    (machine::thread_cpu_time() - before).as_secs_f64() * 1e6,
                    began.elapsed(),
                )
            };
            let (gap, (added, removed, took)) = longest_gap(&cluster, || {
                let (added, a) = cpu(&|| drop(cluster.add_node(new.clone()).expect("a new name")));
                let (removed, b) = cpu(&|| drop(cluster.remove_node("new").expect("it is there")));
                (added, removed, a + b)
            });
            // As long, with a writer that computes and changes nothing: what the machine itself does.
            let (gap_alone, ()) = longest_gap(&cluster, || {
                let until = Instant::now() + took;
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
            });
            let mut row = cell;
            row["added_us"] = json!(added);
            row["removed_us"] = json!(removed);
            row["gap_us"] = json!(gap.as_secs_f64() * 1e6);
            row["gap_alone_us"] = json!(gap_alone.as_secs_f64() * 1e6);
            results.push(row);
        }
    }
}

/// So many URLs over a few real servers: each database of a server is a node.
fn many(servers: &[Server], n: usize) -> Vec<String> {
    let urls = urls(servers);
    (0..n)
        .map(|i| format!("{}/{}", urls[i % urls.len()], i / urls.len()))
        .collect()
}

fn memory(results: &mut Results) {
    let servers: Vec<Server> = (0..3)
        .map(|_| Server::builder().arg("--databases", "400").start())
        .collect();
    for nodes in [3, 10, 100, 300, 1000] {
        let cell = json!({"part": "memory", "nodes": nodes});
        if results.has(&cell) {
            continue;
        }
        let names: Vec<String> = addresses(nodes)
            .map(|url| url.replace("redis://", ""))
            .collect();
        let members: Vec<Member<'_>> = names.iter().map(|name| Member::new(name)).collect();
        let before = counting::live();
        let table = Placement::ring().table(&members).expect("a table");
        let ring = counting::live() - before;
        drop(table);

        let urls = many(&servers, nodes);
        let before = counting::live();
        let cluster = FlusterCluster::from_urls(&urls).expect("good URLs");
        let configured = counting::live() - before;
        // One worker, so that the tasks of others are not counted here.
        let runtime = load::runtime();
        let empty = counting::live();
        let rss = machine::resident();
        let connected = runtime.block_on(async {
            for client in cluster.clients().take(nodes) {
                let mut client = client.expect("a live node");
                let nothing: Option<String> = redis::cmd("GET")
                    .arg("none")
                    .query_async(&mut client)
                    .await
                    .expect("a server");
                assert!(nothing.is_none(), "an empty server");
            }
            // What the connecting itself needed is gone by then.
            // Idle is who has said nothing for a second or two: then the buffers of a connection go.
            tokio::time::sleep(Duration::from_secs(3)).await;
            counting::live() - empty
        });
        let mut row = cell;
        row["ring_bytes"] = json!(ring);
        row["configured_bytes"] = json!(configured);
        row["connected_bytes"] = json!(connected);
        row["connected_resident_bytes"] = json!(machine::resident().saturating_sub(rss));
        results.push(row);
        runtime.block_on(cluster.shutdown(Duration::ZERO));
        runtime.shutdown_timeout(Duration::from_secs(1));
    }
}

fn main() {
    let (mut rounds, mut fresh, mut only) = (11, false, "threads,changes,memory".to_owned());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
        match arg.as_str() {
            "--rounds" => rounds = value().parse().expect("a number of rounds"),
            "--only" => only = value(),
            "--fresh" => fresh = true,
            other => panic!("{other}: see the first lines of benches/peers/src/growth.rs"),
        }
    }
    let about: Value = json!({
        "what": "growth",
        "machine": machine::describe(),
        "packages": summary::versions(),
    });
    let mut results = Results::open("growth.jsonl", &about, fresh);
    for part in only.split(',') {
        match part {
            "threads" => threads(&mut results, rounds),
            "changes" => changes(&mut results, rounds),
            "memory" => memory(&mut results),
            other => panic!("there is no part {other}"),
        }
    }
    println!("{}", summary::growth(results.rows()));
}
