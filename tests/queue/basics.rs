//! Push, pop, settle.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use fluster::ErrorKind;
use fluster::queue::Spread;
use futures_util::StreamExt;

use super::rig::{SOON, cluster_of, drain, ms, next, stream_of, text, xlen};
use crate::support::{eventually_some, fleet};

#[tokio::test]
async fn what_is_pushed_is_delivered_once_and_then_gone() {
    let servers = fleet::<3>();
    let queue = cluster_of(&servers).queue("jobs");
    let mut pushed = BTreeSet::new();
    for n in 0..30 {
        let receipt = queue.push(format!("job {n}")).await.unwrap();
        assert!(!receipt.may_be_twice());
        pushed.insert((receipt.id(), receipt.node().clone()));
    }
    for server in &servers {
        assert_eq!(xlen(server, &stream_of(&queue)), 10, "round robin is even");
    }
    assert_eq!(queue.len().await.unwrap(), 30);
    let consumer = queue.consumer("workers", "w").unwrap();
    let mut seen = BTreeSet::new();
    for _ in 0..30 {
        let delivery = next(&consumer).await;
        assert_eq!((delivery.attempt(), delivery.key()), (1, None));
        assert!(!delivery.is_lost());
        seen.insert((delivery.id(), delivery.node().clone()));
        assert!(delivery.ack().await.unwrap());
        assert!(!delivery.ack().await.unwrap(), "it was settled before");
    }
    assert_eq!(seen, pushed);
    assert_eq!(queue.len().await.unwrap(), 0);
    for server in &servers {
        assert_eq!(
            xlen(server, &stream_of(&queue)),
            0,
            "acknowledged entries are removed"
        );
    }
    assert!(consumer.pop(ms(50)).await.unwrap().is_none());
    consumer.close().await;
}

#[tokio::test]
async fn payloads_and_keys_keep_every_byte() {
    let servers = fleet::<2>();
    let queue = cluster_of(&servers).queue("bytes");
    let every: Vec<u8> = (0..=255).collect();
    let consumer = queue.consumer("g", "w").unwrap();
    for payload in [&b""[..], b"\r\n", &every, &vec![7; 1 << 20]] {
        queue.push(payload).await.unwrap();
        queue.push_by_key(&every, payload).await.unwrap();
        queue.push_at(ms(1), payload).await.unwrap();
        for _ in 0..3 {
            let delivery = next(&consumer).await;
            assert!(delivery.payload() == payload);
            assert!(delivery.key().is_none_or(|key| key == every));
            delivery.ack().await.unwrap();
        }
    }
}

#[tokio::test]
async fn many_are_pushed_at_once_with_a_result_each() {
    let servers = fleet::<3>();
    let queue = cluster_of(&servers).queue("many").max_payload(100);
    let mut payloads: Vec<Vec<u8>> = (0..5_000).map(|n: u32| n.to_string().into()).collect();
    payloads[7] = vec![0; 101];
    let results = queue.push_many(&payloads).await;
    assert_eq!(results.len(), 5_000);
    for (n, result) in results.iter().enumerate() {
        assert_eq!(result.is_ok(), n != 7, "{n}: {result:?}");
    }
    assert!(
        results[7]
            .as_ref()
            .unwrap_err()
            .to_string()
            .contains("101 bytes")
    );
    let ids: BTreeSet<_> = results.iter().flatten().map(|r| r.id()).collect();
    assert_eq!(ids.len(), 4_999);
    for (_, depth) in queue.depths().await.unwrap() {
        let messages = depth.unwrap().messages;
        assert!((1_650..1_700).contains(&messages), "{messages}");
    }
    // With a limit they go through the script.
    let limited = queue.clone().max_len(2_000);
    let results = limited.push_many((0..2_000).map(|n| n.to_string())).await;
    let (ok, failed): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((ok.len(), failed.len()), (1_001, 999));
    let error = failed.into_iter().next().unwrap().unwrap_err();
    assert_eq!(error.tried().len(), 3, "{error}");
    assert!(error.to_string().contains("FULL"), "{error}");
    let consumer = queue.consumer("g", "w").unwrap();
    let mut popped = Vec::new();
    while popped.len() < 6_000 {
        popped.push(next(&consumer).await);
    }
    let acked = consumer.ack_many(&popped).await;
    assert!(acked.iter().all(|a| *a.as_ref().unwrap()));
    assert_eq!(queue.len().await.unwrap(), 0);
    let again = consumer.ack_many(&popped[..10]).await;
    assert!(
        again.iter().all(|a| !*a.as_ref().unwrap()),
        "settled before"
    );
}

