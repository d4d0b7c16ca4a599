//! What is shown: what the cluster knows, all of it, and no secret.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};

use fluster::FlusterCluster;
use serde_json::Value;

use super::{SOON, TOKEN, bearer, get, many, nobody, post};
use crate::support::{Server, eventually, eventually_some, fleet, urls};

/// A stream of events, read one by one.
struct Reader(BufReader<TcpStream>);

impl Reader {
    fn open(address: SocketAddr, line: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        write!(
            stream,
            "GET /events HTTP/1.1\r\nhost: {address}\r\n{line}\r\n\r\n"
        )
        .unwrap();
        Self(BufReader::new(stream))
    }

    /// The next event of this kind that `wanted` says yes to.
    fn next(&mut self, kind: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut line = String::new();
        let mut is_kind = false;
        for _ in 0..10_000 {
            line.clear();
            assert!(
                self.0.read_line(&mut line).expect("an event in time") > 0,
                "it ended"
            );
            if let Some(event) = line.strip_prefix("event: ") {
                is_kind = event.trim() == kind;
            }
            if let Some(data) = line.strip_prefix("data: ").filter(|_| is_kind) {
                let data = serde_json::from_str(data).expect("JSON");
                if wanted(&data) {
                    return data;
                }
            }
        }
        panic!("no such event");
    }

