//! apalis, a published job queue that only asks for a redis-rs connection, on a fluster cluster: every
//! queue lives on one node, queues are spread over all of them.
//!
//! `REDIS_URLS=redis://10.0.0.1,redis://10.0.0.2 cargo run --manifest-path examples/apalis/Cargo.toml`

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use apalis::prelude::*;
use apalis_redis::{Config, RedisStorage};
use fluster::FlusterCluster;
use serde::{Deserialize, Serialize};

const QUEUES: usize = 6;
const EMAILS: usize = 20;

#[derive(Debug, Deserialize, Serialize)]
struct Email {
    to: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let urls = std::env::var("REDIS_URLS").unwrap_or("redis://127.0.0.1:6379".into());
    let cluster = FlusterCluster::from_urls(urls.split(','))?;
    let sent = Arc::new(AtomicUsize::new(0));
    let mut workers = Vec::new();
    for n in 0..QUEUES {
        // apalis uses several keys at once: the hash tag keeps those of a queue on one node.
        let queue = format!("{{emails:{n}}}");
        println!("{queue} is on {}", cluster.get_node(&queue)?);
        let config = Config::default().queue(&queue);
        let mut storage = RedisStorage::new(cluster.clone()).with_config(config);
        for email in 0..EMAILS {
            let to = format!("{email}@example.com");
            storage.push(Email { to }).await?;
        }
        let sent = Arc::clone(&sent);
        let send = move |email: Email| {
            let sent = Arc::clone(&sent);
            async move {
                assert!(email.to.ends_with("@example.com"));
                sent.fetch_add(1, SeqCst);
            }
        };
        let worker = WorkerBuilder::new(format!("worker-{n}"))
            .backend(storage)
            .build(send);
        workers.push(tokio::spawn(worker.run()));
    }
    while sent.load(SeqCst) < QUEUES * EMAILS {
        if workers.iter().any(|w| w.is_finished()) {
            return Err("a worker ended early".into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("{} emails sent by {QUEUES} workers", sent.load(SeqCst));
    for worker in workers {
        worker.abort();
    }
    Ok(())
}
