//! Who answers must be a Redis: a service that says OK, or no, to everything serves no key.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use fluster::{ErrorKind, FlusterCluster, Node, Reason};
use redis::Value;

use crate::support::{Fake, Server, Warnings, eventually};

const SOON: Duration = Duration::from_secs(20);

/// A real server and one that is none, and a key of each.
fn with(fake: &Fake, real: &Server) -> (FlusterCluster, String) {
    with_user("", fake, real)
}

/// The same; `user` is what stands before the address of the first.
fn with_user(user: &str, fake: &Fake, real: &Server) -> (FlusterCluster, String) {
    let url = fake.url().replace("://", &format!("://{user}"));
    let cluster = FlusterCluster::builder()
        .node(Node::new(&*url).unwrap().name("fake"))
        .node(Node::new(&*real.url()).unwrap().name("real"))
        .build()
        .unwrap();
    let key = (0..).map(|n| format!("k{n}"));
    let key = key
        .into_iter()
        .find(|key| cluster.get_node(key).unwrap() == "fake");
    (cluster, key.unwrap())
}

fn reason(cluster: &FlusterCluster, node: &str) -> Option<Reason> {
    let status = cluster.status();
    let node = status.node(node).unwrap();
    node.reason.filter(|_| !node.admits)
}

/// The key of such a node is served by the other one, and by the other one alone.
async fn serves_no_key(fake: Fake, what: &str) {
    let real = Server::start();
    let (cluster, key) = with(&fake, &real);
    let _: () = cluster.run(&redis::Cmd::set(&key, "right")).await.unwrap();
    for _ in 0..50 {
        let got: String = cluster.run(&redis::Cmd::get(&key)).await.unwrap();
        assert_eq!(got, "right", "{what}");
    }
    assert_eq!(reason(&cluster, "fake"), Some(Reason::NotRedis), "{what}");
    // Neither by its own client nor over an exclusive connection.
    let client = cluster.get_client_of_node("fake").unwrap();
    assert!(client.dedicated().await.is_err(), "{what}");
    // And its probes do not bring it back.
    let probed = || cluster.status().node("fake").unwrap().probes >= 2;
    eventually(SOON, probed).await;
    assert_eq!(reason(&cluster, "fake"), Some(Reason::NotRedis), "{what}");
    assert_eq!(fake.count("GET") + fake.count("SET"), 0, "{what}");
}

#[tokio::test]
async fn a_server_that_says_ok_to_everything_serves_no_key() {
    serves_no_key(Fake::start(|_| Some("+OK\r\n".to_owned())), "+OK").await;
}

#[tokio::test]
async fn a_server_that_says_no_to_everything_serves_no_key() {
    for no in [
        "-ERR no\r\n",
        "-ERR unknown command\r\n",
        "-PROXY not today\r\n",
    ] {
        serves_no_key(Fake::start(|_| Some(no.to_owned())), no).await;
    }
}

#[tokio::test]
async fn a_server_that_gives_everything_back_is_no_redis_either() {
    let echo = |words: &[String]| {
        let last = words.last().map(String::as_str).unwrap_or_default();
        Some(format!("+{last}x\r\n"))
    };
    serves_no_key(Fake::start(echo), "an echo").await;
}

#[tokio::test]
async fn a_redis_without_echo_is_proven_by_ping() {
    let renamed = |words: &[String]| {
        Some(match words[0].to_uppercase().as_str() {
            "ECHO" => "-ERR unknown command 'ECHO'\r\n".to_owned(),
            _ => Fake::answer("7.0.0", words),
        })
    };
    let fake = Fake::start(renamed);
    let cluster = FlusterCluster::from_urls([fake.url()]).unwrap();
    let nothing: Option<String> = cluster.run(&redis::Cmd::get("k")).await.unwrap();
    assert_eq!(nothing, None);
    assert_eq!(fake.count("PING"), 1);
}

/// Each refusal is a line of the server's ACL LOG.
#[test]
fn a_user_who_may_not_echo_is_served_and_asked_once() {
    let warnings = Warnings::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    warnings.during(|| runtime.block_on(may_not_echo()));
    assert_eq!(warnings.with(&["ECHO is forbidden"]).len(), 1);
}

