//! What applications do: rows 36, 37, 41, 45 to 47 and 49.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use fluster::{DedicatedClient, ErrorKind, FlusterCluster, NodeState, Penalty};
use redis::RedisResult;

use super::proxy::{Fault, Proxy};
use super::rig::{Kind, Record, Scene, ms, pass, scene, slack, sockets_to};
use crate::support::{eventually, fleet, urls};

/// Futures dropped at random moments, on lanes and on exclusive connections, beside a load that
/// checks every reply.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel_storm() {
    let servers = fleet::<3>();
    let scene = scene("36 cancel_storm", &servers).await.let_be(48);
    let title = scene.name();
    let dials =
        |scene: &Scene| -> u64 { scene.cluster.status().nodes.iter().map(|n| n.dials).sum() };
    let load = scene.load_of(Kind::Mixed, 16);
    pass(ms(100)).await;
    let before = dials(&scene);
    scene.strike(|| ());
    let storm = async |own: bool, rounds: u64| {
        let cancelled = Arc::new(AtomicU64::new(0));
        let wrong = Arc::new(AtomicU64::new(0));
        let tasks: Vec<_> = (0..16)
            .map(|task| {
                let cluster = scene.cluster.clone();
                let (cancelled, wrong) = (Arc::clone(&cancelled), Arc::clone(&wrong));
                tokio::spawn(async move {
                    for n in 0..rounds {
                        let token = format!("c{task}-{n}");
                        let mut ask = redis::cmd("ECHO");
                        ask.arg(&token);
                        let mut client = cluster.get_client(&token).unwrap();
                        let call = async {
                            match own {
                                true => {
                                    let mut own = client.dedicated().await?;
                                    ask.query_async::<String>(&mut own).await
                                }
                                false => ask.query_async::<String>(&mut client).await,
                            }
                        };
                        // Short times are rounded up to 1 ms by the timer: give up after a number of
                        // polls instead.
                        let polls = fastrand::u32(0..6);
                        match give_up_after(polls, call).await {
                            None => drop(cancelled.fetch_add(1, Relaxed)),
                            Some(Ok(echo)) if echo != token => drop(wrong.fetch_add(1, Relaxed)),
                            Some(Ok(_)) => {}
                            Some(Err(e)) => panic!("an error in the storm: {e}"),
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no error, no panic");
        }
        assert_eq!(
            wrong.load(Relaxed),
            0,
            "{title}: wrong replies in the storm"
        );
        cancelled.load(Relaxed)
    };
    // 16 tasks: some 12 000 calls, or 50 000 with exact times.
    let rounds = match std::env::var_os("FLUSTER_EXACT_TIMES") {
        Some(_) => 3_200,
        None => 700,
    };
    let cancelled = storm(false, rounds).await;
    assert!(
        cancelled > 1_000,
        "{title}: only {cancelled} were cancelled"
    );
    assert_eq!(
        dials(&scene),
        before,
        "{title}: a lane survives those who give up"
    );

    let cancelled = storm(true, 60).await;
    let spent = dials(&scene) - before;
    assert!(
        cancelled > 50,
        "{title}: only {cancelled} exclusive ones were cancelled"
    );
    // Each one that is given up costs its connection, and no more; 16 a node are dialled anyway.
    assert!(
        spent <= cancelled + 48,
        "{title}: {spent} dials for {cancelled} cancelled"
    );
    for node in scene.cluster.status().nodes {
        assert!(
            node.dedicated <= 16,
            "{title}: {} connections",
            node.dedicated
        );
    }
    assert_eq!(
        scene.ejections(),
        0,
        "{title}: who gives up says nothing about a node"
    );
    let record = scene.end(load, &servers).await;
    assert_eq!(record.failed().count(), 0, "{title}: {:?}", record.texts);
}

/// Polls `future` so many times at most.
async fn give_up_after<T>(polls: u32, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut left = polls;
    std::future::poll_fn(|cx| {
        use std::task::Poll;
        match future.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => {
                left -= 1;
                // Sometimes at once, sometimes when the next reply is there.
                if left.is_multiple_of(2) {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
        }
    })
    .await
}

/// Whatever one user leaves on an exclusive connection, the next one never meets it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leak_matrix() {
    const LEFT: &[&[&[&str]]] = &[
        &[&["MULTI"]],
        &[&["MULTI"], &["SET", "left", "1"]],
        &[&["WATCH", "k"]],
        &[&["SELECT", "5"]],
        &[&["SUBSCRIBE", "a", "b", "c"]],
        &[&["PSUBSCRIBE", "*"]],
        &[&["MONITOR"]],
        &[&["CLIENT", "REPLY", "OFF"]],
        &[&["CLIENT", "REPLY", "SKIP"]],
        &[&["HELLO", "3"]],
        &[&["HELLO", "2"]],
        &[&["AUTH", "other", "pw"]],
        &[&["QUIT"]],
        &[&["CLIENT", "SETNAME", "left"]],
        &[&["CLIENT", "TRACKING", "ON"]],
        &[&["CLIENT", "NO-EVICT", "ON"]],
        &[&["RESET"]],
        &[&["SELECT", "5"], &["BLPOP", "nothing", "0"]],
    ];
    let servers = fleet::<1>();
    servers[0].raw(["ACL", "SETUSER", "other", "on", ">pw", "+@all", "~*", "&*"]);
    for protocol in ["resp2", "resp3"] {
        let cluster = FlusterCluster::builder()
            .urls([format!("{}?protocol={protocol}", servers[0].url())])
            // The next user gets the same connection, if it lives.
            .pool_size(1)
            .build()
            .unwrap();
        let scene = Scene::begin("37 leak_matrix", cluster).await.let_be(1);
        scene.strike(|| ());
        let mut record = Record::default();
        let client = scene.cluster.get_client("k").unwrap();
        let fresh = portrait(&mut client.dedicated().await.unwrap()).await;
        assert!(
            fresh.contains("db=0") && fresh.contains("multi=-1"),
            "{fresh}"
        );
        for left in LEFT {
            let case = format!("{protocol}, {left:?}");
            let mut own = client.dedicated().await.unwrap();
            for command in *left {
                let mut cmd = redis::cmd(command[0]);
                cmd.arg(&command[1..]);
                // Some are refused, which is fine; one blocks, and is given up.
                let sent = tokio::time::timeout(ms(100), cmd.query_async::<redis::Value>(&mut own));
                drop(sent.await);
            }
            drop(own);
            // On the lane all of them are refused before they are sent.
            let mut lane = client.clone();
            for command in *left {
                let mut cmd = redis::cmd(command[0]);
                cmd.arg(&command[1..]);
                if command[0] != "SET" {
                    let refused = cmd
                        .query_async::<redis::Value>(&mut lane)
                        .await
                        .unwrap_err();
                    let refused = fluster::Error::from_redis(&refused).expect("an error of ours");
                    assert_eq!(refused.kind(), ErrorKind::Invalid, "{case}");
                }
            }
            let began = Instant::now();
            let mut next = client.dedicated().await.unwrap();
            let seen: RedisResult<(String, i64, Option<String>)> = async {
                let set = redis::cmd("SET")
                    .arg("probe")
                    .arg(&case)
                    .query_async(&mut next)
                    .await?;
                let list = redis::cmd("RPUSH")
                    .arg("list")
                    .arg("x")
                    .query_async(&mut next)
                    .await?;
                let get = redis::cmd("GET")
                    .arg("probe")
                    .query_async(&mut next)
                    .await?;
                Ok((set, list, get))
            }
            .await;
            record.note(began, Some(client.node().clone()), &seen);
            let (set, list, get) = seen.unwrap_or_else(|e| panic!("{case}: the next user: {e}"));
            assert_eq!(
                (set.as_str(), get.as_deref()),
                ("OK", Some(case.as_str())),
                "{case}"
            );
            assert_eq!(
                list.to_string(),
                servers[0].raw(["LLEN", "list"]),
                "{case}: database 0"
            );
            assert_eq!(
                portrait(&mut next).await,
                fresh,
                "{case}: the next user sees what was left"
            );
            // A transaction of the next user is executed, not queued into somebody else's.
            let pipe = redis::pipe().atomic().incr("n", 1).to_owned();
            let (n,): (i64,) = pipe.query_async(&mut next).await.unwrap();
            assert_eq!(n.to_string(), servers[0].raw(["GET", "n"]), "{case}");
        }
        assert_eq!(
            scene.ejections(),
            0,
            "{protocol}: what users do says nothing about a node"
        );
        scene.finish(record, &[]).await;
        servers[0].raw(["FLUSHALL"]);
    }
}

/// The state of a connection, as the server sees it.
async fn portrait(own: &mut DedicatedClient) -> String {
    let info: String = redis::cmd("CLIENT")
        .arg("INFO")
        .query_async(own)
        .await
        .expect("CLIENT INFO");
    let kept = [
        "name", "db", "sub", "psub", "multi", "user", "resp", "flags", "redir",
    ];
    info.split_whitespace()
        .filter(|field| kept.iter().any(|k| field.split('=').next() == Some(k)))
        .collect::<Vec<_>>()
        .join(" ")
}

/// All threads of the application are busy for longer than the response time-out: no node's fault.
///
/// Held to it with the strictest rule: the first strike ejects.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_stall() {
    let servers = fleet::<3>();
    let cluster = FlusterCluster::builder()
        .urls(urls(&servers))
        .penalty(Penalty::default().strikes(1))
        .build()
        .unwrap();
    let mut scene = Scene::begin("41 client_stall", cluster).await;
    let title = scene.name();
    // Nothing of the runtime runs meanwhile, not even the return of a call.
    scene.limits.deadline += ms(800);
    let load = scene.load();
    pass(ms(100)).await;
    for _ in 0..4 {
        // The servers hold their answers back for a moment, so that calls are under way when the
        // stall begins; without them it would go unnoticed.
        for server in &servers {
            server.raw(["CLIENT", "PAUSE", "50", "ALL"]);
        }
        pass(ms(15)).await;
        // Both workers at the same time: each waits for the other to be there.
        let both = Arc::new(Barrier::new(2));
        scene.strike(|| ());
        let stalls = [(); 2].map(|()| {
            let both = Arc::clone(&both);
            tokio::spawn(async move {
                both.wait();
                std::thread::sleep(ms(600));
            })
        });
        for stall in stalls {
            stall.await.unwrap();
        }
        pass(ms(60)).await;
    }
    // A time-out is judged 50 ms later.
    pass(ms(100)).await;
    for node in scene.cluster.status().nodes {
        assert_eq!(
            node.ejections, 0,
            "{title}: {} is out for our own stall",
            node.name
        );
        assert_eq!(node.state, NodeState::Up, "{title}: {}", node.name);
    }
    let record = scene.end(load, &servers).await;
    assert!(
        record.longest() > ms(500),
        "{title}: the stalls were too short to matter"
    );
}

/// The application reads text as a number, or nothing as text: its own mistake, and the node's
/// connection is as good as ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn app_type_error() {
    let servers = fleet::<3>();
    let mut scene = scene("45 app_type_error", &servers).await;
    let title = scene.name();
    scene.limits.ids = false;
    let own_connections = 3;
    let mut record = Record::default();
    let keys: Vec<_> = servers.iter().map(|s| scene.key_of(&s.name())).collect();
    let mut own = Vec::new();
    for key in &keys {
        let cmd = redis::Cmd::set(key, "abc");
        scene.cluster.run_with_key::<()>(key, &cmd).await.unwrap();
        own.push(
            scene
                .cluster
                .get_client(key)
                .unwrap()
                .dedicated()
                .await
                .unwrap(),
        );
    }
    let dials =
        |scene: &Scene| -> u64 { scene.cluster.status().nodes.iter().map(|n| n.dials).sum() };
    let before = dials(&scene);
    scene.strike(|| ());
    for n in 0..1_000 {
        let (key, own) = (&keys[n % 3], &mut own[n % 3]);
        let get = redis::Cmd::get(key);
        let none = redis::cmd("GET").arg("none").to_owned();
        let mut client = scene.cluster.get_client(key).unwrap();
        let node = client.node().clone();
        let began = Instant::now();
        let result = get.query_async::<u64>(&mut client).await;
        record.note(began, Some(node.clone()), &result);
        result.expect_err("abc is no number");
        get.query_async::<u64>(own)
            .await
            .expect_err("abc is no number");
        none.query_async::<String>(&mut client)
            .await
            .expect_err("nil is no text");
        redis::cmd("INCR")
            .arg(key)
            .query_async::<i64>(&mut client)
            .await
            .expect_err("ERR");
        redis::cmd("LPOP")
            .arg(key)
            .query_async::<i64>(own)
            .await
            .expect_err("WRONGTYPE");
        redis::cmd("NONSENSE")
            .query_async::<i64>(own)
            .await
            .expect_err("unknown command");
        let e = scene
            .cluster
            .run_with_key::<u64>(key, &get)
            .await
            .expect_err("abc is no number");
        assert_eq!(e.kind(), ErrorKind::Type, "{title}: {e}");
        let right: String = get.query_async(&mut client).await.unwrap();
        assert_eq!(right, "abc", "{title}: the connection is as good as ever");
        assert_eq!(*client.node(), node);
    }
    assert_eq!(
        scene.ejections(),
        0,
        "{title}: no node is out for the application's mistake"
    );
    assert_eq!(dials(&scene), before, "{title}: every connection was kept");
    drop(own);
    scene.let_be(own_connections).finish(record, &servers).await;
}

/// All exclusive connections are taken: the pool is too small, the node is well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pool_saturation() {
    let servers = fleet::<1>();
    let scene = scene("46 pool_saturation", &servers).await.let_be(16);
    let title = scene.name();
    let client = scene.cluster.get_client("k").unwrap();
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(client.dedicated().await.unwrap());
    }
    scene.strike(|| ());
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                let began = Instant::now();
                let result = client
                    .dedicated()
                    .await
                    .map(drop)
                    .map_err(redis::RedisError::from);
                (began, result)
            })
        })
        .collect();
    let mut record = Record::default();
    for task in tasks {
        let (began, result) = task.await.unwrap();
        record.note(began, Some(client.node().clone()), &result);
    }
    drop(held);
    assert_eq!(
        scene.ejections(),
        0,
        "{title}: saturation is no sign of sickness"
    );
    let record = scene.finish(record, &servers).await;
    for c in &record.calls {
        assert_eq!(c.kind(), Some(ErrorKind::Saturated), "{title}: {c:?}");
        assert!(
            c.took() <= ms(250) + slack(ms(10)),
            "{title}: waited {:?}",
            c.took()
        );
    }
}

