//! What the tests of the queue share.

use std::collections::BTreeMap;
use std::time::Duration;

use fluster::{Consumer, Delivery, FlusterCluster, Queue};

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
