//! What cannot be: clear errors with the remedy, never a hang.

use std::num::NonZeroU16;

use fluster::gossip::{Gossip, GossipBuilder, GossipErrorKind, Keyring};

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
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let other = Gossip::builder("other")
        .keyring(key.clone())
        .start()
        .await
        .unwrap();
    let friend = builder(&key, 0, &[]).start().await.unwrap();
    let bind = {
        let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
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
