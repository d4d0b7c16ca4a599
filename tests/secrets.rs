//! A password is put into everything that takes one, and looked for in everything that can be read:
//! `Debug`, `Display`, errors, status, events, traces, metrics.

use std::error::Error as StdError;
use std::fmt::{Debug, Display, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use fluster::{
    Credentials, CredentialsFuture, CredentialsProvider, Error, FlusterCluster, Node, NodeId,
    Penalty, Placement,
};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use parking_lot::Mutex;
use redis::{AsyncCommands, Cmd, RedisError};
use tracing::field::{Field, Visit};
use tracing::span;

use crate::support::{Server, TlsPki, eventually};
use crate::workload::SOON;

const SECRET: &str = "hunter2-Zq8xW";

/// All that can be read of a run.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<String>>);

impl Heard {
    fn put(&self, what: &str, text: &str) {
        // At once, so that a leak is reported where it is.
        assert!(!text.contains(SECRET), "{what} shows the password: {text}");
        let mut all = self.0.lock();
        let _ = writeln!(all, "{what}: {text}");
    }

    fn debug(&self, value: &impl Debug) {
        let kind = std::any::type_name_of_val(value);
        self.put(kind, &format!("{value:?}"));
        self.put(kind, &format!("{value:#?}"));
    }

    fn both(&self, value: &(impl Debug + Display)) {
        self.debug(value);
        let kind = std::any::type_name_of_val(value);
        self.put(kind, &format!("{value} {value:#} {value:>40}"));
    }

    fn error(&self, error: &(dyn StdError + 'static)) {
        let mut next = Some(error);
        while let Some(e) = next {
            self.put("an error", &format!("{e} {e:?} {e:#?}"));
            next = e.source();
        }
    }

    fn redis(&self, error: RedisError) {
        self.error(&error);
        self.put(
            "a RedisError",
            &format!("{:?} {:?}", error.code(), error.detail()),
        );
        if let Some(ours) = Error::from_redis(&error) {
            self.error(ours);
        }
    }

    fn contains(&self, text: &str) -> bool {
        self.0.lock().contains(text)
    }
}

/// Writes down every span, event and field.
struct Listener(Heard, AtomicU64);

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl tracing::Subscriber for Listener {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        let mut fields = Fields(span.metadata().name().to_owned());
        span.record(&mut fields);
        self.0.put("a span", &fields.0);
        span::Id::from_u64(self.1.fetch_add(1, Relaxed) + 1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        let mut fields = Fields(String::new());
        values.record(&mut fields);
        self.0.put("a span", &fields.0);
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields(event.metadata().level().to_string());
        event.record(&mut fields);
        self.0.put("an event", &fields.0);
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

impl Recorder for Heard {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, text: SharedString) {
        self.put("a metric", &format!("{name:?} {text}"));
    }
    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, text: SharedString) {
        self.put("a metric", &format!("{name:?} {text}"));
    }
    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, text: SharedString) {
        self.put("a metric", &format!("{name:?} {text}"));
    }
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.put("a metric", &key.to_string());
        Counter::noop()
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.put("a metric", &key.to_string());
        Gauge::noop()
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.put("a metric", &key.to_string());
        Histogram::noop()
    }
}

/// Runs it on one thread, where its traces and metrics are heard too.
fn listening<F: Future<Output = ()>>(run: impl FnOnce(Heard) -> F) -> Heard {
    let heard = Heard::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let listener = Listener(heard.clone(), AtomicU64::new(0));
    tracing::subscriber::with_default(listener, || {
        metrics::with_local_recorder(&heard, || runtime.block_on(run(heard.clone())));
    });
    heard
}

struct Always;

impl CredentialsProvider for Always {
    fn credentials<'a>(&'a self, _: &'a NodeId) -> CredentialsFuture<'a> {
        Box::pin(async { Ok(Credentials::user("default", SECRET)) })
    }
}

fn at(server: &Server, rest: &str) -> String {
    format!("redis://default:{SECRET}@127.0.0.1:{}{rest}", server.port())
}

