//! The set of nodes changes in the middle of a fault, and a thousand nodes of which half are dead.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fluster::{FlusterCluster, Node, Outcome};

use super::aside::{T, give_up_after, memory, status_of};
use super::rig::{Kind, Lateness, Load, Record, SOON, ms, pass, scene, slack};
use crate::support::{PortClaim, Server, alone, eventually_some, test_name};

/// Four servers that keep what they acknowledged; the last one comes and goes.
fn durable() -> [Server; 4] {
    std::array::from_fn(|_| Server::builder().durable().start())
}

fn node(server: &Server) -> Node {
    Node::new(server.url()).unwrap()
}

/// Errors are those of `dead`, or of clients that were handed out before their node was removed: these
/// are told to ask again.
fn only_of(record: &Record, title: &str, dead: &str, gone: &str) {
    for call in record.failed() {
        let told = call.is_at(gone) && call.failure.is_some_and(|f| f.1 == Outcome::NotSent);
        assert!(call.is_at(dead) || told, "{title}: {call:?}");
    }
}

/// A healthy node goes and comes while another one dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn change_during_kill() {
    let servers = durable();
    let scene = scene("1+ change_during_kill", &servers).await;
    let title = scene.name();
    let (dead, gone) = (servers[0].name(), servers[3].name());
    let load = scene.load();
    pass(ms(300)).await;
    let kill = scene.strike(|| servers[0].kill());
    let removed = scene.cluster.remove_node(&gone).unwrap();
    assert_eq!((removed.kept, removed.removed.len()), (3, 1), "{title}");
    let out = scene.out(&dead, kill.began).await;
    let mut budget = scene.budget(&dead);
    let added = scene.cluster.add_node(node(&servers[3])).unwrap();
    assert_eq!((added.kept, added.added.len()), (3, 1), "{title}");
    let status = status_of(&scene.cluster, &dead);
    assert!(
        !status.admits && status.ejections == 1,
        "{title}: a change of the others is no amnesty: {status:?}"
    );
    budget.first_second(title).await;
    servers[0].restart();
    scene.active(4).await;
    let record = scene.end(load, &servers).await;
    only_of(&record, title, &dead, &gone);
    let last = record.failed().map(|c| c.ended).max().unwrap_or(out);
    assert!(
        last - kill.ended <= slack(ms(100)),
        "{title}: {:?}",
        last - kill.ended
    );
}

/// The node that hangs is itself removed with calls in flight, and comes back while it still hangs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn change_during_stop() {
    let servers = durable();
    let scene = scene("5+ change_during_stop", &servers).await;
    let title = scene.name();
    let hung = servers[0].name();
    let load = scene.load();
    pass(ms(300)).await;
    let stop = scene.strike(|| servers[0].stop());
    pass(ms(100)).await;
    let removed = scene.cluster.remove_node(&hung).unwrap();
    assert_eq!((removed.kept, removed.removed.len()), (3, 1), "{title}");
    let without = Instant::now();
    pass(ms(700)).await;
    let again = Instant::now();
    scene.cluster.add_node(node(&servers[0])).unwrap();
    let out = scene.out(&hung, again).await;
    servers[0].cont();
    let healed = Instant::now();
    let back = scene.back(&hung, healed).await;
    let record = scene.end(load, &servers).await;
    only_of(&record, title, &hung, &hung);
    // Clients that were handed out before are told so at once; nobody is sent there.
    let sent = record
        .failed()
        .filter(|c| c.began > without && c.began < again);
    let sent = sent.filter(|c| c.failure.is_some_and(|f| f.1 != Outcome::NotSent));
    assert_eq!(sent.count(), 0, "{title}: sent to a node that was removed");
    assert!(
        stop.began < without && out - again <= slack(2 * T + ms(150)),
        "{title}: {:?}",
        out - again
    );
    assert!(
        back - healed <= slack(ms(2_500)),
        "{title}: back after {:?}",
        back - healed
    );
}

