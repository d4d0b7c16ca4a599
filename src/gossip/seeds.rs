//! Where others may be: a source of endpoints, and the addresses of their names.

use std::collections::BTreeMap;
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
/// After each look, so that a source that always has something new does not keep us busy.
const PAUSE: Duration = Duration::from_secs(1);
/// A name that is not found by then is none for now. Also what a source has for its answer: whoever is alone has it
/// asked again, not more often than this.
const PATIENCE: Duration = Duration::from_secs(5);
/// Names that are looked up at once, and in all.
const AT_ONCE: usize = 8;
const MOST: usize = 4_096;

/// Follows the source for ever.
pub(crate) async fn follow(mut source: Box<dyn Discovery>, shared: Arc<Shared>) {
    let mut is_ill = false;
    let mut found = BTreeMap::new();
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
                let doors = addresses(&snapshot, &mut found).await;
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

/// What each name led to when it was last found.
type Found = BTreeMap<(String, u16), Vec<SocketAddr>>;

async fn addresses(snapshot: &Snapshot, found: &mut Found) -> Vec<SocketAddr> {
    let each = stream::iter(snapshot.endpoints().iter().take(MOST));
    let looked: Vec<_> = each
        .map(looked_up)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let before = std::mem::take(found);
    for (name, addresses) in looked {
        // A resolver that does not answer takes nobody away whom it named before.
        if let Some(addresses) = addresses.or_else(|| before.get(&name).cloned()) {
            found.insert(name, addresses);
        }
    }
    found.values().flatten().copied().take(MOST).collect()
}

/// `None` when the name cannot be looked up.
async fn looked_up(endpoint: &Endpoint) -> ((String, u16), Option<Vec<SocketAddr>>) {
    let name = (endpoint.host.clone(), endpoint.port);
    if let Ok(ip) = endpoint.host.parse() {
        return (name, Some(vec![SocketAddr::new(ip, endpoint.port)]));
    }
    let found = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port));
    let found = match timeout(PATIENCE, found).await {
        Ok(Ok(found)) => Some(found.take(MOST).collect()),
        // It is asked again with the next look; whoever is alone says so.
        Ok(Err(_)) | Err(_) => None,
    };
    (name, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_is_not_found_leads_where_it_led_before() {
        let there = SocketAddr::from(([10, 0, 0, 1], 7));
        let name = Endpoint::new("no-such-name.invalid", 7);
        let other = Endpoint::new("10.0.0.2", 7);
        let snapshot = [name, other].into_iter().collect::<Snapshot>();
        let old = ("old.invalid".to_owned(), 7);
        let known = ("no-such-name.invalid".to_owned(), 7);
        let mut found = Found::from([(known.clone(), vec![there]), (old, vec![there])]);
        let mut doors = addresses(&snapshot, &mut found).await;
        doors.sort_unstable();
        assert_eq!(doors, [there, SocketAddr::from(([10, 0, 0, 2], 7))]);
        assert!(found.contains_key(&known) && found.len() == 2, "{found:?}");
    }
}
