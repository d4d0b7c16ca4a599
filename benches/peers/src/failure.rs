//! One of three servers dies, or falls silent, under load: what each client's tasks see of it.
//! `cargo run --release --bin failure -- [--rounds N] [--contestants a,b] [--faults kill,stop]
//! [--fresh]`.
//!
//! 64 tasks offer 6400 GET/s on a fixed timetable, whatever becomes of them: a task that hung works off
//! what was due meanwhile, except for what is due for more than a second, whose user has gone. What is
//! not answered before the outage ends counts as not served. After 2 s one server gets SIGKILL or SIGSTOP for 3 s; then it is started again (with
//! no data) or continued, and the load goes on for 3 s. Each contestant meets the fault on servers
//! and in a runtime of its own, once with the defaults of its library and once with every time-out
//! that it has, and one around the call where it has none, at 250 ms. Which server a key lives on is
//! read from the servers, after the contestant itself has written all keys.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fluster_peers::results::Results;
use fluster_peers::rivals::{self, Kv, Limit, POOL};
use fluster_peers::stats::Spread;
use fluster_peers::support::{Server, fleet, urls};
use fluster_peers::{machine, summary};
use serde_json::{Value, json};

const TASKS: u32 = 64;
const PERIOD: Duration = Duration::from_millis(10);
const KEYS: usize = 999;
const BEFORE: Duration = Duration::from_secs(2);
const OUTAGE: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_secs(3);
const LIMIT: Duration = Duration::from_millis(250);
/// The first server is the victim.
const VICTIM: usize = 0;

/// How long a user waits for a call to begin.
const PATIENCE: Duration = Duration::from_secs(1);

/// One call of the timetable.
struct Call {
    slot: Instant,
    victims: bool,
    began: Instant,
    /// `None`: it still hangs.
    ended: Option<(Instant, bool)>,
}

/// What all tasks know.
struct Plan {
    keys: Vec<String>,
    /// Whether the key lives on the victim.
    victims: Vec<bool>,
    start: Instant,
    stop: AtomicBool,
}

impl Plan {
    fn slot(&self, task: u32, n: u32) -> Instant {
        self.start + PERIOD * n + PERIOD * task / TASKS
    }

    fn key(task: u32, n: u32) -> usize {
        (task as usize * 7919 + n as usize * 31) % KEYS
    }
}

async fn timetable<K: Kv>(kv: K, plan: Arc<Plan>, task: u32, calls: Arc<Mutex<Vec<Call>>>) {
    let mut n = 0;
    while !plan.stop.load(Relaxed) {
        let slot = plan.slot(task, n);
        tokio::time::sleep_until(slot.into()).await;
        let key = Plan::key(task, n);
        let began = Instant::now();
        let victims = plan.victims[key];
        calls.lock().expect("calls").push(Call {
            slot,
            victims,
            began,
            ended: None,
        });
        let ok = kv.get(&plan.keys[key]).await.is_ok();
        let ended = Instant::now();
        calls
            .lock()
            .expect("calls")
            .last_mut()
            .expect("the call")
            .ended = Some((ended, ok));
        n += 1;
        while plan.slot(task, n) + PATIENCE <= ended {
            n += 1;
        }
    }
}

/// Which server each key is on, by the servers' own word.
fn owners(servers: &[Server; 3]) -> HashMap<String, usize> {
    let mut owners = HashMap::new();
    for (index, server) in servers.iter().enumerate() {
        for key in server.raw(["KEYS", "*"]).lines() {
            owners.insert(key.to_owned(), index);
        }
    }
    owners
}

/// GETs that the server has executed since its start; `None` while it does not answer.
fn gets(server: &Server) -> Option<u64> {
    let stats = server.try_raw(["INFO", "commandstats"]).ok()?.to_string();
    let calls = stats
        .split_once("cmdstat_get:calls=")
        .map_or("0", |(_, rest)| rest);
    calls.split(',').next()?.parse().ok()
}

