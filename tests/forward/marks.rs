//! A mark is good for one request to one instance, and for nothing else; nobody but the layer ever sees one.

use super::*;

/// The lines of a head, as headers.
fn lines(head: &str) -> Vec<(String, String)> {
    let lines = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "));
    lines
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect()
}

fn mark_of(head: &str) -> String {
    let mut lines = lines(head).into_iter();
    lines
        .find(|(name, _)| name == "fluster-forwarded")
        .unwrap()
        .1
}

/// Two that see the same, and the mark of a request for `/x/{key}` that one of them sent to b.
struct Caught {
    a: Instance,
    list: [(String, String); 2],
    target: String,
    mark: String,
    log: Log,
}

async fn caught(real: &Place) -> Caught {
    let (a, spy) = (place("a"), place("b"));
    let (at_spy, list) = ([a.entry(), spy.entry()], [a.entry(), real.entry()]);
    let spy = scripted(spy, OK);
    let log = Log::default();
    let a = start(a, &at_spy, |builder| builder, echo("a", &log));
    let target = format!("/x/{}", key_of("b", &a.peers));
    let headers = [
        ("fluster-forwarded", "v1;mine"),
        ("fluster-deadline-ms", "1"),
    ];
    let answer = ask(&a.base, "POST", &target, &headers, b"").await;
    assert_eq!(answer.body, "ok");
    let head = spy.heads.lock().unwrap()[0].clone();
    assert_eq!(head.matches("fluster-forwarded").count(), 1, "{head}");
    let left = lines(&head)
        .into_iter()
        .find(|(name, _)| name == "fluster-deadline-ms");
    let left: u64 = left.unwrap().1.parse().unwrap();
    assert!(
        (1..=5000).contains(&left),
        "ours, and not the client's: {left}"
    );
    Caught {
        a,
        list,
        target,
        mark: mark_of(&head),
        log,
    }
}

/// The same, and the real b, by when both take a for the owner of everything.
async fn caught_for_a() -> (Instance, Caught) {
    let b = place("b");
    let caught = caught(&b).await;
    let b = start(b, &caught.list, |builder| builder, echo("b", &caught.log));
    for instance in [&b, &caught.a] {
        instance.peers.replace([caught.list[0].clone()]).unwrap();
    }
    (b, caught)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_that_comes_again_is_an_ordinary_request() {
    let (b, caught) = caught_for_a().await;
    let Caught {
        target, mark, log, ..
    } = caught;
    let sent = [("fluster-forwarded", &*mark)];
    let first = ask(&b.base, "POST", &target, &sent, b"").await;
    // b is not on its own list any more: it says that it owns nothing.
    assert_eq!(
        (first.status, first.reason()),
        (421, "draining"),
        "it is a's: {first:?}"
    );
    assert_eq!(first.headers["fluster-owner"], "a");
    assert_eq!(log.lock().unwrap().len(), 0);
    let second = ask(&b.base, "POST", &target, &sent, b"").await;
    assert_eq!(
        (second.status, second.instance()),
        (200, "a"),
        "forwarded: {second:?}"
    );
    let seen = log.lock().unwrap().pop().unwrap();
    nothing_of_ours(&seen.headers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_that_is_forged_or_of_another_request_is_an_ordinary_request() {
    let (b, caught) = caught_for_a().await;
    let Caught {
        target, mark, log, ..
    } = caught;
    let last = mark.len() - 1;
    let flipped = format!(
        "{}{}",
        &mark[..last],
        if mark.ends_with('0') { '1' } else { '0' }
    );
    let fields: Vec<_> = mark.split(';').collect();
    let to_c = mark.replacen(";b;", ";c;", 1);
    let old = mark.replacen(fields[3], "1700000000000", 1);
    let from_c = mark.replacen(";a;", ";c;", 1);
    let other = format!("{target}x");
    let query = format!("{target}?x=1");
    let cases = [
        ("POST", &target, &*flipped),
        ("POST", &target, &*to_c),
        ("POST", &target, &*from_c),
        ("POST", &target, &*old),
        ("PUT", &target, &*mark),
        ("POST", &other, &*mark),
        ("POST", &query, &*mark),
        ("POST", &target, ""),
        ("POST", &target, "v1"),
        ("POST", &target, "v2;a;b;1;2;3;4;5"),
    ];
    for (method, target, mark) in cases {
        let headers = [("fluster-forwarded", mark), ("fluster-deadline-ms", "0")];
        let answer = ask(&b.base, method, target, &headers, b"").await;
        assert_eq!(
            (answer.status, answer.instance()),
            (200, "a"),
            "{method} {target} {mark}"
        );
        let seen = log.lock().unwrap().pop().unwrap();
        nothing_of_ours(&seen.headers);
    }
    // And where it is handled, nobody sees it either.
    for target in [&*target, "/status"] {
        let answer = ask(
            &caught.a.base,
            "POST",
            target,
            &[("fluster-forwarded", &*flipped)],
            b"",
        )
        .await;
        assert_eq!(answer.instance(), "a");
        let seen = log.lock().unwrap().pop().unwrap();
        nothing_of_ours(&seen.headers);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_owner_stops_when_whoever_sent_it_does_not_wait_any_longer() {
    let b = place("b");
    let Caught {
        list, target, mark, ..
    } = caught(&b).await;
    let app = Router::new().fallback(|| async { std::future::pending::<()>().await });
    let b = start(b, &list, |builder| builder.deadline(LONG), app);
    let headers = [
        ("fluster-forwarded", &*mark),
        ("fluster-deadline-ms", "200"),
    ];
    let answer = ask(&b.base, "POST", &target, &headers, b"").await;
    assert_eq!(
        (answer.status, answer.reason()),
        (504, "deadline"),
        "{answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_with_other_keys_sees_ordinary_requests() {
    let log = Log::default();
    let (a, b) = (place("a"), place("b"));
    let list = [a.entry(), b.entry()];
    let a = start(a, &list, |builder| builder, echo("a", &log));
    let other = Keyring::from_hex(&"77".repeat(32)).unwrap();
    let peers = FixedPeers::new("b", list.iter().map(|(name, base)| (name, base))).unwrap();
    let forward = Forwarder::new(&peers.keyring(other).cluster("test")).unwrap();
    let app = echo("b", &log).layer(forward.layer(path_segment(1)));
    let listener = b.listener();
    let _server = ends(async move { axum::serve(listener, app).await.unwrap() });
    let target = format!("/x/{}", key_of("b", &a.peers));
    let answer = ask(&a.base, "GET", &target, &[], b"").await;
    assert_eq!(
        (answer.status, answer.instance()),
        (200, "b"),
        "it is b's, whoever sent it"
    );
}
