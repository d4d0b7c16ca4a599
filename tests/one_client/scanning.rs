//! `scan()`: every key of every node, with honest gaps.

use std::collections::BTreeSet;
use std::time::Duration;

use fluster::{FlusterCluster, Node, Scan};
use futures_util::StreamExt as _;
use redis::ScanOptions;

use crate::support::{Server, eventually_some, fleet, urls};
use crate::workload::SOON;

async fn filled(servers: &[Server], n: usize) -> FlusterCluster {
    let cluster = FlusterCluster::from_urls(urls(servers)).unwrap();
    let pairs = (0..n).map(|i| (format!("user:{i}"), i));
    assert!(cluster.set_many(pairs).await.iter().all(Result::is_ok));
    cluster
}

fn name(key: Vec<u8>) -> String {
    String::from_utf8(key).unwrap()
}

async fn rest(scan: &mut Scan) -> (BTreeSet<String>, Vec<fluster::Error>) {
    let (mut keys, mut errors) = (BTreeSet::new(), Vec::new());
    while let Some(item) = scan.next().await {
        match item {
            Ok(key) => drop(keys.insert(name(key))),
            Err(e) => errors.push(e),
        }
    }
    (keys, errors)
}

#[tokio::test]
async fn every_key_of_every_node_comes_and_options_are_heeded() {
    let servers: [Server; 3] = fleet();
    let cluster = filled(&servers, 2_000).await;
    servers[0].raw(["SADD", "set", "x"]);
    let mut scan = cluster.scan(ScanOptions::default().with_count(100));
    let (keys, errors) = rest(&mut scan).await;
    assert_eq!((keys.len(), errors.len()), (2_001, 0));
    assert!(scan.skipped().is_empty() && scan.next().await.is_none());

    let mut sets = cluster.scan(ScanOptions::default().with_type("set"));
    assert_eq!(rest(&mut sets).await.0, BTreeSet::from(["set".into()]));
    let some = cluster.scan(ScanOptions::default().with_pattern("user:12*"));
    let found: BTreeSet<_> = some.map(|key| name(key.unwrap())).collect().await;
    assert_eq!(found.len(), 111, "12, 120 to 129, 1200 to 1299");
}

#[tokio::test]
async fn a_scan_goes_on_from_its_token_and_leaves_no_key_out() {
    let servers: [Server; 3] = fleet();
    let cluster = filled(&servers, 3_000).await;
    let options = || ScanOptions::default().with_count(50);
    let mut keys = BTreeSet::new();
    let (mut token, mut rounds, mut came) = (cluster.scan(options()).token(), 0, 0);
    loop {
        let mut scan = cluster.scan_from(&token, options()).unwrap();
        for _ in 0..170 {
            let Some(key) = scan.next().await else { break };
            keys.insert(name(key.unwrap()));
            came += 1;
        }
        token = scan.token();
        rounds += 1;
        if scan.next().await.is_none() {
            break;
        }
    }
    println!("{rounds} scans of 170 keys, {came} keys came for 3000");
    assert_eq!(keys.len(), 3_000);
    assert!(rounds > 15 && came < 5_000);
    assert!(cluster.scan_from("nonsense", options()).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_out_is_named_and_read_later_from_the_token() {
    let servers: [Server; 3] = fleet();
    let cluster = filled(&servers, 1_000).await;
    let on_dead: usize = servers[1].raw(["DBSIZE"]).parse().unwrap();
    servers[1].stop();
    let mut scan = cluster.scan(ScanOptions::default().with_count(100));
    let (keys, errors) = rest(&mut scan).await;
    assert_eq!(keys.len(), 1_000 - on_dead);
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].node().unwrap(), &*servers[1].name());
    assert_eq!(scan.skipped(), [servers[1].name().as_str()]);
    let token = scan.token();
    servers[1].cont();
    let missing = eventually_some(SOON, async || {
        let mut later = cluster.scan_from(&token, ScanOptions::default()).unwrap();
        let (missing, errors) = rest(&mut later).await;
        errors.is_empty().then_some(missing)
    })
    .await;
    assert_eq!(missing.len(), on_dead, "only what was missing");
    assert!(keys.is_disjoint(&missing));
}

#[tokio::test]
async fn a_node_that_dies_or_is_removed_on_the_way_ends_only_its_own_part() {
    let servers: [Server; 3] = fleet();
    let cluster = filled(&servers, 1_000).await;
    let mut scan = cluster.scan(ScanOptions::default().with_count(10));
    for _ in 0..15 {
        scan.next().await.unwrap().unwrap();
    }
    servers[0].kill();
    cluster.remove_node(servers[2].name()).unwrap();
    let (keys, errors) = rest(&mut scan).await;
    assert_eq!(errors.len(), 2, "{errors:?}");
    let second: usize = servers[1].raw(["DBSIZE"]).parse().unwrap();
    assert!(keys.len() >= second && keys.len() < 1_000);
    // A node that was added has not been read yet.
    let token = scan.token();
    let url = servers[2].url();
    cluster
        .add_node(Node::new(&url).unwrap().name("again"))
        .unwrap();
    let mut again = cluster.scan_from(&token, ScanOptions::default()).unwrap();
    let third: usize = servers[2].raw(["DBSIZE"]).parse().unwrap();
    let (keys, _) = tokio::time::timeout(Duration::from_secs(10), rest(&mut again))
        .await
        .unwrap();
    assert_eq!(keys.len(), third);
}
