//! Whom a read asks, and what it makes of the answers.

use std::time::Duration;

use fluster::replication::{HedgeAfter, Quorum, ReadFrom};
use fluster::{ErrorKind, FlusterCluster, NodeId, Outcome};
use redis::{Cmd, Value};

use super::{key_on, lose, ms, patient};
use crate::faults::proxy::{Fault, Proxy};
use crate::support::{Server, fleet};
use crate::workload::SOON;

fn get(key: &str) -> Cmd {
    redis::cmd("GET").arg(key).to_owned()
}

fn hedged(after: Duration) -> ReadFrom {
    ReadFrom::Hedged {
        after: HedgeAfter::Fixed(after),
    }
}

/// The number in front of a colon.
fn version(value: &Value) -> u64 {
    match value {
        Value::BulkString(bytes) => {
            let text = String::from_utf8_lossy(bytes);
            text.split(':').next().unwrap().parse().unwrap()
        }
        _ => panic!("only values are compared: {value:?}"),
    }
}

#[tokio::test]
async fn the_owner_is_asked_alone_and_the_first_available_is_whoever_can() {
    let servers: [Server; 3] = fleet();
    let cluster = patient(&servers).build().unwrap();
    let key = key_on(&cluster, [&servers[0], &servers[1]]);
    servers[0].raw(["SET", &key, "from the owner"]);
    servers[1].raw(["SET", &key, "from the second"]);
    let replicas = cluster.replicas(&key, 2).unwrap();
    for from in [
        ReadFrom::Owner,
        ReadFrom::FirstAvailable,
        hedged(Duration::from_secs(3)),
    ] {
        let value: String = replicas.read(&get(&key), from).await.unwrap();
        assert_eq!(value, "from the owner");
    }
    servers[0].kill();
    let error = replicas
        .read::<String>(&get(&key), ReadFrom::Owner)
        .await
        .unwrap_err();
    assert_eq!(
        error.node(),
        Some(&NodeId::from(servers[0].name())),
        "{error}"
    );
    for from in [ReadFrom::FirstAvailable, hedged(Duration::from_secs(3))] {
        let value: String = replicas.read(&get(&key), from).await.unwrap();
        assert_eq!(value, "from the second");
    }
    servers[1].kill();
    let error = replicas
        .read::<String>(&get(&key), ReadFrom::FirstAvailable)
        .await
        .unwrap_err();
    assert!(error.is_connection_error(), "{error}");
}

#[tokio::test]
async fn a_replica_that_cannot_serve_now_is_passed_over_and_an_answer_is_an_answer() {
    let servers: [Server; 2] = fleet();
    let cluster = patient(&servers).build().unwrap();
    let key = key_on(&cluster, [&servers[0], &servers[1]]);
    servers[0].raw(["LPUSH", &key, "a list"]);
    servers[1].raw(["SET", &key, "a string"]);
    let replicas = cluster.replicas(&key, 2).unwrap();
    let error = replicas
        .read::<String>(&get(&key), ReadFrom::FirstAvailable)
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Server, Outcome::Answered)
    );
    assert!(error.to_string().contains("WRONGTYPE"), "{error}");

    servers[0].raw(["DEL", &key]);
    let value: Option<String> = replicas
        .read(&get(&key), ReadFrom::FirstAvailable)
        .await
        .unwrap();
    assert_eq!(value, None, "a node that never was out is believed");

    // A stale replica refuses reads: MASTERDOWN.
    servers[0].raw(["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    servers[0].raw(["REPLICAOF", "127.0.0.1", "1"]);
    let value: Option<String> = replicas
        .read(&get(&key), ReadFrom::FirstAvailable)
        .await
        .unwrap();
    assert_eq!(value.as_deref(), Some("a string"));
}

#[tokio::test]
async fn a_command_that_may_write_is_no_read() {
    let servers: [Server; 1] = fleet();
    let cluster = patient(&servers).build().unwrap();
    let replicas = cluster.replicas("k", 1).unwrap();
    for name in ["INCR", "GETDEL", "NOSUCH"] {
        let cmd = redis::cmd(name).arg("k").to_owned();
        let error = replicas
            .read::<Value>(&cmd, ReadFrom::FirstAvailable)
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Invalid, Outcome::NotSent)
        );
        assert!(error.to_string().contains(name), "{error}");
    }
    assert_eq!(servers[0].raw(["DBSIZE"]), "0");
}

