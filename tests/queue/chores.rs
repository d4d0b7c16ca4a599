//! The chores of a node: what keeps them from being done, and who is told.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fluster::queue::{Consumer, Queue};
use fluster::{Error, FlusterCluster};

use super::heard::{Heard, listening};
use super::rig::{SOON, cluster_of, die, drain, ms, next, stream_of, text};
use crate::support::{Server, eventually, eventually_some, fleet};

/// No byte more: what needs memory is refused, with `noeviction` as by default.
fn fill_up(server: &Server) {
    server.raw(["CONFIG", "SET", "maxmemory", "1"]);
    assert!(
        server
            .try_raw(["SET", "more", "x"])
            .unwrap()
            .to_string()
            .contains("OOM")
    );
}

#[tokio::test]
async fn a_worker_that_starts_drains_a_full_server() {
    let servers = fleet::<1>();
    let queue = cluster_of(&servers).queue("full").visibility(ms(500));
    let doomed_cluster = cluster_of(&servers);
    let doomed = doomed_cluster.queue("full").visibility(ms(500));
    let doomed = doomed.consumer("g", "doomed").unwrap();
    queue.push("held").await.unwrap();
    assert_eq!(text(&next(&doomed).await), "held");
    let again = next_nacked(&doomed, &queue).await;
    die(doomed_cluster, doomed);
    queue.push_at(ms(100), "delayed").await.unwrap();
    queue.push_many((0..20).map(|n| n.to_string())).await;
    fill_up(&servers[0]);
    // What it held comes from an expired lease, and `delayed` is due: both need the chores.
    let worker = queue.consumer("g", "worker").unwrap();
    let mut seen = BTreeSet::new();
    while seen.len() < 23 {
        let job = next(&worker).await;
        seen.insert(text(&job));
        assert!(job.ack().await.unwrap());
    }
    assert!(seen.contains("delayed") && seen.contains("held") && seen.contains(&again));
    eventually_some(SOON, async || (queue.len().await.ok()? == 0).then_some(())).await;
    // A job that is given back, or up, only moves.
    servers[0].raw(["CONFIG", "SET", "maxmemory", "0"]);
    queue.push("once more").await.unwrap();
    fill_up(&servers[0]);
    assert!(next(&worker).await.nack(Duration::ZERO).await.unwrap());
    assert!(next(&worker).await.nack(ms(1)).await.unwrap());
    assert!(next(&worker).await.reject("never").await.unwrap());
    assert_eq!(queue.dead().list(2).await.unwrap().len(), 1);
}

/// A delivery that was given back before: it is in the group's own stream.
async fn next_nacked(consumer: &Consumer, queue: &Queue) -> String {
    queue.push("again").await.unwrap();
    assert!(next(consumer).await.nack(Duration::ZERO).await.unwrap());
    text(&next(consumer).await)
}

#[tokio::test]
async fn the_first_worker_of_a_group_drains_a_full_server_too() {
    let servers = fleet::<1>();
    let queue = cluster_of(&servers).queue("first");
    queue.push_many((0..20).map(|n| n.to_string())).await;
    fill_up(&servers[0]);
    let worker = queue.consumer("g", "w").unwrap();
    for _ in 0..20 {
        assert!(next(&worker).await.ack().await.unwrap());
    }
    assert_eq!(queue.len().await.unwrap(), 0);
}

#[test]
fn a_group_that_is_new_is_not_said_to_have_been_deleted() {
    let heard = listening(|heard| async move {
        let servers = fleet::<2>();
        let queue = cluster_of(&servers).queue("new");
        let consumer = queue.consumer("g", "w").unwrap();
        for _ in 0..2 {
            queue.push("x").await.unwrap();
            assert!(next(&consumer).await.ack().await.unwrap());
        }
        assert_eq!(heard.with(&["WARN"]), [""; 0]);
        for server in &servers {
            server.raw(["XGROUP", "DESTROY", &stream_of(&queue), "g"]);
        }
        eventually(SOON, || heard.with(&["WARN", "was deleted"]).len() == 2).await;
    });
    assert_eq!(heard.with(&["WARN"]).len(), 2);
}

#[tokio::test]
async fn a_turn_that_cannot_be_is_taken() {
    let servers = fleet::<1>();
    let queue = cluster_of(&servers).queue("turn");
    let consumer = queue.consumer("g", "w").unwrap();
    let turn = "fluster:{turn}:turn:g";
    for more in [&["PX", "3600000"][..], &[]] {
        servers[0].raw([&["SET", turn, "somebody"], more].concat());
        // The chores' to bring.
        queue.push_at(ms(1), "due").await.unwrap();
        assert!(next(&consumer).await.ack().await.unwrap());
    }
}

/// Pops until an error says `word`, and how often it popped a delivery before.
async fn told(consumer: &Consumer, word: &str) -> Error {
    let began = Instant::now();
    loop {
        match consumer.pop(ms(200)).await {
            Err(error) if error.to_string().contains(word) => return error,
            Err(error) => println!("another error: {error}"),
            // Its worker dies of it, as it were.
            Ok(Some(delivery)) if text(&delivery) == "bad" => drop(delivery),
            Ok(Some(delivery)) => drop(delivery.ack().await),
            Ok(None) => {}
        }
        assert!(began.elapsed() < SOON, "{word} is not said");
    }
}

