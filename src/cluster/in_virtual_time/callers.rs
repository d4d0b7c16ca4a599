//! What callers go through when servers fail: the whole road, but for the sockets.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::*;
use crate::connection::credentials::{Credentials, CredentialsFuture, CredentialsProvider};
use crate::error::ErrorKind;
use crate::node::NodeId;

/// What became of the calls of many tasks that read at random, each as soon as the last one is answered.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    calls: AtomicU64,
    errors: AtomicU64,
    /// The longest that one took, in microseconds.
    longest: AtomicU64,
    /// When the last one ended that took longer than 10 ms, in microseconds since the world began.
    last_slow: AtomicU64,
}

impl Load {
    fn start(world: &World, tasks: usize) -> Arc<Self> {
        Self::run(world, tasks, None)
    }

    /// The same with callers who wait for no more than 100 ms.
    fn start_in_a_hurry(world: &World, tasks: usize, hurry: Hurry) -> Arc<Self> {
        Self::run(world, tasks, Some(hurry))
    }

    fn run(world: &World, tasks: usize, hurry: Option<Hurry>) -> Arc<Self> {
        let load = Arc::new(Self::default());
        for task in 0..tasks {
            let (load, mut cluster) = (Arc::clone(&load), world.cluster.clone());
            let mut patience = s(60);
            match hurry {
                Some(Hurry::Deadline) => cluster = cluster.with_deadline(ms(100)),
                Some(Hurry::Drop) => patience = ms(100),
                None => {}
            }
            let began = world.began;
            tokio::spawn(async move {
                for n in 0_u64.. {
                    if load.over.load(Relaxed) {
                        break;
                    }
                    let at = clock::now();
                    let mut get = redis::cmd("GET");
                    get.arg(format!("{task}:{n}"));
                    let call = cluster.run::<Option<String>>(&get);
                    let answer = tokio::time::timeout(patience, call).await;
                    let failed = !matches!(answer, Ok(Ok(_)));
                    load.calls.fetch_add(1, Relaxed);
                    load.errors.fetch_add(u64::from(failed), Relaxed);
                    let took = clock::since(at).as_micros() as u64;
                    load.longest.fetch_max(took, Relaxed);
                    if took > 10_000 {
                        let ended = clock::since(began).as_micros() as u64;
                        load.last_slow.store(ended, Relaxed);
                    }
                    sleep(ms(50)).await;
                }
            });
        }
        load
    }

    fn longest(&self) -> Duration {
        Duration::from_micros(self.longest.load(Relaxed))
    }

    fn last_slow(&self) -> Duration {
        Duration::from_micros(self.last_slow.load(Relaxed))
    }

    /// Calls and errors since the last look.
    fn take(&self) -> (u64, u64) {
        let take = |counter: &AtomicU64| counter.swap(0, Relaxed);
        (take(&self.calls), take(&self.errors))
    }
}

const A: &str = "10.0.0.1:6379";
const ALL: [&str; 3] = [A, "10.0.0.2:6379", "10.0.0.3:6379"];

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_costs_its_callers_one_time_out_and_no_error() {
    let mut world = World::served(&["a", "b", "c"]);
    let load = Load::start(&world, 32);
    world.until(s(3)).await;
    assert!(load.longest() <= STEP, "{:?}", load.longest());
    load.take();
    world.network.serve(A, Manner::Stopped);
    world.until(s(3) + ms(499)).await;
    assert_eq!(world.state("a"), NodeState::Up, "nobody can know yet");
    world.until(s(3) + ms(700)).await;
    assert!(!world.is_live("a"), "twenty calls were in vain");
    // A quarter of a dial is the longest that one waits from there.
    world.until(s(5)).await;
    let (calls, errors) = load.take();
    assert_eq!(
        errors, 0,
        "reads go on to the next candidate: {calls} calls"
    );
    assert!(load.longest() <= ms(510), "{:?}", load.longest());
    // Who asks at the very instant of the first time-out, before those who learn of it, waits as long again.
    assert!(load.last_slow() <= s(4), "{:?}", load.last_slow());
    world.network.serve(A, Manner::Well);
    world.until(s(9)).await;
    assert!(world.is_live("a"));
    assert_eq!(load.take().1, 0);
    let told = world.told();
    assert_eq!(
        (&*told[0], told.last().map(|t| &**t)),
        ("down a timeout", Some("up a"))
    );
    load.over.store(true, Relaxed);
}

