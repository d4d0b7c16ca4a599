//! What a lookup, a handle and a node cost in memory; counted by an allocator, so a binary of its own.
//!
//! The figures are printed: `cargo test --test allocations -- --nocapture`.

#![allow(
    unreachable_pub,
    unsafe_code,
    reason = "nothing can reach into a test binary; an allocator is unsafe to implement"
)]

mod counting;
#[cfg(feature = "gossip")]
#[path = "counting/datagrams.rs"]
mod datagrams;
mod support;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fluster::{Client, FlusterCluster};
use redis::AsyncCommands;
use tokio::runtime::Handle;

use self::counting::{Counting, live};
use self::support::{Server, urls};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The tests here measure the whole process, so one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn allocations_in(f: impl FnOnce()) -> u64 {
    let before = counting::mine().made;
    f();
    counting::mine().made - before
}

/// Addresses of this machine's loopback network on which nobody listens.
fn unreachable_urls(n: usize) -> impl Iterator<Item = String> {
    (0..n).map(|i| format!("redis://127.77.{}.{}:9", i / 250, i % 250 + 1))
}

const KEYS: usize = 1_000;

fn keys() -> Vec<String> {
    (0..KEYS).map(|i| format!("user:{i}")).collect()
}

#[test]
fn the_counter_counts() {
    let _alone = alone();
    assert_eq!(allocations_in(|| drop(vec![1_u8])), 1);
    assert_eq!(allocations_in(|| drop(Vec::<u8>::new())), 0);
}

#[test]
fn get_client_allocates_nothing() {
    let _alone = alone();
    let keys = keys();
    for nodes in [3, 100, 1_000] {
        let cluster = FlusterCluster::from_urls(unreachable_urls(nodes)).unwrap();
        // A thread's first look at any snapshot makes the thread's own entry in arc-swap's list.
        drop(cluster.get_client("first").unwrap());
        let made = allocations_in(|| {
            for key in &keys {
                drop(cluster.get_client(key).unwrap());
                drop(cluster.get_node(key).unwrap());
                drop(cluster.clients().next().unwrap().unwrap());
            }
        });
        assert_eq!(made, 0, "{KEYS} lookups among {nodes} nodes");
    }
}

#[cfg(feature = "compat")]
#[test]
fn the_rules_of_other_libraries_allocate_nothing_per_lookup() {
    use fluster::placement::{Live, Member, Placement};

    let _alone = alone();
    let keys = keys();
    let members = ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "10.0.0.4:1"].map(Member::new);
    let live = Live::all(4).with(2, false);
    for rule in [
        "go-redis",
        "proxenos",
        "redis-array",
        "redis-array:consistent=true,algorithm=sha256",
        "redis-rb",
        "ringpop",
        "twemproxy",
        "twemproxy:hash=md5,auto_eject=true,hash_tags=[]",
        "twemproxy:distribution=modula,auto_eject=true",
    ] {
        let placement: Placement = rule.parse().unwrap();
        let table = placement.table(&members).unwrap();
        // As a cluster keeps it.
        let table = table.for_live(&live).unwrap_or(table);
        let made = allocations_in(|| {
            for key in &keys {
                assert!(table.first(key.as_bytes(), &live).is_some());
            }
        });
        assert_eq!(made, 0, "{rule}");
    }
}

#[test]
fn get_client_of_a_stand_in_allocates_nothing() {
    let _alone = alone();
    let keys = keys();
    for nodes in [3, 100, 1_000] {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let cluster = FlusterCluster::from_urls(unreachable_urls(nodes)).unwrap();
        // A third of them refuses a dial, and is out.
        runtime.block_on(async {
            let out: Vec<Client> = cluster
                .clients()
                .take(nodes / 3)
                .map(Result::unwrap)
                .collect();
            for mut client in out {
                assert!(client.get::<_, Option<String>>("k").await.is_err());
            }
        });
        assert_eq!(cluster.status().active(), nodes - nodes / 3);
        let mut stand_ins = 0;
        let made = allocations_in(|| {
            for key in &keys {
                stand_ins += usize::from(cluster.get_client(key).unwrap().is_stand_in());
            }
        });
        assert!(
            stand_ins > KEYS / 10,
            "{stand_ins} of {KEYS} keys have a stand-in"
        );
        assert_eq!(made, 0, "{stand_ins} stand-ins among {nodes} nodes");
    }
}

