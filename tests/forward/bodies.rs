//! Bodies of any size, and keys of any bytes.

use fluster::forward::{header, query};

use super::*;

fn bytes(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i % 251) as u8).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_any_size_come_through_whole() {
    let log = Log::default();
    let all = fleet(&["a", "b"], &log);
    let target = format!("/x/{}", key_of("b", &all[0].peers));
    for size in [0, 1, 1000, 64 << 10, (64 << 10) + 1, 1 << 20] {
        let body = bytes(size);
        let answer = ask(&all[0].base, "POST", &target, &[], &body).await;
        assert_eq!((answer.status, answer.instance()), (200, "b"));
        assert!(
            answer.body == body,
            "{size} bytes came back as {}",
            answer.body.len()
        );
        let answer = ask_two(&all[0].base, "POST", &target, &body).await;
        assert!(
            answer.status == 200 && answer.body == body,
            "{size} bytes by HTTP/2"
        );
    }
}

/// What is kept is sent to the next one whole; what is larger is sent once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_sent_again_up_to_the_limit() {
    let (a, b, c) = (place("a"), place("b"), place("c"));
    let (old, new) = ([a.entry(), b.entry(), c.entry()], [a.entry(), c.entry()]);
    // b reads all of it, and is then not there any more.
    let peer = scripted(b, Script::Close);
    let log = Log::default();
    let a = start(
        a,
        &old,
        |builder| builder.replay_limit(10_000),
        echo("a", &log),
    );
    let c = start(c, &new, |builder| builder, echo("c", &log));
    let key = (0..10_000)
        .map(|n| format!("k{n}"))
        .find(|key| {
            let first =
                |peers: &FixedPeers| peers.candidates(key.as_bytes(), 1)[0].ring_id.to_string();
            first(&a.peers) == "b" && first(&c.peers) == "c"
        })
        .unwrap();
    let target = format!("/x/{key}");
    let (small, large) = (bytes(5_000), bytes(1 << 20));
    let (base, to, body) = (a.base.clone(), target.clone(), small.clone());
    let asked = tokio::spawn(async move { ask(&base, "PUT", &to, &[], &body).await });
    until("b got it", || !peer.heads.lock().unwrap().is_empty()).await;
    a.peers.replace(new.clone()).unwrap();
    let answer = asked.await.unwrap();
    assert_eq!((answer.status, answer.instance()), (200, "c"), "{answer:?}");
    assert!(answer.body == small, "from its beginning");

    a.peers.replace(old).unwrap();
    let before = peer.heads.lock().unwrap().len();
    let answer = ask(&a.base, "PUT", &target, &[], &large).await;
    assert_eq!(
        (answer.status, answer.reason()),
        (502, "outcome-unknown"),
        "{answer:?}"
    );
    assert_eq!(log.lock().unwrap().len(), 1);
    assert_eq!(peer.heads.lock().unwrap().len() - before, 1, "once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_any_bytes_have_their_owner() {
    let log = Log::default();
    let all = fleet(&["a", "b", "c"], &log);
    for byte in 0..=255u8 {
        let key = [byte, 0xff, 0, b'/', byte];
        let owner = all[0].peers.candidates(&key, 1)[0].ring_id.to_string();
        let target = key.iter().fold("/x/".to_owned(), |target, byte| {
            format!("{target}%{byte:02X}")
        });
        let via = &all[usize::from(byte) % 3];
        let answer = ask(&via.base, "POST", &target, &[], b"").await;
        assert_eq!(
            (answer.status, answer.instance()),
            (200, &*owner),
            "{target}"
        );
        assert_eq!(log.lock().unwrap().pop().unwrap().target, target);
    }
    let long = "x".repeat(5_000);
    let answer = ask(&all[0].base, "GET", &format!("/x/{long}"), &[], b"").await;
    let owner = all[0].peers.candidates(long.as_bytes(), 1)[0]
        .ring_id
        .to_string();
    assert_eq!(answer.instance(), owner);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_may_stand_in_a_header_or_in_the_query() {
    let log = Log::default();
    let places = [place("a"), place("b")];
    let list: Vec<_> = places.iter().map(Place::entry).collect();
    let mut servers = Vec::new();
    let mut bases = Vec::new();
    for place in places {
        let forward = Forwarder::new(&peers(place.name, &list)).unwrap();
        let app = echo(place.name, &log).layer(forward.layer(header("x-user")));
        let app = app.layer(forward.layer(query("user")));
        bases.push(place.base.clone());
        let listener = place.listener();
        servers.push(ends(
            async move { axum::serve(listener, app).await.unwrap() },
        ));
    }
    let seen = peers("a", &list);
    for owner in ["a", "b"] {
        let key = key_of(owner, &seen);
        for base in &bases {
            let answer = ask(base, "GET", &format!("/?user={key}"), &[], b"").await;
            assert_eq!(answer.instance(), owner);
            let answer = ask(base, "GET", "/", &[("x-user", &*key)], b"").await;
            assert_eq!(answer.instance(), owner);
        }
    }
}
