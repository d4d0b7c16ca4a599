//! Servers and workers are killed all the time, and every acknowledged push is processed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::rig::{SOON, ms};
use super::worker::{Done, PREFETCH, TASKS, Worker, micros, queue_of};
use crate::support::{Server, urls};

const WORKERS: usize = 4;
const PRODUCERS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_push_is_processed_whoever_is_killed() {
    chaos(3_000, ms(700), seed(5)).await;
}

/// `QUEUE_CHAOS_SEED` repeats a run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute: make soak"]
async fn every_one_of_ten_thousand_is_processed_whoever_is_killed() {
    chaos(10_000, ms(1_000), seed(fastrand::u64(..))).await;
}

fn seed(default: u64) -> u64 {
    let given = std::env::var("QUEUE_CHAOS_SEED").ok();
    given.and_then(|s| s.parse().ok()).unwrap_or(default)
}

async fn chaos(jobs: usize, every: Duration, seed: u64) {
    println!("queue chaos: seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let servers: [Server; 3] = std::array::from_fn(|_| Server::builder().durable().start());
    let all_urls = urls(&servers).join(",");
    let done = Arc::<Mutex<Vec<Done>>>::default();
    let mut workers: Vec<Worker> = (0..WORKERS)
        .map(|_| Worker::start(&all_urls, &done))
        .collect();
    let cluster = super::worker::cluster_of(&all_urls);
    let queue = queue_of(&cluster);
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move {
                let (mut acked, mut copies, mut failed) = (Vec::new(), 0, 0);
                while acked.len() < jobs / PRODUCERS {
                    match queue.push(micros().to_string()).await {
                        Ok(receipt) => {
                            acked.push(receipt.id().to_string());
                            copies += usize::from(receipt.may_be_twice());
                        }
                        // Not acknowledged: pushed again as another job.
                        Err(_) => failed += 1,
                    }
                    tokio::time::sleep(ms(8)).await;
                }
                (acked, copies, failed)
            })
        })
        .collect();
    let (mut killed_servers, mut killed_workers) = (0, 0);
    while producers.iter().any(|p| !p.is_finished()) {
        tokio::time::sleep(every.mul_f64(0.5 + random.f64())).await;
        if random.bool() {
            let victim = &servers[random.usize(..3)];
            victim.kill();
            killed_servers += 1;
            tokio::time::sleep(ms(random.u64(50..400))).await;
            tokio::task::block_in_place(|| victim.restart());
        } else {
            let n = random.usize(..WORKERS);
            workers[n] = Worker::start(&all_urls, &done);
            killed_workers += 1;
        }
    }
    let (mut acked, mut copies, mut failed) = (BTreeSet::new(), 0, 0);
    for producer in producers {
        let (ids, twice, errors) = producer.await.unwrap();
        acked.extend(ids);
        copies += twice;
        failed += errors;
    }
    let began = Instant::now();
    loop {
        let seen: BTreeSet<String> = done.lock().iter().map(|d| d.id.clone()).collect();
        let lost: Vec<_> = acked.iter().filter(|id| !seen.contains(*id)).collect();
        if lost.is_empty() && queue.len().await.is_ok_and(|n| n == 0) {
            break;
        }
        assert!(
            began.elapsed() < 2 * SOON,
            "seed {seed}: {} of {} acknowledged jobs are lost; left: {:?}",
            lost.len(),
            acked.len(),
            queue.depths().await
        );
        tokio::time::sleep(ms(50)).await;
    }
    drop(workers);
    let done = std::mem::take(&mut *done.lock());
    let distinct: BTreeSet<&str> = done.iter().map(|d| &*d.id).collect();
    let repeated = done.len() - distinct.len();
    // What is in flight when one of them dies: all that a worker holds of three nodes, or all that the workers
    // hold of one node and the producers are pushing to it.
    let of_worker = 3 * 2 * PREFETCH + TASKS;
    let of_server = WORKERS * (2 * PREFETCH + TASKS) + PRODUCERS;
    let bound = killed_workers * of_worker + killed_servers * of_server;
    let mut took: Vec<u64> = done.iter().map(|d| d.took).collect();
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize] as f64 / 1e3;
    let mut nodes = BTreeMap::<&str, usize>::new();
    done.iter()
        .for_each(|d| *nodes.entry(&d.node).or_default() += 1);
    println!(
        "queue chaos: {} jobs acknowledged ({failed} pushes failed, {copies} may be twice), 0 lost, {repeated} repeated \
         (at most {bound}) over {killed_servers} killed servers and {killed_workers} killed workers; from push to done \
         p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms; per node {:?}",
        acked.len(),
        at(0.5),
        at(0.99),
        at(1.0),
        nodes.values().collect::<Vec<_>>()
    );
    assert!(
        killed_servers > 0 && killed_workers > 0,
        "seed {seed} kills only one kind"
    );
    assert!(
        repeated <= bound,
        "seed {seed}: {repeated} repeated, at most {bound}"
    );
    let fair = done.len() / 3 / 3;
    assert!(
        nodes.len() == 3 && nodes.values().all(|n| *n > fair),
        "seed {seed}: {nodes:?}"
    );
}
