//! The cache: typed values, copies, deletes that say what they missed, one computation per key.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use fluster::cache::Cache;
use fluster::replication::{Quorum, ReadFrom};
use fluster::{BuildError, ErrorKind, FlusterCluster, NodeId, OnReturn, Outcome};
use tokio::sync::Notify;

use super::{bring_back, key_on, lose, ms, patient};
use crate::support::{Server, eventually, fleet};
use crate::workload::SOON;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

type Text = Cache<String>;

fn text(cluster: &FlusterCluster, replicas: usize) -> Text {
    cluster
        .cache("t:")
        .replicas(replicas)
        .quorum(Quorum::All)
        .raw()
        .unwrap()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Broken(u32);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broken {}", self.0)
    }
}

impl std::error::Error for Broken {}

#[tokio::test]
async fn values_are_kept_on_their_replicas_for_their_time() {
    let servers: [Server; 3] = fleet();
    let cluster = patient(&servers).build().unwrap();
    let cache = text(&cluster, 2);
    assert_eq!(cache.get("k").await.unwrap(), None);
    let acks = cache.set("k", &"v".to_owned(), HOUR).await.unwrap();
    assert!(acks.is_complete());
    assert_eq!(cache.get("k").await.unwrap().as_deref(), Some("v"));
    let holding: Vec<_> = servers
        .iter()
        .filter(|s| s.raw(["EXISTS", "t:k"]) == "1")
        .collect();
    assert_eq!(holding.len(), 2);
    for server in &holding {
        assert!(acks.nodes().any(|n| *n == *server.name()));
        let ttl: u64 = server.raw(["TTL", "t:k"]).parse().unwrap();
        assert!((3500..=3600).contains(&ttl), "{ttl}");
    }
    cache.set("brief", &"v".to_owned(), ms(30)).await.unwrap();
    tokio::time::sleep(ms(60)).await;
    assert_eq!(cache.get("brief").await.unwrap(), None);
}

#[tokio::test]
async fn values_of_any_type_go_through_their_codec() {
    let servers: [Server; 2] = fleet();
    let cluster = patient(&servers).build().unwrap();
    let json: Cache<BTreeMap<String, u32>, fluster::cache::Json> =
        cluster.cache("j:").json().unwrap();
    let value = BTreeMap::from([("a".to_owned(), 1)]);
    json.set("k", &value, HOUR).await.unwrap();
    assert_eq!(json.get("k").await.unwrap(), Some(value));
    let as_text: Text = cluster.cache("j:").raw().unwrap();
    assert_eq!(
        as_text.get("k").await.unwrap().as_deref(),
        Some(r#"{"a":1}"#)
    );

    as_text.set("k", &"no JSON".to_owned(), HOUR).await.unwrap();
    let error = json.get("k").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Type, Outcome::Answered)
    );
    assert!(error.to_string().contains("cannot be decoded"), "{error}");
    assert!(error.node().is_some());
    // A text that is no UTF-8.
    let bytes: Cache<Vec<u8>> = cluster.cache("j:").raw().unwrap();
    bytes.set("k", &vec![0xff, 0], HOUR).await.unwrap();
    assert_eq!(bytes.get("k").await.unwrap(), Some(vec![0xff, 0]));
    assert_eq!(as_text.get("k").await.unwrap_err().kind(), ErrorKind::Type);
    // Another version's value is worth as much as none.
    let value = json
        .get_or_compute("k", HOUR, async || Ok::<_, Broken>(BTreeMap::new()))
        .await;
    assert_eq!(value.unwrap(), BTreeMap::new());
    assert_eq!(json.get("k").await.unwrap(), Some(BTreeMap::new()));
}

