//! Commands that name no key: one node's answer where one is enough, a sum where only all of them know.

use std::collections::BTreeMap;

use fluster::{ErrorKind, FlusterCluster};
use redis::{AsyncCommands as _, Cmd, Value};

use crate::support::{Server, fleet, urls};

fn cmd(line: &str) -> Cmd {
    let mut words = line.split(' ');
    let mut cmd = redis::cmd(words.next().unwrap());
    for word in words {
        cmd.arg(word);
    }
    cmd
}

/// As callers of one server read them.
async fn read_all(cluster: &FlusterCluster) {
    let (seconds, micros): (u64, u64) = cluster.run(&cmd("TIME")).await.unwrap();
    assert!(seconds > 1_600_000_000 && micros < 1_000_000);
    assert!(cluster.run::<u64>(&cmd("LASTSAVE")).await.unwrap() > 0);
    let policy: BTreeMap<String, String> = cluster
        .run(&cmd("CONFIG GET maxmemory-policy"))
        .await
        .unwrap();
    assert_eq!(policy["maxmemory-policy"], "noeviction");
    assert_eq!(cluster.run::<String>(&cmd("ECHO hi")).await.unwrap(), "hi");
    assert_eq!(
        cluster.run::<String>(&cmd("ACL WHOAMI")).await.unwrap(),
        "default"
    );
    assert_eq!(
        cluster
            .run::<String>(&cmd("ACL GENPASS"))
            .await
            .unwrap()
            .len(),
        64
    );
    assert!(
        !cluster
            .run::<Vec<Value>>(&cmd("ACL GETUSER default"))
            .await
            .unwrap()
            .is_empty()
    );
    assert!(cluster.run::<u64>(&cmd("CLIENT ID")).await.unwrap() > 0);
    assert!(
        cluster
            .run::<Vec<Value>>(&cmd("FUNCTION LIST"))
            .await
            .unwrap()
            .is_empty()
    );
    cluster
        .run::<Vec<Value>>(&cmd("MODULE LIST"))
        .await
        .unwrap();
    assert!(cluster.run::<u64>(&cmd("COMMAND COUNT")).await.unwrap() > 100);
}

#[tokio::test]
async fn what_any_node_knows_is_answered_by_one_as_a_single_server_would() {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    read_all(&cluster).await;
    let node = cluster.get_node_of(&cmd("TIME")).unwrap();
    assert_eq!(node, *servers[0].name());
    // By the next one while that is out.
    servers[0].kill();
    for _ in 0..10 {
        read_all(&cluster).await;
    }
}

/// A node that falls silent may have executed them: that changes nothing, so the next one is asked.
#[tokio::test]
async fn what_any_node_knows_is_answered_by_the_next_one_when_the_first_falls_silent() {
    for line in [
        "CONFIG GET maxmemory",
        "ACL WHOAMI",
        "CLIENT ID",
        "CLIENT INFO",
        "MODULE LIST",
        "COMMAND COUNT",
        "OBJECT HELP",
    ] {
        let servers: [Server; 2] = fleet();
        let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
        let cluster = cluster.with_deadline(std::time::Duration::from_secs(20));
        let _: Value = cluster.run(&cmd("PING")).await.unwrap();
        servers[0].stop();
        let result = cluster.run::<Value>(&cmd(line)).await;
        servers[0].cont();
        result.unwrap_or_else(|e| panic!("{line}: {e}"));
    }
}

