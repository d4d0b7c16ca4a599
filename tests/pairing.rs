//! Each request has a reply of its own, or is refused: whatever shifts replies gives one caller
//! another's value. And a pipeline with nothing in it is the same everywhere.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use fluster::{Client, DedicatedClient, Error, ErrorKind, Event, FlusterCluster, Node, Outcome};
use redis::aio::ConnectionLike;
use redis::{AsyncCommands, Cmd, Pipeline, RedisError, Value};

use crate::support::{Fake, Server, fleet, urls};
use crate::workload::SOON;

fn refused(e: &RedisError, what: &str) {
    let error = Error::from_redis(e).unwrap_or_else(|| panic!("{what}: not ours: {e}"));
    assert_eq!(error.kind(), ErrorKind::Invalid, "{what}: {error}");
    assert_eq!(error.outcome(), Outcome::NotSent, "{what}: {error}");
}

fn silent() -> Cmd {
    let mut cmd = redis::cmd("SET");
    cmd.arg("k").arg("x").set_no_response(true);
    cmd
}

fn line(words: &[&str]) -> Cmd {
    let mut cmd = Cmd::new();
    for word in words {
        cmd.arg(*word);
    }
    cmd
}

/// What gets no reply, or more than one.
fn unpaired() -> Vec<(&'static str, Cmd)> {
    vec![
        ("no words", Cmd::new()),
        ("REPLCONF ACK", line(&["REPLCONF", "ACK", "0"])),
        ("replconf getack", line(&["replconf", "getack", "*"])),
        ("CLIENT REPLY OFF", line(&["CLIENT", "REPLY", "OFF"])),
        ("CLIENT REPLY SKIP", line(&["client", "reply", "skip"])),
        ("SUBSCRIBE", line(&["SUBSCRIBE", "a", "b"])),
        ("set_no_response", silent()),
    ]
}

/// The command by itself, in a pipeline and in an atomic one; then the next replies are the right ones.
async fn refuses_all(connection: &mut impl ConnectionLike, way: &str) {
    let _: () = redis::cmd("SET")
        .arg("k")
        .arg("v")
        .query_async(connection)
        .await
        .unwrap();
    let short = Duration::from_secs(10);
    for (what, cmd) in unpaired() {
        let what = format!("{what} over {way}");
        let alone = tokio::time::timeout(short, connection.req_packed_command(&cmd)).await;
        refused(&alone.expect("no wait").unwrap_err(), &what);
        for atomic in [false, true] {
            let mut pipe = Pipeline::new();
            pipe.get("k").add_command(cmd.clone()).get("k");
            if atomic {
                pipe.atomic();
            }
            let numbers = if atomic { (4, 1) } else { (0, 3) };
            let all = connection.req_packed_commands(&pipe, numbers.0, numbers.1);
            match tokio::time::timeout(short, all).await.expect("no wait") {
                Err(e) => refused(&e, &what),
                // Over a cluster each command has its own fate.
                Ok(values) => {
                    let v = Value::BulkString(b"v".into());
                    assert!(values[0] == v && values[2] == v, "{what}: {values:?}");
                    assert!(matches!(values[1], Value::ServerError(_)), "{what}");
                }
            }
        }
        for n in 0..5 {
            let token = format!("{what} {n}");
            let mut eval = line(&["EVAL", "return ARGV[1]", "1", "k"]);
            let echo: String = eval.arg(&token).query_async(connection).await.unwrap();
            assert_eq!(echo, token, "somebody else's reply");
        }
    }
}

async fn numbers_are_its_own(connection: &mut impl ConnectionLike, way: &str) {
    for (atomic, right) in [(false, (0, 2)), (true, (3, 1))] {
        let mut pipe = Pipeline::new();
        pipe.set("k", "v").get("k");
        if atomic {
            pipe.atomic();
        }
        for wrong in [
            (0, 0),
            (0, 1),
            (1, 1),
            (2, 0),
            (0, 3),
            (0, 2),
            (3, 1),
            (2, 1),
            (4, 1),
            (3, 2),
            (usize::MAX, 2),
            (0, usize::MAX),
        ] {
            if wrong == right {
                continue;
            }
            let what = format!("atomic {atomic}, {wrong:?} over {way}");
            let call = connection.req_packed_commands(&pipe, wrong.0, wrong.1);
            let got = tokio::time::timeout(Duration::from_secs(10), call).await;
            refused(&got.expect("no wait").expect_err(&what), &what);
        }
        let got = connection
            .req_packed_commands(&pipe, right.0, right.1)
            .await
            .unwrap();
        let values = [Value::Okay, Value::BulkString(b"v".into())];
        match atomic {
            false => assert_eq!(got, values, "{way}"),
            true => assert_eq!(got, [Value::Array(values.into())], "{way}"),
        }
    }
}

