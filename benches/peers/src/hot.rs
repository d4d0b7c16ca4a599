//! The hot paths, so many times each, for `scripts/bench-check.sh` to count their instructions:
//! `hot PATH TIMES`.
//!
//! Everything runs on one thread and from fixed input, so that two runs execute the same instructions
//! but for what the kernel decides; only `run` and what is named after it talk to a server.

use std::hint::black_box;

use fluster::FlusterCluster;
use fluster::placement::{Live, Member, Placement};
use fluster_peers::support::Server;
use fluster_peers::{load, rivals};
use redis::AsyncCommands as _;

/// The paths, in the order of the table.
const PATHS: [&str; 13] = [
    "lookup, 3 nodes",
    "lookup, 1000 nodes",
    "first 2, 3 nodes",
    "first 2, 1000 nodes",
    "get_client",
    "get_node",
    "key of GET",
    "key of EVALSHA",
    "key of MGET",
    "run",
    "run, an error reply",
    "redis-rs alone",
    "change of 100 nodes",
];

fn addresses(n: usize) -> impl Iterator<Item = String> {
    (0..n).map(|i| format!("redis://127.77.{}.{}:9", i / 250, i % 250 + 1))
}

fn each(times: usize, mut work: impl FnMut(&str)) {
    let keys = load::keys();
    for n in 0..times {
        work(black_box(&keys[n % keys.len()]));
    }
}

fn lookups(nodes: usize, candidates: usize, times: usize) {
    let names: Vec<String> = addresses(nodes)
        .map(|url| url.replace("redis://", ""))
        .collect();
    let members: Vec<Member<'_>> = names.iter().map(|name| Member::new(name)).collect();
    let table = Placement::ring().table(&members).expect("a table");
    let live = Live::all(nodes as u32);
    each(times, |key| {
        if candidates == 1 {
            let _ = black_box(table.first(key.as_bytes(), &live));
        } else {
            for node in table
                .live_candidates(key.as_bytes(), &live)
                .take(candidates)
            {
                black_box(node);
            }
        }
    });
}

fn key_finding(times: usize, make: impl Fn(&str) -> redis::Cmd) {
    let cluster = FlusterCluster::from_urls(addresses(3)).expect("good URLs");
    let commands: Vec<redis::Cmd> = load::keys().iter().map(|key| make(key)).collect();
    for n in 0..times {
        drop(black_box(
            cluster.get_node_of(&commands[n % commands.len()]),
        ));
    }
}

fn talk(path: &str, times: usize) {
    let servers = [Server::start()];
    load::keys_on(&servers);
    servers[0].raw(["RPUSH", "list", "x"]);
    let urls = [servers[0].url()];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let cluster = rivals::cluster(&urls, None);
        let mut alone = redis::Client::open(urls[0].as_str())
            .expect("a URL")
            .get_multiplexed_async_connection()
            .await
            .expect("a server");
        let keys = load::keys();
        for n in 0..times {
            let key = &keys[n % keys.len()];
            match path {
                "run" => {
                    let value: Vec<u8> = cluster
                        .run(redis::cmd("GET").arg(key))
                        .await
                        .expect("a value");
                    black_box(value);
                }
                "run, an error reply" => {
                    let refused = cluster.run::<Vec<u8>>(redis::cmd("GET").arg("list")).await;
                    drop(black_box(refused.expect_err("a list is no string")));
                }
                _ => drop(black_box(
                    alone.get::<_, Vec<u8>>(key).await.expect("a value"),
                )),
            }
        }
    });
}

fn main() {
    let mut args = std::env::args().skip(1);
    let Some(path) = args.next() else {
        println!("{}", PATHS.join("\n"));
        return;
    };
    let times: usize = args.next().expect("how often").parse().expect("a number");
    match path.as_str() {
        "lookup, 3 nodes" => lookups(3, 1, times),
        "lookup, 1000 nodes" => lookups(1000, 1, times),
        "first 2, 3 nodes" => lookups(3, 2, times),
        "first 2, 1000 nodes" => lookups(1000, 2, times),
        "get_client" => {
            let cluster = FlusterCluster::from_urls(addresses(3)).expect("good URLs");
            each(times, |key| drop(black_box(cluster.get_client(key))));
        }
        "get_node" => {
            let cluster = FlusterCluster::from_urls(addresses(3)).expect("good URLs");
            each(times, |key| drop(black_box(cluster.get_node(key))));
        }
        "key of GET" => key_finding(times, |key| redis::Cmd::get(key)),
        "key of EVALSHA" => key_finding(times, |key| {
            let mut cmd = redis::cmd("EVALSHA");
            cmd.arg("0123456789012345678901234567890123456789").arg(1);
            cmd.arg(key).arg("x");
            cmd
        }),
        "key of MGET" => key_finding(times, |key| {
            let mut cmd = redis::cmd("MGET");
            for n in 0..5 {
                cmd.arg(format!("{{{key}}}{n}"));
            }
            cmd
        }),
        "change of 100 nodes" => {
            let cluster = FlusterCluster::from_urls(addresses(100)).expect("good URLs");
            let new = fluster::Node::new("redis://127.78.0.1:9")
                .expect("a URL")
                .name("new");
            for n in 0..times {
                let change = match n % 2 {
                    0 => cluster.add_node(new.clone()),
                    _ => cluster.remove_node("new"),
                };
                drop(black_box(change.expect("it fits")));
            }
        }
        path if PATHS.contains(&path) => talk(path, times),
        other => panic!("there is no path {other:?}"),
    }
}
