//! How fast instances learn of each other, and what that costs, with real processes: `make gossip-figures` (8 minutes).
//!
//! The rows of the table in the guide's chapter on membership. Every instance is a process of its own on loopback, in
//! a release build, sealed. Times end with the picture of the last one that had to see it. `-- SECONDS` is how long
//! the idle ones are watched (60).

#![allow(
    clippy::unwrap_used,
    reason = "a measurement that cannot go on has to panic"
)]
#![allow(
    unreachable_pub,
    dead_code,
    reason = "what the tests share is public there, and this uses a part"
)]

#[path = "../tests/gossip/child.rs"]
mod child;
#[path = "gossip/fleet.rs"]
mod fleet;
#[path = "../tests/gossip/proxy.rs"]
mod proxy;

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use child::{Instance, Seeds, agree};
use fleet::{Fleet, LONG, cpu, middle_and_worst, row, since, wait};
use fluster::gossip::GossipProfile;
use proxy::{Proxy, free_ports};

fn join(n: usize, limit: f64) -> Fleet {
    let (fleet, [seen, joined, spawned]) = Fleet::started(n, GossipProfile::Lan);
    row(
        &format!("join: {n} started at once, all see all"),
        &format!("{seen:.2} s, of which {spawned:.2} to start them"),
        &format!("≤ {limit} s"),
        seen <= limit,
    );
    row(
        &format!("join: {n} started at once, all `Ready` in one ring"),
        &format!("{joined:.2} s"),
        "",
        true,
    );
    fleet
}

/// Kills the last one, and starts it when all know.
fn kill(fleet: &mut Fleet, times: usize, median: f64, worst: f64) {
    let n = fleet.all.len();
    let mut took = Vec::new();
    for _ in 0..times {
        // Anywhere in the period of the others' probes.
        wait(2.0 + fastrand::f64());
        fleet.all[n - 1].kill();
        let began = Instant::now();
        let dead = fleet.until(began, "the death", |f| f.others_see(n - 1, "down"));
        took.push(dead.as_secs_f64());
        fleet.all[n - 1] = fleet.start(n - 1);
        fleet.until(Instant::now(), "the return", |f| agree(&f.all, n));
    }
    let (middle, max) = middle_and_worst(took);
    row(
        &format!("SIGKILL known by all, {n}, `{}`", name(fleet.profile)),
        &format!("{middle:.1} s, at worst {max:.1} of {times}"),
        &format!("p50 ≤ {median} s, ≤ {worst} s"),
        middle <= median && max <= worst,
    );
}

fn name(profile: GossipProfile) -> &'static str {
    match profile {
        GossipProfile::Lan => "Lan",
        GossipProfile::Fast => "Fast",
        _ => "Wan",
    }
}

/// Kills the last one and starts it at once.
fn restart(fleet: &mut Fleet, limit: f64) {
    let n = fleet.all.len();
    let mut took = Vec::new();
    for _ in 0..5 {
        wait(2.0);
        fleet.all[n - 1].kill();
        let began = Instant::now();
        fleet.all[n - 1] = fleet.start(n - 1);
        let known = fleet.until(began, "the restart", |f| {
            let view = f.all[n - 1].view();
            let me = format!("i{}=", n - 1);
            let mine = view.split(' ').find_map(|m| m.strip_prefix(me.as_str()));
            mine.is_some_and(|mine| f.others_see(n - 1, mine)) && agree(&f.all, n)
        });
        took.push(known.as_secs_f64());
    }
    let (middle, max) = middle_and_worst(took);
    row(
        &format!("restart at the same address known and ready, {n}"),
        &format!("{middle:.2} s, at worst {max:.2} of 5"),
        &format!("≤ {limit} s"),
        max <= limit,
    );
}

