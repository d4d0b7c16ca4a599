//! What belongs on an exclusive connection, and that nothing of it is ever seen by the next user.

use std::collections::HashMap;
use std::time::Duration;

use fluster::{Client, Error, ErrorKind, FlusterCluster, Outcome};
use redis::aio::ConnectionLike;
use redis::{AsyncCommands, Cmd, Pipeline, RedisError, Value};

use crate::support::{Server, eventually};
use crate::workload::SOON;

fn cmd(line: &str) -> Cmd {
    let mut words = line.split(' ');
    let mut cmd = redis::cmd(words.next().expect("split gives at least one"));
    for word in words {
        cmd.arg(word);
    }
    cmd
}

fn ours(e: &RedisError) -> &Error {
    Error::from_redis(e).unwrap_or_else(|| panic!("not ours: {e}"))
}

fn assert_refused(result: Result<Value, RedisError>, line: &str) -> String {
    let e = match result {
        Err(e) => e,
        Ok(value) => panic!("{line}: {value:?}"),
    };
    assert_eq!(ours(&e).kind(), ErrorKind::Invalid, "{line}: {e}");
    assert_eq!(ours(&e).outcome(), Outcome::NotSent, "{line}: {e}");
    e.to_string()
}

fn client_of(server: &Server, protocol: &str) -> (FlusterCluster, Client) {
    let url = format!("{}?protocol={protocol}", server.url());
    let cluster = FlusterCluster::from_urls([url]).unwrap();
    let client = cluster.get_client("k").unwrap();
    (cluster, client)
}

/// Each of these would stop, confuse or leak into everybody else on a lane.
const NOT_ON_A_LANE: &[&str] = &[
    "BLPOP a 1",
    "BRPOP a 1",
    "BLMOVE a b LEFT RIGHT 1",
    "BRPOPLPUSH a b 1",
    "BLMPOP 1 1 a LEFT",
    "BZPOPMIN a 1",
    "BZPOPMAX a 1",
    "BZMPOP 1 1 a MIN",
    "XREAD BLOCK 10 STREAMS s $",
    "XREADGROUP GROUP g c BLOCK 10 STREAMS s >",
    "WAIT 1 10",
    "MULTI",
    "EXEC",
    "DISCARD",
    "WATCH k",
    "UNWATCH",
    "SELECT 1",
    "AUTH p",
    "HELLO 3",
    "RESET",
    "QUIT",
    "SUBSCRIBE c",
    "UNSUBSCRIBE",
    "PSUBSCRIBE c*",
    "PUNSUBSCRIBE",
    "SSUBSCRIBE c",
    "SUNSUBSCRIBE",
    "MONITOR",
    "SYNC",
    "PSYNC ? -1",
    "READONLY",
    "READWRITE",
    "ASKING",
    "CLIENT REPLY OFF",
    "CLIENT REPLY SKIP",
    "CLIENT TRACKING ON",
    "CLIENT NO-EVICT ON",
    "CLIENT NO-TOUCH ON",
    "CLIENT SETNAME x",
    "CLIENT CACHING YES",
    "SCRIPT DEBUG YES",
];

#[tokio::test]
async fn what_a_lane_cannot_carry_is_refused_before_it_is_sent() {
    let server = Server::start();
    let (cluster, mut client) = client_of(&server, "resp2");
    let _: () = client.set("k", "v").await.unwrap();
    let before = server.info("total_commands_processed");
    for line in NOT_ON_A_LANE {
        for line in [(*line).to_owned(), line.to_lowercase()] {
            let text = assert_refused(cmd(&line).query_async(&mut client).await, &line);
            // A dedicated connection cannot carry these either.
            let way_out = match line.to_uppercase() {
                line if line.contains("UNSUB") => "dedicated()",
                line if line.contains("SUBSCRIBE") => "cluster.subscribe(..)",
                _ => "dedicated()",
            };
            assert!(text.contains(way_out), "{line} names the way out: {text}");
            for atomic in [false, true] {
                let mut pipe = Pipeline::new();
                pipe.get("k").add_command(cmd(&line));
                if atomic {
                    pipe.atomic();
                }
                assert_refused(pipe.query_async(&mut client).await, &line);
            }
            let error = cluster
                .run_with_key::<Value>("k", &cmd(&line))
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{line}");
        }
    }
    let sent = server.info("total_commands_processed") - before;
    assert!(
        sent <= 2,
        "nothing but INFO reached the server, not {sent} commands"
    );
    let mut silent = redis::cmd("SET");
    silent.arg("k").arg("w").set_no_response(true);
    assert_refused(
        silent.query_async(&mut client).await,
        "a command without a reply",
    );
    assert_eq!(
        client.get::<_, String>("k").await.unwrap(),
        "v",
        "the lane is as it was"
    );
}

