//! A storm of calls that are given up at random moments, on connections that are cut at random moments: afterwards the
//! server tells what it executed, and each call's account is held against that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fluster::{Client, Error, FlusterCluster, Outcome, Penalty};
use redis::{Cmd, Pipeline, RedisError};

use super::relay::Relay;
use super::{Site, Way};
use crate::support::eventually;

const TASKS: u64 = 64;
const SOON: Duration = Duration::from_secs(60);
/// How long an answer is waited for: shorter than requests are held up at times.
const LIMIT: Duration = Duration::from_millis(60);
/// The commands of a pipeline.
const SEVERAL: u64 = 3;
/// What makes a request larger than what is kept for a socket, in bytes.
const MUCH: usize = 2_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    One,
    Pipeline,
    Transaction,
    /// A command, and one that is long.
    Large,
}

/// What became of a call, as it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    NotSent,
    MaybeExecuted,
    /// Its caller went away.
    Dropped,
}

/// A call: each of its commands sets a key of its own number to that number, by adding it.
#[derive(Clone, Copy, Debug)]
struct Call {
    kind: Kind,
    first: u64,
    fate: Fate,
}

impl Kind {
    fn commands(self) -> u64 {
        match self {
            Self::One | Self::Large => 1,
            Self::Pipeline | Self::Transaction => SEVERAL,
        }
    }
}

fn add(number: u64) -> Cmd {
    let mut cmd = redis::cmd("INCRBY");
    cmd.arg(key(number)).arg(number);
    cmd
}

fn key(number: u64) -> String {
    format!("n:{number}")
}

/// What a failed call knows; an answer of the server is none.
fn outcome(error: &Error) -> Outcome {
    let outcome = error.outcome();
    assert_ne!(outcome, Outcome::Answered, "{error}");
    outcome
}

async fn ask(
    cluster: &FlusterCluster,
    client: &mut Client,
    kind: Kind,
    first: u64,
) -> Result<Vec<u64>, Outcome> {
    let ours = |e: RedisError| outcome(Error::from_redis(&e).unwrap_or_else(|| panic!("{e}")));
    let mut pipe = Pipeline::new();
    for number in first..first + kind.commands() {
        pipe.add_command(add(number));
    }
    match kind {
        // Both ways to ask; what was not sent is sent again, by itself, on another connection.
        Kind::One if first.is_multiple_of(2) => {
            let asked = cluster.run_with_key(key(0), &add(first)).await;
            asked.map(|number| vec![number]).map_err(|e| outcome(&e))
        }
        Kind::One => {
            let asked = add(first).query_async(client).await;
            asked.map(|number| vec![number]).map_err(ours)
        }
        Kind::Pipeline => pipe.query_async(client).await.map_err(ours),
        Kind::Transaction => pipe.atomic().query_async(client).await.map_err(ours),
        Kind::Large => {
            pipe.set("large", vec![b'x'; MUCH]).ignore();
            pipe.query_async(client).await.map_err(ours)
        }
    }
}

/// Asks, and goes away at a random moment half of the time.
async fn one_call(cluster: &FlusterCluster, client: &mut Client, kind: Kind, first: u64) -> Fate {
    let yields = match fastrand::u8(..8) {
        0..4 => u64::MAX,
        4 => 0,
        5 => fastrand::u64(..4),
        6 => fastrand::u64(..30),
        _ => fastrand::u64(..300),
    };
    let patience = async {
        for _ in 0..yields {
            if yields == u64::MAX {
                std::future::pending::<()>().await;
            }
            tokio::task::yield_now().await;
        }
    };
    let answer = tokio::select! {
        biased;
        answer = ask(cluster, client, kind, first) => answer,
        () = patience => return Fate::Dropped,
    };
    match answer {
        Ok(numbers) => {
            let right: Vec<_> = (first..first + kind.commands()).collect();
            assert_eq!(numbers, right, "{kind:?}: another's reply");
            Fate::Answered
        }
        Err(Outcome::NotSent) => Fate::NotSent,
        Err(_) => Fate::MaybeExecuted,
    }
}

/// One after the other, until all numbers are used.
async fn caller(cluster: FlusterCluster, numbers: Arc<AtomicU64>, end: u64) -> Vec<Call> {
    let mut calls = Vec::new();
    loop {
        let kind = match fastrand::u8(..100) {
            0..62 => Kind::One,
            62..81 => Kind::Pipeline,
            81..99 => Kind::Transaction,
            _ => Kind::Large,
        };
        let first = numbers.fetch_add(kind.commands(), Relaxed);
        if first >= end {
            return calls;
        }
        let fate = match cluster.get_client(key(0)) {
            Ok(mut client) => one_call(&cluster, &mut client, kind, first).await,
            Err(_) => Fate::NotSent,
        };
        if fate == Fate::NotSent {
            // The connection is made anew.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        calls.push(Call { kind, first, fate });
    }
}

/// Ends connections, by the server and on the way, and holds requests up, at random moments.
async fn trouble(site: &Site, relay: &Relay, over: &AtomicBool) {
    while !over.load(Relaxed) {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(5..40))).await;
        match fastrand::u8(..6) {
            0 => drop(site.server.raw(["CLIENT", "KILL", "TYPE", "normal"])),
            1 => relay.cut(),
            2 => relay.bite(fastrand::usize(1..2_000)),
            3 => {
                relay.deaf(true);
                tokio::time::sleep(Duration::from_millis(fastrand::u64(1..120))).await;
                if fastrand::bool() {
                    relay.cut();
                }
            }
            _ => relay.bite(0),
        }
        relay.deaf(false);
    }
}