async fn ways() -> ([Server; 3], FlusterCluster, Client, DedicatedClient) {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let client = cluster.get_client("k").unwrap();
    let own = client.dedicated().await.unwrap();
    (servers, cluster, client, own)
}

#[tokio::test]
async fn what_has_no_reply_of_its_own_is_refused_on_every_way() {
    let (_servers, mut cluster, mut client, mut own) = ways().await;
    refuses_all(&mut client, "a client").await;
    refuses_all(&mut own, "an exclusive connection").await;
    refuses_all(&mut cluster, "the cluster").await;
    for (what, cmd) in unpaired() {
        let error = cluster.run::<Value>(&cmd).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "run, {what}: {error}");
        let error = cluster.run_with_key::<Value>("k", &cmd).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{what}: {error}");
        for (_, result) in cluster.fan_out(&cmd).await {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "all, {what}: {error}");
        }
        let mut pipe = Pipeline::new();
        pipe.atomic().get("k").add_command(cmd);
        let error = cluster.pipeline(&pipe).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "pipeline, {what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_without_words_shifts_nobodys_replies() {
    let server = Server::start();
    let cluster = FlusterCluster::from_urls([server.url()]).unwrap();
    let client = cluster.get_client("k").unwrap();
    let others = (0..10).map(|task| {
        let mut client = client.clone();
        tokio::spawn(async move {
            for n in 0..200 {
                let token = format!("{task}-{n}");
                let got: Result<String, _> = redis::cmd("ECHO")
                    .arg(&token)
                    .query_async(&mut client)
                    .await;
                if let Ok(got) = got {
                    assert_eq!(got, token, "somebody else's reply");
                }
            }
        })
    });
    let others: Vec<_> = others.collect();
    for _ in 0..20 {
        let mut client = client.clone();
        let mut pipe = redis::pipe();
        pipe.get("k").add_command(Cmd::new());
        let result = pipe.query_async::<Vec<Value>>(&mut client).await;
        refused(&result.unwrap_err(), "no words");
        tokio::task::yield_now().await;
    }
    for other in others {
        other.await.expect("everybody got their own replies");
    }
}

#[tokio::test]
async fn numbers_that_are_not_the_pipelines_are_refused_on_every_way() {
    let (_servers, mut cluster, mut client, mut own) = ways().await;
    numbers_are_its_own(&mut client, "a client").await;
    numbers_are_its_own(&mut own, "an exclusive connection").await;
    numbers_are_its_own(&mut cluster, "the cluster").await;
}

#[tokio::test]
async fn ignored_commands_keep_their_place_among_the_replies() {
    let (_servers, mut cluster, mut client, mut own) = ways().await;
    for atomic in [false, true] {
        let mut pipe = redis::pipe();
        pipe.set("k", 1).ignore().incr("k", 1).incr("k", 1).ignore();
        pipe.get("k");
        if atomic {
            pipe.atomic();
        }
        let by_client: (i64, i64) = pipe.query_async(&mut client).await.unwrap();
        let by_own: (i64, i64) = pipe.query_async(&mut own).await.unwrap();
        let by_cluster: (i64, i64) = pipe.query_async(&mut cluster).await.unwrap();
        assert_eq!([by_client, by_own, by_cluster], [(2, 3); 3], "{atomic}");
    }
}

