//! Which runtime does the background work, and what becomes of a cluster whose runtime sleeps.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use fluster::pubsub::Subscription;
use fluster::queue::{Consumer, Delivery, MessageId};
use fluster::replication::{HedgeAfter, Quorum, ReadFrom};
use fluster::{Client, DedicatedClient, Error, Event, FlusterCluster, Reason};
use futures_util::{FutureExt as _, StreamExt};
use redis::{AsyncCommands, ScanOptions, Value};
use tokio::runtime::{Builder, Runtime};

use crate::support::{Server, fleet, urls};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What a program with one thread has: nothing runs but inside `block_on`.
fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn client_of(cluster: &FlusterCluster, server: &Server) -> Client {
    cluster.get_client_of_node(server.name()).unwrap()
}

/// Calls `again` until `done`, for `limit` at most; says whether it came to that.
fn within(limit: Duration, mut again: impl FnMut(), done: impl Fn() -> bool) -> bool {
    let until = Instant::now() + limit;
    while Instant::now() < until {
        again();
        if done() {
            return true;
        }
    }
    false
}

/// Lets the runtime run for a while.
fn nap(runtime: &Runtime, millis: u64) {
    runtime.block_on(async { tokio::time::sleep(ms(millis)).await });
}

fn is_out(cluster: &FlusterCluster, server: &Server) -> bool {
    !cluster.status().node(server.name()).unwrap().admits
}

/// The events so far; nobody is waited for.
fn told(events: &mut fluster::Events) -> Vec<Event> {
    std::iter::from_fn(|| events.next().now_or_never().flatten()).collect()
}

fn stalls(events: &mut fluster::Events) -> usize {
    let all = told(events);
    let stalls = all
        .iter()
        .filter(|e| matches!(e, Event::ClientStall { .. }));
    stalls.count()
}

#[test]
fn a_silent_node_goes_out_though_the_program_sleeps_between_its_calls() {
    let servers: [Server; 2] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let runtime = one_thread();
    let mut client = client_of(&cluster, &servers[0]);
    runtime.block_on(client.set::<_, _, ()>("k", 1)).unwrap();
    servers[0].stop();
    let mut calls = 0;
    let out = within(
        ms(20_000),
        || {
            calls += 1;
            // Nothing of the runtime runs meanwhile: for the watchdog the process stands still.
            std::thread::sleep(ms(150));
            assert!(runtime.block_on(client.get::<_, Option<u8>>("k")).is_err());
        },
        || is_out(&cluster, &servers[0]),
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

/// `block_on` of a thread that has no runtime, as other executors have it.
fn on_a_plain_thread<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    assert!(tokio::runtime::Handle::try_current().is_err());
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    let until = Instant::now() + ms(30_000);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut cx) {
            return value;
        }
        assert!(Instant::now() < until, "it never ends");
        std::thread::park_timeout(ms(1_000));
    }
}

