//! SRV records of a real name server.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use fluster::discovery::{self, Discovery, DiscoveryErrorKind, Srv};
use fluster::{FlusterCluster, Node};

use crate::support::{Daemon, PortClaim, eventually, need};
use crate::workload::SOON;

/// A dnsmasq that knows nothing but these records, and forwards no question.
struct Names {
    _daemon: Daemon,
    address: SocketAddr,
}

impl Names {
    /// `None` where there is no dnsmasq to start.
    fn start(port: u16, records: &[&str]) -> Option<Self> {
        let program = need("dnsmasq")?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let daemon = Daemon::start(
            program,
            |dir| {
                let text = format!(
                    "--keep-in-foreground --conf-file=/dev/null --pid-file={0}/pid --no-resolv --no-hosts --no-poll \
                     --listen-address=127.0.0.1 --bind-interfaces --port={port} --local-ttl=1 --user=root --local=/test/",
                    dir.display()
                );
                let args = text.split_whitespace().map(OsString::from);
                args.chain(records.iter().map(|r| format!("--srv-host={r}").into()))
                    .collect()
            },
            move || std::net::TcpStream::connect(address).is_ok(),
        );
        Some(Self {
            _daemon: daemon,
            address,
        })
    }

    fn source(&self, name: &str) -> Srv {
        Srv::new(name).unwrap().name_server(self.address)
    }
}

/// A port that nobody in this process gets again; its UDP side is free, unlike that of a claim.
fn port() -> u16 {
    PortClaim::new().port()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_become_endpoints_of_the_best_priority() {
    let records = [
        "_redis._tcp.test,B.cache.test,7000,10,5",
        "_redis._tcp.test,a.cache.test,6379,10,0",
        "_redis._tcp.test,spare.cache.test,6379,20,100",
        "_nothing._tcp.test",
    ];
    let Some(names) = Names::start(port(), &records) else {
        return;
    };
    let found = discovery::once(&mut names.source("_redis._tcp.test"), SOON)
        .await
        .unwrap();
    let all: Vec<_> = found
        .endpoints()
        .iter()
        .map(|e| (&*e.id, &*e.host, e.port, e.weight, &*e.meta["priority"]))
        .collect();
    assert_eq!(
        all,
        [
            ("a.cache.test:6379", "a.cache.test", 6379, 1, "10"),
            ("b.cache.test:7000", "b.cache.test", 7000, 5, "10")
        ]
    );
    for (name, needle) in [
        ("_nothing._tcp.test", "no such service here"),
        ("_unknown._tcp.test", "no SRV record"),
    ] {
        let error = discovery::once(&mut names.source(name), SOON)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), DiscoveryErrorKind::NotFound, "{error}");
        let text = error.to_string();
        assert!(text.contains(needle) && text.contains(name), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_follow_the_records_and_survive_the_name_server() {
    let port = port();
    let record = |host: &str| format!("_redis._tcp.test,{host}.cache.test,6379,10,1");
    let [a, b, c] = ["a", "b", "c"].map(record);
    let Some(names) = Names::start(port, &[&a, &b]) else {
        return;
    };
    let cluster = FlusterCluster::builder()
        .node(Node::new("redis://127.0.0.1:1").unwrap())
        .build()
        .unwrap();
    let following = cluster.follow(names.source("_redis._tcp.test")).unwrap();
    following.ready().await;
    assert_eq!(cluster.status().nodes.len(), 2);
    drop(names);
    eventually(SOON, || following.last_error().is_some()).await;
    assert_eq!(cluster.status().nodes.len(), 2, "an error removes nobody");
    let names = Names::start(port, &[&a, &b, &c]);
    eventually(SOON, || cluster.status().nodes.len() == 3).await;
    drop(names);
}

#[tokio::test]
async fn a_name_server_that_is_not_there_is_an_error_with_an_end() {
    let nobody = SocketAddr::from(([127, 0, 0, 1], port()));
    let mut source = Srv::new("_redis._tcp.test").unwrap().name_server(nobody);
    let began = std::time::Instant::now();
    let error = discovery::once(&mut source, Duration::from_secs(10))
        .await
        .unwrap_err();
    assert!(error.is_connection_error(), "{error:?}");
    assert!(began.elapsed() < SOON);
    assert!(
        error
            .to_string()
            .starts_with("srv:_redis._tcp.test: no name server"),
        "{error}"
    );
    source.refresh();
}
