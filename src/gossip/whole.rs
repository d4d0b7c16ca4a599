//! Whole instances over real sockets, where something about them is odd.

use std::future::Future;
use std::net::UdpSocket;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::instance::{Instance, Output, Setup};
use super::record::Record;
use super::{
    Gossip, GossipBuilder, GossipErrorKind, GossipEvent, GossipProfile, HealReport, Keyring, Phase,
};
use crate::clock;
use crate::discovery::{Endpoint, Static};
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
    let seeds = Static::new([Endpoint::new(at.ip().to_string(), at.port())]);
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

/// An instance of a later version, at a socket of its own.
struct Later {
    instance: Instance,
    socket: tokio::net::UdpSocket,
}

impl Later {
    async fn start(key: &Keyring, seed: std::net::SocketAddr) -> Self {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await;
        let socket = socket.expect("a socket");
        let wall = std::time::UNIX_EPOCH.elapsed().expect("a clock");
        let setup = Setup {
            cluster: "test".into(),
            address: socket.local_addr().expect("an address"),
            wall: wall.as_millis() as u64,
            record: Record {
                ring_id: "later".into(),
                http: None,
                phase: Phase::Joining,
                weight: 1,
                labels: [].into(),
            },
            times: GossipProfile::Lan.times(),
            keyring: Some(key.clone()),
            seed: [7; 32],
        };
        let mut instance = Instance::new(setup, clock::now());
        instance.set_doors(clock::now(), vec![seed]);
        Self { instance, socket }
    }

    /// What the driver does, for so long.
    async fn live(&mut self, lasts: Duration) {
        let end = clock::now() + lasts;
        let mut datagram = vec![0; 2_048];
        while clock::now() < end {
            while let Some(output) = self.instance.next_output() {
                if let Output::Send { to, bytes } = output {
                    let _ = self.socket.send_to(&bytes, to).await;
                }
            }
            let due = self.instance.next_deadline().min(end);
            match tokio::time::timeout_at(due.into(), self.socket.recv_from(&mut datagram)).await {
                Ok(Ok((n, _))) => self.instance.datagram(clock::now(), &datagram[..n]),
                Ok(Err(_)) => {}
                Err(_) => self.instance.tick(clock::now()),
            }
        }
    }

    async fn until(&mut self, what: &str, holds: impl Fn() -> bool) {
        let began = clock::now();
        while !holds() {
            assert!(clock::since(began) < LONG, "{what}");
            self.live(SHORT).await;
        }
    }
}

#[tokio::test]
async fn an_instance_of_a_later_version_lives_among_four_of_todays_and_nothing_of_it_is_lost() {
    let key = Keyring::generate();
    let mut all: Vec<Gossip> = Vec::new();
    let start = async |n: usize, seed: Option<std::net::SocketAddr>| {
        let builder = Gossip::builder("test").keyring(key.clone()).drain(SHORT);
        let builder = builder.linger(SHORT).ring_id(format!("today-{n}"));
        let seeds = seed.map(|seed| Endpoint::new(seed.ip().to_string(), seed.port()));
        let started = builder.seeds(Static::new(seeds)).start().await;
        started.expect("it starts")
    };
    for n in 0..4 {
        let seed = all.first().map(|first| first.whoami().address);
        all.push(start(n, seed).await);
    }
    let first = all[0].whoami().address;
    let mut later = Later::start(&key, first).await;
    let ready = |gossip: &Gossip| gossip.members(|member| member.is_ready()).len();
    let is_whole = || all.iter().all(|gossip| ready(gossip) == 5);
    later.until("all five are there", is_whole).await;

    // A record with more fields than are known today, and an item of a kind that is not.
    let said = Record {
        ring_id: "later".into(),
        http: None,
        phase: Phase::Ready,
        weight: 3,
        labels: [("zone".into(), "b".into())].into(),
    };
    let mut item = said.item(later.instance.me(), 90).expect("it fits");
    item[1] = 9;
    item.extend(b"\x05later");
    let mut unknown = item.clone();
    unknown[0] = 42;
    later.instance.say_raw(clock::now(), &item);
    later.instance.say_raw(clock::now(), &unknown);
    let knows = |gossip: &Gossip| {
        let unknown = gossip.shared().numbers.lock().items.unknown > 0;
        let members = gossip.members(|member| {
            let zone = member.labels.get("zone").is_some_and(|zone| &**zone == "b");
            &*member.ring_id == "later" && member.weight == 3 && zone
        });
        members.len() == 1 && unknown
    };
    let all_know = || all.iter().all(knows);
    later
        .until("its labels and its item are known", all_know)
        .await;

    // Who starts now asks one of today's alone, and has all of it from there.
    let late = start(4, Some(all[1].whoami().address)).await;
    later.until("the late one knows", || knows(&late)).await;
    all.push(late);
    let rings = || all.iter().map(|gossip| gossip.view().fingerprint());
    let is_one = || {
        let first = rings().next().flatten();
        first.is_some() && rings().all(|ring| ring == first) && all.iter().all(|g| ready(g) == 6)
    };
    later.until("one ring", is_one).await;
    let refused: u64 = all.iter().map(|gossip| gossip.status().refused).sum();
    assert_eq!(refused, 0, "nothing of it was refused");
}
