//! A server answers, but slowly, or that it cannot or will not: rows 21 to 28.

use std::time::{Duration, Instant};

use fluster::{FlusterCluster, Reason, Refusals};

use super::aside::{T, fill, key_of, status_of};
use super::proxy::Fault;
use super::rig::{Kind, Load, Record, SOON, Scene, Site, ms, pass, scene, slack};
use crate::support::{PortClaim, Server, eventually, urls};

/// Three servers, the first one with these options. Nobody kills them: they need no files.
fn servers(options: &[(&str, &str)]) -> [Server; 3] {
    std::array::from_fn(|i| {
        let options = if i == 0 { options } else { &[] };
        let all = options
            .iter()
            .fold(Server::builder(), |b, (option, value)| b.arg(option, value));
        all.start()
    })
}

/// Slow is not dead. The mark takes three windows of 5 s: see the long form.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_200ms() {
    let site = Site::new();
    let scene = site.scene("21 slow_200ms").await;
    let strike = scene.strike(|| site.proxy.set(Fault::Delay(ms(200))));
    // The proxy delays batches: a few callers, so that its answers do not queue up.
    let load = scene.load_of(Kind::Mixed, 16);
    pass(ms(2_000)).await;
    assert!(site.proxy.fired() > 5, "21 slow_200ms: nothing was slow");
    let ejections = scene.ejections();
    let node = site.proxy.name();
    let record = scene.end(load, &site.servers).await;
    assert_eq!(ejections, 0, "21 slow_200ms");
    assert_eq!(record.failed().count(), 0, "{:?}", record.kinds());
    assert!(record.under_way(&node, strike.began, Instant::now()) > 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes 40 s: make soak"]
async fn long_slow_200ms() {
    let site = Site::new();
    let scene = site.scene("21 slow_200ms").await;
    let node = site.proxy.name();
    let load = scene.load_of(Kind::Mixed, 16);
    pass(ms(1_000)).await;
    let strike = scene.strike(|| site.proxy.set(Fault::Delay(ms(200))));
    eventually(Duration::from_secs(25), || {
        status_of(&scene.cluster, &node).degraded
    })
    .await;
    let marked = strike.ended.elapsed();
    site.proxy.set(Fault::Pass);
    let healed = Instant::now();
    eventually(Duration::from_secs(25), || {
        !status_of(&scene.cluster, &node).degraded
    })
    .await;
    let cleared = healed.elapsed();
    let ejections = scene.ejections();
    let record = scene.end(load, &site.servers).await;
    assert_eq!((ejections, record.failed().count()), (0, 0));
    // Three windows of 5 s, and what was left of the one that was under way; the ticks drift a little.
    let drift = ms(200);
    assert!(
        marked <= Duration::from_secs(20) + drift,
        "marked after {marked:?}"
    );
    assert!(
        cleared <= Duration::from_secs(15) + drift,
        "cleared after {cleared:?}"
    );
}

/// Slower than anybody waits: out, and its probes see why it must stay there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_700ms() {
    let site = Site::new();
    let scene = site.scene("22 slow_700ms").await;
    let title = scene.name();
    let node = site.proxy.name();
    let load = scene.load();
    pass(ms(300)).await;
    let strike = scene.strike(|| site.proxy.set(Fault::Delay(ms(700))));
    let out = scene.out(&node, strike.began).await;
    let mut budget = scene.budget(&node);
    budget.first_second(title).await;
    assert_eq!(
        status_of(&scene.cluster, &node).ejections,
        1,
        "{title}: it flaps"
    );
    site.proxy.set(Fault::Pass);
    let healed = Instant::now();
    let back = scene.back(&node, healed).await;
    let record = scene.end(load, &site.servers).await;
    record.only_calls_of(title, &node, strike.began, out);
    // Three strikes are three time-outs whose commands were sent over one response time-out.
    assert!(
        out - strike.ended <= slack(2 * T + ms(150)),
        "{title}: out after {:?}",
        out - strike.ended
    );
    assert!(
        back - healed <= slack(ms(5_200)),
        "{title}: back after {:?}",
        back - healed
    );
}

