//! What cannot be: clear errors with the remedy, never a hang.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::num::NonZeroU16;

use fluster::gossip::{Gossip, GossipBuilder, GossipErrorKind, Keyring, Operator};

use super::proxy::Proxy;
use super::*;

fn plain() -> GossipBuilder {
    Gossip::builder("test").insecure_plaintext()
}

#[tokio::test]
async fn what_start_refuses_it_names_with_the_remedy() {
    use GossipErrorKind::{Address, Key, Label, Option};

    let any: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let foreign: SocketAddr = "192.0.2.1:0".parse().unwrap();
    let taken = plain().start().await.unwrap();
    let address = taken.whoami().address;
    let long = "x".repeat(200);
    for (builder, kind, part) in [
        (
            plain().bind(any).insecure_plaintext_on_network(),
            Address,
            "`advertise`",
        ),
        (
            plain()
                .advertise("10.0.0.1:0".parse().unwrap())
                .insecure_plaintext_on_network(),
            Address,
            "`advertise`",
        ),
        (
            plain().advertise("0.0.0.0:9".parse().unwrap()),
            Address,
            "`advertise`",
        ),
        (plain().bind(address), Address, "another process"),
        (
            plain().bind(foreign).insecure_plaintext_on_network(),
            Address,
            "interface",
        ),
        (
            Gossip::builder("").insecure_plaintext(),
            Option,
            "`cluster`",
        ),
        (
            Gossip::builder(&long).insecure_plaintext(),
            Option,
            "200 bytes",
        ),
        (
            Gossip::builder("a\nb").insecure_plaintext(),
            Option,
            "`cluster`",
        ),
        (plain().ring_id(""), Option, "`ring_id`"),
        (plain().ring_id(&long), Option, "200 bytes"),
        (plain().http("10.0.0.1:80"), Option, "http://host:port"),
        (plain().http("http://h/path"), Option, "`http`"),
        (
            plain().weight(NonZeroU16::new(999).unwrap()),
            Option,
            "1 to 256",
        ),
        (plain().label("", "x"), Label, "`label`"),
        (plain().label("__mine", "x"), Label, "`__`"),
        (plain().label("k", &long), Label, "200 bytes"),
        (Gossip::builder("test"), Key, "keygen"),
        (plain().keyring(Keyring::generate()), Key, "leave one"),
        (
            plain()
                .bind(any)
                .advertise("10.0.0.1:7946".parse().unwrap()),
            Key,
            "insecure_plaintext_on_network",
        ),
    ] {
        let shown = format!("{builder:?}");
        let error = builder.start().await.expect_err(&shown);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(part), "{part}: {error}");
        assert!(!error.to_string().contains('\n'));
    }
    let of_a_key = Keyring::from_hex("nonsense").unwrap_err().to_string();
    assert!(of_a_key.contains("64") && !of_a_key.contains("nonsense"));
    assert!(
        Keyring::from_file("/nowhere/at/all")
            .unwrap_err()
            .to_string()
            .contains("nowhere")
    );
}

#[tokio::test]
async fn a_configuration_says_what_is_wrong_when_it_is_started() {
    use fluster::gossip::GossipConfig;

    let of = |text: &str| toml::from_str::<GossipConfig>(text).unwrap().builder();
    let good = "cluster = 'app'\ninsecure_plaintext = true\nring_id = 'i0'\nprofile = 'fast'\nlabels = { zone = 'a' }\n\
                seeds = ['127.0.0.1:9', 'localhost:9']\nplacement = 'rendezvous'\ndrain_ms = 0\nlinger_ms = 0\nweight = 2";
    let gossip = of(good).start().await.unwrap();
    let me = gossip.whoami();
    assert_eq!(
        (&*me.ring_id, me.weight, &*me.labels["zone"]),
        ("i0", 2, "a")
    );
    assert!(gossip.leave().await.errors.is_empty());
    for (more, part) in [
        ("seeds = ['no port']", "host:port"),
        ("seeds = ['a:1']\nseeds_file = 'x'", "one source"),
        ("profile = 'slow'", "lan, fast or wan"),
        ("placement = 'circle'", "`placement`"),
        ("key_file = '/nowhere/at/all'", "nowhere"),
        ("ring_id = ''", "`ring_id`"),
    ] {
        let error = of(&format!(
            "cluster = 'app'\ninsecure_plaintext = true\n{more}"
        ))
        .start()
        .await
        .unwrap_err();
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}

#[test]
fn without_a_runtime_it_says_so() {
    let error = futures_util::FutureExt::now_or_never(plain().start())
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind(), GossipErrorKind::NoRuntime);
    assert!(error.to_string().contains(".runtime("), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seeds_that_never_answer_are_ourselves_or_of_another_cluster_do_no_harm() {
    let key = Keyring::generate();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let other = Gossip::builder("other")
        .keyring(key.clone())
        .start()
        .await
        .unwrap();
    let friend = builder(&key, 0, &[]).start().await.unwrap();
    let bind = {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap()
    };
    let known = [
        bind,
        silent.local_addr().unwrap(),
        other.whoami().address,
        friend.whoami().address,
    ];
    let mut endpoints: Vec<_> = known
        .iter()
        .map(|a| Endpoint::new(a.ip().to_string(), a.port()))
        .collect();
    endpoints.push(Endpoint::new("no-such-name.invalid", 1));
    endpoints.push(Endpoint::new("0.0.0.0", 0));
    let gossip = builder(&key, 1, &[])
        .bind(bind)
        .seeds(Static::new(endpoints))
        .start()
        .await
        .unwrap();
    gossip.wait_ready(2, LONG).await.unwrap();
    assert_eq!(gossip.view().members().len(), 2);
    assert_eq!(other.view().members().len(), 1);
    let report = gossip.heal_now().await;
    assert!(
        report.answered.is_empty() && report.silent.len() == 2,
        "{report:?}"
    );
    assert!(gossip.forget(friend.whoami().address).is_err(), "it lives");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_too_many_is_told_how_many_there_are() {
    let gossip = plain().start().await.unwrap();
    let error = gossip
        .wait_ready(3, Duration::from_secs(4))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), GossipErrorKind::Timeout);
    assert!(error.to_string().starts_with("1 of 3 instances"), "{error}");
    assert!(gossip.owns("any"), "alone is no error");
}

/// What an instance of somebody else sends to whom it takes for one of its own.
async fn knocks(stranger: GossipBuilder) -> Vec<u8> {
    let door = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let known = [door.local_addr().unwrap()];
    let _stranger = stranger.seeds(seeds(&known)).start().await.unwrap();
    let mut buffer = vec![0; 2_048];
    let knock = tokio::time::timeout(LONG, door.recv(&mut buffer)).await;
    let length = knock.expect("it knocks").unwrap();
    buffer.truncate(length);
    buffer
}

/// Sends to one instance, and hears whether it answers.
struct Enemy<'a> {
    socket: UdpSocket,
    at: SocketAddr,
    victim: &'a Gossip,
    operator: Operator,
    events: fluster::gossip::GossipEvents,
    met: BTreeSet<&'static str>,
}

