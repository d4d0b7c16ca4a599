//! At most five requests a minute for each user, counted on the server that has the user's key.
//!
//! `REDIS_URLS=redis://10.0.0.1,redis://10.0.0.2 cargo run --example rate_limit`

use std::time::{SystemTime, UNIX_EPOCH};

use fluster::FlusterCluster;
use redis::RedisResult;

const LIMIT: u64 = 5;
const WINDOW: u64 = 60;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let urls = std::env::var("REDIS_URLS").unwrap_or("redis://127.0.0.1:6379".into());
    let cluster = FlusterCluster::from_urls(urls.split(','))?;
    for request in 1..=7 {
        match allows(&cluster, "ann").await {
            true => println!("request {request}: allowed"),
            false => println!("request {request}: come back within {WINDOW} s"),
        }
    }
    Ok(())
}

/// Whether the user may do one thing more in this window.
async fn allows(cluster: &FlusterCluster, user: &str) -> bool {
    match count(cluster, user).await {
        Ok(count) => count <= LIMIT,
        // No server can tell. A limit that nobody can look up is better not held than held against all.
        Err(e) => {
            eprintln!("not limited: {e}");
            true
        }
    }
}

/// Counts one more, and says how many there were in this window.
async fn count(cluster: &FlusterCluster, user: &str) -> RedisResult<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let window = now.unwrap_or_default().as_secs() / WINDOW;
    let key = format!("rate:{user}:{window}");
    // One transaction on the key's server: a counter without an end would stay for ever. It is not sent twice
    // when its answer is lost, since it may have counted.
    let (count,): (u64,) = redis::pipe()
        .atomic()
        .incr(&key, 1)
        .expire(&key, WINDOW as i64)
        .ignore()
        .query_async(&mut cluster.clone())
        .await?;
    Ok(count)
}
