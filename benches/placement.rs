//! Lookups against what users would pick instead: `cargo bench --bench placement [-- ROUNDS]`.
//!
//! Every contestant runs once per round, over the same 100 000 keys of 16 bytes, so that a noisy
//! neighbour hits all of them alike. Times are those of the quietest round; ratios are the median
//! over the rounds of two times of the same round. 128 points per node (ketama: its fixed 160).

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Instant;

use fluster::placement::{HashRing, HashTags, Live, Member, Placement, Table};

const KEYS: usize = 100_000;
const KEY_LENGTH: usize = 16;
const SIZES: [u32; 4] = [3, 10, 100, 1000];

type Lookup<'a> = Box<dyn Fn(&[u8]) -> u64 + 'a>;

/// What a contestant costs per key, one entry per round.
type Times = BTreeMap<&'static str, Vec<f64>>;

fn main() {
    // `cargo test --benches` and `cargo bench` pass flags of their own harness.
    let rounds = std::env::args()
        .find_map(|arg| arg.parse().ok())
        .unwrap_or(15);
    let keys: Vec<u8> = (0..KEYS)
        .flat_map(|key| format!("session:{key:08x}").into_bytes())
        .collect();

    println!(
        "ns per key, quietest of {rounds} rounds; x = ratio to `xxh3 alone`, median of rounds\n"
    );
    let mut all = Vec::new();
    for nodes in SIZES {
        let (order, times) = measure(nodes, &keys, rounds);
        println!("{nodes} nodes");
        for name in order {
            let quietest = times[name].iter().copied().fold(f64::INFINITY, f64::min);
            println!(
                "  {name:<36} {quietest:>9.1} ns {:>9.2} x",
                ratio(&times, name, "xxh3 alone")
            );
        }
        all.push((nodes, times));
    }

    if let Err(e) = write(&all) {
        eprintln!("the figures are not kept: {e}");
    }
    println!(
        "\nratios of the same round {:>22}",
        "3 nodes      10     100    1000"
    );
    for (name, other) in [
        ("crate hashring", "ring: first"),
        ("crate pingora-ketama", "ring: first"),
        ("ring: first", "bucketed points, bare"),
        ("ring: first 2", "ring: first"),
        ("crate hashring: first 2", "ring: first 2"),
        ("HashRing: get_node", "ring: first"),
        ("rendezvous: first", "ring: first"),
        ("xxh3 alone", "ring: first"),
    ] {
        print!("  {:<42}", format!("{name} / {other}"));
        for (_, times) in &all {
            print!(" {:>7.2}", ratio(times, name, other));
        }
        // How far the same comparison spreads over the rounds.
        print!("   quartiles");
        for (_, times) in &all {
            let [low, _, high] = quartiles(times, name, other);
            print!(" {low:.2}-{high:.2}");
        }
        println!();
    }
}

fn ratio(times: &Times, name: &str, other: &str) -> f64 {
    quartiles(times, name, other)[1]
}

/// The lower quartile, the median and the upper quartile of the ratios of the same round.
fn quartiles(times: &Times, name: &str, other: &str) -> [f64; 3] {
    let mut ratios: Vec<f64> = times[name]
        .iter()
        .zip(&times[other])
        .map(|(a, b)| a / b)
        .collect();
    ratios.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| ratios[quarter * (ratios.len() - 1) / 4])
}

/// Leaves the figures where `make bench-report` finds them.
fn write(all: &[(u32, Times)]) -> std::io::Result<()> {
    let directory = std::env::var_os("FLUSTER_BENCH_DIR").map_or_else(
        || std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench")),
        std::path::PathBuf::from,
    );
    std::fs::create_dir_all(&directory)?;
    let mut text = serde_json::json!({"what": "placement"}).to_string();
    for (nodes, times) in all {
        for (name, each) in times {
            let row = serde_json::json!({
                "nodes": nodes,
                "who": name,
                "ns": each.iter().copied().fold(f64::INFINITY, f64::min),
                "to_hash": quartiles(times, name, "xxh3 alone"),
                "to_bare": quartiles(times, name, "bucketed points, bare"),
                "to_first": quartiles(times, name, "ring: first"),
            });
            text.push('\n');
            text.push_str(&row.to_string());
        }
    }
    text.push('\n');
    std::fs::write(directory.join("placement.jsonl"), text)
}

