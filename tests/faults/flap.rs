//! What the flap rule costs: nodes that are hit by short faults again and again, and clusters with one rule each
//! beside each other, before the same servers, so that all of them meet the same faults.
//!
//! `make flaps MINUTES=10 SEED=7 RULES=5:5,5:30,0:5`; a rule is how many ejections within a minute make a node a
//! flapping one, and for how many seconds it is held then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fluster::{Event, FlusterCluster, Penalty};
use parking_lot::Mutex;

use super::aside::{number, word};
use super::proxy::{End, Fault, Proxy, Way};
use super::rig::{ms, pass};
use crate::support::{Server, eventually};
use crate::workload::Watcher;

const NODES: usize = 4;
/// Faults that each node is hit by in a minute.
const HITS: u64 = 14;
/// Callers of each cluster.
const TASKS: usize = 8;
/// The shortest and the longest fault; each tenfold length between them is as likely.
const FAULTS: [f64; 2] = [50.0, 5_000.0];

/// What a node is hit by.
#[derive(Clone, Copy, Debug)]
enum Hit {
    /// Nobody listens any more, and who was connected is cut off.
    Refused,
    /// The server stands still.
    Silence,
    /// Every connection is reset at its first command.
    Reset,
}

type Span = (Instant, Instant);

/// The faults of one node, from the start on: when each is to begin, how long it lasts, and what it is.
fn list(seed: u64, node: usize, minutes: u64) -> Vec<(Duration, Duration, Hit)> {
    let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(31).wrapping_add(node as u64));
    let mut begins: Vec<u64> = (0..HITS * minutes)
        .map(|_| random.u64(0..minutes * 60_000))
        .collect();
    begins.sort_unstable();
    let [shortest, longest] = FAULTS;
    let mut hit = || {
        let lasts = shortest * (longest / shortest).powf(random.f64());
        let what = random.choice([Hit::Refused, Hit::Silence, Hit::Reset]);
        (ms(lasts as u64), what.expect("there are some"))
    };
    let with_hit = |begins| {
        let (lasts, what) = hit();
        (ms(begins), lasts, what)
    };
    begins.into_iter().map(with_hit).collect()
}

/// A server and the way to it.
struct Site {
    server: Server,
    proxy: Proxy,
}

impl Site {
    fn start() -> Self {
        let server = Server::start();
        let proxy = Proxy::start(&server);
        Self { server, proxy }
    }

    fn begin(&self, hit: Hit) {
        match hit {
            Hit::Refused => {
                self.proxy.set(Fault::Refuse);
                self.proxy.reset_all();
            }
            Hit::Silence => self.server.stop(),
            Hit::Reset => self.proxy.set(Fault::Cut {
                way: Way::Request,
                after: 1,
                end: End::Rst,
            }),
        }
    }

    fn heal(&self, hit: Hit) {
        match hit {
            Hit::Silence => self.server.cont(),
            Hit::Refused | Hit::Reset => self.proxy.set(Fault::Pass),
        }
    }

    /// Goes through the list; says what happened when. One that would begin before the last one is over follows it.
    async fn suffer(
        self: Arc<Self>,
        start: Instant,
        list: Vec<(Duration, Duration, Hit)>,
    ) -> Vec<Span> {
        let mut spans = Vec::new();
        for (begins, lasts, hit) in list {
            tokio::time::sleep_until((start + begins).into()).await;
            let (site, began) = (Arc::clone(&self), Instant::now());
            let begin = tokio::task::spawn_blocking(move || site.begin(hit));
            begin.await.expect("it begins");
            pass(lasts.saturating_sub(began.elapsed())).await;
            let site = Arc::clone(&self);
            let heal = tokio::task::spawn_blocking(move || site.heal(hit));
            heal.await.expect("it ends");
            spans.push((began, Instant::now()));
        }
        spans
    }
}

/// What callers saw.
#[derive(Default)]
struct Tally {
    calls: AtomicU64,
    kinds: Mutex<BTreeMap<String, u64>>,
    wrong: AtomicU64,
    stop: AtomicBool,
}

