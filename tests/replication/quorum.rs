//! Every mix of replicas that are up, down, slow or refuse to write, and every quorum.

use std::time::{Duration, Instant};

use fluster::replication::Quorum;
use fluster::{ErrorKind, FlusterCluster, Node, Outcome};
use futures_util::stream::{self, StreamExt as _};

use super::{bring_back, key_on, lose, ms, patient};
use crate::faults::proxy::{Fault, Proxy};
use crate::support::{PortClaim, Server, eventually, fleet};
use crate::workload::SOON;

/// How late a slow replica answers.
const SLOW: Duration = Duration::from_millis(400);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Replica {
    Up,
    Down,
    Slow,
    /// It answers with an error.
    Refuses,
}

use Replica::{Down, Refuses, Slow, Up};

const STATES: [Replica; 4] = [Up, Down, Slow, Refuses];

/// One server of each kind; a node of a cluster is one of them under a name of its own.
struct World {
    up: Server,
    slow: (Server, Proxy),
    refuses: Server,
    down: PortClaim,
}

impl World {
    fn new() -> Self {
        let [up, behind, refuses] = fleet();
        let proxy = Proxy::start(&behind);
        proxy.set(Fault::Delay(SLOW));
        assert_eq!(
            refuses.raw(["CONFIG", "SET", "min-replicas-to-write", "1"]),
            "OK"
        );
        Self {
            up,
            slow: (behind, proxy),
            refuses,
            down: PortClaim::new(),
        }
    }

    fn cluster(&self, replicas: &[Replica]) -> FlusterCluster {
        let url = |replica: &Replica| match replica {
            Up => self.up.url(),
            Slow => self.slow.1.url(),
            Refuses => self.refuses.url(),
            Down => format!("redis://127.0.0.1:{}", self.down.port()),
        };
        let mut builder = FlusterCluster::builder().response_timeout(Duration::from_secs(10));
        for (i, replica) in replicas.iter().enumerate() {
            let node = Node::new(url(replica)).unwrap();
            builder = builder.node(node.name(format!("{i}-{replica:?}")));
        }
        builder
            .connect_timeout(Duration::from_secs(10))
            .build()
            .unwrap()
    }

    /// One write with a quorum of `needed`; whether it returned without an answer of a slow one.
    async fn check(&self, replicas: &[Replica], quorum: Quorum, needed: usize) -> bool {
        let case = format!("{replicas:?} {quorum}");
        let count = |wanted| replicas.iter().filter(|r| **r == wanted).count();
        let (up, slow, n) = (count(Up), count(Slow), replicas.len());
        let cluster = self.cluster(replicas);
        let mut cmd = redis::cmd("SET");
        cmd.arg("k").arg("v");
        let began = Instant::now();
        let result = cluster.replicas("k", n).unwrap().write(&cmd, quorum).await;
        let took = began.elapsed();
        assert!(
            took < Duration::from_secs(30),
            "{case}: within its deadline: {took:?}"
        );
        match result {
            Ok(acks) => {
                assert!(up + slow >= needed, "{case}: {acks:?}");
                assert_eq!((acks.count(), acks.requested()), (needed, n), "{case}");
                assert_eq!(acks.value::<String>().unwrap(), "OK", "{case}");
                assert!(took >= SLOW || needed <= up, "{case}: {took:?}");
                for node in acks.nodes().chain(acks.pending()) {
                    // What has not answered yet may still fail.
                    assert!(!acks.failed().iter().any(|(failed, _)| failed == node));
                }
                let known = acks.count() + acks.failed().len() + acks.pending().len();
                assert_eq!(known, n, "{case}: {acks:?}");
                // By state, not by the clock: how fast this machine is says nothing.
                !acks.nodes().any(|node| node.as_str().ends_with("Slow"))
            }
            Err(error) => {
                assert!(up + slow < needed, "{case}: {error}");
                assert_eq!((error.kind(), error.needed()), (ErrorKind::Quorum, needed));
                let acks = error.acks();
                assert_eq!(
                    acks.count(),
                    up + slow,
                    "{case}: the whole picture: {error}"
                );
                assert_eq!(acks.failed().len(), count(Down) + count(Refuses), "{case}");
                assert!(acks.pending().is_empty(), "{case}");
                for (node, why) in acks.failed() {
                    let expected = match node.as_str().ends_with("Down") {
                        true => (ErrorKind::Connect, Outcome::NotSent),
                        false => (ErrorKind::Server, Outcome::Answered),
                    };
                    assert_eq!((why.kind(), why.outcome()), expected, "{case}: {why}");
                    assert!(error.to_string().contains(node.as_str()), "{case}: {error}");
                }
                let outcome = match (up + slow, count(Refuses)) {
                    (1.., _) => Outcome::MaybeExecuted,
                    (0, 1..) => Outcome::Answered,
                    (0, 0) => Outcome::NotSent,
                };
                assert_eq!(error.outcome(), outcome, "{case}");
                assert!(slow == 0 || took >= SLOW, "{case}: waits for every answer");
                slow == 0
            }
        }
    }
}