#[tokio::test]
async fn messages_of_one_key_are_on_its_node_in_their_order() {
    let servers = fleet::<3>();
    let cluster = cluster_of(&servers);
    let queue = cluster.queue("keyed").spread(Spread::ByKey);
    let keys = ["a", "b", "c", "d", "e", "f"];
    for n in 0..20 {
        for key in keys {
            let receipt = queue.push_by_key(key, n.to_string()).await.unwrap();
            assert_eq!(*receipt.node(), cluster.get_node(key).unwrap());
        }
    }
    let consumer = queue.consumer("g", "w").unwrap();
    let mut last = std::collections::BTreeMap::new();
    for _ in 0..120 {
        let delivery = next(&consumer).await;
        let n: i32 = text(&delivery).parse().unwrap();
        let key = delivery.key().unwrap().to_vec();
        let before = last.insert(key, n).unwrap_or(-1);
        assert_eq!(n, before + 1);
        delivery.ack().await.unwrap();
    }
    // Without a key the id decides: all nodes get some.
    for _ in 0..60 {
        queue.push("x").await.unwrap();
    }
    for (node, depth) in queue.depths().await.unwrap() {
        assert!(depth.unwrap().messages > 0, "{node}");
    }
}

#[tokio::test]
async fn the_emptiest_node_gets_the_next_one() {
    let servers = fleet::<3>();
    let cluster = cluster_of(&servers);
    let queue = cluster.queue("uneven").spread(Spread::LeastDepth);
    let key = stream_of(&queue);
    for (server, n) in servers.iter().zip([40, 10, 0]) {
        for _ in 0..n {
            server.raw(["XADD", &key, "*", "i", "00", "p", "x"]);
        }
    }
    for _ in 0..70 {
        queue.push("y").await.unwrap();
    }
    for server in &servers {
        assert_eq!(xlen(server, &key), 40, "{}", server.name());
    }
}

