//! A message that kills its worker, and those beside it.

use std::collections::BTreeMap;
use std::time::Duration;

use fluster::FlusterCluster;
use fluster::queue::{Consumer, Delivery, Queue};

use super::rig::{SOON, calls, cluster_of, die, ms, next, text};
use crate::support::{Server, eventually_some, fleet};

fn queue_of(cluster: &FlusterCluster) -> Queue {
    cluster.queue("jobs").visibility(ms(400)).max_attempts(2)
}

/// Messages that are leased on all nodes.
async fn in_flight(queue: &Queue) -> u64 {
    let depths = queue.depths().await.unwrap();
    depths
        .iter()
        .map(|(_, d)| d.as_ref().unwrap().in_flight)
        .sum()
}

/// A worker that has been busy: its prefetch is what it is under load.
async fn busy(queue: &Queue) -> Consumer {
    let consumer = queue.consumer("g", "w").unwrap();
    queue.push_many((0..300).map(|_| "warm")).await;
    let mut done = 0;
    while done < 300 {
        let popped: Vec<Delivery> =
            futures_util::future::join_all((0..10).map(|_| next(&consumer))).await;
        done += popped.len();
        consumer.ack_many(&popped).await;
    }
    consumer
}

#[tokio::test]
async fn a_poison_message_takes_nothing_with_it() {
    let servers = fleet::<1>();
    let queue = queue_of(&cluster_of(&servers));
    let (mut deaths, mut done) = (0, BTreeMap::<String, u32>::new());
    let mut cluster = cluster_of(&servers);
    let mut worker = busy(&queue_of(&cluster)).await;
    let jobs = (0..40).map(|n| {
        if n == 7 {
            "poison".to_owned()
        } else {
            n.to_string()
        }
    });
    queue.push_many(jobs).await;
    let letters = eventually_some(3 * SOON, async || {
        match worker.pop(ms(100)).await.unwrap() {
            // With it goes everything that was fetched, and one that is at work beside it.
            Some(job) if text(&job) == "poison" => {
                let beside = worker.pop(Duration::ZERO).await.unwrap();
                deaths += 1;
                let old = std::mem::replace(&mut cluster, cluster_of(&servers));
                let new = queue_of(&cluster).consumer("g", "w").unwrap();
                die(old, std::mem::replace(&mut worker, new));
                drop((job, beside));
            }
            Some(job) => {
                *done.entry(text(&job)).or_default() += 1;
                assert!(job.ack().await.unwrap());
            }
            None => {}
        }
        let letters = queue.dead().list(99).await.unwrap();
        (done.len() == 39 && !letters.is_empty() && queue.len().await.unwrap() == 0)
            .then_some(letters)
    })
    .await;
    let texts: Vec<_> = letters
        .iter()
        .map(|l| String::from_utf8_lossy(l.payload()).into_owned())
        .collect();
    assert_eq!(texts, ["poison"]);
    assert_eq!(
        (deaths, letters[0].attempts()),
        (3, 2),
        "one does not count, two do"
    );
}

