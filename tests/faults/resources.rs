//! Limits and credentials of a server change: rows 29 to 31 and 33 to 35.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fluster::{
    Credentials, CredentialsFuture, CredentialsProvider, ErrorKind, FlusterCluster, NodeId,
    NodeState, Outcome, Reason,
};
use parking_lot::Mutex;
use redis::RedisResult;

use super::rig::{Kind, Record, SOON, Scene, ms, pass, scene, slack};
use crate::support::{Server, eventually, fleet, urls};

/// The server is full: the reason reaches the caller, whoever is connected goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn maxclients() {
    // One is the test's own look at it.
    let servers = [Server::builder().arg("--maxclients", "9").start()];
    let scene = scene("29 maxclients", &servers).await;
    let title = scene.name();
    // The other process.
    let other = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let mut theirs = Vec::new();
    for _ in 0..3 {
        theirs.push(other.get_client("k").unwrap().dedicated().await.unwrap());
    }
    let load = scene.load_of(Kind::Echo, 8);
    let client = scene.cluster.get_client("k").unwrap();
    scene.strike(|| ());
    let mut held = Vec::new();
    let mut refused = Vec::new();
    for _ in 0..12 {
        match client.dedicated().await {
            Ok(own) => held.push(own),
            Err(e) => refused.push(e),
        }
        // Dials that failed have a gap between them.
        pass(ms(110)).await;
    }
    assert!(
        held.len() >= 3 && refused.len() >= 3,
        "{title}: {} and {}",
        held.len(),
        refused.len()
    );
    let text = refused[0].to_string();
    assert!(text.contains("max number of clients"), "{title}: {text}");
    assert_eq!(refused[0].outcome(), Outcome::Rejected, "{title}: {text}");
    for own in held.iter_mut().chain(&mut theirs) {
        let echo: String = redis::cmd("ECHO").arg("x").query_async(own).await.unwrap();
        assert_eq!(echo, "x", "{title}: who is connected goes on");
    }
    assert_eq!(scene.ejections(), 0, "{title}: a full server is alive");
    drop(held);
    drop(theirs);
    other.shutdown(Duration::ZERO).await;
    let record = scene.let_be(8).end(load, &servers).await;
    assert_eq!(
        record.failed().count(),
        0,
        "{title}: the lane goes on: {:?}",
        record.texts
    );
}

/// Gives what the test says, and counts how often it was asked.
#[derive(Clone, Default)]
struct Vault(Arc<Mutex<(String, u64)>>);

impl Vault {
    fn put(&self, password: &str) {
        self.0.lock().0 = password.to_owned();
    }

    fn asked(&self) -> u64 {
        self.0.lock().1
    }
}

impl CredentialsProvider for Vault {
    fn credentials<'a>(&'a self, _node: &'a NodeId) -> CredentialsFuture<'a> {
        let mut vault = self.0.lock();
        vault.1 += 1;
        let password = vault.0.clone();
        Box::pin(async move { Ok(Credentials::password(password)) })
    }
}

/// The password changes: the connections there are go on; new ones are refused, rarely tried, and
/// succeed as soon as the provider knows the new password.
///
/// The limit of one attempt every two seconds holds while another node serves. When none does, the
/// rule for demand wins (one probe every 500 ms), which is how the node is back soon in the end; and
/// each attempt asks the provider twice, since a token may have been renewed a moment ago.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn auth_rotation() {
    let servers = fleet::<2>();
    for server in &servers {
        server.raw(["CONFIG", "SET", "requirepass", "old"]);
    }
    let vault = Vault::default();
    vault.put("old");
    let cluster = FlusterCluster::builder()
        .urls(urls(&servers))
        .credentials(vault.clone())
        .build()
        .unwrap();
    let mut scene = Scene::begin("30 auth_rotation", cluster).await;
    let title = scene.name();
    scene.limits.ids = false;
    let node = servers[0].name();
    let client = scene.cluster.get_client(scene.key_of(&node)).unwrap();
    let mut own = client.dedicated().await.unwrap();
    let load = scene.load_of(Kind::Echo, 16);
    pass(ms(100)).await;
    scene.strike(|| {
        let mut raw = servers[0].connect().expect("connect");
        raw.call(["AUTH", "old"]).expect("an answer");
        let set = raw.call(["CONFIG", "SET", "requirepass", "new"]);
        assert_eq!(set.expect("an answer").to_string(), "OK");
    });
    pass(ms(200)).await;
    assert_eq!(load.errors(), 0, "{title}: the lane goes on");
    let echo: String = redis::cmd("ECHO")
        .arg("x")
        .query_async(&mut own)
        .await
        .unwrap();
    assert_eq!(echo, "x", "{title}: and so does the exclusive connection");

    let asked = vault.asked();
    let e = client.dedicated().await.expect_err("the old password");
    assert_eq!(
        (e.kind(), e.outcome()),
        (ErrorKind::Config, Outcome::NotSent),
        "{title}: {e}"
    );
    assert!(
        e.to_string().contains("WRONGPASS"),
        "{title}: the reason is said: {e}"
    );
    assert!(
        !e.to_string().contains("old"),
        "{title}: but not the password: {e}"
    );
    assert_eq!(
        vault.asked() - asked,
        2,
        "{title}: the provider was asked once more"
    );
    let status = scene.cluster.status();
    assert_eq!(
        status.node(&node).unwrap().reason,
        Some(Reason::Config),
        "{title}"
    );
    // A refused password is not tried over and over, however many ask for the node's keys.
    let asked = vault.asked();
    pass(ms(1_500)).await;
    assert!(
        vault.asked() - asked <= 2,
        "{title}: {} attempts in 1.5 s",
        vault.asked() - asked
    );
    vault.put("new");
    let known = Instant::now();
    servers[1].kill();
    let back = scene.back(&node, known).await;
    assert!(
        back - known <= slack(ms(1_500)),
        "{title}: back after {:?}",
        back - known
    );
    let mut fresh = client.dedicated().await.expect("the new password");
    let echo: String = redis::cmd("ECHO")
        .arg("y")
        .query_async(&mut fresh)
        .await
        .unwrap();
    assert_eq!(echo, "y");
    drop((own, fresh));
    scene.let_be(2).end(load, &servers).await;
}

