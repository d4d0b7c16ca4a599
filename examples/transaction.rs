//! Moves money between accounts: a transaction that watches them, and begins anew when another one was faster.
//!
//! `REDIS_URLS=redis://10.0.0.1,redis://10.0.0.2 cargo run --example transaction`

use fluster::{Error, FlusterCluster};
use redis::AsyncCommands;

// One hash tag: keys of a transaction have to be on one server.
const ACCOUNTS: [&str; 2] = ["{bank}:ann", "{bank}:bob"];

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let urls = std::env::var("REDIS_URLS").unwrap_or("redis://127.0.0.1:6379".into());
    let cluster = FlusterCluster::from_urls(urls.split(','))?;
    let () = cluster
        .clone()
        .mset(&[(ACCOUNTS[0], 100), (ACCOUNTS[1], 0)])
        .await?;

    // Four at once, which get into each other's way.
    let moves = (0..4).map(|_| {
        let cluster = cluster.clone();
        tokio::spawn(async move { transfer(&cluster, 30).await })
    });
    for moved in moves.collect::<Vec<_>>() {
        match moved.await?? {
            true => println!("moved 30"),
            false => println!("not enough left"),
        }
    }
    let left: Vec<i64> = cluster.run(redis::cmd("MGET").arg(&ACCOUNTS)).await?;
    println!("ann has {}, bob has {}", left[0], left[1]);
    Ok(())
}

/// Whether the amount was there to be moved.
async fn transfer(cluster: &FlusterCluster, amount: i64) -> Result<bool, Error> {
    let [from, to] = ACCOUNTS;
    let left: Vec<i64> = cluster
        .transaction(ACCOUNTS, move |mut own, mut pipe| async move {
            let balance: i64 = own.get(from).await?;
            // With nothing to do it still says whether what was read holds.
            if balance >= amount {
                pipe.decr(from, amount).incr(to, amount).ignore();
            }
            Ok((own, pipe))
        })
        .await?;
    Ok(!left.is_empty())
}
