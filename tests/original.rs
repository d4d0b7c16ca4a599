//! The test cases of Python's fluster, by name, against real servers.
//!
//! Every test says the same as its model. Two things differ throughout, because the library does:
//!
//! * A node comes back through a probe in the background, so the tests wait until it is back. The
//!   original pings a node inside the next call of whoever comes by.
//! * A node whose connections break is checked at once. So the first call after a kill may be
//!   served by the stand-in, where the original has to fail once to notice.
//!
//! The bugs of the original that are not ported are named where a test would meet them.

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, Instant};

use fluster::{Client, FlusterCluster, NodeId, Penalty, PenaltyBox, Placement};
use redis::{AsyncCommands, RedisError};

use crate::support::{Server, eventually, eventually_some, fleet};

/// One key for each of three nodes, in their order.
const KEYS: [&str; 3] = ["hi", "redis", "test"];

/// The original's tests wait 0.5 s for a node.
const MIN_WAIT: Duration = Duration::from_millis(500);

/// More than any node needs to leave or to come back here, on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// The original's cluster, as its tests make it.
///
/// Its `from_settings` hands over a generator that is read twice, which leaves no client in the
/// second reading; here any iterator will do.
fn cluster_of(servers: &[Server]) -> FlusterCluster {
    FlusterCluster::builder()
        .urls(servers.iter().map(Server::url))
        .placement(Placement::fluster_py())
        .penalty(Penalty::fluster_py().min_wait(MIN_WAIT))
        .build()
        .expect("three good URLs")
}

fn name(client: &Client) -> String {
    client.node().to_string()
}

async fn all_back(cluster: &FlusterCluster) {
    eventually(SOON, || cluster.status().active() == 3).await;
}

/// Adds one to a key, as the original's callers do: when the node fails, ask the cluster again.
async fn incr(cluster: &FlusterCluster, key: &str) -> i64 {
    let mut client = cluster.get_client(key).expect("a live node");
    match client.incr(key, 1).await {
        Ok(value) => value,
        Err(_) => {
            let mut stand_in = cluster.get_client(key).expect("a stand-in");
            assert_ne!(
                stand_in.node(),
                client.node(),
                "a failed node is not handed out again"
            );
            stand_in.incr(key, 1).await.expect("the stand-in serves")
        }
    }
}

#[tokio::test]
async fn test_basic() {
    let servers: [Server; 3] = fleet();
    let cluster = cluster_of(&servers);
    for (key, server) in KEYS.iter().zip(&servers) {
        let client = cluster.get_client(key).unwrap();
        assert_eq!(name(&client), server.name(), "{key} has a node of its own");
    }
}

#[tokio::test]
async fn test_single_failure() {
    let servers: [Server; 3] = fleet();
    let cluster = cluster_of(&servers);
    for key in KEYS {
        assert_eq!(incr(&cluster, key).await, 1, "one key on each node");
    }

    servers[0].kill();
    assert_eq!(
        incr(&cluster, "hi").await,
        1,
        "moved to a node that did not know it"
    );
    assert_eq!(incr(&cluster, "redis").await, 2, "not moved");
    assert_eq!(incr(&cluster, "test").await, 2, "not moved");
    assert_eq!(cluster.status().active(), 2);

    servers[0].restart();
    all_back(&cluster).await;
    for key in KEYS {
        incr(&cluster, key).await;
    }
    let values = |key| servers.each_ref().map(|server| server.get(key));
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        values("hi"),
        [some("1"), some("1"), None],
        "back home, which came back empty"
    );
    assert_eq!(values("redis"), [None, some("3"), None]);
    assert_eq!(values("test"), [None, None, some("3")]);
}

#[tokio::test]
async fn test_consistent_hashing() {
    let servers: [Server; 3] = fleet();
    let cluster = cluster_of(&servers);
    // Position 2 of three nodes, but 0 of two.
    let before = cluster.get_node("foo").unwrap();
    let mut client = cluster.get_client("hi").unwrap();
    let _: i64 = client.incr("hi", 1).await.expect("its node is up");
    servers[0].kill();
    let mut errors = 0;
    for _ in 0..10 {
        match client.incr::<_, _, i64>("hi", 1).await {
            Ok(_) => assert_ne!(name(&client), servers[0].name()),
            Err(_) => {
                errors += 1;
                client = cluster.get_client("hi").expect("a stand-in");
            }
        }
    }
    assert_eq!(
        errors, 1,
        "the client in hand fails, and nobody's after that"
    );
    assert_eq!(cluster.status().active(), 2);
    assert_eq!(
        cluster.get_node("foo").unwrap(),
        before,
        "only the dead node's keys move"
    );
}

#[tokio::test]
async fn test_cycle_clients() {
    let servers: [Server; 3] = fleet();
    let cluster = cluster_of(&servers);
    let seen: Vec<String> = cluster
        .clients()
        .take(16)
        .map(|c| name(&c.unwrap()))
        .collect();
    assert_eq!(seen.len(), 16, "cycles for ever");
    assert_eq!(
        seen.iter().collect::<HashSet<_>>().len(),
        3,
        "over all nodes"
    );
    for pair in seen.windows(4) {
        assert_eq!(pair[0], pair[3], "in turn: {seen:?}");
    }
}