/// A cluster whose first node is behind a proxy, and a key that it owns.
fn behind_a_proxy(servers: &[Server; 2], proxy: &Proxy, budget: f64) -> (FlusterCluster, String) {
    let cluster = FlusterCluster::builder()
        .urls([proxy.url(), servers[1].url()])
        .response_timeout(SOON)
        .hedge_budget(budget)
        .build()
        .unwrap();
    let owner = NodeId::from(proxy.name());
    let mut keys = (0..10_000).map(|i| format!("key:{i}"));
    let key = keys
        .find(|k| cluster.get_node(k).unwrap() == owner)
        .unwrap();
    servers[0].raw(["SET", &key, "slow"]);
    servers[1].raw(["SET", &key, "fast"]);
    (cluster, key)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_replica_is_overtaken_by_the_next_as_far_as_the_budget_goes() {
    let servers: [Server; 2] = fleet();
    let proxy = Proxy::start(&servers[0]);
    let (cluster, key) = behind_a_proxy(&servers, &proxy, 0.1);
    let replicas = cluster.replicas(&key, 2).unwrap();
    let cmd = get(&key);
    // How many GETs the second replica has executed.
    let asked = || {
        let stats = servers[1].raw(["INFO", "commandstats"]);
        let gets = stats
            .lines()
            .find_map(|l| l.strip_prefix("cmdstat_get:calls="));
        gets.map_or("0", |gets| gets.split(',').next().unwrap())
            .parse::<u32>()
            .unwrap()
    };
    let read = |after| replicas.read::<String>(&cmd, hedged(after));
    assert_eq!(
        read(SOON).await.unwrap(),
        "slow",
        "a quick answer needs no help"
    );
    assert_eq!(asked(), 0);
    // Far longer than the way to the second replica takes, however busy the machine.
    proxy.set(Fault::Delay(ms(3_000)));
    for n in 1..=11 {
        assert_eq!(read(ms(20)).await.unwrap(), "fast", "read {n}");
    }
    let waiting = [(); 4].map(|()| read(ms(20)));
    for value in futures_util::future::join_all(waiting).await {
        assert_eq!(value.unwrap(), "slow", "nothing is left");
    }
    // Ten are saved up, and sixteen reads earn one.
    assert_eq!(asked(), 11);
    assert_eq!(cluster.status().active(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_node_is_put_out_though_every_read_was_overtaken() {
    let servers: [Server; 2] = fleet();
    let proxy = Proxy::start(&servers[0]);
    let cluster = FlusterCluster::builder()
        .urls([proxy.url(), servers[1].url()])
        .response_timeout(ms(300))
        .hedge_budget(1.0)
        .build()
        .unwrap();
    let owner = NodeId::from(proxy.name());
    let mut keys = (0..10_000).map(|i| format!("key:{i}"));
    let key = keys
        .find(|k| cluster.get_node(k).unwrap() == owner)
        .unwrap();
    servers[1].raw(["SET", &key, "v"]);
    let read = async || {
        let replicas = cluster.replicas(&key, 2).unwrap();
        replicas
            .read::<Option<String>>(&get(&key), hedged(ms(20)))
            .await
    };
    read().await.unwrap();
    servers[0].stop();
    // The losers of the race run into their time-out in the background, and tell.
    let until = std::time::Instant::now() + Duration::from_secs(15);
    while cluster.status().active() == 2 {
        assert!(std::time::Instant::now() < until, "{:?}", cluster.status());
        assert_eq!(read().await.unwrap().as_deref(), Some("v"));
        tokio::time::sleep(ms(10)).await;
    }
    servers[0].cont();
}

#[tokio::test]
async fn a_majority_gives_the_newest_value_and_never_less_than_a_majority() {
    let servers: [Server; 3] = fleet();
    let cluster = patient(&servers).build().unwrap();
    let newest = || ReadFrom::majority(|a, b| version(a).cmp(&version(b)));
    let replicas = cluster.replicas("k", 3).unwrap();
    let none: Option<String> = replicas.read(&get("k"), newest()).await.unwrap();
    assert_eq!(none, None);

    // Whatever two servers answer first, one of them has the last write of a majority.
    for (round, old) in servers.iter().enumerate() {
        for server in &servers {
            let version = if server.port() == old.port() {
                1
            } else {
                10 + round
            };
            server.raw(["SET", "k", &format!("{version}:text")]);
        }
        for _ in 0..20 {
            let value: String = replicas.read(&get("k"), newest()).await.unwrap();
            assert_eq!(value, format!("{}:text", 10 + round));
        }
    }
    servers[0].raw(["DEL", "k"]);
    servers[1].raw(["DEL", "k"]);
    let set = redis::cmd("SET").arg("k").arg("99:text").to_owned();
    replicas.write(&set, Quorum::Majority).await.unwrap();
    let value: String = replicas.read(&get("k"), newest()).await.unwrap();
    assert_eq!(value, "99:text", "no value is older than any");

    lose(&cluster, &servers[0]).await;
    lose(&cluster, &servers[1]).await;
    let replicas = cluster.replicas("k", 3).unwrap();
    let error = replicas
        .read::<String>(&get("k"), newest())
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Quorum, Outcome::NotSent)
    );
    assert!(
        error
            .to_string()
            .contains("2 of 3 replicas are needed, and 1 are live"),
        "{error}"
    );
}
