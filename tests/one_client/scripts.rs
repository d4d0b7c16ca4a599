//! Scripts and functions through the cluster.

use fluster::{ErrorKind, FlusterCluster};
use redis::{AsyncCommands, Script, Value};

use crate::support::{Server, eventually, fleet, urls};
use crate::workload::SOON;

#[tokio::test]
async fn a_script_of_redis_rs_works_unchanged_also_while_a_node_is_out() {
    let servers: [Server; 3] = fleet();
    let mut cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let script = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    for n in 0..30 {
        let total: i64 = script
            .key(format!("k{n}"))
            .arg(n)
            .invoke_async(&mut cluster)
            .await
            .unwrap();
        assert_eq!(total, n);
    }
    // A node that lost its scripts gets them again by itself.
    for server in &servers {
        server.raw(["SCRIPT", "FLUSH"]);
    }
    for n in 0..30 {
        let total: i64 = script
            .key(format!("k{n}"))
            .arg(1)
            .invoke_async(&mut cluster)
            .await
            .unwrap();
        assert_eq!(total, n + 1);
    }

    servers[0].kill();
    let _ = cluster.get::<_, Option<i64>>("k0").await;
    for n in 0..30 {
        let _ = cluster.get::<_, Option<i64>>(format!("k{n}")).await;
    }
    eventually(SOON, || cluster.status().active() == 2).await;
    for n in 0..30 {
        let total: i64 = script
            .key(format!("new{n}"))
            .arg(n)
            .invoke_async(&mut cluster)
            .await
            .unwrap();
        assert_eq!(total, n);
    }
    // One that nobody has loaded yet: loading it is not refused because of the node that is out.
    let late = Script::new("return 'late ' .. KEYS[1]");
    for n in 0..30 {
        let key = format!("k{n}");
        let said: String = late.key(&key).invoke_async(&mut cluster).await.unwrap();
        assert_eq!(said, format!("late {key}"));
    }
    // The node comes back empty, and knows no script.
    servers[0].restart();
    eventually(SOON, || cluster.status().active() == 3).await;
    for n in 0..30 {
        let key = format!("k{n}");
        let said: String = late.key(&key).invoke_async(&mut cluster).await.unwrap();
        assert_eq!(said, format!("late {key}"));
    }
}

#[tokio::test]
async fn scripts_in_a_pipeline_keep_their_place_on_nodes_that_do_not_know_them() {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let body = "return redis.call('APPEND', KEYS[1], ARGV[1])";
    let sha: String = cluster
        .run(redis::cmd("SCRIPT").arg("LOAD").arg(body))
        .await
        .unwrap();
    for server in &servers {
        server.raw(["SCRIPT", "FLUSH"]);
    }
    let mut pipe = redis::pipe();
    for n in 0..20 {
        let key = format!("k{n}");
        pipe.set(&key, "a");
        for letter in ["b", "c"] {
            pipe.cmd("EVALSHA").arg(&sha).arg(1).arg(&key).arg(letter);
        }
        pipe.append(&key, "d").get(&key);
    }
    let results = cluster.pipeline(&pipe).await.unwrap();
    for five in results.chunks(5) {
        assert_eq!(
            five[4].as_ref().unwrap(),
            &Value::BulkString(b"abcd".into())
        );
    }
}

#[tokio::test]
async fn an_unknown_script_is_the_servers_own_error() {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let sha = "0123456789012345678901234567890123456789";
    let mut cmd = redis::cmd("EVALSHA");
    cmd.arg(sha).arg(1).arg("k");
    let error = cluster.run::<Value>(&cmd).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Server);
    assert_eq!(redis::RedisError::from(error).code(), Some("NOSCRIPT"));
    let body = "return 1";
    let sha: String = cluster
        .run(redis::cmd("SCRIPT").arg("LOAD").arg(body))
        .await
        .unwrap();
    let known: Vec<i64> = cluster
        .run(redis::cmd("SCRIPT").arg("EXISTS").arg(&sha).arg("none"))
        .await
        .unwrap();
    assert_eq!(known, [1, 0]);
    let _: () = cluster
        .run(redis::cmd("SCRIPT").arg("FLUSH"))
        .await
        .unwrap();
    let mut cmd = redis::cmd("EVALSHA");
    cmd.arg(&sha).arg(1).arg("k");
    assert!(
        cluster.run::<Value>(&cmd).await.is_err(),
        "flushed is flushed"
    );
}

#[tokio::test]
async fn a_function_is_loaded_everywhere_and_called_by_its_keys() {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let library = "#!lua name=lib\nredis.register_function('setter', function(keys, args) \
                   return redis.call('SET', keys[1], args[1]) end)";
    let name: String = cluster
        .run(redis::cmd("FUNCTION").arg("LOAD").arg(library))
        .await
        .unwrap();
    assert_eq!(name, "lib");
    for n in 0..30 {
        let key = format!("k{n}");
        let mut call = redis::cmd("FCALL");
        call.arg("setter").arg(1).arg(&key).arg(n);
        let _: () = cluster.run(&call).await.unwrap();
        let owner = cluster.get_node(&key).unwrap();
        let server = servers.iter().find(|s| owner == *s.name()).unwrap();
        assert_eq!(server.get(&key), Some(n.to_string()));
    }
}