#[tokio::test]
async fn test_cycle_clients_with_failures() {
    let servers: [Server; 3] = fleet();
    let cluster = cluster_of(&servers);
    servers[0].kill();

    let mut served = Vec::new();
    let mut failed = 0;
    for client in cluster.clients() {
        let mut client = client.expect("two nodes are up");
        match client.incr::<_, _, i64>("key", 1).await {
            Ok(_) => served.push(name(&client)),
            Err(_) => failed += 1,
        }
        if served.len() == 6 {
            break;
        }
    }
    assert!(failed <= 1, "one error takes the node out: {failed}");
    assert!(
        !served.contains(&servers[0].name()),
        "a dead node serves nothing"
    );
    assert_eq!(cluster.status().active(), 2);

    servers[0].restart();
    all_back(&cluster).await;
    let mut names = BTreeSet::new();
    for client in cluster.clients().take(6) {
        let mut client = client.unwrap();
        let _: i64 = client
            .incr("key", 1)
            .await
            .expect("every node serves again");
        names.insert(name(&client));
    }
    assert_eq!(
        names.len(),
        3,
        "the node is part of the cycle again: {names:?}"
    );
}

#[tokio::test]
async fn test_long_running_iterations() {
    let servers: [Server; 3] = fleet();
    let cluster = cluster_of(&servers);
    let away = servers[0].name();

    // One iterator all along; in the original a long loop sees a node again only because `next`
    // pings it in the loop's own time.
    let mut clients = cluster.clients();
    let mut seen = Vec::new();
    for idx in 0..=10 {
        let mut client = clients.next().unwrap().expect("two nodes stay up");
        let _: Result<i64, RedisError> = client.incr("key", 1).await;
        seen.push(name(&client));
        match idx {
            3 => servers[0].kill(),
            10 => servers[0].restart(),
            _ => {}
        }
    }
    assert!(
        !seen[7..].contains(&away),
        "a dead node leaves a running loop: {seen:?}"
    );

    eventually_some(SOON, async || {
        let client = clients.next()?.expect("at least two nodes are up");
        (name(&client) == away).then_some(())
    })
    .await;
    assert_eq!(cluster.status().active(), 3);
}

#[tokio::test]
async fn test_cycle_clients_tracking() {
    let servers: [Server; 3] = fleet();
    let (one, two) = (cluster_of(&servers), cluster_of(&servers));
    let next = |cluster: &FlusterCluster| name(&cluster.clients().next().unwrap().unwrap());

    let first = next(&one);
    assert_eq!(
        next(&two),
        first,
        "each cluster has its own place in the cycle"
    );
    let second = next(&one);
    assert_ne!(second, first, "which all iterators of one cluster share");
    assert_ne!(next(&one.clone()), second, "and its clones too");
}

#[tokio::test]
async fn test_dropped_connections_while_iterating() {
    let servers: [Server; 3] = fleet();
    let cluster = cluster_of(&servers);
    let mut clients = cluster.clients();
    let mut handed_out = 0;
    let error = loop {
        match clients.next().expect("the cycle never ends") {
            Err(error) => break error,
            Ok(mut client) => {
                if let 5..=7 = handed_out {
                    servers[handed_out - 5].kill();
                }
                handed_out += 1;
                let _: Result<i64, RedisError> = client.incr("key", 1).await;
            }
        }
    };
    assert!(
        (8..=9).contains(&handed_out),
        "at most one try per dead node: {handed_out}"
    );
    assert_eq!(cluster.status().active(), 0);
    assert!(
        error.retry_after() <= SOON,
        "says when to try again: {error}"
    );
    assert!(cluster.get_client("hi").is_err(), "the same for a key");

    // The original looks whether the cluster is empty before it looks who is back, and raises
    // once more than it must. Here the same iterator goes on as soon as one node is back.
    for server in &servers {
        server.restart();
    }
    eventually_some(SOON, async || clients.next()?.ok()).await;
    all_back(&cluster).await;
}

#[tokio::test]
async fn test_round_controller() {
    let servers: [Server; 3] = fleet();
    let cluster = cluster_of(&servers);
    // The original wraps any iterable; a Rust iterator has `take` for that.
    let names: Vec<String> = cluster
        .clients()
        .rounds(3)
        .map(|c| name(&c.unwrap()))
        .collect();
    assert_eq!(names.len(), 9, "three rounds of three nodes");
    for server in &servers {
        let turns = names.iter().filter(|name| **name == server.name()).count();
        assert_eq!(turns, 3, "each node once per round");
    }

    // The original counts a round whenever the first item comes by again: for ever, when that
    // node is out by then.
    let mut handed_out = 0;
    for client in cluster.clients().rounds(3).take(100) {
        let Ok(mut client) = client else { continue };
        if handed_out == 0 {
            let first = servers.iter().find(|server| server.name() == name(&client));
            first.expect("one of the three").kill();
        }
        handed_out += 1;
        let _: Result<i64, RedisError> = client.incr("key", 1).await;
    }
    assert!(
        (6..=9).contains(&handed_out),
        "three rounds end without the first node: {handed_out}"
    );
}

