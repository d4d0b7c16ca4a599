//! What a few scenarios need beside the rig: dials of a second cluster, reads that a server must be
//! ready for, callers that give up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::time::{Duration, Instant};

use fluster::{FlusterCluster, NodeStatus};
use redis::RedisError;
use tokio::task::JoinHandle;

use super::rig::{Record, ms, pass};
use crate::support::Server;

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

/// How many keys [`fill`] stores.
const KEYS: usize = 500;

fn value_of(key: &str) -> String {
    format!("value of {key}")
}

/// Stores what [`Readers`] ask for.
pub(super) fn fill(server: &Server) {
    let pairs = (0..KEYS).flat_map(|n| {
        let key = format!("key:{n}");
        [key.clone(), value_of(&key)]
    });
    server.raw(std::iter::once("MSET".to_owned()).chain(pairs));
}

/// 64 tasks that GET what is there: ECHO is answered also by a server that does not serve.
pub(super) struct Readers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Record>>,
}

impl Readers {
    pub(super) fn start(cluster: &FlusterCluster) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let tasks = (0..64).map(|task| {
            let (cluster, stop) = (cluster.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut record = Record::default();
                for n in 0.. {
                    if stop.load(Relaxed) {
                        break;
                    }
                    let key = format!("key:{}", (task * 31 + n) % KEYS);
                    read(&cluster, &key, &mut record).await;
                    pass(ms(5)).await;
                }
                record
            })
        });
        Self {
            tasks: tasks.collect(),
            stop,
        }
    }

    pub(super) async fn stop(self) -> Record {
        self.stop.store(true, Relaxed);
        let mut all = Record::default();
        for task in self.tasks {
            add(&mut all, task.await.expect("no reader panics"));
        }
        all.calls.sort_by_key(|c| c.began);
        all
    }
}

async fn read(cluster: &FlusterCluster, key: &str, record: &mut Record) {
    let began = Instant::now();
    let (node, result) = match cluster.get_client(key) {
        Err(empty) => (None, Err(RedisError::from(empty))),
        Ok(mut client) => {
            let node = client.node().clone();
            let get = redis::cmd("GET").arg(key).to_owned();
            (
                Some(node),
                get.query_async::<Option<String>>(&mut client).await,
            )
        }
    };
    record.note(began, node, &result);
    if let Ok(value) = result
        && value.as_deref() != Some(&value_of(key))
    {
        record.wrong.push(format!("{value:?} for {key}"));
    }
}

/// Adds one record to another.
pub(super) fn add(all: &mut Record, more: Record) {
    all.calls.extend(more.calls);
    all.wrong.extend(more.wrong);
    all.ids.extend(more.ids);
    for (text, n) in more.texts {
        *all.texts.entry(text).or_default() += n;
    }
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
