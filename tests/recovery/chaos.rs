//! Processes that write and read one cache while its servers die, stop and come back; and a judge of versions.
//!
//! `FLUSTER_RETURN_SEED=7` draws with that seed; the soak runs longer ones, `FLUSTER_RETURN_SECONDS` (150) each.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fluster::{Event, FlusterCluster, OnReturn, OnUnknown, Penalty, UnknownReason};

use super::durable;
#[cfg(feature = "gossip")]
use super::shared;
use crate::support::{Server, urls};

/// Where a process is told what it does.
const CHILD: &str = "FLUSTER_RETURN_CHILD";
/// A reader may be so far behind while not all processes agree who is out: a look, and its work.
const WINDOW: u64 = 1_500_000;
/// A server has just come back for so long.
const JUST: u64 = 5_000_000;
/// One at a time: eight processes and their servers are enough for a small machine.
static ALONE: Mutex<()> = Mutex::new(());

/// What is run.
#[derive(Clone, Copy)]
pub(super) struct Setting {
    seconds: u64,
    replicas: usize,
    on_return: &'static str,
    on_unknown: &'static str,
    /// Servers keep nothing but what they were told to save, a second before they are killed.
    saves: bool,
    /// Over so many keys; with few, each is soon written again.
    keys: u64,
    seed: u64,
    /// By what the processes share the health of the servers, where they do: `advisory` or `agreed`.
    shares: &'static str,
}

impl Setting {
    pub(super) fn new(seconds: u64, replicas: usize) -> Self {
        Self {
            seconds,
            replicas,
            on_return: "invalidate",
            on_unknown: "serve",
            saves: false,
            keys: 40,
            seed: seed(),
            shares: "not",
        }
    }

    #[cfg(feature = "gossip")]
    pub(super) fn shared(self, shares: &'static str) -> Self {
        Self { shares, ..self }
    }
}

fn micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_micros()).unwrap()
}

/// One thing that a process did: times in microseconds.
#[derive(Clone, Copy, Debug)]
struct Done {
    key: u64,
    version: u64,
    begin: u64,
    end: u64,
    /// Of a read: when the key's first server came back to this process, where it was read there.
    back: u64,
}

/// What all of them did.
#[derive(Default)]
struct History {
    /// By their versions.
    writes: BTreeMap<u64, (Done, bool)>,
    reads: Vec<Done>,
    /// When a process said that a server had gone back to its last save, and which.
    rollbacks: Vec<(String, u64)>,
    /// How often one said that nobody knows what a server holds, for another reason.
    unknown: usize,
}

/// What it comes to, seen from outside.
#[derive(Debug, Default)]
pub(super) struct Sum {
    reads: usize,
    /// Older than what had been acknowledged for longer than the window when the read began.
    stale: Vec<(u64, Done)>,
    /// The same, inside the window; sorted.
    windows: Vec<u64>,
    /// How many read at a server that had just come back to them; how far behind those of both were, sorted.
    pub(super) at_returned: usize,
    pub(super) returned: Vec<u64>,
    /// Values of writes whose callers were told that nobody knows.
    late: usize,
}

