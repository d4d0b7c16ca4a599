//! One slice of load on one contestant, and what it cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::histogram::Histogram;
use crate::rivals::Kv;
use crate::support::Server;
use crate::{counting, machine};

/// How many keys there are.
pub const KEYS: usize = 10_000;
/// The value of each.
pub const VALUE: [u8; 64] = [b'v'; 64];
/// A slice with more than this share of a CPU stolen is repeated, this often at most.
const STOLEN: f64 = 0.02;
const REPEATS: u32 = 3;

/// The keys, each written to every server: every contestant has a rule of its own for who owns it.
pub fn keys_on(servers: &[Server]) -> Arc<[String]> {
    let keys = keys();
    for server in servers {
        let mut raw = server.connect().expect("a connection");
        for key in keys.iter() {
            raw.call([b"SET".as_slice(), key.as_bytes(), &VALUE])
                .expect("SET");
        }
    }
    keys
}

#[must_use]
pub fn keys() -> Arc<[String]> {
    (0..KEYS).map(|n| format!("session:{n:08x}")).collect()
}

/// The runtime of all contestants: two workers.
#[must_use]
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// What a slice consists of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    Get,
    Set,
}

/// What the tasks of one slice share.
pub struct Load {
    keys: Arc<[String]>,
    op: Op,
    measuring: AtomicBool,
    stop: AtomicBool,
    done: Vec<Done>,
}

/// Operations of one task, on a cache line of its own.
#[derive(Default)]
#[repr(align(128))]
struct Done(AtomicU64);

impl Load {
    fn done(&self) -> u64 {
        self.done.iter().map(|done| done.0.load(Relaxed)).sum()
    }
}

async fn work<K: Kv>(kv: K, load: Arc<Load>, task: usize) -> Histogram {
    let mut times = Histogram::default();
    // A prime, so that each task walks all the keys in an order of its own place.
    let mut at = task * 7919;
    let mut began = Instant::now();
    while !load.stop.load(Relaxed) {
        let key = &load.keys[at % KEYS];
        at += 1;
        match load.op {
            Op::Get => match kv.get(key).await {
                Ok(Some(length)) => assert_eq!(length, VALUE.len(), "the value of {key}"),
                other => panic!("GET {key}: {other:?}"),
            },
            Op::Set => kv
                .set(key, &VALUE)
                .await
                .unwrap_or_else(|e| panic!("SET {key}: {e}")),
        }
        let now = Instant::now();
        if load.measuring.load(Relaxed) {
            times.record(now - began);
            load.done[task].0.fetch_add(1, Relaxed);
        }
        began = now;
    }
    times
}

/// Whoever can be put under load.
pub trait Contestant {
    fn start(&self, runtime: &Runtime, load: &Arc<Load>, task: usize) -> JoinHandle<Histogram>;
}

impl<K: Kv> Contestant for K {
    fn start(&self, runtime: &Runtime, load: &Arc<Load>, task: usize) -> JoinHandle<Histogram> {
        runtime.spawn(work(self.clone(), Arc::clone(load), task))
    }
}

/// Runs `tasks` tasks for some time, the first fifth of which does not count.
pub fn slice(
    runtime: &Runtime,
    who: &dyn Contestant,
    (op, tasks): (Op, usize),
    keys: &Arc<[String]>,
    length: Duration,
) -> Value {
    let load = Arc::new(Load {
        keys: Arc::clone(keys),
        op,
        measuring: AtomicBool::new(false),
        stop: AtomicBool::new(false),
        done: (0..tasks).map(|_| Done::default()).collect(),
    });
    let running: Vec<_> = (0..tasks)
        .map(|task| who.start(runtime, &load, task))
        .collect();
    // Inside the runtime: one of a single thread runs only meanwhile.
    runtime.block_on(async { tokio::time::sleep(length / 5).await });
    let stolen = machine::stolen();
    load.measuring.store(true, Relaxed);
    let (made, bytes) = counting::made();
    let (cpu, began, done) = (machine::cpu_time(), Instant::now(), load.done());
    runtime.block_on(async { tokio::time::sleep(length).await });
    let (cpu, took, done) = (
        machine::cpu_time() - cpu,
        began.elapsed(),
        load.done() - done,
    );
    let (made_after, bytes_after) = counting::made();
    load.measuring.store(false, Relaxed);
    let stolen = machine::stolen() - stolen;
    load.stop.store(true, Relaxed);
    let mut times = Histogram::default();
    for task in running {
        times.merge(
            &runtime
                .block_on(task)
                .expect("no contestant fails under load"),
        );
    }
    assert!(done > 0, "not one operation in {took:?}");
    let per_op = |n: f64| n / done as f64;
    json!({
        "ops": done as f64 / took.as_secs_f64(),
        "cpu_us": per_op(cpu.as_secs_f64() * 1e6),
        "allocations": per_op((made_after - made) as f64),
        "bytes": per_op((bytes_after - bytes) as f64),
        "p50_us": times.quantile(0.5),
        "p99_us": times.quantile(0.99),
        "stolen": stolen.as_secs_f64() / took.as_secs_f64(),
    })
}

/// [`slice`], repeated while the hypervisor takes time away.
pub fn quiet_slice(
    runtime: &Runtime,
    who: &dyn Contestant,
    what: (Op, usize),
    keys: &Arc<[String]>,
    length: Duration,
) -> Value {
    let mut row = slice(runtime, who, what, keys, length);
    for _ in 0..REPEATS {
        if row["stolen"].as_f64().unwrap_or_default() <= STOLEN {
            break;
        }
        row = slice(runtime, who, what, keys, length);
    }
    row
}
