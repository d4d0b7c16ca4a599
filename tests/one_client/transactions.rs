//! Transactions that watch their keys.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use fluster::{ErrorKind, FlusterCluster, Outcome};
use redis::AsyncCommands;

use crate::support::{Server, fleet, urls};

/// Adds one, as somebody would who has never heard of INCR.
async fn add_one(cluster: &FlusterCluster, key: &str) -> Result<i64, fluster::Error> {
    let (n,): (i64,) = cluster
        .transaction([key], |mut own, mut pipe| async move {
            let n: Option<i64> = own.get(key).await?;
            pipe.set(key, n.unwrap_or(0) + 1).ignore().get(key);
            Ok((own, pipe))
        })
        .await?;
    Ok(n)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_transactions_lose_no_update() {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let cluster = cluster.with_deadline(Duration::from_secs(20));
            // It can be spawned: nothing in it is bound to a thread.
            tokio::spawn(async move {
                let (mut done, mut conflicts) = (0, 0);
                while done < 25 {
                    match add_one(&cluster, "counter").await {
                        Ok(_) => done += 1,
                        Err(e) if e.kind() == ErrorKind::Conflict => conflicts += 1,
                        Err(e) => panic!("{e}"),
                    }
                }
                conflicts
            })
        })
        .collect();
    let mut conflicts = 0;
    for task in tasks {
        conflicts += task.await.unwrap();
    }
    println!(
        "200 transactions on one key; {conflicts} gave up after 16 attempts and were called again"
    );
    let owner = cluster.get_node("counter").unwrap();
    let server = servers.iter().find(|s| owner == *s.name()).unwrap();
    assert_eq!(server.get("counter").as_deref(), Some("200"));
    let idle = server
        .clients()
        .iter()
        .filter(|c| c.contains("multi=0"))
        .count();
    assert_eq!(idle, 0, "no open transaction is left on any connection");
}

#[tokio::test]
async fn keys_that_always_change_are_a_conflict_after_some_attempts() {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let tried = AtomicU32::new(0);
    let error = cluster
        .transaction::<(), _, _, _>(["k"], |own, mut pipe| {
            tried.fetch_add(1, SeqCst);
            let mut other = cluster.clone();
            async move {
                other.incr::<_, _, i64>("k", 1).await?;
                pipe.set("k", "mine");
                Ok((own, pipe))
            }
        })
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Conflict, Outcome::Rejected)
    );
    let tried = tried.into_inner();
    assert!((2..=16).contains(&tried), "{tried} attempts");
    let value: i64 = cluster.clone().get("k").await.unwrap();
    assert_eq!(value, i64::from(tried), "nothing of it was executed");
}