/// All quorums of `n` replicas, by name and by number.
fn quorums(n: usize) -> impl Iterator<Item = (Quorum, usize)> {
    let named = [Quorum::One, Quorum::Majority, Quorum::All];
    let named = named.into_iter().map(move |q| (q, q.of(n).unwrap()));
    named.chain((2..n).map(|k| (Quorum::AtLeast(k), k)))
}

async fn truth_table(world: &World, mixes: Vec<Vec<Replica>>) {
    let cases: Vec<_> = mixes
        .iter()
        .flat_map(|mix| quorums(mix.len()).map(move |(quorum, needed)| (mix, quorum, needed)))
        .collect();
    let checks = cases
        .iter()
        .map(|(mix, quorum, needed)| world.check(mix, *quorum, *needed));
    let fast: Vec<bool> = stream::iter(checks).buffer_unordered(24).collect().await;
    let quick = |(mix, _, needed): &&(&Vec<Replica>, Quorum, usize)| {
        let up = mix.iter().filter(|r| **r == Up).count();
        up >= *needed || !mix.contains(&Slow)
    };
    let (expected, quick) = (
        cases.iter().filter(quick).count(),
        fast.iter().filter(|f| **f).count(),
    );
    println!(
        "{} cases, {quick} of {expected} returned without the answer of a slow replica",
        cases.len()
    );
    assert!(
        quick * 10 >= expected * 9,
        "{quick} of {expected}: quorums do not wait for the slow"
    );
}

/// All multisets of states: which replica is in which state makes no difference to a count.
fn multisets(n: usize) -> Vec<Vec<Replica>> {
    let all = (0..4_usize.pow(n as u32)).map(|code| mix(code, n));
    all.filter(|mix| mix.windows(2).all(|w| place(w[0]) <= place(w[1])))
        .collect()
}

fn mix(code: usize, n: usize) -> Vec<Replica> {
    (0..n)
        .map(|i| STATES[code / 4_usize.pow(i as u32) % 4])
        .collect()
}

fn place(replica: Replica) -> usize {
    STATES.iter().position(|s| *s == replica).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mix_of_up_to_five_replicas_and_every_quorum() {
    let world = World::new();
    truth_table(&world, (1..=5).flat_map(multisets).collect()).await;
}

#[ignore = "1364 mixes in every order, three minutes: make soak"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mix_in_every_order() {
    let world = World::new();
    let all = (1..=5).flat_map(|n| (0..4_usize.pow(n as u32)).map(move |code| mix(code, n)));
    truth_table(&world, all.collect()).await;
}

