//! A node that returns without old values: real servers, stopped and started anew with what they had.

mod bad_input;
mod chaos;
mod killed;
mod many;
mod others;
#[cfg(feature = "gossip")]
mod shared;

use std::time::Duration;

use fluster::{ClusterBuilder, Event, FlusterCluster, OnReturn, OnUnknown, Penalty, UnknownReason};
use redis::AsyncCommands;

use crate::support::{Server, eventually, eventually_some, urls};
use crate::workload::SOON;

/// What is out is asked again soon.
pub fn hasty(servers: &[Server]) -> ClusterBuilder {
    let ms = Duration::from_millis;
    FlusterCluster::builder()
        .urls(urls(servers))
        .penalty(Penalty::default().min_wait(ms(50)).max_wait(ms(200)))
        .deadline(Duration::from_secs(5))
}

/// A cluster that takes from a node that returns what was written elsewhere.
pub fn invalidating(servers: &[Server]) -> FlusterCluster {
    let builder = hasty(servers).on_return(OnReturn::Invalidate);
    builder.build().unwrap()
}

/// Servers that have after a restart what they had before.
pub fn durable<const N: usize>() -> [Server; N] {
    std::array::from_fn(|_| Server::builder().durable().start())
}

/// Keys with this beginning whose owner is this server.
pub fn keys_of(cluster: &FlusterCluster, server: &Server, prefix: &str, n: usize) -> Vec<String> {
    let all = (0..).map(|i| format!("{prefix}{i}"));
    let own = all.filter(|key| cluster.get_node(key).unwrap() == *server.name().as_str());
    own.take(n).collect()
}

/// Until this cluster has the server out.
pub async fn is_out(cluster: &FlusterCluster, server: &Server) {
    for i in 0..10_000 {
        if !cluster.status().node(server.name()).unwrap().admits {
            return;
        }
        let key = format!("any{}", i % 64);
        let _ = cluster
            .run::<Option<String>>(redis::cmd("GET").arg(&key))
            .await;
    }
    panic!("{} is not out", server.name());
}

/// Until this cluster has it back.
pub async fn is_back(cluster: &FlusterCluster, server: &Server) {
    let admits = || cluster.status().node(server.name()).unwrap().admits;
    eventually(SOON, admits).await;
}

/// Again and again, for a machine that has no time for it.
async fn run<T: redis::FromRedisValue>(cluster: &FlusterCluster, cmd: &redis::Cmd) -> T {
    eventually_some(SOON, async || match cluster.run::<T>(cmd).await {
        Ok(value) => Some(value),
        Err(e) if e.is_connection_error() => None,
        Err(e) => panic!("{e}"),
    })
    .await
}

pub async fn get(cluster: &FlusterCluster, key: &str) -> Option<String> {
    run(cluster, redis::cmd("GET").arg(key)).await
}

pub async fn set(cluster: &FlusterCluster, key: &str, value: &str) {
    run::<()>(cluster, redis::cmd("SET").arg(key).arg(value)).await;
}

/// How the server goes and comes back.
#[derive(Clone, Copy, Debug)]
enum Outage {
    Stopped,
    Killed,
}

impl Outage {
    fn begin(self, server: &Server) {
        match self {
            Self::Stopped => server.stop(),
            Self::Killed => server.kill(),
        }
    }

