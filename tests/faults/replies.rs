//! A server, or something on the way to it, answers badly: rows 16 to 20 and 48, and the reply that a
//! middlebox swallows.

use std::time::Instant;

use fluster::{FlusterCluster, Outcome};

use super::proxy::{End, Fault, Proxy, Way};
use super::rig::{Kind, Record, SOON, Scene, Site, ms, pass, slack};
use crate::support::fleet;

/// `+` the token and the line ends, as a bulk string: what ECHO of it is answered with.
fn reply_len(token: &str) -> u64 {
    format!("${}\r\n{token}\r\n", token.len()).len() as u64
}

/// Cuts the reply to one ECHO after each number of bytes, on the lane and on an exclusive connection.
/// The command was sent, so the error says `MaybeExecuted`; the next command finds a connection that
/// works; no number of cuts, one at a time, ejects the node: a success lies between them.
async fn cut_everywhere(title: &'static str, end: End) {
    let site = Site::new();
    let scene = site.scene(title).await;
    let key = scene.key_of(&site.proxy.name());
    let mut record = Record::default();
    scene.strike(|| ());
    let token = "0123456789";
    let mut elsewhere = 0;
    for n in 0..=reply_len(token) {
        let mut ask = redis::cmd("ECHO");
        ask.arg(token);
        for dedicated in [false, true] {
            let client = scene.cluster.get_client(&key).unwrap();
            assert_eq!(
                client.node(),
                &*site.proxy.name(),
                "{title}: {n} bytes: the node is out"
            );
            let mut own = client.dedicated().await.unwrap();
            let mut lane = client.clone();
            // The exclusive connection is established, and the lane as well.
            let _: String = ask.query_async(&mut own).await.unwrap();
            let _: String = ask.query_async(&mut lane).await.unwrap();
            site.proxy.set(Fault::CutOnce {
                way: Way::Reply,
                after: n,
                end,
            });
            let began = Instant::now();
            let result: redis::RedisResult<String> = match dedicated {
                true => ask.query_async(&mut own).await,
                false => ask.query_async(&mut lane).await,
            };
            record.note(began, Some(client.node().clone()), &result);
            assert_eq!(
                site.proxy.fired(),
                1,
                "{title}: the cut after {n} bytes did not happen"
            );
            match result {
                // The last byte of the reply came before the end of the connection.
                Ok(echo) => {
                    assert_eq!(echo, token, "{title}: {n} bytes");
                    // On a busy machine a connection that was being made in the background may
                    // have been the first to get there.
                    elsewhere += usize::from(n < reply_len(token));
                    // The end follows the reply at once; a connection given back and taken again
                    // within those microseconds would fail with `NotSent`, as it should.
                    pass(ms(20)).await;
                }
                Err(e) => {
                    let e = fluster::Error::from_redis(&e).expect("an error of ours");
                    assert_eq!(
                        e.outcome(),
                        Outcome::MaybeExecuted,
                        "{title}: {n} bytes: {e}"
                    );
                }
            }
            drop(own);
            for _ in 0..2 {
                let began = Instant::now();
                let mut own = client.dedicated().await.unwrap();
                let result = ask.query_async::<String>(&mut own).await;
                record.note(began, None, &result);
                assert_eq!(result.unwrap_or_else(|e| panic!("{n} bytes: {e}")), token);
                let result = ask.query_async::<String>(&mut lane).await;
                assert_eq!(result.expect("another lane"), token);
            }
        }
    }
    assert!(
        elsewhere <= 3,
        "{title}: {elsewhere} cuts hit another connection"
    );
    assert_eq!(
        scene.ejections(),
        0,
        "{title}: a strike at a time is forgiven by a success"
    );
    scene.let_be(2).finish(record, &site.servers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rst_mid_reply() {
    cut_everywhere("16 rst_mid_reply", End::Rst).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fin_mid_reply() {
    cut_everywhere("17 fin_mid_reply", End::Fin).await;
}

/// The connection of a half reply is a zombie: whoever is given it next waits in vain for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_reply_silence() {
    let site = Site::new();
    let scene = site.scene("18 half_reply_silence").await;
    let title = scene.name();
    let key = scene.key_of(&site.proxy.name());
    let mut record = Record::default();
    scene.strike(|| ());
    let mut ask = redis::cmd("ECHO");
    ask.arg("0123456789");
    for (dedicated, after) in [(false, 7), (true, 7), (true, 0)] {
        let client = scene.cluster.get_client(&key).unwrap();
        let mut lane = client.clone();
        let mut own = client.dedicated().await.unwrap();
        let _: String = ask.query_async(&mut own).await.unwrap();
        let _: String = ask.query_async(&mut lane).await.unwrap();
        site.proxy.set(Fault::CutOnce {
            way: Way::Reply,
            after,
            end: End::Silence,
        });
        let began = Instant::now();
        let result: redis::RedisResult<String> = match dedicated {
            true => ask.query_async(&mut own).await,
            false => ask.query_async(&mut lane).await,
        };
        record.note(began, Some(client.node().clone()), &result);
        let took = began.elapsed();
        assert_eq!(site.proxy.fired(), 1, "{title}: the reply was not cut");
        let e = result.expect_err("half a reply is none");
        let e = fluster::Error::from_redis(&e).expect("an error of ours");
        assert_eq!(e.outcome(), Outcome::MaybeExecuted, "{title}: {e}");
        assert!(
            took >= ms(500) && took <= ms(500) + slack(ms(50)),
            "{title}: after {took:?}"
        );
        drop(own);
        // The next one has another connection, and its answer at once.
        for _ in 0..4 {
            let began = Instant::now();
            let mut own = client.dedicated().await.unwrap();
            let echo: String = ask.query_async(&mut own).await.expect("not the zombie");
            let again: String = ask.query_async(&mut lane).await.expect("not the zombie");
            assert_eq!(
                (echo.as_str(), again.as_str()),
                ("0123456789", "0123456789")
            );
            assert!(
                began.elapsed() <= slack(ms(120)),
                "{title}: after {:?}",
                began.elapsed()
            );
        }
    }
    assert_eq!(
        scene.ejections(),
        0,
        "{title}: one time-out at a time ejects nobody"
    );
    scene.let_be(2).finish(record, &site.servers).await;
}

/// Bytes that are no RESP are proof: another service listens there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_reply() {
    let site = Site::new();
    let scene = site.scene("19 garbage_reply").await;
    let title = scene.name();
    let node = site.proxy.name();
    let load = scene.load();
    pass(ms(300)).await;
    let mut budget = scene.budget(&node);
    let strike = scene.strike(|| site.proxy.set(Fault::Garbage));
    let out = scene.out(&node, strike.began).await;
    budget.first_second(title).await;
    let status = scene.cluster.status();
    let status = status.node(&node).unwrap();
    assert_eq!(status.reason, Some(fluster::Reason::NotRedis), "{title}");
    assert!(site.proxy.fired() > 0, "{title}: no garbage was sent");
    site.proxy.set(Fault::Pass);
    scene.back(&node, out).await;
    let record = scene.end(load, &site.servers).await;
    record.only_calls_of(title, &node, strike.began, out);
    let (errors, under_way) = (
        record.failed().count(),
        record.under_way(&node, strike.began, out),
    );
    assert!(
        errors <= under_way,
        "{title}: {errors} errors for {under_way} calls"
    );
    assert!(
        out - strike.ended <= slack(ms(50)),
        "{title}: out after {:?}",
        out - strike.ended
    );
}

/// Segments of one byte are slow, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slicer() {
    let site = Site::new();
    let scene = site.scene("20 slicer").await;
    let strike = scene.strike(|| site.proxy.set(Fault::Slice));
    // A byte per millisecond: more than a few callers would wait for each other's bytes.
    let load = scene.load_of(Kind::Mixed, 4);
    pass(ms(1_500)).await;
    assert!(site.proxy.fired() > 10, "20 slicer: nothing was sliced");
    let ejections = scene.ejections();
    let record = scene.end(load, &site.servers).await;
    assert_eq!(ejections, 0, "20 slicer");
    assert_eq!(
        record.failed().count(),
        0,
        "20 slicer: {:?}",
        record.kinds()
    );
    assert!(record.under_way(&site.proxy.name(), strike.began, Instant::now()) > 10);
}

