//! Bad input: odd keys are routed, bad settings are refused by name and without a secret, and an
//! application's own mistakes are never held against a server.

use std::num::NonZeroU32;
use std::time::Duration;

use fluster::placement::HashTags;
use fluster::{BuildError, FlusterCluster, Node, NodeState, Outcome, Penalty, Placement};
use redis::{AsyncCommands, RedisError, Value};

use crate::support::{Server, answer_to_echo, fleet, urls};

const SECRET: &str = "hunter2";

fn ring(points: u32) -> Placement {
    Placement::ring_with_points(NonZeroU32::new(points).unwrap())
}

#[tokio::test]
async fn odd_keys_reach_a_node_and_come_back_as_they_were() {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let long = vec![b'x'; 1 << 20];
    let keys: &[&[u8]] = &[
        b"",
        b" ",
        b"\0",
        b"\r\n",
        b"$3\r\nabc\r\n",
        b"\xff\xfe",
        b"\xc3\x28",
        "schlüssel 🔑".as_bytes(),
        b"{",
        b"}",
        b"{}",
        b"{}x",
        b"{a}{b}",
        b"}{",
        b"{{a}}",
        &[0; 300],
        &long,
    ];
    for key in keys {
        let mut client = cluster.get_client(key).expect("every key has a node");
        assert_eq!(
            *client.node(),
            cluster.get_node(key).unwrap(),
            "the same key, the same node"
        );
        let _: () = client.set(key, *key).await.unwrap();
        let value: Vec<u8> = cluster
            .run_with_key(key, &redis::Cmd::get(key))
            .await
            .unwrap();
        assert_eq!(value, *key, "the same bytes");
    }
    let nodes = cluster.get_node_batch(keys).unwrap();
    for (key, node) in keys.iter().zip(nodes) {
        assert_eq!(
            node,
            cluster.get_node(key).unwrap(),
            "one by one or together"
        );
    }
}

#[test]
fn a_key_of_512_mb_is_routed() {
    // The longest that Redis takes. Never written to, so all its pages are the kernel's one of zeros.
    let key = vec![0_u8; 512 << 20];
    let cluster = FlusterCluster::from_urls(["redis://10.0.0.1", "redis://10.0.0.2"]).unwrap();
    assert!(cluster.get_node(key).is_ok());
}

#[test]
fn tags_decide_only_where_there_is_a_whole_one() {
    let urls = (0..20).map(|i| format!("redis://10.0.0.{i}"));
    let cluster = FlusterCluster::from_urls(urls.clone()).unwrap();
    let node = |key: &str| cluster.get_node(key).unwrap();
    assert_eq!(node("{user:1}:a"), node("{user:1}:b"));
    assert_eq!(node("x{user:1}"), node("user:1"));
    let off = FlusterCluster::builder()
        .urls(urls)
        .hash_tags(HashTags::Off)
        .build()
        .unwrap();
    let differ = (0..20)
        .filter(|i| off.get_node(format!("{{t}}:{i}")).unwrap() != off.get_node("{t}:x").unwrap())
        .count();
    assert!(differ > 5, "without tags the whole key counts");
}

/// Builds, expects a refusal, and returns its text; no secret may be in it or in its `Debug`.
fn refused(build: Result<FlusterCluster, BuildError>, what: &str) -> String {
    let error = match build {
        Err(e) => e,
        Ok(cluster) => panic!("{what} was accepted: {cluster:?}"),
    };
    let all = format!("{error} {error:?}");
    assert!(!all.contains(SECRET), "{what}: shows the password: {all}");
    error.to_string()
}

#[test]
fn a_bad_url_is_refused_by_its_name_and_without_its_password() {
    for (url, culprit) in [
        ("", "does not parse"),
        ("10.0.0.1:6379", ""),
        ("10.0.0.1", "redis://"),
        (&*format!("http://u:{SECRET}@10.0.0.1"), "http"),
        (&*format!("redis://u:{SECRET}@"), ""),
        (&*format!("redis://u:{SECRET}@10.0.0.1:99999"), "10.0.0.1"),
        (&*format!("redis://u:{SECRET}@10.0.0.1:port"), "10.0.0.1"),
        (&*format!("redis://u:{SECRET}@10.0.0.1/db"), "database"),
        (&*format!("redis://u:{SECRET}@10.0.0.1/-1"), "-1"),
        (&*format!("redis://u:{SECRET}@10.0.0.1/1/2"), "10.0.0.1"),
        (
            &*format!("redis://u:{SECRET}@10.0.0.1?protocol=resp4"),
            "resp4",
        ),
        (
            &*format!("redis://u:{SECRET}@10.0.0.1?timeout=5"),
            "timeout",
        ),
        (&*format!("redis://u:{SECRET}@[::1"), ""),
        ("redis://user@10.0.0.1", "password"),
        ("unix://", "path"),
        (&*format!("unix:///run/s?pass={SECRET}&db=x"), "database"),
        (&*format!("redis://10.0.0.1:6379#{SECRET}"), ""),
        (&*format!("redis//u:{SECRET}@10.0.0.1"), ""),
        (&*format!("u:{SECRET}@10.0.0.1"), ""),
    ] {
        let text = refused(FlusterCluster::from_urls([url]), url);
        assert!(text.contains(culprit), "{url}: names \"{culprit}\": {text}");
        let good = FlusterCluster::from_urls(["redis://10.0.0.7", url]);
        refused(good, url);
    }
}