#[tokio::test(start_paused = true)]
async fn servers_that_restart_one_after_the_other_cost_no_read() {
    let mut world = World::served(&["a", "b", "c"]);
    let load = Load::start(&world, 12);
    for (n, addr) in (0..).zip(ALL) {
        world.until(s(1) + n * s(7)).await;
        world.network.serve(addr, Manner::Gone);
        world.until(s(3) + n * s(7)).await;
        world.network.serve(
            addr,
            Manner::Says("-LOADING Redis is loading the dataset in memory"),
        );
        world.until(s(5) + n * s(7)).await;
        world.network.serve(addr, Manner::Well);
        world.until(s(8) + n * s(7)).await;
        assert_eq!(world.cluster.status().active(), 3, "{addr}");
    }
    let (calls, errors) = load.take();
    assert_eq!(errors, 0, "of {calls} calls");
    assert!(load.longest() <= ms(10), "{:?}", load.longest());
    let told = world.told();
    let down = told.iter().filter(|event| event.starts_with("down"));
    assert_eq!(down.count(), 3, "{told:?}");
    load.over.store(true, Relaxed);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_was_all_gone_serves_within_a_second_of_its_return() {
    let world = World::served(&["a", "b", "c"]);
    let load = Load::start(&world, 8);
    world.until(s(3)).await;
    for addr in ALL {
        world.network.serve(addr, Manner::Gone);
    }
    world.until(s(63)).await;
    let before: u64 = ALL.iter().map(|addr| world.network.connections(addr)).sum();
    let error = world.cluster.run::<()>(redis::cmd("GET").arg("k")).await;
    assert_eq!(
        error.expect_err("nobody serves").kind(),
        ErrorKind::ClusterEmpty
    );
    // However many callers are in need.
    world.until(s(73)).await;
    let after: u64 = ALL.iter().map(|addr| world.network.connections(addr)).sum();
    assert!(
        (50..=66).contains(&(after - before)),
        "{} dials in 10 s",
        after - before
    );
    for addr in ALL {
        world.network.serve(addr, Manner::Well);
    }
    world.until(s(73) + ms(600)).await;
    assert_eq!(world.cluster.status().active(), 3);
    load.take();
    world.until(s(80)).await;
    assert_eq!(load.take().1, 0);
    load.over.store(true, Relaxed);
}

struct Secret;

impl CredentialsProvider for Secret {
    fn credentials<'a>(&'a self, _: &'a NodeId) -> CredentialsFuture<'a> {
        Box::pin(async { Ok(Credentials::password("secret")) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_password_that_was_withdrawn_puts_a_node_out_and_is_said_as_what_it_is() {
    let world = World::served_with(&["a"], |builder| builder.credentials(Secret));
    world.call("a").await.expect("an answer");
    world.until(s(1)).await;
    world
        .network
        .serve(A, Manner::Says("-NOAUTH Authentication required."));
    let reply = world.call("a").await.expect("an answer, if not a good one");
    assert!(reply.class().is_some(), "{reply:?}");
    world.settle().await;
    assert_eq!(world.is("a"), (NodeState::Down, 7), "a dial tells");
    world.until(s(61)).await;
    let dials = world.network.connections(A);
    assert!((12..=60).contains(&dials), "{dials} dials in a minute");
    world.network.serve(A, Manner::Well);
    world.until(s(67)).await;
    world.call("a").await.expect("an answer");
}

/// How callers give up before a whole response time-out is over.
#[derive(Clone, Copy, Debug)]
enum Hurry {
    /// They give the cluster so little time.
    Deadline,
    /// They drop the call.
    Drop,
}

#[tokio::test(start_paused = true)]
async fn callers_who_never_wait_for_a_whole_response_time_out_put_a_silent_node_out_all_the_same() {
    for hurry in [Hurry::Deadline, Hurry::Drop] {
        let mut world = World::served(&["a", "b"]);
        let load = Load::start_in_a_hurry(&world, 16, hurry);
        world.until(s(3)).await;
        assert_eq!(load.take().1, 0);
        world.network.serve(A, Manner::Stopped);
        // A response time-out, a look each 100 ms, and the dial that proves it.
        world.until(s(4) + ms(300)).await;
        assert!(!world.is_live("a"), "{hurry:?}: {:?}", load.take());
        load.take();
        world.until(s(10)).await;
        assert_eq!(load.take().1, 0, "{hurry:?}: {:?}", world.told());
        load.over.store(true, Relaxed);
        assert_eq!(world.told()[0], "down a timeout");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_answers_come_too_late_for_its_callers_is_heard_all_the_same() {
    let mut world = World::served(&["a", "b"]);
    world.call("a").await.expect("an answer");
    world.network.serve(A, Manner::Slow(150));
    for n in 0..50 {
        world.until(n * ms(200)).await;
        let call = tokio::time::timeout(ms(100), world.call("a"));
        call.await.expect_err("it takes longer");
    }
    assert_eq!(world.is("a"), (NodeState::Up, 0));
    assert_eq!(world.network.connections(A), 1, "nor is its lane given up");
    assert_eq!(world.told(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn one_call_that_was_dropped_is_one_time_out_at_most() {
    let mut world = World::served(&["a", "b"]);
    world.call("a").await.expect("an answer");
    sleep(ms(10)).await;
    world.network.forget(A);
    let call = tokio::time::timeout(ms(100), world.call("a"));
    call.await.expect_err("it was forgotten");
    sleep(ms(399)).await;
    assert!(world.backend("a").lane().has_live(), "it may still come");
    sleep(ms(130)).await;
    assert_eq!(world.network.connections(A), 2, "another lane, which works");
    world.call("a").await.expect("an answer");
    world.until(s(60)).await;
    assert_eq!(world.is("a"), (NodeState::Up, 0));
    assert_eq!(world.told(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn callers_in_a_hurry_for_a_connection_of_their_own_put_a_silent_node_out_too() {
    for has_lane in [false, true] {
        let world = World::served(&["a", "b"]);
        let client = world.cluster.get_client_of_node("a");
        let client = client.expect("it is there");
        drop(client.dedicated().await.expect("a connection"));
        if has_lane {
            world.call("a").await.expect("an answer");
        }
        world.until(s(3)).await;
        world.network.serve(A, Manner::Stopped);
        let ask = async || {
            let mut own = client.dedicated().await.ok()?;
            let get = redis::cmd("GET").arg("k").to_owned();
            get.query_async::<Option<String>>(&mut own).await.ok()
        };
        let mut calls = 0;
        while world.is_live("a") && clock::since(world.began) < s(60) {
            let answer = tokio::time::timeout(ms(90), ask()).await;
            assert!(!matches!(answer, Ok(Some(_))), "it is silent");
            sleep(ms(10)).await;
            calls += 1;
        }
        // Where there is a lane that nobody uses, its heartbeat has to find out first.
        let most = if has_lane { 200 } else { 10 };
        assert!(calls <= most, "{calls} calls, with a lane: {has_lane}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_accepts_nobody_is_out_after_one_dial_and_its_probes_end_in_their_time() {
    let mut world = World::served(&["a", "b"]);
    world.network.serve(A, Manner::Unreachable);
    let began = clock::now();
    let error = world.call("a").await.expect_err("nobody accepts");
    assert_eq!(error.outcome(), crate::error::Outcome::NotSent, "{error}");
    let waited = clock::since(began);
    assert!((ms(500)..=ms(502)).contains(&waited), "{waited:?}");
    assert_eq!(world.is("a"), (NodeState::Down, 1));
    world.until(s(60)).await;
    let probes = world.cluster.status().nodes[0].probes;
    assert!((10..=30).contains(&probes), "{probes} in a minute");
    assert_eq!(world.network.connections(A), 1 + probes);
    let told = world.told();
    assert_eq!(told[0], "down a timeout");
    world.network.serve(A, Manner::Well);
    world.until(s(67)).await;
    world.call("a").await.expect("an answer");
}