impl History {
    fn parse(&mut self, text: &str) {
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            if let ["u", node, at] = words.as_slice() {
                self.rollbacks.push((node.to_string(), at.parse().unwrap()));
            }
            self.unknown += usize::from(line == "x");
            let numbers: Vec<u64> = words.iter().skip(1).flat_map(|word| word.parse()).collect();
            let [key, version, begin, end, rest @ ..] = numbers.as_slice() else {
                continue;
            };
            let done = Done {
                key: *key,
                version: *version,
                begin: *begin,
                end: *end,
                back: rest.first().copied().unwrap_or_default(),
            };
            match (words[0], rest) {
                ("w", [acked]) => drop(self.writes.insert(*version, (done, *acked == 1))),
                ("r", _) => self.reads.push(done),
                _ => {}
            }
        }
    }

    fn judge(&self) -> Sum {
        let mut acked: BTreeMap<u64, Vec<Done>> = BTreeMap::new();
        for (write, _) in self.writes.values().filter(|(_, acked)| *acked) {
            acked.entry(write.key).or_default().push(*write);
        }
        let mut sum = Sum {
            reads: self.reads.len(),
            ..Sum::default()
        };
        for read in self.reads.iter().filter(|read| read.version != 0) {
            let is_back = read.back > 0 && read.begin - read.back < JUST;
            sum.at_returned += usize::from(is_back);
            let Some((write, is_acked)) = self.writes.get(&read.version) else {
                continue;
            };
            let newer = acked.get(&read.key).into_iter().flatten();
            let newer = newer.filter(|new| new.begin > write.end && new.end < read.begin);
            let Some(since) = newer.map(|new| new.end).min() else {
                continue;
            };
            let behind = read.begin - since;
            if *is_acked && is_back {
                sum.returned.push(behind);
            }
            match (is_acked, behind) {
                (false, _) => sum.late += 1,
                (true, behind) if behind <= WINDOW => sum.windows.push(behind),
                (true, behind) => sum.stale.push((behind, *read)),
            }
        }
        sum.windows.sort_unstable();
        sum.returned.sort_unstable();
        sum
    }
}

/// Does what the environment says, if it says anything.
#[test]
fn child() {
    let Ok(told) = std::env::var(CHILD) else {
        return;
    };
    let words: Vec<&str> = told.split(' ').collect();
    let [
        kind,
        id,
        seconds,
        replicas,
        on_return,
        on_unknown,
        keys,
        urls,
        shares,
        ports,
    ] = words.as_slice()
    else {
        panic!("{told}");
    };
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let on_return = match *on_return {
        "serve" => OnReturn::Serve,
        _ => OnReturn::Invalidate,
    };
    let on_unknown = match *on_unknown {
        "flush" => OnUnknown::Flush,
        _ => OnUnknown::Serve,
    };
    let ms = Duration::from_millis;
    let until = Instant::now() + Duration::from_secs(seconds.parse().unwrap());
    runtime.block_on(async {
        let cluster = FlusterCluster::builder()
            .urls(urls.split(','))
            .penalty(Penalty::default().min_wait(ms(50)).max_wait(ms(200)))
            .response_timeout(ms(200))
            .on_unknown(on_unknown)
            .build()
            .unwrap();
        #[cfg(feature = "gossip")]
        let _shared = shared::share(&cluster, shares, ports).await;
        #[cfg(not(feature = "gossip"))]
        let _ = (shares, ports);
        let mut events = cluster.events();
        let back = Arc::new(Mutex::new(BTreeMap::new()));
        let came = Arc::clone(&back);
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                match event {
                    Event::ReturnUnknown {
                        node,
                        reason: UnknownReason::Rollback,
                        ..
                    } => println!("\nu {node} {}", micros()),
                    Event::ReturnUnknown { .. } => println!("\nx"),
                    Event::NodeUp { node, .. } => {
                        came.lock().unwrap().insert(node.to_string(), micros());
                    }
                    _ => {}
                }
            }
        });
        let cache = cluster
            .cache("chaos:")
            .replicas(replicas.parse().unwrap())
            .read_repair(None)
            .stand_in_ttl(None)
            .on_return(on_return)
            .raw::<String>()
            .unwrap();
        let (id, keys): (u64, u64) = (id.parse().unwrap(), keys.parse().unwrap());
        let node_of = |key: &str| Some(cluster.get_node(key).ok()?.to_string());
        // While all are in.
        let owners = (0..keys).map(|key| node_of(&format!("chaos:{key}")));
        let owners: Vec<_> = owners.map(Option::unwrap).collect();
        let back_since = |key: u64| {
            let owner = &owners[key as usize];
            let is_there = node_of(&format!("chaos:{key}")).as_ref() == Some(owner);
            let back = back.lock().unwrap().get(owner).copied();
            back.filter(|_| is_there).unwrap_or(0)
        };
        let mut random = fastrand_of(id);
        let (hour, mut said, mut n) = (Duration::from_secs(3600), String::new(), 0);
        while Instant::now() < until {
            let key = random() % keys;
            let name = key.to_string();
            let begin = micros();
            if *kind == "reader" {
                let before = back_since(key);
                if let Ok(value) = cache.get(&name).await {
                    let version: u64 = value.map_or(0, |v| v.parse().unwrap());
                    let end = micros();
                    // Where it was read is certain only where it was the same before and after.
                    let back = if back_since(key) == before { before } else { 0 };
                    writeln!(said, "r {key} {version} {begin} {end} {back}").unwrap();
                }
            } else {
                n += 1;
                let version = n * 1000 + id;
                let is_done = match random() % 4 {
                    0 => {
                        let deletion = cache.delete(&name).await;
                        deletion.reached().len() > 0
                    }
                    _ => cache.set(&name, &version.to_string(), hour).await.is_ok(),
                };
                let (end, acked) = (micros(), u8::from(is_done));
                writeln!(said, "w {key} {version} {begin} {end} {acked}").unwrap();
            }
            tokio::time::sleep(ms(2)).await;
        }
        println!("\n{said}");
    });
}

