//! Requests that are handled by the owner of their key, over real sockets.

mod bodies;
mod calls;
mod ends;
mod faults;
mod grpc;
mod lasting;
mod marks;
mod process;
mod tls;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use fluster::forward::{
    FixedPeers, ForwardBody, Forwarder, ForwarderBuilder, Keyring, Peers, Unreachable, path_segment,
};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub const LONG: Duration = Duration::from_secs(30);

/// An address that an instance will be at.
pub struct Place {
    pub name: &'static str,
    pub base: String,
    listener: std::net::TcpListener,
}

pub fn place(name: &'static str) -> Place {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    Place {
        name,
        base,
        listener,
    }
}

impl Place {
    pub fn entry(&self) -> (String, String) {
        (self.name.to_owned(), self.base.clone())
    }

    pub fn listener(self) -> TcpListener {
        TcpListener::from_std(self.listener).unwrap()
    }
}

/// A base that nobody listens at.
pub fn nowhere(name: &'static str) -> (String, String) {
    place(name).entry()
}

/// What an application saw of a request.
#[derive(Clone, Debug)]
pub struct Seen {
    pub instance: &'static str,
    pub method: String,
    pub target: String,
    pub version: http::Version,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

pub type Log = Arc<Mutex<Vec<Seen>>>;

/// Ends a task with the test.
pub struct Ends(JoinHandle<()>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub fn ends(task: impl Future<Output = ()> + Send + 'static) -> Ends {
    Ends(tokio::spawn(task))
}

pub struct Instance {
    pub name: &'static str,
    pub base: String,
    pub peers: FixedPeers,
    pub forward: Forwarder,
    _server: Ends,
}

pub fn key() -> Keyring {
    Keyring::from_hex(&"5a".repeat(32)).unwrap()
}

/// The instances of a list, as the one of this name sees them.
pub fn peers(me: &'static str, list: &[(String, String)]) -> FixedPeers {
    let peers = FixedPeers::new(me, list.iter().map(|(name, base)| (name, base)));
    peers.unwrap().keyring(key()).cluster("test")
}

/// Serves an application at a place.
pub fn start(
    place: Place,
    list: &[(String, String)],
    build: impl FnOnce(ForwarderBuilder) -> ForwarderBuilder,
    app: Router,
) -> Instance {
    let peers = peers(place.name, list);
    start_as(place, peers, build, app)
}

/// The same, with what it sees.
pub fn start_as(
    place: Place,
    peers: FixedPeers,
    build: impl FnOnce(ForwarderBuilder) -> ForwarderBuilder,
    app: Router,
) -> Instance {
    let (name, base) = (place.name, place.base.clone());
    let forward = build(Forwarder::builder(peers.clone())).build().unwrap();
    let app = app.layer(forward.layer(path_segment(1)));
    let listener = place.listener();
    let server = ends(async move { axum::serve(listener, app).await.unwrap() });
    Instance {
        name,
        base,
        peers,
        forward,
        _server: server,
    }
}

/// Tells what it sees, and sends the body back.
pub fn echo(instance: &'static str, log: &Log) -> Router {
    let log = Arc::clone(log);
    Router::new().fallback(move |request: Request| async move {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes());
        let body = body.unwrap_or_else(|_| Bytes::from_static(b"broken"));
        log.lock().unwrap().push(Seen {
            instance,
            method: parts.method.to_string(),
            target: parts.uri.path_and_query().unwrap().to_string(),
            version: parts.version,
            headers: parts.headers,
            body: body.clone(),
        });
        let answer = Response::builder()
            .header("x-instance", instance)
            // None of its business: nobody may see it.
            .header("fluster-reason", "not-owner")
            .header("fluster-owner", "nobody");
        answer.body(Body::from(body)).unwrap()
    })
}

/// Instances that see each other, with the echo.
pub fn fleet(names: &[&'static str], log: &Log) -> Vec<Instance> {
    let places: Vec<_> = names.iter().map(|name| place(name)).collect();
    let list: Vec<_> = places.iter().map(Place::entry).collect();
    let start = |place: Place| {
        let app = echo(place.name, log);
        start(place, &list, |builder| builder, app)
    };
    places.into_iter().map(start).collect()
}

/// A key that this one of the list owns.
pub fn key_of(owner: &str, peers: &impl Peers) -> String {
    let is_owned = |key: &String| {
        let owners = peers.candidates(key.as_bytes(), 1);
        owners.first().is_some_and(|peer| *peer.ring_id == *owner)
    };
    (0..10_000).map(|n| format!("k{n}")).find(is_owned).unwrap()
}

/// Nobody but the layer ever sees what is ours.
pub fn nothing_of_ours(headers: &http::HeaderMap) {
    let mut names = headers.keys();
    let is_ours = |name: &http::HeaderName| name.as_str().starts_with("fluster");
    assert!(!names.any(is_ours), "{headers:?}");
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn instance(&self) -> &str {
        self.headers
            .get("x-instance")
            .map_or("", |name| name.to_str().unwrap())
    }

    pub fn reason(&self) -> &str {
        self.headers
            .get("fluster-reason")
            .map_or("", |name| name.to_str().unwrap())
    }
}

pub fn request(
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> http::Request<Full<Bytes>> {
    let mut request = http::Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request
        .body(Full::new(Bytes::copy_from_slice(body)))
        .unwrap()
}

pub async fn connected(base: &str) -> TcpStream {
    TcpStream::connect(base.strip_prefix("http://").unwrap())
        .await
        .unwrap()
}

/// One request by HTTP/1.1, over a connection of its own.
pub async fn ask(
    base: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let io = TokioIo::new(connected(base).await);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    let _connection = ends(async move { drop(connection.await) });
    let mut headers = headers.to_vec();
    if !headers.iter().any(|(name, _)| *name == "host") {
        headers.push(("host", "limiter.example"));
    }
    let answer = sender.send_request(request(method, target, &headers, body));
    read(tokio::time::timeout(LONG, answer).await.unwrap().unwrap()).await
}

/// One request by HTTP/2, over a connection of its own.
pub async fn ask_two(base: &str, method: &str, path: &str, body: &[u8]) -> Answer {
    let io = TokioIo::new(connected(base).await);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    let _connection = ends(async move { drop(connection.await) });
    let target = format!("http://limiter.example{path}");
    let answer = sender.send_request(request(method, &target, &[], body));
    read(tokio::time::timeout(LONG, answer).await.unwrap().unwrap()).await
}

async fn read(answer: http::Response<hyper::body::Incoming>) -> Answer {
    let (parts, body) = answer.into_parts();
    let body = tokio::time::timeout(LONG, body.collect()).await.unwrap();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: body.unwrap().to_bytes(),
    }
}

/// What a peer that is none of ours does with a request.
#[derive(Clone, Copy)]
pub enum Script {
    /// Answers, and keeps the connection.
    Answer(&'static str),
    /// Reads the head and closes.
    Close,
}

/// A peer that writes down what comes, and how many of its connections were closed by the other side.
pub struct Scripted {
    pub heads: Arc<Mutex<Vec<String>>>,
    pub closed: Arc<AtomicUsize>,
    _server: Ends,
}

pub fn scripted(place: Place, script: Script) -> Scripted {
    let (heads, closed) = (
        Arc::new(Mutex::new(Vec::new())),
        Arc::new(AtomicUsize::new(0)),
    );
    let (all, ended) = (Arc::clone(&heads), Arc::clone(&closed));
    let listener = place.listener();
    let server = ends(async move {
        let mut tasks = tokio::task::JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (all, ended) = (Arc::clone(&all), Arc::clone(&ended));
            tasks.spawn(async move {
                let mut bytes = Vec::new();
                loop {
                    let mut chunk = [0; 4096];
                    let n = stream.read(&mut chunk).await.unwrap_or(0);
                    if n == 0 {
                        ended.fetch_add(1, Ordering::SeqCst);
                        return;
                    }
                    bytes.extend_from_slice(&chunk[..n]);
                    if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
                        all.lock().unwrap().push(head);
                        bytes.clear();
                        match script {
                            Script::Answer(text) => {
                                stream.write_all(text.as_bytes()).await.unwrap()
                            }
                            Script::Close => return,
                        }
                    }
                }
            });
        }
    });
    Scripted {
        heads,
        closed,
        _server: server,
    }
}

pub const OK: Script = Script::Answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");

pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LONG, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_reaches_any_instance_is_handled_by_the_owner_of_its_key() {
    let log = Log::default();
    let all = fleet(&["a", "b", "c"], &log);
    let mut owners = std::collections::BTreeSet::new();
    for n in 0..30 {
        let key = format!("user:{n}");
        let owner = all[0].peers.candidates(key.as_bytes(), 1)[0]
            .ring_id
            .to_string();
        for (via, method) in all.iter().zip(["GET", "POST", "PUT"]) {
            let target = format!("/limit/user%3A{n}?via={}&x=%20", via.name);
            let body = if method == "GET" { "" } else { "some body" };
            let headers = [("x-mine", "1"), ("accept", "a, b")];
            let answer = ask(&via.base, method, &target, &headers, body.as_bytes()).await;
            assert_eq!(
                (answer.status, answer.instance()),
                (200, &*owner),
                "{answer:?}"
            );
            assert_eq!(answer.body, body);
            nothing_of_ours(&answer.headers);
            let seen = log.lock().unwrap().pop().unwrap();
            assert_eq!(
                (&*seen.method, &*seen.target),
                (method, &*target),
                "byte for byte"
            );
            assert_eq!(seen.instance, owner);
            assert_eq!(seen.body, body);
            assert_eq!(seen.headers["x-mine"], "1");
            assert_eq!(seen.headers["host"], "limiter.example");
            let hosts = seen
                .headers
                .get("x-forwarded-host")
                .map(|host| host.to_str().unwrap());
            assert_eq!(hosts, (via.name != owner).then_some("limiter.example"));
            nothing_of_ours(&seen.headers);
            assert_eq!(log.lock().unwrap().len(), 0, "handled once");
        }
        owners.insert(owner);
    }
    assert_eq!(owners.len(), 3);
    // What has no key is handled where it comes.
    for via in &all {
        assert_eq!(
            ask(&via.base, "GET", "/status", &[], b"").await.instance(),
            via.name
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_2_goes_on_as_http_2() {
    let log = Log::default();
    let all = fleet(&["a", "b"], &log);
    let key = key_of("b", &all[0].peers);
    for _ in 0..3 {
        let answer = ask_two(&all[0].base, "POST", &format!("/limit/{key}"), b"two").await;
        assert_eq!(
            (answer.status, answer.instance(), &*answer.body),
            (200, "b", &b"two"[..])
        );
        let seen = log.lock().unwrap().pop().unwrap();
        assert_eq!(seen.version, http::Version::HTTP_2);
        assert_eq!(seen.headers["x-forwarded-host"], "limiter.example");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_of_one_connection_do_not_go_on() {
    let (a, b) = (place("a"), place("b"));
    let list = [a.entry(), b.entry()];
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=9\r\nx-stays: 1\r\nfluster-owner: z\r\n\r\nok";
    let peer = scripted(b, Script::Answer(answer));
    let log = Log::default();
    let a = start(a, &list, |builder| builder, echo("a", &log));
    let target = format!("/x/{}", key_of("b", &a.peers));
    let headers = [
        ("connection", "keep-alive, x-private"),
        ("x-private", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-authorization", "secret"),
        ("te", "gzip"),
        ("upgrade", "h2c"),
        ("fluster-anything", "1"),
        ("x-forwarded-for", "1.1.1.1"),
        ("x-stays", "1"),
    ];
    let answer = ask(&a.base, "GET", &target, &headers, b"").await;
    let names: Vec<_> = answer
        .headers
        .keys()
        .map(|name| name.as_str().to_owned())
        .collect();
    assert!(names.contains(&"x-stays".to_owned()), "{names:?}");
    for gone in ["x-hop", "keep-alive", "connection", "fluster-owner"] {
        assert!(!names.contains(&gone.to_owned()), "{names:?}");
    }
    let head = peer.heads.lock().unwrap()[0].to_lowercase();
    let lines: Vec<_> = head
        .lines()
        .map(|line| line.split(':').next().unwrap())
        .collect();
    for stays in [
        "x-stays",
        "host",
        "x-forwarded-for",
        "fluster-forwarded",
        "fluster-deadline-ms",
    ] {
        assert!(lines.contains(&stays), "{head}");
    }
    for gone in [
        "x-private",
        "keep-alive",
        "proxy-authorization",
        "te",
        "upgrade",
        "connection",
        "fluster-anything",
    ] {
        assert!(!lines.contains(&gone), "{gone}: {head}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_socket_is_refused_clearly_where_it_would_have_to_go_on() {
    use axum::extract::ws::WebSocketUpgrade;

    let places = [place("a"), place("b")];
    let list: Vec<_> = places.iter().map(Place::entry).collect();
    let all = places.map(|place| {
        let ws = axum::routing::any(|upgrade: WebSocketUpgrade| async {
            upgrade.on_upgrade(|_| async {})
        });
        start(
            place,
            &list,
            |builder| builder,
            Router::new().route("/ws/{key}", ws),
        )
    });
    let headers = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let target = format!("/ws/{}", key_of("b", &all[0].peers));
    let refused = ask(&all[0].base, "GET", &target, &headers, b"").await;
    assert_eq!((refused.status, refused.reason()), (501, "unsupported"));
    assert!(
        String::from_utf8_lossy(&refused.body).contains("WebSockets"),
        "{refused:?}"
    );
    let text = headers
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .concat();
    let mut owner = connected(&all[1].base).await;
    let hello = format!("GET {target} HTTP/1.1\r\nhost: x\r\n{text}\r\n");
    owner.write_all(hello.as_bytes()).await.unwrap();
    let mut line = [0; 12];
    owner.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"HTTP/1.1 101", "its owner takes it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_one_that_is_off_the_list_are_closed() {
    let (a, b) = (place("a"), place("b"));
    let list = [a.entry(), b.entry()];
    let peer = scripted(b, OK);
    let log = Log::default();
    let a = start(a, &list, |builder| builder, echo("a", &log));
    let target = format!("/x/{}", key_of("b", &a.peers));
    for _ in 0..5 {
        assert_eq!(ask(&a.base, "GET", &target, &[], b"").await.body, "ok");
    }
    assert_eq!(peer.heads.lock().unwrap().len(), 5);
    assert_eq!(peer.closed.load(Ordering::SeqCst), 0, "they were kept");
    a.peers.replace([list[0].clone()]).unwrap();
    until("closed", || peer.closed.load(Ordering::SeqCst) > 0).await;
    assert_eq!(ask(&a.base, "GET", &target, &[], b"").await.instance(), "a");
}

#[tokio::test]
async fn handle_or_forward_is_the_same_for_a_request_in_hand() {
    let log = Log::default();
    let all = fleet(&["a", "b"], &log);
    let handle = |_: http::Request<Bytes>| async {
        http::Response::new(ForwardBody::from("here")) as http::Response<ForwardBody>
    };
    for (owner, expected) in [("a", "here"), ("b", "sent")] {
        let key = key_of(owner, &all[0].peers);
        let request = http::Request::post(format!("/x/{key}")).body(Bytes::from_static(b"sent"));
        let answer = all[0]
            .forward
            .handle_or_forward(&[key.as_bytes()], request.unwrap(), handle)
            .await;
        assert_eq!(
            answer.unwrap().collect().await.unwrap().to_bytes(),
            expected
        );
    }
    let (one, other) = (key_of("a", &all[0].peers), key_of("b", &all[0].peers));
    let keys: [&[u8]; 2] = [one.as_bytes(), other.as_bytes()];
    let request = http::Request::get("/").body(Bytes::new()).unwrap();
    let error = all[0]
        .forward
        .handle_or_forward(&keys, request, handle)
        .await
        .unwrap_err();
    assert_eq!(error.kind().as_str(), "keys-diverged");
    assert!(error.outcome().is_safe_to_repeat() && error.attempts() == 0);
    assert_eq!(log.lock().unwrap().len(), 1);
}

/// Who stands in, in tests that want it.
pub fn stand_in(builder: ForwarderBuilder) -> ForwarderBuilder {
    builder.unreachable(Unreachable::StandIn)
}
