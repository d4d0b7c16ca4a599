//! A server that does not read: what waits behind a full socket can be taken back.

use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use fluster::{Client, Error, FlusterCluster, Outcome, Penalty};
use redis::{AsyncCommands, Cmd, Pipeline, RedisError};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::relay::Relay;
use super::{Site, Way};
use crate::support::eventually;

/// More than any system keeps for a socket, and less than may wait on a connection.
const MUCH: usize = 32 << 20;
const SOON: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

fn cluster_of(site: &Site, url: String, limit: Duration) -> FlusterCluster {
    let builder = site.builder(url).connect_timeout(SOON).deadline(2 * SOON);
    let penalty = Penalty::default().strikes(1_000_000);
    let builder = builder.response_timeout(limit).penalty(penalty);
    builder.build().unwrap()
}

fn incr(key: &str) -> Cmd {
    Cmd::incr(key, 1)
}

/// The ways in which one asks for more than one command.
fn pipelines(key: &str) -> [Pipeline; 2] {
    let mut one = Pipeline::new();
    one.add_command(incr(key)).add_command(incr(key));
    let mut atomic = one.clone();
    atomic.atomic();
    [one, atomic]
}

fn outcome(e: &RedisError) -> Outcome {
    Error::from_redis(e).expect("ours").outcome()
}

/// Asks for something long, which is on its way for as long as nobody reads. It has its place before this returns.
async fn something_long(client: &Client) -> JoinHandle<Result<(), RedisError>> {
    let mut client = client.clone();
    let mut call = Box::pin(async move { client.set("long", vec![b'x'; MUCH]).await });
    let asked = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
    assert!(asked.is_pending(), "nobody reads");
    tokio::spawn(call)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_dropped_before_it_was_written_never_reaches_the_server() {
    for way in Way::ALL {
        let site = Site::new(way);
        let relay = Relay::start(&site.server);
        let cluster = cluster_of(&site, relay.url(&site.server), SOON);
        let mut client = cluster.get_client("k").unwrap();
        let _: () = client.set("k", "v").await.unwrap();
        relay.deaf(true);
        let long = something_long(&client).await;
        let (mut kept, mut dropped) = (Vec::new(), Vec::new());
        for _ in 0..100 {
            let mut own = client.clone();
            kept.push(tokio::spawn(async move {
                own.incr::<_, _, u64>("kept", 1).await
            }));
            let (mut own, own_cluster) = (client.clone(), cluster.clone());
            dropped.push(tokio::spawn(timeout(SHORT, async move {
                let [one, atomic] = pipelines("dropped");
                let cmd = incr("dropped");
                match fastrand::u8(..4) {
                    0 => drop(own.incr::<_, _, u64>("dropped", 1).await),
                    1 => drop(one.query_async::<Vec<u64>>(&mut own).await),
                    2 => drop(atomic.query_async::<Vec<u64>>(&mut own).await),
                    _ => drop(own_cluster.run_with_key::<u64>("dropped", &cmd).await),
                }
            })));
        }
        for call in dropped {
            assert!(call.await.unwrap().is_err(), "nobody reads");
        }
        relay.deaf(false);
        long.await.unwrap().unwrap();
        for call in kept {
            assert!((1..=100).contains(&call.await.unwrap().unwrap()));
        }
        assert_eq!(site.calls("incrby"), 100, "{way:?}: no other was sent");
        assert_eq!(site.calls("multi"), 0, "{way:?}");
        let node = &cluster.status().nodes[0];
        assert_eq!(node.dials, 1, "{way:?}: all of it was one connection");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_timed_out_before_it_was_written_was_not_sent_and_never_is() {
    for way in Way::ALL {
        let site = Site::new(way);
        let cluster = cluster_of(&site, site.server.url(), SHORT);
        let mut client = cluster.get_client("k").unwrap();
        let _: () = client.set("k", "v").await.unwrap();
        site.server.stop();
        let long = something_long(&client).await;
        let began = Instant::now();
        let [one, atomic] = pipelines("n");
        let (mut own, mut piped, mut whole) = (client.clone(), client.clone(), client.clone());
        let cmd = incr("n");
        let results = tokio::join!(
            own.incr::<_, _, u64>("n", 1),
            one.query_async::<Vec<u64>>(&mut piped),
            atomic.query_async::<Vec<u64>>(&mut whole),
            cluster.run_with_key::<u64>("n", &cmd),
        );
        for (outcome, what) in [
            (outcome(&results.0.unwrap_err()), "a command"),
            (outcome(&results.1.unwrap_err()), "a pipeline"),
            (outcome(&results.2.unwrap_err()), "a transaction"),
            (results.3.unwrap_err().outcome(), "a command by its key"),
        ] {
            assert_eq!(outcome, Outcome::NotSent, "{way:?}: {what}");
        }
        assert!(began.elapsed() < SOON / 4, "{:?}", began.elapsed());
        let long = long.await.unwrap().unwrap_err();
        assert_eq!(outcome(&long), Outcome::MaybeExecuted, "{way:?}: {long}");
        site.server.cont();
        // Whatever had left has come.
        cluster.shutdown(Duration::ZERO).await;
        eventually(SOON, || site.server.clients().is_empty()).await;
        for command in ["incrby", "multi"] {
            assert_eq!(
                site.calls(command),
                0,
                "{way:?}: it was said not to be sent"
            );
        }
    }
}
