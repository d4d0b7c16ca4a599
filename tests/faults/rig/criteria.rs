//! What must hold in every scenario, beyond right replies in time.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use fluster::FlusterCluster;

use crate::support::{Reply, Server};
use crate::workload::{Call, LISTS, Record};

/// A limit in time: three times as much in `make test`, exact in `make soak`.
pub fn slack(limit: Duration) -> Duration {
    match std::env::var_os("FLUSTER_EXACT_TIMES") {
        Some(_) => limit,
        None => 3 * limit,
    }
}

/// No reply is somebody else's, and no call took longer than `deadline`.
pub(super) fn right_and_in_time(title: &str, record: &Record, deadline: Duration) {
    assert!(
        record.wrong.is_empty(),
        "{title}: {} wrong replies, such as {}",
        record.wrong.len(),
        record.wrong[0]
    );
    let limit = deadline + slack(Duration::from_millis(50));
    let took = record.calls.iter().map(Call::took);
    assert_eq!(
        took.filter(|took| *took > limit).count(),
        0,
        "{title}: calls longer than {limit:?}, up to {:?}",
        record.longest()
    );
}

/// Every id that a server acknowledged is on one of the servers.
pub(super) fn ids_are_there(title: &str, record: &Record, servers: &[Server]) {
    let mut found = HashSet::new();
    for server in servers {
        let mut raw = server.connect().expect("the server is up in the end");
        let mut texts = |args: &[&str]| match raw.call(args).expect("it answers") {
            Reply::Array(items) => items.iter().map(ToString::to_string).collect::<Vec<_>>(),
            other => panic!("{title}: {args:?} gives {other}"),
        };
        for list in texts(&["KEYS", &format!("{LISTS}*")]) {
            found.extend(texts(&["LRANGE", &list, "0", "-1"]));
        }
    }
    let lost: Vec<_> = record
        .ids
        .iter()
        .filter(|id| !found.contains(*id))
        .collect();
    assert!(
        lost.is_empty(),
        "{title}: {} of {} acknowledged ids are lost, such as {}",
        lost.len(),
        record.ids.len(),
        lost[0]
    );
}

/// What a dead node is dialled: what was being dialled at its ejection (4 at most) and 5 probes in
/// the first second, then one probe a second.
pub struct Budget {
    cluster: FlusterCluster,
    node: String,
    began: Instant,
    before: (u64, u64),
    first_second: Option<(u64, u64)>,
}

impl Budget {
    pub(super) fn start(cluster: &FlusterCluster, node: &str) -> Self {
        let mut budget = Self {
            cluster: cluster.clone(),
            node: node.to_owned(),
            began: Instant::now(),
            before: (0, 0),
            first_second: None,
        };
        budget.before = budget.now();
        budget
    }

    /// Dials for callers and probes so far.
    pub fn now(&self) -> (u64, u64) {
        let status = self.cluster.status();
        let node = status.node(&self.node).expect("a node of the cluster");
        (node.dials, node.probes)
    }

    /// Since the start: dials for callers and probes.
    pub fn spent(&self) -> (u64, u64) {
        let now = self.now();
        (now.0 - self.before.0, now.1 - self.before.1)
    }

    /// Waits for the end of the first second and holds it to its share.
    pub async fn first_second(&mut self, title: &str) {
        let left = Duration::from_secs(1).saturating_sub(self.began.elapsed());
        tokio::time::sleep(left).await;
        let late = self.began.elapsed();
        let (dials, probes) = self.spent();
        assert!(
            dials <= 4,
            "{title}: {dials} dials for callers of {}",
            self.node
        );
        // One more for each second by which a busy machine is late.
        let probes_allowed = 5 + late.as_secs() - 1;
        assert!(
            probes <= probes_allowed,
            "{title}: {probes} probes in {late:?}"
        );
        self.first_second = Some((dials, probes));
        self.began = Instant::now();
    }

    /// Holds the time since the first second to its share: nobody dials for callers, one probe a
    /// second.
    pub fn rest(&self, title: &str) {
        let (dials, probes) = self.spent();
        let (dials_before, probes_before) = self.first_second.expect("the first second is over");
        let allowed = self.began.elapsed().as_secs_f64().ceil() as u64;
        assert_eq!(
            dials, dials_before,
            "{title}: callers dial a node that is out"
        );
        assert!(
            probes - probes_before <= allowed,
            "{title}: {} probes in {:?}",
            probes - probes_before,
            self.began.elapsed()
        );
    }
}
