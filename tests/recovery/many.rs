//! Many keys that a node is owed, many processes that take them from it, and many nodes of which one is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

use fluster::Node;
use fluster::testing::{Fault, Proxy};
use futures_util::future::join_all;

use super::*;

/// How long the return of a node takes that is owed so many keys, by so many clusters that have them all out; and how
/// many keys were taken from it for each of them.
async fn return_of(keys: usize, clusters: usize) -> (Duration, f64) {
    let servers: [Server; 3] = std::array::from_fn(|_| Server::start());
    let builder = || {
        hasty(&servers)
            .on_return(OnReturn::Invalidate)
            .return_limit(1_000_000)
            // A build without optimization is slow.
            .return_deadline(Duration::from_secs(20))
    };
    let all: Vec<_> = (0..clusters).map(|_| builder().build().unwrap()).collect();
    let first = &all[0];
    let names = keys_of(first, &servers[0], "k", keys.max(1));
    for some in names.chunks(5000) {
        let pairs = some.iter().flat_map(|key| [key.as_str(), "old"]);
        let mset: Vec<&str> = std::iter::once("MSET").chain(pairs).collect();
        assert_eq!(servers[0].raw(mset), "OK");
    }
    servers[0].stop();
    join_all(all.iter().map(|cluster| is_out(cluster, &servers[0]))).await;
    for some in names[..keys].chunks(5000) {
        let mut pipe = redis::pipe();
        for key in some {
            pipe.set(key, "new").ignore();
        }
        pipe.query_async::<()>(&mut first.clone()).await.unwrap();
    }
    let before = Instant::now();
    servers[0].cont();
    join_all(all.iter().map(|cluster| is_back(cluster, &servers[0]))).await;
    let took = before.elapsed();
    // What several have done at once is counted by each.
    let taken = all.iter().map(|cluster| {
        let status = cluster.status();
        status.node(servers[0].name()).unwrap().invalidated
    });
    let taken: u64 = taken.sum();
    let left = servers[0].raw(["DBSIZE"]);
    assert_eq!(
        left,
        usize::from(keys == 0).to_string(),
        "all of them are gone"
    );
    for cluster in all {
        cluster.shutdown(SOON).await;
    }
    (took, taken as f64 / keys.max(1) as f64)
}