#[test]
fn a_wrong_type_at_any_key_of_the_chores_is_told_and_stops_no_other_chore() {
    for what in ["delayed", "dead", "later:g", "kept:g", "turn:g"] {
        let key = format!("fluster:{{typed}}:{what}");
        let heard = listening(|heard| wrong_type(key.clone(), heard));
        let lines = heard.with(&["WARN", "chores", &key]);
        assert_eq!(lines.len(), 1, "{what}: {lines:?}");
    }
}

async fn wrong_type(key: String, heard: Heard) {
    let servers = fleet::<2>();
    let queue = cluster_of(&servers)
        .queue("typed")
        .visibility(ms(400))
        .max_attempts(2);
    servers[0].raw(["RPUSH", &key, "foreign"]);
    let consumer = queue.consumer("g", "w").unwrap();
    if key.ends_with(":dead") {
        // Needed only by who has a letter.
        servers[0].raw([
            "XADD",
            &stream_of(&queue),
            "*",
            "i",
            "0a",
            "a",
            "7",
            "p",
            "bad",
        ]);
    }
    let error = told(&consumer, &key).await;
    assert!(error.to_string().contains("WRONGTYPE"), "{error}");
    assert_eq!(error.node().unwrap().as_str(), servers[0].name());
    let counter = format!(
        "fluster_queue_chores_failed_total{{queue=typed,node={}}}",
        servers[0].name()
    );
    assert!(heard.metrics.get(&counter) >= 1.0, "{counter}");
    // A lease of this node ends all the same, and another node's deliveries come before the error.
    servers[0].raw(["XADD", &stream_of(&queue), "*", "i", "0b", "p", "mine"]);
    let first = eventually_some(SOON, async || consumer.pop(ms(200)).await.ok().flatten()).await;
    assert_eq!(text(&first), "mine");
    drop(first);
    let again = eventually_some(SOON, async || consumer.pop(ms(200)).await.ok().flatten()).await;
    assert_eq!(text(&again), "mine");
    again.ack().await.unwrap();
    assert_eq!(
        servers[0].raw(["TYPE", &key]),
        "list",
        "what is not ours stays"
    );
    servers[0].raw(["DEL", &key]);
    eventually(SOON, || {
        !heard.with(&["INFO", "chores", "done again"]).is_empty()
    })
    .await;
    // An error may have been waiting.
    drop(consumer.pop(ms(1)).await);
    assert!(consumer.pop(ms(1_500)).await.unwrap().is_none());
}

#[test]
fn chores_that_are_forbidden_are_told() {
    for forbidden in ["-zrangebyscore", "-evalsha", "-xpending"] {
        let heard = listening(|_| async move {
            let servers = fleet::<1>();
            servers[0].raw([
                "ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", forbidden,
            ]);
            let url = servers[0].url().replace("redis://", "redis://app:pw@");
            let cluster = FlusterCluster::from_urls([url]).unwrap();
            let queue = cluster.queue("acl").visibility(ms(400));
            queue.push("x").await.unwrap();
            let consumer = queue.consumer("g", "w").unwrap();
            let error = told(&consumer, "fluster:{acl}:").await;
            let text = error.to_string().to_lowercase();
            assert!(
                text.contains("perm") || text.contains("acl") || text.contains("can't run"),
                "{error}"
            );
        });
        let lines = heard.with(&["WARN", "chores", "fluster:{acl}:"]);
        let keys: BTreeSet<_> = lines.iter().map(|l| l.split('`').nth(1)).collect();
        assert!(
            !keys.is_empty() && keys.len() == lines.len(),
            "{forbidden}: {lines:#?}"
        );
    }
}

#[tokio::test]
async fn odd_members_of_the_delayed_set_go_to_the_dead_letters() {
    let servers = fleet::<1>();
    let queue = cluster_of(&servers).queue("odd");
    let odd = [
        "text",
        "00ff:1:-",
        "00ff:1:5-3:x",
        "00ff:1:--:x",
        "00ff:1:9:short",
        "00ff:x:-:y",
        "",
    ];
    for member in odd {
        servers[0].raw(["ZADD", "fluster:{odd}:delayed", "1", member]);
        servers[0].raw(["ZADD", "fluster:{odd}:later:g", "1", member]);
    }
    queue.push_at(ms(1), "good").await.unwrap();
    let consumer = queue.consumer("g", "w").unwrap();
    assert_eq!(text(&next(&consumer).await), "good");
    let letters = eventually_some(SOON, async || {
        let letters = queue.dead().list(99).await.unwrap();
        (letters.len() == 2 * odd.len()).then_some(letters)
    })
    .await;
    let seen: BTreeSet<_> = letters.iter().map(|l| l.payload().to_vec()).collect();
    let expected: BTreeSet<_> = odd.iter().map(|o| o.as_bytes().to_vec()).collect();
    assert_eq!(seen, expected);
    assert!(letters.iter().all(|l| l.reason().contains("not a message")));
    assert!(drain(&consumer, ms(200)).await.len() <= 1);
}
