//! Too much waits for one server that takes nothing: a caller waits its time, and its write goes nowhere else.

use std::time::Duration;

use fluster::{ErrorKind, Failover, FlusterCluster, NodeState, Outcome};
use redis::{Cmd, Value};
use tokio::task::JoinHandle;

use crate::support::{Server, fleet, urls};

const LONG: Duration = Duration::from_secs(60);

/// Two servers, the first of which takes nothing any more, and a key of it.
struct Full {
    servers: [Server; 2],
    cluster: FlusterCluster,
    key: String,
    filler: JoinHandle<()>,
}

impl Full {
    async fn with(failover: Failover, response_timeout: Duration) -> Self {
        let servers = fleet::<2>();
        let cluster = FlusterCluster::builder()
            .urls(urls(&servers))
            .failover(failover)
            .max_waiting_bytes(64 << 10)
            .response_timeout(response_timeout)
            .connect_timeout(LONG)
            .deadline(LONG)
            .build()
            .unwrap();
        let mut keys = (0..).map(|n| format!("k{n}"));
        let owner = servers[0].name();
        let key = keys.find(|key| cluster.get_node(key).unwrap() == *owner);
        let key = key.unwrap();
        let _: Value = cluster.run(&Cmd::get(&key)).await.unwrap();
        servers[0].stop();
        let filler = {
            // More than the sockets of both sides take.
            let set = Cmd::set(&key, vec![b'x'; 48 << 20]);
            let cluster = cluster.clone();
            let mut call = Box::pin(async move { drop(cluster.run::<Value>(&set).await) });
            // It has its place with its first poll.
            assert!(futures_util::poll!(&mut call).is_pending());
            tokio::spawn(call)
        };
        // Until the sockets are full: while some of it can be written, a small call finds a place behind it.
        let look = cluster.with_deadline(Duration::from_millis(200));
        loop {
            let looked = look.run::<Option<String>>(&Cmd::get(&key)).await;
            match looked.map_err(|e| e.kind()) {
                Err(ErrorKind::Saturated) => break,
                Err(ErrorKind::Timeout) => {}
                other => panic!("the owner does not answer: {other:?}"),
            }
        }
        Self {
            servers,
            cluster,
            key,
            filler,
        }
    }

    fn elsewhere(&self) -> Option<String> {
        self.servers[1].get(&self.key)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_finds_no_room_goes_to_no_other_node() {
    // Nobody waits so long: whoever does shows that the node is silent, and then it is out.
    let full = Full::with(Failover::IfSafe, LONG).await;
    let set = Cmd::set(&full.key, "ours");
    let soon = full.cluster.with_deadline(Duration::from_secs(1));
    let error = soon.run::<Value>(&set).await;
    let error = error.expect_err("there was no room");
    assert_eq!(error.kind(), ErrorKind::Saturated, "{error}");
    assert_eq!(error.outcome(), Outcome::NotSent);
    assert_eq!(
        error.node().map(ToString::to_string),
        Some(full.servers[0].name())
    );
    assert_eq!(full.elsewhere(), None, "nobody would look for it there");
    assert_eq!(full.cluster.status().nodes[0].state, NodeState::Up);
    full.filler.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_finds_no_room_goes_to_the_next_node() {
    let full = Full::with(Failover::IfSafe, Duration::from_secs(3)).await;
    let get = Cmd::get(&full.key);
    let read: Option<String> = full.cluster.run(&get).await.unwrap();
    assert_eq!(read, None, "the stand-in was asked");
    full.filler.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_every_failure_goes_on_so_does_this() {
    let full = Full::with(Failover::Always, Duration::from_secs(3)).await;
    let set = Cmd::set(&full.key, "ours");
    let _: Value = full.cluster.run(&set).await.unwrap();
    assert_eq!(full.elsewhere().as_deref(), Some("ours"));
    full.filler.await.unwrap();
}
