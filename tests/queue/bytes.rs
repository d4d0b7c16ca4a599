//! What is held, moved and kept back is bounded in bytes too.

use fluster::pubsub::Notice;
use redis::AsyncCommands;

use super::rig::{SOON, calls, cluster_of, ms, next, stream_of, xlen};
use crate::support::{eventually, eventually_some, fleet};

const MIB: usize = 1 << 20;

#[tokio::test]
async fn a_consumer_holds_large_messages_by_their_bytes() {
    let servers = fleet::<1>();
    let queue = cluster_of(&servers).queue("large").prefetch(1_000);
    let payload = vec![b'x'; MIB];
    for _ in 0..100 {
        queue.push(&payload).await.unwrap();
    }
    let consumer = queue.consumer("g", "w").unwrap();
    for _ in 0..40 {
        assert!(next(&consumer).await.ack().await.unwrap());
    }
    let held = async || {
        let depths = queue.depths().await.unwrap();
        depths[0].1.as_ref().unwrap().in_flight
    };
    tokio::time::sleep(ms(500)).await;
    let held = held().await;
    assert!((1..=16).contains(&held), "{held} MiB are held for later");
}

#[tokio::test]
async fn the_chores_move_so_much_that_the_server_answers_in_between() {
    let servers = fleet::<1>();
    let queue = cluster_of(&servers).queue("moved");
    let mut raw = servers[0].connect().unwrap();
    for n in 0..150 {
        let mut member = format!("{n:02x}:0:-:").into_bytes();
        member.resize(MIB, b'x');
        raw.call([b"ZADD", &b"fluster:{moved}:delayed"[..], b"1", &member])
            .unwrap();
    }
    let consumer = queue.consumer("g", "w").unwrap();
    eventually(SOON, || calls(&servers[0], "zrem") == 150).await;
    // As many scripts as it takes by 8 MiB each; some others run beside them.
    let scripts = calls(&servers[0], "evalsha") + calls(&servers[0], "eval");
    assert!(scripts >= 150 / 16, "{scripts} scripts moved 150 MiB");
    drop(consumer);
}

#[tokio::test]
async fn leases_that_end_together_move_by_their_bytes() {
    let servers = fleet::<1>();
    let queue = cluster_of(&servers).queue("ended").visibility(ms(300));
    let key = stream_of(&queue);
    let payload = vec![b'x'; MIB];
    for _ in 0..100 {
        queue.push(&payload).await.unwrap();
    }
    servers[0].raw(["XGROUP", "CREATE", &key, "g", "0"]);
    let mut raw = servers[0].connect().unwrap();
    for _ in 0..100 {
        raw.call([
            "XREADGROUP",
            "GROUP",
            "g",
            "gone:00000000:300",
            "COUNT",
            "1",
            "STREAMS",
            &key,
            ">",
        ])
        .unwrap();
    }
    tokio::time::sleep(ms(400)).await;
    servers[0].raw(["CONFIG", "RESETSTAT"]);
    let consumer = queue.consumer("g", "w").unwrap();
    eventually(SOON, || xlen(&servers[0], &key) == 0).await;
    let scripts = calls(&servers[0], "evalsha") + calls(&servers[0], "eval");
    assert!(scripts >= 100 / 16, "{scripts} scripts moved 100 MiB");
    drop(consumer);
}

#[tokio::test]
async fn a_drain_moves_large_messages_by_their_bytes() {
    let servers = fleet::<2>();
    let queue = cluster_of(&servers).queue("drained");
    let mut raw = servers[0].connect().unwrap();
    for n in 0..60 {
        let mut member = format!("{n:02x}:0:-:").into_bytes();
        member.resize(MIB, b'x');
        raw.call([
            b"ZADD",
            &b"fluster:{drained}:delayed"[..],
            b"99999999999999",
            &member,
        ])
        .unwrap();
    }
    let drained = queue.drain(servers[0].name(), ms(1)).await.unwrap();
    assert_eq!(drained.moved, 60);
    let reads = calls(&servers[0], "zrange");
    assert!(reads >= 60 / 16, "{reads} reads of 60 MiB");
    assert_eq!(servers[1].raw(["ZCARD", "fluster:{drained}:delayed"]), "60");
}

#[tokio::test]
async fn a_slow_subscriber_holds_no_more_than_so_many_bytes() {
    let servers = fleet::<1>();
    let mut cluster = cluster_of(&servers);
    let mut news = cluster.subscribe(["news"]).await.unwrap();
    let payload = vec![b'x'; MIB];
    for _ in 0..150 {
        let heard: u64 = cluster.publish("news", &payload).await.unwrap();
        assert_eq!(heard, 1);
    }
    tokio::time::sleep(ms(500)).await;
    let mut got = 0;
    loop {
        match tokio::time::timeout(SOON, news.next())
            .await
            .unwrap()
            .unwrap()
        {
            Notice::Message(_) => got += 1,
            Notice::Gap { .. } => break,
            _ => {}
        }
    }
    assert!((16..=33).contains(&got), "{got} MiB waited");
    // It listens on. (More than 32 MB at once the server itself does not keep for a subscriber.)
    let big = vec![b'y'; 20 * MIB];
    let heard: u64 = cluster
        .with_deadline(SOON)
        .publish("news", &big)
        .await
        .unwrap_or(1);
    assert_eq!(heard, 1);
    let seen = eventually_some(SOON, async || {
        match tokio::time::timeout(SOON, news.next())
            .await
            .unwrap()
            .unwrap()
        {
            Notice::Message(m) => Some(m.payload.len()),
            _ => None,
        }
    })
    .await;
    assert_eq!(seen, big.len());
}