/// Connections are accepted and hang: callers are not sent to wait in waves, and do not add to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn create_hang_waiters() {
    let servers = fleet::<1>();
    let proxy = Proxy::start(&servers[0]);
    let cluster = FlusterCluster::from_urls([proxy.url()]).unwrap();
    let mut scene = Scene::begin("47 create_hang_waiters", cluster).await;
    let title = scene.name();
    let client = scene.cluster.get_client("k").unwrap();
    // A place in the pool, then a connection.
    scene.limits.deadline = ms(250 + 500 + 50);
    scene.strike(|| proxy.set(Fault::Hold));
    let before = proxy.seen().open;
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                let began = Instant::now();
                let result = client
                    .dedicated()
                    .await
                    .map(drop)
                    .map_err(redis::RedisError::from);
                (began, result)
            })
        })
        .collect();
    let mut record = Record::default();
    for task in tasks {
        let (began, result) = task.await.unwrap();
        record.note(began, Some(client.node().clone()), &result);
        assert!(result.is_err(), "{title}: no connection can be had");
    }
    let seen = proxy.seen();
    assert!(seen.fired > 0, "{title}: nothing was held");
    // Four dials, and as many that were just given up, which the proxy has not noticed yet; a pool
    // without a limit on its dials would have 16.
    assert!(
        seen.most <= before + 8,
        "{title}: {} connections at once",
        seen.most - before
    );
    proxy.set(Fault::Pass);
    scene.active(1).await;
    scene.finish(record, &servers).await;
}