#[tokio::test]
async fn a_delayed_message_comes_when_it_is_due() {
    let servers = fleet::<2>();
    let queue = cluster_of(&servers).queue("later");
    let consumer = queue.consumer("g", "w").unwrap();
    let began = Instant::now();
    queue.push_at(ms(700), "second").await.unwrap();
    queue.push_at(ms(0), "first").await.unwrap();
    let at = SystemTime::now() + ms(1_800);
    queue.push_at(at, "third").await.unwrap();
    queue
        .push_at(SystemTime::UNIX_EPOCH, "first")
        .await
        .unwrap();
    assert_eq!(queue.len().await.unwrap(), 4);
    for (text_, least) in [
        ("first", 0),
        ("first", 0),
        ("second", 700),
        ("third", 1_790),
    ] {
        let delivery = next(&consumer).await;
        assert_eq!(text(&delivery), text_);
        let after = began.elapsed();
        assert!(
            after >= ms(least) && after < ms(least) + ms(6_000),
            "{text_}: {after:?}"
        );
        delivery.ack().await.unwrap();
    }
    let error = queue.push_at(Duration::MAX, "never").await.unwrap_err();
    assert_eq!(error.error().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_nack_comes_back_at_once_or_later_and_counts() {
    let servers = fleet::<2>();
    // The delay is longer than the visibility: it holds all the same.
    let queue = cluster_of(&servers).queue("nacks").visibility(ms(300));
    let consumer = queue.consumer("g", "w").unwrap();
    queue.push("x").await.unwrap();
    let first = next(&consumer).await;
    assert!(first.nack(Duration::ZERO).await.unwrap());
    assert!(!first.nack(Duration::ZERO).await.unwrap(), "settled before");
    let began = Instant::now();
    let second = next(&consumer).await;
    assert!(
        began.elapsed() < ms(3_000),
        "at once: {:?}",
        began.elapsed()
    );
    assert_eq!((second.attempt(), second.id()), (2, first.id()));
    let began = Instant::now();
    assert!(second.nack(ms(1_500)).await.unwrap());
    let third = next(&consumer).await;
    let after = began.elapsed();
    assert!(after >= ms(1_500) && after < ms(8_000), "{after:?}");
    assert_eq!((third.attempt(), text(&third).as_str()), (3, "x"));
    assert!(third.nack(Duration::MAX).await.is_err());
    assert!(third.ack().await.unwrap());
    assert_eq!(queue.len().await.unwrap(), 0);
}

#[tokio::test]
async fn a_stream_gives_deliveries_until_the_shutdown() {
    let servers = fleet::<2>();
    let cluster = cluster_of(&servers);
    let queue = cluster.queue("stream");
    let consumer = queue.consumer("g", "w").unwrap();
    queue.push_many((0..10).map(|n| n.to_string())).await;
    let mut jobs = consumer.stream();
    for _ in 0..10 {
        let job = jobs.next().await.unwrap().unwrap();
        job.ack().await.unwrap();
    }
    let ended = async { jobs.next().await.is_none() };
    let (ended, ()) = tokio::join!(ended, cluster.shutdown(ms(100)));
    assert!(ended);
    drop(jobs);
    let error = consumer.pop(SOON).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    let error = queue.push("x").await.unwrap_err();
    assert_eq!(error.error().kind(), ErrorKind::Closed);
    assert_eq!(
        queue.consumer("g", "w").unwrap_err().kind(),
        ErrorKind::Closed
    );
}

#[tokio::test]
async fn each_group_gets_everything_and_what_all_have_done_is_removed() {
    let servers = fleet::<2>();
    let queue = cluster_of(&servers).queue("news");
    let (a, b) = (
        queue.consumer("a", "w").unwrap(),
        queue.consumer("b", "w").unwrap(),
    );
    let all: BTreeSet<String> = (0..50).map(|n| n.to_string()).collect();
    // Both groups are there before anything is removed.
    eventually_some(SOON, async || {
        let groups = servers
            .iter()
            .map(|s| s.try_raw(["XINFO", "GROUPS", &stream_of(&queue)]));
        let text: Vec<String> = groups
            .map(|g| g.map_or(String::new(), |g| g.to_string()))
            .collect();
        text.iter()
            .all(|t| t.contains("\na\n") && t.contains("\nb\n"))
            .then_some(())
    })
    .await;
    queue.push_many(&all).await;
    let first = next(&a).await;
    assert!(
        first.nack(Duration::ZERO).await.unwrap(),
        "again, for a alone"
    );
    for consumer in [&a, &b] {
        let seen = drain(consumer, ms(700)).await;
        assert_eq!(seen.keys().cloned().collect::<BTreeSet<_>>(), all);
        assert!(seen.values().all(|n| *n == 1), "{seen:?}");
    }
    eventually_some(SOON, async || (queue.len().await.ok()? == 0).then_some(())).await;
}

#[tokio::test]
async fn a_purged_queue_is_empty_and_goes_on() {
    let servers = fleet::<2>();
    let queue = cluster_of(&servers).queue("purge");
    let consumer = queue.consumer("g", "w").unwrap();
    queue.push_many((0..100).map(|n| n.to_string())).await;
    queue
        .push_at(Duration::from_secs(60), "later")
        .await
        .unwrap();
    let held = next(&consumer).await;
    let purged = queue.purge().await.unwrap();
    let sum: u64 = purged.into_iter().map(|(_, n)| n.unwrap()).sum();
    assert_eq!(sum, 101);
    assert_eq!(queue.len().await.unwrap(), 0);
    held.ack().await.unwrap();
    // What was fetched before is still handed out, and settled.
    drain(&consumer, ms(300)).await;
    queue.push("new").await.unwrap();
    assert_eq!(text(&next(&consumer).await), "new");
}

#[tokio::test]
async fn the_first_delivery_of_an_id_is_told_from_its_copies() {
    let servers = fleet::<3>();
    let queue = cluster_of(&servers).queue("once");
    let id = queue.push("x").await.unwrap().id();
    let copy = queue.push_as(id, "x").await.unwrap();
    assert_eq!(copy.id(), id);
    let consumer = queue.consumer("g", "w").unwrap();
    let mut firsts = 0;
    for _ in 0..2 {
        let delivery = next(&consumer).await;
        assert_eq!(delivery.id(), id);
        firsts += u32::from(queue.is_first(delivery.id(), SOON).await.unwrap());
        delivery.ack().await.unwrap();
    }
    assert_eq!(firsts, 1);
    queue.forget_id(id).await.unwrap();
    assert!(queue.is_first(id, ms(1)).await.unwrap());
    assert!(queue.is_first(id, Duration::ZERO).await.is_err());
    assert!(queue.is_first(id, Duration::MAX).await.is_err());
}