#[tokio::test]
async fn what_was_never_started_is_never_counted() {
    let servers = fleet::<1>();
    let queue = queue_of(&cluster_of(&servers));
    let cluster = cluster_of(&servers);
    let first = busy(&queue_of(&cluster)).await;
    queue.push_many((0..12).map(|n| n.to_string())).await;
    eventually_some(SOON, async || (in_flight(&queue).await == 12).then_some(())).await;
    die(cluster, first);
    // Workers come and go without popping; `max_attempts` is 2.
    for _ in 0..4 {
        eventually_some(SOON, async || {
            let cluster = cluster_of(&servers);
            let worker = queue_of(&cluster).consumer("g", "w").unwrap();
            let popped = worker.pop(ms(0)).await.unwrap();
            assert!(popped.is_none() || popped.is_some_and(|p| p.attempt() == 1));
            let held = eventually_some(SOON, async || {
                let held = in_flight(&queue).await;
                (held > 0).then_some(held)
            })
            .await;
            die(cluster, worker);
            (held > 0).then_some(())
        })
        .await;
        eventually_some(SOON, async || {
            let tidy = queue_of(&cluster_of(&servers));
            let chores = tidy.consumer("g", "chores").unwrap();
            tokio::time::sleep(ms(300)).await;
            chores.close().await;
            (in_flight(&queue).await == 0).then_some(())
        })
        .await;
    }
    let heir = queue.consumer("g", "heir").unwrap();
    for _ in 0..12 {
        let job = next(&heir).await;
        assert!(job.attempt() <= 2);
        assert!(job.ack().await.unwrap());
    }
    assert!(queue.dead().list(9).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_comes_back_from_an_expired_lease_is_handled_one_at_a_time() {
    let servers = fleet::<2>();
    let cluster = cluster_of(&servers);
    let first = busy(&queue_of(&cluster)).await;
    // Longer than its worker's: on a busy machine the heir must not lose what it holds.
    let queue = queue_of(&cluster_of(&servers)).visibility(ms(1_500));
    queue.push_many((0..20).map(|n| n.to_string())).await;
    eventually_some(SOON, async || (in_flight(&queue).await == 20).then_some(())).await;
    die(cluster, first);
    let heir = queue.consumer("g", "heir").unwrap();
    let alone = next(&heir).await;
    assert_eq!(alone.attempt(), 1, "uncounted the first time");
    let other = heir.pop(ms(1_500)).await.unwrap();
    assert!(other.is_none(), "{other:?} beside {alone:?}");
    // What is new is not held up by it.
    queue.push_many(["new", "new"]).await;
    for _ in 0..2 {
        let job = next(&heir).await;
        assert_eq!(text(&job), "new");
        assert!(job.ack().await.unwrap());
    }
    // One whose handler gives it up without a word counts now: it was started.
    drop(alone);
    let mut attempts = BTreeMap::new();
    for n in 0..20 {
        let Some(job) = heir.pop(SOON).await.unwrap() else {
            let (dead, depths) = (queue.dead().list(9).await, queue.depths().await);
            panic!("{n} of 20 came: {attempts:?}, dead {dead:?}, left {depths:?}");
        };
        attempts.insert(text(&job), job.attempt());
        assert!(job.ack().await.unwrap());
    }
    assert_eq!(attempts.len(), 20);
    let counted = attempts.values().filter(|n| **n == 2).count();
    assert_eq!(counted, 1, "{attempts:?}");
    assert!(queue.dead().list(9).await.unwrap().is_empty());
}

#[tokio::test]
async fn with_one_attempt_the_first_delivery_counts_at_once() {
    let servers = fleet::<1>();
    let queue = queue_of(&cluster_of(&servers)).max_attempts(1);
    let cluster = cluster_of(&servers);
    let worker = queue_of(&cluster)
        .max_attempts(1)
        .consumer("g", "w")
        .unwrap();
    queue.push_many((0..50).map(|n| n.to_string())).await;
    let mut held = Vec::new();
    for _ in 0..20 {
        let job = next(&worker).await;
        assert!(job.ack().await.unwrap());
    }
    held.push(next(&worker).await);
    eventually_some(SOON, async || (in_flight(&queue).await == 2).then_some(())).await;
    die(cluster, worker);
    let chores = queue.consumer("g", "chores").unwrap();
    let letters = eventually_some(SOON, async || {
        let letters = queue.dead().list(99).await.unwrap();
        (!letters.is_empty()).then_some(letters)
    })
    .await;
    assert!(letters.len() <= 2 && letters.iter().any(|l| l.payload() == held[0].payload()));
    drop(chores);
}

#[tokio::test]
async fn a_slow_worker_leaves_the_rest_to_the_others() {
    let servers = fleet::<1>();
    let queue = cluster_of(&servers).queue("slow");
    let slow = queue.consumer("g", "slow").unwrap();
    queue.push_many((0..40).map(|n| n.to_string())).await;
    let held = next(&slow).await;
    let quick = queue.consumer("g", "quick").unwrap();
    let mut got = 0;
    while let Some(job) = quick.pop(ms(1_500)).await.unwrap() {
        assert!(job.ack().await.unwrap());
        got += 1;
    }
    assert!(got >= 37, "{got} of 39: the slow one holds the rest");
    drop(held);
}

/// Commands per message, as the server counts them, of a consumer that keeps up with a full stream.
async fn commands(server: &Server, tasks: usize) -> BTreeMap<&'static str, f64> {
    let queue = cluster_of(std::slice::from_ref(server)).queue(format!("health-{tasks}"));
    queue.push_many((0..3_000).map(|n| n.to_string())).await;
    server.raw(["CONFIG", "RESETSTAT"]);
    let consumer = queue.consumer("g", "w").unwrap();
    let done = std::sync::atomic::AtomicUsize::new(0);
    let work = (0..tasks).map(|_| async {
        while let Some(job) = consumer.pop(ms(1_000)).await.unwrap() {
            assert!(job.ack().await.unwrap());
            done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    });
    futures_util::future::join_all(work).await;
    assert_eq!(done.into_inner(), 3_000);
    ["xreadgroup", "evalsha", "xclaim", "xack", "info"]
        .map(|name| (name, calls(server, name) as f64 / 3_000.0))
        .into()
}

#[tokio::test]
async fn in_health_a_message_costs_one_script_and_a_share_of_a_read() {
    let servers = fleet::<1>();
    for tasks in [1, 16] {
        let each = commands(&servers[0], tasks).await;
        println!("{tasks} tasks: {each:?}");
        assert!(each["xreadgroup"] < 0.1, "{each:?}");
        assert!(each["evalsha"] < 1.01 && each["xack"] < 1.01, "{each:?}");
        assert!(each["xclaim"] < 0.01 && each["info"] < 0.01, "{each:?}");
    }
}
