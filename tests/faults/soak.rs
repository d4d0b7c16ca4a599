//! Row 50: one long-lived cluster under load, and something else goes wrong every two seconds.
//!
//! `make soak SEED=7 MINUTES=30`. The seed decides what goes wrong, where, and for how long; the same
//! seed gives the same list. Every 15 faults everything is healed and the load rests: then every id
//! that a server acknowledged must be on a server, and tasks, sockets and memory must be what they
//! were.

use std::collections::{BTreeMap, HashSet};
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fluster::{Error, FlusterCluster, Node, NodeStatus};
use parking_lot::Mutex;

use super::aside::number;
use super::proxy::{End, Fault, Proxy, Way};
use super::rig::{ms, pass, slack};
use crate::support::{PortClaim, Raw, Reply, Server, eventually};

/// A fault begins this often.
const EVERY: Duration = Duration::from_secs(2);
/// So many faults between two looks at what is left.
const ROUND: u32 = 15;
/// Tasks of the load.
const TASKS: usize = 32;
/// The longest that a call may take: three response time-outs.
const DEADLINE: Duration = Duration::from_millis(1_500);

/// What can go wrong with a server or the way to it.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Kill,
    Restart,
    Stop,
    Proxy(&'static str, Fault),
    Reset,
    ClientKill,
    PauseWrites,
    PauseAll,
    Demote,
    Full,
    Crowded,
    Busy,
    Leave,
    Reweigh,
    Cancel,
    Dedicated,
}

const TROUBLES: &[Trouble] = &[
    Trouble::Kill,
    Trouble::Restart,
    Trouble::Stop,
    Trouble::Proxy("refuse", Fault::Refuse),
    Trouble::Proxy("hold", Fault::Hold),
    Trouble::Proxy("delay 100 ms", Fault::Delay(Duration::from_millis(100))),
    Trouble::Proxy("delay 700 ms", Fault::Delay(Duration::from_millis(700))),
    Trouble::Proxy("slice", Fault::Slice),
    Trouble::Proxy(
        "cut by FIN",
        Fault::Cut {
            way: Way::Reply,
            after: 900,
            end: End::Fin,
        },
    ),
    Trouble::Proxy(
        "cut by RST",
        Fault::Cut {
            way: Way::Request,
            after: 900,
            end: End::Rst,
        },
    ),
    Trouble::Proxy(
        "cut by silence",
        Fault::Cut {
            way: Way::Reply,
            after: 900,
            end: End::Silence,
        },
    ),
    Trouble::Proxy("garbage", Fault::Garbage),
    Trouble::Proxy(
        "gray 60 %",
        Fault::Gray {
            percent: 60,
            after: 300,
        },
    ),
    Trouble::Reset,
    Trouble::ClientKill,
    Trouble::PauseWrites,
    Trouble::PauseAll,
    Trouble::Demote,
    Trouble::Full,
    Trouble::Crowded,
    Trouble::Busy,
    Trouble::Leave,
    Trouble::Reweigh,
    Trouble::Cancel,
    Trouble::Dedicated,
];

impl Trouble {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Proxy(name, _) => name,
            Self::Reset => "reset all",
            Self::ClientKill => "CLIENT KILL",
            Self::PauseWrites => "CLIENT PAUSE WRITE",
            Self::PauseAll => "CLIENT PAUSE ALL",
            Self::Demote => "REPLICAOF",
            Self::Full => "OOM",
            Self::Crowded => "maxclients",
            Self::Busy => "busy script",
            Self::Leave => "node leaves",
            Self::Reweigh => "weights change",
            Self::Cancel => "cancel storm",
            Self::Dedicated => "exclusive connections",
        }
    }
}

/// One entry of the list that the seed makes.
#[derive(Clone, Copy, Debug)]
struct Entry {
    trouble: Trouble,
    at: usize,
    lasts: Duration,
}