#[tokio::test(flavor = "multi_thread")]
async fn many_keys_are_taken_by_several_without_doing_it_all_again() {
    let (_, each) = return_of(20_000, 4).await;
    assert!(
        (1.0..3.0).contains(&each),
        "each key was taken {each} times"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "for figures: `cargo test --release --all-features --test it -- --ignored --nocapture recovery::many`"]
async fn a_hundred_thousand_keys() {
    for clusters in [1, 4, 20] {
        let (usual, _) = return_of(0, clusters).await;
        let (took, each) = return_of(100_000, clusters).await;
        println!(
            "{clusters} clusters: back after {usual:?} with no key, {took:?} with 100 000; each was taken {each:.2} times"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_nodes_one_is_back() {
    let (many, one) = (Server::start(), Server::start());
    let node = |n: usize, port: u16| {
        let node = Node::new(format!("redis://127.0.0.1:{port}")).unwrap();
        node.name(format!("n{n}"))
    };
    let nodes = (0..1000).map(|n| node(n, if n == 0 { one.port() } else { many.port() }));
    let ms = Duration::from_millis;
    let builder = nodes.fold(FlusterCluster::builder(), |all, node| all.node(node));
    let cluster = builder
        .penalty(Penalty::default().min_wait(ms(50)).max_wait(ms(200)))
        // A thousand dials of a build without optimization, on a machine that others use.
        .connect_timeout(ms(5000))
        .response_timeout(ms(5000))
        .return_deadline(Duration::from_secs(60))
        .on_return(OnReturn::Invalidate)
        .build()
        .unwrap();
    let all = (0..).map(|i| format!("k{i}"));
    let mut own = all.filter(|key| cluster.get_node(key).unwrap() == *"n0");
    let key = own.next().unwrap();
    set(&cluster, &key, "old").await;
    let reads = || many.info_of_command("srandmember");
    // At its start it has looked at all of them, once.
    eventually(3 * SOON, || reads() >= 999).await;
    // They are one server, so that what is noted with one is noted with all: nothing is.
    cluster.drain_node("n0").unwrap();
    let (dialled, read) = (many.info("total_connections_received"), reads());
    let began = Instant::now();
    cluster.restore_node("n0").unwrap();
    let (mut at_once, mut looks) = (0, 0);
    while !cluster.status().node("n0").unwrap().admits {
        assert!(began.elapsed() < 2 * SOON, "it does not come back");
        at_once = at_once.max(many.info("connected_clients"));
        looks += 1;
        tokio::time::sleep(ms(2)).await;
    }
    let (took, dialled) = (
        began.elapsed(),
        many.info("total_connections_received") - dialled,
    );
    let read = reads() - read;
    println!(
        "1000 nodes, one back after {took:?}: {dialled} dials, {at_once} connections at once, {read} reads of the index"
    );
    assert_eq!(get(&cluster, &key).await.as_deref(), Some("old"));
    assert!(read >= 999, "all were asked: {read}");
    // Looks at those that are not used go on meanwhile, 16 a second, and we are connected for each number here.
    let beside = 200 + 50 * began.elapsed().as_secs();
    assert!(read <= 999 + beside, "each of them once: {read}");
    // Some that were closed a moment ago are still counted.
    assert!(at_once <= 3 * 64, "{at_once} at once, seen {looks} times");
    eventually(SOON, || many.info("connected_clients") <= 40).await;
}

/// Writes that end while a node is prepared leave their keys to that: with a round trip for each of them it would stay out
/// for as long as anybody writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_far_node_is_back_while_many_write() {
    let servers: [Server; 2] = durable();
    let far = Proxy::start(&servers[0]);
    far.set(Fault::Delay(Duration::from_millis(50)));
    let nodes = [("far", far.url()), ("near", servers[1].url())];
    let nodes = nodes.map(|(name, url)| Node::new(url).unwrap().name(name));
    let cluster = hasty(&[]).on_return(OnReturn::Invalidate).nodes(nodes);
    let cluster = cluster.build().unwrap();
    let all = (0..).map(|i| format!("k{i}"));
    let own = all.filter(|key| cluster.get_node(key).unwrap() == *"far");
    let own: Arc<[String]> = own.take(500).collect();
    cluster.drain_node("far").unwrap();
    let written = Arc::new(AtomicUsize::new(0));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..64 {
        let (cluster, own, written) = (cluster.clone(), Arc::clone(&own), Arc::clone(&written));
        writers.spawn(async move {
            for n in writer.. {
                let mut set = redis::cmd("SET");
                let done = cluster.run::<()>(set.arg(&own[n % own.len()]).arg("value"));
                written.fetch_add(usize::from(done.await.is_ok()), SeqCst);
            }
        });
    }
    eventually(SOON, || written.load(SeqCst) > 1_000).await;
    cluster.restore_node("far").unwrap();
    eventually(SOON, || cluster.status().node("far").unwrap().admits).await;
    writers.shutdown().await;
}

/// A note that is late takes a round trip to a server that is slow: one after the other, 128 of them would hold up the node
/// that they are for by a quarter of a minute. And what they note is taken from it before it serves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notes_that_are_late_do_not_wait_for_each_other() {
    let servers: [Server; 2] = durable();
    let slow = Proxy::start(&servers[1]);
    let nodes = [("out", servers[0].url()), ("slow", slow.url())];
    let nodes = nodes.map(|(name, url)| Node::new(url).unwrap().name(name));
    let cluster = hasty(&[])
        .on_return(OnReturn::Invalidate)
        .return_deadline(2 * SOON)
        .response_timeout(Duration::from_secs(4));
    let cluster = cluster.nodes(nodes).build().unwrap();
    let all = (0..).map(|i| format!("k{i}"));
    let own = all.filter(|key| cluster.get_node(key).unwrap() == *"out");
    let own: Vec<String> = own.take(128).collect();
    for key in &own {
        assert_eq!(servers[0].raw(["SET", key, "old"]), "OK");
    }
    cluster.drain_node("out").unwrap();
    set(&cluster, &own[0], "new").await;
    slow.set(Fault::Delay(Duration::from_millis(100)));
    // Nobody waits for their answers.
    let cluster = &cluster;
    let writes = own.iter().map(|key| async move {
        let mut write = redis::cmd("SET");
        let write = cluster.run::<()>(write.arg(key).arg("new"));
        tokio::time::timeout(Duration::from_millis(30), write).await
    });
    for given_up in join_all(writes).await {
        assert!(given_up.is_err(), "it takes longer");
    }
    let began = Instant::now();
    cluster.restore_node("out").unwrap();
    eventually(2 * SOON, || cluster.status().node("out").unwrap().admits).await;
    let took = began.elapsed();
    println!("128 notes that were late: back after {took:?}");
    assert!(took < Duration::from_secs(9), "{took:?}");
    for key in &own {
        assert_eq!(servers[0].get(key), None, "{key}");
    }
}

trait Counts {
    /// How often this command was executed.
    fn info_of_command(&self, name: &str) -> u64;
}

impl Counts for Server {
    fn info_of_command(&self, name: &str) -> u64 {
        let info = self.raw(["INFO", "commandstats"]);
        let begin = format!("cmdstat_{name}:calls=");
        let line = info.lines().find_map(|line| line.strip_prefix(&begin));
        let count = line.and_then(|rest| rest.split(',').next());
        count.map_or(0, |count| count.parse().unwrap())
    }
}