#[test]
fn nodes_that_cannot_be_are_refused() {
    let text = refused(FlusterCluster::from_urls([""; 0]), "no node");
    assert!(text.contains("at least one"), "{text}");
    for urls in [
        ["redis://10.0.0.1", "redis://10.0.0.1:6379"],
        ["redis://10.0.0.1", "redis://:hunter2@10.0.0.1/0"],
    ] {
        let text = refused(FlusterCluster::from_urls(urls), "the same server twice");
        assert!(text.contains("10.0.0.1:6379"), "names it: {text}");
    }
    let node = || Node::new(format!("redis://u:{SECRET}@10.0.0.1")).unwrap();
    let build = |node: Node| FlusterCluster::builder().node(node).build();
    let text = refused(build(node().weight(0)), "weight 0");
    assert!(
        text.contains("10.0.0.1:6379") && text.contains("weight"),
        "{text}"
    );
    refused(build(node().name("")), "no name");
    let text = refused(build(node().name("heavy").weight(512)), "65 536 points");
    assert!(text.contains("heavy") && text.contains("65"), "{text}");
    refused(build(node().weight(u32::MAX)), "points overflow");
    let fine = FlusterCluster::builder()
        .node(node())
        .placement(ring(65_536))
        .build();
    refused(fine, "65 536 points by the placement");
    build(node().weight(511)).expect("65 408 points");
    let most = FlusterCluster::builder()
        .node(node())
        .placement(ring(65_535))
        .build();
    most.expect("65 535 points are allowed");
    let shown = format!("{:?} {:?}", node(), FlusterCluster::builder().node(node()));
    assert!(!shown.contains(SECRET), "{shown}");
}

#[test]
fn options_out_of_range_are_refused_by_name() {
    const DAY: Duration = Duration::from_secs(86_400);
    let base = || FlusterCluster::builder().urls(["redis://10.0.0.1"]);
    let ms = Duration::from_millis;
    let zero = Duration::ZERO;
    for (builder, name) in [
        (base().response_timeout(zero), "response_timeout"),
        (base().response_timeout(100 * DAY), "response_timeout"),
        (base().response_timeout(Duration::MAX), "response_timeout"),
        (base().connect_timeout(zero), "connect_timeout"),
        (base().connect_timeout(Duration::MAX), "connect_timeout"),
        (base().deadline(zero), "deadline"),
        (base().deadline(ms(100)), "deadline"),
        (base().pool_size(0), "pool_size"),
        (base().pool_size(usize::MAX), "pool_size"),
        (base().pool_wait(Duration::MAX), "pool_wait"),
        (base().idle_timeout(zero), "idle_timeout"),
        (base().max_lifetime(Duration::MAX), "max_lifetime"),
        (base().wait_for_node(Duration::MAX), "wait_for_node"),
        (base().penalty(Penalty::default().min_wait(zero)), "penalty"),
        (
            base().penalty(Penalty::default().min_wait(ms(10_000))),
            "penalty",
        ),
        (
            base().penalty(Penalty::default().multiplier(f64::NAN)),
            "penalty",
        ),
        (
            base().penalty(Penalty::default().multiplier(0.5)),
            "penalty",
        ),
        (base().penalty(Penalty::default().strikes(0)), "penalty"),
        (base().penalty(Penalty::default().rise(0)), "penalty"),
        (
            base().penalty(Penalty::default().probe_timeout(zero)),
            "penalty",
        ),
        (
            base().penalty(Penalty::default().rate_percent(101)),
            "penalty",
        ),
    ] {
        let text = refused(builder.build(), name);
        assert!(text.contains(name), "names {name}: {text}");
    }
    base()
        .response_timeout(ms(1))
        .build()
        .expect("the smallest that is allowed");
}

