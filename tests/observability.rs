//! The metrics of an outage: the names and labels that the documentation promises.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fluster::{FlusterCluster, Node};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use parking_lot::Mutex;
use redis::AsyncCommands;

use crate::support::{Server, Warnings, eventually, eventually_some, fleet, urls};
use crate::workload::SOON;

/// Keeps the last value of every metric by its name and labels.
#[derive(Clone, Default)]
pub struct Recorded(Arc<Mutex<BTreeMap<String, f64>>>);

struct Cell(Recorded, String);

impl Cell {
    fn change(&self, f: impl FnOnce(f64) -> f64) {
        let mut all = self.0.0.lock();
        let value = all.entry(self.1.clone()).or_default();
        *value = f(*value);
    }
}

impl CounterFn for Cell {
    fn increment(&self, by: u64) {
        self.change(|old| old + by as f64);
    }
    fn absolute(&self, value: u64) {
        self.change(|_| value as f64);
    }
}

impl GaugeFn for Cell {
    fn increment(&self, by: f64) {
        self.change(|old| old + by);
    }
    fn decrement(&self, by: f64) {
        self.change(|old| old - by);
    }
    fn set(&self, value: f64) {
        self.change(|_| value);
    }
}

impl HistogramFn for Cell {
    fn record(&self, _: f64) {
        self.change(|count| count + 1.0);
    }
}

impl Recorded {
    fn cell(&self, key: &Key) -> Arc<Cell> {
        let labels: Vec<_> = key
            .labels()
            .map(|l| format!("{}={}", l.key(), l.value()))
            .collect();
        Arc::new(Cell(
            self.clone(),
            format!("{}{{{}}}", key.name(), labels.join(",")),
        ))
    }

    pub fn get(&self, name: &str) -> f64 {
        self.0.lock().get(name).copied().unwrap_or_default()
    }

    /// The gauges with this node's label.
    fn gauges_of(&self, node: &str) -> Vec<(String, f64)> {
        let is_gauge = |name: &str| {
            [
                "fluster_node_",
                "fluster_connections",
                "fluster_queue_depth",
            ]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        };
        let all = self.0.lock();
        let of_node = all
            .iter()
            .filter(|(name, _)| is_gauge(name) && name.contains(&format!("node={node}")));
        of_node
            .map(|(name, value)| (name.clone(), *value))
            .collect()
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.cell(key).into()
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.cell(key).into()
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.cell(key).into()
    }
}

#[test]
fn metrics_have_the_documented_names_and_labels() {
    let seen = Recorded::default();
    // One thread, so that what is registered during an outage meets the same recorder.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let servers: [Server; 2] = fleet();
    let a = servers[0].name();
    let work = async {
        // Gauges end with the cluster, and the last counts are written then.
        let _cluster = an_outage_with_metrics(&servers).await;
        let probes = format!("fluster_connections{{node={a},kind=probe,state=open}}");
        let state = format!("fluster_node_state{{node={a}}}");
        (seen.get(&state), seen.get(&probes))
    };
    let (state, probes) = metrics::with_local_recorder(&seen, || runtime.block_on(work));
    let of = |name: &str, more: &str| seen.get(&format!("{name}{{node={a}{more}}}"));
    assert_eq!(
        of("fluster_commands_total", ",outcome=ok"),
        4.0,
        "{:?}",
        seen.0.lock()
    );
    assert_eq!(of("fluster_commands_total", ",outcome=answered"), 1.0);
    assert_eq!(
        of("fluster_commands_total", ",outcome=not_sent"),
        1.0,
        "{:?}",
        seen.0.lock()
    );
    let names = seen.0.lock();
    let errors = names.keys().filter(|n| n.contains("error_replies"));
    let errors: Vec<_> = errors.cloned().collect();
    drop(names);
    let expected = format!("fluster_error_replies_total{{node={a},code=ERR}}");
    assert_eq!(errors, [expected], "one series per code that was seen");
    assert_eq!(of("fluster_command_duration_seconds", ""), 3.0);
    assert_eq!(of("fluster_ejections_total", ",reason=refused"), 1.0);
    assert!(of("fluster_probes_total", ",result=ok") >= 2.0);
    assert_eq!(state, 2.0, "on probation");
    assert_eq!(probes, 0.0);
    assert_eq!(
        of("fluster_failovers_total", ""),
        1.0,
        "one command went on from it"
    );
    let moved = seen.get("fluster_keys_moved_ratio{}");
    assert!(
        (0.3..0.7).contains(&moved),
        "about half of the keys: {moved}"
    );
    for name in seen.0.lock().keys() {
        assert!(name.starts_with("fluster_"), "{name}");
    }
}