/// The flap rule: five ejections in a minute, then a hold of half a minute.
const FLAPS: u64 = 5;

/// A third of the new connections fall silent after a few replies: errors surface, and either verdict
/// is fine, but not one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gray_connections_30() {
    let site = Site::new();
    let scene = site.scene("23 gray_connections_30").await;
    let fault = Fault::Gray {
        percent: 30,
        after: 200,
    };
    scene.strike(|| site.proxy.set(fault));
    // Who is connected already would never notice. Exclusive connections, 16 a node: new ones take the
    // place of those that fell silent.
    site.proxy.reset_all();
    let load = scene.load_of(Kind::Own, 32);
    pass(ms(2_000)).await;
    assert!(site.proxy.fired() > 0, "23: nobody fell silent");
    site.proxy.set(Fault::Pass);
    site.proxy.reset_all();
    scene.active(3).await;
    assert!(scene.ejections() <= FLAPS, "23: it flaps");
    scene.let_be(48).end(load, &site.servers).await;
}

/// One call on a connection of its own; its reply is longer than what a gray connection lets through.
async fn on_a_new_connection(cluster: &FlusterCluster, key: &str) -> Record {
    let token = format!("{key} {:300}", "");
    let mut record = Record::default();
    let began = Instant::now();
    let client = cluster.get_client(key).unwrap();
    let result = match client.dedicated().await {
        Ok(mut own) => redis::cmd("ECHO").arg(&token).query_async(&mut own).await,
        Err(e) => Err(e.into()),
    };
    record.note(began, Some(client.node().clone()), &result);
    if let Ok::<String, _>(echo) = result
        && echo != token
    {
        record.wrong.push(echo);
    }
    record
}

/// Most new connections die in silence though each begins well, and never more than two in a row: a
/// counter of failures in a row would never get anywhere, the share of bad results does.
///
/// Connections live for one call, and one caller asks, with a short response time-out for the short
/// form. With connections that live the good ones stay and serve, and there is nothing to put out. With
/// many callers at once all time-outs of one response time-out are one bad result, as those of a burst
/// of lost packets would be, and as long as more calls than two a second succeed the node stays in:
/// that much of the row does not hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gray_connections_60() {
    let site = Site::new();
    let short_lived = FlusterCluster::builder()
        .urls(site.urls())
        .max_lifetime(ms(1))
        .response_timeout(ms(150))
        .build();
    let scene = Scene::begin("23 gray_connections_60", short_lived.unwrap()).await;
    let node = site.proxy.name();
    let fault = Fault::Gray {
        percent: 60,
        after: 200,
    };
    let strike = scene.strike(|| site.proxy.set(fault));
    let key = scene.key_of(&node);
    let mut record = Record::default();
    while status_of(&scene.cluster, &node).admits {
        assert!(strike.began.elapsed() < slack(ms(10_000)), "23: still in");
        let one = on_a_new_connection(&scene.cluster, &key).await;
        record.add(one);
        // It is too old by then to be used again.
        pass(ms(3)).await;
    }
    let out = strike.began.elapsed();
    assert!(site.proxy.fired() > 0, "23: nobody fell silent");
    assert!(
        record.failed().count() < record.calls.len(),
        "23: some were good"
    );
    site.proxy.set(Fault::Pass);
    scene.active(3).await;
    assert!((1..=FLAPS).contains(&scene.ejections()), "23: it flaps");
    scene.let_be(8).finish(record, &site.servers).await;
    assert!(out <= slack(ms(10_000)), "23: out after {out:?}");
}

/// How a node that says it is not ready has to be treated: no command while it is out, back soon after
/// it is ready, and no higher back-off for it.
struct NotReady {
    scene: Scene,
    node: String,
    load: Load,
    began: Instant,
    out: Instant,
}

