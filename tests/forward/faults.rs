//! Two things go wrong at once, and what is at the edges of HTTP: nothing is cut short unseen, nothing goes round in
//! circles, and nothing stays behind.

use std::sync::atomic::AtomicBool;

use fluster::forward::serve;

use super::*;

/// Reads from a stream until the text is in what came.
async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut all = Vec::new();
    let reading = async {
        let mut chunk = [0; 4096];
        while !String::from_utf8_lossy(&all).contains(text) {
            let n = stream.read(&mut chunk).await.unwrap_or(0);
            if n == 0 {
                break;
            }
            all.extend_from_slice(&chunk[..n]);
        }
    };
    tokio::time::timeout(LONG, reading).await.expect(text);
    String::from_utf8_lossy(&all).into_owned()
}

/// A peer over bare sockets: `talk` has each of its connections, with its number.
fn bare<F>(place: Place, talk: impl Fn(usize, TcpStream) -> F + Send + 'static) -> Ends
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = place.listener();
    ends(async move {
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tasks.spawn(talk(n, stream));
        }
    })
}

/// One that sends requests to `b`, whatever that is.
fn sender(
    list: &[(String, String)],
    a: Place,
    build: impl FnOnce(ForwarderBuilder) -> ForwarderBuilder,
) -> (Instance, String) {
    let a = start(a, list, build, echo("a", &Log::default()));
    let target = format!("/x/{}", key_of("b", &a.peers));
    (a, target)
}

/// The first attempt is answered early, and reads on while the second one waits its pause: what it reads above the limit
/// is not missing from the second one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_the_attempt_before_still_reads_is_never_sent_in_part() {
    let (a, b) = (place("a"), place("b"));
    let list = [a.entry(), b.entry()];
    let (refused, sent) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(Mutex::new(None::<String>)),
    );
    let (told, came) = (Arc::clone(&refused), Arc::clone(&sent));
    let _b = bare(b, move |n, mut stream| {
        let (told, came) = (Arc::clone(&told), Arc::clone(&came));
        async move {
            if n == 0 {
                read_until(&mut stream, "\r\n\r\n").await;
                let no = "HTTP/1.1 421 Misdirected\r\nfluster-reason: not-owner\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(no.as_bytes()).await.unwrap();
                told.store(true, Ordering::SeqCst);
                // It reads whatever comes.
                read_until(&mut stream, "never").await;
                return;
            }
            let all = read_until(&mut stream, "0\r\n\r\n").await;
            *came.lock().unwrap() = Some(all);
            let yes = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(yes.as_bytes()).await.unwrap();
        }
    });
    let (a, target) = sender(&list, a, |builder| builder.replay_limit(10_000));
    let mut client = connected(&a.base).await;
    let head = format!(
        "PUT {target} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n"
    );
    client.write_all(head.as_bytes()).await.unwrap();
    until("it was refused", || refused.load(Ordering::SeqCst)).await;
    // Within the pause before the second one.
    tokio::time::sleep(Duration::from_millis(30)).await;
    let large = "x".repeat(50_000);
    let rest = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    client.write_all(rest.as_bytes()).await.unwrap();
    let answer = read_until(&mut client, "\r\n\r\n").await;
    let status = answer.split(' ').nth(1).unwrap().to_owned();
    // A slow machine may take the body for read by the first one: then it says so.
    assert!(["200", "503"].contains(&&*status), "{answer}");
    if let Some(all) = sent.lock().unwrap().as_deref() {
        assert!(all.contains("first"), "{} bytes", all.len());
        let x = all.matches('x').count();
        assert!(x >= large.len(), "{x} of {} bytes", large.len());
    }
}

/// Counts what comes to an instance, whoever sent it.
fn counted(app: Router, count: &Arc<AtomicUsize>) -> Router {
    let count = Arc::clone(count);
    app.layer(axum::middleware::map_request(move |request: Request| {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::ready(request)
    }))
}

fn start_counted(
    place: Place,
    list: &[(String, String)],
    keyring: Keyring,
    count: &Arc<AtomicUsize>,
) -> (FixedPeers, Ends) {
    let peers = peers(place.name, list).keyring(keyring);
    let forward = Forwarder::new(&peers).unwrap();
    let app = echo(place.name, &Log::default()).layer(forward.layer(path_segment(1)));
    let app = counted(app, count);
    let listener = place.listener();
    (
        peers,
        ends(async move { axum::serve(listener, app).await.unwrap() }),
    )
}

