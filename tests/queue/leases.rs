//! Whose a delivery is, for how long, and what becomes of it then.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::rig::{SOON, cluster_of, die, drain, ms, next, stream_of, text};
use crate::support::{Server, eventually, eventually_some, fleet};

#[tokio::test]
async fn a_lease_is_renewed_while_the_job_runs_and_ends_with_its_delivery() {
    let servers = fleet::<2>();
    let queue = cluster_of(&servers).queue("leases").visibility(ms(600));
    let (a, b) = (
        queue.consumer("g", "a").unwrap(),
        queue.consumer("g", "b").unwrap(),
    );
    queue.push("x").await.unwrap();
    let (held, idle) = tokio::select! {
        d = next(&a) => (d, &b),
        d = next(&b) => (d, &a),
    };
    // Five times the visibility.
    let other = idle.pop(ms(3_000)).await.unwrap();
    assert!(other.is_none() && !held.is_lost(), "{other:?}");
    let began = Instant::now();
    drop(held);
    let again = tokio::select! {
        d = next(&a) => d,
        d = next(&b) => d,
    };
    assert!(began.elapsed() < ms(8_000), "{:?}", began.elapsed());
    // A lease that ended does not say whether the job was started: uncounted the first time.
    assert_eq!((again.attempt(), text(&again).as_str()), (1, "x"));
    drop(again);
    let again = tokio::select! {
        d = next(&a) => d,
        d = next(&b) => d,
    };
    assert_eq!((again.attempt(), text(&again).as_str()), (2, "x"));
    assert!(again.ack().await.unwrap());
    assert_eq!(queue.len().await.unwrap(), 0);
}

/// How often leases were claimed on a server.
fn renewals(server: &Server) -> u64 {
    let stats = server.raw(["INFO", "commandstats"]);
    let line = stats.lines().find(|l| l.starts_with("cmdstat_xclaim:"));
    let calls = line.and_then(|l| l.split_once("calls=")?.1.split(',').next()?.parse().ok());
    calls.unwrap_or_default()
}

/// One renewal may fail, and the next one still comes in time.
#[tokio::test]
async fn a_lease_is_renewed_three_times_per_visibility() {
    let servers = fleet::<1>();
    let visibility = ms(900);
    let queue = cluster_of(&servers).queue("thirds").visibility(visibility);
    let consumer = queue.consumer("g", "w").unwrap();
    queue.push("x").await.unwrap();
    let held = next(&consumer).await;
    // Four times the visibility, as many times as it takes to look without being late.
    for _ in 0..20 {
        let (began, before) = (Instant::now(), renewals(&servers[0]));
        tokio::time::sleep(4 * visibility).await;
        let count = renewals(&servers[0]) - before;
        let lasted = began.elapsed().div_duration_f64(visibility);
        assert!(count as f64 <= 3.0 * lasted + 1.0, "{count} in {lasted}");
        // Two per visibility would be ten at most.
        if lasted <= 4.5 && count >= 11 {
            assert!(held.ack().await.unwrap());
            return;
        }
    }
    panic!("it is renewed less often");
}

#[tokio::test]
async fn what_a_dead_process_held_is_delivered_again() {
    let servers = fleet::<2>();
    let living = cluster_of(&servers).queue("dead").visibility(ms(500));
    let doomed_cluster = cluster_of(&servers);
    let doomed = doomed_cluster
        .queue("dead")
        .visibility(ms(500))
        .consumer("g", "w")
        .unwrap();
    living.push_many((0..20).map(|n| n.to_string())).await;
    let first = next(&doomed).await;
    let mut held = vec![];
    for _ in 0..15 {
        held.push(next(&doomed).await);
    }
    die(doomed_cluster, doomed);
    let consumer = living.consumer("g", "w").unwrap();
    let mut attempts = BTreeMap::new();
    for _ in 0..20 {
        let delivery = next(&consumer).await;
        attempts.insert(text(&delivery), delivery.attempt());
        delivery.ack().await.unwrap();
    }
    assert_eq!(attempts.len(), 20);
    assert!(
        attempts.values().all(|n| *n == 1),
        "uncounted the first time: {attempts:?}"
    );
    assert!(first.ack().await.is_err(), "the cluster is closed");
}