/// What a walk over the public functions met: the name of each, and its error or panic.
type Walked = Vec<(&'static str, Result<(), String>)>;

/// Everything that has to be there before the walk, made where a runtime is.
#[derive(Default)]
struct Held {
    own: Option<DedicatedClient>,
    consumer: Option<Consumer>,
    jobs: Vec<Delivery>,
    news: Option<Subscription>,
    #[cfg(feature = "discovery")]
    following: Option<fluster::discovery::Following>,
}

/// Each public asynchronous function once, each polled on this plain thread.
fn walk(cluster: &FlusterCluster, mut held: Held) -> Walked {
    let mut walked = Walked::new();
    macro_rules! step {
        ($name:literal, $future:expr) => {{
            let run = AssertUnwindSafe(|| on_a_plain_thread($future));
            let ended = match catch_unwind(run) {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(e)) => Err(e.to_string()),
                Err(_) => Err("PANIC".to_owned()),
            };
            walked.push(($name, ended));
        }};
    }
    /// One result of many; all of them fail for the same reason.
    fn first<T, E>(all: impl IntoIterator<Item = Result<T, E>>) -> Result<(), E> {
        all.into_iter().next().map_or(Ok(()), |one| one.map(drop))
    }
    let mut client = cluster.get_client("k").unwrap();
    let mut whole = cluster.clone();
    let (get, set) = (redis::Cmd::get("k"), redis::Cmd::set("k", 1));
    let pipe = redis::pipe().get("k").get("l").to_owned();
    let atomic = redis::pipe().atomic().get("k").to_owned();

    step!("Client, one command", client.get::<_, Option<u8>>("k"));
    step!("Client, a pipeline", pipe.query_async::<Value>(&mut client));
    step!("Client::dedicated", async {
        client.dedicated().await.map(drop)
    });
    if held.own.is_none() {
        held.own = on_a_plain_thread(client.dedicated()).ok();
    }
    if let Some(mut own) = held.own.take() {
        step!(
            "DedicatedClient, one command",
            own.get::<_, Option<u8>>("k")
        );
        step!(
            "DedicatedClient, a pipeline",
            pipe.query_async::<Value>(&mut own)
        );
        step!(
            "DedicatedClient, blocking",
            own.blpop::<_, Value>("none", 0.01)
        );
    }
    step!("cluster, one command", whole.get::<_, Option<u8>>("k"));
    step!("cluster, a pipeline", pipe.query_async::<Value>(&mut whole));
    step!(
        "cluster, a transaction",
        atomic.query_async::<Value>(&mut whole)
    );
    step!("run", cluster.run::<Value>(&get));
    step!(
        "run, all nodes",
        cluster.run::<Value>(&redis::cmd("DBSIZE"))
    );
    step!("run_with_key", cluster.run_with_key::<Value>("k", &get));
    step!("get_many", async {
        first(cluster.get_many::<_, Value>(["k", "l"]).await)
    });
    step!("set_many", async {
        first(cluster.set_many([("k", 1), ("l", 2)]).await)
    });
    step!("del_many", async {
        first(cluster.del_many(["k", "l"]).await)
    });
    step!("pipeline", async {
        cluster.pipeline(&pipe).await.and_then(first)
    });
    step!("pipeline, atomic", async {
        cluster.pipeline(&atomic).await.and_then(first)
    });
    step!("fan_out", async {
        first(
            cluster
                .fan_out(&redis::cmd("DBSIZE"))
                .await
                .into_iter()
                .map(|(_, r)| r),
        )
    });
    step!(
        "zrevrange_with_int_score",
        cluster.zrevrange_with_int_score("z", 9, 0)
    );
    let mut in_the_way = 2;
    step!(
        "transaction, after two conflicts",
        cluster.transaction::<Value, _, _, _>(["k"], |own, mut pipe| {
            in_the_way -= 1;
            let (other, disturb) = (cluster.clone(), in_the_way > 0);
            async move {
                if disturb {
                    let incr = redis::Cmd::incr("k", 1);
                    let done = other.run_with_key::<()>("k", &incr).await;
                    done.map_err(redis::RedisError::from)?;
                }
                pipe.get("k");
                Ok((own, pipe))
            }
        })
    );
    let mut scan = cluster.scan(ScanOptions::default());
    step!("Scan::next", async { scan.next().await.transpose() });
    let mut scan = cluster.scan(ScanOptions::default());
    step!("Scan as a stream", async {
        StreamExt::next(&mut scan).await.transpose()
    });
    step!("subscribe", async {
        cluster.subscribe(["c"]).await.map(drop)
    });
    step!("psubscribe", async {
        cluster.psubscribe(["c*"]).await.map(drop)
    });
    if held.news.is_none() {
        held.news = on_a_plain_thread(cluster.subscribe(["c"])).ok();
    }
    if let Some(mut news) = held.news.take() {
        let tell = redis::cmd("PUBLISH").arg("c").arg("x").to_owned();
        step!("Subscription::next", async {
            let told = cluster.run_with_key::<()>("c", &tell).await;
            told?;
            news.next().await.map(drop).ok_or_else(closed)
        });
        step!("Subscription as a stream", async {
            cluster.run_with_key::<()>("c", &tell).await?;
            StreamExt::next(&mut news)
                .await
                .map(drop)
                .ok_or_else(closed)
        });
    }
    let mut events = cluster.events();
    step!("Events::next", async {
        Ok::<_, Error>(events.next().now_or_never())
    });

    let both = cluster.replicas("k", 2).unwrap();
    step!("Replicas::write", both.write(&set, Quorum::All));
    step!(
        "Replicas::read",
        both.read::<Value>(&get, ReadFrom::FirstAvailable)
    );
    let hedged = ReadFrom::Hedged {
        after: HedgeAfter::default(),
    };
    step!("Replicas::read, hedged", both.read::<Value>(&get, hedged));
    let newest = ReadFrom::majority(|_, _| std::cmp::Ordering::Equal);
    step!("Replicas::read, majority", both.read::<Value>(&get, newest));

    let cache = cluster.cache("c:").replicas(2).raw::<String>().unwrap();
    let minute = Duration::from_secs(60);
    step!("Cache::set", cache.set("k", &"v".to_owned(), minute));
    step!("Cache::get", cache.get("k"));
    step!("Cache::get_many", async {
        first(cache.get_many(["k", "l"]).await)
    });
    step!("Cache::set_many", async {
        first(cache.set_many([("k", "v".to_owned())], minute).await)
    });
    step!("Cache::get_or_compute", async {
        // The cache may fail; what was computed is there all the same.
        let made = || async { Ok::<_, Error>("v".to_owned()) };
        cache.get_or_compute("new", minute, made).await
    });
    step!("Cache::delete", async {
        match cache.delete("k").await.is_complete() {
            true => Ok(()),
            false => Err("not everywhere: no tokio runtime"),
        }
    });

    let queue = cluster.queue("q");
    step!("Queue::push", queue.push("a"));
    step!("Queue::push_as", queue.push_as(MessageId::random(), "b"));
    step!("Queue::push_by_key", queue.push_by_key("k", "c"));
    step!("Queue::push_at", queue.push_at(minute, "d"));
    step!("Queue::push_many", async {
        first(queue.push_many(["e", "f"]).await)
    });
    step!("Queue::len", queue.len());
    step!("Queue::is_empty", queue.is_empty());
    step!("Queue::depths", async {
        queue
            .depths()
            .await?
            .into_iter()
            .next()
            .map_or(Ok(()), |(_, d)| d.map(drop))
    });
    step!(
        "Queue::is_first",
        queue.is_first(MessageId::random(), minute)
    );
    step!("Queue::forget_id", queue.forget_id(MessageId::random()));
    if held.consumer.is_none() {
        held.consumer = queue.consumer("g", "w").ok();
        if let Some(consumer) = &held.consumer {
            while held.jobs.len() < 4 {
                let job = on_a_plain_thread(consumer.pop(Duration::from_secs(10)));
                held.jobs.push(job.unwrap().expect("five were pushed"));
            }
        }
    }
    if let Some(consumer) = held.consumer.take() {
        let mut jobs = held.jobs.into_iter();
        let mut job = || jobs.next().unwrap();
        step!("Consumer::pop", consumer.pop(ms(30)));
        let (a, b, c, d) = (job(), job(), job(), job());
        step!("Delivery::extend", a.extend(minute));
        step!("Delivery::ack", a.ack());
        step!("Delivery::nack", b.nack(ms(1)));
        step!("Delivery::reject", c.reject("bad"));
        step!("Consumer::ack_many", async {
            first(consumer.ack_many([&d]).await)
        });
        drop((a, b, c, d));
        step!("Consumer::stream", async {
            // There is one, or there will be none: a stream has no time-out of its own.
            Ok::<_, Error>(consumer.stream().next().now_or_never())
        });
        step!("Consumer::close", async {
            consumer.close().await;
            Ok::<_, Error>(())
        });
    }
    let dead = queue.dead();
    step!("DeadLetters::list", dead.list(9));
    if let Ok(letters) = on_a_plain_thread(dead.list(9)) {
        for letter in letters {
            step!("DeadLetters::retry", dead.retry(&letter));
            step!("DeadLetters::discard", dead.discard(&letter));
        }
    }
    step!("Queue::purge", async {
        queue
            .purge()
            .await?
            .into_iter()
            .next()
            .map_or(Ok(()), |(_, d)| d.map(drop))
    });
    on_a_plain_thread(queue.push_by_key("k", "left")).ok();
    let node = cluster.get_node("k").unwrap();
    step!("Queue::drain", queue.drain(&node, ms(50)));
    #[cfg(feature = "discovery")]
    {
        use fluster::discovery::{Static, once};
        let urls: Vec<_> = cluster
            .status()
            .nodes
            .iter()
            .map(|n| format!("redis://{}", n.name))
            .collect();
        let mut fixed = Static::from_urls(&urls).unwrap();
        if held.following.is_none() {
            held.following = cluster.follow(Static::from_urls(&urls).unwrap()).ok();
        }
        if let Some(following) = held.following.take() {
            step!("Following::ready", async {
                following.ready().await;
                Ok::<_, Error>(())
            });
        }
        // It belongs to no cluster, and so to no runtime but the caller's.
        let alone = catch_unwind(AssertUnwindSafe(|| {
            on_a_plain_thread(once(&mut fixed, minute))
        }));
        let why = alone.expect("no panic").unwrap_err().to_string();
        assert!(why.contains("no tokio runtime"), "{why}");
    }
    step!("shutdown", async {
        cluster.shutdown(ms(20)).await;
        Ok::<_, Error>(())
    });
    walked
}

