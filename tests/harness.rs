//! The tests' own tools do what the other tests rely on.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fluster::testing::{End, Fault, Proxy, Way};

use crate::support::{Reply, Server, TlsPki, eventually, eventually_some, fleet, urls, wait_until};

const SOON: Duration = Duration::from_secs(5);

fn listens(port: u16) -> bool {
    TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).is_ok()
}

#[test]
fn a_server_is_killed_and_comes_back_empty_on_its_own_port() {
    let server = Server::start();
    assert_eq!(server.raw(["INCR", "k"]), "1");
    assert!(listens(server.port()), "a started server listens");

    server.kill();
    assert!(!listens(server.port()), "a killed server is gone at once");
    assert_eq!(server.pid(), None);

    server.restart();
    assert!(listens(server.port()), "the same port again");
    assert_eq!(server.get("k"), None, "a plain server keeps nothing");
}

#[test]
fn a_durable_server_comes_back_with_its_data() {
    let server = Server::builder().durable().start();
    server.raw(["SET", "k", "v"]);
    server.restart();
    assert_eq!(server.get("k").as_deref(), Some("v"));
}

#[test]
fn a_stopped_server_accepts_but_does_not_answer_until_it_goes_on() {
    let server = Server::start();
    server.stop();
    assert!(listens(server.port()), "the kernel still accepts");
    assert!(server.try_raw(["PING"]).is_err(), "nobody answers");
    server.cont();
    assert_eq!(server.raw(["PING"]), "PONG");
}

#[test]
fn a_stopped_server_can_be_killed() {
    let server = Server::start();
    server.stop();
    server.kill();
    server.restart();
    assert_eq!(server.raw(["PING"]), "PONG");
}

#[test]
fn replies_of_every_kind_are_read() {
    let server = Server::builder().password("secret").start();
    assert!(
        server.url().starts_with("redis://:secret@127.0.0.1:"),
        "{}",
        server.url()
    );
    server.raw(["RPUSH", "list", "a", "b"]);
    assert_eq!(server.raw(["LRANGE", "list", "0", "-1"]), "a\nb");
    assert_eq!(server.raw(["GET", "none"]), "(nil)");
    assert_eq!(server.raw(["STRLEN", "none"]), "0");
    assert_eq!(server.raw(["SET", "empty", ""]), "OK");
    assert_eq!(server.get("empty").as_deref(), Some(""));
    server
        .connect()
        .unwrap()
        .call([&b"SET"[..], b"binary", b"\xff\r\n\0"])
        .unwrap();
    assert_eq!(
        server.try_raw(["GET", "binary"]).unwrap(),
        Reply::Text(b"\xff\r\n\0".to_vec())
    );
    assert!(
        matches!(server.try_raw(["GET", "list"]), Ok(Reply::Error(e)) if e.starts_with("WRONGTYPE"))
    );
    assert_eq!(
        server.clients(),
        [""; 0],
        "the connection that asks does not count"
    );
    assert!(server.info("total_connections_received") > 0);
}

#[test]
fn a_tls_server_listens_and_has_certificates() {
    let pki = TlsPki::new();
    let server = Server::builder().tls(&pki).start();
    assert!(server.url().starts_with("rediss://"), "{}", server.url());
    assert!(listens(server.port()), "on its TLS port");
    assert_eq!(
        server.raw(["PING"]),
        "PONG",
        "and for us on the Unix socket"
    );
}

#[test]
fn a_unix_server_has_no_port() {
    let server = Server::builder().unix_only().start();
    assert!(server.url().starts_with("unix:///"), "{}", server.url());
    assert!(!listens(server.port()));
    assert_eq!(server.raw(["PING"]), "PONG");
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let error = Server::builder()
        .arg("--no-such-option", "1")
        .try_start()
        .unwrap_err();
    assert!(error.to_string().contains("Bad directive"), "{error}");
}

#[test]
fn a_port_taken_by_a_stranger_is_not_used() {
    let [a, b] = fleet();
    let next = b.port() + 1;
    let stranger = TcpListener::bind(("127.0.0.1", next));
    let c = Server::start();
    assert_ne!(c.port(), next, "taken: {}", stranger.is_ok());
    let mut names = urls([&a, &b, &c]);
    names.dedup();
    assert_eq!(names.len(), 3);
}

#[tokio::test]
async fn waiting_ends_as_soon_as_the_condition_holds() {
    let started = Instant::now();
    eventually(SOON, || started.elapsed() > Duration::from_millis(30)).await;
    assert!(started.elapsed() < SOON);
}

#[tokio::test]
#[should_panic(expected = "tests/harness.rs")]
async fn waiting_in_vain_names_the_callers_line() {
    eventually(Duration::from_millis(20), || false).await;
}

#[test]
fn a_panic_kills_the_server() {
    let port = std::thread::spawn(|| {
        let server = Server::start();
        let port = server.port();
        std::panic::panic_any((port, server.dir().to_owned()));
    });
    let (port, dir) = *port
        .join()
        .unwrap_err()
        .downcast::<(u16, std::path::PathBuf)>()
        .unwrap();
    assert!(!listens(port), "killed");
    assert!(!dir.exists(), "and removed");
}

