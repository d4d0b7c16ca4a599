//! What an application does all day: reads values through a cache, writes them, tries again when a
//! connection fails. And counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use fluster::{Client, Error, FlusterCluster, NodeId};
use redis::{AsyncCommands, Cmd, FromRedisValue, RedisError};
use tokio::task::JoinSet;

pub const KEYS: usize = 2000;
pub const TASKS: usize = 32;
/// Each task rests for this long between two operations.
const PACE: Duration = Duration::from_millis(5);
/// One try, and two more when the connection fails.
const TRIES: usize = 3;
/// On servers that are not ours, what a killed demo leaves behind goes away by itself.
const TTL_SECONDS: u64 = 60;

/// What the application saw.
#[derive(Default)]
pub struct Tally {
    pub nodes: BTreeMap<NodeId, Served>,
    pub reads: AtomicU64,
    pub misses: AtomicU64,
    pub writes: AtomicU64,
    /// Errors with which the command certainly was not executed.
    pub not_sent: AtomicU64,
    /// Errors after which nobody knows.
    pub unknown: AtomicU64,
    /// "All nodes are out".
    pub empty: AtomicU64,
    /// Operations that were given up.
    pub failed: AtomicU64,
    /// Values that belong to another key.
    pub wrong: AtomicU64,
}

/// How many keys one node served, one per visit.
#[derive(Default)]
pub struct Served {
    pub own: AtomicU64,
    pub stand_in: AtomicU64,
}

impl Tally {
    pub fn errors(&self) -> u64 {
        self.not_sent.load(Relaxed) + self.unknown.load(Relaxed) + self.empty.load(Relaxed)
    }

    pub fn operations(&self) -> u64 {
        self.reads.load(Relaxed) + self.writes.load(Relaxed)
    }

    /// How often the node has served a key of its own so far.
    pub fn own(&self, node: &NodeId) -> u64 {
        self.nodes
            .get(node)
            .map_or(0, |served| served.own.load(Relaxed))
    }

    fn served_by(&self, client: &Client) {
        let Some(served) = self.nodes.get(client.node()) else {
            return;
        };
        let count = if client.is_stand_in() {
            &served.stand_in
        } else {
            &served.own
        };
        count.fetch_add(1, Relaxed);
    }

    fn failed_with(&self, e: &RedisError) {
        let safe = Error::from_redis(e).is_some_and(|e| e.outcome().is_safe_to_repeat());
        let count = if safe { &self.not_sent } else { &self.unknown };
        count.fetch_add(1, Relaxed);
    }
}

pub struct Workload {
    pub keys: Arc<[String]>,
    tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Workload {
    pub fn start(cluster: &FlusterCluster) -> Self {
        let nodes = cluster.status().nodes;
        let tally = Arc::new(Tally {
            nodes: nodes
                .into_iter()
                .map(|n| (n.name, Served::default()))
                .collect(),
            ..Tally::default()
        });
        // The process id keeps two demos on the same servers apart.
        let pid = std::process::id();
        let keys: Arc<[String]> = (0..KEYS)
            .map(|i| format!("fluster-demo:{pid}:{i}"))
            .collect();
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for _ in 0..TASKS {
            let (cluster, tally) = (cluster.clone(), Arc::clone(&tally));
            let (keys, stop) = (Arc::clone(&keys), Arc::clone(&stop));
            tasks.spawn(async move {
                while !stop.load(Relaxed) {
                    let key = &keys[fastrand::usize(..keys.len())];
                    let write = fastrand::u8(..10) == 0;
                    visit(&cluster, &tally, key, write).await;
                    tokio::time::sleep(PACE).await;
                }
            });
        }
        Self {
            keys,
            tally,
            stop,
            tasks,
        }
    }

    pub fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Ends the tasks and, on servers that stay, removes the keys.
    pub async fn stop(mut self, cluster: &FlusterCluster, clean_up: bool) -> Arc<Tally> {
        self.stop.store(true, Relaxed);
        // Each is at most a few time-outs from its end.
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(Duration::from_secs(5), ended)
            .await
            .is_err()
        {
            self.tasks.shutdown().await;
        }
        if clean_up {
            for mut client in cluster.clients().rounds(1).flatten() {
                for some in self.keys.chunks(500) {
                    if let Err(e) = client.unlink::<_, ()>(some).await {
                        eprintln!("{e}: the demo's keys expire within {TTL_SECONDS} s there");
                        break;
                    }
                }
            }
        }
        self.tally
    }
}

/// Reads a value, and writes it when it is not there: a server that stands in, or that came back
/// empty, does not have it.
async fn visit(cluster: &FlusterCluster, tally: &Tally, key: &str, write: bool) {
    let mut served_by = None;
    let mut missing = false;
    if !write {
        let read = repeat::<Option<String>>(cluster, tally, key, &Cmd::get(key)).await;
        tally.reads.fetch_add(1, Relaxed);
        if let Some((client, value)) = read {
            missing = value.is_none();
            let wrong = value.is_some_and(|value| value != value_of(key));
            tally.misses.fetch_add(u64::from(missing), Relaxed);
            tally.wrong.fetch_add(u64::from(wrong), Relaxed);
            served_by = Some(client);
        }
    }
    if write || missing {
        let set = Cmd::set_ex(key, value_of(key), TTL_SECONDS);
        let done = repeat::<()>(cluster, tally, key, &set).await;
        tally.writes.fetch_add(1, Relaxed);
        served_by = done.map(|(client, ())| client);
    }
    if let Some(client) = served_by {
        tally.served_by(&client);
    }
}

fn value_of(key: &str) -> String {
    format!("the value of {key}")
}

/// The original's loop: when the connection fails, ask the cluster for a client again.
///
/// Here that is always safe: reading twice, or setting the same value twice, does no harm.
async fn repeat<T: FromRedisValue>(
    cluster: &FlusterCluster,
    tally: &Tally,
    key: &str,
    cmd: &Cmd,
) -> Option<(Client, T)> {
    for _ in 0..TRIES {
        match cluster.get_client(key) {
            Ok(mut client) => match cmd.query_async(&mut client).await {
                Ok(value) => return Some((client, value)),
                Err(e) => tally.failed_with(&e),
            },
            Err(empty) => {
                tally.empty.fetch_add(1, Relaxed);
                tokio::time::sleep(empty.retry_after().max(PACE)).await;
            }
        }
    }
    tally.failed.fetch_add(1, Relaxed);
    None
}