#[tokio::test]
async fn what_blocks_or_changes_nothing_is_not_refused() {
    let server = Server::start();
    let (_cluster, mut client) = client_of(&server, "resp2");
    let lines = [
        "CLIENT ID",
        "CLIENT LIST",
        "SCRIPT EXISTS x",
        "XREAD COUNT 1 STREAMS s 0",
        "LPOP a",
    ];
    for line in lines {
        let reply: Result<Value, _> = cmd(line).query_async(&mut client).await;
        assert!(reply.is_ok(), "{line}: {reply:?}");
    }
    let mut pipe = redis::pipe();
    let values: (u64, u64) = pipe
        .atomic()
        .incr("n", 1)
        .incr("n", 1)
        .query_async(&mut client)
        .await
        .unwrap();
    assert_eq!(values, (1, 2), "an atomic pipeline leaves nothing behind");
}

#[tokio::test]
async fn what_ends_the_pairing_of_replies_is_refused_on_an_exclusive_connection_too() {
    let server = Server::start();
    let (_cluster, client) = client_of(&server, "resp3");
    let mut own = client.dedicated().await.unwrap();
    for line in [
        "SUBSCRIBE c",
        "psubscribe c",
        "SSUBSCRIBE c",
        "MONITOR",
        "monitor",
        "SYNC",
        "CLIENT REPLY OFF",
        "client reply skip",
    ] {
        assert_refused(cmd(line).query_async(&mut own).await, line);
        let mut pipe = Pipeline::new();
        pipe.get("k").add_command(cmd(line));
        assert_refused(pipe.query_async(&mut own).await, line);
    }
    let pong: String = cmd("PING").query_async(&mut own).await.unwrap();
    assert_eq!(pong, "PONG", "the connection is as it was");
}

/// What a careless user may do before giving the connection back.
const LEFT_BEHIND: &[&[&str]] = &[
    &["MULTI"],
    &["multi", "SET k stolen"],
    &["MULTI", "UNWATCH"],
    &["WATCH k"],
    // An EXEC that fails ends no WATCH.
    &["WATCH k", "EXEC"],
    &["WATCH k", "DISCARD"],
    &["SELECT 5"],
    &["select 5", "MULTI", "EXEC"],
    &["AUTH guest guest"],
    &["HELLO 2"],
    &["HELLO 3"],
    &["HELLO 3 AUTH guest guest"],
    &["CLIENT SETNAME x"],
    &["CLIENT NO-EVICT ON"],
    &["CLIENT TRACKING ON"],
    &["RESET"],
    &["QUIT"],
];

/// What a fresh connection shows; after `disturb` from outside between WATCH and EXEC.
async fn looks_fresh(client: &Client, protocol: &str, left: &str) {
    let mut own = client
        .dedicated()
        .await
        .unwrap_or_else(|e| panic!("after {left}: {e}"));
    let value: String = own
        .get("k")
        .await
        .unwrap_or_else(|e| panic!("after {left}: {e}"));
    assert_eq!(value, "v", "after {left}: database 0, no transaction");
    let user: String = cmd("ACL WHOAMI").query_async(&mut own).await.unwrap();
    assert_eq!(user, "default", "after {left}");
    let map: Value = own.hgetall("h").await.unwrap();
    let is_map = matches!(map, Value::Map(_));
    assert_eq!(is_map, protocol == "resp3", "after {left}: {map:?}");
    let info: String = cmd("CLIENT INFO").query_async(&mut own).await.unwrap();
    let fields: HashMap<_, _> = info
        .trim()
        .split(' ')
        .filter_map(|f| f.split_once('='))
        .collect();
    assert_eq!(fields["name"], "fluster", "after {left}: {info}");
    assert_eq!(fields["db"], "0", "after {left}: {info}");
    assert_eq!(fields["multi"], "-1", "after {left}: {info}");
    assert_eq!(fields["flags"], "N", "after {left}: {info}");
    // Would return nil, had a WATCH survived the write from outside.
    let mut other = client.clone();
    let _: () = other.set("k", "v").await.unwrap();
    let done: Option<(String,)> = redis::pipe()
        .atomic()
        .get("k")
        .query_async(&mut own)
        .await
        .unwrap();
    assert_eq!(done, Some(("v".to_owned(),)), "after {left}: no WATCH");
}

