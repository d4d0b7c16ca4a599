//! Three sentinels, six servers, a load: each master goes in another way, and its replica takes over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fluster::{Event, FlusterCluster, Node};
use parking_lot::Mutex;
use redis::AsyncCommands;

use crate::support::{Pair, Sentinel, Server, Watched, eventually, wait_until};
use crate::workload::SOON;

/// How long a new master may stay unserved once the sentinels name it, on a noisy machine; the guide has what it takes.
const SERVED: Duration = Duration::from_secs(10);
const NAMES: [&str; 3] = ["killed", "stopped", "planned"];

/// A write that was answered with OK.
struct Write {
    key: String,
    began: Instant,
    ended: Instant,
}

/// What writes to each of the nodes, one after the other, each a key of its own.
struct Load {
    written: [Arc<Mutex<Vec<Write>>>; 3],
    over: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(cluster: &FlusterCluster) -> Self {
        let over = Arc::<AtomicBool>::default();
        let written = std::array::from_fn(|_| Arc::default());
        let next = Arc::<AtomicU64>::default();
        let mut tasks = Vec::new();
        for (name, notes) in NAMES.iter().zip(&written) {
            for _ in 0..4 {
                let (cluster, over, next) = (cluster.clone(), Arc::clone(&over), Arc::clone(&next));
                let notes: Arc<Mutex<Vec<Write>>> = Arc::clone(notes);
                tasks.push(tokio::spawn(async move {
                    while !over.load(Relaxed) {
                        let key = format!("w:{}", next.fetch_add(1, Relaxed));
                        let began = Instant::now();
                        // While it is out there is none.
                        let set = async {
                            let mut client = cluster.get_client_of_node(name).ok()?;
                            client.set::<_, _, ()>(&key, 1).await.ok()
                        };
                        if set.await.is_some() {
                            let ended = Instant::now();
                            notes.lock().push(Write { key, began, ended });
                        }
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                }));
            }
        }
        Self {
            written,
            over,
            tasks,
        }
    }

    /// The keys of writes to node `n` that began after `at`.
    fn since(&self, n: usize, at: Instant) -> Vec<String> {
        let written = self.written[n].lock();
        let since = written.iter().filter(|write| write.began > at);
        since.map(|write| write.key.clone()).collect()
    }

    /// The end of the first write to node `n` that began after `at`.
    fn first_since(&self, n: usize, at: Instant) -> Option<Instant> {
        let written = self.written[n].lock();
        let ended = written.iter().filter(|write| write.began > at);
        ended.map(|write| write.ended).min()
    }

    async fn end(self) {
        self.over.store(true, Relaxed);
        for task in self.tasks {
            task.await.expect("a writer");
        }
    }
}

/// How many of the keys are there; `None` once it is a replica, which has what its master has.
fn count_at_master(server: &Server, keys: &[String]) -> Option<u64> {
    let began = Instant::now();
    loop {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "{} is gone",
            server.name()
        );
        let both = || {
            let mut raw = server.connect()?;
            raw.call(["MULTI"])?;
            raw.call(["ROLE"])?;
            raw.call(std::iter::once("EXISTS").chain(keys.iter().map(String::as_str)))?;
            raw.call(["EXEC"])
        };
        // The sentinels end all connections of one that they make a replica.
        let Ok(both) = both() else { continue };
        let both = both.to_string();
        let count = both.lines().last().expect("a number");
        let count = count.parse().expect("a number");
        return both.starts_with("master").then_some(count);
    }
}

/// When some sentinel first names this port as that of the master.
fn switched(sentinels: &[Sentinel], name: &str, port: u16) -> Instant {
    wait_until(Duration::from_secs(60), || {
        sentinels.iter().any(|s| s.master(name) == Some(port))
    });
    Instant::now()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_master_is_served_at_once_and_the_old_one_is_written_to_no_more() {
    let pairs = NAMES.map(|_| Pair::start());
    let watched: Vec<_> = NAMES
        .iter()
        .zip(&pairs)
        .map(|(name, pair)| Watched::new(name, &pair.master))
        .collect();
    let sentinels = Sentinel::three(&watched);
    let nodes = NAMES.map(|name| {
        let hosts = sentinels.iter().map(Sentinel::name);
        Node::sentinel(name, hosts).unwrap()
    });
    let cluster = FlusterCluster::builder().nodes(nodes).build().unwrap();
    let owners: Vec<_> = (0..100)
        .map(|k| cluster.get_node(format!("{k}")).ok())
        .collect();
    // When each is known to be elsewhere.
    let known = Arc::<Mutex<[Option<Instant>; 3]>>::default();
    let mut events = cluster.events();
    let notes = Arc::clone(&known);
    let watching = tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if let Event::AddressChanged { node, .. } = event {
                let at = NAMES
                    .iter()
                    .position(|name| node == **name)
                    .expect("a node");
                notes.lock()[at] = Some(Instant::now());
            }
        }
    });
    let load = Load::start(&cluster);
    let began = Instant::now();
    eventually(SOON, || (0..3).all(|n| load.since(n, began).len() > 50)).await;

    for (n, (name, pair)) in NAMES.iter().zip(&pairs).enumerate() {
        let gone = Instant::now();
        match n {
            0 => pair.master.kill(),
            1 => pair.master.stop(),
            _ => {
                // The replica of a master that is overwhelmed may be unfit for a moment.
                wait_until(Duration::from_secs(60), || {
                    let said: Option<String> = sentinels[0].ask(&["SENTINEL", "FAILOVER", name]);
                    said.as_deref() == Some("OK")
                });
            }
        }
        let port = pair.replica.port();
        let switch = tokio::task::block_in_place(|| switched(&sentinels, name, port));
        eventually(SERVED, || known.lock()[n].is_some_and(|at| at > gone)).await;
        let known_at = Instant::now();
        eventually(SERVED, || load.first_since(n, known_at).is_some()).await;
        let served = load.first_since(n, known_at).expect("one is");
        println!(
            "{name}: switched {:?} after the fault, known {:?} later, served {:?} after the switch",
            switch - gone,
            known_at.saturating_duration_since(switch),
            served.saturating_duration_since(switch)
        );
        match n {
            0 => pair.master.restart(),
            1 => pair.master.cont(),
            _ => {}
        }
        // As long as it believes itself a master it has nothing of what was written since the switch was known.
        let demoted = Instant::now();
        let mut looks = 0;
        loop {
            let keys = load.since(n, known_at);
            let found = tokio::task::block_in_place(|| count_at_master(&pair.master, &keys));
            match found {
                Some(found) => assert_eq!(found, 0, "of {} writes since it was known", keys.len()),
                None => break,
            }
            looks += 1;
            assert!(
                demoted.elapsed() < Duration::from_secs(60),
                "it stays a master"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("{name}: {looks} looks at the old master while it was one");
        // All that was acknowledged since is at the new one.
        let keys = load.since(n, known_at);
        assert!(!keys.is_empty(), "there was something to lose");
        let found = tokio::task::block_in_place(|| count_at_master(&pair.replica, &keys));
        assert_eq!(
            found,
            Some(keys.len() as u64),
            "acknowledged, and not there"
        );
        assert_eq!(
            cluster.status().node(name).expect("a node").address,
            pair.replica.name()
        );
    }
    load.end().await;
    watching.abort();
    eventually(SOON, || cluster.status().active() == 3).await;
    let back: Vec<_> = (0..100)
        .map(|k| cluster.get_node(format!("{k}")).ok())
        .collect();
    assert_eq!(owners, back, "names keep their keys");
}
