//! Jobs per second of one consumer: fluster's queue on one node and on three, plain `BLMOVE` with an `LREM` per job, and
//! apalis on redis. Servers are private, and sync every write (`appendfsync always`) or none, the same for all.
//!
//! `cargo run --release --manifest-path benches/peers/Cargo.toml --bin queue`

#![allow(
    unreachable_pub,
    dead_code,
    reason = "the servers of the tests are used here too"
)]

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use apalis::prelude::*;
use apalis_redis::{Config, RedisStorage};
use fluster::FlusterCluster;
use support::{Server, urls};

const ROUNDS: usize = 5;

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// One task: pop, acknowledge, again.
    One,
    /// 16 tasks of one consumer.
    Many,
    /// Acknowledged 32 at once.
    AckMany,
}

fn servers(n: usize, durable: bool) -> Vec<Server> {
    (0..n)
        .map(|_| match durable {
            true => Server::builder().durable().start(),
            false => Server::start(),
        })
        .collect()
}

/// Jobs per second of popping and acknowledging; pushing is done before.
async fn fluster(n: usize, durable: bool, jobs: usize, way: Way) -> f64 {
    let servers = servers(n, durable);
    let cluster = FlusterCluster::from_urls(urls(&servers)).expect("URLs");
    let queue = cluster.queue("bench");
    for result in queue.push_many((0..jobs).map(|n| n.to_string())).await {
        result.expect("pushed");
    }
    let consumer = Arc::new(queue.consumer("g", "w").expect("a consumer"));
    let began = Instant::now();
    let wait = Duration::from_secs(10);
    match way {
        Way::One => {
            for _ in 0..jobs {
                let job = consumer.pop(wait).await.expect("nodes").expect("a job");
                assert!(job.ack().await.expect("acked"));
            }
        }
        Way::Many => {
            let left = Arc::new(AtomicUsize::new(jobs));
            let tasks: Vec<_> = (0..16)
                .map(|_| {
                    let (consumer, left) = (Arc::clone(&consumer), Arc::clone(&left));
                    tokio::spawn(async move {
                        while left.load(SeqCst) > 0 {
                            let Some(job) = consumer
                                .pop(Duration::from_millis(20))
                                .await
                                .expect("nodes")
                            else {
                                continue;
                            };
                            assert!(job.ack().await.expect("acked"));
                            left.fetch_sub(1, SeqCst);
                        }
                    })
                })
                .collect();
            while left.load(SeqCst) > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let took = began.elapsed();
            for task in tasks {
                task.await.expect("no panic");
            }
            return jobs as f64 / took.as_secs_f64();
        }
        Way::AckMany => {
            let mut done = 0;
            while done < jobs {
                let mut some = vec![consumer.pop(wait).await.expect("nodes").expect("a job")];
                while some.len() < 32
                    && let Some(job) = consumer.pop(Duration::ZERO).await.expect("nodes")
                {
                    some.push(job);
                }
                done += some.len();
                for acked in consumer.ack_many(&some).await {
                    assert!(acked.expect("acked"));
                }
            }
        }
    }
    jobs as f64 / began.elapsed().as_secs_f64()
}

async fn pushes(n: usize, durable: bool, jobs: usize) -> f64 {
    let servers = servers(n, durable);
    let cluster = FlusterCluster::from_urls(urls(&servers)).expect("URLs");
    let queue = cluster.queue("bench");
    queue.push("warm").await.expect("pushed");
    let began = Instant::now();
    for n in 0..jobs {
        queue.push(n.to_string()).await.expect("pushed");
    }
    jobs as f64 / began.elapsed().as_secs_f64()
}