#[tokio::test]
async fn nothing_left_behind_is_seen_by_the_next_user() {
    let server = Server::start();
    server.raw([
        "ACL", "SETUSER", "guest", "on", ">guest", "+@all", "~*", "&*",
    ]);
    for protocol in ["resp2", "resp3"] {
        let (cluster, client) = client_of(&server, protocol);
        server.raw(["SET", "k", "v"]);
        server.raw(["HSET", "h", "f", "v"]);
        for lines in LEFT_BEHIND {
            let mut own = client.dedicated().await.unwrap();
            for line in *lines {
                let _: Result<Value, _> = cmd(line).query_async(&mut own).await;
            }
            drop(own);
            looks_fresh(&client, protocol, &format!("{lines:?} with {protocol}")).await;
            // The same in one pipeline.
            let mut own = client.dedicated().await.unwrap();
            let mut pipe = Pipeline::new();
            for line in *lines {
                pipe.add_command(cmd(line)).ignore();
            }
            let _: Result<Value, _> = pipe.query_async(&mut own).await;
            drop(own);
            looks_fresh(
                &client,
                protocol,
                &format!("a pipeline {lines:?} with {protocol}"),
            )
            .await;
        }
        assert_eq!(
            cluster.status().nodes[0].ejections,
            0,
            "no fault of the server's"
        );
    }
}

async fn id(connection: &mut impl ConnectionLike) -> u64 {
    cmd("CLIENT ID")
        .query_async(connection)
        .await
        .expect("CLIENT ID")
}

#[tokio::test]
async fn what_is_ended_properly_keeps_the_connection() {
    let server = Server::start();
    let (_cluster, client) = client_of(&server, "resp2");
    let first = id(&mut client.dedicated().await.unwrap()).await;
    for lines in [
        &["MULTI", "SET k v", "EXEC"][..],
        &["MULTI", "DISCARD"],
        &["WATCH k", "UNWATCH"],
        &["WATCH k", "MULTI", "SET k v", "EXEC"],
    ] {
        let mut own = client.dedicated().await.unwrap();
        for line in lines {
            let _: Value = cmd(line).query_async(&mut own).await.unwrap();
        }
        drop(own);
        assert_eq!(
            id(&mut client.dedicated().await.unwrap()).await,
            first,
            "after {lines:?}"
        );
    }
    // The usual optimistic lock: WATCH, read, an atomic pipeline.
    let mut own = client.dedicated().await.unwrap();
    let _: () = cmd("WATCH k").query_async(&mut own).await.unwrap();
    let _: () = redis::pipe()
        .atomic()
        .set("k", "w")
        .query_async(&mut own)
        .await
        .unwrap();
    drop(own);
    assert_eq!(
        id(&mut client.dedicated().await.unwrap()).await,
        first,
        "after an atomic pipeline"
    );
}

#[tokio::test]
async fn a_watch_that_was_broken_is_seen_as_such() {
    let server = Server::start();
    let (_cluster, client) = client_of(&server, "resp2");
    let mut own = client.dedicated().await.unwrap();
    let _: () = cmd("WATCH k").query_async(&mut own).await.unwrap();
    server.raw(["SET", "k", "theirs"]);
    let mut pipe = redis::pipe();
    let done: Option<()> = pipe
        .atomic()
        .set("k", "mine")
        .query_async(&mut own)
        .await
        .unwrap();
    assert_eq!(done, None, "not executed");
    assert_eq!(server.get("k").as_deref(), Some("theirs"));
}

#[tokio::test]
async fn a_blocking_command_has_its_own_time_and_is_no_strike() {
    let server = Server::start();
    let (cluster, client) = client_of(&server, "resp2");
    let mut own = client.dedicated().await.unwrap();
    let before = id(&mut own).await;
    // Longer than the response time-out of 500 ms.
    let nothing: Option<(String, String)> =
        own.blpop("jobs", 0.8).await.expect("nil, not a time-out");
    assert_eq!(nothing, None);
    let pushed = tokio::spawn(async move {
        let item: Option<(String, String)> = own.blpop("jobs", 0.0).await.unwrap();
        drop(own);
        item.expect("an item").1
    });
    eventually(SOON, || server.info("blocked_clients") == 1).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    server.raw(["RPUSH", "jobs", "job"]);
    assert_eq!(pushed.await.unwrap(), "job", "waits for ever when told so");
    assert_eq!(
        id(&mut client.dedicated().await.unwrap()).await,
        before,
        "and keeps the connection"
    );
    assert_eq!(cluster.status().nodes[0].ejections, 0);
}
