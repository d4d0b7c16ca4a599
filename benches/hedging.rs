//! What hedged reads do to the tail that one slow replica makes:
//! `cargo bench --bench hedging [-- SECONDS]`.
//!
//! Real servers; the replies of one node come 20 ms late, through a proxy on a thread of its own. The
//! policies take turns, a second at a time in shuffled order, so that a noisy neighbour hits all alike.
//! Each table says its hedge budget: with one slow node of n, one read in n begins there, and only a budget
//! above that share helps all of them.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has to panic")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fluster::replication::{HedgeAfter, Quorum, ReadFrom};
use fluster::testing::{Server, fleet};
use fluster::{FlusterCluster, Node};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const LATE: Duration = Duration::from_millis(20);
const TASKS: usize = 16;
const KEYS: usize = 2000;
/// The documented limit for the default case of the first table.
const LIMIT: f64 = 5.0;

/// A port that leads to `to` and whose replies come late.
fn late_port(to: u16) -> u16 {
    let (tell, hear) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            tell.send(listener.local_addr().unwrap().port()).unwrap();
            loop {
                let (near, _) = listener.accept().await.unwrap();
                tokio::spawn(forward(near, SocketAddr::from((Ipv4Addr::LOCALHOST, to))));
            }
        });
    });
    hear.recv().unwrap()
}

/// Requests pass at once; each piece of a reply waits its time, without holding up the one behind it.
async fn forward(near: TcpStream, to: SocketAddr) {
    let far = TcpStream::connect(to).await.unwrap();
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    let (mut near_read, mut near_write) = near.into_split();
    let (mut far_read, mut far_write) = far.into_split();
    let (queue, mut late) = tokio::sync::mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::spawn(async move { tokio::io::copy(&mut near_read, &mut far_write).await });
    tokio::spawn(async move {
        while let Some((at, bytes)) = late.recv().await {
            tokio::time::sleep_until((at + LATE).into()).await;
            if near_write.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut buffer = vec![0; 65_536];
    while let Ok(n @ 1..) = far_read.read(&mut buffer).await {
        if queue.send((Instant::now(), buffer[..n].to_vec())).is_err() {
            return;
        }
    }
}

/// `nodes` names over the servers' databases; the first node answers late.
fn cluster(servers: &[Server], late: u16, nodes: usize, budget: f64) -> FlusterCluster {
    let mut builder = FlusterCluster::builder()
        .response_timeout(Duration::from_secs(2))
        .hedge_budget(budget);
    for i in 0..nodes {
        let server = &servers[i % servers.len()];
        let port = if i == 0 { late } else { server.port() };
        let node = Node::new(format!("redis://127.0.0.1:{port}/{}", i / servers.len())).unwrap();
        builder = builder.node(node.name(format!("node-{i}")));
    }
    builder.build().unwrap()
}

/// Latencies of reads, in microseconds, for as long as a turn takes.
async fn turn(cluster: &FlusterCluster, from: &ReadFrom) -> Vec<u64> {
    let until = Instant::now() + Duration::from_secs(1);
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (cluster, from) = (cluster.clone(), from.clone());
            tokio::spawn(async move {
                let mut took = Vec::new();
                while Instant::now() < until {
                    let key = format!("key:{}", fastrand::usize(..KEYS));
                    let began = Instant::now();
                    let replicas = cluster.replicas(&key, 2).unwrap();
                    let value: Vec<u8> = replicas
                        .read(redis::cmd("GET").arg(&key), from.clone())
                        .await
                        .unwrap();
                    assert_eq!(value.len(), 64);
                    took.push(began.elapsed().as_micros() as u64);
                }
                took
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    all
}

fn quantile(sorted: &[u64], q: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * q) as usize] as f64 / 1000.0
}

async fn table(servers: &[Server], late: u16, nodes: usize, budget: f64, rounds: usize) -> f64 {
    let cluster = cluster(servers, late, nodes, budget);
    for i in 0..KEYS {
        let key = format!("key:{i}");
        let mut set = redis::cmd("SET");
        set.arg(&key).arg([b'x'; 64].as_slice());
        let replicas = cluster.replicas(&key, 2).unwrap();
        replicas.write(&set, Quorum::All).await.unwrap();
    }
    let policies: [(&str, ReadFrom); 3] = [
        ("first available", ReadFrom::FirstAvailable),
        (
            "hedged, p95",
            ReadFrom::Hedged {
                after: HedgeAfter::P95,
            },
        ),
        (
            "hedged, 2 ms",
            ReadFrom::Hedged {
                after: HedgeAfter::Fixed(Duration::from_millis(2)),
            },
        ),
    ];
    // The 95th percentile is that of a window of five seconds.
    for _ in 0..6 {
        turn(&cluster, &policies[0].1).await;
    }
    let mut took: [Vec<u64>; 3] = Default::default();
    for _ in 0..rounds {
        let mut order = [0, 1, 2];
        fastrand::shuffle(&mut order);
        for i in order {
            took[i].extend(turn(&cluster, &policies[i].1).await);
        }
    }
    println!("\n{nodes} nodes, one of them {LATE:?} late; 2 replicas; hedge budget {budget}");
    println!(
        "{:<18}{:>10}{:>10}{:>10}{:>10}{:>14}",
        "", "reads", "p50 ms", "p99 ms", "p99.9 ms", "p99 against"
    );
    let mut plain = 0.0;
    let mut best = 0.0;
    for ((name, _), took) in policies.iter().zip(&mut took) {
        took.sort_unstable();
        let p99 = quantile(took, 0.99);
        if plain == 0.0 {
            plain = p99;
        }
        best = f64::max(best, plain / p99);
        println!(
            "{name:<18}{:>10}{:>10.2}{:>10.2}{:>10.2}{:>13.1}x",
            took.len(),
            quantile(took, 0.5),
            p99,
            quantile(took, 0.999),
            plain / p99
        );
    }
    cluster.shutdown(Duration::ZERO).await;
    best
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    // `cargo bench` passes flags of its own harness.
    let rounds: usize = std::env::args()
        .find_map(|arg| arg.parse().ok())
        .unwrap_or(6);
    let servers: Arc<[Server; 3]> = Arc::new(fleet());
    let late = late_port(servers[0].port());
    let few = table(&servers[..], late, 3, 0.5, rounds).await;
    let many = table(&servers[..], late, 12, 0.1, rounds).await;
    println!(
        "\np99 is cut {few:.1} and {many:.1} times; wanted: at least {LIMIT} times{}",
        if few.min(many) >= LIMIT {
            ""
        } else {
            "   MISSED"
        }
    );
}
