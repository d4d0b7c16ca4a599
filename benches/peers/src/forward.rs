//! What a forwarded request costs: handled here, forwarded once, and through a plain proxy, in the same run.
//!
//! `forward [SECONDS [ROUNDS]]`: four servers, each on a thread of its own: the owner's with the layer, another
//! instance with the layer, a proxy of hyper and hyper-util without any rules, and the bare service that it leads to. The
//! same client asks them in turn, with 1 and with 64 tasks; each line is the median of the rounds.

use std::convert::Infallible;
use std::future::Future;
use std::hash::Hasher as _;
use std::path::PathBuf;
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fluster::forward::{
    FixedPeers, ForwardBody, ForwardFuture, Forwarder, Keyring, Peers, path_segment,
};
use fluster_peers::histogram::Histogram;
use fluster_peers::stats::Spread;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use siphasher::sip128::{Hasher128 as _, SipHasher24};
use tokio::net::{TcpListener, TcpStream};
use tower_layer::Layer as _;
use tower_service::Service;

const ANSWER: &[u8] = b"4 left\n";

/// What an application does: next to nothing.
#[derive(Clone)]
struct Bare;

impl<B> Service<Request<B>> for Bare {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        std::future::ready(Ok(Response::new(Full::new(Bytes::from_static(ANSWER)))))
    }
}

type Answer =
    ForwardFuture<std::future::Ready<Result<Response<Full<Bytes>>, Infallible>>, Infallible>;

/// A server on a thread of its own.
struct Server {
    schedstat: PathBuf,
}

impl Server {
    fn start<S, F>(
        listener: std::net::TcpListener,
        make: impl FnOnce() -> S + Send + 'static,
    ) -> Self
    where
        S: Fn(Request<Incoming>) -> F + Clone + 'static,
        F: Future<Output = Result<Response<ForwardBody>, Infallible>> + Send + 'static,
    {
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let own = std::fs::read_link("/proc/thread-self").expect("linux");
            tell.send(own).expect("it waits");
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime.expect("a runtime"), async move {
                listener.set_nonblocking(true).expect("a listener");
                let listener = TcpListener::from_std(listener).expect("a listener");
                let answer = make();
                loop {
                    let (stream, _) = listener.accept().await.expect("a client");
                    stream.set_nodelay(true).expect("a socket");
                    let service = service_fn(answer.clone());
                    let talk = hyper::server::conn::http1::Builder::new();
                    tokio::task::spawn_local(talk.serve_connection(TokioIo::new(stream), service));
                }
            });
        });
        let own = told.recv().expect("it started");
        Self {
            schedstat: PathBuf::from("/proc").join(own).join("schedstat"),
        }
    }

    /// Microseconds of CPU so far.
    fn cpu(&self) -> f64 {
        let text = std::fs::read_to_string(&self.schedstat).expect("schedstat");
        let nanos: f64 = text
            .split(' ')
            .next()
            .and_then(|n| n.parse().ok())
            .expect("a number");
        nanos / 1e3
    }
}

fn listener() -> (std::net::TcpListener, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    (listener, base)
}

fn layered(
    name: &'static str,
    list: &[(&'static str, String)],
    key: Keyring,
) -> impl FnOnce() -> Layered + Send + use<> {
    let peers =
        FixedPeers::new(name, list.iter().map(|(name, base)| (name, base))).expect("a list");
    let forward = Forwarder::new(&peers.keyring(key)).expect("a base");
    move || Layered(forward)
}

#[derive(Clone)]
struct Layered(Forwarder);

impl Layered {
    fn answer(self) -> impl Fn(Request<Incoming>) -> Answer + Clone + 'static {
        let service = self.0.layer(path_segment(1)).layer(Bare);
        move |request| service.clone().call(request)
    }
}

/// Whoever is measured: where it is asked, and whose CPU it is.
struct Case<'a> {
    name: &'static str,
    base: &'a str,
    servers: Vec<&'a Server>,
    /// The one that is compared with the other one of its kind.
    hop: &'a Server,
}

async fn ask(base: &str, target: String, tasks: usize, lasts: Duration) -> Histogram {
    let address = base.trim_start_matches("http://").to_owned();
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..tasks {
        let (address, target) = (address.clone(), target.clone());
        workers.spawn(async move {
            let stream = TcpStream::connect(&address).await.expect("the server");
            stream.set_nodelay(true).expect("a socket");
            let (mut sender, talk) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
                .await
                .expect("HTTP");
            tokio::spawn(talk);
            let mut times = Histogram::default();
            let until = Instant::now() + lasts;
            while Instant::now() < until {
                let request = Request::post(&target).header("host", "limiter");
                let began = Instant::now();
                sender.ready().await.expect("open");
                let answer = sender
                    .send_request(request.body(Empty::<Bytes>::new()).expect("a request"))
                    .await;
                let body = answer
                    .expect("an answer")
                    .into_body()
                    .collect()
                    .await
                    .expect("a body");
                times.record(began.elapsed());
                assert_eq!(body.to_bytes(), ANSWER);
            }
            times
        });
    }
    let mut all = Histogram::default();
    while let Some(times) = workers.join_next().await {
        all.merge(&times.expect("no panic"));
    }
    all
}

