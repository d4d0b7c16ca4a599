//! What connections survive, and what they cost when they do not: restarts, CLIENT KILL, cancelled
//! calls, an exhausted pool.

use std::time::{Duration, Instant};

use fluster::{Client, Error, ErrorKind, FlusterCluster, NodeState, Outcome};
use futures_util::future::join_all;
use redis::aio::ConnectionLike;
use redis::{AsyncCommands, RedisError};

use crate::support::{Server, eventually, fleet, urls};
use crate::workload::{Call, Kind, Load, SOON};

/// How much slower than an idle machine this one may be.
const SLACK: u32 = 3;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn kind(e: &RedisError) -> ErrorKind {
    Error::from_redis(e)
        .unwrap_or_else(|| panic!("not ours: {e}"))
        .kind()
}

async fn client_id(connection: &mut impl ConnectionLike) -> u64 {
    redis::cmd("CLIENT")
        .arg("ID")
        .query_async(connection)
        .await
        .expect("CLIENT ID")
}

/// A cluster of this one server, and its client.
fn only(server: &Server) -> (FlusterCluster, Client) {
    let cluster = FlusterCluster::from_urls([server.url()]).unwrap();
    let client = cluster.get_client("k").unwrap();
    (cluster, client)
}

/// 20 INCRs at once on the lane, 4 at once on exclusive connections.
async fn incr_everywhere(client: &Client) {
    let shared = join_all((0..20).map(|_| async {
        client
            .clone()
            .incr::<_, _, u64>("n", 1)
            .await
            .expect("INCR on the lane");
    }));
    let exclusive = join_all((0..4).map(|_| async {
        let mut own = client.dedicated().await.expect("an exclusive connection");
        own.incr::<_, _, u64>("n", 1)
            .await
            .expect("INCR on an exclusive connection");
    }));
    tokio::join!(shared, exclusive);
}

/// `disturb` ends every connection while all of them are idle.
async fn idle_connections_end(disturb: impl Fn(&Server)) {
    const ROUNDS: u64 = 6;
    let server = Server::builder().durable().start();
    let (cluster, client) = only(&server);
    for round in 1..=ROUNDS {
        incr_everywhere(&client).await;
        assert_eq!(
            server.get("n"),
            Some((24 * round).to_string()),
            "every INCR counts once"
        );
        // A connection counts as idle after a millisecond; it is looked at before it is written to.
        std::thread::sleep(ms(2));
        disturb(&server);
        // At once, while our side may not have noticed yet, and some time later.
        if round % 2 == 0 {
            tokio::time::sleep(ms(20)).await;
        }
    }
    let node = &cluster.status().nodes[0];
    assert_eq!(node.ejections, 0, "the server was never away when asked");
}