#[tokio::test]
async fn with_one_node_nothing_is_mapped_and_nothing_has_to_be_chosen() {
    let server = Server::start();
    let cluster = FlusterCluster::from_urls([server.url()]).unwrap();
    read_all(&cluster).await;
    let info: String = cluster.run(&cmd("INFO server")).await.unwrap();
    assert!(info.contains("redis_version"), "{info}");
    let _: () = cluster.run(&cmd("SET only 1")).await.unwrap();
    assert_eq!(
        cluster.run::<String>(&cmd("RANDOMKEY")).await.unwrap(),
        "only"
    );
    let n: i64 = cluster
        .run(cmd("EVAL").arg("return 7").arg(0))
        .await
        .unwrap();
    assert_eq!(n, 7);
    let error = cluster
        .run::<Value>(&cmd("SHUTDOWN NOSAVE"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

#[tokio::test]
async fn what_is_for_any_node_goes_along_in_an_atomic_pipeline() {
    let servers: [Server; 3] = fleet();
    let mut cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let mut pipe = redis::pipe();
    pipe.atomic()
        .set("k", 1)
        .ignore()
        .cmd("PING")
        .cmd("ECHO")
        .arg("hi")
        .cmd("TIME")
        .get("k");
    let (pong, hi, _time, one): (String, String, Value, i64) =
        pipe.query_async(&mut cluster).await.unwrap();
    assert_eq!((&*pong, &*hi, one), ("PONG", "hi", 1));
    let mut pipe = redis::pipe();
    pipe.atomic().ping();
    let (pong,): (String,) = pipe.query_async(&mut cluster).await.unwrap();
    assert_eq!(pong, "PONG");
}

#[tokio::test]
async fn subscribers_are_counted_over_all_nodes() {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let names: Vec<String> = (0..10).map(|n| format!("c{n}")).collect();
    let _first = cluster.subscribe(&names).await.unwrap();
    let _second = cluster.subscribe(&names[..3]).await.unwrap();
    let mut count = redis::cmd("PUBSUB");
    count.arg("NUMSUB").arg(&names).arg("nobody");
    let counted: Vec<(String, u64)> = cluster.run(&count).await.unwrap();
    let expected = names
        .iter()
        .enumerate()
        .map(|(n, name)| (name.clone(), 1 + u64::from(n < 3)));
    let expected: Vec<_> = expected.chain([("nobody".to_owned(), 0)]).collect();
    assert_eq!(counted, expected, "in the order of the call");
}

/// Neither sends anything.
#[tokio::test]
async fn a_refused_command_refuses_its_pipeline_on_client_and_cluster_alike() {
    let server = Server::start();
    let mut cluster = FlusterCluster::from_urls([server.url()]).unwrap();
    let mut client = cluster.get_client("k").unwrap();
    for line in ["SUBSCRIBE c", "MONITOR", "CLIENT REPLY OFF"] {
        let mut pipe = redis::pipe();
        pipe.set("k", 1).add_command(cmd(line));
        let by_client = pipe.query_async::<Value>(&mut client).await.unwrap_err();
        let by_cluster = pipe.query_async::<Value>(&mut cluster).await.unwrap_err();
        let ours = cluster.pipeline(&pipe).await.unwrap_err();
        for error in [&by_client, &by_cluster] {
            let error = fluster::Error::from_redis(error).expect("ours");
            assert_eq!(error.kind(), ErrorKind::Invalid, "{line}");
        }
        assert_eq!(ours.kind(), ErrorKind::Invalid, "{line}");
        let there: bool = client.exists("k").await.unwrap();
        assert!(!there, "{line}");
    }
}

#[tokio::test]
async fn a_user_is_made_and_deleted_on_every_node() {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let users = || servers.each_ref().map(|s| s.raw(["ACL", "USERS"]));
    for name in ["ann", "ben"] {
        let made: String = cluster
            .run(&cmd(&format!("ACL SETUSER {name} on >pw ~* +@all")))
            .await
            .unwrap();
        assert_eq!(made, "OK");
    }
    assert!(
        users().iter().all(|all| all.contains("ann")),
        "{:?}",
        users()
    );
    // One node lacks one of them: as many are deleted as there were anywhere.
    servers[0].raw(["ACL", "DELUSER", "ben"]);
    let deleted: u64 = cluster
        .run(&cmd("ACL DELUSER ann ben nobody"))
        .await
        .unwrap();
    assert_eq!(deleted, 2);
    assert!(
        users().iter().all(|all| all.trim() == "default"),
        "{:?}",
        users()
    );
    let deleted: u64 = cluster.run(&cmd("ACL DELUSER ann")).await.unwrap();
    assert_eq!(deleted, 0);
}
