//! Queues under cancelled pops, killed servers and silent ones: rows 38 to 40.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fluster::queue::MessageId;
use fluster::{FlusterCluster, Outcome, Penalty};
use parking_lot::Mutex;
use redis::aio::ConnectionLike as _;

use super::aside::give_up_after;
use super::rig::{Record, SOON, Scene, ms, pass, scene};
use crate::support::{Server, eventually, eventually_some, fleet, urls};

/// How many pops are cancelled: ten thousand where there is time for it.
fn cancels() -> usize {
    match std::env::var_os("FLUSTER_EXACT_TIMES") {
        Some(_) => 10_000,
        None => 1_500,
    }
}

/// Pushes one item for every pop, so that the server has something to lose at any moment.
fn lpush(raw: &mut crate::support::Raw, key: &str, n: usize) {
    raw.call(["LPUSH", key, &n.to_string()])
        .expect("the server lives");
}

/// `BLMOVE` cancelled at any poll: the item is in the list, with whoever got it, or in the list of what is
/// being worked on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queue_blmove_cancel() {
    let servers = fleet::<1>();
    let scene = scene("38 queue_blpop_cancel", &servers).await.let_be(1);
    let title = scene.name();
    let (mut record, mut got, mut given_up) = (Record::default(), BTreeSet::new(), 0);
    let mut raw = servers[0].connect().unwrap();
    let mut random = fastrand::Rng::with_seed(38);
    let mut n = 0;
    while given_up < cancels() {
        let mut own = scene
            .cluster
            .get_client("jobs")
            .unwrap()
            .dedicated()
            .await
            .unwrap();
        let cmd = redis::cmd("BLMOVE")
            .arg(&["jobs", "working", "RIGHT", "LEFT", "1"])
            .to_owned();
        let began = Instant::now();
        let polls = random.u32(1..8);
        if polls.is_multiple_of(2) {
            lpush(&mut raw, "jobs", n);
            n += 1;
        }
        let popped = give_up_after(polls, cmd.query_async::<Option<String>>(&mut own)).await;
        if !polls.is_multiple_of(2) {
            lpush(&mut raw, "jobs", n);
            n += 1;
        }
        match popped {
            None => given_up += 1,
            Some(result) => {
                record.note(began, Some(own.node().clone()), &result);
                got.extend(result.unwrap());
            }
        }
    }
    drop(raw);
    // Whatever was abandoned has reached the server by now.
    eventually(SOON, || servers[0].info("blocked_clients") == 0).await;
    let lists = ["jobs", "working"].map(|key| servers[0].raw(["LRANGE", key, "0", "-1"]));
    let there: BTreeSet<&str> = lists.iter().flat_map(|l| l.lines()).collect();
    let lost: Vec<_> = (0..n)
        .map(|n| n.to_string())
        .filter(|n| !there.contains(&**n))
        .collect();
    assert!(
        lost.is_empty(),
        "{title}: {} of {n} lost: {lost:?}",
        lost.len()
    );
    assert!(got.len() < n, "{title}: some were abandoned");
    scene.finish(record, &servers).await;
}

/// The same for a group's read: what an abandoned one was given is pending, and claimed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queue_xreadgroup_cancel() {
    let servers = fleet::<1>();
    let scene = scene("38+ queue_xreadgroup_cancel", &servers)
        .await
        .let_be(1);
    let title = scene.name();
    servers[0].raw(["XGROUP", "CREATE", "jobs", "g", "0", "MKSTREAM"]);
    let (mut record, mut n, mut given_up) = (Record::default(), 0, 0);
    let mut raw = servers[0].connect().unwrap();
    let mut random = fastrand::Rng::with_seed(38);
    while given_up < cancels() {
        let mut own = scene
            .cluster
            .get_client("jobs")
            .unwrap()
            .dedicated()
            .await
            .unwrap();
        let mut cmd = redis::cmd("XREADGROUP");
        cmd.arg(&["GROUP", "g", "me", "COUNT", "1", "BLOCK", "1000"]);
        cmd.arg(&["STREAMS", "jobs", ">"]);
        let began = Instant::now();
        raw.call(["XADD", "jobs", "*", "n", &n.to_string()])
            .unwrap();
        n += 1;
        match give_up_after(random.u32(1..8), own.req_packed_command(&cmd)).await {
            None => given_up += 1,
            Some(result) => record.note(began, Some(own.node().clone()), &result),
        }
    }
    drop(raw);
    eventually(SOON, || servers[0].info("blocked_clients") == 0).await;
    // Pending for `me`, or not delivered yet: nothing is anywhere else.
    let mut found = BTreeSet::new();
    let mut note = |reply: String| {
        let lines: Vec<&str> = reply.lines().collect();
        let ids = lines
            .windows(2)
            .filter(|w| w[0] == "n")
            .map(|w| w[1].to_owned());
        found.extend(ids);
    };
    note(servers[0].raw(["XREADGROUP", "GROUP", "g", "me", "STREAMS", "jobs", "0"]));
    note(servers[0].raw([
        "XREADGROUP",
        "GROUP",
        "g",
        "me",
        "COUNT",
        "100000",
        "STREAMS",
        "jobs",
        ">",
    ]));
    assert_eq!(found.len(), n, "{title}: {} of {n} lost", n - found.len());
    scene.finish(record, &servers).await;
}

