//! A cluster whose runtime sleeps between calls, or for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use fluster::{FlusterCluster, Reason};
use futures_util::FutureExt as _;
use redis::AsyncCommands;
use tokio::runtime::{Builder, Runtime};

use super::{client_of, is_out, ms, nap, one_thread, stalls, within};
use crate::support::{Server, fleet, urls};

#[test]
fn a_silent_node_goes_out_though_the_program_sleeps_between_its_calls() {
    for asleep in [ms(40), ms(150), ms(1_500)] {
        goes_out(asleep);
    }
}

fn goes_out(asleep: Duration) {
    let servers: [Server; 2] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let runtime = one_thread();
    let mut client = client_of(&cluster, &servers[0]);
    runtime.block_on(client.set::<_, _, ()>("k", 1)).unwrap();
    servers[0].stop();
    let (began, mut calls) = (Instant::now(), 0);
    let out = within(
        ms(20_000),
        || {
            calls += 1;
            // Nothing of the runtime runs meanwhile: for the watchdog the process stands still.
            std::thread::sleep(asleep);
            assert!(runtime.block_on(client.get::<_, Option<u8>>("k")).is_err());
        },
        || is_out(&cluster, &servers[0]),
    );
    println!(
        "asleep {asleep:?}: out after {:?}, {calls} calls",
        began.elapsed()
    );
    assert!(out, "{calls} calls without an answer, and it still serves");
    assert!(calls >= 2, "one time-out alone never puts a node out");
    let status = cluster.status();
    let node = status.node(servers[0].name()).unwrap();
    assert_eq!(node.reason, Some(Reason::Timeout), "{node:?}");
    assert!(!is_out(&cluster, &servers[1]));
}

#[test]
fn a_program_that_only_sleeps_is_told_of_no_stall() {
    let server = Server::start();
    let cluster = FlusterCluster::from_urls([server.url()]).unwrap();
    let mut events = cluster.events();
    let runtime = one_thread();
    let mut client = cluster.get_client("k").unwrap();
    for n in 0..6_u64 {
        let n = runtime.block_on(client.set::<_, _, ()>("k", n));
        n.unwrap();
        // The background has its turn: it notices that it was away.
        nap(&runtime, 30);
        std::thread::sleep(ms(200));
    }
    assert_eq!(stalls(&mut events), 0, "nothing was under way");
    // With a call under way it is told.
    runtime.block_on(async {
        server.raw(["CLIENT", "PAUSE", "50", "ALL"]);
        let asked = tokio::spawn(async move { client.get::<_, u64>("k").await });
        tokio::time::sleep(ms(5)).await;
        std::thread::sleep(ms(300));
        assert_eq!(asked.await.unwrap().unwrap(), 5);
        tokio::time::sleep(ms(30)).await;
    });
    assert_eq!(stalls(&mut events), 1, "a call waited through it");
}

/// The runtime of the first call, with everything that a cluster keeps on it, which nobody polls.
struct Asleep {
    runtime: Runtime,
}

fn asleep(cluster: &FlusterCluster) -> Asleep {
    let runtime = one_thread();
    for client in cluster.clients().rounds(1) {
        let mut client = client.unwrap();
        runtime.block_on(client.set::<_, _, ()>("k", 1)).unwrap();
    }
    Asleep { runtime }
}

#[test]
fn a_silent_node_goes_out_and_comes_back_though_the_first_runtime_is_asleep() {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let _first = asleep(&cluster);
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let call = |server: &Server| {
        let mut client = client_of(&cluster, server);
        let got = runtime.block_on(client.get::<_, Option<u8>>("k"));
        std::thread::sleep(ms(5));
        got.is_ok()
    };
    servers[0].stop();
    let out = within(
        ms(20_000),
        || assert!(!call(&servers[0])),
        || is_out(&cluster, &servers[0]),
    );
    assert!(out, "nobody judges the time-outs");
    servers[0].cont();
    let back = within(
        ms(20_000),
        || _ = call(&servers[1]),
        || !is_out(&cluster, &servers[0]),
    );
    assert!(back, "nobody probes it");
    // The connections of the first runtime are of no use to anybody; those that follow are.
    for server in &servers {
        let served = within(ms(20_000), || (), || call(server));
        assert!(served, "{} is of no use any more", server.name());
    }
}

