//! What a stand-in is given lives for a limited time.

use std::time::Duration;

use redis::AsyncCommands;

use super::metrics::recorded;
use super::{bring_back, key_on, lose, patient};
use crate::support::{Server, Warnings, eventually, fleet};
use crate::workload::SOON;

/// The time to live in seconds, rounded up; -1: for ever.
fn ttl(server: &Server, key: &str) -> i64 {
    let ms: i64 = server.raw(["PTTL", key]).parse().unwrap();
    if ms < 0 { ms } else { (ms + 999) / 1000 }
}

#[tokio::test]
async fn every_way_to_write_to_a_stand_in_is_capped() {
    let servers: [Server; 2] = fleet();
    let cluster = patient(&servers)
        .stand_in_ttl(Duration::from_secs(30))
        .build()
        .unwrap();
    let owned = key_on(&cluster, [&servers[1], &servers[0]]);
    let tag = key_on(&cluster, [&servers[0], &servers[1]]);
    let key = |name: &str| format!("{{{tag}}}{name}");
    lose(&cluster, &servers[0]).await;
    let mut one = cluster.clone();

    let _: () = one.set(key("run"), 1).await.unwrap();
    let _: () = one.set_ex(key("short"), 1, 5).await.unwrap();
    let _: () = one.set_ex(key("long"), 1, 500).await.unwrap();
    let _: i64 = one.rpush(key("list"), "item").await.unwrap();
    let _: () = one
        .mset(&[(key("m1"), 1), (owned.clone(), 2)])
        .await
        .unwrap();
    let mut client = cluster.get_client(key("client")).unwrap();
    assert!(client.is_stand_in());
    let _: () = client.set(key("client"), 1).await.unwrap();
    let mut pipe = redis::pipe();
    pipe.set(key("p1"), 1).incr(key("p2"), 1).get(key("p1"));
    let (_, n, got): ((), i64, i64) = pipe.query_async(&mut one).await.unwrap();
    assert_eq!((n, got), (1, 1), "the cap adds nothing to the answer");
    let mut atomic = redis::pipe();
    atomic.atomic().set(key("a1"), 1).incr(key("a2"), 1);
    let (_, n): ((), i64) = atomic.query_async(&mut one).await.unwrap();
    assert_eq!(n, 1);
    let script = redis::Script::new("return redis.call('SET', KEYS[1], 1)");
    let _: () = script
        .key(key("eval"))
        .invoke_async(&mut one)
        .await
        .unwrap();

    for name in [
        "run", "long", "list", "m1", "client", "p1", "p2", "a1", "a2", "eval",
    ] {
        let left = ttl(&servers[1], &key(name));
        assert!((1..=30).contains(&left), "{name}: {left}");
    }
    assert!(
        (1..=5).contains(&ttl(&servers[1], &key("short"))),
        "never prolonged"
    );
    assert_eq!(
        ttl(&servers[1], &owned),
        -1,
        "its owner keeps it as it was written"
    );
}

#[tokio::test]
async fn without_the_option_nothing_is_capped() {
    let servers: [Server; 2] = fleet();
    let cluster = patient(&servers).build().unwrap();
    let key = key_on(&cluster, [&servers[0], &servers[1]]);
    lose(&cluster, &servers[0]).await;
    let _: () = cluster.clone().set(&key, 1).await.unwrap();
    assert_eq!(ttl(&servers[1], &key), -1);
}

/// An ACL that forbids the command, or a server that does not know `LT`: the reply says so, and nothing else.
#[test]
fn a_cap_that_the_server_refuses_is_counted_and_said_once() {
    let servers: [Server; 2] = fleet();
    let warnings = Warnings::default();
    let (node, key) = (servers[1].name(), "fluster_stand_in_caps_failed_total");
    let seen = warnings.during(|| {
        recorded(async |_| {
            let cluster = patient(&servers)
                .stand_in_ttl(Duration::from_secs(30))
                .build()
                .unwrap();
            let keys: Vec<_> = (0..300)
                .map(|i| format!("k{i}"))
                .filter(|k| cluster.get_node(k).unwrap() == *servers[0].name())
                .take(20)
                .collect();
            servers[1].raw(["ACL", "SETUSER", "default", "-pexpire"]);
            lose(&cluster, &servers[0]).await;
            let mut one = cluster.clone();
            for key in &keys[..10] {
                let _: () = one.set(key, 1).await.unwrap();
            }
            let _: () = one
                .mset(&keys[10..].iter().map(|k| (k, 1)).collect::<Vec<_>>())
                .await
                .unwrap();
            assert_eq!(ttl(&servers[1], &keys[0]), -1, "the server refused the cap");
        })
    });
    assert_eq!(
        seen.get(&format!("{key}{{node={node}}}")),
        20.0,
        "each key that keeps its full time to live is counted"
    );
    let said = warnings.with(&[&node, "stand-in", "pexpire"]);
    assert_eq!(
        said.len(),
        1,
        "one warning, with the server's words: {said:?}"
    );
    assert!(
        said[0].lines().count() == 1 && said[0].contains("NOPERM"),
        "{said:?}"
    );
}