#[tokio::test]
async fn a_lease_that_was_lost_is_known() {
    let servers = fleet::<1>();
    let queue = cluster_of(&servers).queue("lost").visibility(ms(300));
    let consumer = queue.consumer("g", "w").unwrap();
    queue.push("x").await.unwrap();
    let held = next(&consumer).await;
    // Somebody settles it behind its back.
    let key = stream_of(&queue);
    let pending = servers[0].raw(["XPENDING", &key, "g", "-", "+", "1"]);
    let id = pending.lines().next().unwrap().to_owned();
    servers[0].raw(["XACK", &key, "g", &id]);
    eventually(SOON, || held.is_lost()).await;
    assert!(!held.extend(ms(100)).await.unwrap());
    assert!(!held.nack(Duration::ZERO).await.unwrap());
    assert!(!held.ack().await.unwrap());
}

#[tokio::test]
async fn an_extended_lease_outlives_its_process() {
    let servers = fleet::<1>();
    let doomed_cluster = cluster_of(&servers);
    let doomed = doomed_cluster
        .queue("kept")
        .visibility(ms(200))
        .consumer("g", "w")
        .unwrap();
    let queue = cluster_of(&servers).queue("kept").visibility(ms(200));
    queue.push("short").await.unwrap();
    queue.push("long").await.unwrap();
    let (short, long) = (next(&doomed).await, next(&doomed).await);
    assert!(long.extend(ms(4_000)).await.unwrap());
    let began = Instant::now();
    assert!(long.extend(Duration::ZERO).await.is_err());
    assert!(long.extend(Duration::MAX).await.is_err());
    die(doomed_cluster, doomed);
    let consumer = queue.consumer("g", "w").unwrap();
    let first = next(&consumer).await;
    assert_eq!(first.payload(), short.payload());
    assert!(first.ack().await.unwrap());
    let second = next(&consumer).await;
    assert_eq!(second.payload(), long.payload());
    assert!(began.elapsed() >= ms(3_950), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_shorter_visibility_elsewhere_takes_nothing_away() {
    let servers = fleet::<1>();
    let cluster = cluster_of(&servers);
    let slow = cluster
        .queue("mixed")
        .visibility(ms(60_000))
        .consumer("g", "slow")
        .unwrap();
    let queue = cluster.queue("mixed").visibility(ms(200));
    queue.push("x").await.unwrap();
    let held = next(&slow).await;
    let quick = queue.consumer("g", "quick").unwrap();
    let taken = quick.pop(ms(2_500)).await.unwrap();
    assert!(taken.is_none(), "{taken:?}");
    assert!(held.ack().await.unwrap());
}

#[tokio::test]
async fn too_many_attempts_end_among_the_dead_letters_with_the_reason() {
    let servers = fleet::<2>();
    let queue = cluster_of(&servers)
        .queue("poison")
        .visibility(ms(300))
        .max_attempts(3);
    let consumer = queue.consumer("g", "w").unwrap();
    let nacked = queue.push("nacked").await.unwrap();
    for attempt in 1..=3 {
        let delivery = next(&consumer).await;
        assert_eq!(delivery.attempt(), attempt);
        assert!(delivery.nack(Duration::ZERO).await.unwrap());
    }
    queue.push_by_key("k", "dropped").await.unwrap();
    for attempt in [1, 1, 2, 3] {
        let delivery = next(&consumer).await;
        assert_eq!(
            (delivery.attempt(), text(&delivery).as_str()),
            (attempt, "dropped")
        );
    }
    queue.push("rejected").await.unwrap();
    assert!(next(&consumer).await.reject("not a job: ü").await.unwrap());
    let letters = eventually_some(SOON, async || {
        let letters = queue.dead().list(10).await.unwrap();
        (letters.len() == 3).then_some(letters)
    })
    .await;
    assert_eq!(queue.len().await.unwrap(), 0);
    let letter = |payload: &str| {
        letters
            .iter()
            .find(|l| l.payload() == payload.as_bytes())
            .unwrap()
    };
    let one = letter("nacked");
    assert_eq!(
        (one.id(), one.attempts(), one.group()),
        (Some(nacked.id()), 3, "g")
    );
    assert_eq!(one.node(), nacked.node());
    assert!(
        one.reason().contains("attempt 3 was given back"),
        "{}",
        one.reason()
    );
    assert!(
        letter("dropped").reason().contains("expired"),
        "{:?}",
        letter("dropped")
    );
    assert_eq!(letter("dropped").key(), Some(&b"k"[..]));
    assert_eq!(letter("rejected").reason(), "not a job: ü");
    // Once more for one of them, and good-bye to another.
    assert!(queue.dead().retry(one).await.unwrap());
    assert!(!queue.dead().retry(one).await.unwrap());
    let again = next(&consumer).await;
    assert_eq!((again.id(), again.attempt()), (nacked.id(), 1));
    again.ack().await.unwrap();
    assert!(queue.dead().discard(letter("rejected")).await.unwrap());
    assert!(!queue.dead().discard(letter("rejected")).await.unwrap());
    assert_eq!(queue.dead().list(10).await.unwrap().len(), 1);
    // A queue that nobody reads any more takes a retried letter as well.
    for server in &servers {
        server.raw(["DEL", &stream_of(&queue), "fluster:{poison}:again:g"]);
    }
    drop(consumer);
    assert!(queue.dead().retry(letter("dropped")).await.unwrap());
    assert_eq!(queue.len().await.unwrap(), 1);
}

#[tokio::test]
async fn a_closed_consumer_gives_back_what_was_not_popped() {
    let servers = fleet::<3>();
    let queue = cluster_of(&servers).queue("close");
    let consumer = queue.consumer("g", "w").unwrap();
    queue.push_many((0..60).map(|n| n.to_string())).await;
    let held = next(&consumer).await;
    let began = Instant::now();
    consumer.close().await;
    assert!(
        began.elapsed() < ms(5_000),
        "not by cutting off: {:?}",
        began.elapsed()
    );
    let heir = queue.consumer("g", "heir").unwrap();
    let began = Instant::now();
    for _ in 0..59 {
        let delivery = next(&heir).await;
        assert_eq!(delivery.attempt(), 1, "it was never started");
        assert_ne!(delivery.id(), held.id());
        delivery.ack().await.unwrap();
    }
    assert!(began.elapsed() < ms(10_000), "long before the leases end");
    assert!(
        held.ack().await.unwrap(),
        "what was popped is still its holder's"
    );
    assert_eq!(queue.len().await.unwrap(), 0);
    heir.close().await;
    for server in &servers {
        let left = server.raw(["XINFO", "CONSUMERS", &stream_of(&queue), "g"]);
        assert!(!left.contains("heir"), "{left}");
    }
}

#[tokio::test]
async fn a_dropped_consumer_gives_back_and_leaves_no_task() {
    let servers = fleet::<2>();
    let cluster = cluster_of(&servers);
    let queue = cluster.queue("drop");
    queue.push_many((0..40).map(|n| n.to_string())).await;
    let consumer = queue.consumer("g", "w").unwrap();
    let held = next(&consumer).await;
    let tasks = cluster.status().tasks;
    drop(consumer);
    let heir = queue.consumer("g", "heir").unwrap();
    let seen = drain(&heir, ms(1_500)).await;
    assert_eq!(seen.len(), 39);
    assert!(held.ack().await.unwrap());
    drop((held, heir));
    // Two readers, two for maintenance and the follower of each, and their connections in the pool.
    eventually(SOON, || cluster.status().tasks <= tasks - 5 + 2).await;
}

#[tokio::test]
async fn a_consumer_that_nobody_asks_holds_nothing_back() {
    let servers = fleet::<1>();
    let queue = cluster_of(&servers).queue("idle").visibility(ms(800));
    let sleeper = queue.consumer("g", "sleeper").unwrap();
    queue.push_many((0..10).map(|n| n.to_string())).await;
    next(&sleeper).await.ack().await.unwrap();
    let awake = queue.consumer("g", "awake").unwrap();
    let mut seen = 0;
    while seen < 9 {
        let delivery = next(&awake).await;
        assert_eq!(delivery.attempt(), 1, "it was never started");
        assert!(delivery.ack().await.unwrap());
        seen += 1;
    }
    queue.push("later").await.unwrap();
    drop(awake);
    assert_eq!(
        text(&next(&sleeper).await),
        "later",
        "it goes on when it is asked"
    );
}

#[tokio::test]
async fn what_is_under_way_is_not_trimmed_with_what_is_done() {
    let servers = fleet::<1>();
    let queue = cluster_of(&servers).queue("held");
    let (slow, quick) = (
        queue.consumer("slow", "w").unwrap(),
        queue.consumer("quick", "w").unwrap(),
    );
    queue.push("x").await.unwrap();
    let (held, done) = (next(&slow).await, next(&quick).await);
    assert!(done.ack().await.unwrap());
    // The chores are done once a second, and look at all groups.
    tokio::time::sleep(ms(2_500)).await;
    assert!(held.nack(Duration::ZERO).await.unwrap());
    let again = next(&slow).await;
    assert_eq!((again.attempt(), text(&again).as_str()), (2, "x"));
    assert!(again.ack().await.unwrap());
    eventually(SOON, || servers[0].raw(["XLEN", &stream_of(&queue)]) == "0").await;
}