fn list(seed: u64, length: u32) -> Vec<Entry> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut left: Vec<Trouble> = Vec::new();
    (0..length)
        .map(|_| {
            // Each of them once before any of them twice.
            if left.is_empty() {
                left.extend(TROUBLES);
                random.shuffle(&mut left);
            }
            Entry {
                trouble: left.pop().expect("it was filled"),
                at: random.usize(0..3),
                lasts: ms(random.u64(200..1_800)),
            }
        })
        .collect()
}

/// Task and number: half a minute of ids must not take the memory that is to be watched.
type Id = (u32, u32);

/// How many, by trouble and kind.
type Errors = BTreeMap<(usize, String), u64>;

fn id_of(text: &str) -> Id {
    let id = text
        .split_once('-')
        .and_then(|(task, n)| Some((task.parse().ok()?, n.parse().ok()?)));
    id.unwrap_or_else(|| panic!("no id: {text}"))
}

/// What the load sees.
#[derive(Default)]
struct Tally {
    calls: AtomicU64,
    wrong: AtomicU64,
    late: AtomicU64,
    longest: AtomicU64,
    /// Which trouble is on.
    trouble: AtomicUsize,
    rest: AtomicBool,
    resting: AtomicUsize,
    stop: AtomicBool,
    /// Guards the errors by trouble and kind, and the acknowledged ids since the last look.
    seen: Mutex<(Errors, HashSet<Id>)>,
}

impl Tally {
    fn note(&self, began: Instant, error: Option<&redis::RedisError>) {
        let took = began.elapsed();
        self.calls.fetch_add(1, Relaxed);
        self.longest.fetch_max(took.as_millis() as u64, Relaxed);
        if took > DEADLINE + slack(ms(50)) {
            self.late.fetch_add(1, Relaxed);
        }
        if let Some(e) = error {
            let kind = match Error::from_redis(e) {
                Some(e) => format!("{:?}", e.kind()),
                None => e.code().unwrap_or("an error of the server").to_owned(),
            };
            let trouble = self.trouble.load(Relaxed);
            *self.seen.lock().0.entry((trouble, kind)).or_default() += 1;
        }
    }
}

async fn worker(cluster: FlusterCluster, task: usize, tally: Arc<Tally>) {
    for n in 0_u64.. {
        if tally.stop.load(Relaxed) {
            return;
        }
        if tally.rest.load(Relaxed) {
            tally.resting.fetch_add(1, Relaxed);
            while tally.rest.load(Relaxed) {
                pass(ms(5)).await;
            }
            tally.resting.fetch_sub(1, Relaxed);
        }
        let key = format!("key:{}", (task as u64 * 31 + n) % 500);
        let token = format!("{task}-{n}");
        let began = Instant::now();
        if n % 4 == 3 {
            let push = redis::cmd("RPUSH")
                .arg(format!("ids:{key}"))
                .arg(&token)
                .to_owned();
            let result = match cluster.get_client(&key) {
                Ok(mut client) => push.query_async::<u64>(&mut client).await,
                Err(e) => Err(e.into()),
            };
            tally.note(began, result.as_ref().err());
            if result.is_ok() {
                tally.seen.lock().1.insert(id_of(&token));
            }
        } else {
            let echo = redis::cmd("ECHO").arg(&token).to_owned();
            let result = cluster.run_with_key::<String>(&key, &echo).await;
            let result = result.map_err(redis::RedisError::from);
            tally.note(began, result.as_ref().err());
            if result.is_ok_and(|text| text != token) {
                tally.wrong.fetch_add(1, Relaxed);
            }
        }
        pass(ms(5)).await;
    }
}

/// Three servers, each behind its proxy.
struct Site {
    servers: Vec<Server>,
    proxies: Vec<Proxy>,
    cluster: FlusterCluster,
    nobody: PortClaim,
    /// A connection to the server that takes no more.
    inside: Mutex<Option<Raw>>,
}

impl Site {
    fn new() -> Self {
        let start = |_| {
            let server = Server::builder().durable();
            server.arg("--busy-reply-threshold", "100").start()
        };
        let servers: Vec<_> = (0..3).map(start).collect();
        let proxies: Vec<_> = servers.iter().map(Proxy::start).collect();
        let cluster = FlusterCluster::from_urls(proxies.iter().map(Proxy::url)).unwrap();
        Self {
            servers,
            proxies,
            cluster,
            nobody: PortClaim::new(),
            inside: Mutex::new(None),
        }
    }

