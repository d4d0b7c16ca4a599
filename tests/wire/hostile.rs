//! Servers that speak RESP3's oddities, or none of it, on a real socket: they are understood, or refused by name.

use std::time::Duration;

use fluster::{Error, FlusterCluster, Node, Outcome, Penalty};
use futures_util::future::join_all;
use redis::{AsyncCommands, Cmd, RedisError, Value};

use crate::support::{Fake, eventually_some};

const V: &str = "$1\r\nv\r\n";

/// A server that answers `GET` with this, and all else as a Redis does; its set-up is beset by oddities, too.
fn server(reply: String) -> Fake {
    Fake::start(move |words| {
        Some(match words[0].to_uppercase().as_str() {
            "GET" => reply.clone(),
            "HELLO" => "|1\r\n+a\r\n:1\r\n%1\r\n+proto\r\n:3\r\n".to_owned(),
            _ => Fake::answer("7.0.0", words),
        })
    })
}

/// What a `GET` of the key that such a server has is answered; its neighbour is well.
async fn get(reply: &str, protocol: &str) -> (Result<Value, RedisError>, FlusterCluster) {
    let (server, well) = (server(reply.to_owned()), server(V.to_owned()));
    let url = |server: &Fake| format!("{}?protocol={protocol}", server.url());
    let cluster = FlusterCluster::builder()
        .node(Node::new(url(&server)).unwrap().name("odd").weight(64))
        .node(Node::new(url(&well)).unwrap().name("well"))
        .response_timeout(Duration::from_secs(20))
        .connect_timeout(Duration::from_secs(20))
        .deadline(Duration::from_secs(60))
        .max_reply(1 << 20)
        .penalty(Penalty::default().strikes(1_000))
        .build()
        .unwrap();
    assert_eq!(cluster.get_node("k").unwrap().as_str(), "odd");
    let mut client = cluster.get_client("k").unwrap();
    (client.get("k").await, cluster)
}

/// A key of the neighbour's.
fn of_the_neighbour(cluster: &FlusterCluster) -> String {
    let mut keys = (0..).map(|n| format!("k{n}"));
    keys.find(|key| {
        cluster
            .get_node(key)
            .is_ok_and(|node| node.as_str() == "well")
    })
    .expect("it has some")
}

fn text(text: &str) -> Value {
    Value::BulkString(text.into())
}

#[tokio::test]
async fn oddities_of_resp3_are_understood() {
    let push = ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n";
    let attribute = "|2\r\n+ttl\r\n:3600\r\n+by\r\n*2\r\n:1\r\n%1\r\n+x\r\n:2\r\n";
    for (reply, value) in [
        (format!("{attribute}{V}"), text("v")),
        (format!("{attribute}{attribute}{V}"), text("v")),
        (format!("{push}{V}"), text("v")),
        (format!("{push}{push}{V}{push}"), text("v")),
        (format!("{push}{attribute}{V}"), text("v")),
        (format!("{attribute}{push}{V}"), text("v")),
        (format!("|0\r\n{V}"), text("v")),
        ("_\r\n".to_owned(), Value::Nil),
        (
            format!("*2\r\n{attribute}:1\r\n|1\r\n+a\r\n:1\r\n:2\r\n"),
            Value::Array(vec![Value::Int(1), Value::Int(2)]),
        ),
    ] {
        let (got, cluster) = get(&reply, "resp3").await;
        assert_eq!(got.expect(&reply), value, "{reply:?}");
        // The next reply is the next one's.
        let mut client = cluster.get_client("k").unwrap();
        let echo = redis::cmd("ECHO").arg("next").clone();
        let echo: String = echo.query_async(&mut client).await.unwrap();
        assert_eq!(echo, "next", "{reply:?}");
        assert_eq!(cluster.status().nodes[0].dials, 1, "{reply:?}");
    }
}

#[tokio::test]
async fn what_is_no_reply_is_refused_by_name_and_the_node_is_asked_again() {
    let (deep, many) = ("*1\r\n".repeat(200), "|1\r\n+a\r\n:1\r\n".repeat(200_000));
    let string = "a streamed string";
    let aggregate = "a streamed aggregate";
    let (length, large) = ("a length that is none", "larger than 1048576 bytes");
    let cases = [
        ("$?\r\n;4\r\nabcd\r\n;0\r\n", "resp3", string),
        ("*?\r\n:1\r\n.\r\n", "resp3", aggregate),
        ("%?\r\n+a\r\n:1\r\n.\r\n", "resp3", aggregate),
        ("~?\r\n.\r\n", "resp3", aggregate),
        (
            "*2\r\n:1\r\n>2\r\n+x\r\n:1\r\n",
            "resp3",
            "a push inside a reply",
        ),
        (">0\r\n$1\r\nv\r\n", "resp3", "a push without a name"),
        ("*-2\r\n", "resp2", length),
        ("$-7\r\n", "resp3", length),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "resp2", "HTTP/1.1"),
        (
            ">2\r\n+x\r\n:1\r\n$1\r\nv\r\n",
            "resp2",
            "answer no command",
        ),
        (&*deep, "resp3", "nested deeper than 128"),
        ("$2000000\r\n", "resp2", large),
        ("*999999999\r\n", "resp2", large),
        (&*many, "resp3", large),
    ];
    join_all(cases.map(|(reply, protocol, name)| refused(reply, protocol, name))).await;
}

async fn refused(reply: &str, protocol: &str, name: &str) {
    let (got, cluster) = get(reply, protocol).await;
    let what = &reply[..reply.len().min(60)];
    let theirs: String = cluster
        .run(&Cmd::get(of_the_neighbour(&cluster)))
        .await
        .unwrap();
    assert_eq!(theirs, "v", "{what:?}: the neighbour is unharmed");
    let e = got.expect_err(what);
    let ours = Error::from_redis(&e).unwrap_or_else(|| panic!("{what:?}: not ours: {e}"));
    assert!(ours.to_string().contains(name), "{what:?}: {ours}");
    assert_eq!(ours.outcome(), Outcome::MaybeExecuted, "{what:?}: {ours}");
    // Who speaks no RESP is out until a probe is answered; what it said before is nobody's reply then.
    let mut echo = redis::cmd("ECHO");
    echo.arg("next");
    let said = eventually_some(Duration::from_secs(60), async || {
        let mut client = cluster.get_client("k").ok()?;
        if client.is_stand_in() {
            return None;
        }
        echo.query_async::<String>(&mut client).await.ok()
    });
    assert_eq!(said.await, "next", "{what:?}");
}