#[test]
fn where_the_background_sleeps_the_caller_judges_its_time_outs() {
    let servers: [Server; 2] = fleet();
    let sleeps = one_thread();
    let cluster = FlusterCluster::builder()
        .urls(urls(&servers))
        // Nothing is started anywhere else: only the caller is there to judge.
        .runtime(sleeps.handle().clone())
        .build()
        .unwrap();
    for client in cluster.clients().rounds(1) {
        let mut client = client.unwrap();
        sleeps.block_on(client.set::<_, _, ()>("k", 1)).unwrap();
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let client = client_of(&cluster, &servers[0]);
    let answers = runtime.block_on(futures_util::future::join_all((0..32).map(|_| {
        let mut client = client.clone();
        async move { client.get::<_, Option<u8>>("k").await }
    })));
    assert!(answers.iter().all(Result::is_err), "nobody reads replies");
    let out = within(
        ms(20_000),
        || nap(&runtime, 10),
        || is_out(&cluster, &servers[0]),
    );
    assert!(out, "nobody judges the time-outs");
}

#[test]
fn a_dead_node_comes_back_though_the_first_runtime_is_busy() {
    let servers: [Server; 2] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let (busy, done) = (cluster.clone(), Arc::new(AtomicBool::new(false)));
    let ended = Arc::clone(&done);
    let (ready, is_ready) = std::sync::mpsc::channel();
    // A worker that blocks in its handlers, as in a server with one runtime per thread.
    let worker = std::thread::spawn(move || {
        let first = asleep(&busy);
        ready.send(()).unwrap();
        while !ended.load(SeqCst) {
            std::thread::sleep(ms(20));
        }
        drop(first);
    });
    is_ready.recv().unwrap();
    let runtime = one_thread();
    let mut client = client_of(&cluster, &servers[0]);
    servers[0].kill();
    let out = within(
        ms(20_000),
        || drop(runtime.block_on(client.get::<_, Option<u8>>("k"))),
        || is_out(&cluster, &servers[0]),
    );
    assert!(out, "a refused dial is proof on any runtime");
    servers[0].restart();
    let mut other = client_of(&cluster, &servers[1]);
    let back = within(
        ms(20_000),
        || {
            drop(runtime.block_on(other.get::<_, Option<u8>>("k")));
            nap(&runtime, 10);
        },
        || !is_out(&cluster, &servers[0]),
    );
    done.store(true, SeqCst);
    worker.join().unwrap();
    assert!(back, "nobody probes it");
}

#[test]
fn the_old_background_ends_when_its_runtime_wakes() {
    let server = Server::start();
    let cluster = FlusterCluster::from_urls([server.url()]).unwrap();
    let first = asleep(&cluster);
    let runtime = one_thread();
    let mut client = cluster.get_client("k").unwrap();
    // Longer than the background may be silent.
    let until = Instant::now() + ms(4_000);
    while Instant::now() < until {
        drop(runtime.block_on(client.get::<_, Option<u8>>("k")));
        nap(&runtime, 10);
    }
    let both = cluster.status().tasks;
    let old = first.runtime.metrics().num_alive_tasks();
    assert!(old >= 3, "three tasks and a connection: {old}");
    assert!(runtime.metrics().num_alive_tasks() >= 3, "the new ones");
    let fewer = within(
        ms(20_000),
        || nap(&first.runtime, 20),
        || first.runtime.metrics().num_alive_tasks() + 3 <= old,
    );
    assert!(fewer, "{both} tasks, and still {}", cluster.status().tasks);
}

#[test]
fn a_dial_that_went_to_sleep_with_its_runtime_is_not_waited_for_for_ever() {
    let server = Server::start();
    let cluster = FlusterCluster::builder()
        .urls([server.url()])
        .connect_timeout(ms(100))
        .build()
        .unwrap();
    let mut client = cluster.get_client("k").unwrap();
    let first = one_thread();
    first.block_on(async {
        // Polled once: the dial has begun, and nobody polls it any more.
        let mut call = client.clone();
        let get = call.get::<_, Option<u8>>("k").now_or_never();
        assert!(get.is_none());
    });
    let runtime = one_thread();
    let served = std::cell::Cell::new(false);
    let ever = within(
        ms(20_000),
        || served.set(runtime.block_on(client.get::<_, Option<u8>>("k")).is_ok()),
        || served.get(),
    );
    assert!(ever, "everybody waits for a dial that sleeps");
}