/// Three reads, which may go to the next candidate, and one write, which is not repeated, over and over.
async fn call(cluster: FlusterCluster, task: usize, tally: Arc<Tally>) {
    for n in 0_u64.. {
        if tally.stop.load(Relaxed) {
            return;
        }
        let key = format!("key:{}", (task as u64 * 31 + n) % 500);
        let token = format!("{task}-{n}");
        let cmd = match n % 4 {
            3 => redis::cmd("SET").arg(&key).arg(&token).to_owned(),
            _ => redis::cmd("ECHO").arg(&token).to_owned(),
        };
        let expected = if n % 4 == 3 { "OK" } else { &token };
        tally.calls.fetch_add(1, Relaxed);
        match cluster.run_with_key::<String>(&key, &cmd).await {
            Ok(text) if text != *expected => drop(tally.wrong.fetch_add(1, Relaxed)),
            Ok(_) => {}
            Err(e) => {
                *tally
                    .kinds
                    .lock()
                    .entry(format!("{:?}", e.kind()))
                    .or_default() += 1
            }
        }
        pass(ms(10)).await;
    }
}

/// A cluster with one rule, and what becomes of it.
struct Rule {
    count: u32,
    hold: u64,
    cluster: FlusterCluster,
    watch: Watcher,
    tally: Arc<Tally>,
}

impl Rule {
    fn start(text: &str, sites: &[Arc<Site>]) -> Self {
        let (count, hold) = text.split_once(':').expect("count:seconds");
        let (count, hold) = (
            count.parse().expect("count"),
            hold.parse().expect("seconds"),
        );
        let penalty = Penalty::default()
            .flap_count(count)
            .flap_hold(Duration::from_secs(hold));
        let cluster = FlusterCluster::builder()
            .urls(sites.iter().map(|site| site.proxy.url()))
            .penalty(penalty)
            .build()
            .expect("valid");
        let tally = Arc::<Tally>::default();
        for task in 0..TASKS {
            tokio::spawn(call(cluster.clone(), task, Arc::clone(&tally)));
        }
        Self {
            count,
            hold,
            watch: Watcher::new(&cluster),
            cluster,
            tally,
        }
    }

    /// When the node was out, each time, up to `end`.
    fn outages(&self, node: &str, end: Instant) -> Vec<Span> {
        let mut outages = Vec::new();
        let mut since = None;
        for (at, event) in self.watch.timed() {
            match event {
                Event::NodeDown { node: n, .. } if n == *node => since = Some(at),
                Event::NodeUp { node: n, .. } if n == *node => {
                    outages.extend(since.take().map(|since| (since, at)));
                }
                _ => {}
            }
        }
        outages.extend(since.map(|since| (since, end)));
        outages
    }

    fn judge(&self, faults: &[(String, Vec<Span>)], start: Instant, end: Instant) -> Report {
        let mut report = Report::default();
        let mut all = Vec::new();
        let (mut well, mut out_well, mut out) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        for (node, spans) in faults {
            let outages = self.outages(node, end);
            let bad: Duration = spans.iter().map(|&(from, to)| to - from).sum();
            well += (end - start).saturating_sub(bad);
            for &outage in &outages {
                let beyond = length(outage).saturating_sub(overlap(outage, spans));
                report.beyond.push(beyond.as_millis() as u64);
                out_well += beyond;
                out += length(outage);
            }
            // From the end of a fault until the node is in, or is hit again.
            for (n, &(_, healed)) in spans.iter().enumerate() {
                let next = spans.get(n + 1).map_or(end, |next| next.0);
                let back = outages.iter().find(|o| o.0 <= healed && healed < o.1);
                let after = back.map_or(healed, |o| o.1.min(next));
                report.after.push((after - healed).as_millis() as u64);
            }
            all.push(outages);
        }
        report.beyond.sort_unstable();
        report.after.sort_unstable();
        let nodes = (end - start) * faults.len() as u32;
        report.out = out.div_duration_f64(nodes);
        report.out_though_well = out_well.div_duration_f64(well);
        let step = ms(10);
        let moments = (0..).map(|n| start + step * n).take_while(|&at| at < end);
        let few = |at: &Instant| {
            let out = |outages: &Vec<Span>| outages.iter().any(|o| o.0 <= *at && *at < o.1);
            2 * all.iter().filter(|outages| !out(outages)).count() < all.len()
        };
        report.few = (step * moments.filter(few).count() as u32).div_duration_f64(end - start);
        report.failed = self.tally.kinds.lock().values().sum();
        report
    }
}

