//! Generated calls on three nodes and on one server: the same replies, wherever one server could give
//! them. The seeds are written down, so a failure comes back.

use fluster::{Error, ErrorKind, FlusterCluster};
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisResult, Value};

use super::calls::{Calls, command, has_one_tag, is_unordered};
use crate::support::{Server, fleet, urls};

const SEEDS: [u64; 4] = [1, 20_261_121, 0x5eed, 42];
const CALLS: usize = 3_000;
const PIPELINES: usize = 150;

async fn plain(server: &Server) -> MultiplexedConnection {
    let client = redis::Client::open(server.url()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

/// What both answers are compared by: the value, or that it is an error, and of which code.
fn essence(words: &[String], result: Result<Value, Option<String>>) -> Result<String, String> {
    match result {
        Ok(Value::Array(mut items)) if is_unordered(words) => {
            if &*words[0] == "HGETALL" {
                items = items
                    .chunks(2)
                    .map(|pair| Value::Array(pair.to_vec()))
                    .collect();
            }
            let mut items: Vec<String> = items.iter().map(|i| format!("{i:?}")).collect();
            items.sort();
            Ok(items.join(" "))
        }
        Ok(value) => Ok(format!("{value:?}")),
        Err(code) => Err(code.unwrap_or_default()),
    }
}

fn code(error: &redis::RedisError) -> Option<String> {
    error.code().map(Into::into)
}

/// `None` when the cluster refuses the call because its keys are on several nodes.
fn ours(words: &[String], result: Result<Value, Error>) -> Option<Result<String, String>> {
    match result {
        Err(e) if e.kind() == ErrorKind::CrossNode => {
            assert!(!has_one_tag(words), "{words:?} is one node's: {e}");
            None
        }
        // Said before anything was sent; the server would have said it too.
        Err(e) if e.kind() == ErrorKind::Invalid => Some(essence(words, Err(Some("ERR".into())))),
        Err(e) => {
            assert_eq!(e.kind(), ErrorKind::Server, "{words:?}: {e}");
            let e = redis::RedisError::from(e);
            Some(essence(words, Err(code(&e))))
        }
        Ok(value) => Some(essence(words, Ok(value))),
    }
}

fn theirs(words: &[String], result: RedisResult<Value>) -> Result<String, String> {
    essence(words, result.map_err(|e| code(&e)))
}

#[tokio::test]
async fn three_nodes_answer_every_command_as_one_server_does() {
    let servers: [Server; 3] = fleet();
    let single = Server::start();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let mut one = plain(&single).await;
    let (mut same, mut apart, mut errors) = (0, 0, 0);
    for seed in SEEDS {
        let mut calls = Calls::new(seed);
        for n in 0..CALLS {
            let words = calls.next();
            let cmd = command(&words);
            let Some(ours) = ours(&words, cluster.run(&cmd).await) else {
                apart += 1;
                continue;
            };
            let theirs = theirs(&words, cmd.query_async(&mut one).await);
            assert_eq!(ours, theirs, "{words:?} (seed {seed}, call {n})");
            errors += usize::from(ours.is_err());
            same += 1;
        }
    }
    println!(
        "{same} calls answered alike, {errors} of them with an error; {apart} refused for their nodes"
    );
    assert!(same > 9_000 && errors > 300 && apart > 100);
    let all: usize = servers.iter().map(keys).sum();
    assert_eq!(all, keys(&single), "no key twice, none missing");
}

fn keys(server: &Server) -> usize {
    server.raw(["DBSIZE"]).parse().unwrap()
}

#[tokio::test]
async fn three_nodes_answer_every_pipeline_as_one_server_does() {
    let servers: [Server; 3] = fleet();
    let single = Server::start();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let mut one = plain(&single).await;
    let (mut same, mut apart) = (0, 0);
    for seed in SEEDS {
        let mut calls = Calls::new(seed);
        for n in 0..PIPELINES {
            let length = calls.up_to(60);
            let all: Vec<Vec<String>> = (0..length).map(|_| calls.next()).collect();
            let mut pipe = Pipeline::new();
            for words in &all {
                pipe.add_command(command(words));
            }
            let results = cluster.pipeline(&pipe).await.unwrap();
            assert_eq!(results.len(), all.len(), "one result per command");
            for (i, (words, result)) in all.iter().zip(results).enumerate() {
                let Some(ours) = ours(words, result) else {
                    apart += 1;
                    continue;
                };
                let theirs = theirs(words, command(words).query_async(&mut one).await);
                assert_eq!(ours, theirs, "{words:?} (seed {seed}, pipeline {n}, {i})");
                same += 1;
            }
        }
    }
    println!("{same} commands in pipelines answered alike, {apart} refused for their nodes");
    assert!(same > 10_000 && apart > 50);
}

#[tokio::test]
async fn an_atomic_pipeline_of_one_tag_is_a_transaction_and_of_several_nodes_is_refused_unsent() {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let mut connection = cluster.clone();
    let mut pipe = redis::pipe();
    pipe.atomic().incr("{t}a", 1).incr("{t}b", 2).get("{t}a");
    let (a, b, text): (i64, i64, String) = pipe.query_async(&mut connection).await.unwrap();
    assert_eq!((a, b, &*text), (1, 2, "1"));
    assert_eq!(cluster.pipeline(&pipe).await.unwrap().len(), 3);

    let mut pipe = redis::pipe();
    pipe.atomic();
    for n in 0..20 {
        pipe.incr(format!("k{n}"), 1).ignore();
    }
    let before: u64 = servers
        .iter()
        .map(|s| s.info("total_commands_processed"))
        .sum();
    let error = cluster.pipeline(&pipe).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CrossNode);
    let error = pipe.query_async::<()>(&mut connection).await.unwrap_err();
    assert_eq!(
        Error::from_redis(&error).unwrap().kind(),
        ErrorKind::CrossNode
    );
    let after: u64 = servers
        .iter()
        .map(|s| s.info("total_commands_processed"))
        .sum();
    // Looking costs a few commands itself; twenty increments are not among them.
    assert!(after - before < 12, "{}", after - before);
    for n in 0..20 {
        assert!(servers.iter().all(|s| s.get(&format!("k{n}")).is_none()));
    }
}