/// How long after `healed` the server executes half of its share again.
fn back(server: &Server, share: f64, healed: Instant) -> Option<Duration> {
    const WINDOW: Duration = Duration::from_millis(100);
    let offered = f64::from(TASKS) / PERIOD.as_secs_f64() * share;
    let mut seen: Vec<(Instant, u64)> = Vec::new();
    let mut at = None;
    while healed.elapsed() < AFTER {
        if let Some(gets) = gets(server) {
            let now = Instant::now();
            let old = seen.iter().rev().find(|(then, _)| *then + WINDOW <= now);
            if let (None, Some((then, before))) = (at, old) {
                let wanted = offered * (now - *then).as_secs_f64() / 2.0;
                if gets.saturating_sub(*before) as f64 >= wanted {
                    // The window that shows it had begun before.
                    at = Some(then.saturating_duration_since(healed));
                }
            }
            seen.push((now, gets));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    at
}

fn play<K: Kv, F: Future<Output = K>>(
    stop: bool,
    limit: Limit,
    make: impl FnOnce(Vec<String>, Limit) -> F,
) -> Value {
    let servers: [Server; 3] = fleet();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let keys: Vec<String> = (0..KEYS).map(|n| format!("session:{n:08x}")).collect();
    let kv = runtime.block_on(make(urls(&servers), limit));
    runtime.block_on(async {
        for key in &keys {
            kv.set(key, &[b'v'; 64]).await.expect("all servers live");
        }
    });
    let owners = owners(&servers);
    let victims: Vec<bool> = keys.iter().map(|key| owners[key] == VICTIM).collect();
    let share = victims.iter().filter(|is| **is).count() as f64 / KEYS as f64;
    let plan = Arc::new(Plan {
        keys,
        victims,
        start: Instant::now(),
        stop: AtomicBool::new(false),
    });
    let logs: Vec<_> = (0..TASKS)
        .map(|_| Arc::new(Mutex::new(Vec::new())))
        .collect();
    let tasks: Vec<_> = (0..TASKS)
        .zip(&logs)
        .map(|(task, log)| {
            runtime.spawn(timetable(
                kv.clone(),
                Arc::clone(&plan),
                task,
                Arc::clone(log),
            ))
        })
        .collect();
    drop(kv);
    std::thread::sleep(BEFORE);
    let victim = &servers[VICTIM];
    let injected = Instant::now();
    if stop {
        victim.stop()
    } else {
        victim.kill()
    }
    std::thread::sleep(OUTAGE.saturating_sub(injected.elapsed()));
    let healed = Instant::now();
    if stop {
        victim.cont()
    } else {
        victim.restart()
    }
    let back = back(victim, share, healed);
    plan.stop.store(true, Relaxed);
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline && !tasks.iter().all(tokio::task::JoinHandle::is_finished) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let end = Instant::now();
    let calls: Vec<Call> = logs
        .iter()
        .flat_map(|log| log.lock().expect("calls").drain(..).collect::<Vec<_>>())
        .collect();
    runtime.shutdown_timeout(Duration::from_secs(1));

    // A call that begins when the outage is about to end may be answered after it.
    let window = injected..healed - PERIOD;
    let served = |of_victim: bool| {
        let offered = (0..TASKS)
            .flat_map(|task| {
                (0..)
                    .map(move |n| (task, n))
                    .take_while(|(_, n)| *n < 10_000)
            })
            .filter(|&(task, n)| {
                window.contains(&plan.slot(task, n))
                    && plan.victims[Plan::key(task, n)] == of_victim
            })
            .count();
        let good = calls
            .iter()
            .filter(|call| window.contains(&call.slot) && call.victims == of_victim)
            .filter(|call| call.ended.is_some_and(|(at, ok)| ok && at <= healed))
            .count();
        100.0 * good as f64 / offered as f64
    };
    let longest = |of_victim: bool| {
        let since = injected - Duration::from_millis(100);
        let times = calls
            .iter()
            .filter(|call| call.victims == of_victim && call.slot >= since)
            .map(|call| call.ended.map_or(end, |(at, _)| at) - call.began);
        times.max().unwrap_or_default().as_secs_f64() * 1e3
    };
    let failed = |call: &&Call| call.ended.is_none_or(|(_, ok)| !ok);
    let before = calls
        .iter()
        .filter(|call| call.slot < injected - PERIOD)
        .filter(failed)
        .count();
    json!({
        "healthy": served(false),
        "victim": served(true),
        "errors": calls.iter().filter(failed).count() - before,
        "errors_before": before,
        "stall_healthy_ms": longest(false),
        "stall_victim_ms": longest(true),
        "back_ms": back.map(|back| back.as_millis() as u64),
    })
}

fn run(who: &str, stop: bool, limit: Limit) -> Value {
    match who {
        summary::RUN => play(stop, limit, |u, l| async move {
            rivals::Run(rivals::cluster(&u, l))
        }),
        summary::GET_CLIENT => play(stop, limit, |u, l| async move {
            rivals::GetClient(rivals::cluster(&u, l))
        }),
        summary::MUX => play(stop, limit, |u, l| async move { rivals::mux(&u, l).await }),
        summary::MANAGER => play(
            stop,
            limit,
            |u, l| async move { rivals::manager(&u, l).await },
        ),
        summary::FRED => play(stop, limit, |u, l| async move {
            rivals::fred(&u, l, POOL, false).await
        }),
        summary::BB8 => play(stop, limit, |u, l| async move { rivals::bb8(&u, l).await }),
        summary::DEADPOOL => play(
            stop,
            limit,
            |u, l| async move { rivals::deadpool(&u, l).await },
        ),
        summary::TWEMPROXY => play(
            stop,
            limit,
            |u, l| async move { rivals::twemproxy(&u, l).await },
        ),
        other => panic!("no contestant {other}"),
    }
}

fn main() {
    let (mut rounds, mut fresh) = (1, false);
    let (mut contestants, mut faults): (Option<String>, Option<String>) = (None, None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
        match arg.as_str() {
            "--rounds" => rounds = value().parse().expect("a number of rounds"),
            "--contestants" => contestants = Some(value()),
            "--faults" => faults = Some(value()),
            "--fresh" => fresh = true,
            other => panic!("{other}: see the first lines of benches/peers/src/failure.rs"),
        }
    }
    let wanted = |list: &Option<String>, name: &str| {
        list.as_ref()
            .is_none_or(|all| all.split(',').any(|one| one == name))
    };
    let field: Vec<&str> = summary::FAILING
        .into_iter()
        .filter(|who| wanted(&contestants, who))
        .filter(|who| *who != summary::TWEMPROXY || rivals::has_twemproxy())
        .collect();
    let about = json!({
        "what": "failure",
        "machine": machine::describe(),
        "server": machine::version_of("redis-server", "--version"),
        "packages": summary::versions(),
    });
    let mut results = Results::open("failure.jsonl", &about, fresh);
    for round in 0..rounds {
        for (fault, stop) in [("kill", false), ("stop", true)] {
            for limit in [None, Some(LIMIT)] {
                let mut order = field.clone();
                fastrand::shuffle(&mut order);
                for who in order {
                    let limit_ms = limit.map(|limit| limit.as_millis() as u64);
                    let cell =
                        json!({"round": round, "fault": fault, "limit_ms": limit_ms, "who": who});
                    if !wanted(&faults, fault) || results.has(&cell) {
                        continue;
                    }
                    let mut row = run(who, stop, limit);
                    for (field, value) in cell.as_object().expect("fields") {
                        row[field] = value.clone();
                    }
                    eprintln!("{row}");
                    results.push(row);
                }
            }
        }
    }
    println!("{}", summary::failure(results.rows()));
    let worst = results
        .rows()
        .iter()
        .filter_map(|row| row["errors_before"].as_f64());
    if let Some(spread) = Spread::of(worst).filter(|spread| spread.high > 0.0) {
        eprintln!("errors before any fault: {spread:#}; the machine is too busy");
    }
}
