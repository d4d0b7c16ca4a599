//! Operations per second, CPU and allocations per operation, of fluster and of what one would use
//! instead: `cargo run --release --bin throughput -- [--rounds N] [--slice-ms N] [--tasks 1,16]
//! [--ops get,set] [--contestants a,b] [--quick] [--fresh]`.
//!
//! Three `redis-server` processes of this program's own, all contestants at once in one process, one
//! at a time under load, in an order that is drawn anew for every round. What is reported are ratios
//! of two contestants in the same round, so whatever the machine does beside it hits both; one
//! contestant runs twice, and how far it is from itself is the noise. A slice in which the hypervisor
//! took time away is repeated. A run that was interrupted continues where it was.

use std::time::{Duration, Instant};

use fluster_peers::counting::Counting;
use fluster_peers::load::{self, Contestant, Op, quiet_slice};
use fluster_peers::results::Results;
use fluster_peers::rivals::{self, POOL};
use fluster_peers::support::{Server, fleet, urls};
use fluster_peers::{machine, summary};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

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
        Box::new(rivals::fred(urls, None, POOL, false).await),
    );
    add(
        summary::FRED_ONE,
        Box::new(rivals::fred(urls, None, 1, false).await),
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
    let keys = load::keys_on(&servers);
    let runtime = load::runtime();
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
                    let mut row = quiet_slice(&runtime, &**who, (op, tasks), &keys, options.slice);
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