#[derive(Debug, Default)]
struct Report {
    /// How long each outage lasted while no fault was on, in milliseconds.
    beyond: Vec<u64>,
    /// How long the node stayed out after each fault.
    after: Vec<u64>,
    /// The share of the time that nodes were out, and of the time that nothing was wrong with them.
    out: f64,
    out_though_well: f64,
    /// The share of the time that fewer than half of the nodes were in.
    few: f64,
    failed: u64,
}

fn length((from, to): Span) -> Duration {
    to.saturating_duration_since(from)
}

fn overlap(span: Span, others: &[Span]) -> Duration {
    let both = |&(from, to): &Span| length((from.max(span.0), to.min(span.1)));
    others.iter().map(both).sum()
}

fn share(sorted: &[u64], percent: usize) -> u64 {
    let at = (sorted.len() * percent / 100).min(sorted.len() - 1);
    sorted[at]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make flaps MINUTES=... SEED=..."]
async fn a_node_that_is_hit_again_and_again_is_not_out_for_much_longer_than_its_faults() {
    let minutes = number("FLAP_MINUTES", 1);
    let seed = number("FLAP_SEED", fastrand::u64(0..1_000_000));
    let rules = word("FLAP_RULES", "5:5,5:30,0:5");
    println!(
        "\nSEED={seed} MINUTES={minutes} RULES={rules}: {NODES} nodes, {HITS} faults a minute each"
    );
    let sites: Vec<_> = (0..NODES).map(|_| Arc::new(Site::start())).collect();
    let rules: Vec<_> = rules
        .split(',')
        .map(|text| Rule::start(text, &sites))
        .collect();
    pass(ms(500)).await;
    let start = Instant::now();
    let suffer = sites.iter().enumerate().map(|(n, site)| {
        let list = list(seed, n, minutes);
        tokio::spawn(Arc::clone(site).suffer(start, list))
    });
    let spans = futures_util::future::join_all(suffer.collect::<Vec<_>>()).await;
    let end = Instant::now();
    let faults: Vec<_> = sites
        .iter()
        .zip(spans)
        .map(|(site, spans)| (site.proxy.name(), spans.expect("no panic")))
        .collect();
    let bad: Duration = faults.iter().flat_map(|f| &f.1).map(|&s| length(s)).sum();
    let bad = bad.div_duration_f64((end - start) * NODES as u32);
    println!("faults are on {:.1} % of the time of a node", bad * 100.0);
    println!(
        "count hold | outages beyond p50 p90 p99 ms | after a fault p50 p90 p99 ms | out, though well, few in % | calls failed"
    );
    for rule in &rules {
        let is = rule.judge(&faults, start, end);
        let calls = rule.tally.calls.load(Relaxed);
        let [beyond, after] = [&is.beyond, &is.after].map(|of| [50, 90, 99].map(|p| share(of, p)));
        println!(
            "{:5} {:4} | {} {beyond:?} | {after:?} | {:.1} {:.1} {:.1} | {calls} {:.3} % {:?}",
            rule.count,
            rule.hold,
            is.beyond.len(),
            is.out * 100.0,
            is.out_though_well * 100.0,
            is.few * 100.0,
            is.failed as f64 * 100.0 / calls as f64,
            rule.tally.kinds.lock(),
        );
        rule.tally.stop.store(true, Relaxed);
        assert_eq!(
            rule.tally.wrong.load(Relaxed),
            0,
            "wrong replies; SEED={seed}"
        );
        let is_default = (rule.count, rule.hold) == (5, 5);
        // A wait of 5 s, and the probes after it. A hold of 30 s shows in the 99th (16 s), not in the median.
        if is_default {
            let [median, _, longest] = beyond;
            assert!(
                median <= 6_000 && longest <= 12_000,
                "out for {beyond:?} beyond the faults; SEED={seed}"
            );
            assert!(
                after[0] <= 3_000,
                "out for {after:?} after a fault; SEED={seed}"
            );
        }
    }
    for rule in &rules {
        let all_in = || rule.cluster.status().active() == NODES;
        eventually(Duration::from_secs(60), all_in).await;
    }
}
