//! What tests do to a cluster: tasks that never stop asking, a note of every call, and of every event
//! beside them.

mod load;
mod watch;

use std::collections::HashMap;
use std::time::Duration;

use fluster::{FlusterCluster, NodeId};

pub use self::load::{Call, Kind, LISTS, Load, Record, key, keys_and_values};
pub use self::watch::Watcher;

/// More than anything here needs, on a busy machine; a wait this long ends in a failure.
pub const SOON: Duration = Duration::from_secs(20);

/// Which node serves each of 10 000 keys now.
pub fn map_of(cluster: &FlusterCluster) -> HashMap<String, NodeId> {
    (0..10_000)
        .map(|i| {
            let key = format!("user:{i}");
            let node = cluster.get_node(&key).expect("a live node");
            (key, node)
        })
        .collect()
}

/// How many dials for callers and how many probes a node has seen.
pub fn contacts(cluster: &FlusterCluster, node: &str) -> (u64, u64) {
    let status = cluster.status();
    let node = status.node(node).expect("a node of the cluster");
    (node.dials, node.probes)
}
