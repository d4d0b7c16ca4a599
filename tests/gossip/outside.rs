//! Where a key goes, as seen from outside: processes that call often, seldom or never, sampled each millisecond, while its
//! server is killed or stopped and comes back.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use fluster::gossip::Fleet;
use fluster::testing::Server;
use fluster::{Error, FlusterCluster, Node};

use super::proxy::free_ports;
use super::*;

const CHILD: &str = "FLUSTER_FLEET_CHILD";
/// Calls in a second of each process.
const RATES: [u64; 4] = [200, 20, 2, 0];
const NAMES: [&str; 3] = ["a", "b", "c"];

fn micros() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_micros() as u64
}

fn owned_by_a(cluster: &FlusterCluster) -> String {
    let mut keys = (0..).map(|n| format!("key:{n}"));
    keys.find(|key| cluster.get_node(key).unwrap() == *NAMES[0])
        .unwrap()
}

/// One process: its policy, its rate, its place among the instances, and the servers' ports.
#[test]
#[ignore = "it is the process of a client"]
fn client_process() {
    let Ok(told) = std::env::var(CHILD) else {
        return;
    };
    let told: Vec<_> = told.split(' ').map(str::to_owned).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    runtime.unwrap().block_on(async move {
        let [policy, rate, key, bind, seed, id] = &told[..6] else {
            panic!("{told:?}");
        };
        let nodes = NAMES.iter().zip(&told[6..]).map(|(name, port)| {
            Node::new(format!("redis://127.0.0.1:{port}"))
                .unwrap()
                .name(*name)
        });
        let cluster = FlusterCluster::builder().nodes(nodes).build().unwrap();
        let mut shared = None;
        if policy != "none" {
            let gossip = Gossip::builder("outside")
                .bind(bind.parse().unwrap())
                .keyring(Keyring::from_hex(key).unwrap())
                .ring_id(id.as_str())
                .seeds(seeds(&[seed.parse().unwrap()]))
                .start()
                .await
                .unwrap();
            let fleet = match policy.as_str() {
                "agreed" => Fleet::agreed(),
                _ => Fleet::advisory(),
            };
            let health = cluster.share_health(&gossip, fleet).unwrap();
            shared = Some((gossip, health));
        }
        let watched = owned_by_a(&cluster);
        let rate: u64 = rate.parse().unwrap();
        if rate > 0 {
            let cluster = cluster.clone();
            tokio::spawn(async move {
                let mut tick = tokio::time::interval(Duration::from_micros(1_000_000 / rate));
                for n in 0_u64.. {
                    tick.tick().await;
                    let (cluster, key) = (cluster.clone(), format!("key:{}", n % 30));
                    tokio::spawn(async move {
                        let _: Result<Option<String>, Error> =
                            cluster.run(redis::cmd("GET").arg(key)).await;
                    });
                }
            });
        }
        let sampled = cluster.clone();
        std::thread::spawn(move || {
            let mut last = None;
            loop {
                let node = sampled
                    .get_node(&watched)
                    .map_or_else(|_| "-".to_owned(), |n| n.to_string());
                if last.as_ref() != Some(&node) {
                    println!("\nat {} {node}", micros());
                    last = Some(node);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        // Until the end of its stdin.
        let end = tokio::task::spawn_blocking(|| std::io::stdin().lines().count());
        end.await.unwrap();
        drop(shared);
        // The sampler has no end of its own.
        std::process::exit(0);
    });
}

struct Client(Child);

impl Drop for Client {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What each process saw, and when.
type Seen = Arc<Mutex<Vec<(usize, u64, String)>>>;

fn start(n: usize, told: String, seen: &Seen) -> Client {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        "gossip::outside::client_process",
        "--ignored",
        "--nocapture",
    ]);
    command
        .env(CHILD, told)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let (out, seen) = (child.stdout.take().unwrap(), Arc::clone(seen));
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if let Some((at, node)) = line
                .strip_prefix("at ")
                .and_then(|rest| rest.split_once(' '))
            {
                seen.lock()
                    .unwrap()
                    .push((n, at.parse().unwrap(), node.to_owned()));
            }
        }
    });
    Client(child)
}

