//! Pages that are costly to make, cached on two servers each.
//!
//! `REDIS_URLS=redis://10.0.0.1,redis://10.0.0.2,redis://10.0.0.3 cargo run --features serde --example cache`

use std::time::{Duration, Instant};

use fluster::FlusterCluster;
use fluster::cache::JsonCache;
use fluster::replication::{HedgeAfter, ReadFrom};
use serde::{Deserialize, Serialize};

const FIVE_MINUTES: Duration = Duration::from_secs(300);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Page {
    title: String,
    words: usize,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let urls = std::env::var("REDIS_URLS").unwrap_or("redis://127.0.0.1:6379".into());
    let cluster = FlusterCluster::from_urls(urls.split(','))?;
    let copies = urls.split(',').count().min(2);

    let pages: JsonCache<Page> = cluster
        .cache("page:")
        .replicas(copies)
        // When the first server is slower than usual, the second one is asked as well.
        .read_from(ReadFrom::Hedged {
            after: HedgeAfter::P95,
        })
        .json()?;

    // Eight visitors at once: the page is rendered once.
    let began = Instant::now();
    let visitors = (0..8).map(|_| {
        let pages = pages.clone();
        tokio::spawn(async move {
            pages
                .get_or_compute("home", FIVE_MINUTES, || render("home"))
                .await
        })
    });
    for visitor in visitors.collect::<Vec<_>>() {
        println!("{:?} after {:?}", visitor.await??, began.elapsed());
    }

    // The page changed: no server may give the old one. What could not be reached is said.
    let deletion = pages.delete("home").await;
    for (node, why) in deletion.unreached() {
        eprintln!("{node} may still have it: {why}");
    }
    println!(
        "deleted on {:?}; left: {:?}",
        deletion.reached().collect::<Vec<_>>(),
        pages.get("home").await?
    );
    Ok(())
}

async fn render(title: &str) -> Result<Page, std::io::Error> {
    println!("rendering {title}");
    tokio::time::sleep(Duration::from_millis(200)).await;
    Ok(Page {
        title: title.into(),
        words: 1200,
    })
}
