//! A thread of the runtime that drives the connections is blocked by somebody's code.

use std::future::poll_fn;
use std::sync::mpsc;
use std::task::Poll;
use std::time::{Duration, Instant};

use fluster::{Error, ErrorKind, FlusterCluster, Outcome};
use redis::{AsyncCommands, Cmd};
use tokio::runtime::{Builder, Runtime};

use super::{client_of, ms, within};
use crate::support::Server;

/// How long the thread is blocked: calls that are over long before did not wait for it.
const BLOCKED: Duration = Duration::from_secs(6);
const SOON: Duration = Duration::from_secs(3);

fn workers(n: usize) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(n).enable_all().build().unwrap()
}

fn cluster_of(server: &Server) -> FlusterCluster {
    FlusterCluster::builder()
        .urls([server.url()])
        .response_timeout(ms(300))
        .build()
        .unwrap()
}

#[test]
fn a_worker_that_is_blocked_with_the_driver_in_its_hands_holds_nobody_beyond_the_deadline() {
    let server = Server::start();
    let cluster = cluster_of(&server);
    let runtime = workers(2);
    let mut client = client_of(&cluster, &server);
    runtime.block_on(client.set::<_, _, ()>("k", 1)).unwrap();
    // The connection's buffers are given back, and its timer is off.
    super::nap(&runtime, 2_500);

    let (say, said) = mpsc::channel();
    let mut first = client.clone();
    let blocked = runtime.spawn(async move {
        let mut call = std::pin::pin!(first.incr::<_, _, u64>("first", 1));
        let asked = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
        assert!(asked.is_pending());
        say.send(()).unwrap();
        // Whom a worker wakes it runs next, and nobody can take that from it: the driver.
        std::thread::sleep(BLOCKED);
        call.await
    });
    said.recv().unwrap();
    let asked = Instant::now();
    let failed = runtime.block_on(client.incr::<_, _, u64>("second", 1));
    let took = asked.elapsed();
    println!("{took:?}: {failed:?}");
    assert!(took < SOON, "it waited for the thread: {took:?}");
    assert!(failed.is_err());
    assert!(
        !blocked.is_finished(),
        "the thread was blocked all the time"
    );

    let first = runtime.block_on(blocked).unwrap().unwrap_err();
    let ours = Error::from_redis(&first).expect("ours");
    assert_eq!(ours.outcome(), Outcome::NotSent, "{ours}");
    let served = within(
        ms(20_000),
        || (),
        || {
            let mut client = client.clone();
            runtime
                .block_on(client.get::<_, Option<u8>>("k"))
                .is_ok_and(|got| got == Some(1))
        },
    );
    assert!(served, "all is well again");
    for key in ["first", "second"] {
        assert_eq!(server.get(key), None, "{key} was said not to be sent");
    }
}

#[test]
fn a_blocked_runtime_holds_no_call_of_another_one_beyond_its_deadline() {
    let server = Server::start();
    let cluster = cluster_of(&server);
    let (theirs, ours) = (workers(1), workers(1));
    let mut client = client_of(&cluster, &server);
    theirs.block_on(async {
        let mut client = client.clone();
        let set = tokio::spawn(async move { client.set::<_, _, ()>("k", 1).await });
        set.await.unwrap().unwrap();
    });
    let (say, said) = mpsc::channel();
    let blocked = theirs.spawn(async move {
        say.send(()).unwrap();
        std::thread::sleep(BLOCKED);
    });
    said.recv().unwrap();

    let asked = Instant::now();
    let incr = Cmd::incr("n", 1);
    let (first, second) = ours.block_on(async {
        let run = cluster.run_with_key::<u64>("n", &incr);
        tokio::join!(run, client.incr::<_, _, u64>("n", 1))
    });
    let took = asked.elapsed();
    println!("{took:?}: {first:?}, {second:?}");
    assert!(took < SOON, "they waited for the other runtime: {took:?}");
    assert!(!blocked.is_finished(), "it was blocked all the time");
    let (first, second) = (first.unwrap_err(), second.unwrap_err());
    let second = Error::from_redis(&second).expect("ours");
    for error in [&first, second] {
        assert_eq!(error.outcome(), Outcome::NotSent, "{error}");
    }
    assert_eq!(first.kind(), ErrorKind::Timeout, "{first}");
    theirs.block_on(blocked).unwrap();
    let served = within(
        ms(20_000),
        || (),
        || {
            let mut client = client.clone();
            ours.block_on(client.get::<_, Option<u8>>("k"))
                .is_ok_and(|got| got == Some(1))
        },
    );
    assert!(served, "all is well again");
    assert_eq!(server.get("n"), None, "no call was sent, as they said");
}