#[test]
fn the_node_of_a_command_is_found_without_an_allocation() {
    let _alone = alone();
    let cluster = FlusterCluster::from_urls(unreachable_urls(100)).unwrap();
    let mut commands = Vec::new();
    for key in keys() {
        for line in [
            "GET",
            "set",
            "HSET",
            "ZADD",
            "OBJECT ENCODING",
            "EVALSHA sha 1",
        ] {
            let mut cmd = redis::Cmd::new();
            cmd.arg(line.split(' ').collect::<Vec<_>>()).arg(&key);
            let rest: &[&str] = match line {
                "set" => &["v", "EX", "60"],
                "HSET" | "ZADD" => &["1", "v"],
                _ => &[],
            };
            cmd.arg(rest);
            commands.push(cmd);
        }
    }
    // The first look makes the table of commands.
    drop(cluster.get_node_of(&commands[0]).unwrap());
    let made = allocations_in(|| {
        for cmd in &commands {
            drop(cluster.get_node_of(cmd).unwrap());
        }
    });
    assert_eq!(made, 0, "{} commands", commands.len());
}

/// A runtime whose every task is on this thread: the connection's driver is counted with the call.
fn one_thread() -> tokio::runtime::Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().expect("a runtime")
}

/// Allocations and bytes of one of them.
async fn each(n: u64, mut call: impl AsyncFnMut()) -> (f64, f64) {
    for _ in 0..100 {
        call().await;
    }
    let before = counting::mine();
    for _ in 0..n {
        call().await;
    }
    let after = counting::mine();
    let (made, bytes) = (after.made - before.made, after.bytes - before.bytes);
    (made as f64 / n as f64, bytes as f64 / n as f64)
}

#[test]
fn a_get_costs_few_allocations_by_a_client_as_by_its_key() {
    let _alone = alone();
    let server = Server::start();
    server.raw(["SET", "key:1", &"v".repeat(64)]);
    let cluster = FlusterCluster::from_urls([server.url()]).unwrap();
    let (run, client) = one_thread().block_on(async {
        let get = redis::Cmd::get("key:1");
        let run = each(2_000, async || {
            let value: Vec<u8> = cluster.run(&get).await.unwrap();
            assert_eq!(value.len(), 64);
        });
        let run = run.await;
        let client = each(2_000, async || {
            let mut client = cluster.get_client("key:1").unwrap();
            let value: Vec<u8> = get.query_async(&mut client).await.unwrap();
            assert_eq!(value.len(), 64);
        });
        (run, client.await)
    });
    println!(
        "GET of 64 B: {:.2} allocations, {:.0} bytes by its key; {:.2}, {:.0} by a client",
        run.0, run.1, client.0, client.1
    );
    // With the command at hand: the value.
    assert!(run.0 <= 1.05 && run.1 <= 80.0, "by its key: {run:?}");
    // And the future, which redis-rs's trait wants in a box.
    assert!(client.0 <= 2.05, "by a client: {client:?}");
    assert!(client.1 <= 200.0, "by a client: {client:?}");
}

#[test]
fn a_thousand_connected_nodes_hold_little_while_they_are_idle() {
    let _alone = alone();
    const NODES: usize = 1_000;
    let server = Server::builder()
        .arg("--databases", NODES.to_string())
        .start();
    let urls = (0..NODES).map(|db| format!("{}/{db}", server.url()));
    let cluster = FlusterCluster::from_urls(urls).unwrap();
    one_thread().block_on(async {
        let empty = live();
        for client in cluster.clients().rounds(1) {
            let mut client = client.unwrap();
            let _: Option<u8> = client.get("k").await.unwrap();
        }
        let busy = live();
        assert_eq!(server.clients().len(), NODES);
        // Buffers go when a connection was idle for a second; it looks once a second.
        let per_node = |now: i64| (now - empty) / NODES as i64;
        let deadline = Instant::now() + Duration::from_secs(30);
        while per_node(live()) > 4 << 10 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let idle = per_node(live());
        println!(
            "{NODES} connected nodes: {} bytes per node after a call, {idle} idle",
            per_node(busy)
        );
        assert!(idle <= 4 << 10, "{idle} bytes per connected idle node");
        assert_eq!(server.clients().len(), NODES, "they are connected");
        cluster.shutdown(Duration::ZERO).await;
    });
}

/// What the process holds now.
fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// SIGSTOPped, a server is a black hole: it accepts, and never says anything.
#[test]
fn a_thousand_nodes_that_cannot_be_reached_cost_bounded_memory_and_tasks() {
    let _alone = alone();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(ten_thousand_callers_of_a_thousand_nodes());
}

