//! What every scenario uses: a cluster under load, a record of every call, and what must hold.

mod criteria;
mod lateness;
mod site;
mod sockets;

use std::time::{Duration, Instant};

use fluster::{Event, FlusterCluster};
use parking_lot::Mutex;

pub use self::criteria::{Budget, slack};
pub use self::lateness::Lateness;
pub use self::site::Site;
pub use self::sockets::sockets_to;
use super::report;
use crate::support::{Server, eventually, eventually_some, urls};
use crate::workload::Watcher;
pub use crate::workload::{Call, Kind, Load, Record, SOON};

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Lets the load run for a while.
pub async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// How the scenario's cluster and its servers are to be judged.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The longest that one call may take, the 50 ms not included.
    pub deadline: Duration,
    /// Acknowledged ids are looked up on the servers at the end; not where data is lost on purpose.
    pub ids: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadline: ms(1_500),
            ids: true,
        }
    }
}

/// A running scenario.
pub struct Scene {
    /// The row of the table of faults and the name, as in `1 kill9_node`.
    title: &'static str,
    pub cluster: FlusterCluster,
    pub limits: Limits,
    ports: Vec<u16>,
    tasks: usize,
    sockets: usize,
    watch: Watcher,
    fault: Mutex<Option<Instant>>,
}

/// Begins the scenario `title` with a cluster of these servers.
pub async fn scene(title: &'static str, servers: &[Server]) -> Scene {
    let cluster = FlusterCluster::from_urls(urls(servers)).expect("valid URLs");
    Scene::begin(title, cluster).await
}

impl Scene {
    /// Begins the scenario `title` with a cluster that is up: every node is used once, and what that
    /// takes in tasks and sockets is what must be left in the end.
    pub async fn begin(title: &'static str, cluster: FlusterCluster) -> Self {
        let watch = Watcher::new(&cluster);
        let status = cluster.status();
        let ports: Vec<u16> = status
            .nodes
            .iter()
            .filter_map(|n| n.address.rsplit_once(':')?.1.parse().ok())
            .collect();
        // Any number of keys reaches all nodes sooner or later.
        for n in 0.. {
            if cluster.status().nodes.iter().all(|n| n.connected) {
                break;
            }
            assert!(n < 10_000, "{title}: a node is not reached at the start");
            let ping = redis::cmd("PING");
            cluster
                .run_with_key::<String>(format!("first:{n}"), &ping)
                .await
                .unwrap_or_else(|e| panic!("{title}: before the fault: {e}"));
        }
        Self {
            title,
            limits: Limits::default(),
            tasks: cluster.status().tasks,
            sockets: sockets_to(&ports),
            ports,
            watch,
            fault: Mutex::new(None),
            cluster,
        }
    }

    pub fn name(&self) -> &'static str {
        self.title
    }

    /// The load: 64 tasks that ask for tokens and store ids.
    pub fn load(&self) -> Load {
        Load::start(&self.cluster, Kind::Mixed)
    }

    pub fn load_of(&self, kind: Kind, tasks: usize) -> Load {
        Load::of(&self.cluster, kind, tasks)
    }

    /// Notes the moment at which the fault strikes, from which everything is counted, and injects it.
    pub fn strike<R>(&self, fault: impl FnOnce() -> R) -> Strike<R> {
        let began = Instant::now();
        self.fault.lock().get_or_insert(began);
        let result = fault();
        Strike {
            began,
            ended: Instant::now(),
            result,
        }
    }

    /// Waits until `node` is out, and says since when.
    pub async fn out(&self, node: &str, since: Instant) -> Instant {
        eventually_some(SOON, async || self.watch.down(node, since)).await
    }

    /// Waits until `node` is back, and says since when.
    pub async fn back(&self, node: &str, since: Instant) -> Instant {
        eventually_some(SOON, async || self.watch.up(node, since)).await
    }

    /// Waits until this many nodes admit traffic.
    pub async fn active(&self, nodes: usize) {
        eventually(SOON, || self.cluster.status().active() == nodes).await;
    }

    pub fn events(&self) -> Vec<(Instant, Event)> {
        self.watch.timed()
    }

    /// How often each node went out, all together.
    pub fn ejections(&self) -> u64 {
        self.cluster
            .status()
            .nodes
            .iter()
            .map(|n| n.ejections)
            .sum()
    }

    /// The dials and probes of `node` from now on.
    pub fn budget(&self, node: &str) -> Budget {
        Budget::start(&self.cluster, node)
    }

    /// A key whose owner is `node`.
    pub fn key_of(&self, node: &str) -> String {
        (0..)
            .map(|n| format!("own:{n}"))
            .find(|key| self.cluster.get_node(key).is_ok_and(|n| n == *node))
            .expect("there is no end of keys")
    }

    /// So many connections more may be left in the end: a pool was warmed up.
    pub fn let_be(mut self, connections: usize) -> Self {
        self.sockets += connections;
        self.tasks += connections;
        self
    }

    /// Ends the load and the scenario: what every scenario promises is checked, its line is written,
    /// the cluster is shut down.
    pub async fn end(self, load: Load, servers: &[Server]) -> Record {
        let record = load.stop().await;
        self.finish(record, servers).await
    }

    /// [`end`](Self::end) for a scenario that made its calls itself.
    pub async fn finish(self, record: Record, servers: &[Server]) -> Record {
        let title = self.title;
        criteria::right_and_in_time(title, &record, self.limits.deadline);
        if self.limits.ids {
            criteria::ids_are_there(title, &record, servers);
        }
        let fault = self.fault.lock().take();
        let line = report::line(title, &record, fault, &self.events());
        self.no_leak().await;
        report::write(&line);
        record
    }

    /// Tasks and sockets are back at what they were, and none is left after the shutdown.
    async fn no_leak(self) {
        let title = self.title;
        let began = Instant::now();
        loop {
            let (tasks, sockets) = (self.cluster.status().tasks, sockets_to(&self.ports));
            if tasks <= self.tasks + 2 && sockets <= self.sockets + 2 {
                break;
            }
            assert!(
                began.elapsed() < SOON,
                "{title}: {} tasks and {} sockets became {tasks} and {sockets}",
                self.tasks,
                self.sockets
            );
            pass(ms(10)).await;
        }
        self.cluster.shutdown(ms(500)).await;
        assert_eq!(
            self.cluster.status().tasks,
            0,
            "{title}: tasks after the shutdown"
        );
        eventually(SOON, || sockets_to(&self.ports) == 0).await;
    }
}

/// A fault that was injected.
pub struct Strike<R> {
    /// The moments before and after the injection.
    pub began: Instant,
    pub ended: Instant,
    pub result: R,
}