#[tokio::test]
async fn keys_of_several_nodes_are_refused_and_so_is_a_pipeline_that_strays() {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let all: Vec<String> = (0..20).map(|n| format!("k{n}")).collect();
    let error = cluster
        .transaction::<(), _, _, _>(&all, |own, pipe| async { Ok((own, pipe)) })
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::CrossNode, Outcome::NotSent)
    );
    let home = cluster.get_node("k0").unwrap();
    let stray = all
        .iter()
        .find(|k| cluster.get_node(k).unwrap() != home)
        .unwrap();
    let error = cluster
        .transaction::<(), _, _, _>(["k0"], |own, mut pipe| async {
            pipe.set("k0", 1).set(stray, 1);
            Ok((own, pipe))
        })
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CrossNode);
    assert!(
        servers
            .iter()
            .all(|s| s.get("k0").is_none() && s.get(stray).is_none())
    );
    let none = cluster
        .transaction::<(), &str, _, _>([], |own, pipe| async { Ok((own, pipe)) })
        .await;
    assert_eq!(none.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn the_steps_may_give_up_and_a_wrong_command_is_the_servers_error() {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let error = cluster
        .transaction::<(), _, _, _>(["k"], |mut own, mut pipe| async {
            pipe.set("k", 1);
            own.get::<_, i64>("k").await?;
            Ok((own, pipe))
        })
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Type, "nil is no number: {error}");
    assert!(servers.iter().all(|s| s.get("k").is_none()));
    let done: Vec<i64> = cluster
        .transaction(["k"], |own, pipe| async { Ok((own, pipe)) })
        .await
        .unwrap();
    assert!(done.is_empty(), "nothing to execute");
    let error = cluster
        .transaction::<(), _, _, _>(["k"], |own, mut pipe| async {
            pipe.set("k", "text").incr("k", 1);
            Ok((own, pipe))
        })
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Server, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_is_replaced_and_one_that_falls_silent_is_not_asked_twice() {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let owner = cluster.get_node("k").unwrap();
    let server = servers.iter().find(|s| owner == *s.name()).unwrap();
    assert_eq!(add_one(&cluster, "k").await.unwrap(), 1);
    let runs = AtomicU32::new(0);
    let error = cluster
        .transaction::<(), _, _, _>(["k"], |own, mut pipe| {
            if runs.fetch_add(1, SeqCst) == 0 {
                server.stop();
            }
            pipe.incr("k", 1);
            async { Ok((own, pipe)) }
        })
        .await
        .unwrap_err();
    assert_eq!(error.outcome(), Outcome::MaybeExecuted, "{error}");
    assert_eq!(runs.into_inner(), 1);
    server.kill();
    // The stand-in has never heard of it.
    assert_eq!(add_one(&cluster, "k").await.unwrap(), 1);
    assert_ne!(cluster.get_node("k").unwrap(), owner);
}

/// The server executes the commands one by one then: an answer that is neither "discarded" nor "not sent", and no
/// reason to do it again, or elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_without_multi_is_told_that_the_commands_were_executed_one_by_one() {
    let servers: [Server; 2] = fleet();
    for server in &servers {
        server.raw([
            "ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", "-multi",
        ]);
    }
    let urls = servers
        .iter()
        .map(|s| s.url().replace("redis://", "redis://app:pw@"));
    let cluster = FlusterCluster::from_urls(urls).unwrap();
    let told = |what: &str, text: String| {
        for part in ["NOPERM", "one by one", "ACL"] {
            assert!(text.contains(part), "{what}: no {part} in {text}");
        }
    };
    let atomic = |key: &str| {
        let mut pipe = redis::pipe();
        pipe.atomic().incr(key, 1).incr(key, 1);
        pipe
    };
    let mut all = cluster.clone();
    let e = atomic("a").query_async::<(i64, i64)>(&mut all).await;
    told("the cluster", e.unwrap_err().to_string());
    let mut client = cluster.get_client("b").unwrap();
    let e = atomic("b").query_async::<(i64, i64)>(&mut client).await;
    told("a client", e.unwrap_err().to_string());
    let e = add_one(&cluster, "c").await.unwrap_err();
    let kind = (e.kind(), e.outcome());
    assert_eq!(kind, (ErrorKind::Server, Outcome::Answered), "{e}");
    told("a transaction", e.to_string());
    for (key, n) in [("a", "2"), ("b", "2"), ("c", "1")] {
        let owner = cluster.get_node(key).unwrap();
        let owner = servers.iter().find(|s| owner == *s.name()).unwrap();
        assert_eq!(
            owner.get(key).as_deref(),
            Some(n),
            "{key}: each command ran once"
        );
    }
}

/// By the server alone such a command would work only while a node is out.
#[tokio::test]
async fn keys_of_two_owners_at_one_stand_in_are_refused_with_the_owners_names() {
    let [a, b]: [Server; 2] = fleet();
    let cluster = FlusterCluster::from_urls([a.url(), b.url()]).unwrap();
    let key_of = |server: &Server| {
        let is_its = |key: &String| cluster.get_node(key).unwrap() == server.name().as_str();
        (0..100).map(|n| format!("k{n}")).find(is_its).unwrap()
    };
    let (of_a, of_b) = (key_of(&a), key_of(&b));
    a.kill();
    // A refused dial puts it out at once.
    let stood_in: Option<String> = cluster.run(redis::cmd("GET").arg(&of_a)).await.unwrap();
    assert_eq!((stood_in, cluster.status().active()), (None, 1));
    let error = cluster
        .run::<bool>(redis::cmd("RENAMENX").arg(&of_a).arg(&of_b))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::CrossNode, Outcome::NotSent)
    );
    let stands_in = format!("{of_a} on {}, which stands in for {}", b.name(), a.name());
    let own = format!("{of_b} on {}", b.name());
    let text = error.to_string();
    assert!(text.contains(&stands_in) && text.contains(&own), "{text}");
}