/// Microseconds between two moments in which these processes did not agree.
fn apart(seen: &[(usize, u64, String)], among: &[usize], from: u64, to: u64) -> u64 {
    let mut seen: Vec<_> = seen.iter().filter(|(n, ..)| among.contains(n)).collect();
    seen.sort_by_key(|(_, at, _)| *at);
    let mut places: BTreeMap<usize, &str> = BTreeMap::new();
    let (mut sum, mut since) = (0, from);
    for (n, at, node) in seen {
        let at = (*at).clamp(from, to);
        let mut all = places.values();
        let first = all.next();
        if all.any(|other| Some(other) != first) {
            sum += at - since;
        }
        since = at;
        places.insert(*n, node);
    }
    let mut all = places.values();
    let first = all.next();
    if all.any(|other| Some(other) != first) {
        sum += to - since;
    }
    sum
}

fn shown(mut of: Vec<u64>) -> String {
    of.sort_unstable();
    let ms = |n: usize| of.get(n).map_or(0.0, |us| *us as f64 / 1e6);
    format!(
        "{:5.2} / {:5.2}",
        ms(of.len() / 2),
        ms(of.len().saturating_sub(1))
    )
}

/// Prints how long processes disagree, p50 and most, by policy and fault: on the way out and on the return, among those
/// that call and among all.
#[test]
#[ignore = "it measures for minutes: `cargo test --release --all-features --test it -- --ignored --nocapture outside_figure`"]
fn the_outside_figure() {
    let runs: usize = std::env::var("FLUSTER_RUNS")
        .ok()
        .and_then(|runs| runs.parse().ok())
        .unwrap_or(5);
    let faults: [(&str, Option<u64>); 4] = [
        ("kill", None),
        ("stop 3 s", Some(3)),
        ("stop 6 s", Some(6)),
        ("stop 20 s", Some(20)),
    ];
    println!(
        "policy    fault      runs  out, callers    out, all        return, callers return, all  (s, p50 / most)"
    );
    for policy in ["none", "advisory", "agreed"] {
        for (name, lasts) in faults {
            let [a, b, c, d] = figures(policy, lasts, runs).map(shown);
            println!("{policy:9} {name:10} {runs:4}  {a}  {b}  {c}  {d}");
        }
    }
}

/// Microseconds of disagreement in each run: on the way out and on the return, among callers and among all.
fn figures(policy: &str, lasts: Option<u64>, runs: usize) -> [Vec<u64>; 4] {
    let servers: Vec<_> = NAMES.iter().map(|_| Server::start()).collect();
    let (places, key) = (free_ports(RATES.len()), Keyring::generate().to_hex());
    let ports: Vec<_> = servers.iter().map(|s| s.port().to_string()).collect();
    let mut found: [Vec<u64>; 4] = Default::default();
    for _ in 0..runs {
        // New processes, so that no penalty and no hold has grown.
        let seen = Seen::default();
        let client = |(n, rate): (usize, &u64)| {
            let seed = places[usize::from(n == 0)];
            let ports = ports.join(" ");
            let told = format!("{policy} {rate} {key} {} {seed} i{n} {ports}", places[n]);
            start(n, told, &seen)
        };
        let clients: Vec<_> = RATES.iter().enumerate().map(client).collect();
        let is_home = || {
            let seen = seen.lock().unwrap();
            let last: BTreeMap<_, _> = seen.iter().map(|(n, _, node)| (*n, node.clone())).collect();
            last.len() == RATES.len() && last.values().all(|node| node == NAMES[0])
        };
        let wait_home = || {
            let began = Instant::now();
            while !is_home() {
                assert!(
                    began.elapsed() < Duration::from_secs(90),
                    "{policy}: it comes back"
                );
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        wait_home();
        // Instances find each other, and each node is heard.
        std::thread::sleep(Duration::from_secs(6));
        let began = micros();
        match lasts {
            None => servers[0].kill(),
            Some(_) => servers[0].stop(),
        }
        std::thread::sleep(Duration::from_secs(lasts.unwrap_or(5)));
        let returned = micros();
        match lasts {
            None => servers[0].restart(),
            Some(_) => servers[0].cont(),
        }
        std::thread::sleep(Duration::from_millis(200));
        wait_home();
        std::thread::sleep(Duration::from_secs(2));
        let (end, seen) = (micros(), seen.lock().unwrap().clone());
        drop(clients);
        let (callers, all) = (&[0, 1, 2][..], &[0, 1, 2, 3][..]);
        for (place, (among, from, to)) in [
            (callers, began, returned),
            (all, began, returned),
            (callers, returned, end),
            (all, returned, end),
        ]
        .into_iter()
        .enumerate()
        {
            found[place].push(apart(&seen, among, from, to));
        }
    }
    found
}