#[tokio::test]
async fn the_quorum_counts_against_the_replicas_that_were_asked_for() {
    let servers: [Server; 3] = fleet();
    let cluster = patient(&servers).build().unwrap();
    let mut cmd = redis::cmd("SET");
    cmd.arg("k").arg("v");
    lose(&cluster, &servers[0]).await;
    let replicas = cluster.replicas("k", 3).unwrap();
    assert_eq!((replicas.nodes().len(), replicas.requested()), (2, 3));
    let acks = replicas.write(&cmd, Quorum::Majority).await.unwrap();
    assert_eq!((acks.count(), acks.is_complete()), (2, false));
    for server in &servers[1..] {
        server.raw(["DEL", "k"]);
    }
    let error = replicas.write(&cmd, Quorum::All).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Quorum, Outcome::NotSent)
    );
    assert!(
        error
            .to_string()
            .contains("3 of 3 replicas are needed, and 2 are live"),
        "{error}"
    );
    assert_eq!(servers[1].raw(["EXISTS", "k"]), "0", "nothing was sent");
    bring_back(&cluster, &servers[0]).await;
    let acks = cluster
        .replicas("k", 3)
        .unwrap()
        .write(&cmd, Quorum::All)
        .await
        .unwrap();
    assert!(acks.is_complete());
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_by_name() {
    let servers: [Server; 2] = fleet();
    let cluster = patient(&servers).build().unwrap();
    for n in [0, 3, usize::MAX] {
        let error = cluster.replicas("k", n).unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Invalid, Outcome::NotSent)
        );
        assert!(error.to_string().contains("ask for 1 to 2"), "{error}");
    }
    let replicas = cluster.replicas("k", 2).unwrap();
    let mut set = redis::cmd("SET");
    set.arg("k").arg("v");
    for quorum in [Quorum::AtLeast(0), Quorum::AtLeast(3)] {
        let error = replicas.write(&set, quorum).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Invalid, Outcome::NotSent)
        );
        assert!(error.to_string().contains("can never be met"), "{error}");
    }
    let mut pop = redis::cmd("BLPOP");
    pop.arg("k").arg(1);
    let error = replicas.write(&pop, Quorum::One).await.unwrap_err();
    assert!(error.to_string().contains("dedicated()"), "{error}");
    assert_eq!(servers.map(|s| s.raw(["DBSIZE"])), ["0", "0"]);
}

/// The number of its tasks once nothing ends any more: a first connection asks its server who it is.
async fn settled(cluster: &FlusterCluster) -> usize {
    let (mut tasks, mut same) = (cluster.status().tasks, 0);
    while same < 10 {
        tokio::time::sleep(ms(20)).await;
        let now = cluster.status().tasks;
        same = if now == tasks { same + 1 } else { 0 };
        tasks = now;
    }
    tasks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_others_get_the_write_after_the_quorum_and_nobody_after_a_shutdown() {
    let servers: [Server; 2] = fleet();
    let proxy = Proxy::start(&servers[1]);
    let cluster = FlusterCluster::builder()
        .urls([servers[0].url(), proxy.url()])
        .response_timeout(Duration::from_secs(5))
        .build()
        .unwrap();
    let replicas = cluster.replicas("k", 2).unwrap();
    let set = |value: &str| redis::cmd("SET").arg("k").arg(value).to_owned();
    replicas.write(&set("1"), Quorum::All).await.unwrap();
    let tasks = settled(&cluster).await;

    proxy.set(Fault::Delay(ms(300)));
    let acks = replicas.write(&set("2"), Quorum::One).await.unwrap();
    assert_eq!(acks.pending().len(), 1);
    assert!(
        cluster.status().tasks > tasks,
        "somebody waits for the other"
    );
    eventually(SOON, || servers[1].raw(["GET", "k"]) == "2").await;
    eventually(SOON, || cluster.status().tasks <= tasks).await;

    let acks = replicas.write(&set("3"), Quorum::One).await.unwrap();
    assert_eq!(acks.pending().len(), 1);
    cluster.shutdown(Duration::ZERO).await;
    assert_eq!(cluster.status().tasks, 0, "stragglers end with the cluster");
    let error = replicas.write(&set("4"), Quorum::One).await.unwrap_err();
    assert_eq!(error.acks().failed()[0].1.kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn two_replicas_of_a_key_are_its_first_two_candidates() {
    let servers: [Server; 3] = fleet();
    let cluster = patient(&servers).build().unwrap();
    let key = key_on(&cluster, [&servers[0], &servers[2]]);
    let mut set = redis::cmd("SET");
    set.arg(&key).arg("v");
    let acks = cluster
        .replicas(&key, 2)
        .unwrap()
        .write(&set, Quorum::All)
        .await
        .unwrap();
    assert!(acks.is_complete());
    let holds = servers.each_ref().map(|s| s.raw(["EXISTS", key.as_str()]));
    assert_eq!(holds, ["1", "0", "1"]);
}
