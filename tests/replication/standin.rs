//! What a stand-in is given lives for a limited time.

use std::time::Duration;

use redis::AsyncCommands;

use super::{key_on, lose, patient};
use crate::support::{Server, fleet};

/// The time to live in seconds, rounded up; -1: for ever.
fn ttl(server: &Server, key: &str) -> i64 {
    let ms: i64 = server.raw(["PTTL", key]).parse().unwrap();
    if ms < 0 { ms } else { (ms + 999) / 1000 }
}

#[tokio::test]
async fn every_way_to_write_to_a_stand_in_is_capped() {
    let servers: [Server; 2] = fleet();
    let cluster = patient(&servers)
        .standin_ttl(Duration::from_secs(30))
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