/// A gauge that stays at "down" for ever is an alarm for ever.
#[test]
fn gauges_of_a_node_that_is_gone_end_as_no_number() {
    let seen = Recorded::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let servers: [Server; 2] = fleet();
    let gone = async || {
        let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
        let [a, b] = servers.each_ref().map(Server::name);
        let state = |node: &str| seen.get(&format!("fluster_node_state{{node={node}}}"));
        let gauges_of = |node: &str| seen.gauges_of(node);
        let all = async || {
            for n in 0..50 {
                let key = format!("k{n}");
                let mut client = cluster.get_client(&key).unwrap();
                // While one is dead it may fail.
                drop(client.get::<_, Option<String>>(&key).await);
            }
        };
        all().await;
        let own = cluster.get_client_of_node(&a).unwrap();
        let own = own.dedicated().await.unwrap();
        assert_eq!((state(&a), state(&b)), (3.0, 3.0));
        servers[0].kill();
        eventually_some(SOON, async || {
            all().await;
            (state(&a) < 2.0).then_some(())
        })
        .await;
        cluster.remove_node(a.as_str()).unwrap();
        assert_eq!(gauges_of(&a).len(), 9, "{:?}", gauges_of(&a));
        let ended = |node: &str| gauges_of(node).iter().all(|(_, value)| value.is_nan());
        assert!(ended(&a), "{:?}", gauges_of(&a));
        // What it had is closed later, and changes nothing; the others live on.
        drop(own);
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert!(ended(&a), "{:?}", gauges_of(&a));
        assert_eq!(state(&b), 3.0);

        servers[0].restart();
        cluster
            .add_node(Node::new(servers[0].url()).unwrap())
            .unwrap();
        assert_eq!(
            state(&a),
            3.0,
            "from the start, before anything happened to it"
        );
        all().await;
        let lane = format!("fluster_connections{{node={a},kind=lane,state=open}}");
        assert_eq!(seen.get(&lane), 1.0);

        // A second cluster of this process has the same series, and does not end them.
        let other = FlusterCluster::from_urls(urls(&servers)).unwrap();
        let _: Option<String> = other
            .get_client_of_node(&a)
            .unwrap()
            .get("k")
            .await
            .unwrap();
        assert_eq!(seen.get(&lane), 2.0);
        other.shutdown(Duration::ZERO).await;
        assert_eq!((seen.get(&lane), state(&a)), (1.0, 3.0));

        cluster.shutdown(Duration::ZERO).await;
        assert!(
            ended(&a) && ended(&b),
            "{:?} {:?}",
            gauges_of(&a),
            gauges_of(&b)
        );
    };
    metrics::with_local_recorder(&seen, || runtime.block_on(gone()));
}

async fn an_outage_with_metrics(servers: &[Server]) -> FlusterCluster {
    let cluster = FlusterCluster::from_urls(urls(servers)).unwrap();
    let key = (0..)
        .map(|n| format!("k{n}"))
        .find(|k| cluster.get_node(k).unwrap() == *servers[0].name());
    let key = key.unwrap();
    let mut client = cluster.get_client(&key).unwrap();
    let _: () = client.set(&key, "text").await.unwrap();
    let _: () = client
        .dedicated()
        .await
        .unwrap()
        .set(&key, "text")
        .await
        .unwrap();
    // It succeeds, and its wait is no latency.
    let mut dedicated = client.dedicated().await.unwrap();
    let nothing: Option<(String, String)> = dedicated.blpop("none", 0.01).await.unwrap();
    assert_eq!(nothing, None);
    drop(dedicated);
    let wrong: Result<u64, _> = client.incr(&key, 1).await;
    assert!(wrong.is_err(), "not a number");
    // Idle for longer than a millisecond, the lane is looked at before it is written to.
    std::thread::sleep(Duration::from_millis(5));
    servers[0].kill();
    // The client's runtime was stalled meanwhile: the lane is found dead before anything is sent.
    let _: Option<String> = cluster
        .run_with_key(&key, &redis::Cmd::get(&key))
        .await
        .unwrap();
    servers[0].restart();
    eventually(SOON, || cluster.status().active() == 2).await;
    let _: Option<String> = client.get(&key).await.unwrap();
    cluster.remove_node(servers[1].name()).unwrap();
    cluster
}

