//! What the server has given out and the consumer never heard of is not lost for as long as a lease lasts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use fluster::FlusterCluster;
use fluster::queue::{Consumer, Queue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::rig::{SOON, cluster_of, ms, next, stream_of, text};
use crate::support::{Server, eventually, fleet};

/// Far more than [`SOON`]: what comes back only with the end of its lease comes too late.
const LEASE: Duration = Duration::from_secs(300);

/// A way to a server on which the replies to blocking reads can be kept back.
struct Relay {
    port: u16,
    withholds: Arc<AtomicBool>,
    /// Each word ends the connections that have read.
    cut: watch::Sender<()>,
}

impl Relay {
    async fn start(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = Self {
            port: listener.local_addr().unwrap().port(),
            withholds: Arc::default(),
            cut: watch::Sender::new(()),
        };
        let (to, withholds, cut) = (
            server.port(),
            Arc::clone(&relay.withholds),
            relay.cut.subscribe(),
        );
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, to, Arc::clone(&withholds), cut.clone()));
            }
        });
        relay
    }

    fn cluster(&self) -> FlusterCluster {
        FlusterCluster::from_urls([format!("redis://127.0.0.1:{}", self.port)]).unwrap()
    }

    fn withhold(&self, withholds: bool) {
        self.withholds.store(withholds, SeqCst);
    }

    /// Ends the connections that read.
    fn cut(&self) {
        self.cut.send_replace(());
    }
}

async fn pass(
    mut client: TcpStream,
    port: u16,
    withholds: Arc<AtomicBool>,
    mut cut: watch::Receiver<()>,
) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    cut.mark_unchanged();
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let reads = AtomicBool::new(false);
    let up = async {
        let mut bytes = [0; 1 << 14];
        while let Ok(n @ 1..) = from_client.read(&mut bytes).await {
            let is_read = bytes[..n].windows(10).any(|w| w == b"XREADGROUP");
            reads.fetch_or(is_read, SeqCst);
            if to_server.write_all(&bytes[..n]).await.is_err() {
                return;
            }
        }
    };
    let down = async {
        let mut bytes = [0; 1 << 14];
        while let Ok(n @ 1..) = from_server.read(&mut bytes).await {
            if reads.load(SeqCst) && withholds.load(SeqCst) {
                continue;
            }
            if to_client.write_all(&bytes[..n]).await.is_err() {
                return;
            }
        }
    };
    let cut = async {
        loop {
            if cut.changed().await.is_err() || reads.load(SeqCst) {
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
        () = cut => {}
    }
}

fn pending(server: &Server, queue: &Queue) -> usize {
    let list = server.raw(["XPENDING", &stream_of(queue), "g", "-", "+", "9"]);
    list.matches('-').count()
}

/// A consumer behind the relay whose read has brought it, unheard, the one message of the queue.
async fn unheard(server: &Server, relay: &Relay, name: &str) -> (FlusterCluster, Queue, Consumer) {
    let cluster = relay.cluster();
    let queue = cluster.queue(name).visibility(LEASE);
    let consumer = queue.consumer("g", "w").unwrap();
    // `b`: it waits in a blocking command.
    let waits = |c: &String| c.contains("cmd=xreadgroup") && c.contains("flags=b");
    eventually(SOON, || server.clients().iter().any(waits)).await;
    relay.withhold(true);
    queue.push("x").await.unwrap();
    eventually(SOON, || pending(server, &queue) == 1).await;
    (cluster, queue, consumer)
}

async fn comes_to(consumer: &Consumer) {
    let began = Instant::now();
    let delivery = next(consumer).await;
    assert!(began.elapsed() < LEASE / 2, "{:?}", began.elapsed());
    assert_eq!(
        (delivery.attempt(), &*text(&delivery)),
        (1, "x"),
        "it was never begun"
    );
    assert!(delivery.ack().await.unwrap());
}

#[tokio::test]
async fn what_a_lost_connection_was_given_comes_with_the_next_one() {
    let [server] = fleet();
    let relay = Relay::start(&server).await;
    let (_cluster, _queue, consumer) = unheard(&server, &relay, "cut").await;
    // Whoever waits for it may give up.
    assert!(consumer.pop(ms(50)).await.unwrap().is_none());
    relay.withhold(false);
    relay.cut();
    comes_to(&consumer).await;
}

#[tokio::test]
async fn what_a_silent_connection_was_given_comes_with_the_next_one() {
    let [server] = fleet();
    let relay = Relay::start(&server).await;
    let (_cluster, _queue, consumer) = unheard(&server, &relay, "swallowed").await;
    let pop = tokio::time::timeout(ms(50), consumer.pop(SOON));
    assert!(pop.await.is_err(), "a caller drops its future");
    relay.withhold(false);
    comes_to(&consumer).await;
}

#[tokio::test]
async fn what_a_dropped_consumer_was_given_unheard_goes_to_another_one() {
    let [server] = fleet();
    let relay = Relay::start(&server).await;
    let (_cluster, _queue, consumer) = unheard(&server, &relay, "dropped").await;
    drop(consumer);
    let servers = [server];
    let other = cluster_of(&servers).queue("dropped").visibility(LEASE);
    comes_to(&other.consumer("g", "other").unwrap()).await;
}

#[tokio::test]
async fn a_closed_consumer_has_given_back_what_it_never_heard_of() {
    let [server] = fleet();
    let relay = Relay::start(&server).await;
    let (_cluster, queue, consumer) = unheard(&server, &relay, "closed").await;
    consumer.close().await;
    assert_eq!(pending(&server, &queue), 0, "nothing is held any more");
    relay.withhold(false);
    comes_to(&queue.consumer("g", "w").unwrap()).await;
}