fn change_and_leave(mut fleet: Fleet) {
    let n = fleet.all.len();
    wait(2.0);
    let began = Instant::now();
    fleet.all[n - 1].tell("drain on");
    let told = fleet.until(began, "the change", |f| {
        f.others_see(n - 1, "alive/draining")
    });
    fleet.all[n - 1].tell("drain off");
    fleet.until(Instant::now(), "the change", |f| agree(&f.all, n));
    wait(2.0);
    let began = Instant::now();
    fleet.all[n - 1].tell("leave");
    let out = fleet.until(began, "out of the rings", |f| {
        f.all[..n - 1]
            .iter()
            .all(|i| !i.sees(&format!("i{}=alive/ready", n - 1)))
    });
    let left = fleet.until(began, "the leave", |f| f.others_see(n - 1, "left"));
    let [told, out, left] = [told, out, left].map(|took| took.as_secs_f64());
    // The good-bye comes after the time to drain that `child` has.
    let left = left - 0.3;
    row(
        &format!("one change of a record seen by all, {n}"),
        &format!("{told:.2} s"),
        "≤ 1 s",
        told <= 1.0,
    );
    row(
        &format!("out of all rings after `leave()`, {n}"),
        &format!("{out:.2} s"),
        "≤ 1 s",
        out <= 1.0,
    );
    row(
        &format!("leave known, after the good-bye, {n}"),
        &format!("{left:.2} s"),
        "≤ 0.5 s",
        left <= 0.5,
    );
}

fn stop(fleet: &mut Fleet) {
    let n = fleet.all.len();
    wait(2.0);
    fleet.all[1].signal("-STOP");
    wait(8.0);
    let seen = fleet.all[1].seen();
    fleet.all[1].signal("-CONT");
    let back = fleet.until(Instant::now(), "the return", |f| agree(&f.all, n));
    wait(1.0);
    let dropped = fleet.all[1].since(seen).matches("=down").count();
    let back = back.as_secs_f64();
    row(
        &format!("SIGSTOP 8 s, then SIGCONT: back, {n}; dropped by it"),
        &format!("{back:.2} s; {dropped}"),
        "≤ 0.5 s; 0",
        back <= 0.5 && dropped == 0,
    );
}

fn idle(fleet: &mut Fleet, seconds: f64, limit: f64) {
    let n = fleet.all.len();
    wait(10.0);
    let before = fleet.seen();
    let cpus: Vec<_> = fleet.all.iter().map(|i| cpu(i.id())).collect();
    let began = Instant::now();
    for instance in &mut fleet.all {
        instance.tell(&format!("measure {}", seconds as u32));
    }
    while fleet.all.iter().any(|i| i.sent().is_none()) {
        assert!(since(began) < seconds + LONG.as_secs_f64());
        wait(0.5);
    }
    let lasted = since(began);
    let used: f64 = fleet
        .all
        .iter()
        .zip(cpus)
        .map(|(i, c)| cpu(i.id()) - c)
        .sum();
    let used = 100.0 * used / lasted / n as f64;
    let sent: f64 = fleet.all.iter().filter_map(Instance::sent).sum();
    let sent = sent / n as f64;
    row(
        &format!("sent by each, idle, sealed, {n}"),
        &format!("{sent:.0} B/s"),
        &format!("≤ {limit} B/s"),
        sent <= limit,
    );
    row(
        &format!("CPU of each, idle, {n}"),
        &format!("{used:.2} % of a core"),
        "≤ 0.2 %",
        used <= 0.2,
    );
    let downs = fleet.downs(&before);
    row(
        &format!("false downs, {n} idle for {lasted:.0} s"),
        &downs.to_string(),
        "0",
        downs == 0,
    );
}

/// A process that does nothing as fast as it can.
struct Burner(Child);

impl Burner {
    fn new() -> Self {
        let script = ["-c", "while :; do :; done"];
        let burner = Command::new("sh").args(script).stdin(Stdio::null()).spawn();
        Self(burner.unwrap())
    }
}

impl Drop for Burner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn beside_burners(fleet: &Fleet) {
    wait(2.0);
    let before = fleet.seen();
    let burners: Vec<_> = (0..8).map(|_| Burner::new()).collect();
    wait(60.0);
    drop(burners);
    wait(5.0);
    let downs = fleet.downs(&before);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    row(
        &format!(
            "false downs, {} beside 8 busy processes on {cores} cores for 60 s",
            fleet.all.len()
        ),
        &downs.to_string(),
        "0",
        downs == 0,
    );
}