    fn node(&self, n: usize) -> Node {
        Node::new(self.proxies[n].url()).unwrap()
    }

    /// Begins it.
    async fn begin(&self, entry: Entry) {
        let server = &self.servers[entry.at];
        let lasts = entry.lasts.as_millis().to_string();
        match entry.trouble {
            Trouble::Kill => server.kill(),
            Trouble::Restart => server.restart(),
            Trouble::Stop => server.stop(),
            Trouble::Proxy(_, fault) => {
                self.proxies[entry.at].set(fault);
                if matches!(fault, Fault::Refuse | Fault::Hold | Fault::Gray { .. }) {
                    // Who is connected would not notice.
                    self.proxies[entry.at].reset_all();
                }
            }
            Trouble::Reset => self.proxies[entry.at].reset_all(),
            Trouble::ClientKill => drop(server.raw(["CLIENT", "KILL", "TYPE", "normal"])),
            Trouble::PauseWrites => drop(server.raw(["CLIENT", "PAUSE", &lasts, "WRITE"])),
            Trouble::PauseAll => drop(server.raw(["CLIENT", "PAUSE", &lasts, "ALL"])),
            Trouble::Demote => {
                // Its data stays: there is no such master.
                let port = self.nobody.port().to_string();
                server.raw(["REPLICAOF", "127.0.0.1", &port]);
            }
            Trouble::Full => drop(server.raw(["CONFIG", "SET", "maxmemory", "1"])),
            Trouble::Crowded => {
                let mut raw = server.connect().unwrap();
                raw.call(["CONFIG", "SET", "maxclients", "1"]).unwrap();
                *self.inside.lock() = Some(raw);
                self.proxies[entry.at].reset_all();
            }
            Trouble::Busy => {
                let micros = entry.lasts.as_micros();
                let script = format!(
                    "local t = redis.call('TIME') local e = t[1] * 1e6 + t[2] + {micros} \
                     repeat t = redis.call('TIME') until t[1] * 1e6 + t[2] >= e return 1"
                );
                let mut raw = server.connect().unwrap();
                // Its reply comes when it is over; nobody needs it.
                std::thread::spawn(move || drop(raw.call(["EVAL", &script, "0"])));
            }
            Trouble::Leave => drop(self.cluster.remove_node(self.proxies[entry.at].name())),
            Trouble::Reweigh => {
                let weight = 1 + entry.lasts.as_millis() as u32 % 3;
                let nodes =
                    (0..3).map(|n| self.node(n).weight(if n == entry.at { weight } else { 1 }));
                self.cluster.set_nodes(nodes).unwrap();
            }
            Trouble::Cancel | Trouble::Dedicated => {
                let cancel = matches!(entry.trouble, Trouble::Cancel);
                let all = (0..32).map(|task| storm(self.cluster.clone(), task, cancel));
                futures_util::future::join_all(all).await;
            }
        }
    }

    /// Ends whatever is on.
    fn heal(&self, entry: Entry) {
        let n = entry.at;
        let server = &self.servers[n];
        match entry.trouble {
            Trouble::Kill => server.restart(),
            Trouble::Stop => server.cont(),
            Trouble::Proxy(_, fault) => {
                self.proxies[n].set(Fault::Pass);
                if !matches!(fault, Fault::Delay(_) | Fault::Slice) {
                    self.proxies[n].reset_all();
                }
            }
            Trouble::Demote => drop(server.raw(["REPLICAOF", "NO", "ONE"])),
            Trouble::Full => drop(server.raw(["CONFIG", "SET", "maxmemory", "0"])),
            Trouble::Crowded => {
                let raw = self.inside.lock().take();
                let mut raw = raw.expect("it was opened while there was place");
                raw.call(["CONFIG", "SET", "maxclients", "10000"]).unwrap();
            }
            Trouble::Leave => drop(self.cluster.add_node(self.node(n))),
            _ => {}
        }
    }
}

