//! A server can tell whose connections they are, and whose ones they were after a return.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use fluster::{BuildError, Client, Config, FlusterCluster, NodeState, Penalty};
use redis::AsyncCommands;

use crate::support::{Fake, Server, eventually};
use crate::workload::SOON;

/// The names in `CLIENT LIST`, of whatever kind of connection.
fn names(server: &Server) -> Vec<String> {
    let list = server.clients();
    let name = |line: &String| {
        let mut fields = line.split(' ');
        let name = fields.find_map(|field| field.strip_prefix("name="));
        name.expect("each line has a name").to_owned()
    };
    list.iter().map(name).collect()
}

/// The names of those who sent a `PING` with a token: probes.
fn names_of_probes(server: &Server) -> Vec<String> {
    let log = server.raw(["SLOWLOG", "GET", "100000"]);
    let lines: Vec<_> = log.lines().collect();
    let is_probe = |words: &&[&str]| words[0] == "PING" && words[1].starts_with("fluster-");
    let probes = lines.windows(4).filter(is_probe);
    probes.map(|words| words[3].to_owned()).collect()
}

async fn get(client: &mut Client) {
    let _: Option<String> = client.get("k").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_connection_has_the_name_also_after_a_reconnect_and_for_probes() {
    for (query, name) in [
        ("", "billing-7"),
        ("?client_name=other", "other"),
        ("?protocol=resp3", "billing-7"),
    ] {
        let logged = Server::builder().arg("--slowlog-log-slower-than", "0");
        let server = logged.arg("--slowlog-max-len", "100000").start();
        let cluster = FlusterCluster::builder()
            .urls([format!("{}{query}", server.url())])
            .client_name("billing-7")
            .penalty(
                Penalty::default()
                    .min_wait(Duration::from_millis(100))
                    .max_wait(Duration::from_millis(200)),
            )
            .build()
            .unwrap();
        let _heard = cluster.subscribe(["news"]).await.unwrap();
        for round in 0..3 {
            let mut client = cluster.get_client("k").unwrap();
            get(&mut client).await;
            let mut own = client.dedicated().await.unwrap();
            let _: () = own.set("k", 1).await.unwrap();
            // A lane, an exclusive connection, a subscription.
            let all = vec![name; 3];
            eventually(SOON, || names(&server) == all).await;
            drop(own);
            match round {
                0 => {
                    server.raw(["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
                    server.raw(["CLIENT", "KILL", "TYPE", "pubsub"]);
                    // Who finds its connection dead gets another one.
                    eventually(SOON, || names(&server).contains(&name.to_owned())).await;
                }
                1 => {
                    server.kill();
                    // Its end is seen by the first call.
                    let out = || cluster.status().nodes[0].state != NodeState::Up;
                    while !out() {
                        let _ = client.get::<_, Option<String>>("k").await;
                    }
                    server.restart();
                    eventually(SOON, || !out()).await;
                    let probes = names_of_probes(&server);
                    assert!(!probes.is_empty(), "it was probed");
                    assert!(probes.iter().all(|of| of == name), "{probes:?}");
                }
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn an_empty_name_is_none_and_the_default_is_the_librarys() {
    let server = Server::start();
    for (name, expected) in [(Some(""), ""), (None, "fluster")] {
        let mut builder = FlusterCluster::builder().urls([server.url()]);
        if let Some(name) = name {
            builder = builder.client_name(name);
        }
        let cluster = builder.build().unwrap();
        get(&mut cluster.get_client("k").unwrap()).await;
        assert_eq!(names(&server), [expected]);
        cluster.shutdown(Duration::ZERO).await;
        eventually(SOON, || server.clients().is_empty()).await;
    }
}

#[test]
fn what_a_server_would_refuse_is_refused_at_once() {
    for name in ["a b", "a\n", "a\r\nQUIT", "a\tb", "grün", "\u{1b}[2J"] {
        let builder = FlusterCluster::builder().urls(["redis://h"]);
        let error = builder.client_name(name).build().unwrap_err();
        let is_it = matches!(
            &error,
            BuildError::Option {
                name: "client_name",
                ..
            }
        );
        assert!(is_it && error.to_string().contains("spaces"), "{error}");
        let json = serde_json::json!({ "nodes": ["redis://h"], "client_name": name });
        let error = serde_json::from_value::<Config>(json).unwrap_err();
        assert!(error.to_string().contains("`client_name`"), "{error}");
    }
    let toml = "nodes = ['redis://h']\nclient_name = 'billing-7'";
    let config: Config = toml::from_str(toml).unwrap();
    assert_eq!(config.client_name.as_deref(), Some("billing-7"));
}

/// How many commands the log of refusals tells of, those that are counted in one line among them.
fn refusals(server: &Server) -> u64 {
    let log = server.raw(["ACL", "LOG", "1000"]);
    let lines: Vec<_> = log.lines().collect();
    let counts = lines.windows(2).filter(|pair| pair[0] == "count");
    counts.map(|pair| pair[1].parse::<u64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_the_name_is_not_told_it_again() {
    for query in ["", "?protocol=resp3"] {
        let server = Server::start();
        let user = [
            "ACL", "SETUSER", "limited", "on", ">pw", "~*", "&*", "+@all", "-client",
        ];
        server.raw(user);
        let url = server.url().replace("://", "://limited:pw@");
        let cluster = FlusterCluster::from_urls([format!("{url}{query}")]).unwrap();
        let mut client = cluster.get_client("k").unwrap();
        get(&mut client).await;
        let first = refusals(&server);
        // Without it this test proves nothing.
        assert!(first >= 1, "the name was refused");
        for _ in 0..20 {
            server.raw(["CLIENT", "KILL", "USER", "limited"]);
            eventually(SOON, || server.clients().is_empty()).await;
            let again = async { while client.get::<_, Option<String>>("k").await.is_err() {} };
            tokio::time::timeout(SOON, again)
                .await
                .expect("a new connection");
            client.dedicated().await.map(drop).unwrap();
        }
        assert!(
            cluster.status().nodes[0].dials >= 20,
            "it was dialled again and again"
        );
        assert_eq!(refusals(&server), first, "{}", server.raw(["ACL", "LOG"]));
        assert!(names(&server).iter().all(String::is_empty));
    }
}

/// The installed server knows no `SETINFO`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_is_for_itself_and_one_that_may_pass_is_tried_again() {
    for (refused, why, expected) in [
        (
            "SETINFO",
            "-NOPERM this user has no permissions\r\n",
            [11, 2],
        ),
        (
            "SETNAME",
            "-NOPERM this user has no permissions\r\n",
            [1, 22],
        ),
        // An older server, which may be a newer one the next time.
        ("SETINFO", "-ERR unknown subcommand 'SETINFO'\r\n", [11, 22]),
    ] {
        let asked = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let counts = Arc::clone(&asked);
        let fake = Fake::start(move |words| {
            for (count, what) in counts.iter().zip(["SETNAME", "SETINFO"]) {
                let is_it = words[0] == "CLIENT" && words[1] == what;
                count.fetch_add(usize::from(is_it), SeqCst);
            }
            let is_refused = words[0] == "CLIENT" && words[1] == refused;
            Some(if is_refused {
                why.to_owned()
            } else {
                Fake::answer("7.2.0", words)
            })
        });
        let cluster = FlusterCluster::from_urls([fake.url()]).unwrap();
        let mut client = cluster.get_client("k").unwrap();
        get(&mut client).await;
        let mut held = Vec::new();
        for _ in 0..10 {
            held.push(client.dedicated().await.unwrap());
        }
        let asked = [&asked[0], &asked[1]].map(|count| count.load(SeqCst));
        assert_eq!(asked, expected, "{refused}: {why}");
    }
}

#[tokio::test]
async fn the_name_of_the_cluster_is_that_of_its_connections_unless_they_have_one() {
    let server = Server::start();
    for (client_name, expected) in [(None, "sessions"), (Some("other"), "other"), (Some(""), "")] {
        let mut builder = FlusterCluster::builder()
            .urls([server.url()])
            .name("sessions");
        if let Some(name) = client_name {
            builder = builder.client_name(name);
        }
        let cluster = builder.build().unwrap();
        assert_eq!(cluster.status().name.as_deref(), Some("sessions"));
        get(&mut cluster.get_client("k").unwrap()).await;
        assert_eq!(names(&server), [expected]);
        cluster.shutdown(Duration::ZERO).await;
        eventually(SOON, || server.clients().is_empty()).await;
    }
    let error = FlusterCluster::builder()
        .urls([server.url()])
        .name("a b")
        .build()
        .unwrap_err();
    assert!(error.to_string().contains("`name`"), "{error}");
}
