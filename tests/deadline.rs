//! One deadline for a call, whatever it does: no public function outlasts it where servers are silent; and none that
//! fails at once keeps a runtime to itself.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use fluster::cache::Cache;
use fluster::queue::{Delivery, MessageId, Queue};
use fluster::replication::{HedgeAfter, Quorum, ReadFrom};
use fluster::{Error, ErrorKind, FlusterCluster};
use redis::{AsyncCommands, Value};

use crate::support::{Server, fleet, urls};

/// What the calls are given.
const GIVEN: Duration = Duration::from_millis(200);
/// What any of them may take on a busy machine. All other time-outs are much longer.
const AT_MOST: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(60);

/// Functions that a silent server does not bind, or that say themselves how long they wait.
const HAVE_LIMITS_OF_THEIR_OWN: &[(&str, &str)] = &[
    ("dedicated", "`pool_wait` and `connect_timeout`"),
    ("next", "waits for what comes, as long as the caller likes"),
    ("pop", "takes its wait as an argument"),
    ("close", "gives what is held a second"),
    ("shutdown", "takes its grace as an argument"),
];

/// Calls that took longer than they may, and those that never gave way to another task.
#[derive(Default)]
struct Watch {
    late: Vec<String>,
    /// Turns of another task on the only thread there is, where calls are looked at for that.
    turns: Option<Arc<AtomicU64>>,
    selfish: Vec<String>,
}

impl Watch {
    /// Watches for calls that give way; for a runtime of one thread.
    fn of_turns() -> Self {
        let turns = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&turns);
        tokio::spawn(async move {
            loop {
                counted.fetch_add(1, SeqCst);
                tokio::task::yield_now().await;
            }
        });
        Self {
            turns: Some(turns),
            ..Self::default()
        }
    }

    fn turns(&self) -> Option<u64> {
        Some(self.turns.as_ref()?.load(SeqCst))
    }

    async fn call<T>(&mut self, what: &str, call: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let result = call.await;
        let took = began.elapsed();
        if took > AT_MOST {
            self.late.push(format!("{what} took {took:?}"));
        }
        result
    }
}

fn is_unanswered(error: &Error) -> bool {
    let at_once = [ErrorKind::ClusterEmpty, ErrorKind::Closed];
    error.is_connection_error() || at_once.contains(&error.kind())
}

fn cluster(servers: &[Server]) -> FlusterCluster {
    FlusterCluster::builder()
        .urls(urls(servers))
        .response_timeout(LONG)
        .connect_timeout(LONG)
        .pool_wait(LONG)
        .deadline(3 * LONG)
        .build()
        .unwrap()
}

