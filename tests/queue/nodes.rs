//! Many nodes: turns, changes of the topology, drains.

use std::collections::BTreeMap;

use fluster::Node;

use super::rig::{SOON, calls, cluster_of, drain, ms, next, stream_of, text, xlen};
use crate::support::{Server, eventually, fleet};

/// Between two turns of a node that has something no other node has two.
#[tokio::test]
async fn nodes_take_turns() {
    let servers = fleet::<3>();
    let queue = cluster_of(&servers).queue("turns").prefetch(8);
    let key = stream_of(&queue);
    // One node has ten times as much as the others.
    for (server, n) in servers.iter().zip([600, 60, 60]) {
        let mut raw = server.connect().unwrap();
        for _ in 0..n {
            raw.call(["XADD", &key, "*", "i", "00", "p", "x"]).unwrap();
        }
    }
    let consumer = queue.consumer("g", "w").unwrap();
    // The first fetch of each node is there.
    tokio::time::sleep(ms(300)).await;
    let mut left: BTreeMap<String, i32> = servers
        .iter()
        .map(Server::name)
        .zip([600, 60, 60])
        .collect();
    let mut waited: BTreeMap<String, i32> = BTreeMap::new();
    let mut longest = 0;
    for _ in 0..720 {
        let delivery = next(&consumer).await;
        let node = delivery.node().to_string();
        *left.get_mut(&node).unwrap() -= 1;
        for (name, left) in &left {
            let waited = waited.entry(name.clone()).or_default();
            *waited = if *name == node || *left == 0 {
                0
            } else {
                *waited + 1
            };
            longest = longest.max(*waited);
        }
        delivery.ack().await.unwrap();
        // A job takes longer than a fetch.
        tokio::time::sleep(ms(1)).await;
    }
    println!("fairness: a node with messages waited for {longest} deliveries of others at most");
    assert!(longest <= 2, "one round of three nodes: {longest}");
}

#[tokio::test]
async fn a_node_that_is_added_is_read_and_one_that_is_removed_is_not() {
    let [a, b, c] = fleet();
    let cluster = cluster_of(std::slice::from_ref(&a));
    let queue = cluster.queue("moving");
    let consumer = queue.consumer("g", "w").unwrap();
    queue.push("1").await.unwrap();
    next(&consumer).await.ack().await.unwrap();
    cluster.add_node(Node::new(b.url()).unwrap()).unwrap();
    b.raw(["XADD", &stream_of(&queue), "*", "i", "0b", "p", "on b"]);
    let delivery = next(&consumer).await;
    assert_eq!(
        (text(&delivery).as_str(), delivery.node().as_str()),
        ("on b", &*b.name())
    );
    delivery.ack().await.unwrap();
    let held = {
        queue.push("2").await.unwrap();
        queue.push("3").await.unwrap();
        [next(&consumer).await, next(&consumer).await]
    };
    cluster.remove_node(a.name()).unwrap();
    let mut settled = 0;
    for delivery in held {
        settled += usize::from(delivery.ack().await.is_ok());
    }
    assert_eq!(settled, 1, "the removed node is out of reach");
    // Its connection is closed, and nothing is fetched from it.
    eventually(SOON, || a.clients().is_empty()).await;
    // Another server under an old name is another node.
    cluster
        .set_nodes([Node::new(c.url()).unwrap().name(b.name())])
        .unwrap();
    c.raw(["XADD", &stream_of(&queue), "*", "i", "0c", "p", "on c"]);
    assert_eq!(text(&next(&consumer).await), "on c");
}

#[tokio::test]
async fn a_drained_node_is_empty_before_it_is_removed() {
    let servers = fleet::<3>();
    let cluster = cluster_of(&servers);
    let queue = cluster.queue("drain");
    for n in 0..30 {
        queue.push(n.to_string()).await.unwrap();
        queue
            .push_at(ms(600_000), format!("later {n}"))
            .await
            .unwrap();
    }
    let name = servers[1].name();
    // Nobody consumes: what is left is said.
    let drained = queue.drain(&name, ms(100)).await.unwrap();
    assert!(drained.moved >= 9, "{drained:?}");
    assert!(
        drained.left.messages >= 9 && drained.left.delayed == 0,
        "{drained:?}"
    );
    for n in 0..30 {
        assert_ne!(
            queue.push(n.to_string()).await.unwrap().node().to_string(),
            name
        );
    }
    assert_eq!(queue.depths().await.unwrap().len(), 3);
    let consumer = queue.consumer("g", "w").unwrap();
    let (drained, _) = tokio::join!(queue.drain(&name, SOON), drain(&consumer, ms(1_000)));
    assert_eq!(drained.unwrap().left.total(), 0);
    cluster.remove_node(&name).unwrap();
    let delayed: u64 = [&servers[0], &servers[2]]
        .iter()
        .map(|s| {
            s.raw(["ZCARD", "fluster:{drain}:delayed"])
                .parse::<u64>()
                .unwrap()
        })
        .sum();
    assert_eq!(delayed, 30, "none of those for later is lost");
    // All nodes drained: nothing can be pushed, and it says why.
    for server in [&servers[0], &servers[2]] {
        queue.drain(server.name(), ms(1)).await.unwrap();
    }
    let error = queue.push("x").await.unwrap_err();
    assert!(error.to_string().contains("drained"), "{error}");
    queue.resume(servers[0].name());
    assert_eq!(
        queue.push("x").await.unwrap().node().to_string(),
        servers[0].name()
    );
}

/// An idle consumer costs a node one blocking read per 2 s and one short script per second.
#[tokio::test]
async fn an_idle_consumer_costs_little() {
    let servers = fleet::<1>();
    let queue = cluster_of(&servers).queue("quiet");
    let consumers: Vec<_> = (0..4).map(|_| queue.consumer("g", "w").unwrap()).collect();
    assert!(consumers[0].pop(ms(2_500)).await.unwrap().is_none());
    let calls = |command: &str| calls(&servers[0], command);
    let before = (calls("xreadgroup"), calls("evalsha"), calls("xtrim"));
    tokio::time::sleep(ms(4_000)).await;
    let reads = calls("xreadgroup") - before.0;
    let scripts = calls("evalsha") - before.1;
    let chores = calls("xtrim") - before.2;
    println!(
        "4 idle consumers, 4 s: {reads} reads, {scripts} scripts, {chores} of them with the turn"
    );
    assert!(reads <= 4 * 3, "{reads} reads");
    assert!(chores <= 5, "{chores} chores");
    assert!(scripts <= 4 * 5, "{scripts} scripts");
    assert_eq!(xlen(&servers[0], &stream_of(&queue)), 0);
}