/// Whatever shows itself of a cluster.
fn everything_of(heard: &Heard, cluster: &FlusterCluster) {
    heard.debug(cluster);
    let status = cluster.status();
    heard.debug(&status);
    for node in &status.nodes {
        heard.debug(node);
        heard.both(&node.name);
    }
    #[cfg(feature = "serde")]
    heard.put("a status", &serde_json::to_string_pretty(&status).unwrap());
    heard.debug(&cluster.events());
    heard.debug(&cluster.scan(redis::ScanOptions::default()));
    match cluster.get_client("k") {
        Ok(client) => {
            heard.debug(&client);
            heard.both(client.node());
        }
        Err(empty) => heard.error(&empty),
    }
}

#[test]
fn what_is_only_described_shows_no_secret() {
    listening(|heard| async move {
        let node = Node::new(format!("redis://u:{SECRET}@10.0.0.1/1")).unwrap();
        let socket = Node::new(format!("unix:///s?user=u&pass={SECRET}")).unwrap();
        for node in [&node, &socket] {
            heard.debug(node);
            heard.both(&node.id());
        }
        heard.debug(&Credentials::password(SECRET));
        heard.debug(&Credentials::user("u", SECRET));
        heard.debug(&Penalty::default());
        heard.both(&Placement::default());
        let builder = FlusterCluster::builder()
            .node(node)
            .node(socket)
            .urls([
                format!("redis://u:{SECRET}@10.0.0.2"),
                format!("redis://u:{SECRET}@10.0.0.3:x"),
            ])
            .credentials(Always);
        heard.debug(&builder);
        heard.error(&builder.build().unwrap_err());
    });
}

#[test]
fn no_refused_url_shows_its_secret() {
    listening(|heard| async move {
        for url in [
            "http://u:S@10.0.0.1",
            "redis://u:S@",
            "redis://u:S",
            "redis://:S",
            "redis://u:S/10.0.0.1",
            "redis://u:S@10.0.0.1:99999",
            "redis://u:S@10.0.0.1:port",
            "redis://u:S@10.0.0.1:0",
            "redis://u:S@10.0.0.1/db",
            "redis://u:S@10.0.0.1/-1",
            "redis://u:S@10.0.0.1/1/2",
            "redis://u:S@10.0.0.1?protocol=resp4",
            "redis://u:S@10.0.0.1?timeout=5",
            "redis://10.0.0.1?password=S",
            "redis://10.0.0.1?protocol=S",
            "redis://10.0.0.1?S",
            "redis://u:S@0.0.0.0",
            "redis://u:S@[::1",
            "redis://u:a#S@10.0.0.1",
            "redis://u:1#S@10.0.0.1",
            "redis://u:1?S@10.0.0.1",
            "redis://u:1/S@10.0.0.1",
            "redis://u%3AS%40h",
            "redis://10.0.0.1#S",
            "rediss://u:S@10.0.0.1#insecur",
            "rediss://10.0.0.1#S",
            "unix://u:S@host/path",
            "unix:///s?pass=S&db=x",
            "unix:///s?pass=S",
            "unix:///s?user=u&pass=S&x=1",
            "redis//u:S@10.0.0.1",
            "u:S@10.0.0.1",
            "u:S",
            "S:x@10.0.0.1",
        ] {
            let url = url.replace('S', SECRET);
            match Node::new(&url) {
                Ok(node) => heard.debug(&node),
                Err(e) => heard.error(&e),
            }
            let built = FlusterCluster::from_urls(["redis://10.0.0.7", &url]);
            match built {
                Ok(cluster) => everything_of(&heard, &cluster),
                Err(e) => heard.error(&e),
            }
        }
        let node = || Node::new(format!("redis://u:{SECRET}@10.0.0.1")).unwrap();
        for nodes in [
            vec![node(), node()],
            vec![node().name("")],
            vec![node().weight(0)],
        ] {
            let builder = nodes
                .into_iter()
                .fold(FlusterCluster::builder(), |b, n| b.node(n));
            heard.debug(&builder);
            heard.error(&builder.build().unwrap_err());
        }
        let one = FlusterCluster::builder().node(node()).build().unwrap();
        heard.error(&one.remove_node("nobody").unwrap_err());
    });
}