/// The test blocks the only thread while it restarts the server, so the connections find out with the
/// next command at the earliest.
#[tokio::test]
async fn a_restart_while_idle_costs_no_error_even_when_our_runtime_was_stalled() {
    idle_connections_end(Server::restart).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_while_idle_costs_no_error() {
    idle_connections_end(Server::restart).await;
}

fn kill_clients(server: &Server) {
    server.raw(["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
}

#[tokio::test]
async fn killed_idle_connections_cost_no_error_even_when_our_runtime_was_stalled() {
    idle_connections_end(kill_clients).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_idle_connections_cost_no_error() {
    idle_connections_end(kill_clients).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_the_server_closes_as_idle_cost_no_error() {
    let server = Server::builder().durable().arg("--timeout", "1").start();
    let (cluster, client) = only(&server);
    for round in 1..=2_u64 {
        incr_everywhere(&client).await;
        assert_eq!(
            server.get("n"),
            Some((24 * round).to_string()),
            "every INCR counts once"
        );
        eventually(SOON, || server.clients().is_empty()).await;
    }
    incr_everywhere(&client).await;
    assert_eq!(cluster.status().nodes[0].ejections, 0);
}

/// Errors of a workload during which something happened between `from` and `to` to one server.
fn check_errors(tries: &[Call], node: &str, from: Instant, to: Instant) -> usize {
    let failed: Vec<_> = tries.iter().filter(|t| t.failed()).collect();
    for t in &failed {
        assert!(t.is_at(node), "an error of another node: {t:?}");
        assert!(
            t.overlaps(from, to),
            "an error of a call that was not under way: {t:?}"
        );
    }
    failed.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_killed_under_load_cost_at_most_the_commands_in_flight() {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let load = Load::start(&cluster, Kind::Echo);
    tokio::time::sleep(ms(300)).await;
    let from = Instant::now();
    kill_clients(&servers[0]);
    let to = Instant::now();
    tokio::time::sleep(ms(500)).await;
    let tries = load.calls().await;
    // The server answers CLIENT KILL before it closes.
    let errors = check_errors(&tries, &servers[0].name(), from, to + ms(50) * SLACK);
    println!("CLIENT KILL under load: {errors} errors");
    assert!(
        errors <= 64,
        "{errors} errors of at most 64 calls in flight"
    );
    assert_eq!(
        cluster.status().node(servers[0].name()).unwrap().ejections,
        0,
        "it was never away"
    );
    assert!(
        tries.iter().all(|t| !(t.second && t.failed())),
        "and the second try succeeds"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_under_load_costs_at_most_the_commands_in_flight() {
    let servers: [Server; 3] = fleet();
    // A killed server hangs up; a living one may be slow on a machine that is busy with more than this.
    let cluster = FlusterCluster::builder()
        .urls(urls(&servers))
        .response_timeout(ms(5_000))
        .build()
        .unwrap();
    let load = Load::start(&cluster, Kind::Echo);
    tokio::time::sleep(ms(300)).await;
    let from = Instant::now();
    servers[0].restart();
    let to = Instant::now();
    eventually(SOON, || cluster.status().active() == 3).await;
    tokio::time::sleep(ms(300)).await;
    let tries = load.calls().await;
    let errors = check_errors(&tries, &servers[0].name(), from, to + ms(50) * SLACK);
    println!("restart under load: {errors} errors");
    assert!(
        errors <= 64,
        "{errors} errors of at most 64 calls in flight"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_call_keeps_the_lane_and_everybody_elses_replies() {
    let server = Server::start();
    let (cluster, mut client) = only(&server);
    let before = client_id(&mut client).await;
    let tasks = (0..16_u64).map(|task| {
        let client = client.clone();
        tokio::spawn(async move {
            for n in 0..500_u64 {
                let token = format!("{task}-{n}");
                let mut echo = redis::cmd("ECHO");
                echo.arg(&token);
                let mut client = client.clone();
                let call = echo.query_async::<String>(&mut client);
                // Some answer in time, some are dropped before, on or after their way.
                let patience = Duration::from_micros((task * 97 + n * 31) % 400);
                if let Ok(reply) = tokio::time::timeout(patience, call).await {
                    assert_eq!(reply.expect("no errors"), token, "somebody else's reply");
                }
            }
        })
    });
    for task in join_all(tasks).await {
        task.expect("every answer was right");
    }
    assert_eq!(
        client_id(&mut client).await,
        before,
        "still the same connection"
    );
    let node = &cluster.status().nodes[0];
    assert_eq!((node.dials, node.ejections), (1, 0), "one dial all along");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_call_costs_an_exclusive_connection() {
    let server = Server::start();
    let (cluster, client) = only(&server);
    let before = {
        let mut own = client.dedicated().await.unwrap();
        let id = client_id(&mut own).await;
        let blocked = own.blpop::<_, Option<(String, String)>>("nobody", 0.0);
        assert!(
            tokio::time::timeout(ms(50), blocked).await.is_err(),
            "nothing to pop"
        );
        id
    };
    let mut own = client.dedicated().await.unwrap();
    assert_ne!(
        client_id(&mut own).await,
        before,
        "the next user gets a fresh one"
    );
    eventually(SOON, || server.clients().len() == 1).await;
    server.raw(["RPUSH", "nobody", "item"]);
    assert_eq!(
        server.raw(["LLEN", "nobody"]),
        "1",
        "nobody waits for it any more"
    );
    assert_eq!(cluster.status().nodes[0].ejections, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exclusive_connection_is_used_again_without_a_round_trip() {
    let server = Server::start();
    let (_cluster, client) = only(&server);
    let id = client_id(&mut client.dedicated().await.unwrap()).await;
    let before = server.info("total_commands_processed");
    for _ in 0..10 {
        let own = client.dedicated().await.unwrap();
        drop(own);
    }
    // INFO counts itself afterwards, and the first one is counted now.
    let commands = server.info("total_commands_processed") - before;
    assert!(commands <= 2, "ten checkouts sent {commands} commands");
    assert_eq!(client_id(&mut client.dedicated().await.unwrap()).await, id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saturated_pool_says_so_in_time_and_is_no_strike() {
    let server = Server::start();
    let cluster = FlusterCluster::builder()
        .urls([server.url()])
        .pool_size(2)
        .build()
        .unwrap();
    let client = cluster.get_client("k").unwrap();
    let (one, _two) = (
        client.dedicated().await.unwrap(),
        client.dedicated().await.unwrap(),
    );
    for result in join_all((0..10).map(|_| async {
        let began = Instant::now();
        (client.dedicated().await, began.elapsed())
    }))
    .await
    {
        let (Err(error), took) = result else {
            panic!("there are two connections, and both are taken");
        };
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Saturated, Outcome::NotSent)
        );
        assert!(
            error.to_string().contains("pool_size"),
            "names the remedy: {error}"
        );
        assert!(
            (ms(250)..=ms(260) * SLACK).contains(&took),
            "after {took:?}"
        );
    }
    let node = &cluster.status().nodes[0];
    assert_eq!(
        (node.ejections, node.state, node.level),
        (0, NodeState::Up, 0)
    );
    let waiter = tokio::spawn(async move { client.dedicated().await.map(drop) });
    tokio::time::sleep(ms(20)).await;
    drop(one);
    waiter
        .await
        .unwrap()
        .expect("whoever waits gets the connection that comes back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_full_says_so_and_is_not_ejected() {
    let server = Server::builder().arg("--maxclients", "3").start();
    let (cluster, mut client) = only(&server);
    let _: () = client.set("k", "v").await.unwrap();
    let held = [server.connect().unwrap(), server.connect().unwrap()];
    let error = client.dedicated().await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Rejected, "{error}");
    assert!(
        error.to_string().contains("max number of clients"),
        "{error}"
    );
    let value: String = client.get("k").await.expect("who is connected is served");
    assert_eq!(
        (value.as_str(), cluster.status().nodes[0].ejections),
        ("v", 0)
    );
    drop(held);
    eventually(SOON, || server.connect().is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_server_holds_nobody_who_asks_for_an_exclusive_connection() {
    let servers: [Server; 2] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let client = cluster.get_client("k").unwrap();
    let server = servers
        .iter()
        .find(|s| *client.node() == *s.name())
        .unwrap();
    drop(join_all((0..16).map(|_| async { client.dedicated().await.unwrap() })).await);
    server.stop();
    let began = Instant::now();
    let mut own = client.dedicated().await.expect("an idle one, unchecked");
    let error = own.get::<_, Option<String>>("k").await.unwrap_err();
    let took = began.elapsed();
    assert_eq!(kind(&error), ErrorKind::Timeout, "{error}");
    assert!(
        took <= ms(550) * SLACK,
        "not once per idle connection: {took:?}"
    );
}
