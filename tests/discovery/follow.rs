//! The driver between a source and a cluster, in paused time: no server, no socket.

use std::time::Duration;

use fluster::discovery::{
    self, Discovery, DiscoveryError, DiscoveryErrorKind, EmptyPolicy, Endpoint, Follow,
    NextSnapshot, Snapshot, Static,
};
use fluster::{BuildError, FlusterCluster, Node};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::observability::Recorded;

pub(super) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A source that says what it is told to, and notes when it is asked.
pub(super) struct Told {
    says: mpsc::UnboundedReceiver<Result<Snapshot, DiscoveryError>>,
    last: Option<Snapshot>,
    refreshed: mpsc::UnboundedSender<Instant>,
    again: bool,
}

pub(super) struct Teller {
    pub(super) says: mpsc::UnboundedSender<Result<Snapshot, DiscoveryError>>,
    refreshed: mpsc::UnboundedReceiver<Instant>,
}

pub(super) fn told() -> (Teller, Told) {
    let (says, says_rx) = mpsc::unbounded_channel();
    let (refreshed, refreshed_rx) = mpsc::unbounded_channel();
    let teller = Teller {
        says,
        refreshed: refreshed_rx,
    };
    let source = Told {
        says: says_rx,
        last: None,
        refreshed,
        again: false,
    };
    (teller, source)
}

impl Teller {
    pub(super) fn say(&self, ports: &[u16]) {
        self.says.send(Ok(of(ports))).unwrap();
    }

    pub(super) fn fail(&self) {
        let kind = DiscoveryErrorKind::Unreachable;
        self.says
            .send(Err(DiscoveryError::new(kind, "told", "gone")))
            .unwrap();
    }
}

fn of(ports: &[u16]) -> Snapshot {
    ports
        .iter()
        .map(|port| Endpoint::new("127.0.0.1", *port))
        .collect()
}

impl Discovery for Told {
    fn source(&self) -> String {
        "told".into()
    }

    fn next(&mut self) -> NextSnapshot<'_> {
        Box::pin(async {
            if std::mem::take(&mut self.again) {
                return Ok(self.last.clone().expect("it was asked before"));
            }
            let Some(said) = self.says.recv().await else {
                return std::future::pending().await;
            };
            let snapshot = said?;
            self.last = Some(snapshot.clone());
            Ok(snapshot)
        })
    }

    fn refresh(&mut self) {
        self.again = self.last.is_some();
        self.refreshed.send(Instant::now()).unwrap();
    }
}

pub(super) fn cluster() -> FlusterCluster {
    FlusterCluster::from_urls(["redis://127.0.0.1:1"]).unwrap()
}

