//! Pages that are costly to make, cached on two servers each.

use std::convert::Infallible;
use std::time::Duration;

use fluster::{BuildError, FlusterCluster};
use fluster::cache::Cache;
use fluster::replication::{HedgeAfter, ReadFrom};
use tokio_util::sync::CancellationToken;

use crate::Tasks;
use crate::export::{announce, saw};
use crate::settings::Settings;
use crate::traffic::pace;

const PAGES: u32 = 500;
/// So short that pages are made again all the time.
const TTL: Duration = Duration::from_secs(30);
const VISITORS: u32 = 8;

/// Starts visitors that ask for `PAGES_RATE` pages per second together; some pages are much more popular.
///
/// # Errors
///
/// Never, for a cluster with a node.
pub fn start(
    tasks: &mut Tasks,
    cluster: &FlusterCluster,
    settings: &Settings,
    stop: &CancellationToken,
) -> Result<(), BuildError> {
    announce("page");
    let pages: Cache<String> = cluster
        .cache("demo:page:")
        .replicas(settings.redis_urls.len().min(2))
        // When the first server is slower than usual, the second one is asked as well.
        .read_from(ReadFrom::Hedged {
            after: HedgeAfter::P95,
        })
        .raw()?;
    let period = Duration::from_secs(1) * VISITORS / settings.pages_rate;
    for _ in 0..VISITORS {
        let (pages, stop) = (pages.clone(), stop.clone());
        tasks.spawn(async move {
            tokio::time::sleep(period.mul_f64(fastrand::f64())).await;
            let mut tick = pace(period);
            while stop.run_until_cancelled(tick.tick()).await.is_some() {
                let page = (PAGES as f32 * fastrand::f32().powi(3)) as u32;
                let page = pages
                    .get_or_compute(page.to_string(), TTL, || render(page))
                    .await;
                saw("page", &page);
            }
            Ok(())
        });
    }
    Ok(())
}

async fn render(page: u32) -> Result<String, Infallible> {
    tokio::time::sleep(Duration::from_millis(20)).await;
    Ok(format!("page {page}\n").repeat(100))
}
