//! A key on several nodes, and the cache on top of that.

mod cache;
mod invalidation;
mod metrics;
mod quorum;
mod reads;
mod repair;
mod stand_in;

use std::time::Duration;

use fluster::{ClusterBuilder, FlusterCluster, NodeId};

use crate::support::{Server, eventually, urls};
use crate::workload::SOON;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A cluster whose time-outs leave room for a busy machine.
fn patient(servers: &[Server]) -> ClusterBuilder {
    FlusterCluster::builder()
        .urls(urls(servers))
        .response_timeout(Duration::from_secs(5))
}

/// A key whose first two candidates are these, in this order.
fn key_on(cluster: &FlusterCluster, nodes: [&Server; 2]) -> String {
    let wanted = nodes.map(|server| NodeId::from(server.name()));
    let keys = (0..10_000).map(|i| format!("key:{i}"));
    let mut fitting = keys.filter(|key| cluster.replicas(key, 2).unwrap().nodes().eq(&wanted));
    fitting.next().expect("one of 10 000 keys")
}

/// Waits until the cluster has noticed how many of its nodes live.
async fn active(cluster: &FlusterCluster, nodes: usize) {
    eventually(SOON, || {
        // Nobody notices a silent death without traffic.
        let _ = cluster.status();
        cluster.status().active() == nodes
    })
    .await;
}

/// Kills the server and waits until the cluster knows.
async fn lose(cluster: &FlusterCluster, server: &Server) {
    let before = cluster.status().active();
    server.kill();
    let mut client = cluster
        .clients()
        .rounds(1)
        .map(Result::unwrap)
        .find(|c| *c.node() == *server.name())
        .expect("it was live");
    // Fails, which is how the cluster learns of it.
    let _: Result<(), _> = redis::cmd("PING").query_async(&mut client).await;
    active(cluster, before - 1).await;
}

async fn bring_back(cluster: &FlusterCluster, server: &Server) {
    let before = cluster.status().active();
    server.restart();
    active(cluster, before + 1).await;
}