#[tokio::test]
async fn no_option_however_large_makes_a_penalty_panic() {
    let max = Duration::MAX;
    let penalty = Penalty::default()
        .max_wait(max)
        .probation(max)
        .decay(max)
        .strike_window(max)
        .rate_window(max)
        .flap_window(max)
        .flap_hold(max)
        .probe_gap(max)
        .probe_timeout(max)
        .not_ready_max(max)
        .demand_max(max)
        .multiplier(1e300);
    let server = Server::start();
    let built = FlusterCluster::builder()
        .urls([server.url()])
        .penalty(penalty)
        .build();
    // Refused or taken: either way nothing overflows later.
    let Ok(cluster) = built else { return };
    let mut client = cluster.get_client("k").unwrap();
    let _: () = client.set("k", "v").await.unwrap();
    server.kill();
    assert!(client.get::<_, Option<String>>("k").await.is_err());
    for _ in 0..20 {
        drop(cluster.get_client("k"));
        drop(cluster.status());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_thousand_type_errors_of_the_application_eject_nobody() {
    let server = Server::start();
    let cluster = FlusterCluster::from_urls([server.url()]).unwrap();
    let mut client = cluster.get_client("k").unwrap();
    let _: () = client.set("k", "abc").await.unwrap();
    let _: () = client.rpush("list", "x").await.unwrap();
    let id: u64 = redis::cmd("CLIENT")
        .arg("ID")
        .query_async(&mut client)
        .await
        .unwrap();
    for n in 0..1_000 {
        let wrong: Result<u64, RedisError> = client.get("k").await;
        assert!(wrong.is_err(), "\"abc\" is no number");
        let nil: Result<String, RedisError> = client.get("nothing").await;
        assert!(nil.is_err(), "nil is no text");
        let e = client.incr::<_, _, u64>("list", 1).await.unwrap_err();
        assert_eq!(e.code(), Some("WRONGTYPE"), "verbatim: {e}");
        if n % 10 == 0 {
            let error = cluster
                .run_with_key::<u64>("k", &redis::Cmd::get("k"))
                .await
                .unwrap_err();
            assert_eq!(error.outcome(), Outcome::Answered, "{error}");
            let unknown: Result<Value, _> = redis::cmd("NO.SUCH").query_async(&mut client).await;
            assert!(unknown.unwrap_err().to_string().contains("unknown command"));
            let mut own = client.dedicated().await.unwrap();
            assert!(own.get::<_, u64>("k").await.is_err());
        }
    }
    let after: u64 = redis::cmd("CLIENT")
        .arg("ID")
        .query_async(&mut client)
        .await
        .unwrap();
    assert_eq!(after, id, "the connection is kept");
    let node = &cluster.status().nodes[0];
    assert_eq!(
        (node.ejections, node.state, node.dials),
        (0, NodeState::Up, 2)
    );
}

/// What no line of a log may hold: ends of lines, the terminal's escapes, signs that turn the direction.
const FOREIGN: &str = "\u{1b}[2J\u{202e}\u{200b}\u{2028}\u{7}";

/// One line of a bounded length, in which nothing steers a terminal.
fn is_one_line(text: &str) -> bool {
    let steers = |c: char| c.is_control() || (!c.is_ascii() && FOREIGN.contains(c));
    text.chars().count() < 700 && !text.contains(steers)
}

/// A server that is well until it is asked for something: then it answers with `reply`.
async fn answers_with(reply: Vec<u8>) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let reply = reply.clone();
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                while let Ok(n @ 1..) = socket.read(&mut bytes).await {
                    let asked = String::from_utf8_lossy(&bytes[..n]).into_owned();
                    let set_up = asked.matches("CLIENT\r\n").count();
                    let answer = match answer_to_echo(&bytes[..n]) {
                        Some(token) => [&b"+OK\r\n".repeat(set_up), token.as_bytes()].concat(),
                        None => reply.clone(),
                    };
                    if socket.write_all(&answer).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    format!("redis://{address}")
}

#[tokio::test]
async fn a_long_error_reply_with_escapes_is_one_short_line_of_ours() {
    let words = format!("-ERR {FOREIGN}{}\r\n", "x".repeat(60_000));
    let url = answers_with(words.into_bytes()).await;
    let cluster = FlusterCluster::from_urls([url]).unwrap();
    let get = redis::Cmd::get("k");
    let error = cluster.run_with_key::<Value>("k", &get).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Answered, "{error:.500}");
    let text = error.to_string();
    assert!(is_one_line(&text), "{} bytes: {text:.300}", text.len());
    assert!(
        text.contains(r"\u{1b}[2J\u{202e}") && text.ends_with("xxx..."),
        "{text:.500}"
    );
    let (_, result) = cluster.fan_out(&get).await.remove(0);
    assert!(is_one_line(&result.unwrap_err().to_string()));
}

#[test]
fn a_node_that_nobody_could_read_the_name_of_is_refused_in_one_line() {
    let long = "n".repeat(100_000);
    for name in [
        "a b",
        "a\nb",
        "a{b}",
        "a\u{1b}[2J",
        "a\u{202e}b",
        "\u{200b}",
        "a\u{ad}b",
        "\u{e0041}",
        &long,
    ] {
        let node = Node::new("redis://10.0.0.1").unwrap().name(name);
        let error = FlusterCluster::builder()
            .node(node.clone())
            .build()
            .expect_err(name);
        let text = error.to_string();
        assert!(is_one_line(&text) && text.contains("its name"), "{text}");
        let cluster = FlusterCluster::from_urls(["redis://10.0.0.7"]).unwrap();
        let error = cluster.add_node(node).expect_err(name);
        assert!(is_one_line(&error.to_string()), "{error}");
        let error = cluster.remove_node(name).expect_err(name);
        assert!(is_one_line(&error.to_string()), "{error}");
    }
    for name in ["cache-1", "größe", "10.0.0.1:6379/2", &"n".repeat(256)] {
        let node = Node::new("redis://10.0.0.1").unwrap().name(name);
        FlusterCluster::builder().node(node).build().expect(name);
    }
}

#[test]
fn what_is_refused_is_repeated_in_one_line() {
    let foreign = format!("{FOREIGN}{}", "y".repeat(100_000));
    let placement = |text: &str| text.parse::<Placement>().unwrap_err().to_string();
    for text in [
        placement(&foreign),
        placement(&format!("ring:points={foreign}")),
        placement(&format!("ring:{foreign}=1")),
        placement(&format!("ring:{foreign}")),
        placement(&format!("ring:hash_tags={foreign}")),
        foreign.parse::<HashTags>().unwrap_err().to_string(),
        Node::new(format!("redis://{foreign}"))
            .unwrap_err()
            .to_string(),
        Node::new(&foreign).unwrap_err().to_string(),
    ] {
        assert!(is_one_line(&text), "{} bytes: {text:.300}", text.len());
    }
}

/// The texts of an error and of all that are behind it.
fn chain(error: &(dyn std::error::Error + 'static)) -> Vec<String> {
    std::iter::successors(Some(error), |e| e.source())
        .map(ToString::to_string)
        .collect()
}

#[tokio::test]
async fn no_chain_of_errors_says_a_sentence_twice_and_none_names_a_node_cluster() {
    let server = Server::start();
    let cluster = FlusterCluster::from_urls([server.url()]).unwrap();
    let mut client = cluster.get_client("k").unwrap();
    let _: () = client.set("k", "text").await.unwrap();
    let mut ours: Vec<fluster::Error> = Vec::new();
    let get = redis::Cmd::get("k");
    ours.push(cluster.run_with_key::<u64>("k", &get).await.unwrap_err());
    ours.push(cluster.run::<u64>(&get).await.unwrap_err());
    let wrong = redis::Cmd::lpush("k", "x");
    ours.push(cluster.run::<Value>(&wrong).await.unwrap_err());
    assert_eq!(ours[2].server_code(), Some("WRONGTYPE"));
    let both = redis::Cmd::mget(&["k", "l"]);
    ours.push(cluster.run::<u64>(&both).await.unwrap_err());
    let mut pipe = redis::pipe();
    pipe.lpush("k", "x");
    ours.push(
        cluster
            .pipeline(&pipe)
            .await
            .unwrap()
            .remove(0)
            .unwrap_err(),
    );
    let results = cluster.pipeline(pipe.atomic()).await;
    ours.push(results.unwrap().remove(0).unwrap_err());
    ours.push(
        cluster
            .run::<Value>(redis::cmd("NO.SUCH").arg("k"))
            .await
            .unwrap_err(),
    );
    let replicas = cluster.replicas("k", 1).unwrap();
    let quorum = replicas
        .write(&wrong, fluster::replication::Quorum::One)
        .await
        .unwrap_err();
    assert_eq!(chain(&quorum).len(), 1, "{:?}", chain(&quorum));
    server.kill();
    ours.push(cluster.run::<Value>(&get).await.unwrap_err());
    ours.push(fluster::Error::from(cluster.get_client("k").unwrap_err()));
    assert!(ours.last().unwrap().cluster_empty().is_some());
    let push = cluster.queue("jobs").push("x").await.unwrap_err();
    assert_eq!(chain(&push).len(), 1, "{:?}", chain(&push));
    let redis = client.get::<_, Value>("k").await.unwrap_err();
    // redis-rs prints an error of the connection and its own source alike; ours is in there once.
    assert!(chain(&redis).len() <= 2, "{:?}", chain(&redis));
    for error in &ours {
        let texts = chain(error);
        for (n, text) in texts.iter().enumerate() {
            assert!(!text.contains("node cluster"), "{texts:?}");
            assert!(
                texts[n + 1..].iter().all(|later| !text.contains(later)),
                "{texts:?}"
            );
        }
        assert!(
            error.node().is_none_or(|node| *node != "cluster"),
            "{error:?}"
        );
    }
    assert!(
        ours[4].node().is_some() && ours[5].node().is_some(),
        "pipelines name who answered"
    );
}
