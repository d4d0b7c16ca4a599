//! Where others may be: a source of endpoints, and the addresses of their names.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::shared::Shared;
use crate::clock;
use crate::discovery::{Discovery, Endpoint, Snapshot, caught};

/// Between two looks at a source that has nothing new: names may lead elsewhere.
const EVERY: Duration = Duration::from_secs(60);
/// Whoever is alone has it asked more often than that, and not more often than this.
const PAUSE: Duration = Duration::from_secs(1);
/// A name that is not found by then is none for now.
const PATIENCE: Duration = Duration::from_secs(5);
/// Names that are looked up at once, and in all.
const AT_ONCE: usize = 8;
const MOST: usize = 4_096;

/// Follows the source for ever.
pub(crate) async fn follow(mut source: Box<dyn Discovery>, shared: Arc<Shared>) {
    let mut is_ill = false;
    // Whoever asks again begins anew: a slow source has its time.
    let mut may_refresh = Instant::from_std(clock::now()) + PATIENCE;
    loop {
        let again = Instant::from_std(clock::now()) + EVERY;
        let wanted = async {
            sleep_until(may_refresh).await;
            shared.want_seeds.notified().await;
        };
        let next = tokio::select! {
            next = caught::next(&mut *source) => Some(next),
            () = wanted => None,
            () = sleep_until(again) => None,
        };
        match next {
            Some(Ok(snapshot)) => {
                if std::mem::take(&mut is_ill) {
                    tracing::info!(cluster = %shared.cluster, "the source of instances answers again");
                }
                let doors = addresses(&snapshot).await;
                shared.wish(|wishes| wishes.doors = Some(doors));
            }
            Some(Err(error)) => {
                // Once per outage.
                if !std::mem::replace(&mut is_ill, true) {
                    tracing::warn!(cluster = %shared.cluster, "other instances are not looked for: {error}");
                }
            }
            None => {
                may_refresh = Instant::from_std(clock::now()) + PATIENCE;
                if let Err(error) = caught::refresh(&mut *source) {
                    tracing::debug!(cluster = %shared.cluster, "{error}");
                }
            }
        }
        sleep(PAUSE).await;
    }
}

async fn addresses(snapshot: &Snapshot) -> Vec<SocketAddr> {
    let each = stream::iter(snapshot.endpoints().iter().take(MOST));
    let found: Vec<_> = each
        .map(looked_up)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    found.into_iter().flatten().take(MOST).collect()
}

async fn looked_up(endpoint: &Endpoint) -> Vec<SocketAddr> {
    if let Ok(ip) = endpoint.host.parse() {
        return vec![SocketAddr::new(ip, endpoint.port)];
    }
    let found = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port));
    match timeout(PATIENCE, found).await {
        Ok(Ok(found)) => found.collect(),
        // It is asked again with the next look; whoever is alone says so.
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}