fn main() {
    let mut words = std::env::args().skip(1);
    let lasts = Duration::from_secs_f64(
        words
            .next()
            .map_or(2.0, |word| word.parse().expect("seconds")),
    );
    let rounds: usize = words.next().map_or(7, |word| word.parse().expect("rounds"));
    let ((bare, to_bare), (a, to_a), (b, to_b), (plain, to_plain)) =
        (listener(), listener(), listener(), listener());
    let key = Keyring::generate();
    let list = [("a", to_a.clone()), ("b", to_b.clone())];
    let seen = FixedPeers::new("a", list.iter().map(|(name, base)| (name, base))).expect("a list");
    let is_bs = |key: &String| !seen.owns(key.as_bytes());
    let of_b = (0..1000)
        .map(|n| format!("k{n}"))
        .find(is_bs)
        .expect("a key of b");
    let target = format!("/limit/{of_b}");

    let bare = Server::start(bare, || {
        |request| async move {
            drop::<Request<Incoming>>(request);
            Ok(Response::new(ForwardBody::from(Bytes::from_static(ANSWER))))
        }
    });
    let (on_a, on_b) = (layered("a", &list, key.clone()), layered("b", &list, key));
    let a = Server::start(a, move || on_a().answer());
    let b = Server::start(b, move || on_b().answer());
    let proxy = {
        let to = to_bare.clone();
        Server::start(plain, move || {
            let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build_http();
            move |mut request: Request<Incoming>| {
                let (client, to) = (client.clone(), to.clone());
                async move {
                    let path = request
                        .uri()
                        .path_and_query()
                        .map_or("/", |path| path.as_str());
                    *request.uri_mut() = format!("{to}{path}").parse().expect("a target");
                    let answer = client.request(request).await.expect("the bare one answers");
                    Ok(answer.map(ForwardBody::new))
                }
            }
        })
    };
    let cases = [
        Case {
            name: "handled here",
            base: &to_b,
            servers: vec![&b],
            hop: &b,
        },
        Case {
            name: "forwarded",
            base: &to_a,
            servers: vec![&a, &b],
            hop: &a,
        },
        Case {
            name: "plain proxy",
            base: &to_plain,
            servers: vec![&proxy, &bare],
            hop: &proxy,
        },
    ];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    println!(
        "{:>14} {:>5} {:>12} {:>12} {:>12} {:>12}",
        "", "tasks", "p50 us", "req/s", "CPU us/req", "of the hop"
    );
    for tasks in [1, 64] {
        let mut rows = vec![(Vec::new(), Vec::new(), Vec::new(), Vec::new()); cases.len()];
        for round in 0..=rounds {
            for (case, row) in cases.iter().zip(&mut rows) {
                let before = (
                    case.servers.iter().map(|s| s.cpu()).sum::<f64>(),
                    case.hop.cpu(),
                );
                let times = runtime.block_on(ask(case.base, target.clone(), tasks, lasts));
                let after = (
                    case.servers.iter().map(|s| s.cpu()).sum::<f64>(),
                    case.hop.cpu(),
                );
                let n = times.samples() as f64;
                // The first one warms up.
                if round > 0 {
                    row.0.push(times.quantile(0.5));
                    row.1.push(n / lasts.as_secs_f64());
                    row.2.push((after.0 - before.0) / n);
                    row.3.push((after.1 - before.1) / n);
                }
            }
        }
        let median = |numbers: &Vec<f64>| {
            Spread::of(numbers.iter().copied()).map_or(0.0, |spread| spread.median)
        };
        for (case, row) in cases.iter().zip(&rows) {
            let [p50, rate, cpu, hop] = [&row.0, &row.1, &row.2, &row.3].map(median);
            println!(
                "{:>14} {tasks:>5} {p50:>12.1} {rate:>12.0} {cpu:>12.1} {hop:>12.1}",
                case.name
            );
        }
        let ratio =
            |one: usize,
             other: usize,
             of: fn(&(Vec<f64>, Vec<f64>, Vec<f64>, Vec<f64>)) -> &Vec<f64>| {
                median(of(&rows[one])) / median(of(&rows[other]))
            };
        println!(
            "  forwarded / here: p50 {:.2}; forwarded / proxy: p50 {:.2}, CPU {:.2}, CPU of the hop {:.2}",
            ratio(1, 0, |row| &row.0),
            ratio(1, 2, |row| &row.0),
            ratio(1, 2, |row| &row.2),
            ratio(1, 2, |row| &row.3),
        );
    }
    mac();
}

/// The MAC of a mark alone: SipHash-2-4 with 128 bits, over as many bytes as a short request's mark has.
fn mac() {
    let tagger = SipHasher24::new_with_key(&[7; 16]);
    let text = [0x5a; 240];
    let began = Instant::now();
    let rounds = 2_000_000u64;
    for n in 0..rounds {
        let mut tagger = tagger;
        tagger.write(std::hint::black_box(&text));
        tagger.write(&n.to_le_bytes());
        std::hint::black_box(tagger.finish128().as_bytes());
    }
    println!(
        "the MAC of a mark: {:.2} us",
        began.elapsed().as_secs_f64() * 1e6 / rounds as f64
    );
}
