//! A real etcd server as a source, and a scripted one for what it never does.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fluster::discovery::{self, Discovery, DiscoveryErrorKind, Endpoint, Etcd};
use fluster::{FlusterCluster, Node};
use serde_json::{Value, json};

use super::registry::{Registry, nodes_follow_the_registry_and_survive_it};
use super::scripted::{Reply, Scripted, answer};
use crate::support::{Daemon, PortClaim, Server, eventually, http, need};
use crate::workload::SOON;

pub(super) const PREFIX: &str = "/services/cache/";

/// One etcd, which keeps its data over a restart.
struct Store {
    daemon: Daemon,
    ports: [PortClaim; 2],
    /// Leases by the server they are for.
    leases: Mutex<BTreeMap<String, String>>,
}

impl Store {
    /// `None` where there is no etcd to start.
    fn start() -> Option<Self> {
        let program = need("etcd")?;
        let ports: [PortClaim; 2] = std::array::from_fn(|_| PortClaim::new());
        let [client, peer] = [0, 1].map(|n: usize| ports[n].port());
        let daemon = Daemon::start(
            program,
            |dir| {
                let text = format!(
                    "--data-dir {} --listen-client-urls http://127.0.0.1:{client} --advertise-client-urls http://127.0.0.1:{client} \
                     --listen-peer-urls http://127.0.0.1:{peer} --initial-advertise-peer-urls http://127.0.0.1:{peer} \
                     --initial-cluster default=http://127.0.0.1:{peer} --heartbeat-interval 50 --election-timeout 500",
                    dir.join("data").display()
                );
                text.split_whitespace().map(OsString::from).collect()
            },
            move || is_healthy(client),
        );
        Some(Self {
            daemon,
            ports,
            leases: Mutex::default(),
        })
    }

    fn port(&self) -> u16 {
        self.ports[0].port()
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    fn call(&self, path: &str, body: &Value) -> Value {
        let (status, said) =
            http(self.port(), "POST", path, &body.to_string()).expect("etcd answers");
        assert_eq!(status, 200, "{path}: {said}");
        serde_json::from_str(&said).expect("JSON")
    }

    fn put(&self, id: &str, value: &str, lease: Option<&str>) {
        let mut body = json!({ "key": STANDARD.encode(format!("{PREFIX}{id}")), "value": STANDARD.encode(value) });
        if let Some(lease) = lease {
            body["lease"] = lease.into();
        }
        self.call("/v3/kv/put", &body);
    }

    fn source(&self) -> Etcd {
        Etcd::new(self.url(), PREFIX).unwrap()
    }
}

fn is_healthy(port: u16) -> bool {
    http(port, "GET", "/health", "")
        .is_ok_and(|(status, body)| status == 200 && body.contains("true"))
}

impl Registry for Store {
    fn source(&self) -> Box<dyn Discovery> {
        Box::new(self.source())
    }

    fn register(&self, id: &str, server: &Server) {
        self.put(id, &server.name(), None);
    }

    fn deregister(&self, id: &str) {
        let key = STANDARD.encode(format!("{PREFIX}{id}"));
        self.call("/v3/kv/deleterange", &json!({ "key": key }));
    }

    fn kill(&self) {
        self.daemon.kill();
    }

