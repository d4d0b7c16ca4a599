//! Encryption that cannot come about: row 32.

use std::time::{Duration, Instant};

use fluster::{ErrorKind, FlusterCluster, Node, Outcome, Reason, Tls};

use super::aside::{Dials, key_of, status_of};
use super::rig::{Kind, Load, Record, Scene, ms, slack};
use crate::support::{Server, TlsPki, eventually};

/// The connect time-out where any node uses TLS.
const K: Duration = Duration::from_secs(1);

/// One node of the three cannot be connected to, and waiting does not help. The first caller is told
/// why within the connect time-out, the others are served by the stand-ins, and nobody hammers the
/// server with handshakes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls() {
    let (ours, theirs) = (TlsPki::new(), TlsPki::new());
    let elsewhere = TlsPki::for_names(["redis.example.com"]);
    let good = [(); 2].map(|()| Server::builder().tls(&ours).durable().start());
    let stranger = Server::builder().tls(&theirs).start();
    let misnamed = Server::builder().tls(&elsewhere).start();
    let plain = Server::start();
    let both = [&ours, &elsewhere].map(|pki| std::fs::read(pki.ca()).unwrap());
    let trust = Tls::new().ca_pem(both.concat());
    let healthy = FlusterCluster::builder().urls(good.iter().map(Server::url));
    let scene = Scene::begin(
        "32 tls_wrong_ca, tls_wrong_name, tls_to_plain, plain_to_tls",
        healthy.tls(trust.clone()).build().unwrap(),
    )
    .await;
    let mut record = Record::default();
    let strike = scene.strike(|| ());

    let cases = [
        (
            "tls_wrong_ca",
            stranger.url(),
            Reason::Config,
            "invalid peer certificate",
        ),
        (
            "tls_wrong_name",
            misnamed.url(),
            Reason::Config,
            "not valid for name",
        ),
        // The server takes the handshake for a command without an end, and waits.
        (
            "tls_to_plain",
            format!("rediss://{}", plain.name()),
            Reason::Timeout,
            "no end of the TLS handshake within",
        ),
        // The server resets the connection without a word. So does a server that is just dying, or a
        // load balancer: that is no proof of anything, and takes three strikes within the response
        // time-out, in place of the row's "Config or NotRedis".
        (
            "plain_to_tls",
            format!("redis://{}", good[0].name()),
            Reason::Lost,
            "reset",
        ),
    ];
    let each = cases.map(|(title, url, reason, text)| {
        let good = good.each_ref().map(Server::url);
        let cluster = FlusterCluster::builder()
            .node(Node::new(url).unwrap().name(title))
            .urls(good)
            .tls(trust.clone())
            .build()
            .unwrap();
        case(title, cluster, reason, text)
    });
    // One after the other would take four times as long.
    for calls in futures_util::future::join_all(each).await {
        record.add(calls);
    }
    assert!(record.failed().all(|c| c.began >= strike.began));
    scene.finish(record, &good).await;
}

async fn case(title: &str, cluster: FlusterCluster, reason: Reason, text: &str) -> Record {
    let mut record = Record::default();
    let mut budget = Dials::count(&cluster, title);
    let key = key_of(&cluster, title);
    let mut client = cluster.get_client(&key).unwrap();
    let began = Instant::now();
    let mut echo = redis::cmd("ECHO");
    echo.arg(&key);
    let result = echo.query_async::<String>(&mut client).await;
    let took = began.elapsed();
    record.note(began, Some(client.node().clone()), &result);
    let e = result.expect_err("it cannot connect");
    let e = fluster::Error::from_redis(&e).expect("an error of ours");
    let kind = match reason {
        Reason::Config => ErrorKind::Config,
        _ => ErrorKind::Connect,
    };
    assert_eq!(
        (e.kind(), e.outcome()),
        (kind, Outcome::NotSent),
        "{title}: {e}"
    );
    assert!(e.to_string().contains(text), "{title} has the cause: {e}");
    assert!(took <= slack(K + ms(50)), "{title}: {took:?}");
    let load = Load::of(&cluster, Kind::Run, 16);
    let patience = match reason {
        Reason::Config => Duration::ZERO,
        // The verdict on a time-out waits 50 ms for the watchdog.
        Reason::Timeout => slack(ms(100)),
        _ => slack(ms(700)),
    };
    let is_out = || !status_of(&cluster, title).admits;
    if !patience.is_zero() {
        eventually(patience, is_out).await;
    }
    let node = status_of(&cluster, title);
    assert_eq!(
        (node.admits, node.reason),
        (false, Some(reason)),
        "{title}: {e}"
    );
    let wait = node.retry_after.expect("it is out");
    match reason {
        Reason::Lost => {
            let (dials, _) = budget.spent();
            assert!(dials <= 10, "{title}: {dials} dials until it was out");
            budget = Dials::count(&cluster, title);
        }
        // Somebody has to change something: it waits the longest wait at once.
        Reason::Config => assert!(wait >= ms(2_000), "{title}: the next probe is in {wait:?}"),
        _ => {}
    }
    budget.first_second(title).await;
    let (dials, probes) = budget.spent();
    assert!(
        reason != Reason::Config || dials + probes <= 2,
        "{title}: {dials} dials and {probes} probes"
    );
    let served = load.stop().await;
    assert_eq!(served.failed().count(), 0, "{title}: {:?}", served.kinds());
    record.add(served);
    cluster.shutdown(ms(500)).await;
    record
}
