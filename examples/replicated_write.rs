//! A value on three servers: written when a majority has it, read as the newest of a majority.
//!
//! `REDIS_URLS=redis://10.0.0.1,redis://10.0.0.2,redis://10.0.0.3 cargo run --example replicated_write`

use fluster::replication::{Quorum, ReadFrom};
use fluster::{FlusterCluster, Outcome};
use redis::Value;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let urls = std::env::var("REDIS_URLS")?;
    let cluster = FlusterCluster::from_urls(urls.split(','))?;
    let n = urls.split(',').count();

    // The value says how old it is: the servers do not know of each other.
    let mut set = redis::cmd("SET");
    set.arg("config").arg("7:blue");

    let replicas = cluster.replicas("config", n)?;
    match replicas.write(&set, Quorum::Majority).await {
        Ok(acks) => println!(
            "on {:?}; under way to {:?}; failed: {:?}",
            acks.nodes().collect::<Vec<_>>(),
            acks.pending(),
            acks.failed()
        ),
        // Nothing was written anywhere: try again at leisure.
        Err(e) if e.outcome() == Outcome::NotSent => return Err(e.into()),
        // Some servers have it. It stays there, and a later write replaces it.
        Err(e) => eprintln!("only on {:?}: {e}", e.acks().nodes().collect::<Vec<_>>()),
    }

    let newest = ReadFrom::majority(|a, b| version(a).cmp(&version(b)));
    let config: Option<String> = cluster
        .replicas("config", n)?
        .read(redis::cmd("GET").arg("config"), newest)
        .await?;
    println!("config is {config:?}");
    Ok(())
}

/// The number in front of the colon.
fn version(value: &Value) -> u64 {
    let Value::BulkString(bytes) = value else {
        return 0;
    };
    let text = String::from_utf8_lossy(bytes);
    let number = text.split(':').next().and_then(|n| n.parse().ok());
    number.unwrap_or(0)
}
