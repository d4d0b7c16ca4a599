//! What a few scenarios need beside the rig: dials of a second cluster, what reads ask for,
//! callers that give up.

use std::task::Poll;
use std::time::{Duration, Instant};

use fluster::{FlusterCluster, NodeStatus};

use super::rig::{ms, pass};
use crate::support::Server;
use crate::workload::keys_and_values;

pub(super) fn status_of(cluster: &FlusterCluster, node: &str) -> NodeStatus {
    let status = cluster.status();
    status.node(node).expect("a node of the cluster").clone()
}

/// A key whose owner is `node`, while all nodes are in.
pub(super) fn key_of(cluster: &FlusterCluster, node: &str) -> String {
    (0..)
        .map(|n| format!("own:{n}"))
        .find(|key| cluster.get_node(key).is_ok_and(|n| n == *node))
        .expect("there is no end of keys")
}

/// The dials and probes of one node, from a moment on.
pub(super) struct Dials {
    cluster: FlusterCluster,
    node: String,
    before: (u64, u64),
    since: Instant,
}

impl Dials {
    pub(super) fn count(cluster: &FlusterCluster, node: &str) -> Self {
        let now = status_of(cluster, node);
        Self {
            cluster: cluster.clone(),
            node: node.to_owned(),
            before: (now.dials, now.probes),
            since: Instant::now(),
        }
    }

    /// Dials for callers, and probes.
    pub(super) fn spent(&self) -> (u64, u64) {
        let now = status_of(&self.cluster, &self.node);
        (now.dials - self.before.0, now.probes - self.before.1)
    }

    /// Waits for the end of the first second and holds it to its share: 4 dials for callers, 5 probes.
    pub(super) async fn first_second(&self, title: &str) {
        pass(ms(1_000).saturating_sub(self.since.elapsed())).await;
        let seconds = self.since.elapsed().as_secs();
        let (dials, probes) = self.spent();
        assert!(
            dials <= 4 && probes <= 4 + seconds,
            "{title}: {dials} dials for callers and {probes} probes of {} in the first second",
            self.node
        );
    }
}

/// Stores what [`Kind::Get`](super::rig::Kind) asks for.
pub(super) fn fill(server: &Server) {
    server.raw(std::iter::once("MSET".to_owned()).chain(keys_and_values()));
}

/// Polls `future` so often at most; some polls follow at once, others when something has happened.
pub(super) async fn give_up_after<T>(polls: u32, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut left = polls;
    std::future::poll_fn(|cx| {
        let polled = future.as_mut().poll(cx);
        match polled {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => {
                left -= 1;
                if left.is_multiple_of(2) {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
        }
    })
    .await
}

/// The response time-out.
pub(super) const T: Duration = Duration::from_millis(500);

/// The memory of this process, in kilobytes.
pub(super) fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}

/// What the environment says, or `default`.
pub(super) fn word(name: &str, default: &str) -> String {
    let text = std::env::var(name).unwrap_or_default();
    match text.trim() {
        "" => default.to_owned(),
        text => text.to_owned(),
    }
}

/// The number that the environment says, or `default`.
pub(super) fn number(name: &str, default: u64) -> u64 {
    let text = word(name, "");
    match &*text {
        "" => default,
        text => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
    }
}
