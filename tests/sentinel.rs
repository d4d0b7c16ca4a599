//! Nodes behind real sentinels: failovers under load, sentinels that are down, lie, want passwords, have names.

mod failover;

use std::time::Duration;

use fluster::{FlusterCluster, Node};
use redis::AsyncCommands;

use crate::support::{
    Fake, Manner, Pair, Sentinel, Server, TlsPki, Watched, bulk, eventually, eventually_some,
};
use crate::workload::SOON;

fn url(sentinels: &[Sentinel], master: &str) -> String {
    let hosts: Vec<_> = sentinels.iter().map(Sentinel::name).collect();
    format!("redis+sentinel://{}/{master}", hosts.join(","))
}

/// The error of the first command, as an operator reads it.
async fn refusal(url: &str) -> String {
    let cluster = FlusterCluster::from_urls([url]).unwrap();
    let ran = cluster
        .run::<Option<String>>(redis::cmd("GET").arg("k"))
        .await;
    let error = ran.expect_err(url);
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_is_found_where_its_sentinels_say_under_its_own_name() {
    let pair = Pair::start();
    let watched = [Watched::new("mymaster", &pair.master)];
    let sentinels = Sentinel::three(&watched);
    let hosts = sentinels.iter().map(Sentinel::name);
    let node = Node::sentinel("mymaster", hosts).unwrap();
    let cluster = FlusterCluster::builder().node(node).build().unwrap();
    let before = cluster.status().nodes[0].address.clone();
    assert!(before.starts_with("mymaster@127.0.0.1:"), "{before}");
    let _: () = cluster
        .run(redis::cmd("SET").arg("k").arg("v"))
        .await
        .unwrap();
    assert_eq!(pair.master.get("k").as_deref(), Some("v"));
    let status = cluster.status();
    assert_eq!(status.nodes[0].name, "mymaster");
    assert_eq!(status.nodes[0].address, pair.master.name());
    // Each sentinel has a subscriber, which is gone when the cluster is.
    let subscribers = |sentinel: &Sentinel| {
        let clients: String = sentinel.ask(&["CLIENT", "LIST"]).expect("an answer");
        clients
            .lines()
            .filter(|line| line.contains(" sub=4 "))
            .count()
    };
    eventually(SOON, || sentinels.iter().all(|s| subscribers(s) == 1)).await;
    cluster.shutdown(Duration::from_secs(5)).await;
    eventually(SOON, || sentinels.iter().all(|s| subscribers(s) == 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_that_are_down_cost_nothing_while_one_answers_and_are_named_when_none_does() {
    let pair = Pair::start();
    let watched = [Watched::new("m", &pair.master)];
    let sentinels = Sentinel::three(&watched);
    // One is gone, one stands still: what is left of a second is enough for a dial.
    sentinels[0].kill();
    sentinels[1].stop();
    let url = url(&sentinels, "m");
    let cluster = FlusterCluster::from_urls([&url]).unwrap();
    let mut client = cluster.get_client("k").unwrap();
    eventually_some(SOON, async || client.set::<_, _, ()>("k", 1).await.ok()).await;
    // Without any, the last address serves, old connections and new ones.
    sentinels[2].kill();
    let mut own = eventually_some(SOON, async || client.dedicated().await.ok()).await;
    let _: () = own.set("k", 2).await.unwrap();
    let _: () = client.set("k", 3).await.unwrap();
    // Who starts now is told which ones do not answer, and why.
    let text = refusal(&url).await;
    assert!(
        text.contains("no sentinel names the master \"m\""),
        "{text}"
    );
    for sentinel in &sentinels {
        assert!(text.contains(&sentinel.name()), "{text}");
    }
    // And is served as soon as one is back.
    let late = FlusterCluster::from_urls([&url]).unwrap();
    late.run::<()>(&redis::cmd("PING"))
        .await
        .expect_err("nobody knows");
    sentinels[0].restart();
    let get = || redis::cmd("GET").arg("k").to_owned();
    let value = eventually_some(SOON, async || late.run::<i64>(&get()).await.ok()).await;
    assert_eq!(value, 3);
    sentinels[1].cont();
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_and_master_have_passwords_of_their_own() {
    let [master, replica] = std::array::from_fn(|_| {
        Server::builder()
            .password("of-the-master")
            .arg("--masterauth", "of-the-master")
            .start()
    });
    let pair = Pair::of(master, replica);
    let watched = [Watched {
        password: Some("of-the-master"),
        ..Watched::new("m", &pair.master)
    }];
    let manner = Manner {
        password: Some("of-the-sentinel"),
        ..Manner::default()
    };
    let sentinel = Sentinel::start(&watched, 1, &manner);
    let at = sentinel.name();
    let good = format!("redis+sentinel://:of-the-master@{at}/m?sentinel_password=of-the-sentinel");
    let cluster = FlusterCluster::from_urls([&good]).unwrap();
    let _: () = cluster
        .run(redis::cmd("SET").arg("k").arg("v"))
        .await
        .unwrap();
    assert_eq!(pair.master.get("k").as_deref(), Some("v"));
    for (url, needle) in [
        (format!("redis+sentinel://:of-the-master@{at}/m"), "NOAUTH"),
        (
            format!("redis+sentinel://:of-the-master@{at}/m?sentinel_password=hunter2"),
            "refuses the question (WRONGPASS",
        ),
        (
            format!("redis+sentinel://{at}/nobody?sentinel_password=of-the-sentinel"),
            "watches no master of that name",
        ),
        (
            format!("redis+sentinel://:hunter2@{at}/m?sentinel_password=of-the-sentinel"),
            "WRONGPASS",
        ),
    ] {
        let text = refusal(&url).await;
        assert!(text.contains(needle), "{needle}: {text}");
        assert!(
            !text.contains("hunter2") && !text.contains("of-the"),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_that_call_hosts_by_name_are_followed_by_name() {
    let pair = Pair::start();
    let watched = [Watched {
        host: "localhost",
        ..Watched::new("m", &pair.master)
    }];
    let manner = Manner {
        by_name: true,
        ..Manner::default()
    };
    let sentinel = Sentinel::start(&watched, 1, &manner);
    let named: Vec<String> = sentinel
        .ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "m"])
        .expect("an address");
    assert_eq!(named[0], "localhost");
    let hosts = [format!("localhost:{}", sentinel.port())];
    let node = Node::sentinel("m", hosts).unwrap();
    let cluster = FlusterCluster::builder().node(node).build().unwrap();
    let _: () = cluster
        .run(redis::cmd("SET").arg("k").arg("v"))
        .await
        .unwrap();
    assert_eq!(pair.master.get("k").as_deref(), Some("v"));
}

#[cfg(feature = "tls")]
#[tokio::test(flavor = "multi_thread")]
async fn sentinels_and_master_speak_tls_and_are_verified() {
    let pki = TlsPki::new();
    let server = Server::builder().tls(&pki).start();
    let manner = Manner {
        tls: Some(&pki),
        ..Manner::default()
    };
    let sentinel = Sentinel::start(&[Watched::new("m", &server)], 1, &manner);
    let url = format!("rediss+sentinel://{}/m", sentinel.name());
    let trusting = |ca: &TlsPki| {
        let tls = fluster::Tls::new().ca_file(ca.ca());
        FlusterCluster::builder()
            .urls([&url])
            .tls(tls)
            .build()
            .unwrap()
    };
    let set = redis::cmd("SET").arg("k").arg("v").to_owned();
    let _: () = trusting(&pki).run(&set).await.unwrap();
    assert_eq!(server.get("k").as_deref(), Some("v"));
    let stranger = TlsPki::new();
    trusting(&stranger)
        .run::<()>(&set)
        .await
        .expect_err("another authority");
}

/// A sentinel that says what it wants: this is the master, and nobody has newer news.
fn liar(port: u16) -> Fake {
    Fake::start(move |words| {
        let named = ["127.0.0.1".to_owned(), port.to_string()]
            .map(|w| bulk(&w))
            .concat();
        let about = ["config-epoch", "99"].map(bulk).concat();
        Some(
            match words.get(1).map(|word| word.to_uppercase()).as_deref() {
                Some("GET-MASTER-ADDR-BY-NAME") => format!("*2\r\n{named}"),
                Some("MASTER") => format!("*2\r\n{about}"),
                _ => "+OK\r\n".into(),
            },
        )
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_that_calls_a_replica_the_master_is_not_believed() {
    let pair = Pair::start();
    let watched = [Watched::new("m", &pair.master)];
    let sentinel = Sentinel::start(&watched, 1, &Manner::default());
    let lie = liar(pair.replica.port());
    let at = lie.url().replace("redis://", "");
    let both = [at.clone(), sentinel.name()];
    let node = Node::sentinel("m", both).unwrap();
    let cluster = FlusterCluster::builder().node(node).build().unwrap();
    for n in 0..20 {
        let set = redis::cmd("SET").arg("k").arg(n).to_owned();
        eventually_some(SOON, async || cluster.run::<()>(&set).await.ok()).await;
    }
    assert_eq!(pair.master.get("k").as_deref(), Some("19"));
    assert_eq!(cluster.status().nodes[0].address, pair.master.name());
    // Where it is the only one, whoever asks is told what is wrong.
    let text = refusal(&format!("redis+sentinel://{at}/m")).await;
    assert!(
        text.contains("called the master") && text.contains("slave"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_sentinel_is_named_with_what_it_said_on_one_line() {
    let plain = Server::start();
    let odd = Fake::start(|_| Some("*2\r\n$7\r\n\u{1b}[31m\r\n\r\n$1\r\n1\r\n".into()));
    let noise = Fake::start(|_| Some("\u{1b}[31mHTTP/1.1 400\r\n\r\n".into()));
    let flood = Fake::start(|_| Some("*1000000000\r\n".into()));
    let name = |fake: &Fake| fake.url().replace("redis://", "");
    for host in [plain.name(), name(&odd), name(&noise), name(&flood)] {
        let text = refusal(&format!("redis+sentinel://{host}/m")).await;
        assert!(!text.contains(char::is_control), "{text:?}");
        let needle = format!("{host} does not answer as a sentinel does");
        assert!(text.contains(&needle), "{needle}: {text}");
    }
}