/// The queue itself: pops that are dropped at any poll, and consumers that are dropped with all they fetched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queue_pop_cancel() {
    let servers = fleet::<3>();
    let scene = scene("38+ queue_pop_cancel", &servers).await.let_be(3 * 8);
    let title = scene.name();
    let queue = scene
        .cluster
        .queue("cancel")
        .visibility(ms(2_000))
        .prefetch(4);
    // One after the other, so that there is always somebody who waits.
    let pusher = {
        let queue = queue.clone();
        tokio::spawn(async move {
            let mut pushed = BTreeSet::new();
            for n in 0..3_000 {
                pushed.insert(queue.push(n.to_string()).await.unwrap().id());
            }
            pushed
        })
    };
    let mut random = fastrand::Rng::with_seed(38);
    let (mut record, mut seen, mut given_up) = (Record::default(), HashMap::new(), 0);
    let mut consumer = queue.consumer("g", "w").unwrap();
    let mut last = Instant::now();
    while seen.len() < 3_000 || given_up < cancels() {
        assert!(last.elapsed() < SOON, "{title}: {} came", seen.len());
        let polls = random.u32(0..2);
        let began = Instant::now();
        match give_up_after(polls, consumer.pop(ms(2))).await {
            None => {
                given_up += 1;
                tokio::task::yield_now().await;
            }
            Some(Ok(None)) => {}
            Some(Err(e)) => panic!("{title}: {e}"),
            Some(Ok(Some(delivery))) => {
                last = Instant::now();
                let acked = delivery.ack().await;
                record.note(
                    began,
                    Some(delivery.node().clone()),
                    &acked.map_err(Into::into),
                );
                *seen.entry(delivery.id()).or_insert(0u32) += 1;
                if random.u32(..60) == 0 {
                    consumer = queue.consumer("g", "w").unwrap();
                }
            }
        }
        if seen.len() == 3_000 {
            last = Instant::now();
        }
    }
    let pushed = pusher.await.unwrap();
    let twice = seen.values().filter(|n| **n > 1).count();
    println!(
        "{title}: {given_up} pops given up, 0 of {} lost, {twice} twice",
        pushed.len()
    );
    assert!(pushed.iter().all(|id| seen.contains_key(id)));
    consumer.close().await;
    scene.finish(record, &servers).await;
}

/// Twenty kills under load, each of one of three servers that sync every write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queue_kill9_aof() {
    const KILLS: usize = 20;
    const PUSHERS: usize = 8;
    const POPPERS: usize = 4;
    const PREFETCH: usize = 8;
    let servers: [Server; 3] = std::array::from_fn(|_| Server::builder().durable().start());
    // Without the rule for flapping nodes, which would keep them out for 30 s after five of the kills.
    let cluster = FlusterCluster::builder()
        .urls(urls(&servers))
        .penalty(Penalty::default().flap_count(0))
        .build();
    let scene = Scene::begin("39 queue_kill9_aof", cluster.expect("valid URLs")).await;
    let scene = scene.let_be(3 * 16);
    let title = scene.name();
    let queue = scene
        .cluster
        .queue("kill9")
        .visibility(ms(1_500))
        .prefetch(PREFETCH);
    let queue = queue.max_attempts(u32::MAX);
    let stop = Arc::<AtomicBool>::default();
    let pushers: Vec<_> = (0..PUSHERS)
        .map(|task| {
            let (queue, stop) = (queue.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let (mut record, mut acked) = (Record::default(), Vec::new());
                let mut copies = 0;
                for n in 0.. {
                    if stop.load(Relaxed) {
                        break;
                    }
                    let began = Instant::now();
                    let result = queue.push(format!("{task}:{n}")).await;
                    if let Ok(receipt) = &result {
                        acked.push(receipt.id());
                        copies += usize::from(receipt.may_be_twice());
                    }
                    let node = result.as_ref().ok().map(|r| r.node().clone());
                    let result = result.map_err(|e| fluster::Error::from(e).into());
                    record.note(began, node, &result);
                    pass(ms(5)).await;
                }
                (record, acked, copies)
            })
        })
        .collect();
    let seen = Arc::<Mutex<BTreeMap<MessageId, usize>>>::default();
    let consumer = Arc::new(queue.consumer("g", "w").unwrap());
    let poppers: Vec<_> = (0..POPPERS)
        .map(|_| {
            let (consumer, seen) = (Arc::clone(&consumer), Arc::clone(&seen));
            tokio::spawn(async move {
                loop {
                    // Nodes that are away for a moment are no news here.
                    let Ok(Some(delivery)) = consumer.pop(ms(100)).await else {
                        continue;
                    };
                    *seen.lock().entry(delivery.id()).or_default() += 1;
                    // Without a success it comes again.
                    drop(delivery.ack().await);
                }
            })
        })
        .collect();
    let mut random = fastrand::Rng::with_seed(39);
    for _ in 0..KILLS {
        pass(ms(random.u64(60..200))).await;
        let victim = &servers[random.usize(..3)];
        scene.strike(|| victim.kill());
        pass(ms(random.u64(0..100))).await;
        tokio::task::block_in_place(|| victim.restart());
    }
    stop.store(true, Relaxed);
    let (mut record, mut pushed, mut copies) = (Record::default(), BTreeSet::new(), 0);
    for pusher in pushers {
        let (more, acked, twice) = pusher.await.unwrap();
        record.add(more);
        pushed.extend(acked);
        copies += twice;
    }
    let missing = || {
        let seen = seen.lock();
        pushed.iter().filter(|id| !seen.contains_key(id)).count()
    };
    let began = Instant::now();
    while missing() > 0 {
        // A node that was killed over and over is let in again with caution.
        assert!(
            began.elapsed() < 4 * SOON,
            "{title}: {} of {} lost",
            missing(),
            pushed.len()
        );
        pass(ms(10)).await;
    }
    eventually_some(SOON, async || (queue.len().await.ok()? == 0).then_some(())).await;
    poppers.iter().for_each(|p| p.abort());
    for popper in poppers {
        // Aborted, which is its end.
        drop(popper.await);
    }
    let extra: usize = seen.lock().values().map(|n| n - 1).sum();
    let bound = KILLS * (2 * PREFETCH + POPPERS + PUSHERS);
    println!(
        "{title}: {} acknowledged, 0 lost, {extra} repeated ({copies} pushed twice), at most {bound}",
        pushed.len()
    );
    assert!(
        extra <= bound,
        "{title}: {extra} repeated deliveries, at most {bound}"
    );
    Arc::into_inner(consumer)
        .expect("the tasks are gone")
        .close()
        .await;
    scene.finish(record, &servers).await;
}

