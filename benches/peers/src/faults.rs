//! What users of other clients see under ten faults that tell the most, beside fluster.
//!
//! `make peers` runs it and writes the table of the guide's chapter on faults. Every contestant meets
//! the same fault on a server of its own: 16 tasks send a command each 5 ms for 1 s, the fault holds
//! for 3 s, and for 3 s after it has healed. fluster has a second server that can stand in; the others
//! have no use for one.

#[path = "../../../tests/support/mod.rs"]
mod support;
// The fault suite's own proxy, a process of its own.
#[allow(dead_code, reason = "it has more faults than are shown here")]
#[path = "../../../tests/faults"]
mod faults {
    pub mod proxy;
}

mod contestants;
mod scenarios;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::contestants::Contestant;
use crate::scenarios::{SCENARIOS, Scenario, Scene};

const TASKS: usize = 16;
const THINK: Duration = Duration::from_millis(5);
const BEFORE: Duration = Duration::from_secs(1);
const FAULT: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_secs(3);

/// One call of the load.
struct Call {
    began: Instant,
    ended: Instant,
    ok: bool,
}

/// What one contestant showed under one fault.
struct Outcome {
    served: f64,
    errors: usize,
    longest: Duration,
    /// From the heal to the last failure; `None` when calls still failed at the end.
    settled: Option<Duration>,
}

async fn play(scenario: &Scenario, contestant: &dyn Contestant, scene: &Scene) -> Outcome {
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for _ in 0..TASKS {
        let (client, stop, load) = (contestant.client(), Arc::clone(&stop), scenario.load);
        tasks.push(tokio::spawn(async move {
            let mut calls = Vec::new();
            while !stop.load(Relaxed) {
                let began = Instant::now();
                let ok = client.call(load).await.is_ok();
                calls.push(Call {
                    began,
                    ended: Instant::now(),
                    ok,
                });
                tokio::time::sleep(THINK).await;
            }
            calls
        }));
    }
    tokio::time::sleep(BEFORE).await;
    let began = Instant::now();
    (scenario.inject)(scene);
    let injected = began.elapsed();
    tokio::time::sleep(FAULT.saturating_sub(injected)).await;
    (scenario.heal)(scene);
    let healed = Instant::now();
    tokio::time::sleep(AFTER).await;
    stop.store(true, Relaxed);
    let end = Instant::now();
    let mut calls = Vec::new();
    for task in tasks {
        // A call that hangs is waited for: it belongs in the table.
        calls.extend(task.await.expect("the load does not panic"));
    }
    let within = |from: Instant, to: Instant| {
        calls
            .iter()
            .filter(move |c| c.ended >= from && c.ended < to)
    };
    let good_before = within(began - BEFORE, began).filter(|c| c.ok).count() as f64;
    let good_during = within(began, healed).filter(|c| c.ok).count() as f64;
    let rate = |n: f64, time: Duration| n / time.as_secs_f64();
    let last_bad = calls.iter().filter(|c| !c.ok).map(|c| c.ended).max();
    let good_at_end = within(end - Duration::from_millis(500), end).any(|c| c.ok);
    Outcome {
        served: rate(good_during, healed - began) / rate(good_before, BEFORE),
        errors: calls.iter().filter(|c| !c.ok).count(),
        longest: calls
            .iter()
            .map(|c| c.ended - c.began)
            .max()
            .unwrap_or_default(),
        settled: good_at_end
            .then(|| last_bad.map_or(Duration::ZERO, |at| at.saturating_duration_since(healed))),
    }
}

fn cell(outcome: &Outcome) -> String {
    let settled = match outcome.settled {
        Some(time) if time < Duration::from_millis(1) => "at once".to_owned(),
        Some(time) => format!("{} ms", time.as_millis()),
        None => "not in 3 s".to_owned(),
    };
    format!(
        "{:.0} % / {} / {} ms / {settled}",
        100.0 * outcome.served,
        outcome.errors,
        outcome.longest.as_millis()
    )
}

fn main() {
    // The program is its own proxy, started once more.
    faults::proxy::serve_when_told_to();
    let only = std::env::args().nth(1);
    let mut table = String::from(
        "Each cell: commands served during the fault, as a share of those before / errors / longest call / \
         time from the heal to the last error.\n\n| fault | deadpool-redis | ConnectionManager | fluster |\n|---|---|---|---|\n",
    );
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime")
    };
    for scenario in SCENARIOS {
        if only.as_ref().is_some_and(|name| name != scenario.name) {
            continue;
        }
        let mut row = format!("| {} ", scenario.says);
        for make in [
            contestants::deadpool,
            contestants::manager,
            contestants::fluster,
        ] {
            // A runtime and servers of its own: nothing of one contestant is left for the next.
            let runtime = runtime();
            let cell = runtime.block_on(async {
                let scene = Scene::new(scenario);
                let contestant = make(&scene).await;
                cell(&play(scenario, &*contestant, &scene).await)
            });
            runtime.shutdown_timeout(Duration::from_secs(1));
            eprintln!("{:<14} {cell}", scenario.name);
            let _ = write!(row, "| {cell} ");
        }
        table.push_str(&row);
        table.push_str("|\n");
    }
    println!("{table}");
}