#[tokio::test]
async fn test_zrevrange() {
    let servers: [Server; 3] = fleet();
    let cluster = cluster_of(&servers);
    let zset = "foo";
    let scores = async || -> BTreeSet<i64> {
        let found = cluster
            .zrevrange_with_int_score(zset, "+inf", 2)
            .await
            .expect("live nodes answer");
        found.into_values().collect()
    };

    for (member, score) in KEYS.iter().zip(1..) {
        let mut client = cluster.get_client(member).unwrap();
        let _: i64 = client.zadd(zset, member, score).await.unwrap();
    }
    assert_eq!(scores().await, [2, 3].into(), "from all nodes, 2 and above");

    servers[2].kill();
    let moved = KEYS[2];
    eventually_some(SOON, async || {
        let mut client = cluster.get_client(moved).unwrap();
        client.zadd::<_, _, _, i64>(zset, moved, 5).await.ok()
    })
    .await;
    assert_eq!(scores().await, [2, 5].into(), "from the stand-in");

    servers[2].restart();
    all_back(&cluster).await;
    assert_eq!(scores().await, [2, 5].into(), "the restarted node is empty");

    let mut client = cluster.get_client(moved).unwrap();
    assert_eq!(name(&client), servers[2].name(), "back home");
    let _: i64 = client.zadd(zset, moved, 3).await.unwrap();
    assert_eq!(
        scores().await,
        [2, 5].into(),
        "the highest score of a member counts"
    );
}

/// The original wraps the public methods of a client, except ECHO and `execute_command`, and a
/// pipeline not at all: a node that fails in one of those stays in use.
#[tokio::test]
async fn every_way_to_send_a_command_notices_a_dead_node() {
    let servers: [Server; 3] = fleet();
    let cluster = cluster_of(&servers);
    for (idx, key) in KEYS.iter().enumerate() {
        servers[idx].kill();
        let Ok(mut client) = cluster.get_client(key) else {
            break;
        };
        let result: Result<redis::Value, RedisError> = match idx {
            0 => {
                redis::cmd("ECHO")
                    .arg("test")
                    .query_async(&mut client)
                    .await
            }
            1 => {
                redis::pipe()
                    .incr("a", 1)
                    .incr("b", 1)
                    .query_async(&mut client)
                    .await
            }
            _ => {
                redis::pipe()
                    .atomic()
                    .incr("a", 1)
                    .query_async(&mut client)
                    .await
            }
        };
        assert!(result.is_err() || name(&client) != servers[idx].name());
        assert_eq!(
            cluster.status().active(),
            2 - idx,
            "the node of {key} is out"
        );
    }
}

fn node(name: &str) -> NodeId {
    NodeId::from(name)
}

fn penalty_box() -> PenaltyBox<NodeId> {
    PenaltyBox::new(
        Penalty::fluster_py()
            .min_wait(MIN_WAIT)
            .max_wait(4 * MIN_WAIT),
    )
}

#[test]
fn test_penalty_box() {
    let start = Instant::now();
    let mut waiting = penalty_box();
    waiting.add(node("foo"), start, 0.0);
    assert_eq!(waiting.due(start).count(), 0, "has to wait first");
    assert!(waiting.is_penalized(&node("foo")));
    assert_eq!(
        waiting.due(start + 2 * MIN_WAIT).collect::<Vec<_>>(),
        [node("foo")]
    );
    // Inside until its attempt has ended, so that nobody hands it out meanwhile.
    assert!(waiting.is_penalized(&node("foo")));
    assert_eq!(waiting.due(start + 2 * MIN_WAIT).count(), 0, "once");
    assert!(waiting.released(&node("foo")));
    assert!(!waiting.is_penalized(&node("foo")) && waiting.is_empty());
    assert_eq!(waiting.next_release(), None);
    assert_eq!(waiting.due(start + 100 * MIN_WAIT).count(), 0, "for good");
}

/// The original rounds a longer wait down to whole seconds: 0.5 s becomes 0 s, for ever. Here a
/// wait grows by its factor, whatever its length.
#[test]
fn test_penalty_box_backoff() {
    let mut now = Instant::now();
    let mut waiting = penalty_box();
    waiting.add(node("foo"), now, 0.0);
    for millis in [500, 750, 1125, 1687, 2000, 2000] {
        let wait = Duration::from_millis(millis);
        assert_eq!(
            waiting.due(now + wait - Duration::from_millis(1)).count(),
            0,
            "not before {wait:?}"
        );
        now += wait + Duration::from_millis(1);
        assert_eq!(
            waiting.due(now).collect::<Vec<_>>(),
            [node("foo")],
            "after {wait:?}"
        );
        // Still down: back into the box, for longer.
        waiting.failed(&node("foo"), now, 0.0);
    }
}