/// A push to a server that hangs: the plain command says that it may have been executed, the queue pushes elsewhere
/// under the same id; nothing is there zero times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timeout_then_failover_dup() {
    let servers = fleet::<2>();
    let scene = scene("40 timeout_then_failover_dup", &servers)
        .await
        .let_be(4);
    let title = scene.name();
    let queue = scene.cluster.queue("dup");
    let hung = servers[0].name();
    let key = scene.key_of(&hung);
    let mut record = Record::default();
    scene.strike(|| servers[0].stop());
    let mut lpush = redis::cmd("LPUSH");
    let lpush = lpush.arg(&key).arg("item");
    let began = Instant::now();
    // Both are on their way when it turns out that nobody answers.
    let plain = scene.cluster.run_with_key::<u64>(&key, lpush);
    let (plain, first) = tokio::join!(plain, queue.push_by_key(&key, "first"));
    let error = plain.as_ref().unwrap_err();
    assert_eq!(error.outcome(), Outcome::MaybeExecuted, "{title}: {error}");
    record.note(began, error.node().cloned(), &plain.map_err(Into::into));
    let mut receipts = vec![first.unwrap_or_else(|e| panic!("{title}: {e}"))];
    assert!(
        receipts[0].may_be_twice(),
        "{title}: it was sent to the hung node first"
    );
    for n in 0..6 {
        let began = Instant::now();
        let result = queue.push_by_key(&key, n.to_string()).await;
        let receipt = result.unwrap_or_else(|e| panic!("{title}: {e}"));
        assert_eq!(receipt.node().as_str(), servers[1].name(), "{title}");
        record.note(began, Some(receipt.node().clone()), &Ok(()));
        receipts.push(receipt);
    }
    servers[0].cont();
    scene.active(2).await;
    assert_eq!(
        servers[0].raw(["LLEN", &key]),
        "1",
        "{title}: it was executed after all"
    );
    let consumer = queue.consumer("g", "w").unwrap();
    let mut seen = BTreeMap::new();
    while let Some(delivery) = consumer.pop(Duration::from_secs(1)).await.unwrap() {
        *seen.entry(delivery.id()).or_insert(0) += 1;
        delivery.ack().await.unwrap();
    }
    for receipt in &receipts {
        let times = seen.get(&receipt.id()).copied().unwrap_or_default();
        let most = if receipt.may_be_twice() { 2 } else { 1 };
        assert!(
            (1..=most).contains(&times),
            "{title}: {receipt:?} came {times} times"
        );
    }
    let twice = seen.values().filter(|n| **n == 2).count();
    println!(
        "{title}: {} pushed, {twice} came twice, none zero times",
        receipts.len()
    );
    consumer.close().await;
    scene.finish(record, &servers).await;
}
