//! Calls: bytes to the owner of a key, and an answer.

use fluster::forward::{ForwardErrorKind, serve};

use super::*;

/// Instances that answer with their name, their keys and what they were sent.
fn serving(names: &[&'static str]) -> (Vec<(Forwarder, FixedPeers)>, Vec<Ends>, Vec<String>) {
    let places: Vec<_> = names.iter().map(|name| place(name)).collect();
    let list: Vec<_> = places.iter().map(Place::entry).collect();
    let bases = list.iter().map(|(_, base)| base.clone()).collect();
    let mut servers = Vec::new();
    let start = |place: Place| {
        let name = place.name;
        let peers = peers(name, &list);
        let forward = Forwarder::builder(peers.clone())
            .call_limit(100_000)
            .build()
            .unwrap();
        let handler = move |payload: Bytes, keys: Vec<Vec<u8>>| async move {
            if payload == "fail" {
                return Err("it was asked to".into());
            }
            let keys: Vec<_> = keys
                .iter()
                .map(|key| String::from_utf8_lossy(key).into_owned())
                .collect();
            Ok(Bytes::from(format!(
                "{name} {} {}",
                keys.join(","),
                payload.len()
            )))
        };
        servers.push(ends(serve(place.listener(), forward.clone(), handler)));
        (forward, peers)
    };
    (places.into_iter().map(start).collect(), servers, bases)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_answered_by_the_owner_of_its_key() {
    let (all, _servers, _) = serving(&["a", "b", "c"]);
    // The handlers are there once the servers run.
    for (n, owner) in ["a", "b", "c"].iter().enumerate() {
        let key = key_of(owner, &all[0].1);
        for (forward, _) in &all {
            let mut answer = forward.call(key.as_bytes(), Bytes::from(vec![0; n])).await;
            while answer
                .as_ref()
                .is_err_and(|e| e.kind() == ForwardErrorKind::NotServed)
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
                answer = forward.call(key.as_bytes(), Bytes::from(vec![0; n])).await;
            }
            assert_eq!(answer.unwrap(), format!("{owner} {key} {n}"));
        }
    }
    let (forward, peers) = &all[0];
    let keys: Vec<_> = (0..30).map(|n| format!("k{n}")).collect();
    let parts = forward.by_owner(&keys);
    assert_eq!(
        parts.iter().map(|(_, keys)| keys.len()).sum::<usize>(),
        keys.len()
    );
    for (owner, keys) in &parts {
        let slices: Vec<_> = keys.iter().map(|key| key.as_bytes()).collect();
        let answer = forward
            .call_member(owner, &slices, Bytes::new())
            .await
            .unwrap();
        let listed = keys
            .iter()
            .map(|key| key.as_str())
            .collect::<Vec<_>>()
            .join(",");
        assert_eq!(answer, format!("{} {listed} 0", owner.ring_id));
        // Without keys everybody answers; with somebody else's nobody.
        let answer = forward.call_member(owner, &[], Bytes::new()).await.unwrap();
        assert_eq!(answer, format!("{}  0", owner.ring_id));
    }
    let b = peers.named("b").unwrap();
    let key = key_of("c", peers);
    let error = forward
        .call_member(&b, &[key.as_bytes()], Bytes::new())
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.attempts()),
        (ForwardErrorKind::Disputed, 1),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_told_and_what_is_too_large_is_not_sent() {
    let (all, _servers, _) = serving(&["a", "b"]);
    let (forward, peers) = &all[0];
    for owner in ["a", "b"] {
        let key = key_of(owner, peers);
        let fail = || forward.call(key.as_bytes(), Bytes::from_static(b"fail"));
        let mut error = fail().await.unwrap_err();
        while error.kind() == ForwardErrorKind::NotServed {
            tokio::time::sleep(Duration::from_millis(10)).await;
            error = fail().await.unwrap_err();
        }
        assert_eq!(error.kind(), ForwardErrorKind::Failed, "{error}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(cause, "it was asked to");
    }
    let error = forward
        .call(b"k", Bytes::from(vec![0; 100_001]))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ForwardErrorKind::BodyTooLarge, "{error}");
    assert!(error.outcome().is_safe_to_repeat());
}

/// As in `tests/deadline.rs`: a loop of such calls would keep its thread to itself.
#[tokio::test]
async fn calls_that_fail_at_once_leave_the_runtime_to_others() {
    let place = place("a");
    let forward = Forwarder::builder(peers("a", &[place.entry()]))
        .call_limit(100_000)
        .build()
        .unwrap();
    for (payload, kind) in [
        (vec![0; 10], ForwardErrorKind::NotServed),
        (vec![0; 100_001], ForwardErrorKind::BodyTooLarge),
    ] {
        let other = tokio::spawn(async {});
        for _ in 0..1000 {
            let called = forward.call(b"k", Bytes::from(payload.clone())).await;
            assert_eq!(called.unwrap_err().kind(), kind);
        }
        assert!(other.is_finished(), "{kind:?}: nobody else had a turn");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_not_answered() {
    let (all, _servers, bases) = serving(&["a", "b"]);
    let (_, peers) = &all[0];
    let mut body = vec![1, 0, 0, 0];
    let key = key_of("a", peers);
    body.extend_from_slice(&(key.len() as u32).to_le_bytes());
    body.extend_from_slice(key.as_bytes());
    for (method, target, body, status) in [
        ("POST", "/.fluster/call", &body[..], 403),
        ("POST", "/.fluster/call", &[0; 4][..], 403),
        ("POST", "/.fluster/call", b"no call", 400),
        ("GET", "/.fluster/call", b"", 404),
        ("POST", "/", b"", 404),
        ("POST", "/.fluster/call", &[0; 100_001][..], 413),
    ] {
        let answer = ask(
            &bases[0],
            method,
            target,
            &[("fluster-forwarded", "v1")],
            body,
        )
        .await;
        assert_eq!(answer.status, status, "{method} {target} {answer:?}");
    }
}
