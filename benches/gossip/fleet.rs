//! Processes of instances, and what is read of them.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use fluster::gossip::{GossipProfile, Keyring};

use crate::child::{Instance, Seeds, Told, agree};
use crate::proxy::free_ports;

/// What does not happen within this does not happen.
pub const LONG: Duration = Duration::from_secs(60);
/// The clock of `/proc/PID/stat`.
const TICKS: f64 = 100.0;

/// The instances of a measurement.
pub struct Fleet {
    pub ports: Vec<(SocketAddr, SocketAddr)>,
    pub seeds: Seeds,
    pub key: String,
    pub profile: GossipProfile,
    pub all: Vec<Instance>,
}

impl Fleet {
    pub fn new(ports: Vec<(SocketAddr, SocketAddr)>, profile: GossipProfile) -> Self {
        Self {
            seeds: Seeds::Fixed(ports.iter().take(3).map(|port| port.1).collect()),
            ports,
            key: Keyring::generate().to_hex(),
            profile,
            all: Vec::new(),
        }
    }

    /// So many, started at once; the times until all see all, until one ring has all, and for starting them.
    pub fn started(n: usize, profile: GossipProfile) -> (Self, [f64; 3]) {
        let ports = free_ports(n).into_iter().map(|port| (port, port)).collect();
        let mut fleet = Self::new(ports, profile);
        let began = Instant::now();
        fleet.all = (0..n).map(|n| fleet.start(n)).collect();
        let spawned = began.elapsed();
        let seen = fleet.until(began, "they see each other", |fleet| {
            let mut all = fleet.all.iter().map(Instance::view);
            all.all(|view| view.matches("=alive/").count() == n)
        });
        let joined = fleet.until(began, "they join", |fleet| agree(&fleet.all, n));
        (fleet, [seen, joined, spawned].map(|t| t.as_secs_f64()))
    }

    pub fn start(&self, n: usize) -> Instance {
        let told = Told {
            bind: self.ports[n].0,
            advertise: self.ports[n].1,
            seeds: self.seeds.clone(),
            id: format!("i{n}"),
            key: self.key.clone(),
            profile: self.profile,
        };
        Instance::start(Command::new(std::env::current_exe().unwrap()), &told)
    }

    /// From `began` until the last picture that makes it so.
    pub fn until(&self, began: Instant, what: &str, holds: impl Fn(&Self) -> bool) -> Duration {
        while !holds(self) {
            assert!(began.elapsed() < LONG, "{what}: not within {LONG:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        let last = self.all.iter().filter_map(Instance::last).map(|(at, _)| at);
        last.max().unwrap().saturating_duration_since(began)
    }

    /// All others see it so.
    pub fn others_see(&self, n: usize, what: &str) -> bool {
        let what = format!("i{n}={what}");
        let others = self.all.iter().enumerate().filter(|(m, _)| *m != n);
        others.map(|(_, i)| i).all(|i| i.sees(&what))
    }

    /// How often somebody saw somebody down since then.
    pub fn downs(&self, since: &[usize]) -> usize {
        let views = self.all.iter().zip(since).map(|(i, seen)| i.since(*seen));
        views.filter(|views| views.contains("=down")).count()
    }

    pub fn seen(&self) -> Vec<usize> {
        self.all.iter().map(Instance::seen).collect()
    }
}

pub fn since(began: Instant) -> f64 {
    began.elapsed().as_secs_f64()
}

/// Of times in seconds: the median, and the worst.
pub fn middle_and_worst(mut times: Vec<f64>) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[times.len() - 1])
}

pub fn row(what: &str, measured: &str, limit: &str, holds: bool) {
    let missed = if holds { "" } else { " **(missed)**" };
    println!("| {what} | {measured}{missed} | {limit} |");
}

pub fn wait(seconds: f64) {
    std::thread::sleep(Duration::from_secs_f64(seconds));
}

/// User and system time, in seconds.
pub fn cpu(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks = |n: usize| fields[n].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / TICKS
}
