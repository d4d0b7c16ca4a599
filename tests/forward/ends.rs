//! Nobody waits for ever, and what may have been done is not done again.

use std::sync::atomic::AtomicBool;

use fluster::Placement;
use fluster::forward::OnDisagree;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hint_is_followed_to_whoever_is_the_owner_by_then() {
    let (a, b, c) = (place("a"), place("b"), place("c"));
    let (old, new) = ([a.entry(), b.entry(), c.entry()], [a.entry(), c.entry()]);
    let log = Log::default();
    let a = start(a, &old, |builder| builder, echo("a", &log));
    // b has left by its own word, and c knows it.
    let b = start(b, &old, |builder| builder, echo("b", &log));
    b.peers.replace(new.clone()).unwrap();
    let _c = start(c, &new, |builder| builder, echo("c", &log));
    let key = (0..10_000)
        .map(|n| format!("k{n}"))
        .find(|key| {
            let first =
                |peers: &FixedPeers| peers.candidates(key.as_bytes(), 1)[0].ring_id.to_string();
            first(&a.peers) == "b" && first(&b.peers) == "c"
        })
        .unwrap();
    let began = Instant::now();
    let answer = ask(&a.base, "POST", &format!("/x/{key}"), &[], b"body").await;
    assert_eq!(
        (answer.status, answer.instance(), &*answer.body),
        (200, "c", &b"body"[..]),
        "{answer:?}"
    );
    assert!(began.elapsed() < LONG);
    assert_eq!(log.lock().unwrap().len(), 1, "handled once");
    // Its own clients are served by b, too: it forwards everything.
    assert_eq!(
        ask(&b.base, "GET", &format!("/x/{key}"), &[], b"")
            .await
            .instance(),
        "c"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opposite_views_on_all_sides_end() {
    let (a, b, c) = (place("a"), place("b"), place("c"));
    let all = [a.entry(), b.entry(), c.entry()];
    let log = Log::default();
    // They know each other, and place keys by different rules.
    let rules = [
        Placement::ring(),
        Placement::rendezvous(),
        Placement::modulo(),
    ];
    let mut instances = [a, b, c].into_iter().zip(rules).map(|(place, rule)| {
        let (app, sees) = (echo(place.name, &log), peers(place.name, &all));
        start_as(place, sees.placement(rule).unwrap(), |builder| builder, app)
    });
    let [a, b, c] = std::array::from_fn(|_| instances.next().unwrap());
    let first = |of: &Instance, key: &str| {
        of.peers.candidates(key.as_bytes(), 1)[0]
            .ring_id
            .to_string()
    };
    let mut keys = (0..10_000).map(|n| format!("k{n}"));
    let key = keys
        .find(|key| [first(&a, key), first(&b, key), first(&c, key)] == ["b", "c", "b"])
        .unwrap();
    for method in ["GET", "POST"] {
        let began = Instant::now();
        let answer = ask(&a.base, method, &format!("/x/{key}"), &[], b"").await;
        assert_eq!(
            (answer.status, answer.reason()),
            (503, "disputed"),
            "{answer:?}"
        );
        assert!(began.elapsed() < LONG / 2, "{:?}", began.elapsed());
    }
    assert_eq!(log.lock().unwrap().len(), 0, "nobody handled it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_may_handle_what_is_not_its_own_where_that_is_wanted() {
    let (a, b) = (place("a"), place("b"));
    let list = [a.entry(), b.entry()];
    let log = Log::default();
    let a = start(a, &list, |builder| builder, echo("a", &log));
    let anyway = |builder: ForwarderBuilder| builder.on_disagree(OnDisagree::HandleAnyway);
    let b = start(b, &list, anyway, echo("b", &log));
    let key = key_of("b", &a.peers);
    b.peers.replace([list[0].clone()]).unwrap();
    assert_eq!(
        ask(&a.base, "POST", &format!("/x/{key}"), &[], b"")
            .await
            .instance(),
        "b"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strict_ring_refuses_its_own_keys_while_the_rings_differ() {
    let (a, b, c) = (place("a"), place("b"), place("c"));
    let list = [a.entry(), b.entry()];
    let log = Log::default();
    let strict = |builder: ForwarderBuilder| builder.on_disagree(OnDisagree::StrictRing);
    let a = start(a, &list, strict, echo("a", &log));
    let b = start(b, &list, strict, echo("b", &log));
    let key = key_of("b", &a.peers);
    let target = format!("/x/{key}");
    assert_eq!(ask(&a.base, "GET", &target, &[], b"").await.instance(), "b");
    b.peers
        .replace([list[0].clone(), list[1].clone(), c.entry()])
        .unwrap();
    let owns = b.peers.owns(key.as_bytes());
    let answer = ask(&a.base, "GET", &target, &[], b"").await;
    if owns {
        assert_eq!((answer.status, answer.reason()), (503, "disputed"));
    }
    a.peers
        .replace([list[0].clone(), list[1].clone(), c.entry()])
        .unwrap();
    let key = key_of("b", &a.peers);
    assert_eq!(
        ask(&a.base, "GET", &format!("/x/{key}"), &[], b"")
            .await
            .instance(),
        "b"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_nobody_listens_for_fails_in_time_or_has_a_stand_in() {
    let (a, c) = (place("a"), place("c"));
    let list = [a.entry(), nowhere("b"), c.entry()];
    let log = Log::default();
    let a = start(a, &list, |builder| builder, echo("a", &log));
    let c = start(c, &list, stand_in, echo("c", &log));
    let key = key_of("b", &a.peers);
    let target = format!("/x/{key}");
    let began = Instant::now();
    let answer = ask(&a.base, "POST", &target, &[], b"body").await;
    assert_eq!(
        (answer.status, answer.reason()),
        (503, "unreachable"),
        "{answer:?}"
    );
    let lasted = began.elapsed();
    assert!(
        lasted > Duration::from_millis(1200),
        "the whole schedule: {lasted:?}"
    );
    assert!(lasted < LONG / 2, "{lasted:?}");
    assert_eq!(log.lock().unwrap().len(), 0);

    // Whoever comes after b, here or there, handles it.
    let next = c.peers.candidates(key.as_bytes(), 2)[1].ring_id.to_string();
    let answer = ask(&c.base, "POST", &target, &[], b"body").await;
    assert_eq!(
        (answer.status, answer.instance(), &*answer.body),
        (200, &*next, &b"body"[..])
    );
    // And others keep their keys.
    let other = format!("/x/{}", key_of("a", &c.peers));
    assert_eq!(ask(&c.base, "POST", &other, &[], b"").await.instance(), "a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_that_was_sent_is_never_sent_again() {
    let (a, b) = (place("a"), place("b"));
    let list = [a.entry(), b.entry()];
    let peer = scripted(b, Script::Close);
    let log = Log::default();
    let a = start(a, &list, |builder| builder, echo("a", &log));
    let target = format!("/x/{}", key_of("b", &a.peers));
    let answer = ask(&a.base, "POST", &target, &[], b"").await;
    assert_eq!(
        (answer.status, answer.reason()),
        (502, "outcome-unknown"),
        "{answer:?}"
    );
    assert_eq!(peer.heads.lock().unwrap().len(), 1);
    let answer = ask(&a.base, "PUT", &target, &[], b"small").await;
    assert_eq!(
        (answer.status, answer.reason()),
        (502, "outcome-unknown"),
        "{answer:?}"
    );
    assert_eq!(
        peer.heads.lock().unwrap().len(),
        1 + 4,
        "as often as the schedule says"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_goes_away_takes_its_request_along() {
    struct Dropped(Arc<AtomicBool>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let places = [place("a"), place("b")];
    let list: Vec<_> = places.iter().map(Place::entry).collect();
    let (began, ended) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let all = places.map(|place| {
        let (began, ended) = (Arc::clone(&began), Arc::clone(&ended));
        let app = Router::new().fallback(move || async move {
            let _dropped = Dropped(ended);
            began.store(true, Ordering::SeqCst);
            std::future::pending::<()>().await;
        });
        start(place, &list, |builder| builder.deadline(LONG), app)
    });
    let target = format!("/x/{}", key_of("b", &all[0].peers));
    let mut client = connected(&all[0].base).await;
    let hello = format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n");
    client.write_all(hello.as_bytes()).await.unwrap();
    until("the owner handles it", || began.load(Ordering::SeqCst)).await;
    assert_eq!(all[0].forward.in_flight(), 1);
    drop(client);
    until("the owner's handler is dropped", || {
        ended.load(Ordering::SeqCst)
    })
    .await;
    until("nothing is forwarded", || all[0].forward.in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_waits_for_its_own_key_ends_by_the_deadline() {
    let places = [place("a"), place("b")];
    let list: Vec<_> = places.iter().map(Place::entry).collect();
    let via = places[0].base.clone();
    let flight = Arc::new(tokio::sync::Mutex::new(()));
    let all = places.map(|place| {
        let (via, flight) = (via.clone(), Arc::clone(&flight));
        let app = Router::new().fallback(move |request: Request| async move {
            // One at a time, as those who load a value once do.
            let _one = flight.lock().await;
            let target = request.uri().path().to_owned();
            if request.headers().contains_key("x-again") {
                return ask(&via, "GET", &target, &[], b"").await.status.to_string();
            }
            "done".to_owned()
        });
        start(
            place,
            &list,
            |builder| builder.deadline(Duration::from_secs(1)),
            app,
        )
    });
    let target = format!("/x/{}", key_of("b", &all[0].peers));
    let began = Instant::now();
    let answer = ask(&all[0].base, "GET", &target, &[("x-again", "1")], b"").await;
    assert_eq!(
        (answer.status, answer.reason()),
        (504, "deadline"),
        "{answer:?}"
    );
    assert!(began.elapsed() < LONG / 2);
    // Whoever waited was let go: the key is free.
    let answer = ask(&all[0].base, "GET", &target, &[], b"").await;
    assert_eq!(answer.body, "done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_are_allowed_at_once_are_refused() {
    let places = [place("a"), place("b")];
    let list: Vec<_> = places.iter().map(Place::entry).collect();
    let all = places.map(|place| {
        let app = Router::new().fallback(|| async { std::future::pending::<()>().await });
        start(
            place,
            &list,
            |builder| builder.in_flight(2).deadline(LONG),
            app,
        )
    });
    let target = format!("/x/{}", key_of("b", &all[0].peers));
    let base = all[0].base.clone();
    let (held, asked) = (base.clone(), target.clone());
    let held = ends(async move {
        tokio::join!(
            ask(&held, "GET", &asked, &[], b""),
            ask(&held, "GET", &asked, &[], b"")
        );
    });
    until("two are under way", || all[0].forward.in_flight() == 2).await;
    let answer = ask(&base, "GET", &target, &[], b"").await;
    assert_eq!((answer.status, answer.reason()), (503, "overloaded"));
    drop(held);
    until("they are gone", || all[0].forward.in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_anybody_on_the_list_it_says_so_at_once() {
    let log = Log::default();
    let all = fleet(&["a"], &log);
    assert_eq!(
        ask(&all[0].base, "GET", "/x/k", &[], b"").await.instance(),
        "a"
    );
    all[0].peers.replace::<&str, &str>([]).unwrap();
    let answer = ask(&all[0].base, "GET", "/x/k", &[], b"").await;
    assert_eq!((answer.status, answer.reason()), (503, "no-members"));
    assert_eq!(
        ask(&all[0].base, "GET", "/status", &[], b"").await.status,
        200
    );
}
