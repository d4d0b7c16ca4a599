//! The original's way to queue: a plain list on every server, pushed to and popped from in turn. `BLMOVE` keeps what is
//! being worked on in a second list, so that a worker that dies loses nothing.
//!
//! `REDIS_URLS=redis://10.0.0.1,redis://10.0.0.2 cargo run --features testing --example worker_lists`; without it, three private
//! servers are started.

use std::error::Error;

use fluster::{Client, FlusterCluster};
use redis::{AsyncCommands, RedisResult};

use fluster::testing::{Server, urls};

const JOBS: usize = 30;

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

    // Each live node in turn; one that fails is passed over.
    let mut clients = cluster.clients();
    let mut pushed = 0;
    while pushed < JOBS {
        let Some(client) = clients.next() else { break };
        match client?
            .lpush::<_, _, u64>("example:jobs", format!("job {pushed}"))
            .await
        {
            Ok(_) => pushed += 1,
            Err(e) => eprintln!("passed over: {e}"),
        }
    }

    let mut done = 0;
    while done < JOBS {
        // One round over the nodes; each is asked for what it has.
        for client in cluster.clients().rounds(1) {
            let client = client?;
            match next_job(&client).await {
                Ok(Some(job)) => {
                    println!("{job} from {}", client.node());
                    done += 1;
                    finish(&client, &job).await?;
                }
                Ok(None) => {}
                Err(e) => eprintln!("passed over: {e}"),
            }
        }
    }
    Ok(())
}

/// Waits a second at most, over a connection of its own: others are not held up.
async fn next_job(client: &Client) -> RedisResult<Option<String>> {
    let mut own = client.dedicated().await?;
    redis::cmd("BLMOVE")
        .arg(&["example:jobs", "example:working", "RIGHT", "LEFT", "1"])
        .query_async(&mut own)
        .await
}

/// Off the list of what is being worked on. What stays there was a dead worker's, and is to be moved back by hand.
async fn finish(client: &Client, job: &str) -> RedisResult<()> {
    client.clone().lrem("example:working", 1, job).await
}
