//! Whole instances over real sockets, where something about them is odd.

use std::future::Future;
use std::net::UdpSocket;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Gossip, GossipBuilder, GossipErrorKind, GossipEvent, HealReport, Keyring};
use crate::placement::Placement;

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(50);

fn plain() -> GossipBuilder {
    Gossip::builder("test")
        .insecure_plaintext()
        .drain(SHORT)
        .linger(SHORT)
}

/// Waits for a future where there is no runtime.
fn outside<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[tokio::test]
async fn a_flood_does_not_stop_the_thread_that_the_instance_shares() {
    // Of a key that is ours by its id, so that each costs the driver more than the senders.
    let key = Keyring::generate();
    let mut datagram = [1; 1_100];
    datagram[1] = key.ids()[0];
    let sealed = Gossip::builder("test").keyring(key);
    let gossip = sealed.drain(SHORT).linger(SHORT).start().await;
    let gossip = gossip.expect("it starts");
    let (to, done) = (gossip.whoami().address, Arc::new(AtomicBool::new(false)));
    let senders: Vec<_> = (0..2)
        .map(|_| {
            let done = Arc::clone(&done);
            std::thread::spawn(move || {
                let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
                while !done.load(SeqCst) {
                    // What does not fit is lost, and the next one does.
                    let _ = socket.send_to(&datagram, to);
                }
            })
        })
        .collect();
    // Its time is kept by another thread: where the driver never yields, no timer of this one goes off.
    let watch = {
        let done = Arc::clone(&done);
        std::thread::spawn(move || {
            for _ in 0..3_000 {
                std::thread::sleep(Duration::from_millis(10));
                if done.load(SeqCst) {
                    return true;
                }
            }
            // The flood ends, and with it the test.
            !done.swap(true, SeqCst)
        })
    };
    for _ in 0..10 {
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

#[test]
fn leaving_goes_on_when_the_runtime_that_asked_for_it_is_gone() {
    let runtime = || tokio::runtime::Runtime::new().expect("a runtime");
    let home = runtime();
    let gossip = home.block_on(plain().start()).expect("it starts");
    let asking = runtime();
    let asked = gossip.clone();
    asking.block_on(async {
        let soon = timeout(Duration::from_millis(1), asked.leave()).await;
        assert!(soon.is_err(), "it takes longer");
    });
    asking.shutdown_background();
    let report = home.block_on(async { timeout(LONG, gossip.leave()).await });
    assert_eq!(report.expect("it ends").errors, Vec::<String>::new());
    let error = home.block_on(gossip.wait_ready(1, LONG));
    assert_eq!(error.expect_err("it left").kind(), GossipErrorKind::Left);
    let healed = home.block_on(async { timeout(Duration::from_secs(20), gossip.heal_now()).await });
    assert_eq!(healed.expect("at once"), HealReport::default());
}

#[test]
fn leaving_says_so_when_the_runtime_of_the_instance_is_gone() {
    let home = tokio::runtime::Runtime::new().expect("a runtime");
    let gossip = home.block_on(plain().start()).expect("it starts");
    home.shutdown_background();
    let other = tokio::runtime::Runtime::new().expect("a runtime");
    let report = other.block_on(async { timeout(LONG, gossip.leave()).await });
    let report = report.expect("it ends");
    assert_eq!(report.errors.len(), 1, "{report:?}");
}

#[test]
fn healing_needs_no_runtime_of_the_caller() {
    let home = tokio::runtime::Runtime::new().expect("a runtime");
    let gossip = home
        .block_on(plain().runtime(home.handle().clone()).start())
        .expect("it starts");
    let report = outside(gossip.heal_now());
    assert!(report.answered.is_empty() && report.silent.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hears_of_a_member_finds_it_in_the_picture() {
    let first = plain().start().await.expect("it starts");
    let mut events = first.events();
    let at = first.whoami().address;
    let seeds = crate::discovery::Static::new([crate::discovery::Endpoint::new(
        at.ip().to_string(),
        at.port(),
    )]);
    let second = plain().seeds(seeds).start().await.expect("it starts");
    let up = async {
        loop {
            if let Some(GossipEvent::MemberUp(member)) = events.next().await {
                return (member, first.view());
            }
        }
    };
    let (member, view) = timeout(LONG, up).await.expect("it comes");
    assert_eq!(member.address, second.whoami().address);
    assert!(view.at(member.address).is_some_and(|m| m.is_reachable()));
}