fn measure(nodes: u32, keys: &[u8], rounds: usize) -> (Vec<&'static str>, Times) {
    let names: Vec<String> = (0..nodes)
        .map(|i| format!("10.0.{}.{}:6379", i / 250, i % 250))
        .collect();
    let members: Vec<Member<'_>> = names.iter().map(|name| Member::new(name)).collect();
    let uneven: Vec<Member<'_>> = members
        .iter()
        .zip(0..)
        .map(|(member, i)| member.weight(1 + i % 2))
        .collect();
    let table =
        |placement: Placement, members: &[Member<'_>]| placement.table(members).expect("a table");
    let ring = table(Placement::ring(), &members);
    let untagged = table(Placement::ring().hash_tags(HashTags::Off), &members);
    let rendezvous = table(Placement::rendezvous(), &members);
    let weighted = table(Placement::rendezvous(), &uneven);
    let modulo = table(Placement::modulo(), &members);
    let collection: HashRing = names.iter().map(String::as_str).collect();
    let live = Live::all(nodes);
    let one_out = live.with(0, false);
    let bare = Bare::new(&names);
    let (hashring, ketama) = (hashring_crate(&names), ketama_crate(&names));

    let contestants: Vec<(&str, Lookup<'_>)> = vec![
        ("xxh3 alone", Box::new(twox_hash::XxHash3_64::oneshot)),
        ("bucketed points, bare", Box::new(|key| bare.node(key))),
        ("ring: first", Box::new(|key| first(&ring, key, &live))),
        (
            "ring: first, one node out",
            Box::new(|key| first(&ring, key, &one_out)),
        ),
        (
            "ring: first, hash tags off",
            Box::new(|key| first(&untagged, key, &live)),
        ),
        (
            "ring: first 2",
            Box::new(|key| first_two(&ring, key, &live)),
        ),
        (
            "HashRing: get_node",
            Box::new(|key| collection.get_node(key).map_or(0, |n| n.len() as u64)),
        ),
        (
            "crate hashring",
            Box::new(|key| hashring.get(&key).map_or(0, |v| u64::from(v.node))),
        ),
        (
            "crate hashring: first 2",
            Box::new(|key| {
                hashring
                    .get_with_replicas(&key, 1)
                    .map_or(0, |found| found.len() as u64)
            }),
        ),
        (
            "crate pingora-ketama",
            Box::new(|key| {
                ketama
                    .node(key)
                    .map_or(0, |address| u64::from(address.port()))
            }),
        ),
        (
            "rendezvous: first",
            Box::new(|key| first(&rendezvous, key, &live)),
        ),
        (
            "rendezvous: first 2",
            Box::new(|key| first_two(&rendezvous, key, &live)),
        ),
        (
            "rendezvous: first, uneven weights",
            Box::new(|key| first(&weighted, key, &live)),
        ),
        ("modulo: first", Box::new(|key| first(&modulo, key, &live))),
    ];

    let mut times = Times::new();
    for round in 0..=rounds {
        for (name, lookup) in &contestants {
            // Some cost micro- or milliseconds per key: a share of the keys says as much.
            let share = match *name {
                "crate hashring: first 2" => 20 * nodes as usize,
                name if name.starts_with("rendezvous") => (nodes as usize / 5).max(1),
                _ => 1,
            };
            let keys = &keys[..keys.len() / share];
            // Twice, the second time counts: its tables are in the caches again, after the others'.
            for key in keys.chunks_exact(KEY_LENGTH) {
                black_box(lookup(black_box(key)));
            }
            let start = Instant::now();
            for key in keys.chunks_exact(KEY_LENGTH) {
                black_box(lookup(black_box(key)));
            }
            let per_key = start.elapsed().as_nanos() as f64 / (keys.len() / KEY_LENGTH) as f64;
            if round > 0 {
                times.entry(name).or_default().push(per_key);
            }
        }
    }
    (contestants.iter().map(|&(name, _)| name).collect(), times)
}

fn first(table: &Table, key: &[u8], live: &Live) -> u64 {
    table.first(key, live).map_or(0, |node| node as u64)
}

fn first_two(table: &Table, key: &[u8], live: &Live) -> u64 {
    table
        .live_candidates(key, live)
        .take(2)
        .fold(0, |sum, node| sum + node as u64)
}

/// The yardstick: sorted points in two arrays with about two buckets per point, and nothing else -
/// no hash tags, no liveness, no wrap-around walk.
struct Bare {
    values: Vec<u64>,
    owners: Vec<u32>,
    starts: Vec<u32>,
    shift: u32,
}

impl Bare {
    fn new(names: &[String]) -> Self {
        let mut points = Vec::new();
        for (owner, name) in (0_u32..).zip(names) {
            for i in 0..128_u32 {
                let bytes = [name.as_bytes(), b"#", &i.to_le_bytes()].concat();
                points.push((twox_hash::XxHash3_64::oneshot(&bytes), owner));
            }
        }
        points.sort_unstable();
        let bits = (2 * points.len()).ilog2();
        let shift = 64 - bits;
        let starts = (0..1_u64 << bits)
            .map(|bucket| points.partition_point(|&(value, _)| value >> shift < bucket) as u32)
            .collect();
        let (values, owners) = points.into_iter().unzip();
        Self {
            values,
            owners,
            starts,
            shift,
        }
    }

    fn node(&self, key: &[u8]) -> u64 {
        let hash = twox_hash::XxHash3_64::oneshot(key);
        let mut at = self.starts[(hash >> self.shift) as usize] as usize;
        while at < self.values.len() && self.values[at] < hash {
            at += 1;
        }
        let at = if at == self.values.len() { 0 } else { at };
        u64::from(self.owners[at])
    }
}

/// As that crate's documentation shows it: a virtual node hashes as address and number.
#[derive(Clone, Debug, Hash, PartialEq)]
struct VirtualNode {
    node: u32,
    name: String,
    point: u32,
}

fn hashring_crate(names: &[String]) -> hashring::HashRing<VirtualNode> {
    let mut ring = hashring::HashRing::new();
    ring.batch_add(
        (0..)
            .zip(names)
            .flat_map(|(node, name)| {
                (0..128).map(move |point| VirtualNode {
                    node,
                    name: name.clone(),
                    point,
                })
            })
            .collect(),
    );
    ring
}

fn ketama_crate(names: &[String]) -> pingora_ketama::Continuum {
    let buckets: Vec<_> = names
        .iter()
        .map(|name| pingora_ketama::Bucket::new(name.parse::<SocketAddr>().expect("an address"), 1))
        .collect();
    pingora_ketama::Continuum::new(&buckets)
}