    fn end(self, server: &Server) {
        match self {
            Self::Stopped => server.cont(),
            Self::Killed => server.restart(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_overwritten_or_deleted_meanwhile_is_a_miss_and_with_serve_it_is_old() {
    for outage in [Outage::Stopped, Outage::Killed] {
        for on_return in [OnReturn::Serve, OnReturn::Invalidate] {
            let servers: [Server; 3] = durable();
            let cluster = hasty(&servers).on_return(on_return).build().unwrap();
            let mut events = cluster.events();
            let keys = keys_of(&cluster, &servers[0], "k", 30);
            for key in &keys {
                set(&cluster, key, "old").await;
            }
            outage.begin(&servers[0]);
            is_out(&cluster, &servers[0]).await;
            for key in &keys[..10] {
                set(&cluster, key, "new").await;
            }
            // Many in a pipeline, and one by one.
            let deletes = cluster.del_many(&keys[10..15]).await;
            assert!(deletes.iter().all(Result::is_ok), "{deletes:?}");
            for key in &keys[15..20] {
                run::<u64>(&cluster, redis::cmd("DEL").arg(key)).await;
            }
            outage.end(&servers[0]);
            is_back(&cluster, &servers[0]).await;
            let mut got = Vec::new();
            for key in &keys {
                got.push(get(&cluster, key).await);
            }
            let old = got
                .iter()
                .filter(|value| value.as_deref() == Some("old"))
                .count();
            if on_return == OnReturn::Serve {
                assert_eq!(old, 30, "{outage:?}: as it was before its outage");
                continue;
            }
            assert_eq!(
                old, 10,
                "{outage:?}: what nobody wrote is still there: {got:?}"
            );
            assert!(got[..20].iter().all(Option::is_none), "{outage:?}: {got:?}");
            // And so are the copies: the next outage does not bring them back.
            let copies = || {
                servers[1..]
                    .iter()
                    .any(|s| keys.iter().any(|key| s.get(key).is_some()))
            };
            eventually(SOON, || !copies()).await;
            let told = cluster.status().node(servers[0].name()).unwrap().clone();
            assert_eq!((told.invalidated, told.unknown), (20, None), "{outage:?}");
            let mut taken = 0;
            while taken < 20 {
                let event = tokio::time::timeout(SOON, events.next()).await.unwrap();
                match event.unwrap() {
                    Event::KeysInvalidated { node, keys, .. } => {
                        assert_eq!(node, *servers[0].name().as_str());
                        taken += keys;
                    }
                    Event::ReturnUnknown { reason, .. } => panic!("{reason}"),
                    _ => {}
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_takes_its_own_keys_back_and_leaves_all_others_alone() {
    let servers: [Server; 3] = durable();
    for replicas in [1, 2] {
        let cluster = hasty(&servers).build().unwrap();
        let prefix = format!("c{replicas}:");
        let cache = cluster.cache(&prefix).replicas(replicas).read_repair(None);
        let cache = cache.raw::<String>().unwrap();
        let hour = Duration::from_secs(3600);
        let keys = keys_of(&cluster, &servers[0], &prefix, 20);
        let other = &keys_of(&cluster, &servers[0], "other", 1)[0];
        let short = |key: &String| key[prefix.len()..].to_owned();
        for key in &keys {
            cache
                .set(short(key), &"old".to_owned(), hour)
                .await
                .unwrap();
        }
        set(&cluster, other, "old").await;
        servers[0].stop();
        is_out(&cluster, &servers[0]).await;
        for key in &keys[..10] {
            cache
                .set(short(key), &"new".to_owned(), hour)
                .await
                .unwrap();
        }
        for key in &keys[10..] {
            let _ = cache.delete(short(key)).await;
        }
        set(&cluster, other, "new").await;
        servers[0].cont();
        is_back(&cluster, &servers[0]).await;
        for (at, key) in keys.iter().enumerate() {
            let got = cache.get(short(key)).await.unwrap();
            let is_right = got.is_none() || (at < 10 && got.as_deref() == Some("new"));
            assert!(is_right, "{replicas}: {key} is {got:?}");
        }
        assert_eq!(
            get(&cluster, other).await.as_deref(),
            Some("old"),
            "nobody asked for it"
        );
        cluster.shutdown(SOON).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_two_nodes_and_two_replicas_the_one_that_is_left_has_the_notes() {
    let servers: [Server; 2] = durable();
    let cluster = hasty(&servers).build().unwrap();
    let cache = cluster.cache("c:").replicas(2).read_repair(None);
    let cache = cache.raw::<String>().unwrap();
    let hour = Duration::from_secs(3600);
    for i in 0..20 {
        cache
            .set(format!("{i}"), &"old".to_owned(), hour)
            .await
            .unwrap();
    }
    servers[0].stop();
    is_out(&cluster, &servers[0]).await;
    for i in 0..20 {
        cache
            .set(format!("{i}"), &"new".to_owned(), hour)
            .await
            .unwrap();
    }
    servers[0].cont();
    is_back(&cluster, &servers[0]).await;
    let old = (0..20).filter(|i| servers[0].get(&format!("c:{i}")).as_deref() == Some("old"));
    assert_eq!(old.count(), 0);
    for i in 0..20 {
        assert_eq!(
            servers[1].get(&format!("c:{i}")).as_deref(),
            Some("new"),
            "it holds them itself"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_write_is_noted() {
    let servers: [Server; 2] = durable();
    let cluster = invalidating(&servers);
    let tag = &keys_of(&cluster, &servers[0], "t", 1)[0];
    let key = |name: &str| format!("{{{tag}}}{name}");
    let names = [
        "run", "incr", "list", "m1", "m2", "client", "p1", "p2", "a1", "a2", "eval", "aside",
        "watched",
    ];
    for name in names {
        let kind = match name {
            "list" => servers[0].raw(["RPUSH", &key(name), "old"]),
            _ => servers[0].raw(["SET", &key(name), "7"]),
        };
        assert!(!kind.starts_with('-'), "{kind}");
    }
    servers[0].stop();
    is_out(&cluster, &servers[0]).await;
    let mut one = cluster.clone();
    let _: () = one.set(key("run"), 1).await.unwrap();
    let _: i64 = one.incr(key("incr"), 1).await.unwrap();
    let _: i64 = one.rpush(key("list"), "item").await.unwrap();
    let _: () = one.mset(&[(key("m1"), 1), (key("m2"), 2)]).await.unwrap();
    let mut client = cluster.get_client(key("client")).unwrap();
    let _: () = client.set(key("client"), 1).await.unwrap();
    let mut pipe = redis::pipe();
    pipe.set(key("p1"), 1).incr(key("p2"), 1).get(key("p1"));
    let (_, n, got): ((), i64, i64) = pipe.query_async(&mut one).await.unwrap();
    assert_eq!((n, got), (1, 1), "the notes add nothing to the answer");
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
    let mut aside = client.dedicated().await.unwrap();
    let _: () = aside.set(key("aside"), 1).await.unwrap();
    let mut pipe = redis::pipe();
    pipe.atomic().set(key("watched"), 1);
    let _: () = pipe.query_async(&mut aside).await.unwrap();
    drop(aside);
    let noted = || {
        let set = format!("fluster:{{return}}:{}:open", servers[0].name());
        servers[1].raw(["SCARD", &set])
    };
    eventually(SOON, || noted() == names.len().to_string()).await;
    servers[0].cont();
    is_back(&cluster, &servers[0]).await;
    for name in names {
        assert_eq!(servers[0].raw(["EXISTS", &key(name)]), "0", "{name} is old");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_never_lost_the_node_and_one_that_is_new_find_the_notes_within_a_second() {
    let servers: [Server; 3] = durable();
    let steady = invalidating(&servers);
    let writer = invalidating(&servers);
    let keys = keys_of(&writer, &servers[0], "k", 10);
    for key in &keys {
        set(&steady, key, "old").await;
    }
    // Only the writer takes it for out; and dies before it has it back.
    writer.drain_node(servers[0].name()).unwrap();
    for key in &keys {
        set(&writer, key, "new").await;
    }
    writer.shutdown(SOON).await;
    let is_old = || keys.iter().any(|key| servers[0].get(key).is_some());
    eventually(Duration::from_secs(10), || !is_old()).await;
    // And once more, with nobody else there than one who is new.
    steady.shutdown(SOON).await;
    let writer = invalidating(&servers);
    for key in &keys {
        set(&writer, key, "old").await;
    }
    writer.drain_node(servers[0].name()).unwrap();
    for key in &keys {
        set(&writer, key, "new").await;
    }
    writer.shutdown(SOON).await;
    let new = invalidating(&servers);
    let _ = get(&new, "anything").await;
    eventually(Duration::from_secs(10), || !is_old()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_restored_is_prepared_like_one_that_was_out() {
    let servers: [Server; 2] = durable();
    let cluster = invalidating(&servers);
    let key = &keys_of(&cluster, &servers[0], "k", 1)[0];
    set(&cluster, key, "old").await;
    cluster.drain_node(servers[0].name()).unwrap();
    set(&cluster, key, "new").await;
    cluster.restore_node(servers[0].name()).unwrap();
    is_back(&cluster, &servers[0]).await;
    assert_eq!(get(&cluster, key).await, None);
    eventually(SOON, || servers[1].get(key).is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_are_not_undone_in_whatever_order_nodes_go_and_come_back() {
    for order in [[0, 1], [1, 0]] {
        let servers: [Server; 3] = durable();
        let cluster = invalidating(&servers);
        let keys = keys_of(&cluster, &servers[0], "k", 20);
        for key in &keys {
            set(&cluster, key, "old").await;
        }
        servers[0].stop();
        is_out(&cluster, &servers[0]).await;
        for key in &keys {
            set(&cluster, key, "copy").await;
        }
        servers[1].stop();
        is_out(&cluster, &servers[1]).await;
        let deletes = cluster.del_many(&keys).await;
        assert!(deletes.iter().all(Result::is_ok), "{deletes:?}");
        for at in order {
            servers[at].cont();
            is_back(&cluster, &servers[at]).await;
            for key in &keys {
                assert_eq!(get(&cluster, key).await, None, "{order:?}: {key}");
            }
        }
        // Nor when the owner goes out once more.
        servers[0].stop();
        is_out(&cluster, &servers[0]).await;
        for key in &keys {
            assert_eq!(
                get(&cluster, key).await,
                None,
                "{order:?}: {key} at a stand-in"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_returns_with_its_last_save_is_said_and_flushed_where_that_is_asked_for() {
    for on_unknown in [OnUnknown::Serve, OnUnknown::Flush, OnUnknown::StayOut] {
        let servers: [Server; 2] = std::array::from_fn(|_| Server::start());
        let builder = hasty(&servers).on_return(OnReturn::Invalidate);
        let cluster = builder.on_unknown(on_unknown).build().unwrap();
        let mut events = cluster.events();
        let keys = keys_of(&cluster, &servers[0], "k", 2);
        set(&cluster, &keys[0], "old").await;
        assert_eq!(servers[0].raw(["SAVE"]), "OK");
        set(&cluster, &keys[0], "new").await;
        // It has been looked at once, so that another run of it is known for one.
        tokio::time::sleep(Duration::from_secs(2)).await;
        servers[0].kill();
        is_out(&cluster, &servers[0]).await;
        servers[0].restart();
        loop {
            let event = tokio::time::timeout(SOON, events.next()).await.unwrap();
            if let Some(Event::ReturnUnknown { node, reason, .. }) = event {
                assert_eq!(node, *servers[0].name().as_str());
                assert_eq!(reason, UnknownReason::Rollback);
                break;
            }
        }
        let got = || servers[0].get(&keys[0]);
        match on_unknown {
            OnUnknown::Flush => {
                is_back(&cluster, &servers[0]).await;
                assert_eq!(got(), None);
            }
            OnUnknown::StayOut => {
                let drained = || cluster.status().node(servers[0].name()).unwrap().drained;
                eventually(SOON, drained).await;
                cluster.restore_node(servers[0].name()).unwrap();
                is_back(&cluster, &servers[0]).await;
                assert_eq!(got().as_deref(), Some("old"), "as the operator wanted it");
            }
            _ => {
                is_back(&cluster, &servers[0]).await;
                assert_eq!(got().as_deref(), Some("old"), "which was said");
            }
        }
    }
}