pub(super) fn ports(cluster: &FlusterCluster) -> Vec<u16> {
    let status = cluster.status();
    let nodes = status.nodes.iter();
    nodes
        .map(|n| n.address.rsplit(':').next().unwrap().parse().unwrap())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn the_first_answer_is_applied_at_once_and_later_ones_are_collected() {
    let (teller, source) = told();
    let cluster = cluster();
    let following = cluster.follow(source).unwrap();
    sleep(ms(3_000)).await;
    assert_eq!(ports(&cluster), [1], "until the source has answered");
    assert_eq!(following.age(), ms(3_000));
    let asked = Instant::now();
    teller.say(&[2, 3, 4]);
    following.ready().await;
    assert_eq!((ports(&cluster), asked.elapsed()), (vec![2, 3, 4], ms(0)));
    teller.say(&[2, 3, 4, 5]);
    sleep(ms(100)).await;
    teller.say(&[2, 3, 4, 6]);
    sleep(ms(99)).await;
    assert_eq!(ports(&cluster), [2, 3, 4], "changes are collected");
    sleep(ms(2)).await;
    assert_eq!(ports(&cluster), [2, 3, 4, 6]);
    assert_eq!(following.snapshot(), of(&[2, 3, 4, 6]));
}

#[tokio::test(start_paused = true)]
async fn errors_hangs_and_nothing_at_all_change_nothing() {
    for policy in [EmptyPolicy::KeepLast, EmptyPolicy::Error] {
        let (teller, source) = told();
        let cluster = cluster();
        let follow = Follow::new().empty(policy);
        let following = cluster.follow_with(source, follow).unwrap();
        teller.say(&[2, 3]);
        following.ready().await;
        teller.say(&[]);
        for _ in 0..5 {
            teller.fail();
        }
        sleep(ms(100)).await;
        assert!(policy == EmptyPolicy::KeepLast || following.last_error().is_some());
        sleep(ms(100_000)).await;
        assert_eq!(ports(&cluster), [2, 3]);
        assert!(following.age() > ms(99_000), "{:?}", following.age());
        let error = following.last_error().unwrap();
        assert_eq!(error.to_string(), "told: gone");
        teller.say(&[2, 3, 4]);
        sleep(ms(31_000)).await;
        assert_eq!(ports(&cluster), [2, 3, 4], "it answers again");
        assert!(following.last_error().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_is_asked_with_growing_pauses() {
    let (teller, source) = told();
    let began = Instant::now();
    for _ in 0..20 {
        teller.fail();
    }
    teller.say(&[2]);
    let mut all = Box::pin(discovery::snapshots(source));
    let mut waits = Vec::new();
    let mut last = began;
    while all.next().await.unwrap().is_err() {
        waits.push(last.elapsed());
        last = Instant::now();
    }
    waits.push(last.elapsed());
    // Before the first attempt there is no wait; each later one is in the upper half of its step.
    assert_eq!(waits[0], ms(0));
    for (n, wait) in waits[1..].iter().enumerate() {
        let step = ms(400 << n.min(10)).min(ms(30_000));
        assert!((step / 2..=step + ms(2)).contains(wait), "{n}: {wait:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn losing_more_than_half_is_looked_at_again_before_it_is_believed() {
    let (mut teller, source) = told();
    let cluster = cluster();
    let following = cluster.follow(source).unwrap();
    teller.say(&[2, 3, 4, 5]);
    following.ready().await;
    let said = Instant::now();
    teller.say(&[5]);
    sleep(ms(4_990)).await;
    assert_eq!(ports(&cluster), [2, 3, 4, 5]);
    sleep(ms(20)).await;
    assert_eq!(ports(&cluster), [5], "it was true");
    teller.refreshed.recv().await.expect("at the beginning");
    let asked = teller.refreshed.recv().await.unwrap();
    assert!(asked - said >= ms(5_000), "{:?}", asked - said);
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_its_guard_and_with_the_cluster() {
    let (teller, source) = told();
    let cluster = cluster();
    let following = cluster.follow(source).unwrap();
    teller.say(&[2]);
    following.ready().await;
    following.stop();
    sleep(ms(10)).await;
    assert!(teller.says.is_closed(), "the source is dropped");
    assert_eq!(ports(&cluster), [2], "the nodes stay");

    let (teller, source) = told();
    let following = cluster.follow(source).unwrap();
    sleep(ms(10)).await;
    assert!(following.is_running());
    drop(cluster);
    sleep(ms(10)).await;
    assert!(!following.is_running() && teller.says.is_closed());

    let cluster = self::cluster();
    let (_teller, source) = told();
    let following = cluster.follow(source).unwrap();
    cluster.shutdown(Duration::ZERO).await;
    sleep(ms(10)).await;
    assert!(!following.is_running());
    let refused = cluster.follow(Static::new([])).unwrap_err();
    assert_eq!(refused, BuildError::Closed);
}

#[tokio::test(start_paused = true)]
async fn what_a_cluster_refuses_is_an_error_and_changes_nothing() {
    let (teller, source) = told();
    let cluster = cluster();
    // Everybody gets the same name.
    let follow = Follow::new().map(|e| Ok(e.to_node()?.name("same")));
    let following = cluster.follow_with(source, follow).unwrap();
    teller.say(&[2, 3]);
    sleep(ms(500)).await;
    assert_eq!(ports(&cluster), [1]);
    let error = following.last_error().unwrap().to_string();
    assert!(error.contains("two nodes are named \"same\""), "{error}");
    // One that cannot be dialled is left out, the others are not.
    let (teller, source) = told();
    let following = cluster.follow(source).unwrap();
    teller.say(&[0, 2]);
    following.ready().await;
    assert_eq!(ports(&cluster), [2]);
    teller.say(&[0]);
    sleep(ms(10_000)).await;
    assert_eq!(ports(&cluster), [2], "nothing is left of that");
}

#[tokio::test(start_paused = true)]
async fn once_is_one_attempt_with_a_deadline() {
    let deadline = ms(1_000);
    let kind = async |source: &mut dyn Discovery| {
        discovery::once(source, deadline).await.unwrap_err().kind()
    };
    let (teller, mut source) = told();
    let began = Instant::now();
    assert_eq!(kind(&mut source).await, DiscoveryErrorKind::TimedOut);
    assert_eq!(began.elapsed(), deadline);
    teller.say(&[]);
    assert_eq!(kind(&mut source).await, DiscoveryErrorKind::NotFound);
    let (teller, mut source) = told();
    teller.fail();
    assert_eq!(kind(&mut source).await, DiscoveryErrorKind::Unreachable);
    let mut source = Static::from_urls(["redis://b", "redis://a", "redis://a"]).unwrap();
    for _ in 0..3 {
        let found = discovery::once(&mut source, deadline).await.unwrap();
        assert_eq!(found.len(), 2);
    }
    assert_eq!(
        began.elapsed(),
        deadline,
        "a list does not keep one waiting"
    );
}

#[tokio::test(start_paused = true)]
async fn a_template_with_a_password_shows_it_nowhere() {
    let (teller, source) = told();
    let cluster = cluster();
    let like = Node::new("redis://user:hunter2@any/3").unwrap();
    let follow = Follow::new().like(like);
    assert!(!format!("{follow:?}").contains("hunter2"));
    let following = cluster.follow_with(source, follow).unwrap();
    teller.say(&[2]);
    following.ready().await;
    assert_eq!(ports(&cluster), [2]);
    let shown = format!("{following:?} {cluster:?} {:?}", cluster.status());
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn metrics_have_the_documented_names_and_labels() {
    let seen = Recorded::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    metrics::with_local_recorder(&seen, || {
        runtime.block_on(async {
            let (teller, source) = told();
            let cluster = cluster();
            let following = cluster.follow(source).unwrap();
            teller.say(&[2, 3, 4, 0]);
            following.ready().await;
            teller.say(&[2, 3, 4, 0]);
            teller.say(&[2]);
            teller.say(&[]);
            teller.fail();
            sleep(ms(7_500)).await;
        });
    });
    let count = |result| {
        seen.get(&format!(
            "fluster_discovery_snapshots_total{{source=told,result={result}}}"
        ))
    };
    for result in [
        "changed",
        "applied",
        "unchanged",
        "held",
        "empty",
        "unreachable",
    ] {
        assert_eq!(count(result), 1.0, "{result}");
    }
    assert_eq!(seen.get("fluster_discovery_endpoints{source=told}"), 0.0);
    let age = seen.get("fluster_discovery_age_seconds{source=told}");
    assert!((6.0..8.0).contains(&age), "{age}");
}