async fn ten_thousand_callers_of_a_thousand_nodes() {
    const NODES: usize = 1_000;
    const CALLERS: usize = 10_000;
    const SILENT: usize = 2;
    let silent: [Server; SILENT] = support::fleet();
    let mut all: Vec<String> = unreachable_urls(NODES - SILENT).collect();
    all.extend(urls(&silent));
    for server in &silent {
        server.stop();
    }

    let empty = live();
    let cluster = FlusterCluster::from_urls(&all).expect("good URLs");
    let built = live();
    let stalled = Arc::new(AtomicBool::new(false));
    let keys: Vec<String> = (0..CALLERS).map(|i| format!("user:{i}")).collect();
    let before = live();
    let clients: Vec<Client> = keys
        .iter()
        .map(|k| cluster.get_client(k).expect("nobody is out yet"))
        .collect();
    let per_handle = (live() - before) as f64 / CALLERS as f64;
    assert_eq!(tasks(), 0, "nothing runs before the first call");

    let before = live();
    let calls: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            tokio::spawn(async move { client.get::<_, Option<String>>("k").await.is_err() })
        })
        .collect();
    let seen = Arc::clone(&stalled);
    let watch = tokio::spawn(async move {
        loop {
            let before = Instant::now();
            tokio::time::sleep(Duration::from_millis(10)).await;
            if before.elapsed() > Duration::from_millis(150) {
                seen.store(true, Relaxed);
            }
        }
    });
    let (mut most_tasks, mut most_bytes) = (0, 0);
    while !calls.iter().all(tokio::task::JoinHandle::is_finished) {
        most_tasks = most_tasks.max(tasks());
        most_bytes = most_bytes.max(live() - before);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for call in calls {
        assert!(call.await.expect("no panic"), "nobody is there");
    }
    // While this machine is stalled, silence is excused: who asks again finds out.
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Some(Ok(mut client)) = cluster.clients().next() {
        assert!(
            Instant::now() < deadline,
            "{} nodes are still in use",
            cluster.status().active()
        );
        assert!(
            client.get::<_, Option<String>>("k").await.is_err(),
            "nobody is there"
        );
    }
    // Probes, waits, demand: for as long as it lasts, it must not grow.
    let (began, mut most_idle_tasks) = (Instant::now(), 0);
    let early = live();
    while began.elapsed() < Duration::from_secs(3) {
        let _ = cluster.get_client("k").map(drop);
        most_idle_tasks = most_idle_tasks.max(tasks());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    watch.abort();
    // Silence is excused while this process was stalled, and what was ended waits for its turn.
    let patience = if stalled.load(Relaxed) { 4 } else { 1 };
    let (late, status) = (live(), cluster.status());
    let probes: u64 = status.nodes.iter().map(|n| n.probes).sum();
    let dials: u64 = status.nodes.iter().map(|n| n.dials).sum();
    println!(
        "{NODES} nodes: {} bytes per node, {per_handle:.0} bytes per handle; {CALLERS} calls at once: \
         up to {most_tasks} tasks and {:.0} bytes per call; {dials} dials in all; all out, all asked for: \
         {probes} probes in {:?}, up to {most_idle_tasks} tasks, {} bytes per node more",
        (built - empty) / NODES as i64,
        most_bytes as f64 / CALLERS as f64,
        began.elapsed(),
        (late - built) / NODES as i64,
    );
    assert!(
        (built - empty) / (NODES as i64) < 64 << 10,
        "bytes per node"
    );
    assert!(
        per_handle <= 64.0,
        "a handle is two words: {per_handle} bytes"
    );
    assert!(
        most_tasks as u64 <= (CALLERS + 2 * NODES + 10) as u64 * patience,
        "the callers' own, one dial per node: {most_tasks}"
    );
    assert!(
        dials <= 4 * patience * NODES as u64,
        "{dials} dials for {NODES} nodes"
    );
    assert!(
        most_idle_tasks as u64 <= (NODES as u64 + 10) * patience,
        "at most one probe per node: {most_idle_tasks}"
    );
    assert!(
        late - early < 4 << 20,
        "grew by {} bytes in 3 s",
        late - early
    );

    cluster.shutdown(Duration::ZERO).await;
    assert!(watch.await.is_err(), "it was aborted");
    support::eventually(Duration::from_secs(60), || tasks() == 0).await;
    drop(cluster);
    assert!(
        live() - empty < (8 << 20) * patience as i64,
        "and its memory is given back: {} bytes left",
        live() - empty
    );
}