#[test]
fn servers_die_with_a_runner_that_is_killed() {
    // This test runs itself a second time: with the variable set it is the victim.
    const NOTE: &str = "FLUSTER_NOTE";
    let here = Server::start();
    if let Some(note) = std::env::var_os(NOTE) {
        std::fs::write(note, format!("{} {}", here.port(), here.dir().display())).unwrap();
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    let note = here.dir().join("note");
    let mut runner = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "harness::servers_die_with_a_runner_that_is_killed",
        ])
        .env(NOTE, &note)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut text = String::new();
    wait_until(SOON * 3, || {
        text = std::fs::read_to_string(&note).unwrap_or_default();
        text.contains('/')
    });
    let (port, dir) = text.split_once(' ').unwrap();
    let port: u16 = port.parse().unwrap();
    assert!(listens(port), "the runner's server is up");

    runner.kill().unwrap();
    runner.wait().unwrap();
    wait_until(SOON, || !listens(port));
    wait_until(SOON, || !std::path::Path::new(dir).exists());
}

/// A call through the proxy by a blocking socket: what comes within 300 ms.
fn ping(through: &mut TcpStream) -> std::io::Result<String> {
    use std::io::{Read, Write};

    through.set_read_timeout(Some(Duration::from_millis(300)))?;
    through.write_all(b"PING\r\n")?;
    let mut said = [0; 64];
    let n = through.read(&mut said)?;
    Ok(String::from_utf8_lossy(&said[..n]).into_owned())
}

fn connect(proxy: &Proxy) -> std::io::Result<TcpStream> {
    TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], proxy.port())))
}

#[test]
fn a_proxy_does_what_its_fault_says_and_passes_everything_afterwards() {
    let server = Server::start();
    let proxy = Proxy::start(&server);
    let mut old = connect(&proxy).unwrap();
    assert_eq!(ping(&mut old).unwrap(), "+PONG\r\n");

    proxy.set(Fault::Refuse);
    assert!(connect(&proxy).is_err(), "the port is closed");
    assert_eq!(ping(&mut old).unwrap(), "+PONG\r\n", "the old one goes on");
    assert_eq!(proxy.seen().fired, 1);

    proxy.set(Fault::Hold);
    assert!(ping(&mut connect(&proxy).unwrap()).is_err(), "held");
    assert_eq!(ping(&mut old).unwrap(), "+PONG\r\n", "the old one goes on");

    proxy.set(Fault::Delay(Duration::from_millis(100)));
    let began = Instant::now();
    assert_eq!(ping(&mut old).unwrap(), "+PONG\r\n");
    assert!(began.elapsed() >= Duration::from_millis(100));

    proxy.set(Fault::Garbage);
    assert!(ping(&mut old).unwrap().starts_with("HTTP/1.1"));

    let cut = |end| Fault::Cut {
        way: Way::Reply,
        after: 3,
        end,
    };
    proxy.set(cut(End::Fin));
    assert_eq!(ping(&mut old).unwrap(), "+PO");
    assert_eq!(ping(&mut old).unwrap_or_default(), "", "it is closed");

    proxy.set(Fault::Pass);
    let mut caught = connect(&proxy).unwrap();
    assert_eq!(ping(&mut caught).unwrap(), "+PONG\r\n");
    proxy.set(Fault::Blackhole);
    assert!(ping(&mut caught).is_err(), "an old one hears nothing");
    assert!(
        ping(&mut connect(&proxy).unwrap()).is_err(),
        "nor does a new one"
    );
    proxy.set(Fault::Pass);
    assert!(ping(&mut caught).is_err(), "what was caught stays silent");
    assert_eq!(ping(&mut connect(&proxy).unwrap()).unwrap(), "+PONG\r\n");

    let mut last = connect(&proxy).unwrap();
    assert_eq!(ping(&mut last).unwrap(), "+PONG\r\n");
    proxy.reset_all();
    assert_eq!(proxy.seen().open, 0);
    let port = proxy.port();
    drop(proxy);
    assert!(!listens(port), "a dropped proxy is gone");
}

/// As the page of faults for tests has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_of_the_page_hits() {
    let server = Server::start();
    let proxy = Proxy::start(&server);
    let cluster = fluster::FlusterCluster::from_urls([proxy.url()]).unwrap();
    let get = async || {
        cluster
            .run::<Option<String>>(redis::cmd("GET").arg("k"))
            .await
    };
    let page = include_str!("../src/guide/by-example-testing.md");
    for (fault, shown, fails) in [
        (Fault::Refuse, "Fault::Refuse", true),
        (Fault::Blackhole, "Fault::Blackhole", true),
        (
            Fault::Delay(Duration::from_millis(100)),
            "Fault::Delay(Duration::from_millis(100))",
            false,
        ),
        (
            Fault::Cut {
                way: Way::Reply,
                after: 3,
                end: End::Rst,
            },
            "Fault::Cut { way: Way::Reply, after: 3, end: End::Rst }",
            true,
        ),
    ] {
        assert!(page.contains(shown), "{shown}");
        eventually_some(SOON * 6, async || get().await.ok()).await;
        proxy.set(fault);
        if fault == Fault::Refuse {
            proxy.reset_all();
        }
        let got = get().await;
        assert_eq!(got.is_err(), fails, "{fault:?}: {got:?}");
        assert!(proxy.seen().fired > 0, "{fault:?} did not hit");
        proxy.set(Fault::Pass);
    }
}
