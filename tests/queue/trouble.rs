//! Nodes that refuse, die or hold something else, and callers who ask for the impossible.

use std::time::{Duration, Instant};

use fluster::{ErrorKind, FlusterCluster, Outcome};

use super::rig::{SOON, cluster_of, drain, ms, next, stream_of, text, xlen};
use crate::support::{eventually, eventually_some, fleet, urls};

/// Pushes 30 and says how many each server has.
async fn spread_of(queue: &fluster::queue::Queue, servers: &[crate::support::Server]) -> Vec<u64> {
    for n in 0..30 {
        queue.push(n.to_string()).await.unwrap();
    }
    servers.iter().map(|s| xlen(s, &stream_of(queue))).collect()
}

#[tokio::test]
async fn a_node_that_refuses_is_passed_over() {
    let servers = fleet::<4>();
    servers[0].raw(["CONFIG", "SET", "maxmemory", "1"]);
    servers[1].raw(["CONFIG", "SET", "min-replicas-to-write", "1"]);
    servers[2].raw(["REPLICAOF", "127.0.0.1", &servers[3].port().to_string()]);
    servers[2].raw(["CONFIG", "SET", "replica-serve-stale-data", "yes"]);
    // Until the replica has its master's data it may be LOADING; either way it takes nothing.
    let cluster = cluster_of(&servers);
    let queue = cluster.queue("refusals");
    let first = queue.push("x").await.unwrap();
    assert_eq!(first.node().to_string(), servers[3].name());
    assert!(!first.may_be_twice());
    for n in 0..20 {
        let receipt = queue.push(n.to_string()).await.unwrap();
        assert_eq!(receipt.node().to_string(), servers[3].name());
    }
    let many = queue.push_many((0..100).map(|n| n.to_string())).await;
    assert!(
        many.iter()
            .all(|r| *r.as_ref().unwrap().node() == *servers[3].name())
    );
    // With the last one full, the error says what each of them said.
    let error = queue.clone().max_len(1).push("x").await.unwrap_err();
    let text = error.to_string();
    for part in ["OOM", "NOREPLICAS", "read only replica", "FULL"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(
        (error.tried().len(), error.outcome()),
        (4, Outcome::Answered)
    );
    assert_eq!(
        cluster.status().active(),
        4,
        "refusals are no reason to be out"
    );
}

#[tokio::test]
async fn a_full_node_is_passed_over() {
    let servers = fleet::<3>();
    let queue = cluster_of(&servers).queue("full").max_len(20);
    for _ in 0..18 {
        servers[0].raw(["XADD", &stream_of(&queue), "*", "i", "00", "p", "x"]);
    }
    // A message for later counts.
    servers[0].raw([
        "ZADD",
        "fluster:{full}:delayed",
        "99999999999999",
        "00:0:-:x",
    ]);
    let counts = spread_of(&queue, &servers).await;
    assert_eq!(counts[0], 19, "with the one for later it is full");
    assert!(
        counts[1] + counts[2] == 29 && counts[1].abs_diff(counts[2]) <= 20,
        "{counts:?}"
    );
}

#[tokio::test]
async fn a_dead_node_is_passed_over_and_its_messages_wait() {
    let servers: [_; 3] =
        std::array::from_fn(|_| crate::support::Server::builder().durable().start());
    let cluster = cluster_of(&servers);
    let queue = cluster.queue("outage").visibility(ms(2_000));
    let consumer = queue.consumer("g", "w").unwrap();
    for n in 0..9 {
        queue.push(format!("before {n}")).await.unwrap();
    }
    let held: Vec<_> = [
        next(&consumer).await,
        next(&consumer).await,
        next(&consumer).await,
    ]
    .into();
    servers[0].kill();
    let mut pushed = 0;
    for n in 0..20 {
        let receipt = queue.push(format!("during {n}")).await.unwrap();
        assert_ne!(receipt.node().to_string(), servers[0].name());
        pushed += 1;
    }
    let mut done = 0;
    for delivery in &held {
        done += usize::from(delivery.ack().await.is_ok_and(|acked| acked));
    }
    assert_eq!(done, 2, "one of them is the dead node's");
    drop(held);
    let seen = drain(&consumer, ms(1_000)).await;
    assert!(seen.len() >= pushed, "the others go on: {}", seen.len());
    servers[0].restart();
    let mut left = 29 - 2 - seen.len();
    while left > 0 {
        let delivery = next(&consumer).await;
        assert_eq!(delivery.node().to_string(), servers[0].name());
        assert!(delivery.ack().await.unwrap());
        left -= 1;
        drop(delivery);
    }
}

#[tokio::test]
async fn a_silent_node_may_have_it_and_another_one_gets_it_under_the_same_id() {
    let servers = fleet::<2>();
    let cluster = cluster_of(&servers);
    let queue = cluster.queue("silent");
    spread_of(&queue, &servers).await;
    queue.purge().await.unwrap();
    servers[0].stop();
    let mut doubled = Vec::new();
    for n in 0..4 {
        let receipt = queue.push(n.to_string()).await.unwrap();
        assert_eq!(receipt.node().to_string(), servers[1].name());
        doubled.extend(receipt.may_be_twice().then(|| receipt.id()));
    }
    assert!(
        !doubled.is_empty(),
        "a time-out says that it may have been executed"
    );
    servers[0].cont();
    // Ids are remembered where they are placed: by the same node for both copies.
    eventually(SOON, || cluster.status().active() == 2).await;
    // What timed out was executed nonetheless, and is told by its id.
    let consumer = queue.consumer("g", "w").unwrap();
    let (mut first, mut copies) = (0, 0);
    while first < 4 || copies < doubled.len() {
        let delivery = next(&consumer).await;
        match queue.is_first(delivery.id(), SOON).await.unwrap() {
            true => first += 1,
            false => {
                copies += 1;
                assert!(doubled.contains(&delivery.id()));
            }
        }
        delivery.ack().await.unwrap();
    }
    assert_eq!(first, 4);
}

#[tokio::test]
async fn with_all_nodes_out_it_says_so_at_once() {
    let servers = fleet::<2>();
    let cluster = cluster_of(&servers);
    let queue = cluster.queue("none");
    let consumer = queue.consumer("g", "w").unwrap();
    queue.push("x").await.unwrap();
    next(&consumer).await.ack().await.unwrap();
    servers.iter().for_each(|s| s.kill());
    eventually_some(SOON, async || {
        drop(queue.push("x").await);
        (cluster.status().active() == 0).then_some(())
    })
    .await;
    let began = Instant::now();
    let error = queue.push("x").await.unwrap_err();
    assert!(began.elapsed() < ms(500));
    assert_eq!(
        (error.error().kind(), error.tried().len()),
        (ErrorKind::ClusterEmpty, 0)
    );
    assert_eq!(error.outcome(), Outcome::NotSent);
    assert_eq!(
        queue.len().await.unwrap_err().kind(),
        ErrorKind::ClusterEmpty
    );
    let error = eventually_some(SOON, async || consumer.pop(ms(50)).await.err()).await;
    assert!(error.is_connection_error(), "{error}");
}

#[tokio::test]
async fn a_deleted_group_is_made_anew_and_nothing_unacknowledged_is_lost() {
    let servers = fleet::<1>();
    let queue = cluster_of(&servers).queue("group");
    let consumer = queue.consumer("g", "w").unwrap();
    queue.push_many((0..10).map(|n| n.to_string())).await;
    for _ in 0..3 {
        next(&consumer).await.ack().await.unwrap();
    }
    servers[0].raw(["XGROUP", "DESTROY", &stream_of(&queue), "g"]);
    queue.push("new").await.unwrap();
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 8 {
        let delivery = next(&consumer).await;
        seen.insert(text(&delivery));
        // A delivery from before is nobody's now; it comes again.
        delivery.ack().await.ok();
    }
    eventually_some(SOON, async || {
        drain(&consumer, ms(200)).await;
        (queue.len().await.ok()? == 0).then_some(())
    })
    .await;
    // Also when everything was deleted, and while a read waits.
    servers[0].raw(["FLUSHALL"]);
    queue.push("after").await.unwrap();
    assert_eq!(text(&next(&consumer).await), "after");
}

#[tokio::test]
async fn a_key_of_another_type_is_named() {
    let servers = fleet::<2>();
    let queue = cluster_of(&servers).queue("typed");
    let key = stream_of(&queue);
    servers[0].raw(["SET", &key, "text"]);
    let named = |text: &str| assert!(text.contains(&key) && text.contains("WRONGTYPE"), "{text}");
    let errors = [queue.push("a").await, queue.push("b").await];
    let errors: Vec<_> = errors.into_iter().filter_map(Result::err).collect();
    assert_eq!(errors.len(), 1, "the other node is fine");
    named(&errors[0].to_string());
    let consumer = queue.consumer("g", "w").unwrap();
    let (mut told, mut got) = (0, 0);
    while told < 2 || got < 1 {
        match consumer.pop(SOON).await {
            Ok(Some(delivery)) => got += usize::from(delivery.ack().await.unwrap()),
            Ok(None) => panic!("neither told nor got"),
            Err(error) => {
                named(&error.to_string());
                told += 1;
            }
        }
    }
    named(&queue.len().await.unwrap_err().to_string());
    // It is mended, and read.
    servers[0].raw(["DEL", &key]);
    queue.push("c").await.unwrap();
    queue.push("d").await.unwrap();
    let mut left = 2;
    while left > 0 {
        if let Ok(Some(delivery)) = consumer.pop(SOON).await {
            left -= usize::from(delivery.ack().await.unwrap());
        }
    }
}

#[tokio::test]
async fn an_entry_of_somebody_else_goes_to_the_dead_letters() {
    let servers = fleet::<1>();
    let queue = cluster_of(&servers).queue("foreign");
    servers[0].raw(["XADD", &stream_of(&queue), "*", "job", "mine"]);
    queue.push("good").await.unwrap();
    let consumer = queue.consumer("g", "w").unwrap();
    assert_eq!(text(&next(&consumer).await), "good");
    let letters = eventually_some(SOON, async || {
        let letters = queue.dead().list(9).await.unwrap();
        (!letters.is_empty()).then_some(letters)
    })
    .await;
    assert_eq!(
        (letters[0].payload(), letters[0].id()),
        (&b"job mine"[..], None)
    );
    assert!(
        letters[0].reason().contains("not a message"),
        "{}",
        letters[0].reason()
    );
}

#[tokio::test]
async fn bad_input_is_an_error_with_a_remedy() {
    let servers = fleet::<1>();
    let cluster = cluster_of(&servers);
    let queue = cluster.queue("input");
    let cases = [
        cluster.queue(""),
        cluster.queue("a{b"),
        queue.clone().visibility(Duration::ZERO),
        queue.clone().visibility(Duration::MAX),
        queue.clone().max_attempts(0),
        queue.clone().max_len(0),
        queue.clone().prefetch(0),
        queue.clone().max_payload(512 << 20),
    ];
    for bad in cases {
        let error = bad.push("x").await.unwrap_err();
        assert_eq!(error.error().kind(), ErrorKind::Invalid, "{error}");
        assert_eq!(
            bad.consumer("g", "w").unwrap_err().kind(),
            ErrorKind::Invalid
        );
        assert_eq!(bad.len().await.unwrap_err().kind(), ErrorKind::Invalid);
        assert!(bad.push_many(["x"]).await[0].is_err());
    }
    for (group, name) in [("", "w"), ("g", ""), ("a b", "w"), ("g", "{}")] {
        assert_eq!(
            queue.consumer(group, name).unwrap_err().kind(),
            ErrorKind::Invalid
        );
    }
    // 512 MB: refused before anything is sent, and the connection lives.
    let big = vec![0; 512 << 20];
    let error = queue.push(&big).await.unwrap_err();
    assert!(error.to_string().contains("536870912 bytes"), "{error}");
    assert_eq!(error.outcome(), Outcome::NotSent);
    let error = queue.push_by_key(&big, "x").await.unwrap_err();
    assert!(error.to_string().contains("the key has"), "{error}");
    assert_eq!(servers[0].raw(["DBSIZE"]), "0");
    let dials = cluster.status().nodes[0].dials;
    queue.push("x").await.unwrap();
    assert!(cluster.status().nodes[0].dials <= dials.max(1));
    assert!(queue.drain("nobody", ms(1)).await.is_err());
    // The longest wait is no overflow.
    let consumer = queue.consumer("g", "w").unwrap();
    assert!(consumer.pop(Duration::MAX).await.unwrap().is_some());
}

#[tokio::test]
async fn a_pool_that_is_taken_is_said_to_be() {
    let servers = fleet::<1>();
    let cluster = FlusterCluster::builder()
        .urls(urls(&servers))
        .pool_size(1)
        .build()
        .unwrap();
    let queue = cluster.queue("pool");
    let first = queue.consumer("g", "first").unwrap();
    queue.push("x").await.unwrap();
    next(&first).await.ack().await.unwrap();
    let second = queue.consumer("g", "second").unwrap();
    let error = second.pop(SOON).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Saturated);
    assert!(error.to_string().contains("pool_size"), "{error}");
    first.close().await;
    queue.push("y").await.unwrap();
    eventually_some(SOON, async || second.pop(ms(200)).await.ok().flatten()).await;
}

/// The clock of a server jumps: leases end early and nothing else. Emulated by the idle time of the entries,
/// which is what a jump changes.
#[tokio::test]
async fn a_jump_of_the_servers_clock_repeats_and_loses_nothing() {
    let servers = fleet::<1>();
    let queue = cluster_of(&servers).queue("clock").visibility(ms(20_000));
    let consumer = queue.consumer("g", "w").unwrap();
    queue.push("x").await.unwrap();
    let held = next(&consumer).await;
    let name = consumer.name().to_owned();
    let key = stream_of(&queue);
    let pending = servers[0].raw(["XPENDING", &key, "g", "-", "+", "1"]);
    let id = pending.lines().next().unwrap().to_owned();
    servers[0].raw([
        "XCLAIM", &key, "g", &name, "0", &id, "IDLE", "3600000", "JUSTID",
    ]);
    let again = next(&consumer).await;
    assert_eq!(
        (again.id(), again.attempt()),
        (held.id(), 1),
        "uncounted the first time"
    );
    assert!(!held.ack().await.unwrap(), "it had been taken away");
    assert!(again.ack().await.unwrap());
    eventually(SOON, || xlen(&servers[0], &key) == 0).await;
}
