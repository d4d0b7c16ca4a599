//! Exclusive connections end with their users, are asked while they are idle, and read no more than they may.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use fluster::{Client, Config, Error, ErrorKind, FlusterCluster, NodeState, Reason};
use parking_lot::Mutex;
use redis::{AsyncCommands, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Server, answer_to_echo, eventually};
use crate::workload::SOON;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn only(server: &Server) -> (FlusterCluster, Client) {
    let cluster = FlusterCluster::from_urls([server.url()]).unwrap();
    let client = cluster.get_client("k").unwrap();
    (cluster, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocking_command_that_nobody_waits_for_takes_nothing() {
    let server = Server::start();
    let (_cluster, client) = only(&server);
    for n in 0..20 {
        let key = format!("list{n}");
        let mut own = client.dedicated().await.unwrap();
        let wait = own.blpop::<_, Option<(String, String)>>(&key, 0.0);
        assert!(tokio::time::timeout(ms(20), wait).await.is_err());
        drop(own);
        // Before anybody asks for a sign of life: that takes 12 s at least.
        eventually(ms(8000), || server.info("blocked_clients") == 0).await;
        server.raw(["RPUSH", &key, "item"]);
        assert_eq!(server.raw(["LLEN", &key]), "1", "item {n} was taken");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_on_a_connection_ends_when_its_user_does() {
    let server = Server::start();
    let (cluster, client) = only(&server);
    // WATCH and MULTI, both of a user who just goes.
    for words in [&["WATCH", "k"][..], &["MULTI"], &["SELECT", "3"]] {
        let mut own = client.dedicated().await.unwrap();
        let mut cmd = redis::cmd(words[0]);
        let _: Value = cmd.arg(&words[1..]).query_async(&mut own).await.unwrap();
        assert_eq!(server.clients().len(), 1, "{words:?}");
        drop(own);
        eventually(SOON, || server.clients().is_empty()).await;
    }
    // Steps of a transaction that are dropped half-way.
    let steps = cluster.transaction::<(), _, _, _>(["k"], |own, pipe| async {
        std::future::pending::<()>().await;
        Ok((own, pipe))
    });
    assert!(tokio::time::timeout(ms(100), steps).await.is_err());
    eventually(SOON, || server.clients().is_empty()).await;
    // A subscription.
    let heard = cluster.subscribe(["news"]).await.unwrap();
    drop(heard);
    eventually(SOON, || server.clients().is_empty()).await;
    // What is clean stays.
    let mut own = client.dedicated().await.unwrap();
    let _: () = own.set("k", 1).await.unwrap();
    drop(own);
    tokio::time::sleep(ms(50)).await;
    assert_eq!(server.clients().len(), 1, "given back as it was");
}

/// Whether a connection was forgotten, and how much was sent on it since.
type Path = (AtomicBool, AtomicUsize);

/// A balancer before a server: it forgets connections, and then swallows what is sent on them.
struct Balancer {
    url: String,
    /// In the order in which they were made.
    connections: Arc<Mutex<Vec<Arc<Path>>>>,
}

impl Balancer {
    async fn before(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let connections: Arc<Mutex<Vec<Arc<Path>>>> = Arc::default();
        let (all, port) = (Arc::clone(&connections), server.port());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
                    return;
                };
                let state = Arc::new((AtomicBool::new(false), AtomicUsize::new(0)));
                all.lock().push(Arc::clone(&state));
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                tokio::spawn(
                    async move { tokio::io::copy(&mut from_server, &mut to_client).await },
                );
                tokio::spawn(async move {
                    let mut buf = [0; 4096];
                    while let Ok(n @ 1..) = from_client.read(&mut buf).await {
                        if state.0.load(SeqCst) {
                            state.1.fetch_add(n, SeqCst);
                        } else if to_server.write_all(&buf[..n]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { url, connections }
    }

    /// Forgets all there are but the first one.
    fn forget_all_but_the_first(&self) -> usize {
        let connections = self.connections.lock();
        let rest = &connections[1..];
        rest.iter().for_each(|c| c.0.store(true, SeqCst));
        rest.len()
    }

    /// On how many forgotten connections something was sent.
    fn swallowed(&self) -> usize {
        let connections = self.connections.lock();
        connections.iter().filter(|c| c.1.load(SeqCst) > 0).count()
    }
}

/// The lane first, then so many exclusive connections, all given back.
async fn with_idle(balancer: &Balancer, idle: usize) -> (FlusterCluster, Client) {
    let cluster = FlusterCluster::from_urls([balancer.url.clone()]).unwrap();
    let mut client = cluster.get_client("k").unwrap();
    let _: () = client.set("k", "v").await.unwrap();
    let mut all = Vec::new();
    for _ in 0..idle {
        let mut own = client.dedicated().await.unwrap();
        let _: String = own.get("k").await.unwrap();
        all.push(own);
    }
    (cluster, client)
}

async fn call(client: &Client) -> Result<String, ErrorKind> {
    let mut own = client.dedicated().await.unwrap();
    own.get::<_, String>("k")
        .await
        .map_err(|e| Error::from_redis(&e).expect("ours").kind())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_connections_that_were_forgotten_together_one_caller_pays_for_all() {
    let server = Server::start();
    let balancer = Balancer::before(&server).await;
    let (cluster, client) = with_idle(&balancer, 5).await;
    assert_eq!(balancer.forget_all_but_the_first(), 5);
    assert_eq!(
        call(&client).await,
        Err(ErrorKind::Timeout),
        "who could know"
    );
    for n in 0..10 {
        assert_eq!(call(&client).await.as_deref(), Ok("v"), "call {n}");
    }
    assert_eq!(balancer.swallowed(), 1);
    assert_eq!(cluster.status().nodes[0].state, NodeState::Up);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_are_asked_though_the_lane_is_busy_and_no_caller_pays() {
    let server = Server::start();
    let balancer = Balancer::before(&server).await;
    let (cluster, mut client) = with_idle(&balancer, 3).await;
    assert_eq!(balancer.forget_all_but_the_first(), 3);
    let waited = std::time::Instant::now();
    while balancer.swallowed() == 0 {
        let _: String = client.get("k").await.unwrap();
        tokio::time::sleep(ms(20)).await;
        assert!(waited.elapsed() < ms(60_000), "nobody was asked");
    }
    // As long as the question may take, and more.
    tokio::time::sleep(ms(3000)).await;
    for n in 0..5 {
        assert_eq!(call(&client).await.as_deref(), Ok("v"), "call {n}");
    }
    assert_eq!(balancer.swallowed(), 1, "one was asked for all");
    let node = &cluster.status().nodes[0];
    assert_eq!(
        (node.state, node.ejections),
        (NodeState::Up, 0),
        "it is well"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_connection_that_was_idle_for_longest_is_asked_and_asking_keeps_none_open() {
    let server = Server::start();
    let cluster = FlusterCluster::builder()
        .urls([server.url()])
        .idle_timeout(ms(25_000))
        .build()
        .unwrap();
    let client = cluster.get_client("k").unwrap();
    let (mut one, mut two) = (
        client.dedicated().await.unwrap(),
        client.dedicated().await.unwrap(),
    );
    let name = |c: &str| {
        c.split(' ')
            .find_map(|w| w.strip_prefix("id=").map(str::to_owned))
    };
    let id: u64 = redis::cmd("CLIENT")
        .arg("ID")
        .query_async(&mut one)
        .await
        .unwrap();
    tokio::time::sleep(ms(50)).await;
    let _: Option<String> = two.get("k").await.unwrap();
    // The one that was used last is the last to be given back, too, and the first to be taken.
    drop(one);
    drop(two);
    let pinged = || -> Vec<String> {
        let clients = server.clients();
        let asked = clients.iter().filter(|c| c.contains("cmd=ping"));
        asked.filter_map(|c| name(c)).collect()
    };
    eventually(SOON * 2, || !pinged().is_empty()).await;
    assert_eq!(pinged(), [id.to_string()], "the older of the two");
    eventually(SOON * 2, || server.clients().is_empty()).await;
}

/// A server that says this to whoever logs in, then to each command; and how much of the endless rest it got
/// rid of.
async fn flood(set_up: Option<&'static [u8]>, head: &'static [u8]) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let sent = Arc::clone(&counter);
            tokio::spawn(async move {
                let mut buf = vec![0; 4096];
                let mut is_set_up = false;
                while let Ok(n @ 1..) = stream.read(&mut buf).await {
                    let said = String::from_utf8_lossy(&buf[..n]).to_uppercase();
                    if let (false, Some(answer)) = (is_set_up, set_up) {
                        // The last one is the ECHO.
                        let commands = said.matches('*').count() - 1;
                        let token = answer_to_echo(&buf[..n]).unwrap_or_default();
                        let all = [&answer.repeat(commands), token.as_bytes()].concat();
                        let _ = stream.write_all(&all).await;
                        is_set_up = true;
                        continue;
                    }
                    if stream.write_all(head).await.is_err() {
                        return;
                    }
                    let piece = vec![b'x'; 64 << 10];
                    while stream.write_all(&piece).await.is_ok() {
                        sent.fetch_add(piece.len() as u64, SeqCst);
                    }
                    return;
                }
            });
        }
    });
    (url, sent)
}

/// What may be on its way in the buffers of both sides beside what was read.
const BUFFERS: u64 = 32 << 20;

const BULK: &[u8] = b"$100000000000\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_without_end_on_an_exclusive_connection_is_given_up() {
    let (url, sent) = flood(Some(b"+OK\r\n"), BULK).await;
    let cluster = FlusterCluster::builder()
        .urls([url])
        .max_reply(8 << 20)
        .response_timeout(ms(20_000))
        .build()
        .unwrap();
    let client = cluster.get_client("k").unwrap();
    let mut own = client.dedicated().await.unwrap();
    let popped = own.blpop::<_, Option<(String, String)>>("k", 0.0).await;
    let e = popped.unwrap_err();
    let error = Error::from_redis(&e).expect("ours");
    assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{error}");
    assert!(
        error.to_string().contains("max_reply"),
        "names the option: {error}"
    );
    assert!(sent.load(SeqCst) < (8 << 20) + BUFFERS, "{sent:?}");
    assert_eq!(
        cluster.status().nodes[0].ejections,
        0,
        "no fault of the node"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_up_without_end_is_given_up_and_is_no_redis() {
    let (url, sent) = flood(None, BULK).await;
    let cluster = FlusterCluster::builder()
        .urls([url])
        .connect_timeout(ms(20_000))
        .deadline(ms(30_000))
        .build()
        .unwrap();
    let mut client = cluster.get_client("k").unwrap();
    let e = client.get::<_, Option<String>>("k").await.unwrap_err();
    assert!(e.to_string().contains("speak Redis"), "{e}");
    assert!(sent.load(SeqCst) < BUFFERS, "{sent:?}");
    let node = &cluster.status().nodes[0];
    assert_eq!(node.reason, Some(Reason::NotRedis));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_is_for_one_call_and_one_message() {
    let server = Server::start();
    let cluster = FlusterCluster::builder()
        .urls([server.url()])
        .max_reply(1 << 20)
        .response_timeout(ms(5000))
        .build()
        .unwrap();
    let client = cluster.get_client("k").unwrap();
    let mut own = client.dedicated().await.unwrap();
    let value = vec![b'x'; 1_000_000];
    let _: () = own.set("k", &value).await.unwrap();
    let mut heard = cluster.subscribe(["news"]).await.unwrap();
    for _ in 0..4 {
        let got: Vec<u8> = own.get("k").await.unwrap();
        assert_eq!(got.len(), value.len());
        let _: i64 = own.publish("news", &value).await.unwrap();
        let message = tokio::time::timeout(SOON, heard.next()).await.unwrap();
        assert!(message.is_some());
    }
    let e = redis::cmd("MGET")
        .arg(&["k", "k"])
        .query_async::<Vec<Vec<u8>>>(&mut own)
        .await
        .unwrap_err();
    assert!(e.to_string().contains("1048576"), "{e}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_without_end_on_a_lane_is_given_up() {
    let (url, sent) = flood(Some(b"+OK\r\n"), BULK).await;
    let cluster = FlusterCluster::builder()
        .urls([url])
        .max_reply(8 << 20)
        .response_timeout(ms(5000))
        .build()
        .unwrap();
    let mut client = cluster.get_client("k").unwrap();
    assert!(client.get::<_, Option<String>>("k").await.is_err());
    assert!(sent.load(SeqCst) < (8 << 20) + BUFFERS, "{sent:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_without_end_is_given_up_soon() {
    for set_up in [None, Some(&b"+OK\r\n"[..])] {
        let (url, sent) = flood(set_up, b"+").await;
        let cluster = FlusterCluster::builder()
            .urls([url])
            .response_timeout(ms(5000))
            .build()
            .unwrap();
        let mut client = cluster.get_client("k").unwrap();
        assert!(client.get::<_, Option<String>>("k").await.is_err());
        assert!(sent.load(SeqCst) < (64 << 10) + BUFFERS, "{sent:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_inside_lists_without_end_are_given_up() {
    let nested: &'static [u8] = Box::leak(b"*1\r\n".repeat(10_000).into_boxed_slice());
    let (url, _) = flood(Some(b"+OK\r\n"), nested).await;
    let cluster = FlusterCluster::from_urls([url]).unwrap();
    let mut client = cluster.get_client("k").unwrap();
    let e = client.get::<_, Value>("k").await.unwrap_err();
    assert_eq!(
        Error::from_redis(&e).unwrap().kind(),
        ErrorKind::ConnectionLost
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_deep_and_how_long_is_an_option() {
    let server = Server::start();
    let tree = format!("return {}1{}", "{".repeat(20), "}".repeat(20));
    let line = "return redis.status_reply(string.rep('x', 3000))";
    for (depth, bytes, answered) in [
        (128, 64 << 10, [true, true]),
        (20, 1024, [true, false]),
        (19, 3000, [false, true]),
    ] {
        for exclusive in [false, true] {
            for (script, is_answered) in [&*tree, line].into_iter().zip(answered) {
                // One each: after such an answer the node is out, as something that is no Redis.
                let builder = FlusterCluster::builder().urls([server.url()]);
                let cluster = builder.max_nesting(depth).max_line(bytes).build().unwrap();
                let client = cluster.get_client("k").unwrap();
                let mut eval = redis::cmd("EVAL");
                eval.arg(script).arg(1).arg("k");
                let asked: Result<Value, _> = match exclusive {
                    true => {
                        eval.query_async(&mut client.dedicated().await.unwrap())
                            .await
                    }
                    false => eval.query_async(&mut client.clone()).await,
                };
                assert_eq!(
                    asked.is_ok(),
                    is_answered,
                    "{depth} {bytes} {script}: {asked:?}"
                );
                let Err(e) = asked else { continue };
                let error = Error::from_redis(&e).expect("ours");
                assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{error}");
                assert!(
                    error.to_string().contains("`max_"),
                    "names the option: {error}"
                );
            }
        }
    }
}

#[test]
fn bounds_that_are_too_small_are_refused_by_name() {
    let all = |toml: &str| {
        let config: Config = toml::from_str(&format!("nodes = ['redis://h']\n{toml}")).unwrap();
        FlusterCluster::try_from(config).map_err(|e| e.to_string())
    };
    for (key, least) in [
        ("max_reply", 65_536),
        ("max_line", 1024),
        ("max_nesting", 8),
        ("max_waiting_calls", 1),
        ("max_waiting_bytes", 65_536),
    ] {
        assert!(all(&format!("{key} = {least}")).is_ok(), "{key}");
        let error = all(&format!("{key} = {}", least - 1)).unwrap_err();
        assert!(error.contains(key) && error.contains("use"), "{error}");
    }
    assert!(all("max_nesting = 1025").is_err());
}
