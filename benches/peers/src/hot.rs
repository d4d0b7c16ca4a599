//! The hot paths, so many times each, for `scripts/bench-check.sh` to count their instructions:
//! `hot PATH TIMES`.
//!
//! Everything runs on one thread and from fixed input, so that two runs execute the same instructions
//! but for what the kernel decides; only `run`, what is named after it and what ends in `alone` talk to a server.

#[allow(dead_code, reason = "mounted alone, without who uses it")]
#[path = "../../../src/connection"]
mod connection {
    pub(crate) mod decode;
    pub(crate) mod redis_rs;
}
#[allow(dead_code, reason = "mounted alone, without who uses it")]
#[path = "../../../src/error"]
mod error {
    pub(crate) mod text;
}

use std::hint::black_box;

use bytes::BytesMut;
use fluster::placement::{Live, Member, Placement};
use fluster::{FlusterCluster, Node, OnReturn};
use fluster_peers::support::Server;
use fluster_peers::{load, rivals};
use redis::AsyncCommands as _;
use redis::aio::MultiplexedConnection;
use tokio_util::codec::Decoder as _;

use self::connection::decode::{DecodeLimits, Decoder};

/// The paths, in the order of the table.
const PATHS: [&str; 28] = [
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
    "run, 64 at once",
    "run by get_client, 64 at once",
    "run, returns prepared",
    "run SET, stand-in, 16 at once",
    "run SET, noted, 16 at once",
    "run SET, stand-in, 64 at once",
    "run SET, noted, 64 at once",
    "redis-rs alone",
    "redis-rs, 64 at once, alone",
    "change of 100 nodes",
    "decode 64 B",
    "redis-rs decodes 64 B",
    "decode 10 000 x 64 B",
    "decode that in packets",
    "redis-rs decodes 10 000 x 64 B",
    "decode 1 MB",
    "redis-rs decodes 1 MB",
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
        if path.contains("at once") {
            return at_once(path, times, &cluster, &alone).await;
        }
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

/// What returns cost: a GET while nobody is out, or a SET of each of so many tasks at the stand-in of a node that is out,
/// with and without what it owes that node. Says what the server spent on it, too.
fn returns(path: &str, times: usize) {
    let servers = [Server::start(), Server::start()];
    let keys = load::keys_on(&servers);
    let on_return = match path.contains("stand-in") {
        true => OnReturn::Serve,
        false => OnReturn::Invalidate,
    };
    let mut builder = FlusterCluster::builder().on_return(on_return);
    for (server, name) in servers.iter().zip(["a", "b"]) {
        builder = builder.node(Node::new(server.url()).expect("a URL").name(name));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let cluster = builder.build().expect("good URLs");
        if path.ends_with("prepared") {
            for n in 0..times {
                let key = &keys[n % keys.len()];
                let got = cluster.run::<Vec<u8>>(redis::cmd("GET").arg(key)).await;
                black_box(got.expect("a value"));
            }
            return;
        }
        let of_a = |key: &&String| cluster.get_node(key).is_ok_and(|node| node == *"a");
        let own: Vec<String> = keys.iter().filter(of_a).cloned().collect();
        cluster.drain_node("a").expect("a node");
        let before = server_cpu(&servers[1]);
        let tasks = if path.contains("16") { 16 } else { 64 };
        let mut all = tokio::task::JoinSet::new();
        for task in 0..tasks {
            let (cluster, own) = (cluster.clone(), own.clone());
            all.spawn(async move {
                for n in 0..times / tasks {
                    let key = &own[(n * tasks + task) % own.len()];
                    let mut set = redis::cmd("SET");
                    set.arg(key).arg(load::VALUE.as_slice());
                    cluster.run::<()>(&set).await.expect("OK");
                }
            });
        }
        while let Some(done) = all.join_next().await {
            done.expect("no panic");
        }
        let spent = server_cpu(&servers[1]) - before;
        println!("server: {:.2} us a call", spent * 1e6 / times as f64);
    });
}

/// The seconds that a server has computed so far.
fn server_cpu(server: &Server) -> f64 {
    let info = server.raw(["INFO", "cpu"]);
    let of = |name: &str| -> f64 {
        let line = info.lines().find_map(|line| line.strip_prefix(name));
        line.expect("a line").trim().parse().expect("a number")
    };
    of("used_cpu_sys:") + of("used_cpu_user:")
}

/// A GET of each of 64 tasks, again and again: what a batch of them costs, by call.
async fn at_once(
    path: &str,
    times: usize,
    cluster: &FlusterCluster,
    alone: &MultiplexedConnection,
) {
    const TASKS: usize = 64;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let (cluster, mut alone) = (cluster.clone(), alone.clone());
        let (path, key) = (path.to_owned(), load::keys()[task].clone());
        tasks.spawn(async move {
            for _ in 0..times / TASKS {
                let value: Vec<u8> = match &*path {
                    "run, 64 at once" => {
                        let value = cluster.run(redis::cmd("GET").arg(&key)).await;
                        value.expect("a value")
                    }
                    "run by get_client, 64 at once" => {
                        let mut client = cluster.get_client(&key).expect("a node");
                        client.get(&key).await.expect("a value")
                    }
                    _ => alone.get(&key).await.expect("a value"),
                };
                black_box(value);
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

/// A reply of so many strings, or of one, as it comes from a server.
fn reply(many: usize, len: usize) -> Vec<u8> {
    let one = [
        format!("${len}\r\n").into_bytes(),
        vec![b'x'; len],
        b"\r\n".to_vec(),
    ]
    .concat();
    match many {
        1 => one,
        _ => [format!("*{many}\r\n").into_bytes(), one.repeat(many)].concat(),
    }
}

fn decoding(path: &str, times: usize) {
    let reply = match path {
        path if path.ends_with("1 MB") => reply(1, 1_000_000),
        path if path.contains("10 000") || path.contains("packets") => reply(10_000, 64),
        _ => reply(1, 64),
    };
    if path.starts_with("redis-rs") {
        // As its connection does: the codec, behind a buffer that the socket is read into.
        let (mut codec, mut buffer) = (redis::ValueCodec::default(), BytesMut::new());
        for _ in 0..times {
            for piece in black_box(&*reply).chunks(16 << 10) {
                buffer.extend_from_slice(piece);
                drop(black_box(codec.decode(&mut buffer).expect("a reply")));
            }
        }
        return;
    }
    // What a driver reads at once, or what one packet brings.
    let size = match path.contains("packets") {
        true => 1_400,
        false => 16 << 10,
    };
    let mut decoder = Decoder::new(DecodeLimits::default());
    for _ in 0..times {
        for mut piece in black_box(&*reply).chunks(size) {
            drop(black_box(decoder.read(&mut piece).expect("a reply")));
        }
    }
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
        path if path.contains("decode") => decoding(path, times),
        path if path.starts_with("run SET") || path.ends_with("prepared") => returns(path, times),
        path if PATHS.contains(&path) => talk(path, times),
        other => panic!("there is no path {other:?}"),
    }
}