/// With the new password known before the first refusal there is no outage at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn auth_rotation_without_outage() {
    let servers = fleet::<1>();
    servers[0].raw(["CONFIG", "SET", "requirepass", "old"]);
    let vault = Vault::default();
    vault.put("old");
    let cluster = FlusterCluster::builder()
        .urls(urls(&servers))
        .credentials(vault.clone())
        .build()
        .unwrap();
    let mut scene = Scene::begin("30 auth_rotation_known", cluster).await;
    scene.limits.ids = false;
    let load = scene.load_of(Kind::Own, 8);
    scene.strike(|| {
        let mut raw = servers[0].connect().expect("connect");
        raw.call(["AUTH", "old"]).expect("an answer");
        vault.put("new");
        raw.call(["CONFIG", "SET", "requirepass", "new"])
            .expect("an answer");
        raw.call(["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
            .expect("an answer");
    });
    pass(ms(500)).await;
    let ejections = scene.ejections();
    let record = scene.let_be(16).end(load, &servers).await;
    assert_eq!(ejections, 0, "30 auth_rotation: {:?}", record.texts);
    // The kill may also hit a connection that is being made; then nobody dials for 100 ms, and each of
    // the eight tasks is told so, every 5 ms.
    let paused = |text: &str| text.contains("connecting failed a moment ago");
    let sum = |wanted: bool| -> usize {
        let texts = record
            .texts
            .iter()
            .filter(|(text, _)| paused(text) == wanted);
        texts.map(|(_, count)| *count).sum()
    };
    let dial_was_hit = record
        .texts
        .iter()
        .any(|(text, _)| text.contains("cannot connect"));
    assert!(
        sum(false) <= 8 && sum(true) <= if dial_was_hit { 8 * 100 / 5 } else { 0 },
        "30 auth_rotation: {:?}",
        record.texts
    );
}

/// The user is deleted: the server closes its connections, and the reason is the configuration.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acl_user_deleted() {
    let servers = fleet::<2>();
    let user =
        |server: &Server| server.raw(["ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all"]);
    servers.iter().for_each(|s| drop(user(s)));
    let nodes = servers
        .each_ref()
        .map(|s| format!("redis://app:pw@{}", s.name()));
    let scene = Scene::begin(
        "31 acl_user_deleted",
        FlusterCluster::from_urls(nodes).unwrap(),
    )
    .await;
    let title = scene.name();
    let node = servers[0].name();
    let load = scene.load();
    pass(ms(200)).await;
    let strike = scene.strike(|| servers[0].raw(["ACL", "DELUSER", "app"]));
    let out = scene.out(&node, strike.began).await;
    let status = scene.cluster.status();
    assert_eq!(
        status.node(&node).unwrap().reason,
        Some(Reason::Config),
        "{title}"
    );
    assert!(
        !status.node(&node).unwrap().connected,
        "{title}: its connections are gone"
    );
    user(&servers[0]);
    scene.back(&node, out).await;
    let record = scene.end(load, &servers).await;
    record.only_calls_of(title, &node, strike.began, out);
    let errors = record.failed().count();
    assert!(errors <= 64, "{title}: {errors} errors: {:?}", record.texts);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_kill_type_normal() {
    let servers = fleet::<3>();
    let scene = scene("33 client_kill_type_normal", &servers).await;
    let title = scene.name();
    let kill = || servers[0].raw(["CLIENT", "KILL", "TYPE", "normal"]);
    // Idle: nobody notices.
    let mut client = scene
        .cluster
        .get_client(scene.key_of(&servers[0].name()))
        .unwrap();
    for _ in 0..3 {
        let _: String = redis::cmd("PING").query_async(&mut client).await.unwrap();
        kill();
        // The server answers before it closes them; and a lane is idle after a millisecond.
        eventually(SOON, || servers[0].clients().is_empty()).await;
        pass(ms(5)).await;
        let n: RedisResult<i64> = redis::cmd("INCR").arg("n").query_async(&mut client).await;
        n.unwrap_or_else(|e| panic!("{title}: idle: {e}"));
    }
    // Under load: at most what was in flight.
    let load = scene.load();
    pass(ms(200)).await;
    let node = servers[0].name();
    let strike = scene.strike(kill);
    pass(ms(500)).await;
    scene.active(3).await;
    let ejections = scene.ejections();
    let record = scene.end(load, &servers).await;
    let errors = record.failed().count();
    assert!(errors <= 64, "{title}: {errors} errors: {:?}", record.texts);
    assert_eq!(ejections, 0, "{title}: the server lives");
    record.only_calls_of(title, &node, strike.began, strike.ended + slack(ms(20)));
}

/// The server closes what is idle for a second; an application that is idle for longer never sees it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_timeout() {
    let servers = fleet::<2>();
    let scene = scene("34 server_timeout_1s", &servers).await;
    let title = scene.name();
    scene.strike(|| {
        for server in &servers {
            server.raw(["CONFIG", "SET", "timeout", "1"]);
        }
    });
    let mut record = Record::default();
    let keys: Vec<_> = servers.iter().map(|s| scene.key_of(&s.name())).collect();
    for key in &keys {
        let client = scene.cluster.get_client(key).unwrap();
        let _held: Vec<_> = [
            client.dedicated().await.unwrap(),
            client.dedicated().await.unwrap(),
        ]
        .into();
    }
    let idle = Instant::now();
    let gone = || servers.iter().all(|s| s.clients().is_empty());
    eventually(Duration::from_secs(6), gone).await;
    assert!(
        idle.elapsed() >= ms(900),
        "{title}: the server closed them after their second"
    );
    for key in &keys {
        let mut client = scene.cluster.get_client(key).unwrap();
        for n in 1..=4 {
            let began = Instant::now();
            let incr = redis::cmd("INCR").arg("n").to_owned();
            let result = match n % 2 {
                1 => incr.query_async::<i64>(&mut client).await,
                _ => {
                    incr.query_async::<i64>(&mut client.dedicated().await.unwrap())
                        .await
                }
            };
            record.note(began, Some(client.node().clone()), &result);
            assert_eq!(result.unwrap_or_else(|e| panic!("{title}: {e}")), n);
        }
    }
    assert_eq!(scene.ejections(), 0, "{title}");
    scene.let_be(4).finish(record, &servers).await;
}

