//! The machine against simulated servers: how often it probes, how soon a node is back.
//!
//! The figures are the failover promises of the documentation; a change that moves them must be
//! meant.

use std::time::{Duration, Instant};

use super::{Action, Machine, NodeState};
use crate::health::penalty_box::Penalty;
use crate::health::verdict::{ProbeResult, Reason, Verdict};
use crate::health::waits::Ran;

/// SplitMix64: repeatable random numbers without a dependency.
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// How a dead server behaves.
#[derive(Clone, Copy, PartialEq)]
enum Death {
    /// Its port refuses.
    Refuses,
    /// It says nothing: a probe lasts until its deadline.
    Silent,
}

/// One node under 100 requests a second, beside one healthy node.
struct Sim<'a> {
    health: Machine<u8>,
    rng: Rng,
    death: Death,
    /// Whether the server is up, by milliseconds since the start.
    up: &'a dyn Fn(u64) -> bool,
    /// Whether callers find no other node.
    demand: bool,
    probes: Vec<u64>,
    ejections: Vec<u64>,
    returns: Vec<u64>,
    errors: u64,
    /// Requests served by the node, and those it could have served.
    served: u64,
    servable: u64,
}

impl<'a> Sim<'a> {
    fn new(seed: u64, death: Death, up: &'a dyn Fn(u64) -> bool) -> Self {
        Self::with(Penalty::default(), seed, death, up)
    }

    fn with(penalty: Penalty, seed: u64, death: Death, up: &'a dyn Fn(u64) -> bool) -> Self {
        Self {
            health: Machine::new(penalty, Duration::from_millis(500)),
            rng: Rng(seed),
            death,
            up,
            demand: false,
            probes: Vec::new(),
            ejections: Vec::new(),
            returns: Vec::new(),
            errors: 0,
            served: 0,
            servable: 0,
        }
    }

    fn run(mut self, millis: u64) -> Self {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        self.health.insert(0, start);
        self.health.insert(1, start);
        // Requests come at a random phase, so that outages do not begin with one.
        let phase = self.rng.next() % 10;
        let mut probe: Option<(u64, u64)> = None;
        let mut ms = 0;
        while ms < millis {
            let (now, up) = (at(ms), (self.up)(ms));
            if let Some((id, ends)) = probe
                && ends <= ms
            {
                probe = None;
                let result = if up {
                    ProbeResult::Ok
                } else {
                    ProbeResult::Failed(Reason::Refused)
                };
                let unit = self.rng.unit();
                let change = self.health.probe_finished(0, id, result, now, unit);
                if change.is_some_and(|change| change.to == NodeState::Probation) {
                    self.returns.push(ms);
                }
            }
            if self.health.next_deadline().is_some_and(|due| due <= now) {
                let rng = &mut self.rng;
                for action in self
                    .health
                    .due(now, &mut || rng.unit(), &|_, _| Ran::Throughout)
                {
                    match action {
                        Action::Probe { id, .. } => {
                            self.probes.push(ms);
                            let silent = !up && self.death == Death::Silent;
                            probe = Some((id, if silent { u64::MAX } else { ms + 1 }));
                        }
                        Action::Publish(change) if change.to == NodeState::Down => {
                            probe = None;
                        }
                        _ => {}
                    }
                }
            }
            if ms % 10 == phase {
                self.servable += u64::from(up);
            }
            if ms % 10 == phase && !self.health.admits(0) && self.demand {
                self.health.demand(0, now);
            }
            if ms % 10 == phase && self.health.admits(0) {
                let verdict = if up {
                    Verdict::Alive
                } else {
                    Verdict::Hard(Reason::Refused)
                };
                self.served += u64::from(up);
                self.errors += u64::from(!up);
                let epoch = self.health.epoch(0).unwrap();
                let unit = self.rng.unit();
                if self
                    .health
                    .observe(0, epoch, verdict, now, unit)
                    .is_some_and(|change| change.to == NodeState::Down)
                {
                    self.ejections.push(ms);
                }
            }
            // On to the next request, answer or deadline.
            let request = ms + 1 + (phase + 9 - ms % 10) % 10;
            let deadline = self.health.next_deadline().map_or(u64::MAX, |due| {
                (due.saturating_duration_since(start)
                    .as_nanos()
                    .div_ceil(1_000_000)) as u64
            });
            let answer = probe.map_or(u64::MAX, |(_, ends)| ends);
            ms = request.min(deadline).min(answer).max(ms + 1);
        }
        self
    }

    fn probes_in(&self, from: u64, to: u64) -> usize {
        self.probes
            .iter()
            .filter(|&&at| at >= from && at < to)
            .count()
    }

    fn most_probes_in_a_second(&self) -> usize {
        self.probes
            .iter()
            .map(|&at| self.probes_in(at, at + 1_000))
            .max()
            .unwrap_or(0)
    }
}

const HOUR: u64 = 3_600_000;

#[test]
fn a_dead_node_costs_one_error_and_a_probe_every_four_seconds() {
    for seed in 0..20 {
        let sim = Sim::new(seed, Death::Refuses, &|_| false).run(HOUR / 20);
        let out = sim.ejections[0];
        let (second, ten) = (
            sim.probes_in(out, out + 1_000),
            sim.probes_in(out, out + 10_000),
        );
        let after = sim.probes_in(out + 10_000, HOUR) as f64 / (180.0 - 10.0);
        assert_eq!(sim.errors, 1, "only the first request may notice");
        assert!(
            (3..=5).contains(&second),
            "{second} probes in the first second"
        );
        assert!(
            (5..=8).contains(&ten),
            "{ten} probes in the first ten seconds"
        );
        assert!(
            (0.2..=0.4).contains(&after),
            "{after:.2} probes a second afterwards"
        );
    }
}

