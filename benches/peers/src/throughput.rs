//! Operations per second, CPU and allocations per operation, of fluster and of what one would use
//! instead: `cargo run --release --bin throughput -- [--rounds N] [--slice-ms N] [--tasks 1,16]
//! [--ops get,set] [--contestants a,b] [--quick] [--fresh]`.
//!
//! Three `redis-server` processes of this program's own, all contestants at once in one process, one
//! at a time under load, in an order that is drawn anew for every round. What is reported are ratios
//! of two contestants in the same round, so whatever the machine does beside it hits both; one
//! contestant runs twice, and how far it is from itself is the noise. A slice in which the hypervisor
//! took time away is repeated. A run that was interrupted continues where it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fluster_peers::counting::{self, Counting};
use fluster_peers::histogram::Histogram;
use fluster_peers::results::Results;
use fluster_peers::rivals::{self, Kv, POOL};
use fluster_peers::support::{Server, fleet, urls};
use fluster_peers::{machine, summary};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const KEYS: usize = 10_000;
const VALUE: [u8; 64] = [b'v'; 64];
/// A slice with more than this share of a CPU stolen is repeated, this often at most.
const STOLEN: f64 = 0.02;
const REPEATS: u32 = 3;

#[derive(Clone, Copy, PartialEq)]
enum Op {
    Get,
    Set,
}

/// What the tasks of one slice share.
struct Load {
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

trait Contestant {
    fn start(&self, runtime: &Runtime, load: &Arc<Load>, task: usize) -> JoinHandle<Histogram>;
}

impl<K: Kv> Contestant for K {
    fn start(&self, runtime: &Runtime, load: &Arc<Load>, task: usize) -> JoinHandle<Histogram> {
        runtime.spawn(work(self.clone(), Arc::clone(load), task))
    }
}

fn slice(
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
    std::thread::sleep(length / 5);
    let stolen = machine::stolen();
    load.measuring.store(true, Relaxed);
    let (made, bytes) = counting::made();
    let (cpu, began, done) = (machine::cpu_time(), Instant::now(), load.done());
    std::thread::sleep(length);
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

type Field = Vec<(&'static str, Box<dyn Contestant>)>;

async fn contestants(urls: &[String], wanted: &dyn Fn(&str) -> bool) -> Field {
    let mut all: Field = Vec::new();
    let cluster = rivals::cluster(urls, None);
    let mut add = |name: &'static str, who: Box<dyn Contestant>| {
        if wanted(name) {
            all.push((name, who));
        }
    };
    add(summary::RUN, Box::new(rivals::Run(cluster.clone())));
    add(
        summary::GET_CLIENT,
        Box::new(rivals::GetClient(cluster.clone())),
    );
    add(summary::DEDICATED, Box::new(rivals::Dedicated(cluster)));
    let mux = rivals::mux(urls, None).await;
    add(summary::MUX, Box::new(mux.clone()));
    add(summary::MUX_AGAIN, Box::new(mux));
    add(
        summary::MANAGER,
        Box::new(rivals::manager(urls, None).await),
    );
    add(
        summary::DEADPOOL,
        Box::new(rivals::deadpool(urls, None).await),
    );
    add(summary::BB8, Box::new(rivals::bb8(urls, None).await));
    add(
        summary::FRED,
        Box::new(rivals::fred(urls, None, POOL).await),
    );
    add(
        summary::FRED_ONE,
        Box::new(rivals::fred(urls, None, 1).await),
    );
    if rivals::has_twemproxy() {
        add(
            summary::TWEMPROXY,
            Box::new(rivals::twemproxy(urls, None).await),
        );
    } else {
        eprintln!("nutcracker is not installed: no row for twemproxy");
    }
    all
}

struct Options {
    rounds: u64,
    slice: Duration,
    tasks: Vec<usize>,
    ops: Vec<(Op, &'static str)>,
    contestants: Option<Vec<String>>,
    fresh: bool,
}

fn options() -> Options {
    let mut options = Options {
        rounds: 30,
        slice: Duration::from_millis(150),
        tasks: vec![1, 16, 64, 256],
        ops: vec![(Op::Get, "get"), (Op::Set, "set")],
        contestants: None,
        fresh: false,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
        match arg.as_str() {
            "--rounds" => options.rounds = value().parse().expect("a number of rounds"),
            "--slice-ms" => {
                options.slice = Duration::from_millis(value().parse().expect("milliseconds"))
            }
            "--tasks" => {
                options.tasks = value()
                    .split(',')
                    .map(|n| n.parse().expect("numbers of tasks"))
                    .collect();
            }
            "--ops" => {
                let ops = value();
                options
                    .ops
                    .retain(|(_, name)| ops.split(',').any(|op| op == *name));
            }
            "--contestants" => {
                options.contestants = Some(value().split(',').map(str::to_owned).collect())
            }
            "--quick" => (options.rounds, options.slice) = (3, Duration::from_millis(60)),
            "--fresh" => options.fresh = true,
            other => panic!("{other}: see the first lines of benches/peers/src/throughput.rs"),
        }
    }
    options
}

fn main() {
    let options = options();
    let servers: [Server; 3] = fleet();
    let keys: Arc<[String]> = (0..KEYS).map(|n| format!("session:{n:08x}")).collect();
    // Every key on every server: each contestant has a rule of its own for who owns it.
    for server in &servers {
        let mut raw = server.connect().expect("a connection");
        for key in keys.iter() {
            raw.call([b"SET".as_slice(), key.as_bytes(), &VALUE])
                .expect("SET");
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let wanted = |name: &str| {
        options
            .contestants
            .as_ref()
            .is_none_or(|names| names.iter().any(|wanted| name == wanted))
    };
    let field = runtime.block_on(contestants(&urls(&servers), &wanted));
    let about = json!({
        "what": "throughput",
        "machine": machine::describe(),
        "server": machine::version_of("redis-server", "--version"),
        "slice_ms": options.slice.as_millis() as u64,
        "packages": summary::versions(),
    });
    let mut results = Results::open("throughput.jsonl", &about, options.fresh);
    let began = Instant::now();
    for round in 0..options.rounds {
        for &(op, op_name) in &options.ops {
            for &tasks in &options.tasks {
                let mut order: Vec<_> = field.iter().collect();
                fastrand::shuffle(&mut order);
                for (name, who) in order {
                    let cell = json!({"round": round, "op": op_name, "tasks": tasks, "who": name});
                    if results.has(&cell) {
                        continue;
                    }
                    let mut row = slice(&runtime, &**who, (op, tasks), &keys, options.slice);
                    for _ in 0..REPEATS {
                        if row["stolen"].as_f64().unwrap_or_default() <= STOLEN {
                            break;
                        }
                        row = slice(&runtime, &**who, (op, tasks), &keys, options.slice);
                    }
                    for (field, value) in cell.as_object().expect("fields") {
                        row[field] = value.clone();
                    }
                    results.push(row);
                }
            }
        }
        eprintln!(
            "round {} of {}, {:.0} s",
            round + 1,
            options.rounds,
            began.elapsed().as_secs_f64()
        );
    }
    println!(
        "{}\n{}",
        summary::throughput(results.rows()),
        summary::against(results.rows())
    );
    eprintln!("{}", results.path().display());
    drop(field);
    runtime.shutdown_timeout(Duration::from_secs(1));
}