    fn restart(&self) {
        let port = self.port();
        self.daemon.restart(move || is_healthy(port));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_follow_etcd_and_survive_its_death() {
    let Some(store) = Store::start() else { return };
    nodes_follow_the_registry_and_survive_it("etcd", &store).await;
}

fn cluster() -> FlusterCluster {
    FlusterCluster::builder()
        .node(Node::new("redis://127.0.0.1:1").unwrap())
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_expires_takes_its_server_along() {
    let Some(store) = Store::start() else { return };
    for id in ["a", "b", "c"] {
        store.put(id, "10.0.0.1:6379", None);
    }
    let granted = store.call("/v3/lease/grant", &json!({ "TTL": 2 }));
    let lease = granted["ID"].as_str().expect("an id").to_owned();
    store.put(
        "d",
        r#"{"host": "10.0.0.4", "port": 6379, "weight": 2}"#,
        Some(&lease),
    );
    store.leases.lock().unwrap().insert("d".into(), lease);
    let cluster = cluster();
    let following = cluster.follow(store.source()).unwrap();
    following.ready().await;
    let status = cluster.status();
    assert_eq!(status.nodes.len(), 4);
    assert_eq!(status.node("d").unwrap().weight, 2);
    eventually(SOON, || cluster.status().nodes.len() == 3).await;
    assert!(
        cluster.status().node("d").is_none(),
        "nobody kept its lease alive"
    );
    assert!(following.last_error().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_is_asked_for_and_given() {
    let Some(store) = Store::start() else { return };
    store.put("a", "10.0.0.1:6379", None);
    store.call(
        "/v3/auth/user/add",
        &json!({ "name": "root", "password": "hunter2" }),
    );
    store.call("/v3/auth/role/add", &json!({ "name": "root" }));
    store.call(
        "/v3/auth/user/grant",
        &json!({ "user": "root", "role": "root" }),
    );
    store.call("/v3/auth/enable", &json!({}));
    let mut source = store.source().credentials("root", "hunter2");
    assert_eq!(discovery::once(&mut source, SOON).await.unwrap().len(), 1);
    for mut wrong in [
        store.source().credentials("root", "hunter3"),
        store.source(),
    ] {
        let error = discovery::once(&mut wrong, SOON).await.unwrap_err();
        assert_eq!(error.kind(), DiscoveryErrorKind::Denied, "{error}");
        let shown = format!("{error} {wrong:?}");
        assert!(
            !shown.contains("hunter") && shown.contains("Etcd::credentials"),
            "{shown}"
        );
    }
    // Tokens die with the server that gave them.
    store.restart();
    source.refresh();
    assert_eq!(discovery::once(&mut source, SOON).await.unwrap().len(), 1);
}

pub(super) fn range(revision: u64, ids: &[&str]) -> Reply {
    let kvs: Vec<_> = ids
        .iter()
        .map(|id| json!({ "key": STANDARD.encode(format!("{PREFIX}{id}")), "value": STANDARD.encode("10.0.0.1:1") }))
        .collect();
    let text = json!({ "header": { "revision": revision.to_string() }, "kvs": kvs }).to_string();
    answer("200 OK", "", &text)
}

/// The beginning of a watch's answer, and some lines.
pub(super) fn watch(lines: &str) -> Vec<u8> {
    let created = r#"{"result":{"header":{},"created":true}}"#;
    let text = format!("{created}\n{lines}");
    format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{text}\r\n",
        text.len()
    )
    .into_bytes()
}

#[tokio::test]
async fn a_watch_that_ends_in_any_way_leads_to_a_full_read() {
    let ends = [
        r#"{"result":{"header":{},"canceled":true,"compact_revision":"9"}}"#,
        r#"{"error":{"grpc_code":14,"message":"unavailable"}}"#,
        "garbage",
        "",
    ];
    for end in ends {
        let line = format!("{end}\n");
        let server = Scripted::start(move |n, asked| {
            let is_watch = asked.head.starts_with("POST /v3/watch");
            match (is_watch, n) {
                (true, 1) if line.len() == 1 => Reply::SendAndClose(watch("")),
                (true, 1) => Reply::Send(watch(&line)),
                (true, _) => Reply::Send(watch("")),
                (false, 0) => range(7, &["a"]),
                (false, _) => range(12, &["a", "b"]),
            }
        });
        let mut source = Etcd::new(server.url(), PREFIX).unwrap();
        assert_eq!(source.next().await.unwrap().len(), 1);
        let second = tokio::time::timeout(SOON, source.next())
            .await
            .expect("it reads again");
        assert_eq!(second.unwrap().len(), 2, "{end}");
        let asked = server.asked();
        let revisions: Vec<_> = asked
            .iter()
            .filter(|a| a.head.contains("/watch"))
            .map(|a| a.body.clone())
            .collect();
        assert!(
            revisions[0].contains(r#""start_revision":"8""#),
            "{revisions:?}"
        );
        assert!(
            revisions[1].contains(r#""start_revision":"13""#),
            "{revisions:?}"
        );
    }
}

#[tokio::test]
async fn a_change_that_was_heard_and_not_read_is_read_next_time() {
    let server = Scripted::start(|n, asked| {
        let event = "{\"result\":{\"events\":[{}]}}\n";
        match (asked.head.starts_with("POST /v3/watch"), n) {
            (true, _) => Reply::Send(watch(event)),
            (false, 0) => range(7, &["a"]),
            // The second read never ends.
            (false, 2) => Reply::Hang,
            (false, _) => range(8, &["a", "b"]),
        }
    });
    let mut source = Etcd::new(server.url(), PREFIX).unwrap();
    assert_eq!(source.next().await.unwrap().len(), 1);
    let reading = tokio::time::timeout(Duration::from_millis(600), source.next());
    assert!(reading.await.is_err(), "it was dropped while it read");
    let next = tokio::time::timeout(Duration::from_secs(3), source.next());
    assert_eq!(next.await.expect("without another event").unwrap().len(), 2);
}

#[tokio::test]
async fn what_etcd_never_says_is_an_error_with_a_name_and_an_end() {
    type Script = fn() -> Reply;
    use DiscoveryErrorKind::{Invalid, NotFound, TimedOut, Unavailable, Unreachable};
    let cases: [(&str, Script, DiscoveryErrorKind); 7] = [
        ("empty", || range(1, &[]), NotFound),
        ("html", || answer("200 OK", "", "<html>"), Invalid),
        (
            "no gateway",
            || answer("404 Not Found", "", "404 page not found"),
            NotFound,
        ),
        (
            "no leader",
            || {
                answer(
                    "503 Service Unavailable",
                    "",
                    r#"{"error":"etcdserver: no leader","code":14}"#,
                )
            },
            Unavailable,
        ),
        (
            "huge",
            || Reply::SendForEver(b"HTTP/1.1 200 OK\r\n\r\n{".to_vec()),
            Invalid,
        ),
        ("silent", || Reply::Hang, TimedOut),
        (
            "cut",
            || Reply::SendAndClose(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".to_vec()),
            Unreachable,
        ),
    ];
    for (what, script, kind) in cases {
        let server = Scripted::start(move |_, asked| match asked.head.contains("/watch") {
            true => Reply::Send(watch("")),
            false => script(),
        });
        let mut source = Etcd::new(server.url(), PREFIX).unwrap();
        let error = discovery::once(&mut source, Duration::from_millis(1_500))
            .await
            .unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), kind, "{what}: {text}");
        assert!(
            text.starts_with("etcd:/services/cache/") && !text.contains('\n'),
            "{what}: {text}"
        );
    }
    assert_eq!(
        Etcd::new("http://h", "").unwrap_err().kind(),
        DiscoveryErrorKind::Config
    );
    assert_eq!(Endpoint::new("h", 1).address(), "h:1");
}