/// Numbers that a seed decides.
fn fastrand_of(seed: u64) -> impl FnMut() -> u64 {
    let mut state = (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33
    }
}

/// A process; it ends with this.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(kind: &str, id: u64, of: Setting, urls: &str, ports: &str) -> Process {
    let test = "recovery::chaos::child";
    let Setting {
        seconds,
        replicas,
        on_return,
        on_unknown,
        keys,
        shares,
        ..
    } = of;
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env(
            CHILD,
            format!(
                "{kind} {id} {seconds} {replicas} {on_return} {on_unknown} {keys} {urls} {shares} {ports}"
            ),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    Process(command.spawn().unwrap())
}

/// What came of so many seconds.
pub(super) struct Came {
    pub(super) sum: Sum,
    outages: usize,
    /// Servers that were killed, and when.
    kills: Vec<(String, u64)>,
    rollbacks: Vec<(String, u64)>,
    pub(super) unknown: usize,
}

pub(super) fn chaos<const N: usize>(of: Setting) -> Came {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let servers: [Server; N] = match of.saves {
        true => std::array::from_fn(|_| Server::start()),
        false => durable(),
    };
    let urls = urls(&servers).join(",");
    let mut all = Vec::new();
    let mut ports = free_ports(8);
    for id in 0..4 {
        for (kind, id) in [("writer", id), ("reader", 100 + id)] {
            all.push(start(kind, id, of, &urls, &ports.join(",")));
            // The first one is the next one's own.
            ports.rotate_left(1);
        }
    }
    let readers: Vec<_> = all
        .iter_mut()
        .map(|process| {
            let mut out = process.0.stdout.take().unwrap();
            std::thread::spawn(move || {
                let mut text = String::new();
                out.read_to_string(&mut text).unwrap();
                text
            })
        })
        .collect();
    let mut random = fastrand_of(of.seed);
    let until = Instant::now() + Duration::from_secs(of.seconds);
    let (mut outages, mut kills) = (0, Vec::new());
    std::thread::sleep(Duration::from_secs(2));
    while Instant::now() + Duration::from_secs(5) < until {
        let server = &servers[random() as usize % N];
        let lasts = Duration::from_millis(500 + random() % 1500);
        outages += 1;
        if of.saves {
            assert_eq!(server.raw(["SAVE"]), "OK");
            std::thread::sleep(Duration::from_secs(1));
        }
        if of.saves || random().is_multiple_of(2) {
            server.kill();
            kills.push((server.name(), micros()));
            std::thread::sleep(lasts);
            server.restart();
        } else {
            server.stop();
            std::thread::sleep(lasts);
            server.cont();
        }
        // Until all have it back, and a look more. What is noted with a server that is out itself is not known, and those
        // who agree hold one that is back for three seconds more.
        let settles = if of.shares == "agreed" { 6000 } else { 2500 };
        std::thread::sleep(Duration::from_millis(settles));
    }
    let mut history = History::default();
    for reader in readers {
        history.parse(&reader.join().unwrap());
    }
    Came {
        sum: history.judge(),
        outages,
        kills,
        rollbacks: history.rollbacks,
        unknown: history.unknown,
    }
}