/// Nodes come and go while callers give up at every point of a call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn change_during_cancel_storm() {
    let servers = durable();
    let scene = scene("36+ change_during_cancel_storm", &servers).await;
    let title = scene.name();
    let gone = servers[3].name();
    let load = scene.load();
    let strike = scene.strike(|| ());
    let ends = Arc::new(AtomicBool::new(false));
    let (cancelled, wrong) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let storm: Vec<_> = (0..16)
        .map(|task| {
            let cluster = scene.cluster.clone();
            let (ends, cancelled, wrong) = (ends.clone(), cancelled.clone(), wrong.clone());
            tokio::spawn(async move {
                for n in 0.. {
                    if ends.load(Relaxed) {
                        return;
                    }
                    let token = format!("c{task}-{n}");
                    let mut client = cluster.get_client(&token).unwrap();
                    let ask = redis::cmd("ECHO").arg(&token).to_owned();
                    let call = async {
                        match n % 2 {
                            0 => ask.query_async::<String>(&mut client).await,
                            _ => {
                                let mut own = client.dedicated().await?;
                                ask.query_async(&mut own).await
                            }
                        }
                    };
                    match give_up_after(fastrand::u32(0..6), call).await {
                        None => drop(cancelled.fetch_add(1, Relaxed)),
                        Some(Ok(echo)) if echo != token => drop(wrong.fetch_add(1, Relaxed)),
                        Some(Ok(_)) => {}
                        Some(Err(e)) => {
                            let e = fluster::Error::from_redis(&e).expect("an error of ours");
                            assert_eq!(e.outcome(), Outcome::NotSent, "{e}");
                        }
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let mut changes = 0;
    let enough = |changes| cancelled.load(Relaxed) > 500 && changes >= 6;
    while strike.ended.elapsed() < ms(1_500) || !enough(changes) {
        assert!(strike.ended.elapsed() < 3 * SOON, "{title}: {changes}");
        scene.cluster.remove_node(&gone).unwrap();
        pass(ms(10)).await;
        scene.cluster.add_node(node(&servers[3])).unwrap();
        pass(ms(10)).await;
        changes += 2;
    }
    ends.store(true, Relaxed);
    for task in storm {
        task.await.expect("no panic in the storm");
    }
    assert_eq!(
        wrong.load(Relaxed),
        0,
        "{title}: wrong replies in the storm"
    );
    assert_eq!(scene.ejections(), 0, "{title}");
    // Up to 16 exclusive connections a node are kept.
    let record = scene.let_be(64).end(load, &servers).await;
    only_of(&record, title, "nobody", &gone);
}

/// Dials and probes of all nodes so far.
fn spent(cluster: &FlusterCluster) -> (u64, u64) {
    let status = cluster.status();
    let sum = |of: fn(&fluster::NodeStatus) -> u64| status.nodes.iter().map(of).sum();
    (sum(|n| n.dials), sum(|n| n.probes))
}

/// Of a thousand nodes 450 refuse, 50 are silent, and half of them serve: what that costs.
///
/// Takes 7 s: the start, a pause for the back-off to grow, a look at the steady state.
#[test]
fn a_thousand_nodes_half_of_them_dead() {
    let name = test_name!("a_thousand_nodes_half_of_them_dead");
    alone(name, async || {
        let server = Server::start();
        let refuses = PortClaim::new();
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let silent_port = silent.local_addr().unwrap().port();
        let before = memory();
        let began = Instant::now();
        let nodes = (0..1_000).map(|n| {
            let port = match n % 20 {
                0..9 => refuses.port(),
                // More than a few, and some calls would meet three of them within their deadline.
                9 => silent_port,
                _ => server.port(),
            };
            Node::new(format!("redis://127.0.0.1:{port}"))
                .unwrap()
                .name(format!("n{n}"))
        });
        let cluster = nodes
            .fold(FlusterCluster::builder(), |b, n| b.node(n))
            // Of what is counted here nothing depends on them: on a busy machine a thousand dials take
            // longer than the defaults, and nodes that serve would go out.
            .connect_timeout(ms(2_000))
            .response_timeout(ms(2_000))
            .build()
            .unwrap();
        let built = began.elapsed();
        let built_memory = memory();

        // A key for each node.
        let mut keys = std::collections::BTreeMap::new();
        for n in 0.. {
            if keys.len() == 1_000 {
                break;
            }
            let key = format!("k{n}");
            keys.entry(cluster.get_node(&key).unwrap()).or_insert(key);
        }
        let began = Instant::now();
        let lateness = Lateness::watch();
        let callers = Arc::new(tokio::sync::Semaphore::new(64));
        let first: Vec<_> = keys
            .values()
            .cloned()
            .map(|key| {
                let (cluster, callers) = (cluster.clone(), Arc::clone(&callers));
                tokio::spawn(async move {
                    let _turn = callers.acquire().await;
                    let mut echo = redis::cmd("ECHO");
                    echo.arg(&key);
                    let (mut longest, mut again) = (Duration::ZERO, 0);
                    loop {
                        let began = Instant::now();
                        let echoed = cluster.run_with_key::<String>(&key, &echo).await;
                        longest = longest.max(began.elapsed());
                        match echoed {
                            // Two silent nodes in a row, or a busy machine: no time is left for the
                            // third. They are out by now, or will be.
                            Err(e) if e.is_connection_error() && again < 10 => again += 1,
                            result => return (result.map(|e| e == key), longest, again),
                        }
                    }
                })
            })
            .collect();
        let mut longest = Duration::ZERO;
        let mut late = 0;
        for call in first {
            let (result, took, again) = call.await.unwrap();
            match result {
                Ok(right) => assert!(right, "a wrong reply"),
                Err(e) => panic!("the call {again} after the first: {e}"),
            }
            late += usize::from(again > 0);
            longest = longest.max(took);
        }
        let behind = lateness.end().await;
        // A time-out of a moment at which this process itself stood still is no evidence: whoever is
        // in with a dead node asks again, and a node that serves and went out comes back.
        eventually_some(6 * SOON, async || {
            let status = cluster.status();
            let doubtful = keys.iter().filter(|(node, _)| {
                let node = status.node(node.as_str()).expect("a node");
                node.admits && !node.connected
            });
            let asked = doubtful.map(async |(_, key)| {
                let mut echo = redis::cmd("ECHO");
                echo.arg(key);
                if let Ok(echoed) = cluster.run_with_key::<String>(key, &echo).await {
                    assert_eq!(&echoed, key, "a wrong reply");
                }
            });
            // All at once: a silent node takes seconds, and there are fifty.
            futures_util::future::join_all(asked).await;
            let again = cluster.status();
            let done = again.nodes.iter().all(|n| n.admits == n.connected);
            (done && again.active() == 500).then_some(())
        })
        .await;
        let started = began.elapsed();
        let peak = memory();

        pass(ms(1_500)).await;
        let (dials, probes) = spent(&cluster);
        let load = Load::start(&cluster, Kind::Run);
        let began = Instant::now();
        let mut tasks = 0;
        while began.elapsed() < ms(1_500) {
            tasks = tasks.max(cluster.status().tasks);
            pass(ms(50)).await;
        }
        let seconds = began.elapsed().as_secs_f64();
        let record = load.stop().await;
        let now = spent(&cluster);
        let (dials, probes) = (now.0 - dials, now.1 - probes);
        let steady = memory();
        println!(
            "1000 nodes, 500 dead: built in {built:?} ({} kB); started in {started:?}, {late} asked again, \
             longest call {longest:?}, this process up to {behind:?} late ({} kB); steady: {:.0} probes and {dials} dials in {seconds:.1} s, {tasks} \
             tasks, {} kB",
            built_memory - before,
            peak.saturating_sub(before),
            probes as f64,
            steady.saturating_sub(before),
        );
        assert!(record.wrong.is_empty(), "{:?}", record.wrong);
        assert_eq!(record.failed().count(), 0, "{:?}", record.kinds());
        // A thousand dials at once in a debug build: this process itself is late by more than the 50 ms
        // that hold elsewhere, and a call that ends at its deadline is late by some turns of it.
        assert!(
            longest <= ms(6_000) + slack(ms(200)) + 4 * behind,
            "the longest call took {longest:?}, and a sleep was late by {behind:?}"
        );
        assert!(dials <= 500, "one lane for each node that serves: {dials}");
        assert!(
            probes as f64 <= 500.0 * seconds,
            "{probes} probes in {seconds} s"
        );
        // A driver for each lane, for each dead node at most one probe and its connection's driver, and
        // a handful for the cluster. On an idle machine some 50 probes are under way, on a busy one more.
        assert!(tasks <= 500 + 2 * 500 + 20, "{tasks} tasks");
        assert!(
            steady.saturating_sub(before) <= 96 * 1024,
            "{} kB",
            steady - before
        );
        cluster.shutdown(T).await;
        assert_eq!(cluster.status().tasks, 0);
    });
}