impl NotReady {
    async fn serves_again(self, ready: Instant, servers: &[Server]) {
        let title = self.scene.name();
        let node = status_of(&self.scene.cluster, &self.node);
        let back = self.scene.back(&self.node, self.out).await;
        assert_eq!(
            status_of(&self.scene.cluster, &self.node).level,
            node.level,
            "{title}"
        );
        let record = self.scene.finish(self.load.stop().await, servers).await;
        record.only_calls_of(title, &self.node, self.began, self.out);
        let late = back.saturating_duration_since(ready);
        assert!(late <= slack(ms(1_200)), "{title}: back after {late:?}");
    }
}

/// A server with a big data set restarts: it accepts, it greets, and it cannot serve.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loading_big_rdb() {
    // 2 ms for each of 500 keys, and a look at the sockets at every kilobyte of file.
    let slow = Server::builder()
        .arg("--key-load-delay", "2000")
        .arg("--loading-process-events-interval-bytes", "1024")
        .may_be_loading();
    let servers = [slow.start(), Server::start(), Server::start()];
    servers.iter().for_each(fill);
    servers[0].raw(["SAVE"]);
    let scene = scene("24 loading_big_rdb", &servers).await;
    let title = scene.name();
    let node = servers[0].name();
    let load = Load::start(&scene.cluster, Kind::Get);
    pass(ms(200)).await;
    let strike = scene.strike(|| servers[0].restart());
    let is_loading = || servers[0].info("loading") == 1;
    assert!(is_loading(), "{title}: it has its data already");
    let out = scene.out(&node, strike.began).await;
    eventually(SOON, || {
        status_of(&scene.cluster, &node).reason == Some(Reason::NotReady)
    })
    .await;
    let level = status_of(&scene.cluster, &node).level;
    eventually(SOON, || !is_loading()).await;
    let ready = Instant::now();
    assert_eq!(
        status_of(&scene.cluster, &node).level,
        level,
        "{title}: its level rises"
    );
    let not_ready = NotReady {
        scene,
        node,
        load,
        began: strike.began,
        out,
    };
    not_ready.serves_again(ready, &servers).await;
}

/// A replica that lost its master and must not answer from what it has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn masterdown_replica() {
    let servers = servers(&[("--replica-serve-stale-data", "no")]);
    let master = Server::builder()
        .arg("--repl-diskless-sync-delay", "0")
        .durable()
        .start();
    servers.iter().chain([&master]).for_each(fill);
    let port = master.port().to_string();
    servers[0].raw(["REPLICAOF", "127.0.0.1", &port]);
    let linked = || {
        servers[0]
            .raw(["INFO", "replication"])
            .contains("master_link_status:up")
    };
    eventually(SOON, linked).await;
    let scene = scene("25 masterdown_replica", &servers).await;
    let node = servers[0].name();
    let load = Load::start(&scene.cluster, Kind::Get);
    pass(ms(200)).await;
    let strike = scene.strike(|| master.kill());
    let out = scene.out(&node, strike.began).await;
    assert_eq!(
        status_of(&scene.cluster, &node).reason,
        Some(Reason::NotReady)
    );
    pass(ms(300)).await;
    master.restart();
    eventually(SOON, linked).await;
    let ready = Instant::now();
    let not_ready = NotReady {
        scene,
        node,
        load,
        began: strike.began,
        out,
    };
    not_ready.serves_again(ready, &servers).await;
}

