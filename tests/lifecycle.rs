//! The beginning and the end of a cluster, and what can be seen of it in between.

use std::time::{Duration, Instant};

use fluster::{Client, Error, ErrorKind, Event, FlusterCluster, NodeState, Reason};
use redis::{AsyncCommands, RedisError};
use tokio::runtime::Runtime;

use crate::support::{Server, eventually, fleet, urls, wait_until};
use crate::workload::{Kind, Load, SOON, Watcher};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn kind(e: &RedisError) -> ErrorKind {
    Error::from_redis(e)
        .unwrap_or_else(|| panic!("not ours: {e}"))
        .kind()
}

async fn assert_closed(client: &Client) {
    let e = client
        .clone()
        .get::<_, Option<String>>("k")
        .await
        .unwrap_err();
    assert_eq!(kind(&e), ErrorKind::Closed, "{e}");
    let e = client.dedicated().await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Closed, "{e}");
}

async fn no_connection_is_left(servers: &[Server]) {
    for server in servers {
        eventually(SOON, || server.clients().is_empty()).await;
    }
}

/// A cluster that has lanes, idle and used exclusive connections, dials in flight and a node that
/// is being probed: its first server is dead, its last one is stopped.
async fn busy(servers: &[Server]) -> (FlusterCluster, Vec<Client>) {
    let cluster = FlusterCluster::from_urls(urls(servers)).unwrap();
    let clients: Vec<Client> = cluster
        .clients()
        .take(servers.len())
        .collect::<Result<_, _>>()
        .unwrap();
    for client in &clients {
        let _: Option<String> = client.clone().get("k").await.unwrap();
        drop(client.dedicated().await.unwrap());
    }
    let dead = clients
        .iter()
        .find(|c| *c.node() == *servers[0].name())
        .unwrap();
    servers[0].kill();
    assert!(dead.clone().get::<_, Option<String>>("k").await.is_err());
    (cluster, clients)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_ends_every_task_and_closes_every_connection() {
    let servers: [Server; 3] = fleet();
    let (cluster, clients) = busy(&servers).await;
    let live = clients
        .iter()
        .find(|c| *c.node() == *servers[1].name())
        .unwrap();
    let own = live.dedicated().await.unwrap();
    let dialling: Vec<_> = (0..8)
        .map(|_| {
            let live = live.clone();
            tokio::spawn(async move { live.dedicated().await.map(drop) })
        })
        .collect();
    let load = Load::start(&cluster, Kind::Echo);
    tokio::time::sleep(ms(20)).await;

    let began = Instant::now();
    cluster.shutdown(ms(200)).await;
    let took = began.elapsed();
    assert!(
        took >= ms(200),
        "one connection stayed on loan all the time: {took:?}"
    );
    assert!(
        took <= ms(200) + ms(100) * 3,
        "the grace, not much more: {took:?}"
    );
    assert_eq!(cluster.status().tasks, 0, "every task has ended");
    for client in &clients {
        assert_closed(client).await;
    }
    let e = cluster
        .run_with_key::<()>("k", &redis::Cmd::get("k"))
        .await
        .unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Closed, "{e}");
    assert!(
        cluster.get_client("k").is_err() || {
            assert_closed(&cluster.get_client("k").unwrap()).await;
            true
        }
    );
    assert!(
        cluster.remove_node(servers[2].name()).is_err(),
        "and no change of nodes"
    );
    for task in dialling {
        // Ok or Closed, according to who was first; what counts is that it ended.
        let _ = task.await.unwrap();
    }
    for t in load.calls().await.iter().rev().take(64) {
        assert!(
            t.failure
                .is_none_or(|f| matches!(f.0, ErrorKind::Closed | ErrorKind::ConnectionLost)),
            "{t:?}"
        );
    }
    no_connection_is_left(&servers[1..]).await;
    drop(own);
    servers[0].restart();
    tokio::time::sleep(ms(500)).await;
    assert_eq!(
        servers[0].info("total_connections_received"),
        2,
        "ours alone: nobody probes any more"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_lets_what_is_in_flight_finish() {
    let server = Server::start();
    let cluster = FlusterCluster::from_urls([server.url()]).unwrap();
    let client = cluster.get_client("k").unwrap();
    let mut own = client.dedicated().await.unwrap();
    let waiting = tokio::spawn(async move { own.blpop::<_, (String, String)>("jobs", 5.0).await });
    eventually(SOON, || server.info("blocked_clients") == 1).await;
    let closing = {
        let cluster = cluster.clone();
        tokio::spawn(async move { cluster.shutdown(Duration::from_secs(10)).await })
    };
    eventually(SOON, || {
        cluster.get_client("k").is_err() || client_is_refused(&client)
    })
    .await;
    server.raw(["RPUSH", "jobs", "job"]);
    assert_eq!(waiting.await.unwrap().expect("it had its time").1, "job");
    let began = Instant::now();
    closing.await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "with nothing in flight it waits no longer"
    );
    no_connection_is_left(&[server]).await;
}

fn client_is_refused(client: &Client) -> bool {
    use futures_util::FutureExt;
    let refused = client.dedicated().now_or_never();
    matches!(refused, Some(Err(e)) if e.kind() == ErrorKind::Closed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_last_handle_closes_every_connection() {
    let servers: [Server; 3] = fleet();
    let (cluster, clients) = busy(&servers).await;
    let before = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    assert!(
        before >= 5,
        "monitor, watchdog, housekeeping and connections: {before} tasks"
    );
    let other = cluster.clone();
    drop(cluster);
    let live = clients
        .iter()
        .find(|c| *c.node() == *servers[1].name())
        .unwrap();
    let _: Option<String> = live
        .clone()
        .get("k")
        .await
        .expect("another handle is still there");
    drop(other);
    assert_closed(live).await;
    no_connection_is_left(&servers[1..]).await;
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    eventually(SOON, || tasks() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dials_in_flight_end_with_the_cluster() {
    let server = Server::start();
    server.stop();
    let cluster = FlusterCluster::from_urls([server.url()]).unwrap();
    let client = cluster.get_client("k").unwrap();
    let waiting: Vec<_> = (0..4)
        .map(|n| {
            let mut client = client.clone();
            tokio::spawn(async move {
                match n % 2 {
                    0 => client.get::<_, Option<String>>("k").await.map(drop),
                    _ => client.dedicated().await.map(drop).map_err(Into::into),
                }
            })
        })
        .collect();
    eventually(SOON, || cluster.status().nodes[0].dials >= 2).await;
    let began = Instant::now();
    drop(cluster);
    for task in waiting {
        let e = task.await.unwrap().expect_err("the server never answers");
        assert_eq!(kind(&e), ErrorKind::Closed, "{e}");
        assert!(
            began.elapsed() < ms(100) * 3,
            "at once: {:?}",
            began.elapsed()
        );
    }
    server.cont();
    no_connection_is_left(&[server]).await;
}

#[test]
fn building_needs_no_runtime_and_the_next_runtime_takes_over_from_the_first() {
    let servers: [Server; 2] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).expect("no runtime, no I/O");
    let mut client = cluster.get_client("k").expect("routing needs none either");
    for round in 1..=3_u64 {
        let runtime = Runtime::new().unwrap();
        let n: u64 = runtime
            .block_on(client.incr("k", 1))
            .unwrap_or_else(|e| panic!("round {round}: {e}"));
        assert_eq!(n, round);
        let own = runtime.block_on(client.dedicated());
        let n: u64 = runtime.block_on(own.unwrap().incr("k2", 1)).unwrap();
        assert_eq!(n, round);
        runtime.shutdown_timeout(Duration::from_secs(5));
    }
    // The probes run on the third runtime as well.
    let runtime = Runtime::new().unwrap();
    let owner = servers
        .iter()
        .find(|s| *client.node() == *s.name())
        .unwrap();
    owner.kill();
    assert!(runtime.block_on(client.incr::<_, _, u64>("k", 1)).is_err());
    assert_eq!(cluster.status().active(), 1);
    owner.restart();
    wait_until(SOON, || cluster.status().active() == 2);
}

#[test]
fn background_work_runs_on_the_runtime_that_was_given() {
    let server = Server::start();
    let background = Runtime::new().unwrap();
    let cluster = FlusterCluster::builder()
        .urls([server.url()])
        .runtime(background.handle().clone())
        .build()
        .unwrap();
    for round in 1..=2_u64 {
        let caller = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut client = cluster.get_client("k").unwrap();
        let n: u64 = caller.block_on(client.incr("k", 1)).unwrap();
        assert_eq!(n, round);
        assert_eq!(
            caller.metrics().num_alive_tasks(),
            0,
            "nothing is left on the caller's"
        );
    }
    assert_eq!(
        cluster.status().nodes[0].dials,
        1,
        "one lane for both runtimes"
    );
    assert_eq!(
        background.metrics().num_alive_tasks(),
        cluster.status().tasks
    );
    drop(cluster);
    wait_until(SOON, || background.metrics().num_alive_tasks() == 0);
    wait_until(SOON, || server.clients().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_told_in_order_and_shown_by_status() {
    let server = Server::start();
    let cluster = FlusterCluster::from_urls([server.url()]).unwrap();
    let watcher = Watcher::new(&cluster);
    let name = server.name();
    let mut client = cluster.get_client("k").unwrap();
    let _: () = client.set("k", "v").await.unwrap();
    let node = cluster.status().nodes[0].clone();
    assert_eq!(
        (node.state, node.admits, node.connected),
        (NodeState::Up, true, true)
    );
    assert_eq!((node.reason, node.retry_after, node.level), (None, None, 0));

    server.kill();
    assert!(client.get::<_, String>("k").await.is_err());
    let status = cluster.status();
    let node = status.node(&name).unwrap();
    assert_eq!(
        (status.active(), node.admits, node.connected),
        (0, false, false),
        "{node:?}"
    );
    assert_eq!(
        (node.reason, node.ejections),
        (Some(Reason::Refused), 1),
        "{node:?}"
    );
    assert!(
        node.retry_after.is_some_and(|wait| wait <= ms(100)),
        "{node:?}"
    );
    assert!(format!("{:?}", cluster.get_client("k").unwrap_err()).contains(&name));
    eventually(SOON, || watcher.events().len() >= 3).await;
    server.restart();
    eventually(SOON, || cluster.status().active() == 1).await;
    let node = cluster.status().nodes[0].clone();
    assert_eq!(node.state, NodeState::Probation, "on trial first: {node:?}");
    for _ in 0..20 {
        let _: Option<String> = client
            .get("k")
            .await
            .expect("the client of before works again");
    }
    assert_eq!(
        cluster.status().nodes[0].state,
        NodeState::Up,
        "20 successes end the trial"
    );

    eventually(SOON, || {
        matches!(watcher.events().last(), Some(Event::NodeUp { .. }))
    })
    .await;
    let events = watcher.events();
    assert!(
        matches!(&events[0], Event::NodeDown { node, reason: Reason::Refused, .. } if *node == *name),
        "{events:?}"
    );
    let (last, middle) = events[1..].split_last().unwrap();
    assert!(
        !middle.is_empty(),
        "its probes failed meanwhile: {events:?}"
    );
    for event in middle {
        assert!(
            matches!(event, Event::NodeStillDown { node, reason: Reason::Refused, .. } if *node == *name),
            "{events:?}"
        );
    }
    assert!(
        matches!(last, Event::NodeUp { node, out_for , .. } if *node == *name && !out_for.is_zero()),
        "{events:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_warm_dials_nothing_for_its_first_commands() {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let warm = cluster.with_deadline(SOON).warm_up().await;
    assert!(warm.is_complete() && cluster.is_ready(), "{warm:?}");
    assert_eq!(warm.ready.len(), 3);
    let dials =
        |cluster: &FlusterCluster| cluster.status().nodes.iter().map(|n| n.dials).sum::<u64>();
    let before = dials(&cluster);
    assert_eq!(before, 3, "one each");
    for n in 0..100 {
        let key = format!("k{n}");
        let () = cluster
            .run(redis::cmd("SET").arg(&key).arg(n))
            .await
            .unwrap();
    }
    assert_eq!(dials(&cluster), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_warms_up_is_told_which_nodes_do_not_answer_and_why() {
    let servers: [Server; 3] = fleet();
    servers[0].kill();
    servers[1].raw(["ACL", "SETUSER", "default", "-ping"]);
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let warm = cluster.with_deadline(SOON).warm_up().await;
    let failed: Vec<_> = warm
        .failed
        .iter()
        .map(|(node, e)| (node.as_str(), e.kind()))
        .collect();
    assert_eq!(
        failed,
        [(&*servers[0].name().to_string(), ErrorKind::Connect)],
        "{warm:?}"
    );
    assert_eq!(warm.ready.len(), 2, "who may not PING is there");
    assert!(!warm.is_complete() && cluster.is_ready());

    servers[1].kill();
    servers[2].kill();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let warm = cluster.with_deadline(SOON).warm_up().await;
    assert_eq!((warm.ready.len(), warm.failed.len()), (0, 3), "{warm:?}");
    eventually(SOON, || !cluster.is_ready()).await;
}
