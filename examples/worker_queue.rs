//! Pushes jobs to a queue over all servers, and works on them with four workers.
//!
//! `REDIS_URLS=redis://10.0.0.1,redis://10.0.0.2 cargo run --features testing --example worker_queue`; without it, three private
//! servers are started.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fluster::FlusterCluster;
use fluster::queue::Consumer;

use fluster::testing::{Server, urls};

const JOBS: usize = 1_000;
const WORKERS: usize = 4;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let given = std::env::var("REDIS_URLS").unwrap_or_default();
    let servers: Vec<Server> = match given.is_empty() {
        true => (0..3)
            .map(|_| Server::builder().try_start())
            .collect::<Result<_, _>>()?,
        false => Vec::new(),
    };
    let urls: Vec<String> = match given.is_empty() {
        true => urls(&servers),
        false => given.split(',').map(str::to_owned).collect(),
    };
    let cluster = FlusterCluster::from_urls(urls)?;
    let queue = cluster.queue("example").max_attempts(3);
    queue.purge().await?;

    let began = Instant::now();
    for result in queue.push_many((0..JOBS).map(|n| format!("job {n}"))).await {
        result?;
    }
    queue
        .push_at(Duration::from_secs(1), "a job for later")
        .await?;
    queue.push("a job that cannot be done").await?;
    println!("{} jobs pushed in {:?}", JOBS + 2, began.elapsed());

    let done = Arc::new(AtomicUsize::new(0));
    let consumer = Arc::new(queue.consumer("workers", "example")?);
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| tokio::spawn(work(Arc::clone(&consumer), Arc::clone(&done))))
        .collect();
    while done.load(Relaxed) < JOBS + 1 || !queue.is_empty().await? {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!(
        "{} jobs done after {:?}",
        done.load(Relaxed),
        began.elapsed()
    );

    for letter in queue.dead().list(10).await? {
        let job = String::from_utf8_lossy(letter.payload());
        println!("dead: {job:?} on {}: {}", letter.node(), letter.reason());
        queue.dead().discard(&letter).await?;
    }
    workers.iter().for_each(|worker| worker.abort());
    for worker in workers {
        // Aborted, which is its end; a job it was at would be delivered again.
        drop(worker.await);
    }
    if let Some(consumer) = Arc::into_inner(consumer) {
        consumer.close().await;
    }
    Ok(())
}

async fn work(consumer: Arc<Consumer>, done: Arc<AtomicUsize>) {
    loop {
        let result = match consumer.pop(Duration::from_secs(5)).await {
            Ok(Some(job)) if job.payload().ends_with(b"cannot be done") => {
                // Three times, and then it is a dead letter.
                job.nack(Duration::ZERO).await
            }
            Ok(Some(job)) => job.ack().await.inspect(|_| {
                done.fetch_add(1, Relaxed);
            }),
            Ok(None) => continue,
            Err(e) => Err(e),
        };
        if let Err(e) = result {
            eprintln!("{e}; trying again");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