/// A burst of calls on exclusive connections; half of them are given up on the way.
async fn storm(cluster: FlusterCluster, task: usize, cancel: bool) {
    for n in 0..50 {
        let token = format!("storm:{task}-{n}");
        let echo = redis::cmd("ECHO").arg(&token).to_owned();
        let call = async {
            let client = cluster.get_client(&token).ok()?;
            let mut own = client.dedicated().await.ok()?;
            echo.query_async::<String>(&mut own).await.ok()
        };
        let polls = match cancel {
            true => fastrand::u32(0..6),
            false => u32::MAX,
        };
        if let Some(Some(text)) = super::aside::give_up_after(polls, call).await {
            assert_eq!(text, token, "a wrong reply in the storm");
        }
    }
}

/// What this process holds on to.
#[derive(Clone, Copy, Debug)]
struct Held {
    tasks: usize,
    files: usize,
    kilobytes: u64,
}

fn held(cluster: &FlusterCluster) -> Held {
    Held {
        tasks: cluster.status().tasks,
        files: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
        kilobytes: super::aside::memory(),
    }
}

/// Rests the load, waits until all is well, and looks at what is left.
async fn look(site: &Site, tally: &Tally) -> Held {
    // Under load, so that nobody has to wait for the longest back-off.
    eventually(Duration::from_secs(40), || {
        site.cluster.status().active() == 3
    })
    .await;
    tally.rest.store(true, Relaxed);
    eventually(Duration::from_secs(10), || {
        tally.resting.load(Relaxed) == TASKS
    })
    .await;
    let mut left = std::mem::take(&mut tally.seen.lock().1);
    let acknowledged = left.len();
    for server in &site.servers {
        let mut raw = server.connect().expect("it is up");
        let mut texts = |args: &[&str]| match raw.call(args) {
            Ok(Reply::Array(items)) => items.iter().map(ToString::to_string).collect::<Vec<_>>(),
            other => panic!("{args:?}: {other:?}"),
        };
        for key in texts(&["KEYS", "ids:*"]) {
            for text in texts(&["LRANGE", &key, "0", "-1"]) {
                left.remove(&id_of(&text));
            }
        }
        server.raw(["FLUSHALL"]);
        server.raw(["BGREWRITEAOF"]);
    }
    assert!(
        left.is_empty(),
        "{} of {acknowledged} acknowledged ids are lost, such as {:?}",
        left.len(),
        left.iter().next()
    );
    drop(left);
    // Retired connections are closed when their last reply came.
    pass(ms(1_000)).await;
    let held = held(&site.cluster);
    tally.rest.store(false, Relaxed);
    held
}