impl Enemy<'_> {
    /// So many; all are refused for one of the reasons, and none is answered.
    async fn send(&mut self, what: &str, reasons: &[&str], mut make: impl FnMut(usize) -> Vec<u8>) {
        const EACH: usize = 10_000;
        let before = self.refused().await;
        for n in 0..EACH {
            self.socket.send_to(&make(n), self.at).unwrap();
            if n % 50 == 49 {
                // Its answer says that it has read what came before the question: nothing is lost in its socket.
                let advertised = self.operator.status(self.at).await.unwrap();
                assert_eq!(advertised.members["alive"], 2, "{what}");
            }
        }
        assert_eq!(self.refused().await - before, EACH as u64, "{what}");
        let mut answer = [0; 2_048];
        let answer = self.socket.recv(&mut answer);
        assert_eq!(
            answer.unwrap_err().kind(),
            std::io::ErrorKind::WouldBlock,
            "{what}: answered"
        );
        // One event a second and reason.
        while let Some(Some(event)) = self.events.next().now_or_never() {
            if let GossipEvent::Refused { reason, .. } = event {
                assert!(reasons.contains(&reason.as_str()), "{what}: {reason:?}");
                self.met.insert(reason.as_str());
            }
        }
    }

    /// As of now, not of the last second.
    async fn refused(&self) -> u64 {
        tokio::time::sleep(Duration::from_millis(2_200)).await;
        self.victim.status().refused
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_bad_datagrams_of_each_kind_are_counted_and_get_no_answer() {
    let (key, proxy) = (Keyring::generate(), Proxy::new(2, 1));
    proxy.tap(0);
    let mut all = Vec::new();
    for n in 0..2 {
        let known = [proxy.advertise(0), proxy.advertise(1)];
        let gossip = builder(&key, n, &known)
            .bind(proxy.bind(n))
            .advertise(proxy.advertise(n));
        all.push(gossip.start().await.unwrap());
    }
    for gossip in &all {
        gossip.wait_ready(2, LONG).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(8)).await;
    let heard = proxy.tapped();
    assert!(heard.len() >= 10, "{}", heard.len());
    let wrong_key = knocks(builder(&Keyring::generate(), 7, &[])).await;
    let other = Gossip::builder("other").keyring(key.clone());
    let other_cluster = knocks(other).await;
    let plaintext = knocks(plain()).await;

    let before: Vec<_> = all.iter().map(|g| g.view().fingerprint()).collect();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut enemy = Enemy {
        socket,
        at: proxy.bind(0),
        victim: &all[0],
        operator: Operator::new("test", Some(key)),
        events: all[0].events(),
        met: BTreeSet::new(),
    };
    let mut rng = fastrand::Rng::with_seed(1);
    enemy
        .send("wrong key", &["key"], |_| wrong_key.clone())
        .await;
    enemy
        .send("other cluster", &["key"], |_| other_cluster.clone())
        .await;
    enemy
        .send("plaintext", &["cluster"], |_| plaintext.clone())
        .await;
    enemy
        .send("replayed", &["replay"], |n| heard[n % heard.len()].clone())
        .await;
    let mut draw = rng.fork();
    enemy
        .send("truncated", &["size", "key"], |n| {
            let whole = &heard[n % heard.len()];
            whole[..draw.usize(..whole.len())].to_vec()
        })
        .await;
    let mut draw = rng.fork();
    enemy
        .send("a flipped bit", &["key", "cluster", "parse"], |n| {
            let mut bytes = heard[n % heard.len()].clone();
            let bit = draw.usize(..8 * bytes.len());
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        })
        .await;
    enemy
        .send("random", &["size", "key", "cluster", "parse"], |_| {
            let mut bytes = vec![0; rng.usize(..2_000)];
            rng.fill(&mut bytes);
            bytes
        })
        .await;
    assert_eq!(
        enemy.met.into_iter().collect::<Vec<_>>(),
        ["cluster", "key", "parse", "replay", "size"]
    );
    until("nobody moved", || {
        let mut now = all.iter().map(|g| g.view().fingerprint());
        now.by_ref().eq(before.iter().copied()) && all[0].view().members().len() == 2
    })
    .await;
}