#[tokio::test]
async fn many_values_are_read_and_written_in_order() {
    let servers: [Server; 3] = fleet();
    let cluster = patient(&servers).build().unwrap();
    let cache = text(&cluster, 2);
    let pairs = (0..2500).map(|i| (format!("k{i}"), format!("v{i}")));
    let acks = cache.set_many(pairs, HOUR).await;
    assert!(acks.iter().all(|a| a.as_ref().unwrap().is_complete()));
    let keys: Vec<_> = (0..2600).map(|i| format!("k{i}")).collect();
    let check = async || {
        let values = cache.get_many(&keys).await;
        for (i, value) in values.into_iter().enumerate() {
            let expected = (i < 2500).then(|| format!("v{i}"));
            assert_eq!(value.unwrap(), expected, "{i}");
        }
    };
    check().await;
    lose(&cluster, &servers[1]).await;
    check().await;
    // What is written meanwhile is not on the node, and what it had is gone.
    bring_back(&cluster, &servers[1]).await;
    check().await;
    let none: [&str; 0] = [];
    assert!(cache.get_many(none).await.is_empty());
}

#[tokio::test]
async fn with_one_of_three_nodes_down_no_value_is_missed_and_the_node_is_warm_again() {
    let servers: [Server; 3] = fleet();
    let cluster = patient(&servers).build().unwrap();
    let cache = text(&cluster, 2);
    let keys: Vec<_> = (0..300).map(|i| format!("k{i}")).collect();
    let write = async |keys: &[String]| {
        for result in cache
            .set_many(keys.iter().map(|k| (k, k.clone())), HOUR)
            .await
        {
            result.unwrap();
        }
    };
    let read = async || {
        for key in &keys {
            assert_eq!(cache.get(key).await.unwrap().as_ref(), Some(key));
        }
    };
    write(&keys).await;
    let owned: Vec<_> = keys
        .iter()
        .filter(|k| cluster.get_node(format!("t:{k}")).unwrap() == *servers[0].name())
        .collect();
    assert!(owned.len() > 50);

    servers[0].kill();
    read().await;
    super::active(&cluster, 2).await;
    write(&keys[..150]).await;
    read().await;
    bring_back(&cluster, &servers[0]).await;
    assert_eq!(servers[0].raw(["DBSIZE"]), "0", "it came back empty");
    read().await;
    for key in owned {
        eventually(SOON, || {
            servers[0].raw(["GET", &format!("t:{key}")]) == *key
        })
        .await;
    }
    read().await;
}

#[tokio::test]
async fn a_stand_in_keeps_a_copy_for_a_minute_at_most() {
    let servers: [Server; 3] = fleet();
    let cluster = patient(&servers).build().unwrap();
    let full = (0..10_000)
        .map(|i| format!("t:{i}"))
        .find(|k| cluster.get_node(k).unwrap() == *servers[0].name())
        .unwrap();
    let key = full.strip_prefix("t:").unwrap();
    lose(&cluster, &servers[0]).await;
    text(&cluster, 2)
        .set(key, &"v".to_owned(), HOUR)
        .await
        .unwrap();
    let ttl = |s: &Server| s.raw(["TTL", &full]).parse::<u64>().unwrap();
    let mut ttls = [ttl(&servers[1]), ttl(&servers[2])];
    ttls.sort_unstable();
    assert!(ttls[0] <= 60, "the stand-in: {ttls:?}");
    assert!(ttls[1] > 3500, "the other replica is no stand-in: {ttls:?}");

    let unlimited: Text = cluster
        .cache("t:")
        .replicas(2)
        .quorum(Quorum::All)
        .stand_in_ttl(None)
        .raw()
        .unwrap();
    unlimited.set(key, &"v".to_owned(), HOUR).await.unwrap();
    assert!(ttl(&servers[1]) > 3500 && ttl(&servers[2]) > 3500);
}