fn progress(done: u32, all: u32, now: &str, began: Instant, tally: &Tally) {
    let (width, seconds) = (30, began.elapsed().as_secs());
    let full = (width * done / all.max(1)) as usize;
    let errors: u64 = tally.seen.lock().0.values().sum();
    let line = format!(
        "[{:<30}] {done}/{all} {:02}:{:02} {} calls, {errors} errors, {} wrong: {now}",
        "#".repeat(full),
        seconds / 60,
        seconds % 60,
        tally.calls.load(Relaxed),
        tally.wrong.load(Relaxed),
    );
    let mut out = std::io::stdout().lock();
    // A terminal gets one line that changes, a log one line each.
    let result = match out.is_terminal() {
        true => write!(out, "\r\x1b[K{line}").and_then(|()| out.flush()),
        false => writeln!(out, "{line}"),
    };
    drop(result);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make soak SEED=... MINUTES=..."]
async fn chaos() {
    let minutes = number("SOAK_MINUTES", 1);
    let seed = number("SOAK_SEED", fastrand::u64(0..1_000_000));
    let length = (minutes * 60 / EVERY.as_secs()) as u32;
    println!("\nSEED={seed} MINUTES={minutes}: {length} faults");
    let entries = list(seed, length);
    let site = Site::new();
    let tally = Arc::<Tally>::default();
    let names: Vec<_> = TROUBLES.iter().map(|t| t.name()).collect();
    let load: Vec<_> = (0..TASKS)
        .map(|task| tokio::spawn(worker(site.cluster.clone(), task, Arc::clone(&tally))))
        .collect();
    let mut looks = vec![look(&site, &tally).await];
    let mut counts = BTreeMap::<usize, (u64, u64)>::new();
    let began = Instant::now();
    for (n, entry) in (1..).zip(entries) {
        let tick = Instant::now();
        let name = entry.trouble.name();
        let trouble = names.iter().position(|n| *n == name).expect("it is listed");
        tally.trouble.store(trouble, Relaxed);
        let node = site.proxies[entry.at].name();
        progress(
            n,
            length,
            &format!("{name} of {node} for {:?}", entry.lasts),
            began,
            &tally,
        );
        let ejections = |site: &Site| -> u64 {
            site.cluster
                .status()
                .nodes
                .iter()
                .map(|n: &NodeStatus| n.ejections)
                .sum()
        };
        let before = ejections(&site);
        site.begin(entry).await;
        pass(entry.lasts).await;
        site.heal(entry);
        pass(EVERY.saturating_sub(tick.elapsed())).await;
        let count = counts.entry(trouble).or_default();
        count.0 += 1;
        // A node that left takes its count along.
        count.1 += ejections(&site).saturating_sub(before);
        if n % ROUND == 0 || n == length {
            progress(n, length, "a look at what is left", began, &tally);
            looks.push(look(&site, &tally).await);
        }
    }
    tally.stop.store(true, Relaxed);
    for task in load {
        task.await.expect("no panic");
    }
    summary(&tally, &names, &counts, &looks);
    assert_eq!(tally.wrong.load(Relaxed), 0, "wrong replies; SEED={seed}");
    assert_eq!(
        tally.late.load(Relaxed),
        0,
        "calls beyond their deadline; SEED={seed}"
    );
    flat(&looks, seed);
    site.cluster.shutdown(ms(500)).await;
    assert_eq!(site.cluster.status().tasks, 0);
}

fn summary(tally: &Tally, names: &[&str], counts: &BTreeMap<usize, (u64, u64)>, looks: &[Held]) {
    println!(
        "\n\n{:<24}{:>7}{:>11}  errors",
        "fault", "times", "ejections"
    );
    let seen = tally.seen.lock();
    for (trouble, (times, ejections)) in counts {
        let of_it = seen.0.iter().filter(|((t, _), _)| t == trouble);
        let errors: Vec<_> = of_it.map(|((_, kind), n)| format!("{n} {kind}")).collect();
        let name = names[*trouble];
        println!("{name:<24}{times:>7}{ejections:>11}  {}", errors.join(", "));
    }
    println!(
        "{} calls, {} errors, {} wrong replies, longest call {} ms, {} beyond the deadline",
        tally.calls.load(Relaxed),
        seen.0.values().sum::<u64>(),
        tally.wrong.load(Relaxed),
        tally.longest.load(Relaxed),
        tally.late.load(Relaxed),
    );
    for held in looks {
        println!("{held:?}");
    }
}

/// Tasks and files are what they were, and memory grows by less than 5 % once the first half has
/// warmed everything up: each fault reaches code and fills buffers that no other one does.
fn flat(looks: &[Held], seed: u64) {
    let (first, last) = (looks[0], looks[looks.len() - 1]);
    // Exclusive connections, 16 a node at most, stay open for their next user.
    assert!(
        last.tasks <= first.tasks + 2 + 48,
        "{first:?} became {last:?}; SEED={seed}"
    );
    assert!(
        last.files <= first.files + 2 + 48,
        "{first:?} became {last:?}; SEED={seed}"
    );
    let warm = looks[..looks.len().div_ceil(2)].iter();
    let warm = warm.map(|held| held.kilobytes).max().unwrap_or(0);
    let grown = last.kilobytes as f64 / warm as f64 - 1.0;
    println!("memory: {:+.1} % since the first half", grown * 100.0);
    assert!(
        grown < 0.05,
        "memory grew by {:.1} %; SEED={seed}",
        grown * 100.0
    );
}