#[cfg(feature = "serde")]
#[test]
fn no_configuration_shows_its_secret() {
    use fluster::Config;
    listening(|heard| async move {
        for (toml, is_right) in [
            (
                "nodes = ['redis://u:S@h', { url = 'redis://u:S@h2', name = 'b' }]",
                true,
            ),
            ("nodes = 'redis://u:S@h, redis://:S@h2'", true),
            ("nodes = 'redis://u:S@h,redis://u:S'", false),
            ("nodes = ['redis://u:S@h']\ndeadline_ms = 1", false),
        ] {
            let config: Config = toml::from_str(&toml.replace('S', SECRET)).unwrap();
            heard.debug(&config);
            heard.debug(&config.nodes[0]);
            match FlusterCluster::try_from(config) {
                Ok(cluster) => everything_of(&heard, &cluster),
                Err(e) => {
                    assert!(!is_right, "{e}");
                    heard.error(&e);
                }
            }
        }
        // toml's errors quote the line they are about; its message, and that of JSON, do not.
        let toml = format!("nodes = [{{ url = 'redis://u:{SECRET}@h', wieght = 2 }}]");
        let e = toml::from_str::<Config>(&toml).unwrap_err();
        heard.put("a TOML error", e.message());
        let json = format!(r#"{{"nodes": [{{"url": "redis://u:{SECRET}@h", "wieght": 2}}]}}"#);
        heard.error(&serde_json::from_str::<Config>(&json).unwrap_err());
    });
}

/// Sets, gets, fails on purpose, and shows everything.
async fn use_it(heard: &Heard, cluster: &FlusterCluster) {
    let mut client = cluster.get_client("k").unwrap();
    if let Err(e) = client.set::<_, _, ()>("k", "v").await {
        heard.redis(e);
    }
    if let Err(e) = client.incr::<_, _, u64>("k", 1).await {
        heard.redis(e);
    }
    match client.dedicated().await {
        Ok(mut own) => {
            heard.debug(&own);
            if let Err(e) = own.incr::<_, _, u64>("k", 1).await {
                heard.redis(e);
            }
        }
        Err(e) => heard.error(&e),
    }
    if let Err(e) = cluster.run_with_key::<u64>("k", &Cmd::get("k")).await {
        heard.error(&e);
    }
    everything_of(heard, cluster);
}

#[test]
fn an_outage_and_a_change_show_no_secret() {
    let heard = listening(|heard| async move {
        let server = Server::builder().password(SECRET).start();
        let by_url = FlusterCluster::from_urls([at(&server, ""), at(&server, "/1")]).unwrap();
        let by_provider = FlusterCluster::builder()
            .urls([format!("redis://127.0.0.1:{}", server.port())])
            .credentials(Always)
            .build()
            .unwrap();
        for cluster in [&by_url, &by_provider] {
            let mut events = cluster.events();
            use_it(&heard, cluster).await;
            server.kill();
            use_it(&heard, cluster).await;
            server.restart();
            eventually(SOON, || {
                drop(cluster.get_client("k"));
                cluster.status().active() == cluster.status().nodes.len()
            })
            .await;
            use_it(&heard, cluster).await;
            let more = Node::new(at(&server, "/7")).unwrap().name("more");
            heard.debug(&cluster.add_node(more).unwrap());
            heard.error(&cluster.remove_node("nobody").unwrap_err());
            heard.debug(&cluster.remove_node("more").unwrap());
            everything_of(&heard, cluster);
            let mut seen = 0;
            let soon = Duration::from_millis(50);
            while let Ok(Some(event)) = tokio::time::timeout(soon, events.next()).await {
                heard.debug(&event);
                seen += 1;
            }
            assert!(seen >= 4, "down, up, two changes: {seen}");
        }
        by_url.shutdown(Duration::from_secs(1)).await;
        everything_of(&heard, &by_url);
    });
    // It did listen.
    for what in [
        "an event: WARN message=node is out node=127.0.0.1",
        "a span: fluster.dial",
        "fluster_ejections_total",
        "NodeDown",
    ] {
        assert!(heard.contains(what), "{what}");
    }
}

#[test]
fn a_password_that_the_server_refuses_is_shown_by_nobody() {
    let heard = listening(|heard| async move {
        let server = Server::builder().password("right").start();
        for rest in ["", "?protocol=resp3"] {
            let cluster = FlusterCluster::from_urls([at(&server, rest)]).unwrap();
            use_it_once(&heard, &cluster).await;
            assert!(heard.contains("WRONGPASS"));
        }
    });
    assert!(heard.contains("config"), "the reason of its ejection");
}

async fn use_it_once(heard: &Heard, cluster: &FlusterCluster) {
    let mut client = cluster.get_client("k").unwrap();
    heard.redis(client.set::<_, _, ()>("k", "v").await.unwrap_err());
    everything_of(heard, cluster);
    heard.error(
        &cluster
            .run_with_key::<u64>("k", &Cmd::get("k"))
            .await
            .unwrap_err(),
    );
}

/// A server that does not know AUTH says what it was told: "unknown command 'AUTH', with args
/// beginning with: 'hunter2'".
#[test]
fn a_password_that_the_server_repeats_is_cut_out() {
    let heard = listening(|heard| async move {
        let server = Server::builder()
            .arg("--rename-command", "AUTH")
            .arg("XAUTH", "--rename-command")
            .arg("HELLO", "XHELLO")
            .start();
        let said = server.try_raw(["AUTH", SECRET]).unwrap().to_string();
        assert!(said.contains(SECRET), "it repeats it: {said}");
        for rest in ["", "?protocol=resp3"] {
            let cluster = FlusterCluster::from_urls([at(&server, rest)]).unwrap();
            use_it_once(&heard, &cluster).await;
        }
    });
    assert!(heard.contains("unknown command"), "the cause is told");
}

#[cfg(feature = "tls")]
#[test]
fn a_private_key_is_shown_by_nobody() {
    use fluster::Tls;
    // Not a key: its text is in no error, and a key that is one holds no word to look for.
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n");
    let pki = TlsPki::new();
    let read = |path| std::fs::read(path).unwrap();
    let real = String::from_utf8(read(pki.client_key())).unwrap();
    let heard = listening(|heard| async move {
        let cert = || read(pki.client_cert());
        for tls in [
            Tls::new().client_cert_pem(cert(), pem.clone()),
            Tls::new().client_cert_pem(pem.clone(), pem.clone()),
            Tls::new().ca_pem(pem.clone()),
            Tls::new()
                .ca_pem(read(pki.ca()))
                .client_cert_pem(cert(), read(pki.client_key())),
        ] {
            heard.debug(&tls);
            let builder = FlusterCluster::builder()
                .urls(["rediss://10.0.0.1"])
                .tls(tls);
            heard.debug(&builder);
            match builder.build() {
                Ok(cluster) => everything_of(&heard, &cluster),
                Err(e) => heard.error(&e),
            }
        }
    });
    for line in real.lines().filter(|line| !line.starts_with("-----")) {
        assert!(!heard.contains(line), "a line of the key");
    }
}

#[cfg(feature = "tls")]
#[test]
fn certificates_are_verified_unless_the_url_says_otherwise_loudly() {
    const WARNING: &str = "WARN message=the server's certificate is NOT verified (#insecure)";
    let run = |rest: &'static str| {
        listening(move |heard| async move {
            let (pki, stranger) = (TlsPki::new(), TlsPki::new());
            let server = Server::builder().tls(&pki).password(SECRET).start();
            let url = format!("rediss://:{SECRET}@127.0.0.1:{}{rest}", server.port());
            let cluster = FlusterCluster::builder()
                .urls([url])
                .tls(fluster::Tls::new().ca_file(stranger.ca()))
                .build()
                .unwrap();
            let mut client = cluster.get_client("k").unwrap();
            let result: Result<(), _> = client.set("k", "v").await;
            everything_of(&heard, &cluster);
            match result {
                Ok(()) => heard.put("the call", "worked"),
                Err(e) => heard.redis(e),
            }
        })
    };
    let verified = run("");
    assert!(
        !verified.contains("the call: worked"),
        "an unknown authority"
    );
    assert!(verified.contains("certificate") && !verified.contains(WARNING));
    let trusting = run("#insecure");
    assert!(trusting.contains("the call: worked"));
    assert!(trusting.contains(WARNING), "it is loud");
}