/// Ports for datagrams, which nobody has.
fn free_ports(n: usize) -> Vec<String> {
    let all = (0..n).map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    let all: Vec<_> = all.collect();
    all.iter()
        .map(|socket| socket.local_addr().unwrap().port().to_string())
        .collect()
}

fn seed() -> u64 {
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    number("FLUSTER_RETURN_SEED").unwrap_or(1)
}

pub(super) fn holds(name: &str, came: &Came) {
    let (sum, windows) = (&came.sum, &came.sum.windows);
    let of = |share: usize| {
        let at = windows.get(windows.len() * share / 100);
        at.copied().unwrap_or_default()
    };
    println!(
        "{name}: {} reads, {} outages: {} stale, {} in windows (p50 {} us, p90 {} us, max {} us), {} late",
        sum.reads,
        came.outages,
        sum.stale.len(),
        windows.len(),
        of(50),
        of(90),
        windows.last().copied().unwrap_or_default(),
        sum.late,
    );
    assert!(sum.reads > 1000, "{name}");
    assert!(came.outages > 0, "{name}");
    let first: Vec<_> = sum.stale.iter().take(5).collect();
    let stale = sum.stale.len();
    assert_eq!(stale, 0, "{name}: old values, {first:?}");
}

#[test]
fn nobody_reads_what_was_replaced_or_deleted_while_a_node_was_out() {
    holds("3 servers, 1 replica", &chaos::<3>(Setting::new(12, 1)));
}

#[test]
fn nor_with_two_replicas() {
    holds("3 servers, 2 replicas", &chaos::<3>(Setting::new(10, 2)));
}

#[test]
fn nor_with_five_servers() {
    holds("5 servers, 2 replicas", &chaos::<5>(Setting::new(10, 2)));
}

#[test]
fn nor_with_two_nodes_that_both_have_everything() {
    holds("2 servers, 2 replicas", &chaos::<2>(Setting::new(10, 2)));
}

#[test]
fn without_it_the_same_processes_read_old_values() {
    let came = chaos::<3>(Setting {
        on_return: "serve",
        keys: 1000,
        ..Setting::new(12, 1)
    });
    let (stale, reads) = (came.sum.stale.len(), came.sum.reads);
    println!(
        "serve: {reads} reads, {} outages: {stale} stale",
        came.outages
    );
    assert!(stale > 0, "the test can fail: {:?}", came.sum);
}

/// A server that goes back to its last save: who serves it is told each time, and who flushes it reads nothing old.
fn with_saves(seconds: u64) {
    let saves = Setting {
        saves: true,
        ..Setting::new(seconds, 1)
    };
    let came = chaos::<3>(saves);
    for (node, at) in &came.kills {
        let is_told = |(other, told): &(String, u64)| other == node && told > at;
        assert!(
            came.rollbacks.iter().any(is_told),
            "{node}: {:?}",
            came.rollbacks
        );
    }
    println!(
        "with saves: {} kills, said {} times, {} stale of {} reads",
        came.kills.len(),
        came.rollbacks.len(),
        came.sum.stale.len(),
        came.sum.reads
    );
    let flushed = chaos::<3>(Setting {
        on_unknown: "flush",
        ..saves
    });
    holds("with saves, flushed", &flushed);
}

#[test]
fn servers_that_go_back_to_their_last_save_are_said_or_flushed() {
    with_saves(9);
}

#[test]
#[ignore = "for the soak: ten minutes and more"]
fn for_ten_minutes() {
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    let seconds = number("FLUSTER_RETURN_SECONDS").unwrap_or(150);
    holds(
        "3 servers, 1 replica",
        &chaos::<3>(Setting::new(seconds, 1)),
    );
    holds(
        "3 servers, 2 replicas",
        &chaos::<3>(Setting::new(seconds, 2)),
    );
    holds(
        "5 servers, 2 replicas",
        &chaos::<5>(Setting::new(seconds, 2)),
    );
    holds(
        "2 servers, 2 replicas",
        &chaos::<2>(Setting::new(seconds, 2)),
    );
    with_saves(seconds / 5);
}
