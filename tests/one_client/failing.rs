//! Nodes that die, or fall silent, in the middle of something.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use fluster::{Error, ErrorKind, Event, Failover, FlusterCluster, Outcome};
use redis::{AsyncCommands, Value};

use crate::support::{Server, eventually, fleet, urls};
use crate::workload::SOON;

/// Puts every key on its node, with its own name as the value.
async fn fill(cluster: &FlusterCluster, keys: &[String]) {
    let pairs = keys.iter().map(|k| (k, k));
    assert!(cluster.set_many(pairs).await.iter().all(Result::is_ok));
}

fn names(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("k{i}")).collect()
}

/// The keys' nodes.
fn owners(cluster: &FlusterCluster, keys: &[String]) -> BTreeMap<String, String> {
    let nodes = cluster.get_node_batch(keys).unwrap();
    keys.iter()
        .cloned()
        .zip(nodes.into_iter().map(|n| n.to_string()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_during_mget_costs_nobody_a_wrong_value() {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    // More keys on each node than the budget has tokens: a cut command is one repetition.
    let keys = names(1_000);
    fill(&cluster, &keys).await;
    let owners = owners(&cluster, &keys);
    let dead = servers[0].name();
    let reader = {
        let (cluster, keys) = (cluster.clone(), keys.clone());
        tokio::spawn(async move {
            let mut rounds = Vec::new();
            let until = Instant::now() + Duration::from_millis(600);
            while Instant::now() < until {
                rounds.push(cluster.get_many::<_, Option<String>>(&keys).await);
            }
            rounds
        })
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    servers[0].kill();
    let rounds = reader.await.unwrap();
    let (mut values, mut empty) = (0, 0);
    for round in &rounds {
        for (key, result) in keys.iter().zip(round) {
            match result {
                Ok(Some(value)) => {
                    assert_eq!(value, key, "another key's value");
                    values += 1;
                }
                // A read goes on to the stand-in, which has nothing.
                Ok(None) => {
                    assert_eq!(owners[key], dead, "{key} is on a living node");
                    empty += 1;
                }
                Err(e) => panic!("a read goes on to the next node: {key}: {e}"),
            }
        }
    }
    println!(
        "{} rounds: {values} values, {empty} from stand-ins",
        rounds.len()
    );
    assert!(empty > 0 && rounds.len() > 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_during_a_pipeline_of_a_thousand_fails_only_its_own_commands() {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let keys = names(1_000);
    let owners = owners(&cluster, &keys);
    let mut pipe = redis::pipe();
    for key in &keys {
        pipe.incr(key, 1);
    }
    // Known to be whole first.
    assert!(
        cluster
            .pipeline(&pipe)
            .await
            .unwrap()
            .iter()
            .all(Result::is_ok)
    );
    let dead = servers[1].name();
    let done = Arc::new(AtomicUsize::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let runner = {
        let (cluster, pipe) = (cluster.clone(), pipe.clone());
        let (done, over) = (Arc::clone(&done), Arc::clone(&over));
        tokio::spawn(async move {
            let mut rounds = Vec::new();
            while !over.load(SeqCst) {
                rounds.push(cluster.pipeline(&pipe).await.unwrap());
                done.fetch_add(1, SeqCst);
            }
            rounds
        })
    };
    eventually(SOON, || done.load(SeqCst) >= 3).await;
    servers[1].stop();
    // Until a round waits for it: a kill between two rounds would cut nothing.
    let mut before = usize::MAX;
    while std::mem::replace(&mut before, done.load(SeqCst)) != before {
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    servers[1].kill();
    let after = done.load(SeqCst) + 3;
    eventually(SOON, || done.load(SeqCst) >= after).await;
    over.store(true, SeqCst);
    let rounds = runner.await.unwrap();
    let mut unsure = 0;
    let mut acked: BTreeMap<&String, u64> = keys.iter().map(|k| (k, 1)).collect();
    let mut maybe: BTreeMap<&String, u64> = BTreeMap::new();
    for round in &rounds {
        assert_eq!(round.len(), keys.len(), "one result per command");
        for (key, result) in keys.iter().zip(round) {
            match result {
                Ok(Value::Int(_)) => *acked.get_mut(key).unwrap() += 1,
                Ok(other) => panic!("INCR {key}: {other:?}"),
                Err(e) => {
                    assert_eq!(owners[key], dead, "{key} is on a living node: {e}");
                    assert_eq!(e.outcome(), Outcome::MaybeExecuted, "{e}");
                    *maybe.entry(key).or_default() += 1;
                    unsure += 1;
                }
            }
        }
    }
    println!(
        "{} rounds of 1000, {unsure} commands of unknown outcome",
        rounds.len()
    );
    assert!(unsure > 0 && unsure <= 2 * 500, "{unsure}");
    // On the living nodes every acknowledged increment is there exactly once.
    for (key, n) in acked {
        if owners[key] == dead {
            continue;
        }
        let counted: u64 = servers
            .iter()
            .filter(|s| s.pid().is_some())
            .filter_map(|s| s.get(key))
            .map(|v| v.parse::<u64>().unwrap())
            .sum();
        assert_eq!(counted, n, "{key}");
        assert!(!maybe.contains_key(key));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_connection_way_keeps_the_other_answers_and_tells_the_outcome() {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::builder()
        .urls(urls(&servers))
        .failover(Failover::Never)
        .build()
        .unwrap();
    let keys = names(30);
    let owners = owners(&cluster, &keys);
    let mut pipe = redis::pipe();
    for key in &keys {
        pipe.incr(key, 1);
    }
    fill(&cluster, &names(1_000)).await;
    let _: () = cluster.run(&redis::cmd("FLUSHALL")).await.unwrap();
    servers[2].stop();
    let mut connection = cluster.clone();
    let results: Vec<redis::RedisResult<i64>> = {
        let mut pipe = pipe.clone();
        pipe.ignore_errors();
        pipe.query_async(&mut connection).await.unwrap()
    };
    servers[2].cont();
    for (key, result) in keys.iter().zip(results) {
        match result {
            Ok(n) => assert_eq!(n, 1),
            Err(e) => {
                assert_eq!(owners[key], servers[2].name());
                assert_eq!(e.code(), Some("FLUSTER"), "{e}");
                assert!(e.to_string().contains("maybe_executed"), "{e}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_on_a_node_that_falls_silent_is_not_run_a_second_time() {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let owner = cluster.get_node("counter").unwrap();
    let server = servers.iter().find(|s| owner == *s.name()).unwrap();
    let mut eval = redis::cmd("EVAL");
    eval.arg("return redis.call('INCR', KEYS[1])")
        .arg(1)
        .arg("counter");
    assert_eq!(cluster.run::<i64>(&eval).await.unwrap(), 1);
    server.stop();
    let error = cluster.run::<i64>(&eval).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Timeout, Outcome::MaybeExecuted)
    );
    server.cont();
    eventually(SOON, || server.get("counter").as_deref() == Some("2")).await;
    let elsewhere = servers.iter().filter(|s| s.name() != server.name());
    assert_eq!(elsewhere.filter_map(|s| s.get("counter")).count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn increments_during_a_silence_and_its_failover_are_never_applied_twice() {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let keys = names(60);
    let owners = owners(&cluster, &keys);
    let silent = &servers[0];
    let tasks: Vec<_> = keys
        .iter()
        .cloned()
        .map(|key| {
            let mut cluster = cluster.clone();
            tokio::spawn(async move {
                let (mut tried, mut good, mut unsure) = (0_u64, 0_u64, 0_u64);
                let until = Instant::now() + Duration::from_millis(4_000);
                while Instant::now() < until {
                    tried += 1;
                    match cluster.incr::<_, _, i64>(&key, 1).await {
                        Ok(_) => good += 1,
                        Err(e) => {
                            let outcome = Error::from_redis(&e).map(Error::outcome);
                            unsure += u64::from(outcome == Some(Outcome::MaybeExecuted));
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                (key, tried, good, unsure)
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    silent.stop();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    silent.cont();
    let (mut total, mut doubtful) = (0, 0);
    for task in tasks {
        let (key, tried, good, unsure) = task.await.unwrap();
        let counted: u64 = servers
            .iter()
            .filter_map(|s| s.get(&key))
            .map(|v| v.parse::<u64>().unwrap())
            .sum();
        assert!(counted <= tried, "{key}: {counted} applied of {tried} sent");
        assert!(
            counted >= good && counted <= good + unsure,
            "{key} of {}: {counted} applied, {good} acknowledged, {unsure} unknown",
            owners[&key]
        );
        total += good;
        doubtful += unsure;
    }
    println!("{total} increments acknowledged, {doubtful} of unknown outcome, none applied twice");
    assert!(doubtful > 0 && total > 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_for_all_nodes_name_the_one_that_is_out_or_make_do_without() {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let keys = names(90);
    fill(&cluster, &keys).await;
    let size: i64 = cluster.run(&redis::cmd("DBSIZE")).await.unwrap();
    assert_eq!(size, 90);
    let mut all: Vec<String> = cluster.run(redis::cmd("KEYS").arg("k*")).await.unwrap();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 90);
    let info: BTreeMap<String, String> =
        cluster.run(redis::cmd("INFO").arg("server")).await.unwrap();
    assert_eq!(info.len(), 3);

    servers[1].kill();
    let mut watch = cluster.events();
    // Any call to it finds out.
    for key in &keys {
        let _ = cluster.run::<Value>(redis::cmd("GET").arg(key)).await;
    }
    eventually(SOON, || cluster.status().active() == 2).await;
    assert!(matches!(watch.next().await, Some(Event::NodeDown { .. })));
    let error = cluster.run::<i64>(&redis::cmd("DBSIZE")).await.unwrap_err();
    assert!(error.to_string().contains(&servers[1].name()), "{error}");
    assert_eq!(error.outcome(), Outcome::NotSent);
    assert!(error.to_string().contains("partial()"), "{error}");
    let left: i64 = cluster
        .allow_partial()
        .run(&redis::cmd("DBSIZE"))
        .await
        .unwrap();
    let there: i64 = [0, 2]
        .map(|i| servers[i].raw(["DBSIZE"]).parse::<i64>().unwrap())
        .iter()
        .sum();
    assert_eq!(left, there);
    // A flush that leaves one node as it was would be half a flush.
    assert!(cluster.run::<()>(&redis::cmd("FLUSHALL")).await.is_err());
    assert_eq!(
        [0, 2]
            .map(|i| servers[i].raw(["DBSIZE"]).parse::<i64>().unwrap())
            .iter()
            .sum::<i64>(),
        there
    );
    let _: () = cluster
        .allow_partial()
        .run(&redis::cmd("FLUSHALL"))
        .await
        .unwrap();
    assert_eq!(
        cluster
            .allow_partial()
            .run::<i64>(&redis::cmd("DBSIZE"))
            .await
            .unwrap(),
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_mset_says_which_keys_were_done() {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let keys = names(12);
    let owners = owners(&cluster, &keys);
    fill(&cluster, &keys).await;
    servers[0].stop();
    let pairs: Vec<(String, u8)> = keys.iter().cloned().map(|k| (k, 7)).collect();
    let error = cluster.clone().mset::<_, _, ()>(&pairs).await.unwrap_err();
    servers[0].cont();
    let text = error.to_string();
    assert_eq!(
        Error::from_redis(&error).unwrap().outcome(),
        Outcome::MaybeExecuted,
        "{text}"
    );
    for key in &keys {
        let done = text
            .split("done: ")
            .nth(1)
            .unwrap()
            .split(": ")
            .next()
            .unwrap();
        let listed = done.split(", ").any(|k| k == key);
        assert_eq!(listed, owners[key] != servers[0].name(), "{key}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repetitions_in_an_outage_are_bounded_by_the_budget() {
    let servers: [Server; 2] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let keys = names(2_000);
    let owners = owners(&cluster, &keys);
    fill(&cluster, &keys).await;
    let silent: Vec<_> = keys
        .iter()
        .filter(|k| owners[*k] == servers[0].name())
        .collect();
    assert!(silent.len() > 600);
    let before = servers[1].info("total_commands_processed");
    servers[0].stop();
    // All at once, so that all are under way when the node falls silent: none is routed elsewhere first.
    let reads = silent.iter().map(|key| {
        let mut cluster = cluster.clone();
        async move { cluster.get::<_, Option<String>>(*key).await }
    });
    let results = futures_util::future::join_all(reads).await;
    servers[0].cont();
    let again = servers[1].info("total_commands_processed") - before;
    let failed = results.iter().filter(|r| r.is_err()).count();
    println!(
        "{} reads timed out, {again} were sent again, {failed} failed",
        silent.len()
    );
    assert!(
        again < 300,
        "{again} sent again for {} that timed out",
        silent.len()
    );
    assert!(again >= 90, "the budget is there to be used: {again}");
    assert!(failed >= silent.len() - 300);
}
