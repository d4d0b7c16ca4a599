//! Counts the visits of a user, on whichever server has that user's key.
//!
//! `REDIS_URLS=redis://10.0.0.1,redis://10.0.0.2 cargo run --example quickstart`

use fluster::FlusterCluster;
use redis::{AsyncCommands, RedisError, RedisResult};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let urls = std::env::var("REDIS_URLS").unwrap_or("redis://127.0.0.1:6379".into());
    // No I/O yet; a server that is down now is no error.
    let cluster = FlusterCluster::from_urls(urls.split(','))?;

    let visits = visit(&cluster, "user:42").await?;
    println!(
        "visit {visits}, counted by {}",
        cluster.get_node("user:42")?
    );

    // Every live node once, in turn. One that died just now is found out by asking it.
    for client in cluster.clients().rounds(1) {
        let mut client = client?;
        match redis::cmd("DBSIZE").query_async::<u64>(&mut client).await {
            Ok(keys) => println!("{} has {keys} keys", client.node()),
            Err(e) => eprintln!("not counted: {e}"),
        }
    }
    Ok(())
}

/// Adds one visit; when the key's server dies meanwhile, at the server that stands in for it.
async fn visit(cluster: &FlusterCluster, user: &str) -> RedisResult<u64> {
    let mut tries = 0;
    loop {
        // The owner of the key, or its stand-in while the owner is out. An error: all nodes are out.
        let mut client = cluster.get_client(user)?;
        tries += 1;
        match client.incr(user, 1).await {
            // The connection failed, not the command: ask for a client again. This is not always
            // safe. With `e.outcome() == Outcome::MaybeExecuted` the first server may have counted
            // the visit, so it may be counted twice. Where that matters, repeat only what
            // `e.outcome().is_safe_to_repeat()` allows.
            Err(e) if tries < 3 && is_connection_error(&e) => eprintln!("trying again: {e}"),
            result => return result,
        }
    }
}

fn is_connection_error(e: &RedisError) -> bool {
    fluster::Error::from_redis(e).is_some_and(|e| e.is_connection_error())
}
