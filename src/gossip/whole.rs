//! Whole instances over real sockets, where something about them is odd.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Gossip, GossipBuilder, GossipErrorKind};
use crate::placement::Placement;

const LONG: Duration = Duration::from_secs(30);

fn plain() -> GossipBuilder {
    let short = Duration::from_millis(50);
    Gossip::builder("test")
        .insecure_plaintext()
        .drain(short)
        .linger(short)
}

#[tokio::test]
async fn a_flood_does_not_stop_the_thread_that_the_instance_shares() {
    let gossip = plain().start().await.expect("it starts");
    let (to, done) = (gossip.whoami().address, Arc::new(AtomicBool::new(false)));
    let senders: Vec<_> = (0..2)
        .map(|_| {
            let done = Arc::clone(&done);
            std::thread::spawn(move || {
                let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
                while !done.load(SeqCst) {
                    // What does not fit is lost, and the next one does.
                    let _ = socket.send_to(&[1; 900], to);
                }
            })
        })
        .collect();
    // Its time is kept by another thread: where the driver never yields, no timer of this one goes off.
    let watch = {
        let done = Arc::clone(&done);
        std::thread::spawn(move || {
            for _ in 0..1_000 {
                std::thread::sleep(Duration::from_millis(10));
                if done.load(SeqCst) {
                    return true;
                }
            }
            // The flood ends, and with it the test.
            !done.swap(true, SeqCst)
        })
    };
    for _ in 0..50 {
        sleep(Duration::from_millis(10)).await;
    }
    let in_time = !done.swap(true, SeqCst);
    let _ = watch.join();
    for sender in senders {
        sender.join().expect("it sends");
    }
    assert!(in_time, "the ticker stood while datagrams came");
    let _ = timeout(LONG, gossip.leave()).await.expect("it leaves");
}

#[tokio::test]
async fn a_weight_that_the_rule_does_not_have_is_refused_where_it_is_said() {
    let two = std::num::NonZeroU16::new(2).expect("not 0");
    let refused = plain()
        .placement(Placement::modulo())
        .weight(two)
        .start()
        .await;
    let error = refused.expect_err("no weights");
    assert_eq!(error.kind(), GossipErrorKind::Option);
    assert!(error.to_string().contains("`placement`"), "{error}");
    let gossip = plain().placement(Placement::modulo()).start().await;
    let gossip = gossip.expect("it starts");
    let error = gossip.set_weight(two).expect_err("no weights");
    assert_eq!(error.kind(), GossipErrorKind::Option);
    gossip.wait_ready(1, LONG).await.expect("it is ready");
    assert!(gossip.owns("k"));
}
