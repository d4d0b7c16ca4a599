//! What it costs to be observed: `cargo run --release --bin observed -- [--rounds N] [--slice-ms N]`.
//!
//! Each measurement is a process of its own, since a metrics recorder and a tracing subscriber are
//! installed once and for all: one without either, twice (the noise), one with a Prometheus recorder,
//! one with the recorder and a subscriber at INFO. They take turns, in shuffled order, on the same servers.

use std::process::{Command, Stdio};
use std::time::Duration;

use fluster_peers::load::{self, Op, quiet_slice};
use fluster_peers::results::Results;
use fluster_peers::support::{Server, fleet, urls};
use fluster_peers::{machine, rivals, summary};
use serde_json::{Value, json};

const CHILD: &str = "FLUSTER_BENCH_OBSERVED";
const VARIANTS: [&str; 4] = ["plain", "plain again", "metrics", "metrics and tracing"];
const TASKS: [usize; 3] = [16, 64, 256];

/// One measurement, in a process of its own; prints one line per number of tasks.
fn child(variant: &str) {
    let mut args = std::env::args().skip(1);
    let slice = Duration::from_millis(args.next().expect("a length").parse().expect("a number"));
    let urls: Vec<String> = args.collect();
    let runtime = load::runtime();
    if variant.contains("metrics") {
        let handle = metrics_exporter_prometheus::PrometheusBuilder::new()
            .install_recorder()
            .expect("the only recorder");
        // What a scrape does now and then: without it the histograms' samples pile up.
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_secs(1));
                handle.run_upkeep();
                drop(handle.render());
            }
        });
    }
    if variant.contains("tracing") {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::INFO)
            .with_writer(std::io::stderr)
            .init();
    }
    let keys = load::keys();
    let run = rivals::Run(runtime.block_on(async { rivals::cluster(&urls, None) }));
    for tasks in TASKS {
        let mut row = quiet_slice(&runtime, &run, (Op::Get, tasks), &keys, slice);
        row["tasks"] = json!(tasks);
        println!("{row}");
    }
    std::process::exit(0);
}

fn main() {
    if let Ok(variant) = std::env::var(CHILD) {
        child(&variant);
    }
    let (mut rounds, mut slice, mut fresh) = (20, "300".to_owned(), false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
        match arg.as_str() {
            "--rounds" => rounds = value().parse().expect("a number of rounds"),
            "--slice-ms" => slice = value(),
            "--fresh" => fresh = true,
            other => panic!("{other}: see the first lines of benches/peers/src/observed.rs"),
        }
    }
    let servers: [Server; 3] = fleet();
    load::keys_on(&servers);
    let about = json!({
        "what": "observed",
        "machine": machine::describe(),
        "slice_ms": slice,
        "packages": summary::versions(),
    });
    let mut results = Results::open("observed.jsonl", &about, fresh);
    for round in 0..rounds {
        let mut order = VARIANTS;
        fastrand::shuffle(&mut order);
        for who in order {
            if results.has(&json!({"round": round, "who": who})) {
                continue;
            }
            let out = Command::new(std::env::current_exe().expect("this program"))
                .env(CHILD, who)
                .arg(&slice)
                .args(urls(&servers))
                .stderr(Stdio::inherit())
                .output()
                .expect("start this program once more");
            assert!(out.status.success(), "{who}: {}", out.status);
            for line in String::from_utf8_lossy(&out.stdout).lines() {
                let mut row: Value = serde_json::from_str(line).expect("a line of JSON");
                row["round"] = json!(round);
                row["op"] = json!("get");
                row["who"] = json!(who);
                results.push(row);
            }
        }
    }
    println!("{}", summary::observed(results.rows()));
}
