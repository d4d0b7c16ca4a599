//! A server dies, stops, or all of them do: what it costs the callers, and how they come back.
//!
//! The limits are those of an idle machine; times are held here at three times as much, since the
//! tests run beside each other, counts and states strictly. The figures are printed (`--nocapture`).

use std::time::{Duration, Instant};

use fluster::{ErrorKind, FlusterCluster, NodeState, Penalty};
use futures_util::future::join_all;

use crate::support::{Fake, Server, eventually, eventually_some, fleet, urls};
use crate::workload::{Call, Kind, Load, SOON, Watcher, contacts, key, keys_and_values, map_of};

/// How much slower than an idle machine this one may be.
const SLACK: u32 = 3;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Lets the workload run: what is measured is what happens in this time.
async fn measure(time: Duration) {
    tokio::time::sleep(time).await;
}

async fn down_at(watcher: &Watcher, node: &str, since: Instant) -> Instant {
    eventually_some(SOON, async || watcher.down(node, since)).await
}

async fn up_at(watcher: &Watcher, node: &str, since: Instant) -> Instant {
    eventually_some(SOON, async || watcher.up(node, since)).await
}

/// Successes a second between `from` and `to` on all nodes but one.
fn rate_elsewhere(tries: &[Call], node: &str, from: Instant, to: Instant) -> f64 {
    let count = tries
        .iter()
        .filter(|t| !t.failed() && !t.is_at(node) && t.ended >= from && t.ended < to)
        .count();
    count as f64 / (to - from).as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_costs_at_most_the_calls_that_were_under_way_and_gets_its_keys_back() {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let watcher = Watcher::new(&cluster);
    let owners = map_of(&cluster);
    let dead = servers[0].name();
    let load = Load::start(&cluster, Kind::Echo);
    measure(ms(2_000)).await;

    let began = Instant::now();
    let before = contacts(&cluster, &dead);
    servers[0].kill();
    let killed = Instant::now();
    let out = down_at(&watcher, &dead, began).await;
    measure(ms(1_000)).await;
    let in_a_second = contacts(&cluster, &dead);
    for (key, node) in map_of(&cluster) {
        let owner = &owners[&key];
        assert_ne!(node, *dead, "{key} is served by a dead node");
        assert!(
            *owner == *dead || *owner == node,
            "{key} moved off a living node"
        );
    }
    measure(ms(3_000)).await;
    let in_four = contacts(&cluster, &dead);

    servers[0].restart();
    let accepts = Instant::now();
    let back = up_at(&watcher, &dead, accepts).await;
    assert_eq!(map_of(&cluster), owners, "every key is back on its node");
    measure(ms(1_000)).await;
    let tries = load.calls().await;

    let failed: Vec<_> = tries.iter().filter(|t| t.failed()).collect();
    let twice = failed.iter().filter(|t| t.second).count();
    let under_way = tries
        .iter()
        .filter(|t| t.is_at(&dead) && t.overlaps(began, killed))
        .count();
    let rate = |from, to| rate_elsewhere(&tries, &dead, from, to);
    let (rate_before, rate_after) = (rate(began - ms(1_500), began), rate(out, out + ms(1_500)));
    println!(
        "killed: out after {:?}; {} errors, {twice} after trying again, {under_way} calls under way; \
         dials {}, probes {} in the first second, {} in the next three; others {rate_before:.0}/s, \
         then {rate_after:.0}/s; back {:?} after it accepts",
        out - began,
        failed.len(),
        in_a_second.0 - before.0,
        in_a_second.1 - before.1,
        in_four.1 - in_a_second.1,
        back - accepts,
    );
    assert!(
        out - killed <= ms(50) * SLACK,
        "ejected after {:?}",
        out - killed
    );
    for t in &failed {
        assert!(t.is_at(&dead), "an error of a living node: {t:?}");
        assert!(
            t.overlaps(began, out),
            "an error of a call begun after the ejection: {t:?}"
        );
    }
    assert!(
        failed.len() <= 64,
        "more than one error per task: {}",
        failed.len()
    );
    assert!(
        in_a_second.0 - before.0 <= 4,
        "dials for callers: {before:?} {in_a_second:?}"
    );
    assert!(in_a_second.1 - before.1 <= 5, "probes in the first second");
    assert_eq!(in_four.0, in_a_second.0, "nobody dials a node that is out");
    assert!(
        in_four.1 - in_a_second.1 <= 3,
        "one probe a second after that"
    );
    // On an idle machine 95 %.
    assert!(
        rate_after >= 0.8 * rate_before,
        "{rate_before:.0}/s, then {rate_after:.0}/s elsewhere"
    );
    assert!(
        back - accepts <= ms(5_200) * SLACK,
        "back after {:?}",
        back - accepts
    );
    let own = tries
        .iter()
        .filter(|t| t.is_at(&dead) && t.began > back)
        .count();
    assert!(own > 0, "it serves its own keys again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_node_holds_nobody_longer_than_the_deadline_and_returns_soon() {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let watcher = Watcher::new(&cluster);
    let silent = servers[0].name();
    let load = Load::start(&cluster, Kind::Echo);
    measure(ms(1_000)).await;

    let began = Instant::now();
    servers[0].stop();
    let out = down_at(&watcher, &silent, began).await;
    measure(ms(3_000).saturating_sub(began.elapsed())).await;
    assert_eq!(
        cluster.status().active(),
        2,
        "no probe of a stopped server succeeds, though the kernel accepts"
    );
    servers[0].cont();
    let continued = Instant::now();
    let back = up_at(&watcher, &silent, continued).await;
    measure(ms(500)).await;
    let tries = load.calls().await;

    let failed: Vec<_> = tries.iter().filter(|t| t.failed()).collect();
    let longest = tries.iter().map(Call::took).max().unwrap_or_default();
    println!(
        "stopped: out after {:?}; {} errors, longest try {longest:?}; back {:?} after SIGCONT",
        out - began,
        failed.len(),
        back - continued,
    );
    assert!(
        out - began <= ms(500 + 150) * SLACK,
        "ejected after {:?}",
        out - began
    );
    assert!(
        longest <= ms(1_500) + ms(50) * SLACK,
        "a call took {longest:?}"
    );
    for t in &failed {
        assert!(t.is_at(&silent), "an error of a living node: {t:?}");
        assert!(
            t.overlaps(began, out),
            "an error of a call begun after the ejection: {t:?}"
        );
    }
    for t in tries
        .iter()
        .filter(|t| t.began > out && t.began < continued)
    {
        assert!(!t.is_at(&silent), "sent to a node that is out: {t:?}");
        assert!(t.took() < ms(500), "later calls wait for nothing: {t:?}");
    }
    assert!(
        back - continued <= ms(2_500) * SLACK,
        "back after {:?}",
        back - continued
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_all_nodes_dead_calls_fail_at_once_and_the_first_node_back_serves() {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let load = Load::start(&cluster, Kind::Echo);
    measure(ms(1_000)).await;
    for server in &servers {
        server.kill();
    }
    eventually(SOON, || cluster.status().active() == 0).await;

    let empty_from = Instant::now();
    let names = servers.each_ref().map(Server::name);
    let contacts_of = || names.each_ref().map(|name| contacts(&cluster, name));
    let before = contacts_of();
    measure(ms(3_000)).await;
    let after = contacts_of();
    let error = cluster.get_client("k").expect_err("nobody is there");
    assert_eq!(
        error.reasons().len(),
        3,
        "says why each node is out: {error}"
    );
    assert!(
        error.retry_after() <= ms(600),
        "the demand pulls the probes forward: {error}"
    );
    let error = cluster
        .run_with_key::<String>("k", &redis::Cmd::get("k"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ClusterEmpty);
    let empty_until = Instant::now();

    servers[0].restart();
    let accepts = Instant::now();
    servers[1].restart();
    servers[2].restart();
    eventually(SOON, || cluster.status().active() == 3).await;
    measure(ms(500)).await;
    let tries = load.calls().await;

    let mut down: Vec<_> = tries
        .iter()
        .filter(|t| t.began > empty_from && t.ended < empty_until)
        .collect();
    down.sort_by_key(|t| t.took());
    let (median, longest) = (down[down.len() / 2].took(), down[down.len() - 1].took());
    let first = tries
        .iter()
        .find(|t| t.began > empty_until && !t.failed())
        .expect("it serves again");
    let after_accept = first.ended.saturating_duration_since(accepts);
    println!(
        "all killed: {} refusals, median {median:?}, longest {longest:?}; probes in 3 s {:?}; \
         first success {after_accept:?} after the first server accepts",
        down.len(),
        [0, 1, 2].map(|i: usize| after[i].1 - before[i].1),
    );
    for t in &down {
        assert_eq!(
            t.failure.map(|f| f.0),
            Some(ErrorKind::ClusterEmpty),
            "{t:?}"
        );
    }
    assert!(median <= ms(2), "refused at once: {median:?}");
    assert!(longest < ms(500), "nobody waits for anything: {longest:?}");
    for (name, (before, after)) in names.iter().zip(before.iter().zip(&after)) {
        assert_eq!(after.0, before.0, "callers dial nothing: {name}");
        assert!(
            after.1 - before.1 <= 30,
            "{name}: {} probes in 3 s",
            after.1 - before.1
        );
        // Also when everybody asks, each probe comes: one per 500 ms at least.
        assert!(
            after.1 - before.1 >= 3,
            "{name}: {} probes in 3 s",
            after.1 - before.1
        );
    }
    assert!(
        after_accept <= ms(1_500) * SLACK,
        "first success after {after_accept:?}"
    );
    let settled = tries.iter().rev().take(64).filter(|t| t.failed()).count();
    assert_eq!(settled, 0, "and no error at the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_through_the_cluster_do_not_notice_a_killed_or_stopped_node() {
    let servers: [Server; 3] = fleet();
    for server in &servers {
        server.raw(["MSET".to_owned()].into_iter().chain(keys_and_values()));
    }
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let watcher = Watcher::new(&cluster);
    let load = Load::start(&cluster, Kind::Read);
    measure(ms(500)).await;
    let began = Instant::now();
    servers[0].kill();
    down_at(&watcher, &servers[0].name(), began).await;
    measure(ms(500)).await;
    servers[1].stop();
    down_at(&watcher, &servers[1].name(), began).await;
    measure(ms(500)).await;
    servers[1].cont();
    up_at(&watcher, &servers[1].name(), began).await;
    let tries = load.calls().await;

    let failed: Vec<_> = tries.iter().filter(|t| t.failed()).collect();
    let longest = tries.iter().map(Call::took).max().unwrap_or_default();
    println!("reads: {} in all, longest {longest:?}", tries.len());
    assert!(
        failed.is_empty(),
        "{} errors, such as {:?}",
        failed.len(),
        failed[0]
    );
    assert!(
        longest <= ms(1_500) + ms(50) * SLACK,
        "within the deadline: {longest:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_of_our_own_ejects_nobody() {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let load = Load::start(&cluster, Kind::Echo);
    measure(ms(300)).await;
    for _ in 0..3 {
        // Both workers: nothing of this runtime runs.
        let stalls: [_; 2] = std::array::from_fn(|_| {
            tokio::spawn(async { std::thread::sleep(Duration::from_millis(800)) })
        });
        for stall in stalls {
            stall.await.unwrap();
        }
        measure(ms(200)).await;
    }
    let tries = load.calls().await;
    let status = cluster.status();
    for node in &status.nodes {
        assert_eq!(
            node.ejections, 0,
            "{} was ejected for our own stall",
            node.name
        );
        assert_eq!(node.state, NodeState::Up, "{}", node.name);
    }
    assert!(
        tries.len() > 64,
        "it worked before, between and after the stalls"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exclusive_connections_alone_eject_a_dead_node_and_bring_it_back() {
    let servers: [Server; 2] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let dead = servers[0].name();
    let its_key = (0..)
        .map(key)
        .find(|key| cluster.get_node(key).unwrap() == *dead)
        .unwrap();
    servers[0].kill();
    let error = cluster
        .get_client(&its_key)
        .unwrap()
        .dedicated()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
    let stand_in = cluster.get_client(&its_key).unwrap();
    assert!(stand_in.is_stand_in(), "one refused dial is proof");
    stand_in.dedicated().await.expect("the stand-in serves");

    servers[0].restart();
    eventually(SOON, || cluster.status().active() == 2).await;
    let client = cluster.get_client(&its_key).unwrap();
    assert_eq!(client.node(), &*dead);
    client.dedicated().await.expect("its owner serves again");
}

/// Two nodes of which one is out for long and the other, left in by the cap alone, hangs up at `verb`: that it is in
/// must not keep the first one out, once that answers and `call` runs out of candidates.
async fn has_the_probes_come_sooner(verb: &'static str, call: impl AsyncFn(&FlusterCluster)) {
    let server = Server::start();
    let hangs_up = Fake::start(move |words| {
        let is_call = words[0].eq_ignore_ascii_case(verb);
        (!is_call).then(|| Fake::answer("7.0.15", words))
    });
    let wait = 3 * SOON;
    let cluster = FlusterCluster::builder()
        .urls([server.url(), hangs_up.url()])
        .penalty(
            Penalty::default()
                .min_wait(wait)
                .max_wait(wait)
                .flap_hold(wait),
        )
        .build()
        .unwrap();
    let cluster = &cluster;
    server.kill();
    let name = server.name();
    let admits = || cluster.status().node(&name).unwrap().admits;
    while admits() {
        // The other one answers this: it must not be out as well.
        let calls = (0..8).map(|i| async move {
            let echo = redis::cmd("ECHO").arg(i).to_owned();
            cluster.run_with_key::<String>(format!("k{i}"), &echo).await
        });
        drop(join_all(calls).await);
    }
    server.restart();
    let began = Instant::now();
    while !admits() {
        assert!(
            began.elapsed() < SOON,
            "{verb}: its wait is {wait:?}, and nobody pulled it forward"
        );
        call(cluster).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_runs_out_of_candidates_has_the_probes_come_sooner() {
    has_the_probes_come_sooner("GET", async |cluster| {
        let calls = (0..8).map(|i| async move {
            cluster
                .run::<Option<String>>(redis::cmd("GET").arg(format!("k{i}")))
                .await
        });
        drop(join_all(calls).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_no_node_takes_has_the_probes_come_sooner() {
    has_the_probes_come_sooner("XADD", async |cluster| {
        drop(cluster.queue("jobs").push("x").await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_pushes_that_no_node_takes_have_the_probes_come_sooner() {
    has_the_probes_come_sooner("XADD", async |cluster| {
        drop(cluster.queue("jobs").push_many(["x", "y"]).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_without_its_majority_has_the_probes_come_sooner() {
    has_the_probes_come_sooner("GET", async |cluster| {
        let replicas = cluster.replicas("k", 2).unwrap();
        let get = redis::cmd("GET").arg("k").to_owned();
        let newest = |_: &redis::Value, _: &redis::Value| std::cmp::Ordering::Equal;
        let newest = fluster::replication::ReadFrom::majority(newest);
        let _: Result<Option<String>, _> = replicas.read(&get, newest).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_without_its_quorum_has_the_probes_come_sooner() {
    has_the_probes_come_sooner("SET", async |cluster| {
        let replicas = cluster.replicas("k", 2).unwrap();
        let set = redis::cmd("SET").arg("k").arg("v").to_owned();
        let quorum = fluster::replication::Quorum::All;
        drop(replicas.write(&set, quorum).await);
    })
    .await;
}
