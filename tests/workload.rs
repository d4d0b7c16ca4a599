//! What many tests do to a cluster: 64 tasks that never stop asking, and a note of every answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fluster::{Error, ErrorKind, Event, FlusterCluster, NodeId, Outcome};
use parking_lot::Mutex;
use redis::RedisError;
use tokio::task::JoinHandle;

/// More than anything here needs, on a busy machine; a wait this long ends in a failure.
pub const SOON: Duration = Duration::from_secs(20);

const TASKS: usize = 64;
const THINK: Duration = Duration::from_millis(5);

/// One command that was sent, or refused.
#[derive(Clone, Debug)]
pub struct Try {
    pub began: Instant,
    pub ended: Instant,
    /// The node that was asked; `None` when there was none, or the cluster chose.
    pub node: Option<NodeId>,
    pub failure: Option<(ErrorKind, Outcome)>,
    /// Whether it is the second try of a call.
    pub second: bool,
}

impl Try {
    pub fn took(&self) -> Duration {
        self.ended - self.began
    }

    pub fn failed(&self) -> bool {
        self.failure.is_some()
    }

    pub fn is_at(&self, node: &str) -> bool {
        self.node.as_ref().is_some_and(|n| n == node)
    }

    /// Whether any part of it fell between `from` and `to`.
    pub fn overlaps(&self, from: Instant, to: Instant) -> bool {
        self.began <= to && self.ended >= from
    }
}

/// What each task does, over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `get_client(key)`, ECHO of a unique token; on an error once more, as the original's callers.
    Echo,
    /// `run_with_key`, GET of a key whose value is its name.
    Read,
}

/// A running workload.
pub struct Load {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Vec<Try>>>,
}

impl Load {
    pub fn start(cluster: &FlusterCluster, kind: Kind) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = (0..TASKS)
            .map(|task| {
                let worker = Worker {
                    cluster: cluster.clone(),
                    tries: Vec::new(),
                };
                tokio::spawn(worker.run(task, kind, Arc::clone(&stop)))
            })
            .collect();
        Self { stop, tasks }
    }

    /// Every try so far, in the order of their beginnings. A wrong answer has ended the task with a
    /// panic, which ends the test here.
    pub async fn stop(self) -> Vec<Try> {
        self.stop.store(true, Relaxed);
        let mut tries = Vec::new();
        for task in self.tasks {
            tries.extend(task.await.expect("no task panics: every answer was right"));
        }
        tries.sort_by_key(|t| t.began);
        tries
    }
}

struct Worker {
    cluster: FlusterCluster,
    tries: Vec<Try>,
}

impl Worker {
    async fn run(mut self, task: usize, kind: Kind, stop: Arc<AtomicBool>) -> Vec<Try> {
        for n in 0.. {
            if stop.load(Relaxed) {
                break;
            }
            let key = key(task * 31 + n);
            match kind {
                Kind::Echo => {
                    let token = format!("{task}-{n}");
                    if !self.echo(&key, &token, false).await {
                        self.echo(&key, &token, true).await;
                    }
                }
                Kind::Read => self.read(&key).await,
            }
            tokio::time::sleep(THINK).await;
        }
        self.tries
    }

    async fn echo(&mut self, key: &str, token: &str, second: bool) -> bool {
        let began = Instant::now();
        let (node, result) = match self.cluster.get_client(key) {
            Err(empty) => (None, Err(RedisError::from(empty))),
            Ok(mut client) => {
                let result = redis::cmd("ECHO")
                    .arg(token)
                    .query_async::<String>(&mut client)
                    .await;
                (Some(client.node().clone()), result)
            }
        };
        let failure = match result {
            Ok(echo) => {
                assert_eq!(echo, token, "somebody else's reply");
                None
            }
            Err(e) => {
                let error = Error::from_redis(&e).unwrap_or_else(|| panic!("not ours: {e}"));
                Some((error.kind(), error.outcome()))
            }
        };
        self.note(began, node, failure, second);
        failure.is_none()
    }

    async fn read(&mut self, key: &str) {
        let began = Instant::now();
        let cmd = redis::Cmd::get(key);
        let failure = match self.cluster.run_with_key::<String>(key, &cmd).await {
            Ok(value) => {
                assert_eq!(value, key, "somebody else's reply");
                None
            }
            Err(e) => Some((e.kind(), e.outcome())),
        };
        self.note(began, None, failure, false);
    }

    fn note(
        &mut self,
        began: Instant,
        node: Option<NodeId>,
        failure: Option<(ErrorKind, Outcome)>,
        second: bool,
    ) {
        let ended = Instant::now();
        self.tries.push(Try {
            began,
            ended,
            node,
            failure,
            second,
        });
    }
}

const KEYS: usize = 500;

/// One of the keys that the workload uses.
pub fn key(n: usize) -> String {
    format!("key:{}", n % KEYS)
}

/// All of them, each followed by its value, as MSET takes them.
pub fn keys_and_values() -> impl Iterator<Item = String> {
    (0..KEYS).flat_map(|n| [key(n), key(n)])
}

/// The events of a cluster, each with the time it was seen.
pub struct Watcher {
    seen: Arc<Mutex<Vec<(Instant, Event)>>>,
    task: JoinHandle<()>,
}

impl Watcher {
    pub fn new(cluster: &FlusterCluster) -> Self {
        let mut events = cluster.events();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Some(event) = events.next().await {
                noted.lock().push((Instant::now(), event));
            }
        });
        Self { seen, task }
    }

    pub fn events(&self) -> Vec<Event> {
        self.seen.lock().iter().map(|(_, e)| e.clone()).collect()
    }

    /// When `node` went out for the first time at or after `since`.
    pub fn down(&self, node: &str, since: Instant) -> Option<Instant> {
        self.first(
            since,
            |e| matches!(e, Event::NodeDown { node: n, .. } if *n == *node),
        )
    }

    /// When `node` was back for the first time at or after `since`.
    pub fn up(&self, node: &str, since: Instant) -> Option<Instant> {
        self.first(
            since,
            |e| matches!(e, Event::NodeUp { node: n, .. } if *n == *node),
        )
    }

    fn first(&self, since: Instant, is_it: impl Fn(&Event) -> bool) -> Option<Instant> {
        let seen = self.seen.lock();
        seen.iter()
            .find(|(at, event)| *at >= since && is_it(event))
            .map(|(at, _)| *at)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

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