/// How many calls there were of each sort.
type Told = [(&'static str, u64); 6];

/// Storms until calls of every sort were seen: a single short one may never cut a connection while a call waits in
/// front of it, which is chance, and no fault.
async fn storms(way: Way, protocol: &str, numbers: u64) {
    let mut seen = [0; 6];
    for _ in 0..20 {
        let told = storm(way, protocol, numbers).await;
        for (seen, (_, n)) in seen.iter_mut().zip(told) {
            *seen += n;
        }
        if !seen.contains(&0) {
            return;
        }
    }
    panic!(
        "{way:?} {protocol}: {seen:?}: of one sort there was none, the storms have shown nothing of it"
    );
}

async fn storm(way: Way, protocol: &str, numbers: u64) -> Told {
    let site = Site::new(way);
    let relay = Relay::start(&site.server);
    let cluster = site
        .builder(format!("{}?protocol={protocol}", relay.url(&site.server)))
        .response_timeout(LIMIT)
        .connect_timeout(SOON / 2)
        .deadline(SOON)
        .penalty(Penalty::default().strikes(1_000_000))
        .build()
        .unwrap();
    let began = Instant::now();
    let next = Arc::new(AtomicU64::new(1));
    let callers: Vec<_> = (0..TASKS)
        .map(|_| tokio::spawn(caller(cluster.clone(), Arc::clone(&next), numbers)))
        .collect();
    let over = AtomicBool::new(false);
    let mut calls = Vec::new();
    tokio::join!(trouble(&site, &relay, &over), async {
        for caller in callers {
            calls.extend(caller.await.expect("its own replies"));
        }
        over.store(true, Relaxed);
    });
    cluster.shutdown(SOON).await;
    eventually(SOON, || site.server.clients().is_empty()).await;
    let took = began.elapsed();
    let executed = executed(&site, next.load(Relaxed));
    let told = account(&calls, &executed);
    println!(
        "{way:?} {protocol}: {} calls in {took:?}: {told:?}",
        calls.len()
    );

    let numbers = executed.iter().filter(|is| **is).count() as u64;
    assert_eq!(site.calls("incrby"), numbers, "each was executed once");
    assert_eq!(told.iter().map(|(_, n)| n).sum::<u64>(), calls.len() as u64);
    told
}

/// Which numbers were added.
fn executed(site: &Site, end: u64) -> Vec<bool> {
    let mut raw = site.server.connect().unwrap();
    let mut executed = vec![false];
    let all: Vec<_> = (1..end).collect();
    for numbers in all.chunks(1_000) {
        let keys = numbers.iter().map(|n| key(*n));
        let values = raw.call(std::iter::once("MGET".to_owned()).chain(keys));
        let values = values.unwrap().to_string();
        for (number, value) in numbers.iter().zip(values.lines()) {
            let is = value != "(nil)";
            assert!(!is || value == number.to_string(), "{number} is {value}");
            executed.push(is);
        }
    }
    assert_eq!(executed.len() as u64, end);
    executed
}

/// Holds what each call said against what the server did; how many there were of each sort.
fn account(calls: &[Call], executed: &[bool]) -> Told {
    let mut told = [
        ("answered", 0),
        ("not sent", 0),
        ("executed, and its answer lost", 0),
        ("lost, and not executed", 0),
        ("dropped and executed", 0),
        ("dropped and taken back", 0),
    ];
    for call in calls {
        let first = call.first as usize;
        let done = &executed[first..first + call.kind.commands() as usize];
        let several = done.iter().filter(|done| **done).count();
        let prefix = done[..several].iter().all(|done| *done);
        assert!(prefix, "{call:?}: out of order: {done:?}");
        let (all, none) = (several == done.len(), several == 0);
        if call.kind == Kind::Transaction {
            assert!(all || none, "{call:?}: a part of it: {done:?}");
        }
        let sort = match call.fate {
            Fate::Answered => {
                assert!(all, "{call:?}: answered, and not executed: {done:?}");
                0
            }
            Fate::NotSent => {
                assert!(none, "{call:?}: not sent, and executed: {done:?}");
                1
            }
            Fate::MaybeExecuted => 2 + usize::from(none),
            Fate::Dropped => 4 + usize::from(none),
        };
        told[sort].1 += 1;
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_of_a_storm_has_its_own_reply_or_says_what_became_of_it() {
    for (way, protocol) in Way::ALL.into_iter().zip(["resp2", "resp3"]) {
        storms(way, protocol, 12_000).await;
    }
}

/// `make soak` runs it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes long"]
async fn each_of_a_hundred_thousand_calls_has_its_own_reply_or_says_what_became_of_it() {
    for way in Way::ALL {
        for protocol in ["resp2", "resp3"] {
            storms(way, protocol, 200_000).await;
        }
    }
}
