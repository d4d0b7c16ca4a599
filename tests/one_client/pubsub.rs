//! Subscriptions follow their channels from node to node.

use std::time::Duration;

use fluster::pubsub::{Message, Notice, Subscription};
use fluster::{ErrorKind, FlusterCluster};
use redis::{AsyncCommands, Value};

use crate::support::{Server, eventually, fleet, urls};
use crate::workload::SOON;

async fn next(subscription: &mut Subscription) -> Notice {
    tokio::time::timeout(SOON, subscription.next())
        .await
        .expect("a notice")
        .expect("the subscription goes on")
}

async fn message(subscription: &mut Subscription) -> Message {
    match next(subscription).await {
        Notice::Message(message) => message,
        other => panic!("a message, not {other:?}"),
    }
}

/// Waits for the announcement of a gap, over whatever comes before.
async fn gap(subscription: &mut Subscription) -> String {
    loop {
        if let Notice::Gap { node, .. } = next(subscription).await {
            return node.to_string();
        }
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Connections that listen, over all servers that are up.
fn listeners(servers: &[Server]) -> usize {
    servers
        .iter()
        .filter(|s| s.pid().is_some())
        .flat_map(Server::clients)
        .filter(|c| !c.contains(" sub=0 psub=0 "))
        .count()
}

#[tokio::test]
async fn what_is_published_arrives_from_the_channels_own_node() {
    let servers: [Server; 3] = fleet();
    let mut cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let channels: Vec<String> = (0..30).map(|n| format!("news{n}")).collect();
    let mut news = cluster.subscribe(&channels).await.unwrap();
    assert_eq!(listeners(&servers), 3, "one connection per node");
    for (n, channel) in channels.iter().enumerate() {
        let heard: i64 = cluster.publish(channel, n).await.unwrap();
        assert_eq!(heard, 1, "{channel}");
        let message = message(&mut news).await;
        assert_eq!(message.node, cluster.get_node(channel).unwrap());
        assert_eq!(
            (text(&message.channel), text(&message.payload)),
            (&**channel, &*n.to_string())
        );
        assert_eq!(message.pattern, None);
    }
    // A large message arrives in many pieces.
    let large = vec![b'x'; 3 << 20];
    let _: i64 = cluster.publish("news0", &large).await.unwrap();
    assert_eq!(message(&mut news).await.payload, large);
    drop(news);
    eventually(SOON, || listeners(&servers) == 0).await;
}

#[tokio::test]
async fn patterns_are_heard_on_every_node() {
    let servers: [Server; 3] = fleet();
    let mut cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let mut all = cluster.psubscribe(["news*"]).await.unwrap();
    for n in 0..30 {
        let channel = format!("news{n}");
        let _: i64 = cluster.publish(&channel, "x").await.unwrap();
        let message = message(&mut all).await;
        assert_eq!(message.node, cluster.get_node(&channel).unwrap());
        assert_eq!(message.pattern.as_deref(), Some(&b"news*"[..]));
        assert_eq!(text(&message.channel), channel);
    }
    // Published past the cluster, on another node than the channel's.
    for server in &servers {
        server.raw(["PUBLISH", "news", "direct"]);
        assert_eq!(message(&mut all).await.node, *server.name());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sharded_channels_are_apart_from_the_others_and_move_as_they_do() {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let mut news = cluster.ssubscribe(["news"]).await.unwrap();
    let mut plain = cluster.subscribe(["news"]).await.unwrap();
    let say = async |verb: &str, what: &str| {
        let mut cmd = redis::cmd(verb);
        cluster.run::<i64>(cmd.arg("news").arg(what)).await.unwrap()
    };
    assert_eq!(say("PUBLISH", "plain").await, 1);
    assert_eq!(say("SPUBLISH", "sharded").await, 1);
    let owner = cluster.get_node("news").unwrap();
    let (heard, other) = (message(&mut news).await, message(&mut plain).await);
    assert_eq!((text(&heard.payload), &heard.node), ("sharded", &owner));
    assert_eq!((text(&heard.channel), heard.pattern), ("news", None));
    assert_eq!((text(&other.payload), other.node), ("plain", owner.clone()));

    let server = servers.iter().find(|s| owner == *s.name()).unwrap();
    server.kill();
    let stand_in = gap(&mut news).await;
    assert_eq!(cluster.get_node("news").unwrap(), *stand_in);
    assert_eq!(say("SPUBLISH", "from the stand-in").await, 1);
    let heard = message(&mut news).await;
    assert_eq!(
        (text(&heard.payload), heard.node),
        ("from the stand-in", cluster.get_node("news").unwrap())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_moves_to_the_stand_in_and_back_and_says_so() {
    let servers: [Server; 3] = fleet();
    let mut cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let mut news = cluster.subscribe(["news"]).await.unwrap();
    let mut all = cluster.psubscribe(["*"]).await.unwrap();
    let owner = cluster.get_node("news").unwrap();
    let server = servers.iter().find(|s| owner == *s.name()).unwrap();
    let killed = std::time::Instant::now();
    server.kill();
    let stand_in = gap(&mut news).await;
    println!("listens at the stand-in after {:?}", killed.elapsed());
    assert_eq!(cluster.get_node("news").unwrap(), *stand_in);
    assert_eq!(
        cluster
            .publish::<_, _, i64>("news", "from the stand-in")
            .await
            .unwrap(),
        2
    );
    assert_eq!(message(&mut news).await.node, *stand_in);
    assert_eq!(message(&mut all).await.node, *stand_in);

    server.restart();
    assert_eq!(gap(&mut news).await, owner.to_string());
    assert_eq!(gap(&mut all).await, owner.to_string());
    assert_eq!(cluster.get_node("news").unwrap(), owner);
    assert_eq!(
        cluster
            .publish::<_, _, i64>("news", "from home")
            .await
            .unwrap(),
        2
    );
    let message = message(&mut news).await;
    assert_eq!((message.node, text(&message.payload)), (owner, "from home"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_or_falls_silent_is_replaced() {
    let servers: [Server; 2] = fleet();
    let mut cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let mut news = cluster.subscribe(["news"]).await.unwrap();
    let owner = cluster.get_node("news").unwrap();
    let server = servers.iter().find(|s| owner == *s.name()).unwrap();
    server.raw(["CLIENT", "KILL", "TYPE", "pubsub"]);
    assert_eq!(gap(&mut news).await, owner.to_string());
    assert_eq!(
        cluster.publish::<_, _, i64>("news", "again").await.unwrap(),
        1
    );
    assert_eq!(text(&message(&mut news).await.payload), "again");
    // Nobody sends it anything: only the subscription can notice.
    server.stop();
    tokio::time::timeout(Duration::from_secs(15), gap(&mut news))
        .await
        .expect("noticed");
    server.cont();
}

#[tokio::test]
async fn a_removed_node_loses_its_channels_and_an_added_one_gets_its_own() {
    let servers: [Server; 3] = fleet();
    let mut cluster = FlusterCluster::from_urls(urls(&servers[..2])).unwrap();
    let channels: Vec<String> = (0..40).map(|n| format!("news{n}")).collect();
    let mut news = cluster.subscribe(&channels).await.unwrap();
    cluster
        .add_node(fluster::Node::new(servers[2].url()).unwrap())
        .unwrap();
    assert_eq!(gap(&mut news).await, servers[2].name());
    cluster.remove_node(servers[0].name()).unwrap();
    gap(&mut news).await;
    eventually(SOON, || listeners(&servers[..1]) == 0).await;
    eventually(SOON, || listeners(&servers) == 2).await;
    for channel in &channels {
        assert_eq!(
            cluster.publish::<_, _, i64>(channel, "x").await.unwrap(),
            1,
            "{channel}"
        );
    }
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_told_that_it_missed_something() {
    let servers: [Server; 1] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let mut news = cluster.subscribe(["news"]).await.unwrap();
    let mut pipe = redis::pipe();
    for n in 0..3_000 {
        pipe.cmd("PUBLISH").arg("news").arg(n);
    }
    assert!(
        cluster
            .pipeline(&pipe)
            .await
            .unwrap()
            .iter()
            .all(|r| *r.as_ref().unwrap() == Value::Int(1))
    );
    let mut came = 0;
    loop {
        match next(&mut news).await {
            Notice::Message(m) => {
                assert_eq!(text(&m.payload), came.to_string(), "in order");
                came += 1;
            }
            Notice::Gap { node, .. } => {
                assert_eq!(node, *servers[0].name());
                break;
            }
            _ => {}
        }
    }
    assert!((1_000..3_000).contains(&came), "{came}");
}

#[tokio::test]
async fn a_subscription_ends_with_the_cluster_and_needs_a_node_to_begin() {
    let servers: [Server; 2] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let mut news = cluster.subscribe(["news"]).await.unwrap();
    cluster.shutdown(Duration::ZERO).await;
    assert!(news.next().await.is_none());
    eventually(SOON, || listeners(&servers) == 0).await;
    let error = cluster.subscribe(["news"]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);

    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let error = cluster.subscribe::<&str>([]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    servers.iter().for_each(Server::kill);
    let error = cluster.subscribe(["news"]).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::ClusterEmpty | ErrorKind::Connect),
        "{error:?}"
    );
}

/// How often the server has refused something to our user.
fn refusals(server: &Server) -> usize {
    let stats = server.raw(["INFO", "errorstats"]);
    let count = stats.split("errorstat_NOPERM:count=").nth(1);
    let digits = count.map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    digits.flatten().map_or(0, |n| n.parse().expect("a number"))
}

#[tokio::test]
async fn a_channel_that_our_user_may_not_hear_is_refused_at_once() {
    let servers: [Server; 1] = fleet();
    servers[0].raw(["ACL", "SETUSER", "default", "resetchannels"]);
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let error = cluster.subscribe(["news"]).await.unwrap_err();
    assert_eq!(error.outcome(), fluster::Outcome::Answered, "{error:?}");
    assert!(error.to_string().contains("no permissions"), "{error}");
    assert_eq!(refusals(&servers[0]), 1, "asked once");
}

#[tokio::test]
async fn a_subscription_that_is_refused_again_and_again_is_tried_ever_more_rarely_and_comes_back() {
    let servers: [Server; 1] = fleet();
    let mut cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let mut news = cluster.subscribe(["news"]).await.unwrap();
    let before = servers[0].info("total_connections_received");
    // Who hears what it may not hear any more is hung up on.
    servers[0].raw(["ACL", "SETUSER", "default", "resetchannels"]);
    eventually(SOON, || refusals(&servers[0]) > 0).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    // After 0, 100, 300, 700, 1500 and 3100 ms; each over a new connection; and those that ask here.
    let tries = refusals(&servers[0]);
    assert!((3..=8).contains(&tries), "{tries} tries in 3 s");
    let made = servers[0].info("total_connections_received") - before;
    assert!(made < 1_000, "{made} connections");
    servers[0].raw(["ACL", "SETUSER", "default", "allchannels"]);
    assert_eq!(gap(&mut news).await, servers[0].name());
    let heard: i64 = cluster.publish("news", "again").await.unwrap();
    assert_eq!(heard, 1);
    assert_eq!(text(&message(&mut news).await.payload), "again");
}