async fn is_empty(connection: &mut impl ConnectionLike, way: &str) {
    for atomic in [false, true] {
        let mut pipe = Pipeline::new();
        if atomic {
            pipe.atomic();
        }
        let got: Result<Vec<Value>, _> = pipe.query_async(connection).await;
        let got = got.unwrap_or_else(|e| panic!("atomic {atomic} over {way}: {e}"));
        assert!(got.is_empty(), "atomic {atomic} over {way}: {got:?}");
        pipe.query_async::<()>(connection).await.unwrap();
    }
}

#[tokio::test]
async fn a_pipeline_with_nothing_in_it_has_no_answers_on_every_way() {
    let (servers, mut cluster, mut client, mut own) = ways().await;
    is_empty(&mut client, "a client").await;
    is_empty(&mut own, "an exclusive connection").await;
    is_empty(&mut cluster, "the cluster").await;
    let mut atomic = Pipeline::new();
    atomic.atomic();
    assert!(cluster.pipeline(&atomic).await.unwrap().is_empty());
    assert!(cluster.pipeline(&Pipeline::new()).await.unwrap().is_empty());
    drop(servers);
    // Nothing to send needs nobody.
    is_empty(&mut client, "a client of a dead node").await;
    is_empty(&mut cluster, "a dead cluster").await;
}

#[tokio::test]
async fn an_empty_atomic_pipeline_tells_whether_what_was_watched_changed() {
    let (_servers, _cluster, mut client, mut own) = ways().await;
    for changed in [false, true] {
        let _: () = redis::cmd("WATCH")
            .arg("k")
            .query_async(&mut own)
            .await
            .unwrap();
        if changed {
            let _: () = client.set("k", "by another").await.unwrap();
        }
        let mut pipe = Pipeline::new();
        pipe.atomic();
        let got: Value = pipe.query_async(&mut own).await.unwrap();
        match changed {
            false => assert_eq!(got, Value::Array(vec![])),
            true => assert_eq!(got, Value::Nil),
        }
    }
}

#[tokio::test]
async fn a_transaction_that_only_reads_is_checked() {
    let (_servers, cluster, client, _own) = ways().await;
    let mut tries = 0;
    let read: Vec<Value> = cluster
        .transaction(["k", "k"], |mut own, pipe| {
            tries += 1;
            let (mut other, disturb) = (client.clone(), tries <= 3);
            async move {
                let _: Option<String> = own.get("k").await?;
                if disturb {
                    let _: () = other.set("k", "by another").await?;
                }
                Ok((own, pipe))
            }
        })
        .await
        .unwrap();
    assert!(read.is_empty());
    assert_eq!(tries, 4, "tried again while what it had read changed");
    let error = cluster
        .transaction::<(), _, _, _>(["k"], |mut own, pipe| {
            let mut other = client.clone();
            async move {
                let _: Option<String> = own.get("k").await?;
                let _: () = other.set("k", "by another").await?;
                Ok((own, pipe))
            }
        })
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_that_are_shifted_are_an_event() {
    let gets = AtomicUsize::new(0);
    let fake = Fake::start(move |words| {
        if words[0] != "GET" {
            return Some(Fake::answer("7.0.15", words));
        }
        // Slower than they are asked: somebody always waits.
        std::thread::sleep(Duration::from_millis(1));
        match gets.fetch_add(1, SeqCst) {
            // One too many, of which no caller can know.
            100 => Some("+a\r\n+a\r\n".to_owned()),
            _ => Some("+a\r\n".to_owned()),
        }
    });
    let cluster = FlusterCluster::builder()
        .node(Node::new(&*fake.url()).unwrap().name("n"))
        .response_timeout(Duration::from_secs(20))
        .build()
        .unwrap();
    let mut events = cluster.events();
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let mut client = cluster.get_client("k").unwrap();
            tokio::spawn(async move {
                loop {
                    // It fails once for each of them.
                    let _ = client.get::<_, Option<String>>("k").await;
                }
            })
        })
        .collect();
    let heard = async {
        loop {
            if let Event::RepliesShifted { node, .. } =
                events.next().await.expect("the cluster is there")
            {
                return node;
            }
        }
    };
    let node = tokio::time::timeout(SOON, heard).await;
    assert_eq!(node.expect("an event"), "n");
    for caller in callers {
        caller.abort();
    }
    assert_eq!(
        cluster.status().nodes[0].ejections,
        0,
        "the next connection is well"
    );
}