/// A reply that is swallowed on the way shifts all later ones of its connection, and no client can see
/// that. So a connection whose reply is overdue is never used again. With more than one command in
/// flight nothing helps (the guide says so); here exactly one is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swallowed_reply() {
    let site = Site::new();
    let scene = site.scene("F7 swallowed_reply").await;
    let title = scene.name();
    let key = scene.key_of(&site.proxy.name());
    let client = scene.cluster.get_client(&key).unwrap();
    let mut record = Record::default();
    scene.strike(|| ());
    for round in 0..4 {
        let mut lane = client.clone();
        let mut own = client.dedicated().await.unwrap();
        let warm = redis::cmd("ECHO").arg("warm").to_owned();
        let _: String = warm.query_async(&mut own).await.unwrap();
        let _: String = warm.query_async(&mut lane).await.unwrap();
        site.proxy.set(Fault::Swallow);
        let lost = redis::cmd("ECHO").arg(format!("lost{round}")).to_owned();
        let began = Instant::now();
        let result: redis::RedisResult<String> = match round % 2 {
            0 => lost.query_async(&mut lane).await,
            _ => lost.query_async(&mut own).await,
        };
        record.note(began, Some(client.node().clone()), &result);
        assert_eq!(site.proxy.fired(), 1, "{title}: no reply was swallowed");
        let e = result.expect_err("its reply was swallowed");
        let e = fluster::Error::from_redis(&e).expect("an error of ours");
        assert_eq!(e.outcome(), Outcome::MaybeExecuted, "{title}: {e}");
        drop(own);
        for n in 0..10 {
            let token = format!("{round}-{n}");
            let ask = redis::cmd("ECHO").arg(&token).to_owned();
            let mut own = client.dedicated().await.unwrap();
            let (a, b): (String, String) = (
                ask.query_async(&mut own).await.unwrap(),
                ask.query_async(&mut lane).await.unwrap(),
            );
            assert_eq!((&a, &b), (&token, &token), "{title}: a reply too late");
        }
    }
    assert_eq!(scene.ejections(), 0, "{title}");
    scene.let_be(1).finish(record, &site.servers).await;
}

