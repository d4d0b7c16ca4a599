//! A thousand pages, read again and again while another process changes them: how many reads the network sees.
//!
//! `REDIS_URLS=redis://10.0.0.1,redis://10.0.0.2 cargo run --release --features near,testing --example near`; without it,
//! three private servers are started.

use std::error::Error;
use std::time::{Duration, Instant};

use fluster::FlusterCluster;
use fluster::cache::{Cache, Near};
use fluster::testing::{Server, urls};

const PAGES: usize = 1000;
const READS: usize = 20_000;
const MINUTE: Duration = Duration::from_secs(60);

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
    let (ours, theirs) = (
        FlusterCluster::from_urls(urls.clone())?,
        FlusterCluster::from_urls(urls)?,
    );
    let plain: Cache<String> = ours.cache("page:").raw()?;
    let near: Cache<String> = ours.cache("page:").near(Near::default()).raw()?;
    // It has connections of its own, like another process.
    let writer: Cache<String> = theirs.cache("page:").raw()?;
    let pages = (0..PAGES).map(|i| (i.to_string(), format!("page {i}, version 0")));
    for written in writer.set_many(pages, MINUTE).await {
        written?;
    }

    println!(
        "{:>8} {:>8} {:>10} {:>10} {:>10}",
        "cache", "writes", "hits", "median", "p99"
    );
    for (name, cache) in [("plain", &plain), ("near", &near)] {
        for one_in in [0, 100, 20] {
            let hits = || cache.near_status().map_or(0, |status| status.hits);
            let before = hits();
            let mut took = Vec::with_capacity(READS);
            for i in 0..READS {
                // Some pages are read far more often than others.
                let page = ((PAGES as f64).powf(fastrand::f64()) as usize - 1).to_string();
                if one_in > 0 && i % one_in == 0 {
                    let text = format!("page {page}, version {i}");
                    writer.set(&page, &text, MINUTE).await?;
                }
                let began = Instant::now();
                let read = cache.get(&page).await?;
                took.push(began.elapsed());
                assert!(read.is_some(), "it was written");
            }
            took.sort_unstable();
            let share = 100.0 * (hits() - before) as f64 / READS as f64;
            let writes = match one_in {
                0 => 0,
                one_in => 100 / one_in,
            };
            println!(
                "{name:>8} {writes:>6} % {share:>8.1} % {:>10.1?} {:>10.1?}",
                took[READS / 2],
                took[READS * 99 / 100]
            );
        }
    }
    if let Some(status) = near.near_status() {
        println!(
            "{} entries, {} bytes; {} keys were told of",
            status.entries, status.bytes, status.told
        );
    }
    Ok(())
}