/// A server is demoted under writes. It lives, it answers, it refuses to write: that is for the
/// application to see, and no reason to put it out, from where its PONG would bring it back at once,
/// over and over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failover_readonly() {
    let servers = servers(&[]);
    let scene = scene("26 failover_readonly", &servers).await;
    let title = scene.name();
    let node = servers[0].name();
    // Another application of the same servers wants its writes done, wherever.
    let moves = FlusterCluster::builder()
        .urls(urls(&servers))
        .refusals(Refusals::NextCandidate)
        .build()
        .unwrap();
    let load = scene.load_of(Kind::Mixed, 64);
    pass(ms(300)).await;
    // A master that nobody is: the data stays.
    let nobody = PortClaim::new();
    let strike = scene.strike(|| {
        servers[0].raw(["REPLICAOF", "127.0.0.1", &nobody.port().to_string()]);
    });
    for n in 0..100 {
        let key = format!("moved:{n}");
        let mut set = redis::cmd("SET");
        set.arg(&key).arg(n);
        moves
            .run::<()>(&set)
            .await
            .unwrap_or_else(|e| panic!("{title}: {e}"));
        let found = servers.iter().filter(|s| s.get(&key).is_some()).count();
        assert_eq!((found, servers[0].get(&key)), (1, None), "{title}: {key}");
    }
    pass(ms(700)).await;
    servers[0].raw(["REPLICAOF", "NO", "ONE"]);
    let promoted = Instant::now();
    pass(ms(300)).await;
    let changes: Vec<_> = scene
        .events()
        .into_iter()
        .filter(|(at, _)| *at >= strike.began)
        .collect();
    assert!(changes.is_empty(), "{title}: state changes: {changes:?}");
    let of_moves = moves.status();
    assert_eq!(of_moves.nodes.iter().map(|n| n.ejections).sum::<u64>(), 0);
    moves.shutdown(T).await;
    let record = scene.end(load, &servers).await;
    let refused = record.failed().count();
    assert!(refused > 0, "{title}: no write met the replica");
    record.only_calls_of(title, &node, strike.began, promoted);
    assert!(
        record
            .failed()
            .all(|c| c.write && c.kind() == Some(fluster::ErrorKind::Server)),
        "{title}: reads go on: {:?}",
        record.kinds()
    );
    assert!(
        record
            .texts
            .keys()
            .all(|text| text.contains("read only replica")),
        "{title}: verbatim: {:?}",
        record.texts
    );
    let reads = record.calls.iter().filter(|c| c.is_at(&node) && !c.write);
    let reads = reads.filter(|c| c.overlaps(strike.ended, promoted)).count();
    assert!(
        reads > 50,
        "{title}: only {reads} reads while it was a replica"
    );
    let last = record.failed().map(|c| c.ended).max().unwrap();
    assert!(
        last <= promoted + ms(50),
        "{title}: refused after the promotion"
    );
}

/// A script that keeps its server busy, which says so from `threshold` on.
async fn busy(title: &'static str, threshold: u64, reason: Reason) {
    let servers = servers(&[("--busy-reply-threshold", &threshold.to_string())]);
    let scene = scene(title, &servers).await;
    let node = servers[0].name();
    let load = scene.load();
    pass(ms(200)).await;
    let mut raw = servers[0].connect().unwrap();
    let script = "local t = redis.call('TIME') local ends = t[1] * 1e6 + t[2] + 1.2e6 \
                  repeat t = redis.call('TIME') until t[1] * 1e6 + t[2] >= ends return 'done'";
    let strike = scene.strike(|| ());
    // Redis stands still in the clock of a script, which is cached: it asks the server's wall clock.
    let script = tokio::task::spawn_blocking(move || raw.call(["EVAL", script, "0"]));
    let out = scene.out(&node, strike.began).await;
    let status = status_of(&scene.cluster, &node);
    assert_eq!(status.reason, Some(reason), "{title}");
    let ended = script.await.unwrap().map(|reply| reply.to_string());
    assert_eq!(ended.unwrap(), "done", "{title}");
    let over = Instant::now();
    let back = scene.back(&node, strike.began).await;
    let ejections = status_of(&scene.cluster, &node).ejections;
    let record = scene.end(load, &servers).await;
    record.only_calls_of(title, &node, strike.began, out);
    assert_eq!(ejections, 1, "{title}");
    assert!(out < over, "{title}: out after the script");
    let late = back.saturating_duration_since(over);
    assert!(late <= slack(ms(1_500)), "{title}: back after {late:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn busy_script() {
    busy("27 busy_script", 50, Reason::Busy).await;
}

/// With the default threshold of 5 s the server says nothing at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn busy_script_silent() {
    busy("27 busy_script_silent", 5_000, Reason::Timeout).await;
}