fn is_disputed_after_two_hops(answer: &Answer, count: &AtomicUsize) {
    assert_eq!(
        (answer.status, answer.reason()),
        (503, "disputed"),
        "{answer:?}"
    );
    assert_eq!(count.load(Ordering::SeqCst), 3, "it, and two hops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_leads_to_oneself_is_no_endless_way() {
    let a = place("a");
    let (base, count) = (a.base.clone(), Arc::new(AtomicUsize::new(0)));
    let list = [a.entry(), ("b".to_owned(), base.clone())];
    let (peers, _server) = start_counted(a, &list, key(), &count);
    let target = format!("/x/{}", key_of("b", &peers));
    let answer = ask(&base, "POST", &target, &[], b"").await;
    is_disputed_after_two_hops(&answer, &count);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_that_believe_neither_each_others_marks_nor_views_do_not_send_to_and_fro() {
    let (a, b) = (place("a"), place("b"));
    let (to_a, count) = (a.base.clone(), Arc::new(AtomicUsize::new(0)));
    let list = [a.entry(), b.entry()];
    let other = Keyring::from_hex(&"77".repeat(32)).unwrap();
    let (seen_by_a, _a) = start_counted(a, &list, key(), &count);
    let (seen_by_b, _b) = start_counted(b, &list, other, &count);
    // Each of them says that the other one owns everything.
    seen_by_a.replace([list[1].clone()]).unwrap();
    seen_by_b.replace([list[0].clone()]).unwrap();
    let answer = ask(&to_a, "GET", "/x/k", &[], b"").await;
    is_disputed_after_two_hops(&answer, &count);
}

/// What cannot come whole is seen to be cut, and takes nothing along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_off_is_seen_to_break_off() {
    for head in ["content-length: 1000", "transfer-encoding: chunked"] {
        let (a, b) = (place("a"), place("b"));
        let list = [a.entry(), b.entry()];
        let _b = bare(b, move |n, mut stream| async move {
            read_until(&mut stream, "\r\n\r\n").await;
            let answer = match n {
                0 => format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhello\r\n"),
                _ => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned(),
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let (a, target) = sender(&list, a, |builder| builder);
        let mut client = connected(&a.base).await;
        let hello = format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n");
        client.write_all(hello.as_bytes()).await.unwrap();
        let all = read_until(&mut client, "0\r\n\r\n").await;
        assert!(all.contains("hello"), "{all}");
        assert!(!all.ends_with("0\r\n\r\n"), "it looks whole: {all}");
        until("nothing is under way", || a.forward.in_flight() == 0).await;
        assert_eq!(ask(&a.base, "GET", &target, &[], b"").await.body, "ok");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_goes_away_while_an_answer_stands_still_frees_its_place() {
    let (a, b) = (place("a"), place("b"));
    let list = [a.entry(), b.entry()];
    let _b = bare(b, |_, mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        let half = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf";
        stream.write_all(half.as_bytes()).await.unwrap();
        // Stopped.
        std::future::pending::<()>().await;
    });
    let (a, target) = sender(&list, a, |builder| builder);
    let mut client = connected(&a.base).await;
    let hello = format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n");
    client.write_all(hello.as_bytes()).await.unwrap();
    read_until(&mut client, "half").await;
    assert_eq!(a.forward.in_flight(), 1);
    drop(client);
    until("nothing is under way", || a.forward.in_flight() == 0).await;
}

/// Refused at first, and then taken by somebody who never answers: the deadline is over all attempts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deadline_is_over_all_attempts_together() {
    let (a, b) = (place("a"), place("b"));
    let list = [a.entry(), b.entry()];
    let _b = bare(b, |n, mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        if n == 0 {
            let no =
                "HTTP/1.1 503 Draining\r\nfluster-reason: draining\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(no.as_bytes()).await.unwrap();
        }
        std::future::pending::<()>().await;
    });
    let (a, target) = sender(&list, a, |builder| {
        builder.deadline(Duration::from_millis(700))
    });
    let began = Instant::now();
    let answer = ask(&a.base, "POST", &target, &[], b"body").await;
    assert_eq!((answer.status, answer.reason()), (504, "deadline"));
    assert!(began.elapsed() >= Duration::from_millis(700));
    assert!(began.elapsed() < LONG / 2, "{:?}", began.elapsed());
    assert_eq!(a.forward.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_panics_is_an_unknown_outcome_and_the_next_request_is_served() {
    let places = [place("a"), place("b")];
    let list: Vec<_> = places.iter().map(Place::entry).collect();
    let calls = Arc::new(AtomicUsize::new(0));
    let all = places.map(|place| {
        let calls = Arc::clone(&calls);
        let app = Router::new().fallback(move |request: Request| async move {
            calls.fetch_add(1, Ordering::SeqCst);
            assert!(request.uri().query().is_none(), "it was asked to panic");
            "fine"
        });
        start(place, &list, |builder| builder, app)
    });
    let target = format!("/x/{}", key_of("b", &all[0].peers));
    let bad = format!("{target}?panic");
    let answer = ask(&all[0].base, "POST", &bad, &[], b"").await;
    assert_eq!((answer.status, answer.reason()), (502, "outcome-unknown"));
    assert_eq!(calls.load(Ordering::SeqCst), 1, "once");
    let answer = ask(&all[0].base, "POST", &target, &[], b"").await;
    assert_eq!((answer.status, &*answer.body), (200, &b"fine"[..]));
    assert_eq!(all[0].forward.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_pass_but_for_ours() {
    let (a, b) = (place("a"), place("b"));
    let list = [a.entry(), b.entry()];
    let _b = bare(b, |_, mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        let answer = "HTTP/1.1 200 OK\r\ntrailer: x-sum, fluster-owner\r\ntransfer-encoding: chunked\r\n\r\n\
                      2\r\nok\r\n0\r\nx-sum: 7\r\nfluster-owner: z\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        std::future::pending::<()>().await;
    });
    let (a, target) = sender(&list, a, |builder| builder);
    let mut client = connected(&a.base).await;
    let hello = format!("GET {target} HTTP/1.1\r\nhost: x\r\nte: trailers\r\n\r\n");
    client.write_all(hello.as_bytes()).await.unwrap();
    let mut all = read_until(&mut client, "0\r\nx-sum: 7\r\n").await;
    if !all.ends_with("\r\n\r\n") {
        all += &read_until(&mut client, "\r\n").await;
    }
    assert!(all.contains("x-sum: 7"), "{all}");
    assert!(!all.contains("fluster-owner: z"), "{all}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_edges_of_http_are_the_same_over_a_hop() {
    let log = Log::default();
    let all = fleet(&["a", "b"], &log);
    let target = format!("/x/{}", key_of("b", &all[0].peers));
    // HEAD: the length of what is not sent.
    let answer = ask(&all[0].base, "HEAD", &target, &[], b"").await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    nothing_of_ours(&answer.headers);
    // A body in chunks, by somebody who waits to be told to go on.
    let mut client = connected(&all[0].base).await;
    let head = format!(
        "PUT {target} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let go_on = read_until(&mut client, "\r\n\r\n").await;
    assert!(go_on.starts_with("HTTP/1.1 100"), "{go_on}");
    client.write_all(b"3\r\nabc\r\n0\r\n\r\n").await.unwrap();
    let answer = read_until(&mut client, "abc").await;
    assert!(answer.contains("HTTP/1.1 200"), "{answer}");
    let seen = log.lock().unwrap().pop().unwrap();
    assert_eq!((seen.instance, &*seen.body), ("b", &b"abc"[..]));
    nothing_of_ours(&seen.headers);
    // An old client.
    let mut client = connected(&all[0].base).await;
    let head = format!("GET {target} HTTP/1.0\r\nhost: x\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let answer = read_until(&mut client, "never").await;
    assert!(
        answer.contains(" 200 ") && answer.contains("x-instance: b"),
        "{answer}"
    );
    assert!(!answer.contains("transfer-encoding"), "{answer}");
}

/// HTTP/1.1 is read with room for 100 headers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_with_more_headers_than_are_read_is_an_unknown_outcome() {
    let places = [place("a"), place("b")];
    let list: Vec<_> = places.iter().map(Place::entry).collect();
    let calls = Arc::new(AtomicUsize::new(0));
    let all = places.map(|place| {
        let calls = Arc::clone(&calls);
        let app = Router::new().fallback(move |request: Request| async move {
            calls.fetch_add(1, Ordering::SeqCst);
            let many: usize = request.uri().query().unwrap().parse().unwrap();
            let mut answer = Response::new(Body::empty());
            for n in 0..many {
                let name: http::HeaderName = format!("x-{n}").parse().unwrap();
                answer.headers_mut().insert(name, "1".parse().unwrap());
            }
            answer
        });
        start(place, &list, |builder| builder, app)
    });
    let target = format!("/x/{}", key_of("b", &all[0].peers));
    let some = ask(&all[0].base, "POST", &format!("{target}?90"), &[], b"").await;
    assert_eq!(
        (some.status, &some.headers["x-89"]),
        (200, &"1".parse().unwrap())
    );
    let many = ask(&all[0].base, "POST", &format!("{target}?150"), &[], b"").await;
    assert_eq!((many.status, many.reason()), (502, "outcome-unknown"));
    assert_eq!(calls.load(Ordering::SeqCst), 2, "once each");
    assert_eq!(all[0].forward.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_of_calls_end_with_their_server() {
    struct Dropped(Arc<AtomicUsize>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (a, b) = (place("a"), place("b"));
    let list = [a.entry(), b.entry()];
    let (began, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let forward = Forwarder::builder(peers("b", &list)).deadline(LONG).build();
    let (starts, ends_) = (Arc::clone(&began), Arc::clone(&ended));
    let handler = move |_, _| {
        let dropped = Dropped(Arc::clone(&ends_));
        starts.fetch_add(1, Ordering::SeqCst);
        async move {
            let _dropped = dropped;
            std::future::pending().await
        }
    };
    let server = ends(serve(b.listener(), forward.unwrap(), handler));
    let seen = peers("a", &list);
    let asker = Forwarder::builder(seen.clone())
        .deadline(LONG)
        .build()
        .unwrap();
    let key = key_of("b", &seen);
    let asked = tokio::spawn(async move { asker.call(key.as_bytes(), Bytes::new()).await });
    until("it is handled", || began.load(Ordering::SeqCst) == 1).await;
    drop(server);
    until("the handler is gone", || ended.load(Ordering::SeqCst) == 1).await;
    let error = tokio::time::timeout(LONG, asked).await.unwrap().unwrap();
    assert_eq!(error.unwrap_err().kind().as_str(), "outcome-unknown");
}