async fn may_not_echo() {
    let server = Server::start();
    let rule = ["on", ">pw", "~*", "&*", "+@all", "-echo", "-ping"];
    let mut words = vec!["ACL", "SETUSER", "app"];
    words.extend(rule);
    server.raw(words);
    let url = server.url().replace("redis://", "redis://app:pw@");
    let cluster = FlusterCluster::from_urls([url]).unwrap();
    let _: () = cluster.run(&redis::Cmd::set("k", 1)).await.unwrap();
    let client = cluster.get_client("k").unwrap();
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(client.dedicated().await.unwrap());
    }
    let log = server.raw(["ACL", "LOG"]);
    let lines = log.lines().filter(|line| *line == "echo");
    assert_eq!(lines.count(), 1, "{log}");
    // Once, and not once per connection.
    assert_eq!(log.lines().nth(1), Some("1"), "{log}");
}

/// What a live Redis says when it cannot serve keeps its meaning.
#[tokio::test]
async fn what_a_redis_says_keeps_its_meaning() {
    for (reply, is_out) in [
        (
            "-LOADING Redis is loading the dataset in memory\r\n",
            Some(Reason::NotReady),
        ),
        (
            "-MASTERDOWN Link with MASTER is down\r\n",
            Some(Reason::NotReady),
        ),
        ("-NOAUTH Authentication required.\r\n", Some(Reason::Config)),
        ("-BUSY Redis is busy running a script\r\n", None),
        ("-MISCONF Redis is configured to save\r\n", None),
    ] {
        let fake = Fake::start(move |words| {
            Some(match words[0].to_uppercase().as_str() {
                "ECHO" => reply.to_owned(),
                _ => Fake::answer("7.0.0", words),
            })
        });
        let real = Server::start();
        let (cluster, key) = with_user(":pw@", &fake, &real);
        let _ = cluster.run::<Value>(&redis::Cmd::get(&key)).await;
        eventually(SOON, || reason(&cluster, "fake") == is_out).await;
        cluster.shutdown(Duration::ZERO).await;
    }
}

#[tokio::test]
async fn the_error_says_what_it_said() {
    let fake = Fake::start(|_| Some("+HTTP? no\r\n".to_owned()));
    let cluster = FlusterCluster::from_urls([fake.url()]).unwrap();
    let error = cluster
        .run::<Value>(&redis::Cmd::get("k"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    let text = error.to_string();
    assert!(text.contains("does not answer as a Redis does"), "{text}");
    assert!(text.contains("HTTP? no"), "{text}");
}

/// A connection that was logged in and is not any more is of no use; whether the node is, a new one tells.
#[tokio::test]
async fn what_says_noauth_on_a_connection_that_had_logged_in_is_dialled_anew() {
    let (locked, out) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (was_reset, is_locked) = (Arc::clone(&out), Arc::clone(&locked));
    let fake = Fake::start(move |words| {
        let no = || "-NOAUTH Authentication required.\r\n".to_owned();
        Some(match words[0].to_uppercase().as_str() {
            "GET" if was_reset.load(SeqCst) => no(),
            "ECHO" | "PING" if is_locked.load(SeqCst) => no(),
            _ => Fake::answer("7.0.0", words),
        })
    });
    let real = Server::start();
    let (cluster, key) = with_user(":pw@", &fake, &real);
    let get = redis::Cmd::get(&key);
    let _: Option<String> = cluster.run(&get).await.unwrap();
    let dialled = fake.count("ECHO");
    out.store(true, SeqCst);
    let error = cluster.run::<Value>(&get).await.unwrap_err();
    assert_eq!(error.server_code(), Some("NOAUTH"), "{error}");
    eventually(SOON, || fake.count("ECHO") > dialled).await;
    assert_eq!(
        reason(&cluster, "fake"),
        None,
        "a new connection may be logged in"
    );
    // Nobody is let in any more: as a wrong password.
    locked.store(true, SeqCst);
    for _ in 0..200 {
        let _ = cluster.run::<Value>(&get).await;
        if reason(&cluster, "fake").is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(reason(&cluster, "fake"), Some(Reason::Config));
}

/// The other side of it: without a password every connection would say so, and none is given up for it.
#[tokio::test]
async fn who_gives_no_password_is_told_so_on_one_connection() {
    let server = Server::builder().password("pw").start();
    let url = format!("redis://{}", server.name());
    let cluster = FlusterCluster::from_urls([url]).unwrap();
    for _ in 0..50 {
        let error = cluster
            .run::<Value>(&redis::Cmd::get("k"))
            .await
            .unwrap_err();
        assert_eq!(error.server_code(), Some("NOAUTH"), "{error}");
    }
    assert_eq!(cluster.status().nodes[0].dials, 1);
}