fn closed() -> Error {
    let empty = FlusterCluster::from_urls(["redis://127.0.0.1:1"]).unwrap();
    on_a_plain_thread(empty.run::<Value>(&redis::Cmd::get("k"))).unwrap_err()
}

fn no_panic(walked: &Walked, least: usize) {
    let panicked: Vec<_> = walked
        .iter()
        .filter(|(_, end)| matches!(end, Err(e) if e.contains("PANIC")))
        .map(|(name, _)| name)
        .collect();
    assert!(
        panicked.is_empty(),
        "panics on a plain thread: {panicked:?}"
    );
    assert!(
        walked.len() >= least,
        "{} of the public functions",
        walked.len()
    );
}

#[test]
fn with_a_runtime_given_every_public_function_works_on_a_plain_thread() {
    let servers: [Server; 2] = fleet();
    let background = Runtime::new().unwrap();
    let cluster = FlusterCluster::builder()
        .urls(urls(&servers))
        .runtime(background.handle().clone())
        .build()
        .unwrap();
    let walked = walk(&cluster, Held::default());
    no_panic(&walked, 55);
    let failed: Vec<_> = walked.iter().filter(|(_, end)| end.is_err()).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn without_a_runtime_every_public_function_says_what_to_do() {
    let servers: [Server; 2] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let walked = walk(&cluster, Held::default());
    no_panic(&walked, 38);
    for (name, end) in &walked {
        // These need no server, and so no runtime.
        let harmless = ["Events::next", "Cache::get_or_compute", "shutdown"].contains(name);
        match end {
            Ok(()) => assert!(harmless, "{name} did something"),
            Err(e) => assert!(e.contains("no tokio runtime"), "{name}: {e}"),
        }
    }
}

#[test]
fn a_cluster_that_has_its_connections_elsewhere_panics_on_no_plain_thread() {
    let servers: [Server; 2] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let elsewhere = Runtime::new().unwrap();
    let held = elsewhere.block_on(async {
        let _: () = redis::Cmd::set("k", 1)
            .query_async(&mut cluster.clone())
            .await
            .unwrap();
        let queue = cluster.queue("q");
        let consumer = queue.consumer("g", "w").unwrap();
        let mut jobs = Vec::new();
        for n in 0..4 {
            queue.push(format!("{n}")).await.unwrap();
            jobs.push(
                consumer
                    .pop(Duration::from_secs(10))
                    .await
                    .unwrap()
                    .unwrap(),
            );
        }
        Held {
            own: Some(cluster.get_client("k").unwrap().dedicated().await.unwrap()),
            consumer: Some(consumer),
            jobs,
            news: Some(cluster.subscribe(["c"]).await.unwrap()),
            #[cfg(feature = "discovery")]
            following: {
                let source = fluster::discovery::Static::from_urls(urls(&servers)).unwrap();
                Some(cluster.follow(source).unwrap())
            },
        }
    });
    no_panic(&walk(&cluster, held), 50);
}

#[test]
fn a_runtime_that_was_given_and_has_ended_is_an_error_and_no_panic() {
    let servers: [Server; 2] = fleet();
    for used in [true, false] {
        let background = Runtime::new().unwrap();
        let cluster = FlusterCluster::builder()
            .urls(urls(&servers))
            .runtime(background.handle().clone())
            .build()
            .unwrap();
        if used {
            for client in cluster.clients().rounds(1) {
                let mut client = client.unwrap();
                on_a_plain_thread(client.set::<_, _, ()>("k", 1)).unwrap();
            }
        }
        background.shutdown_timeout(Duration::from_secs(5));
        let client = cluster.get_client("k").unwrap();
        for here in [false, true] {
            let all = async {
                let get = redis::Cmd::get("k");
                let asked = cluster.run::<Value>(&get).await;
                assert!(asked.is_err(), "{asked:?}");
                assert!(client.dedicated().await.is_err());
                if let Ok(consumer) = cluster.queue("q").consumer("g", "w") {
                    assert!(!matches!(consumer.pop(ms(20)).await, Ok(Some(_))));
                }
            };
            match here {
                true => one_thread().block_on(all),
                false => on_a_plain_thread(all),
            }
        }
        on_a_plain_thread(cluster.shutdown(ms(20)));
    }
}

#[test]
fn waiting_for_a_node_needs_a_timer_and_says_so() {
    let server = Server::start();
    let background = Runtime::new().unwrap();
    for given in [true, false] {
        let mut builder = FlusterCluster::builder()
            .urls([server.url()])
            .wait_for_node(Duration::from_secs(20));
        if given {
            builder = builder.runtime(background.handle().clone());
        }
        let cluster = builder.build().unwrap();
        let get = redis::Cmd::get("k");
        let _: Value = background.block_on(cluster.run(&get)).unwrap();
        server.kill();
        // The node goes out where a runtime is.
        assert!(within(
            ms(20_000),
            || drop(
                background.block_on(
                    cluster
                        .with_deadline(ms(100))
                        .get_client("k")
                        .unwrap()
                        .get::<_, Value>("k")
                )
            ),
            || cluster.status().active() == 0
        ));
        let restart = std::thread::scope(|threads| {
            let back = threads.spawn(|| {
                std::thread::sleep(ms(200));
                server.restart();
            });
            let got = on_a_plain_thread(cluster.run::<Value>(&get));
            back.join().unwrap();
            got
        });
        assert_eq!(restart.is_ok(), given, "{restart:?}");
    }
}