#[test]
fn a_node_is_back_soon_after_its_outage() {
    for (outage, mean_limit, worst_limit) in [
        (300, 330, 600),
        (1_000, 600, 1_900),
        (5_000, 3_000, 5_200),
        (30_000, 2_600, 5_200),
    ] {
        let mut back = Vec::new();
        for seed in 0..100 {
            let up = |ms| !(100..100 + outage).contains(&ms);
            let sim = Sim::new(seed, Death::Refuses, &up).run(100 + outage + 6_000);
            back.push(sim.returns.last().expect("it came back") - 100 - outage);
        }
        let mean = back.iter().sum::<u64>() / back.len() as u64;
        let worst = *back.iter().max().unwrap();
        assert!(
            mean <= mean_limit,
            "outage {outage} ms: back after {mean} ms"
        );
        assert!(
            worst <= worst_limit,
            "outage {outage} ms: at worst after {worst} ms"
        );
    }
}

#[test]
fn a_flapping_node_is_ejected_ever_less() {
    for (up, down, share_limit, ejections_limit) in [
        (1_000, 1_000, 0.05..0.3, 240..600),
        (5_000, 5_000, 0.3..0.7, 200..450),
        (60_000, 1_000, 0.97..1.01, 58..61),
    ] {
        let is_up = |ms| ms % (up + down) < up;
        let sim = Sim::new(7, Death::Refuses, &is_up).run(HOUR);
        let share = sim.served as f64 / sim.servable as f64;
        let ejections = sim.ejections.len();
        assert!(
            share_limit.contains(&share),
            "{up}/{down}: {share:.2} of its up time used"
        );
        assert!(
            ejections_limit.contains(&ejections),
            "{up}/{down}: {ejections} ejections"
        );
    }
}

#[test]
fn callers_without_a_node_bring_it_back_within_a_second() {
    for (death, limit) in [(Death::Refuses, 700), (Death::Silent, 1_200)] {
        let mut worst = 0;
        for seed in 0..30 {
            let up = |ms| ms >= 60_000 + seed * 17;
            let mut sim = Sim::new(seed, death, &up);
            sim.demand = true;
            let sim = sim.run(63_000);
            worst = worst.max(sim.returns[0] - 60_000 - seed * 17);
            let most = sim.most_probes_in_a_second();
            assert!(most <= 10, "{most} probes in one second");
        }
        assert!(worst <= limit, "back after {worst} ms");
    }
}

/// So many faults in ten minutes: 14 a minute, log-uniform from 50 ms to 5 s.
fn faults(rng: &mut Rng) -> Vec<(u64, u64)> {
    let mut faults: Vec<_> = (0..140)
        .map(|_| {
            let begins = rng.next() % 600_000;
            (begins, begins + (50.0 * 100_f64.powf(rng.unit())) as u64)
        })
        .collect();
    faults.sort_unstable();
    faults
}

/// How long a node that is hit by short faults is out beyond them, outage by outage, and how many errors that cost.
fn beyond_faults(penalty: &Penalty, seeds: u64) -> (Vec<u64>, u64) {
    let (mut beyond, mut errors) = (Vec::new(), 0);
    for seed in 0..seeds {
        let faults = faults(&mut Rng(1_000 + seed));
        let mut is_up = vec![true; 600_000];
        for &(from, to) in &faults {
            let to = to.min(600_000);
            is_up[from as usize..to as usize].fill(false);
        }
        let up = |ms: u64| is_up[ms as usize];
        let sim = Sim::with(penalty.clone(), seed, Death::Refuses, &up).run(600_000);
        errors += sim.errors;
        for (&out, &back) in sim.ejections.iter().zip(&sim.returns) {
            beyond.push((out..back).filter(|&ms| up(ms)).count() as u64);
        }
    }
    beyond.sort_unstable();
    (beyond, errors)
}

fn share(sorted: &[u64], percent: usize) -> u64 {
    sorted[sorted.len() * percent / 100]
}

/// The flap rule may not cost more than the faults that it is for.
#[test]
fn a_node_that_is_hit_by_short_faults_is_out_for_no_more_than_five_seconds_beyond_them() {
    let (beyond, _) = beyond_faults(&Penalty::default(), 20);
    assert!(beyond.len() > 100, "{} outages", beyond.len());
    let (p50, p90) = (share(&beyond, 50), share(&beyond, 90));
    assert!(p50 <= 3_500, "out for {p50} ms beyond the fault");
    assert!(p90 <= 5_000, "out for {p90} ms beyond the fault");
}

/// What other numbers would give: `cargo test --lib -- --ignored --nocapture flap_numbers`.
#[test]
#[ignore = "prints a table to choose from"]
fn flap_numbers() {
    println!("count hold  outages  p50 ms  p90 ms  errors/min");
    for (count, hold) in [(5, 30), (5, 15), (5, 10), (5, 5), (10, 10), (10, 5), (0, 5)] {
        let penalty = Penalty::default()
            .flap_count(count)
            .flap_hold(Duration::from_secs(hold));
        let (beyond, errors) = beyond_faults(&penalty, 20);
        println!(
            "{count:5} {hold:4}  {:7}  {:6}  {:6}  {:10.2}",
            beyond.len(),
            share(&beyond, 50),
            share(&beyond, 90),
            errors as f64 / 200.0
        );
    }
}