async fn lists(durable: bool, jobs: usize, push: bool) -> f64 {
    let servers = servers(1, durable);
    let client = redis::Client::open(servers[0].url()).expect("a URL");
    let config =
        redis::AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(5)));
    let mut own = client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .expect("connected");
    let mut pushing = Instant::now();
    if push {
        for n in 0..jobs {
            redis::cmd("LPUSH")
                .arg("jobs")
                .arg(n)
                .exec_async(&mut own)
                .await
                .expect("pushed");
        }
        return jobs as f64 / pushing.elapsed().as_secs_f64();
    }
    let all: Vec<String> = (0..jobs).map(|n| n.to_string()).collect();
    for some in all.chunks(500) {
        redis::cmd("LPUSH")
            .arg("jobs")
            .arg(some)
            .exec_async(&mut own)
            .await
            .expect("pushed");
    }
    pushing = Instant::now();
    for _ in 0..jobs {
        let job: Option<String> = redis::cmd("BLMOVE")
            .arg(&["jobs", "working", "RIGHT", "LEFT", "1"])
            .query_async(&mut own)
            .await
            .expect("popped");
        let job = job.expect("a job");
        redis::cmd("LREM")
            .arg("working")
            .arg(1)
            .arg(job)
            .exec_async(&mut own)
            .await
            .expect("acked");
    }
    jobs as f64 / pushing.elapsed().as_secs_f64()
}

/// As its documentation has it, on a connection of its own; from the start of the worker to the last job.
async fn apalis(durable: bool, jobs: usize) -> f64 {
    let servers = servers(1, durable);
    let connection = apalis_redis::connect(servers[0].url())
        .await
        .expect("connected");
    let mut storage = RedisStorage::new(connection).with_config(Config::default().queue("jobs"));
    for n in 0..jobs {
        storage.push(n.to_string()).await.expect("pushed");
    }
    let done = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&done);
    let work = move |_: String| {
        let count = Arc::clone(&count);
        async move {
            count.fetch_add(1, SeqCst);
        }
    };
    let began = Instant::now();
    let worker = WorkerBuilder::new("worker").backend(storage).build(work);
    let worker = tokio::spawn(worker.run());
    while done.load(SeqCst) < jobs {
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "{} of {jobs} done",
            done.load(SeqCst)
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let rate = jobs as f64 / began.elapsed().as_secs_f64();
    worker.abort();
    rate
}

fn median(list: &mut [f64]) -> f64 {
    list.sort_by(f64::total_cmp);
    list[list.len() / 2]
}

#[tokio::main]
async fn main() {
    for (durable, jobs) in [(false, 10_000), (true, 2_000)] {
        let names = [
            "BLMOVE + LREM, 1 server",
            "fluster, 1 node, one task",
            "fluster, 3 nodes, one task",
            "fluster, 1 node, 16 tasks",
            "fluster, 3 nodes, 16 tasks",
            "fluster, 1 node, ack_many(32)",
            "fluster, 3 nodes, ack_many(32)",
            "apalis-redis, 1 server",
            "LPUSH, one after the other",
            "fluster push, 1 node",
            "fluster push, 3 nodes",
        ];
        let mut rates = vec![Vec::new(); names.len()];
        for _ in 0..ROUNDS {
            let round = [
                lists(durable, jobs, false).await,
                fluster(1, durable, jobs, Way::One).await,
                fluster(3, durable, jobs, Way::One).await,
                fluster(1, durable, jobs, Way::Many).await,
                fluster(3, durable, jobs, Way::Many).await,
                fluster(1, durable, jobs, Way::AckMany).await,
                fluster(3, durable, jobs, Way::AckMany).await,
                apalis(durable, jobs.min(2_000)).await,
                lists(durable, jobs, true).await,
                pushes(1, durable, jobs).await,
                pushes(3, durable, jobs).await,
            ];
            rates
                .iter_mut()
                .zip(round)
                .for_each(|(list, rate)| list.push(rate));
        }
        println!(
            "\n{}: jobs per second, median of {ROUNDS} rounds; ratio to the first",
            match durable {
                true => "appendfsync always",
                false => "no persistence",
            }
        );
        let base = median(&mut rates[0]);
        for (name, list) in names.iter().zip(&mut rates) {
            let rate = median(list);
            println!("| {name} | {rate:.0} | {:.2} |", rate / base);
        }
    }
}