/// Writes are held back: they time out, and may be applied later; reads on another connection go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_pause_write() {
    let servers = fleet::<1>();
    let scene = scene("35 client_pause_write", &servers).await;
    let title = scene.name();
    // The readers' lane; whoever writes over it would hold them up behind its write.
    let load = scene.load_of(Kind::Echo, 16);
    let client = scene.cluster.get_client("k").unwrap();
    let own = client.dedicated().await.unwrap();
    scene.strike(|| servers[0].raw(["CLIENT", "PAUSE", "1500", "WRITE"]));
    let mut held = vec![own, client.dedicated().await.unwrap()];
    for own in &mut held {
        let result = redis::cmd("INCR").arg("n").query_async::<i64>(own).await;
        let e = result.expect_err("writes are paused");
        let e = fluster::Error::from_redis(&e).expect("an error of ours");
        assert_eq!(
            (e.kind(), e.outcome()),
            (ErrorKind::Timeout, Outcome::MaybeExecuted),
            "{title}"
        );
    }
    let status = scene.cluster.status();
    assert_eq!(
        (status.nodes[0].state, status.nodes[0].ejections),
        (NodeState::Up, 0),
        "{title}"
    );
    let mut raw = servers[0].connect().unwrap();
    // A server forgets the held-back write of a connection that closes; these stay open.
    eventually(Duration::from_secs(5), || {
        raw.call(["GET", "n"]).is_ok_and(|n| n.to_string() == "2")
    })
    .await;
    drop(held);
    let record = scene.let_be(2).end(load, &servers).await;
    assert_eq!(
        record.failed().count(),
        0,
        "{title}: the readers: {:?}",
        record.texts
    );
}