#[test]
fn a_named_cluster_is_told_from_another_one_by_its_label_and_in_its_log() {
    let (seen, warnings) = (Recorded::default(), Warnings::default());
    // One thread, so that what is registered later meets the same recorder.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let server = Server::start();
    let a = server.name();
    let named = |name: &str| {
        FlusterCluster::builder()
            .urls([server.url(), "redis://127.0.0.1:1".into()])
            .name(name)
            .build()
            .unwrap()
    };
    let work = async {
        let (one, two) = (named("one"), named("two"));
        let cache: fluster::cache::Cache<String> = one.cache("c:").raw().unwrap();
        let minute = Duration::from_secs(60);
        for n in 0..40 {
            let _: Result<(), _> = one.run(&redis::Cmd::set(n, 1)).await;
        }
        cache.set("k", &"v".to_owned(), minute).await.ok();
        cache.get("k").await.ok();
        one.queue("q").push("a").await.unwrap();
        one.replicas("k", 1)
            .unwrap()
            .write(&redis::Cmd::set("k", 1), fluster::replication::Quorum::All)
            .await
            .ok();
        let _: Result<(), _> = two.run(&redis::Cmd::set("k", 1)).await;
        one.shutdown(Duration::ZERO).await;
        two.shutdown(Duration::ZERO).await;
    };
    warnings.during(|| metrics::with_local_recorder(&seen, || runtime.block_on(work)));
    let all = seen.0.lock();
    assert!(all.len() > 40, "{all:?}");
    let bare: Vec<_> = all
        .keys()
        .filter(|name| !name.contains("cluster=one") && !name.contains("cluster=two"))
        .collect();
    assert!(bare.is_empty(), "without the label: {bare:?}");
    let of = |cluster: &str| {
        all.get(&format!(
            "fluster_commands_total{{node={a},outcome=ok,cluster={cluster}}}"
        ))
        .copied()
    };
    assert!(
        of("one") > Some(1.0) && of("two") <= Some(1.0),
        "{:?} {:?}",
        of("one"),
        of("two")
    );
    let lines = warnings.with(&["node is out"]);
    assert!(
        lines.iter().any(|line| line.contains("cluster=\"one\"")
            && line.contains("address=127.0.0.1:1")
            && line.contains("effect=")),
        "{lines:?}"
    );
}

/// Whoever guesses tokens, or has a browser ask, is seen, and fills no log.
#[test]
fn requests_to_the_admin_page_are_counted_and_guesses_are_said_once() {
    let (seen, warnings) = (Recorded::default(), Warnings::default());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let work = async {
        let cluster = FlusterCluster::builder()
            .urls(["redis://127.0.0.1:1"])
            .name("shop")
            .build()
            .unwrap();
        let admin = cluster.admin().token("hunter2-admin-token");
        let admin = admin.listen("127.0.0.1:0").unwrap();
        let port = admin.address().port();
        let asked = tokio::task::spawn_blocking(move || {
            let guess = "authorization: Bearer guess";
            let ours = "authorization: Bearer hunter2-admin-token";
            for (path, line, status) in [
                ("/status", guess, 401),
                ("/status", guess, 401),
                ("/status", "accept: */*", 401),
                ("/status", ours, 200),
                ("/status", "origin: http://foreign.example", 403),
                ("/nothing", ours, 404),
            ] {
                assert_eq!(asked(port, path, line), status, "{path} {line}");
            }
        });
        asked.await.unwrap();
        cluster.shutdown(Duration::from_secs(5)).await;
    };
    warnings.during(|| metrics::with_local_recorder(&seen, || runtime.block_on(work)));
    for (result, times) in [
        ("wrong_token", 2.0),
        ("no_token", 1.0),
        ("answered", 1.0),
        ("origin", 1.0),
        ("not_found", 1.0),
    ] {
        let name = format!("fluster_admin_requests_total{{result={result},cluster=shop}}");
        assert_eq!(seen.get(&name), times, "{name}: {:?}", seen.0.lock());
    }
    let said = warnings.with(&["admin page who may not", "wrong_token", "shop"]);
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(warnings.with(&["admin page who may not"]).len(), 1);
}

/// The status of a request with this further line.
fn asked(port: u16, path: &str, line: &str) -> u16 {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n{line}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).expect("a status");
    status.parse().unwrap()
}