/// `shutdown` while connections are being made: none survives it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_in_flight() {
    let servers = fleet::<1>();
    let proxy = Proxy::start(&servers[0]);
    for wait in [0, 20, 90] {
        let cluster = FlusterCluster::from_urls([proxy.url()]).unwrap();
        let scene = Scene::begin("49 shutdown_in_flight", cluster).await;
        let title = scene.name();
        let client = scene.cluster.get_client("k").unwrap();
        scene.strike(|| proxy.set(Fault::Delay(ms(80))));
        let begun = Arc::new(AtomicBool::new(false));
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                let (client, begun) = (client.clone(), Arc::clone(&begun));
                tokio::spawn(async move {
                    begun.store(true, Relaxed);
                    let began = Instant::now();
                    (began, client.dedicated().await)
                })
            })
            .collect();
        eventually(slack(ms(1_000)), || begun.load(Relaxed)).await;
        pass(ms(wait)).await;
        scene.cluster.shutdown(Duration::ZERO).await;
        let mut record = Record::default();
        let mut given = Vec::new();
        for task in tasks {
            let (began, result) = task.await.unwrap();
            let result = result.map_err(redis::RedisError::from);
            record.note(began, Some(client.node().clone()), &result);
            given.extend(result);
        }
        // What was given out before the end is its owner's to drop, and is of no use any more.
        for own in &mut given {
            let result = redis::cmd("PING").query_async::<String>(own).await;
            assert!(
                result.is_err(),
                "{title}: a connection works after the shutdown"
            );
        }
        drop(given);
        eventually(slack(ms(100)), || sockets_to(&[proxy.port()]) == 0).await;
        eventually(slack(ms(500)), || servers[0].clients().is_empty()).await;
        if wait > 0 {
            assert!(proxy.fired() > 0, "{title}: no reply was delayed");
        }
        proxy.set(Fault::Pass);
        scene.finish(record, &servers).await;
    }
}
