//! A node is taken out of service by hand, and put back.

use std::time::Duration;

use fluster::{
    ClusterEmptyError, Error, ErrorKind, Event, FlusterCluster, Node, NodeState, Outcome, Reason,
};
use redis::AsyncCommands;

use crate::support::{Server, eventually, fleet, urls};
use crate::workload::SOON;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn keys() -> impl Iterator<Item = String> {
    (0..200).map(|i| format!("key:{i}"))
}

/// A key that the server owns.
fn key_of(cluster: &FlusterCluster, server: &Server) -> String {
    keys()
        .find(|key| *cluster.get_client(key).unwrap().node() == *server.name())
        .expect("each node owns some of the keys")
}

fn cluster_of(servers: &[Server]) -> FlusterCluster {
    FlusterCluster::from_urls(urls(servers)).unwrap()
}

fn owners(cluster: &FlusterCluster) -> Vec<String> {
    keys()
        .map(|key| cluster.get_client(&key).unwrap().node().to_string())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_node_serves_no_key_and_gets_its_own_back() {
    let servers: [Server; 3] = fleet();
    let cluster = cluster_of(&servers);
    let before = owners(&cluster);
    let name = servers[0].name();
    let mut events = cluster.events();

    cluster.drain_node(&name).unwrap();
    cluster.drain_node(&name).unwrap();
    let status = cluster.status();
    let node = status.node(&name).unwrap();
    assert_eq!(
        (node.state, node.drained, node.admits),
        (NodeState::Up, true, false)
    );
    assert_eq!(status.active(), 2);
    for (now, was) in owners(&cluster).iter().zip(&before) {
        assert_ne!(*now, name);
        assert!(*was == name || now == was, "only its own keys move");
    }
    for client in cluster.clients().rounds(2) {
        assert_ne!(*client.unwrap().node(), *name);
    }

    cluster.restore_node(&name).unwrap();
    cluster.restore_node(&name).unwrap();
    assert_eq!(owners(&cluster), before);
    assert!(!cluster.status().node(&name).unwrap().drained);
    let first = events.next().await.unwrap();
    assert!(
        matches!(&first, Event::NodeDrained { node, .. } if *node == *name),
        "{first:?}"
    );
    let second = events.next().await.unwrap();
    assert!(
        matches!(&second, Event::NodeRestored { node, .. } if *node == *name),
        "{second:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_held_is_told_that_nothing_was_sent() {
    let servers: [Server; 2] = fleet();
    let cluster = cluster_of(&servers);
    let mut held = cluster.get_client(key_of(&cluster, &servers[0])).unwrap();
    let _: () = held.set("k", "before").await.unwrap();
    cluster.drain_node(servers[0].name()).unwrap();
    let e = held.set::<_, _, ()>("k", "after").await.unwrap_err();
    let e = Error::from_redis(&e).unwrap();
    assert_eq!(
        (e.kind(), e.outcome()),
        (ErrorKind::NodeOut, Outcome::NotSent)
    );
    assert!(e.to_string().contains("drained"), "{e}");
    let e = held.dedicated().await.unwrap_err();
    assert_eq!(
        (e.kind(), e.outcome()),
        (ErrorKind::NodeOut, Outcome::NotSent)
    );
    assert_eq!(servers[0].get("k").as_deref(), Some("before"));

    cluster.restore_node(servers[0].name()).unwrap();
    let _: () = held.set("k", "after").await.unwrap();
    assert_eq!(servers[0].get("k").as_deref(), Some("after"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_flight_on_a_drained_node_ends() {
    let servers: [Server; 2] = fleet();
    let cluster = FlusterCluster::builder()
        .urls(urls(&servers))
        .response_timeout(SOON)
        .build()
        .unwrap();
    let client = cluster.get_client(key_of(&cluster, &servers[0])).unwrap();
    let mut own = client.dedicated().await.unwrap();
    let mut slow = client.clone();
    servers[0].raw(["CLIENT", "PAUSE", "60000", "WRITE"]);
    let slow = tokio::spawn(async move { slow.incr::<_, _, u64>("slow", 1).await });
    let name = servers[0].name();
    eventually(SOON, || {
        cluster.status().node(&name).unwrap().in_flight == 1
    })
    .await;
    cluster.drain_node(&name).unwrap();
    servers[0].raw(["CLIENT", "UNPAUSE"]);
    assert_eq!(slow.await.unwrap().expect("finished"), 1);
    let length: u64 = own.rpush("list", "x").await.expect("on loan before");
    assert_eq!(length, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_name_that_is_there_can_be_drained() {
    let servers: [Server; 2] = fleet();
    let cluster = cluster_of(&servers);
    for e in [
        cluster.drain_node("nobody").unwrap_err(),
        cluster.restore_node("nobody").unwrap_err(),
    ] {
        assert_eq!(
            (e.kind(), e.outcome()),
            (ErrorKind::Invalid, Outcome::NotSent)
        );
        assert!(e.to_string().contains("nobody"), "{e}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_name_stays_drained_whatever_the_nodes_are() {
    let servers: [Server; 3] = fleet();
    let cluster = cluster_of(&servers);
    let name = servers[0].name();
    let all = || servers.iter().map(|s| Node::new(s.url()).unwrap());
    cluster.drain_node(&name).unwrap();
    cluster.set_nodes(all().skip(1)).unwrap();
    assert!(cluster.status().node(&name).is_none());
    cluster.set_nodes(all()).unwrap();
    let status = cluster.status();
    assert!(status.node(&name).unwrap().drained);
    assert!(owners(&cluster).iter().all(|owner| *owner != name));
    // Another server under the name.
    let moved = Node::new(servers[0].url().replace("127.0.0.1", "localhost"))
        .unwrap()
        .name(&name);
    cluster.set_nodes(all().skip(1).chain([moved])).unwrap();
    assert!(owners(&cluster).iter().all(|owner| *owner != name));

    // It may be restored while it is away.
    cluster.set_nodes(all().skip(1)).unwrap();
    cluster.restore_node(&name).unwrap();
    cluster.set_nodes(all()).unwrap();
    assert!(owners(&cluster).contains(&name));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_node_that_dies_is_probed_and_returns_drained() {
    let servers: [Server; 2] = fleet();
    let cluster = cluster_of(&servers);
    let name = servers[0].name();
    let mut held = cluster.get_client(key_of(&cluster, &servers[0])).unwrap();
    let _: () = held.set("k", 1).await.unwrap();
    servers[0].kill();
    let state = || cluster.status().node(&name).unwrap().state;
    eventually(SOON, || {
        // A call that finds out.
        let mut held = held.clone();
        tokio::spawn(async move { held.get::<_, Option<u8>>("k").await });
        !state().admits()
    })
    .await;
    cluster.drain_node(&name).unwrap();
    servers[0].restart();
    eventually(SOON, || state().admits()).await;
    let status = cluster.status();
    assert!(!status.node(&name).unwrap().admits);
    assert!(owners(&cluster).iter().all(|owner| *owner != name));
    let e = held.get::<_, Option<u8>>("k").await.unwrap_err();
    assert_eq!(Error::from_redis(&e).unwrap().kind(), ErrorKind::NodeOut);
    cluster.restore_node(&name).unwrap();
    assert_eq!(held.get::<_, Option<u8>>("k").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_drained_nodes_says_so() {
    let servers: [Server; 2] = fleet();
    let cluster = cluster_of(&servers);
    for server in &servers {
        cluster.drain_node(server.name()).unwrap();
    }
    let empty: ClusterEmptyError = cluster.get_client("k").unwrap_err();
    assert!(
        empty
            .reasons()
            .iter()
            .all(|(_, why)| *why == Reason::Drained)
    );
    assert!(empty.to_string().contains("(drained)"), "{empty}");
    assert!(!empty.retry_after().is_zero(), "asking at once is in vain");
    cluster.restore_node(servers[1].name()).unwrap();
    assert_eq!(*cluster.get_client("k").unwrap().node(), *servers[1].name());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_a_drained_node_is_renewed_and_settled() {
    let servers: [Server; 2] = fleet();
    let cluster = cluster_of(&servers);
    let queue = cluster.queue("jobs").visibility(ms(3_000));
    let consumer = queue.consumer("g", "c").unwrap();
    for text in ["a", "b", "c", "d"] {
        queue.push(text).await.unwrap();
    }
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(consumer.pop(SOON).await.unwrap().expect("four were pushed"));
    }
    for server in &servers {
        cluster.drain_node(server.name()).unwrap();
    }
    // Longer than a lease: without renewals all are lost.
    tokio::time::sleep(ms(4_000)).await;
    let mut held = held.into_iter();
    assert!(held.next().unwrap().ack().await.unwrap());
    assert!(held.next().unwrap().extend(ms(60_000)).await.unwrap());
    assert!(held.next().unwrap().nack(ms(0)).await.unwrap());
    let last = held.next().unwrap();
    assert!(!last.is_lost());
    assert!(last.ack().await.unwrap());
    let e = queue.push("e").await.unwrap_err();
    assert!(e.to_string().contains("drained"), "{e}");

    for server in &servers {
        cluster.restore_node(server.name()).unwrap();
    }
    let again = consumer.pop(SOON).await.unwrap().expect("given back");
    assert!(again.ack().await.unwrap());
    consumer.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_new_is_read_from_a_drained_node() {
    let [server]: [Server; 1] = fleet();
    let cluster = cluster_of(std::slice::from_ref(&server));
    let queue = cluster.queue("jobs");
    let consumer = queue.consumer("g", "c").unwrap();
    queue.push("first").await.unwrap();
    let first = consumer.pop(SOON).await.unwrap().expect("pushed");
    assert!(first.ack().await.unwrap());
    cluster.drain_node(server.name()).unwrap();
    // The read that waits at the server is in flight, and ends.
    eventually(SOON, || server.info("blocked_clients") == 0).await;
    let other = cluster_of(std::slice::from_ref(&server));
    let elsewhere = other.queue("jobs");
    elsewhere.push("second").await.unwrap();
    assert!(consumer.pop(ms(1_000)).await.ok().flatten().is_none());
    cluster.restore_node(server.name()).unwrap();
    let second = consumer.pop(SOON).await.unwrap().expect("pushed");
    assert_eq!(second.payload(), b"second");
    assert!(second.ack().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_of_a_cache_reaches_a_drained_node() {
    let servers: [Server; 2] = fleet();
    let cluster = cluster_of(&servers);
    let cache: fluster::cache::Cache<String> = cluster.cache("c:").raw().unwrap();
    let key = keys()
        .find(|key| *cluster.get_client(format!("c:{key}")).unwrap().node() == *servers[0].name())
        .unwrap();
    let _ = cache.set(&key, &"value".to_owned(), ms(60_000)).await;
    eventually(SOON, || servers[0].get(&format!("c:{key}")).is_some()).await;
    cluster.drain_node(servers[0].name()).unwrap();
    let deletion = cache.delete(&key).await;
    assert!(deletion.is_complete() && deletion.existed(), "{deletion:?}");
    assert_eq!(servers[0].get(&format!("c:{key}")), None);
}