    fn ends(mut self) -> bool {
        let mut rest = Vec::new();
        std::io::Read::read_to_end(&mut self.0, &mut rest).is_ok()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_in_the_status_in_the_events_and_in_the_explanation() {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let admin = cluster.admin().listen("127.0.0.1:0").unwrap();
    let at = admin.address();
    cluster.warm_up().await;
    let mut reader = Reader::open(at, "");
    let status = reader.next("status", |status| status["active"] == 3);
    assert_eq!(status["schema"], 1);
    assert_eq!(status["fluster"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        status["fingerprint"],
        cluster.status().fingerprint.to_string()
    );
    let sum: f64 = status["shares"]
        .as_array()
        .unwrap()
        .iter()
        .map(|share| share.as_f64().unwrap())
        .sum();
    assert!((sum - 1.0).abs() < 1e-3, "{sum}");

    let key = (0..)
        .map(|n| format!("k{n}"))
        .find(|key| cluster.get_node(key).unwrap() == *servers[1].name())
        .unwrap();
    let version = eventually_some(SOON, async || {
        get(at, "/status", &[]).json()["nodes"][1]["version"]
            .as_str()
            .map(str::to_owned)
    })
    .await;
    assert!(
        version.starts_with(|c: char| c.is_ascii_digit()),
        "{version}"
    );
    servers[1].kill();
    eventually(SOON, || {
        cluster.status().active() == 2 || {
            let _ = cluster.probe_node(servers[1].name());
            false
        }
    })
    .await;
    let event = reader.next("change", |event| event["event"] == "node_down");
    assert_eq!(
        (&event["node"], &event["reason"]),
        (&servers[1].name().into(), &"refused".into())
    );
    let status = reader.next("status", |status| status["active"] == 2);
    let node = &status["nodes"][1];
    assert_eq!(
        (&node["admits"], &node["reason"]),
        (&false.into(), &"refused".into())
    );
    assert!(
        node["out_for_ms"].is_u64() && node["retry_after_ms"].is_u64(),
        "{node}"
    );
    let since = node["since"].as_str().unwrap();
    assert!(
        since.len() == 24 && since.starts_with("20") && since.ends_with('Z'),
        "{since}"
    );
    assert!(
        since <= status["at"].as_str().unwrap(),
        "texts of one form compare as times"
    );

    let explained = post(at, "/explain", &format!(r#"{{"key":"{key}"}}"#), &[]).json();
    assert_eq!(explained["owner"], servers[1].name());
    assert_eq!(explained["serves"], explained["candidates"][1]["node"]);
    assert_eq!(explained["candidates"][0]["in_service"], false);
    let why = explained["why"].as_str().unwrap();
    assert!(why.contains("refused"), "{why}");
    let same = get(at, &format!("/explain?key={key}"), &[]).json();
    assert_eq!(
        (&same["serves"], &same["hash"]),
        (&explained["serves"], &explained["hash"])
    );
    servers[1].restart();
    let event = reader.next("change", |event| event["event"] == "node_up");
    assert!(event["out_for_ms"].is_u64(), "{event}");
    drop(cluster);
    assert!(reader.ends(), "the last handle of the application ends it");
    // And the port is free.
    eventually(SOON, || TcpStream::connect(at).is_err()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_any_bytes_is_explained_and_one_that_is_too_long_is_not() {
    let (cluster, admin) = nobody();
    let at = admin.address();
    // Backwards, so that it has no hash tag.
    let all: Vec<u8> = (0..=255).rev().collect();
    let hex: String = all.iter().map(|byte| format!("{byte:02x}")).collect();
    let said = post(at, "/explain", &format!(r#"{{"key_hex":"{hex}"}}"#), &[]).json();
    assert_eq!(said["serves"], cluster.get_node(&all).unwrap().as_str());
    assert_eq!(said["hashed_hex"], hex);
    assert!(
        !said["hashed"].as_str().unwrap().contains(char::is_control),
        "{said}"
    );
    let percent: String = all.iter().map(|byte| format!("%{byte:02x}")).collect();
    assert_eq!(
        get(at, &format!("/explain?key={percent}"), &[]).json(),
        said
    );
    assert_eq!(
        post(at, "/explain", r#"{"key":""}"#, &[]).json()["hashed_hex"],
        ""
    );
    let tag = post(at, "/explain", r#"{"key":"cart:{42}:x"}"#, &[]).json();
    assert_eq!(
        (&tag["is_tag"], &tag["hashed"]),
        (&true.into(), &"42".into())
    );
    let long = format!(r#"{{"key":"{}"}}"#, "x".repeat(70_000));
    assert_eq!(post(at, "/explain", &long, &[]).status, 413);
    for path in ["/explain", "/explain?key", "/explain?key=a&key=b"] {
        assert_eq!(get(at, path, &[]).status, 400, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_has_a_secret_and_no_name_is_markup() {
    let evil = "<img/src=x/onerror=alert(1)>";
    let server = Server::builder().password("right-hunter2").start();
    let cluster = FlusterCluster::builder()
        .node(fluster::Node::new(server.url()).unwrap().name(evil))
        .node(
            fluster::Node::new("redis://user:hunter2@127.0.0.1:1")
                .unwrap()
                .label("note", evil),
        )
        .build()
        .unwrap();
    let admin = cluster
        .admin()
        .token(TOKEN)
        .allow_actions()
        .listen("127.0.0.1:0")
        .unwrap();
    let (at, token) = (admin.address(), bearer());
    cluster.warm_up().await;
    let mut all = Vec::new();
    for path in ["/", "/status", "/explain?key=a", "/nowhere"] {
        all.push(get(at, path, &[&token]));
    }
    all.push(post(at, "/probe", r#"{"node":"127.0.0.1:1"}"#, &[&token]));
    all.push(post(at, "/drain", r#"{"node":"hunter2"}"#, &[]));
    for answer in &all {
        assert!(!answer.body.contains("hunter2"), "{}", answer.body);
        assert!(!answer.head.contains("hunter2"), "{}", answer.head);
        assert!(
            answer.head.contains("x-content-type-options: nosniff"),
            "{}",
            answer.head
        );
        let is_page = answer.head.contains("text/html");
        assert!(
            is_page != answer.head.contains("application/json"),
            "{}",
            answer.head
        );
        // A name stands in JSON alone, which nobody takes for markup.
        assert!(!is_page || !answer.body.contains(evil));
    }
    assert_eq!(all[1].json()["nodes"][0]["name"], evil);
    let mut reader = Reader::open(at, &token);
    let status = reader.next("status", |_| true);
    assert!(!status.to_string().contains("hunter2"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_nodes_are_shown() {
    let cluster = many(1000);
    let admin = cluster.admin().listen("127.0.0.1:0").unwrap();
    let status = get(admin.address(), "/status", &[]).json();
    assert_eq!(status["nodes"].as_array().unwrap().len(), 1000);
    assert_eq!(status["shares"].as_array().unwrap().len(), 1000);
    let said = post(admin.address(), "/explain", r#"{"key":"a"}"#, &[]).json();
    assert_eq!(
        said["candidates"].as_array().unwrap().len(),
        32,
        "not all of them"
    );
    assert_eq!(said["more"], 968);
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_are_as_deep_as_they_say_and_a_silent_server_holds_nobody_up() {
    let servers: [Server; 2] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let jobs = cluster.queue("jobs");
    for _ in 0..7 {
        jobs.push("a").await.unwrap();
    }
    let admin = cluster.admin().queue(&jobs).listen("127.0.0.1:0").unwrap();
    let status = get(admin.address(), "/status", &[]).json();
    assert_eq!(
        (
            &status["queues"][0]["name"],
            &status["queues"][0]["messages"]
        ),
        (&"jobs".into(), &7.into())
    );
    servers.iter().for_each(Server::stop);
    let late = eventually_some(SOON, async || {
        let began = std::time::Instant::now();
        let status = get(admin.address(), "/status", &[]).json();
        assert!(
            began.elapsed() < std::time::Duration::from_secs(8),
            "{:?}",
            began.elapsed()
        );
        status["queues"][0]["error"].as_str().map(str::to_owned)
    });
    println!("{}", late.await);
    servers.iter().for_each(Server::cont);
    drop((cluster, jobs));
    // A queue that is shown keeps nothing alive.
    eventually(SOON, || TcpStream::connect(admin.address()).is_err()).await;
}
