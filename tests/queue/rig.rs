//! What the tests of the queue share.

use std::collections::BTreeMap;
use std::time::Duration;

use fluster::FlusterCluster;
use fluster::queue::{Consumer, Delivery, Queue};

use crate::support::{Server, urls};

/// More than anything here needs.
pub const SOON: Duration = Duration::from_secs(20);

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn cluster_of(servers: &[Server]) -> FlusterCluster {
    FlusterCluster::from_urls(urls(servers)).expect("valid URLs")
}

pub fn text(delivery: &Delivery) -> String {
    String::from_utf8_lossy(delivery.payload()).into_owned()
}

/// The next delivery, which must come.
#[track_caller]
pub fn next(consumer: &Consumer) -> impl Future<Output = Delivery> {
    let caller = std::panic::Location::caller();
    async move {
        match consumer.pop(SOON).await {
            Ok(Some(delivery)) => delivery,
            other => panic!("{caller}: {other:?}"),
        }
    }
}

/// Everything that comes until nothing has come for `quiet`, acknowledged: how often each payload came.
pub async fn drain(consumer: &Consumer, quiet: Duration) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    while let Some(delivery) = consumer.pop(quiet).await.expect("nodes that can be read") {
        *seen.entry(text(&delivery)).or_default() += 1;
        assert!(delivery.ack().await.expect("a node that lives"));
    }
    seen
}

/// The stream of a queue on a server.
pub fn stream_of(queue: &Queue) -> String {
    format!("fluster:{{{}}}:stream", queue.name())
}

pub fn xlen(server: &Server, key: &str) -> u64 {
    server.raw(["XLEN", key]).parse().expect("a number")
}

/// A consumer whose process is gone: its tasks end without a word to the servers.
pub fn die(cluster: FlusterCluster, consumer: Consumer) {
    // A shutdown ends the tasks, and what the drop would do meets a closed cluster.
    futures_util::future::FutureExt::now_or_never(cluster.shutdown(Duration::ZERO));
    drop(consumer);
}

/// How often a server was given a command.
pub fn calls(server: &Server, command: &str) -> u64 {
    let stats = server.raw(["INFO", "commandstats"]);
    let start = format!("cmdstat_{command}:calls=");
    let count = stats.lines().find_map(|line| {
        let (count, _) = line.strip_prefix(&start)?.split_once(',')?;
        count.parse().ok()
    });
    count.unwrap_or_default()
}