/// Somebody gives up a GET whose reply would take a quarter of an hour: its exclusive connection goes,
/// and the next user does not wait behind the rest. (On a lane the rest has to pass: big values belong
/// on connections of their own.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn head_of_line() {
    let servers = fleet::<1>();
    let proxy = Proxy::start(&servers[0]);
    let cluster = FlusterCluster::builder().urls([proxy.url()]);
    let cluster = cluster.response_timeout(SOON).build().unwrap();
    let mut scene = Scene::begin("48 head_of_line", cluster).await;
    scene.limits.deadline = SOON;
    let title = scene.name();
    servers[0].raw(["SETRANGE", "big", "1000000", "x"]);
    let client = scene.cluster.get_client("big").unwrap();
    let mut record = Record::default();
    let mut ids = std::collections::BTreeSet::new();
    let mut own = client.dedicated().await.unwrap();
    // A byte in a millisecond.
    scene.strike(|| proxy.set(Fault::Slice));
    for n in 0..5 {
        let id: u64 = redis::cmd("CLIENT")
            .arg("ID")
            .query_async(&mut own)
            .await
            .unwrap();
        assert!(
            ids.insert(id),
            "{title}: a connection with half a reply is used again"
        );
        let get = redis::Cmd::get("big");
        let given_up = tokio::time::timeout(ms(20), get.query_async::<Vec<u8>>(&mut own)).await;
        assert!(given_up.is_err(), "{title}: 1 MB in 20 ms");
        drop(own);
        let token = format!("t{n}");
        let began = Instant::now();
        own = client.dedicated().await.unwrap();
        let ask = redis::cmd("ECHO").arg(&token).to_owned();
        let result = ask.query_async::<String>(&mut own).await;
        record.note(began, Some(client.node().clone()), &result);
        assert_eq!(result.unwrap(), token, "{title}");
    }
    drop(own);
    assert!(proxy.seen().fired > 0, "{title}: nothing was slow");
    assert_eq!(scene.ejections(), 0, "{title}");
    scene.let_be(1).finish(record, &servers).await;
}