fn partition(n: usize) {
    let mut took = Vec::new();
    let proxy = Proxy::new(n, 7);
    let ports = (0..n)
        .map(|n| (proxy.bind(n), proxy.advertise(n)))
        .collect();
    let mut fleet = Fleet::new(ports, GossipProfile::Lan);
    fleet.all = (0..n).map(|n| fleet.start(n)).collect();
    fleet.until(Instant::now(), "they join", |f| agree(&f.all, n));
    let (one, other): (Vec<_>, Vec<_>) = (0..n).partition(|i| i % 2 == 0);
    for _ in 0..3 {
        wait(5.0);
        proxy.cut(&one, &other);
        proxy.cut(&other, &one);
        wait(20.0);
        proxy.heal();
        let whole = fleet.until(Instant::now(), "one again", |f| agree(&f.all, n));
        took.push(whole.as_secs_f64());
    }
    let (middle, max) = middle_and_worst(took);
    row(
        &format!("half/half partition of 20 s, {n}: whole again"),
        &format!("{middle:.1} s, at worst {max:.1} of 3"),
        "≤ 10 s",
        max <= 10.0,
    );
}

fn two_clusters() {
    let file = std::env::temp_dir().join(format!("fluster-gossip-{}", std::process::id()));
    let ports: Vec<_> = free_ports(10)
        .into_iter()
        .map(|port| (port, port))
        .collect();
    let mut fleet = Fleet::new(ports.clone(), GossipProfile::Lan);
    let files = [file.with_extension("one"), file.with_extension("two")];
    let list = |of: &[(SocketAddr, SocketAddr)]| -> String {
        of.iter().map(|port| format!("{}\n", port.1)).collect()
    };
    for (half, file) in files.iter().enumerate() {
        std::fs::write(file, list(&ports[5 * half..5 * half + 5])).unwrap();
        fleet.seeds = Seeds::File(file.clone());
        for n in 5 * half..5 * half + 5 {
            fleet.all.push(fleet.start(n));
        }
    }
    fleet.until(Instant::now(), "two clusters", |f| {
        agree(&f.all[..5], 5) && agree(&f.all[5..], 5)
    });
    wait(10.0);
    for file in &files {
        std::fs::write(file, list(&ports)).unwrap();
    }
    let one = fleet.until(Instant::now(), "one cluster", |f| agree(&f.all, 10));
    drop(fleet);
    for file in &files {
        let _ = std::fs::remove_file(file);
    }
    let one = one.as_secs_f64();
    row(
        "two clusters of 5, discovery then lists both: one",
        &format!("{one:.1} s"),
        "≤ 10 s",
        one <= 10.0,
    );
}

fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').take(1).collect()
}

fn main() {
    if child::be_told() {
        return;
    }
    let seconds = std::env::args().filter_map(|arg| arg.parse().ok()).next();
    let seconds: f64 = seconds.unwrap_or(60.0);
    println!("Load average at the start: {}\n", load());
    println!("| what | measured | limit |\n|---|---|---|");
    let mut five = join(5, 0.5);
    kill(&mut five, 5, 8.0, 12.0);
    restart(&mut five, 1.0);
    stop(&mut five);
    change_and_leave(five);
    let mut twenty = join(20, 1.0);
    idle(&mut twenty, seconds, 400.0);
    kill(&mut twenty, 5, 8.0, 12.0);
    restart(&mut twenty, 1.0);
    stop(&mut twenty);
    beside_burners(&twenty);
    change_and_leave(twenty);
    let mut fifty = join(50, 3.2);
    idle(&mut fifty, seconds, 500.0);
    kill(&mut fifty, 3, 8.0, 12.0);
    restart(&mut fifty, 3.0);
    drop(fifty);
    let (mut fast, ..) = Fleet::started(20, GossipProfile::Fast);
    kill(&mut fast, 5, 7.0, 7.0);
    drop(fast);
    partition(20);
    two_clusters();
    println!("\nLoad average at the end: {}", load());
}