/// A living server that refuses writes: the text reaches the caller, the node stays, its reads too;
/// who opted in gets the next candidate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_writes() {
    let site = Site::new();
    let scene = site.scene("28 oom, misconf, noreplicas, readonly").await;
    let title = scene.name();
    let moves = FlusterCluster::builder()
        .urls(site.urls())
        .refusals(Refusals::NextCandidate)
        .build()
        .unwrap();
    let node = site.proxy.name();
    let (key, a) = (scene.key_of(&node), &site.servers[0]);
    a.raw(["SET", &key, "before"]);
    let nobody = PortClaim::new().port().to_string();
    let config = |name: &str, value: &str| drop(a.raw(["CONFIG", "SET", name, value]));
    type Do<'a> = &'a dyn Fn();
    let cases: [(&str, Do<'_>, Do<'_>); 4] = [
        ("OOM", &|| config("maxmemory", "1"), &|| {
            config("maxmemory", "0")
        }),
        (
            "MISCONF",
            &|| {
                // It cannot save: there is a directory where the file belongs.
                std::fs::create_dir_all(a.dir().join("dump.rdb/full")).unwrap();
                config("save", "3600 1");
                a.raw(["BGSAVE"]);
                crate::support::wait_until(SOON, || {
                    a.raw(["INFO", "persistence"])
                        .contains("rdb_last_bgsave_status:err")
                });
            },
            &|| config("save", ""),
        ),
        (
            "NOREPLICAS",
            &|| config("min-replicas-to-write", "1"),
            &|| config("min-replicas-to-write", "0"),
        ),
        (
            "READONLY",
            &|| drop(a.raw(["REPLICAOF", "127.0.0.1", &nobody])),
            &|| drop(a.raw(["REPLICAOF", "NO", "ONE"])),
        ),
    ];
    let mut record = Record::default();
    scene.strike(|| ());
    for (code, begin, end) in cases {
        tokio::task::block_in_place(begin);
        let mut client = scene.cluster.get_client(&key).unwrap();
        let set = redis::cmd("SET").arg(&key).arg(code).to_owned();
        for _ in 0..30 {
            let began = Instant::now();
            let result = set.query_async::<()>(&mut client).await;
            record.note(began, Some(client.node().clone()), &result);
            let e = result.expect_err("it refuses writes");
            assert_eq!(e.code(), Some(code), "{title}: verbatim: {e}");
            let read: String = redis::cmd("GET")
                .arg(&key)
                .query_async(&mut client)
                .await
                .unwrap();
            assert_eq!(read, "before", "{title}: {code}: reads go on");
            moves
                .run::<()>(&set)
                .await
                .unwrap_or_else(|e| panic!("{title}: {code}: {e}"));
        }
        let of_moves = moves.status();
        let ejections = scene.ejections() + of_moves.nodes.iter().map(|n| n.ejections).sum::<u64>();
        assert_eq!(ejections, 0, "{title}: {code} ejects");
        if code == "MISCONF" {
            out_and_back(&site, &node, code).await;
        }
        tokio::task::block_in_place(end);
        let began = Instant::now();
        let result = set.query_async::<()>(&mut client).await;
        record.note(began, Some(client.node().clone()), &result);
        result.unwrap_or_else(|e| panic!("{title}: after {code}: {e}"));
        a.raw(["SET", &key, "before"]);
    }
    moves.shutdown(T).await;
    scene.finish(record, &site.servers).await;
}

/// PING gives the same refusal, and is a sign of life nevertheless: a node that was out for another
/// reason comes back.
async fn out_and_back(site: &Site, node: &str, code: &str) {
    let ping = site.servers[0].try_raw(["PING"]).unwrap().to_string();
    assert!(ping.contains(code), "the probe's PING gives {code}: {ping}");
    let cluster = FlusterCluster::from_urls(site.urls()).unwrap();
    site.proxy.set(Fault::Refuse);
    site.proxy.reset_all();
    let key = key_of(&cluster, node);
    let mut client = cluster.get_client(&key).unwrap();
    let get = redis::cmd("GET").arg(&key).to_owned();
    let refused = get.query_async::<Option<String>>(&mut client).await;
    assert!(
        refused.is_err() && cluster.status().active() == 2,
        "it is out"
    );
    site.proxy.set(Fault::Pass);
    eventually(slack(ms(1_000)), || cluster.status().active() == 3).await;
    cluster.shutdown(T).await;
}
