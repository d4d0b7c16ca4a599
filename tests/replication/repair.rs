//! A node that comes back without its data is warmed up by its readers.

use std::time::Duration;

use fluster::replication::{Quorum, ReadFrom, ReadRepair};

use super::{bring_back, key_on, lose, ms, patient};
use crate::support::{Server, eventually, fleet};
use crate::workload::SOON;

fn get(key: &str) -> redis::Cmd {
    redis::cmd("GET").arg(key).to_owned()
}

#[tokio::test]
async fn what_a_returned_node_lost_is_read_from_its_peer_and_put_back() {
    let servers: [Server; 3] = fleet();
    let cluster = patient(&servers).build().unwrap();
    let key = key_on(&cluster, [&servers[0], &servers[1]]);
    let mut set = redis::cmd("SET");
    set.arg(&key).arg("v").arg("PX").arg(600_000);
    cluster
        .replicas(&key, 2)
        .unwrap()
        .write(&set, Quorum::All)
        .await
        .unwrap();
    lose(&cluster, &servers[0]).await;
    bring_back(&cluster, &servers[0]).await;
    assert_eq!(servers[0].raw(["EXISTS", &key]), "0", "it came back empty");

    let replicas = cluster.replicas(&key, 2).unwrap();
    let from = ReadFrom::FirstAvailable;
    let plain: Option<String> = replicas.read(&get(&key), from.clone()).await.unwrap();
    assert_eq!(plain, None, "without read repair its word is taken");

    let doubting = replicas.read_repair(ReadRepair::default());
    let value: Option<String> = doubting.read(&get(&key), from.clone()).await.unwrap();
    assert_eq!(value.as_deref(), Some("v"));
    eventually(SOON, || servers[0].raw(["GET", &key]) == "v").await;
    let ttl: u64 = servers[0].raw(["PTTL", &key]).parse().unwrap();
    assert!(
        ttl > 500_000 && ttl <= 600_000,
        "the same time to live: {ttl}"
    );

    let missing: Option<String> = doubting.read(&get(&key), from).await.unwrap();
    assert_eq!(missing.as_deref(), Some("v"));
}

#[tokio::test]
async fn a_value_that_was_written_meanwhile_is_not_overwritten() {
    let servers: [Server; 3] = fleet();
    let cluster = patient(&servers).build().unwrap();
    let key = key_on(&cluster, [&servers[0], &servers[1]]);
    servers[1].raw(["SET", &key, "old"]);
    lose(&cluster, &servers[0]).await;
    bring_back(&cluster, &servers[0]).await;
    servers[0].raw(["SET", &key, "new"]);
    let repair = ReadRepair::within(Duration::from_secs(3600));
    let replicas = cluster.replicas(&key, 2).unwrap().read_repair(repair);
    let value: String = replicas
        .read(&get(&key), ReadFrom::FirstAvailable)
        .await
        .unwrap();
    assert_eq!(value, "new");
    assert_eq!(servers[0].raw(["GET", &key]), "new");
}

#[tokio::test]
async fn a_miss_costs_one_read_once_the_window_is_over_and_other_reads_repair_nothing() {
    let servers: [Server; 3] = fleet();
    let cluster = patient(&servers).build().unwrap();
    let key = key_on(&cluster, [&servers[0], &servers[1]]);
    servers[1].raw(["SET", &key, "v"]);
    lose(&cluster, &servers[0]).await;
    bring_back(&cluster, &servers[0]).await;
    let replicas = cluster.replicas(&key, 2).unwrap();

    let past = replicas.clone().read_repair(ReadRepair::within(ms(1)));
    tokio::time::sleep(ms(5)).await;
    let value: Option<String> = past
        .read(&get(&key), ReadFrom::FirstAvailable)
        .await
        .unwrap();
    assert_eq!(value, None);

    let doubting = replicas.read_repair(ReadRepair::default());
    let mut range = redis::cmd("GETRANGE");
    range.arg(&key).arg(0).arg(0);
    let first: String = doubting
        .read(&range, ReadFrom::FirstAvailable)
        .await
        .unwrap();
    assert_eq!(first, "", "an empty answer that is no nil is believed");
    let mut hash = redis::cmd("HGET");
    hash.arg(&key).arg("field");
    let error = doubting
        .read::<Option<String>>(&hash, ReadFrom::FirstAvailable)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("WRONGTYPE"),
        "asked the second as well: {error}"
    );
    tokio::time::sleep(ms(50)).await;
    assert_eq!(servers[0].raw(["EXISTS", &key]), "0");
}