#[tokio::test]
async fn a_delete_reaches_every_copy_and_names_what_it_could_not_reach() {
    let servers: [Server; 3] = fleet();
    let cluster = patient(&servers).build().unwrap();
    // Else the copy would be taken from the stand-in when the owner returns.
    let cache = cluster.cache("t:").on_return(OnReturn::Serve);
    let cache: Text = cache.quorum(Quorum::All).raw().unwrap();
    let full = (0..10_000)
        .map(|i| format!("t:{i}"))
        .find(|k| cluster.get_node(k).unwrap() == *servers[0].name())
        .unwrap();
    let key = full.strip_prefix("t:").unwrap();
    let value = "v".to_owned();

    cache.set(key, &value, HOUR).await.unwrap();
    let deletion = cache.delete(key).await;
    assert!(deletion.is_complete() && deletion.existed());
    assert_eq!(deletion.reached().len(), 1, "nobody has stood in");
    assert!(!cache.delete(key).await.existed());

    cache.set(key, &value, HOUR).await.unwrap();
    lose(&cluster, &servers[0]).await;
    cache.set(key, &value, HOUR).await.unwrap();
    let deletion = cache.delete(key).await;
    assert!(!deletion.is_complete() && deletion.existed());
    let (node, error) = &deletion.unreached()[0];
    assert_eq!(
        (node, error.kind()),
        (&NodeId::from(servers[0].name()), ErrorKind::NodeOut)
    );

    cache.set(key, &value, HOUR).await.unwrap();
    bring_back(&cluster, &servers[0]).await;
    cache.set(key, &value, HOUR).await.unwrap();
    let on = |s: &Server| s.raw(["EXISTS", &full]) == "1";
    assert_eq!(
        servers.iter().filter(|s| on(s)).count(),
        2,
        "owner and stand-in"
    );
    let deletion = cache.delete(key).await;
    assert!(deletion.is_complete() && deletion.existed());
    assert!(
        !servers.iter().any(on),
        "the stand-in's copy is gone too: {deletion:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_callers_compute_a_value_once() {
    let servers: [Server; 3] = fleet();
    let cluster = patient(&servers).build().unwrap();
    let cache = text(&cluster, 2);
    for round in 0..20 {
        let computed = Arc::new(AtomicUsize::new(0));
        let callers = (0..100).map(|_| {
            let (cache, computed) = (cache.clone(), Arc::clone(&computed));
            tokio::spawn(async move {
                let compute = async || {
                    computed.fetch_add(1, SeqCst);
                    tokio::time::sleep(ms(10)).await;
                    Ok::<_, Broken>(format!("v{round}"))
                };
                cache
                    .get_or_compute(format!("k{round}"), HOUR, compute)
                    .await
            })
        });
        let callers: Vec<_> = callers.collect();
        for caller in callers {
            assert_eq!(caller.await.unwrap().unwrap(), format!("v{round}"));
        }
        assert_eq!(computed.load(SeqCst), 1, "round {round}");
    }
    assert_eq!(cache.get("k7").await.unwrap().as_deref(), Some("v7"));
}

#[tokio::test]
async fn an_error_is_shared_by_those_who_waited_and_kept_for_nobody_else() {
    let servers: [Server; 1] = fleet();
    let cluster = patient(&servers).build().unwrap();
    let cache = text(&cluster, 1);
    let (computed, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let call = || {
        let (cache, computed, go) = (cache.clone(), Arc::clone(&computed), Arc::clone(&go));
        tokio::spawn(async move {
            let compute = async || {
                let n = computed.fetch_add(1, SeqCst);
                go.notified().await;
                Err::<String, _>(Broken(n as u32))
            };
            cache.get_or_compute("k", HOUR, compute).await
        })
    };
    let (a, b) = (call(), call());
    eventually(SOON, || computed.load(SeqCst) == 1).await;
    tokio::time::sleep(ms(50)).await;
    go.notify_one();
    assert_eq!(*a.await.unwrap().unwrap_err(), Broken(0));
    assert_eq!(*b.await.unwrap().unwrap_err(), Broken(0));
    go.notify_one();
    assert_eq!(*call().await.unwrap().unwrap_err(), Broken(1));
    assert_eq!(servers[0].raw(["DBSIZE"]), "0");
}

#[tokio::test]
async fn when_the_caller_that_computes_is_dropped_another_one_does() {
    let servers: [Server; 1] = fleet();
    let cluster = patient(&servers).build().unwrap();
    let cache = text(&cluster, 1);
    let started = Arc::new(AtomicUsize::new(0));
    let stuck = {
        let (cache, started) = (cache.clone(), Arc::clone(&started));
        tokio::spawn(async move {
            let compute = async || {
                started.fetch_add(1, SeqCst);
                std::future::pending::<Result<String, Broken>>().await
            };
            cache.get_or_compute("k", HOUR, compute).await
        })
    };
    eventually(SOON, || started.load(SeqCst) == 1).await;
    let waiting = {
        let cache = cache.clone();
        tokio::spawn(async move {
            cache
                .get_or_compute("k", HOUR, async || Ok::<_, Broken>("v".to_owned()))
                .await
        })
    };
    tokio::time::sleep(ms(50)).await;
    assert!(!waiting.is_finished());
    stuck.abort();
    assert_eq!(waiting.await.unwrap().unwrap(), "v");
}

#[tokio::test]
async fn without_any_node_the_value_is_computed_all_the_same() {
    let servers: [Server; 1] = fleet();
    let cluster = patient(&servers).build().unwrap();
    let cache = text(&cluster, 1);
    servers[0].kill();
    assert!(cache.get("k").await.is_err());
    let value = cache
        .get_or_compute("k", HOUR, async || Ok::<_, Broken>("v".to_owned()))
        .await;
    assert_eq!(value.unwrap(), "v");
    let error = cache.set("k", &"v".to_owned(), HOUR).await.unwrap_err();
    assert!(error.outcome().is_safe_to_repeat(), "{error}");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_by_name() {
    let servers: [Server; 2] = fleet();
    let cluster = patient(&servers).build().unwrap();
    let wrong =
        |name| move |e: &BuildError| matches!(e, BuildError::Option { name: n, .. } if *n == name);
    for replicas in [0, 3] {
        let error = cluster
            .cache("t:")
            .replicas(replicas)
            .raw::<String>()
            .unwrap_err();
        assert!(wrong("replicas")(&error), "{error}");
    }
    let error = cluster
        .cache("t:")
        .quorum(Quorum::AtLeast(2))
        .raw::<String>()
        .unwrap_err();
    assert!(wrong("quorum")(&error), "{error}");
    for ttl in [Duration::ZERO, Duration::MAX] {
        let error = cluster
            .cache("t:")
            .stand_in_ttl(Some(ttl))
            .raw::<String>()
            .unwrap_err();
        assert!(wrong("stand_in_ttl")(&error), "{error}");
        let error = text(&cluster, 1)
            .set("k", &"v".to_owned(), ttl)
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Invalid, Outcome::NotSent)
        );
        assert!(error.to_string().contains("ttl"), "{error}");
    }
    for share in [-0.1, 1.1, f64::NAN] {
        let error = patient(&servers).hedge_budget(share).build().unwrap_err();
        assert!(wrong("hedge_budget")(&error), "{error}");
    }
    let error = patient(&servers)
        .stand_in_ttl(Duration::ZERO)
        .build()
        .unwrap_err();
    assert!(wrong("stand_in_ttl")(&error), "{error}");
    // A list where the cache expects its value.
    let cache = text(&cluster, 2);
    let key = key_on(&cluster, [&servers[0], &servers[1]]);
    let bare: Text = cluster.cache("").replicas(2).raw().unwrap();
    servers[0].raw(["LPUSH", &key, "item"]);
    let error = bare.get(&key).await.unwrap_err();
    assert!(error.to_string().contains("WRONGTYPE"), "{error}");
    // A cluster that became smaller than the number of copies.
    cluster.remove_node(servers[1].name()).unwrap();
    cache.set("k", &"v".to_owned(), MINUTE).await.unwrap();
    assert_eq!(cache.get("k").await.unwrap().as_deref(), Some("v"));
}

#[tokio::test]
async fn reads_follow_the_policy_of_the_cache() {
    let servers: [Server; 3] = fleet();
    let cluster = patient(&servers).build().unwrap();
    let newest: Text = cluster
        .cache("t:")
        .replicas(3)
        .quorum(Quorum::All)
        .read_from(ReadFrom::majority(|a, b| {
            let of = |v: &redis::Value| match v {
                redis::Value::BulkString(bytes) => bytes.clone(),
                _ => Vec::new(),
            };
            of(a).cmp(&of(b))
        }))
        .raw()
        .unwrap();
    newest.set("k", &"a".to_owned(), HOUR).await.unwrap();
    servers[0].raw(["SET", "t:k", "b"]);
    servers[1].raw(["SET", "t:k", "b"]);
    assert_eq!(newest.get("k").await.unwrap().as_deref(), Some("b"));
    let many = newest.get_many(["k", "none"]).await;
    assert_eq!(many[0].as_ref().unwrap().as_deref(), Some("b"));
    assert_eq!(*many[1].as_ref().unwrap(), None);
}