/// `SET .. NX` of a repair, and the `MULTI` that reads what to copy: nobody waits for them.
#[test]
fn a_repair_that_a_server_refuses_is_counted_and_said_once() {
    let servers: [Server; 3] = fleet();
    let warnings = Warnings::default();
    let seen = warnings.during(|| {
        recorded(async |seen| {
            let cluster = patient(&servers).build().unwrap();
            let key = key_on(&cluster, [&servers[0], &servers[1]]);
            servers[1].raw(["SET", &key, "v"]);
            lose(&cluster, &servers[0]).await;
            bring_back(&cluster, &servers[0]).await;
            let repairs = cluster
                .replicas(&key, 2)
                .unwrap()
                .read_repair(fluster::replication::ReadRepair::default());
            let get = redis::cmd("GET").arg(&key).to_owned();
            let mut refused = 0.0;
            for (server, command) in [(&servers[0], "-set"), (&servers[1], "-pttl")] {
                server.raw(["ACL", "SETUSER", "default", command]);
                for _ in 0..3 {
                    let from = fluster::replication::ReadFrom::FirstAvailable;
                    let value: String = repairs.read(&get, from).await.unwrap();
                    assert_eq!(value, "v");
                    refused += 1.0;
                    let count = || {
                        let of = |s: &Server| {
                            let node = s.name();
                            seen.get(&format!("fluster_read_repairs_failed_total{{node={node}}}"))
                        };
                        of(&servers[0]) + of(&servers[1])
                    };
                    eventually(SOON, || count() == refused).await;
                }
                server.raw(["ACL", "SETUSER", "default", "+@all"]);
            }
        })
    });
    for (server, word) in [(&servers[0], "set"), (&servers[1], "pttl")] {
        let node = server.name();
        let name = format!("fluster_read_repairs_failed_total{{node={node}}}");
        assert_eq!(seen.get(&name), 3.0);
        let said = warnings.with(&[&node, "read repair", "NOPERM", word]);
        assert_eq!(said.len(), 1, "{:?}", warnings.with(&[]));
    }
}

/// A write that met its quorum goes on in the background; what comes of it there is nobody's error.
#[test]
fn a_replica_that_refuses_a_write_after_its_quorum_is_counted_and_said_once() {
    let servers: [Server; 2] = fleet();
    let slow = crate::faults::proxy::Proxy::start(&servers[1]);
    let warnings = Warnings::default();
    let node = slow.name().to_owned();
    let name = format!("fluster_replica_writes_failed_total{{node={node}}}");
    warnings.during(|| {
        recorded(async |seen| {
            let cluster = fluster::FlusterCluster::builder()
                .urls([servers[0].url(), slow.url()])
                .response_timeout(Duration::from_secs(5))
                .build()
                .unwrap();
            let set = redis::cmd("SET").arg("k").arg("v").to_owned();
            let replicas = cluster.replicas("k", 2).unwrap();
            let all = replicas
                .write(&set, fluster::replication::Quorum::All)
                .await
                .unwrap();
            assert!(all.is_complete(), "both have their connection");
            servers[1].raw(["CONFIG", "SET", "min-replicas-to-write", "1"]);
            slow.set(crate::faults::proxy::Fault::Delay(super::ms(50)));
            for n in 1..=3 {
                let acks = replicas
                    .write(&set, fluster::replication::Quorum::One)
                    .await
                    .unwrap();
                assert_eq!(acks.pending().len(), 1);
                eventually(SOON, || seen.get(&name) == f64::from(n)).await;
            }
        })
    });
    let said = warnings.with(&[&node, "replica", "NOREPLICAS"]);
    assert_eq!(said.len(), 1, "{said:?}");
}
