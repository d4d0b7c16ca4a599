//! What an operator does now and then: give a server more of the keys, or less.

use fluster::{FlusterCluster, Node};
use tokio_util::sync::CancellationToken;

use crate::Tasks;
use crate::settings::Settings;
use crate::traffic::pace;

/// Starts who changes the last server's weight from 1 to 2 and back, once per `REWEIGH_SECONDS`.
pub fn start(
    tasks: &mut Tasks,
    cluster: &FlusterCluster,
    settings: &Settings,
    stop: &CancellationToken,
) {
    let Some(period) = settings.reweigh else {
        return;
    };
    let (cluster, urls, stop) = (cluster.clone(), settings.redis_urls.clone(), stop.clone());
    tasks.spawn(async move {
        let mut tick = pace(period);
        // The first tick is at once.
        tick.tick().await;
        let mut weight = 1;
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            weight = 3 - weight;
            let last = urls.len() - 1;
            let node = |(n, url): (usize, &String)| {
                Node::new(url).map(|node| node.weight(if n == last { weight } else { 1 }))
            };
            let nodes = urls
                .iter()
                .enumerate()
                .map(node)
                .collect::<Result<Vec<_>, _>>()?;
            let change = cluster.set_nodes(nodes)?;
            tracing::info!(
                weight,
                moved = change.moved,
                "the last server has another weight"
            );
        }
        Ok(())
    });
}