async fn walk(
    hurry: &FlusterCluster,
    jobs: Option<(fluster::queue::Consumer, Vec<Delivery>)>,
    mut watch: Watch,
) {
    let (get, set) = (redis::Cmd::get("k"), redis::Cmd::set("k", 1));
    let mut pipe = redis::pipe();
    pipe.get("k").get("l").get("m");
    let atomic = redis::pipe().atomic().get("k").to_owned();
    let minute = Duration::from_secs(60);
    macro_rules! call {
        ($future:expr) => {{
            let result = watch.call(stringify!($future), $future).await;
            // Who calls it again and again, whatever it says.
            let before = watch.turns();
            let mut left = if before.is_some() { 1000 } else { 0 };
            while left > 0 && watch.turns() == before {
                drop($future.await);
                left -= 1;
            }
            if before.is_some() && left == 0 {
                watch.selfish.push(stringify!($future).to_owned());
            }
            result
        }};
    }
    // What no server answers is an error, in time and no other.
    let error = call!(hurry.run::<Value>(&get)).unwrap_err();
    assert!(is_unanswered(&error), "{error}");
    let _ = call!(hurry.run::<Value>(&redis::cmd("DBSIZE")));
    let _ = call!(hurry.run_with_key::<Value>("k", &get));
    let _ = call!(hurry.get_many::<_, Value>(["k", "l", "m"]));
    let _ = call!(hurry.set_many([("k", 1), ("l", 2)]));
    let _ = call!(hurry.del_many(["k", "l"]));
    let _ = call!(hurry.pipeline(&pipe));
    let _ = call!(hurry.pipeline(&atomic));
    let mut whole = hurry.clone();
    let _ = call!(whole.get::<_, Value>("k"));
    let _ = call!(hurry.fan_out(&redis::cmd("DBSIZE")));
    let _ = call!(hurry.zrevrange_with_int_score("z", 9, 0));
    let ended =
        call!(hurry.transaction::<Value, _, _, _>(["k"], |own, pipe| async { Ok((own, pipe)) }));
    let error = ended.unwrap_err();
    assert!(is_unanswered(&error), "{error}");
    let mut scan = hurry.scan(redis::ScanOptions::default());
    let _ = call!(scan.next());
    let heard = call!(hurry.subscribe(["c"]));
    assert!(heard.is_err() || watch.turns.is_some());
    let heard = call!(hurry.psubscribe(["c*"]));
    assert!(heard.is_err() || watch.turns.is_some());
    let heard = call!(hurry.ssubscribe(["c"]));
    assert!(heard.is_err() || watch.turns.is_some());
    let warm = call!(hurry.warm_up()).is_complete();
    assert!(!warm || watch.turns.is_some());

    // Where no node is in, there are none to be had.
    let both = hurry.replicas("k", 2);
    assert!(both.is_ok() || watch.turns.is_some(), "{both:?}");
    if let Ok(both) = both {
        let _ = call!(both.write(&set, Quorum::All));
        let _ = call!(both.read::<Value>(&get, ReadFrom::FirstAvailable));
        let after = HedgeAfter::default();
        let _ = call!(both.read::<Value>(&get, ReadFrom::Hedged { after }));
        let newest = ReadFrom::majority(|_, _| std::cmp::Ordering::Equal);
        let _ = call!(both.read::<Value>(&get, newest.clone()));
    }

    let cache: Cache<String> = hurry.cache("c:").replicas(2).raw().unwrap();
    let _ = call!(cache.set("k", &"v".to_owned(), minute));
    let _ = call!(cache.get("k"));
    let _ = call!(cache.get_many(["k", "l"]));
    let _ = call!(cache.set_many([("k", "v".to_owned())], minute));
    let made = || async { Ok::<_, Error>("v".to_owned()) };
    let value = call!(cache.get_or_compute("new", minute, made));
    assert_eq!(value.unwrap(), "v", "the cache is a help, not a condition");
    let _ = call!(cache.delete("k"));

    let queue = hurry.queue("q");
    let _ = call!(queue.push("a"));
    let _ = call!(queue.push_as(MessageId::random(), "b"));
    let _ = call!(queue.push_by_key("k", "c"));
    let _ = call!(queue.push_at(minute, "d"));
    let _ = call!(queue.push_many(["e", "f"]));
    let _ = call!(queue.len());
    let _ = call!(queue.is_empty());
    let _ = call!(queue.depths());
    let _ = call!(queue.is_first(MessageId::random(), minute));
    let _ = call!(queue.forget_id(MessageId::random()));
    let _ = call!(queue.dead().list(9));
    let _ = call!(queue.purge());
    let node = hurry.status().nodes[0].name.clone();
    let _ = call!(queue.drain(&node, Duration::ZERO));
    if let Some((consumer, held)) = jobs {
        let [a, b, c, d] = &held[..] else {
            panic!("four jobs")
        };
        let _ = call!(a.extend(minute));
        let _ = call!(a.ack());
        let _ = call!(b.nack(Duration::ZERO));
        let _ = call!(c.reject("bad"));
        let _ = call!(consumer.ack_many([d]));
    }
    assert!(
        watch.late.is_empty(),
        "{GIVEN:?} were given: {:#?}",
        watch.late
    );
    assert!(
        watch.selfish.is_empty(),
        "called a thousand times, nobody else had a turn: {:#?}",
        watch.selfish
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_outlasts_its_deadline_while_servers_are_silent_from_the_start() {
    let servers: [Server; 2] = fleet();
    servers.iter().for_each(Server::stop);
    let hurry = cluster(&servers).with_deadline(GIVEN);
    walk(&hurry, None, Watch::default()).await;
    servers.iter().for_each(Server::cont);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_outlasts_its_deadline_when_servers_fall_silent() {
    let servers: [Server; 2] = fleet();
    let hurry = cluster(&servers).with_deadline(GIVEN);
    // All of this needs answers, and makes the connections; the machine may be slow.
    let patient = hurry.with_deadline(LONG);
    let queue: Queue = patient.queue("q");
    for job in ["a", "b", "c", "d"] {
        queue.push(job).await.unwrap();
    }
    let consumer = hurry.queue("q").consumer("g", "w").unwrap();
    let mut held = Vec::new();
    while held.len() < 4 {
        let job = consumer.pop(LONG).await.unwrap();
        held.push(job.expect("four were pushed"));
    }
    let _: u64 = patient.run(&redis::cmd("DBSIZE")).await.unwrap();
    for key in ["k", "l", "m"] {
        let own = patient.get_client(key).unwrap().dedicated().await;
        drop(own.unwrap());
    }
    servers.iter().for_each(Server::stop);
    walk(&hurry, Some((consumer, held)), Watch::default()).await;
    servers.iter().for_each(Server::cont);
}

/// A loop that repeats what fails at once must not stop everything else on its runtime, the probes that end the outage
/// included.
#[tokio::test]
async fn calls_that_fail_at_once_leave_the_runtime_to_others_while_no_node_is_in() {
    let servers: [Server; 2] = fleet();
    let cluster = cluster(&servers).with_deadline(LONG);
    servers.iter().for_each(Server::kill);
    let get = redis::Cmd::get("k");
    let is_empty = |e: Error| e.kind() == ErrorKind::ClusterEmpty;
    while !cluster.run::<Value>(&get).await.is_err_and(is_empty) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    walk(&cluster, None, Watch::of_turns()).await;
    cluster.shutdown(Duration::ZERO).await;
    walk(&cluster, None, Watch::of_turns()).await;
}

#[tokio::test]
async fn so_do_calls_that_are_refused_or_come_too_late() {
    let servers: [Server; 2] = fleet();
    let cluster = cluster(&servers);
    let late = cluster.with_deadline(Duration::ZERO);
    walk(&late, None, Watch::of_turns()).await;
    let mut pipe = redis::pipe();
    pipe.cmd("SUBSCRIBE").arg("c");
    let (unknown, own) = (redis::cmd("NO.SUCH"), pipe.cmd_iter().next().unwrap());
    for call in 0..3 {
        let other = tokio::spawn(async {});
        for _ in 0..1000 {
            let refused = match call {
                0 => cluster.run::<Value>(&unknown).await.is_err(),
                1 => cluster.run_with_key::<Value>("k", own).await.is_err(),
                _ => cluster.pipeline(&pipe).await.is_err(),
            };
            assert!(refused, "{call}");
        }
        assert!(other.is_finished(), "{call}: nobody else had a turn");
    }
}

#[tokio::test]
async fn a_transaction_whose_steps_outlast_the_deadline_executes_nothing() {
    let server = Server::start();
    let cluster = FlusterCluster::from_urls([server.url()]).unwrap();
    let hurry = cluster.with_deadline(GIVEN);
    let ended = hurry
        .transaction::<Value, _, _, _>(["k"], |own, mut pipe| async move {
            tokio::time::sleep(2 * GIVEN).await;
            pipe.set("k", 1);
            Ok((own, pipe))
        })
        .await;
    let error = ended.unwrap_err();
    assert_eq!(error.outcome(), fluster::Outcome::NotSent, "{error}");
    let there: bool = cluster.run(&redis::Cmd::exists("k")).await.unwrap();
    assert!(!there);
}

#[tokio::test]
async fn a_deadline_that_no_clock_can_say_is_a_long_one() {
    let server = Server::start();
    let cluster = FlusterCluster::from_urls([server.url()]).unwrap();
    let patient = cluster.with_deadline(Duration::MAX);
    let _: () = patient.run(&redis::Cmd::set("k", 1)).await.unwrap();
    let cache: Cache<String> = patient.cache("c:").raw().unwrap();
    cache.set("k", &"v".to_owned(), LONG).await.unwrap();
    patient.queue("q").push("a").await.unwrap();
    patient.subscribe(["c"]).await.unwrap();
}

/// The names of the public asynchronous functions in all files under `dir`.
fn public_functions(dir: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        // Registries, other instances and the program have limits, and tests, of their own.
        let others = ["discovery", "discovery.rs", "gossip", "forward", "bin"];
        if others.iter().any(|other| path.ends_with(other)) {
            continue;
        }
        if path.is_dir() {
            public_functions(&path, names);
            continue;
        }
        let code = fs::read_to_string(&path).unwrap();
        let found = code
            .lines()
            .filter_map(|line| line.trim().strip_prefix("pub async fn "));
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        names
            .extend(found.map(|rest| rest.chars().take_while(|c| is_word(*c)).collect::<String>()));
    }
}

#[test]
fn every_public_asynchronous_function_is_called_here() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut names = BTreeSet::new();
    public_functions(&src, &mut names);
    assert!(names.len() > 30, "{names:?}");
    let here = include_str!("deadline.rs");
    // A dead letter is needed to retry one.
    let same = ["retry", "discard"];
    for name in names {
        let is_called =
            here.contains(&format!(".{name}(")) || here.contains(&format!(".{name}::<"));
        let is_exempt = HAVE_LIMITS_OF_THEIR_OWN
            .iter()
            .any(|(other, _)| *other == name);
        assert!(
            is_called || is_exempt || same.contains(&&*name),
            "`{name}` is not called: add it to `walk`"
        );
    }
}
