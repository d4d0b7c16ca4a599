//! The invariants, over random histories.
//!
//! A history is a list of steps; each lets some time pass and lets something happen to one of the
//! nodes. A [`World`] plays the driver and checks after every step what must always hold.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::clock::later;
use crate::health::verdict::{ProbeResult, Soft};
use crate::health::waits::Wait;

const RT: Duration = Duration::from_millis(500);

#[derive(Clone, Debug)]
enum Event {
    Observe(Verdict),
    /// A time-out of a command sent this many milliseconds ago.
    Timeout(u64, bool),
    /// Evidence from before the node's last ejection.
    Stale(Verdict),
    Successes(u64),
    /// The probe in flight ends.
    Probe(ProbeResult),
    /// A probe that is not in flight ends.
    WrongProbe(ProbeResult),
    Demand,
    /// Only time passes.
    Wait,
}

#[derive(Clone, Debug)]
struct Step {
    wait: u64,
    key: u8,
    unit: f64,
    event: Event,
}

fn timeout(sent_at: Instant, silent: bool) -> Verdict {
    Verdict::Soft(Soft::Timeout {
        sent_at,
        silent,
        wait: Wait::UNDISTURBED,
    })
}

fn reason() -> impl Strategy<Value = Reason> {
    prop_oneof![
        4 => Just(Reason::Refused),
        3 => Just(Reason::Timeout),
        3 => Just(Reason::Unreachable),
        1 => Just(Reason::NotReady),
        1 => Just(Reason::Config),
        1 => Just(Reason::NotRedis),
    ]
}

fn soft() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Soft::Strike(Reason::Busy)),
        Just(Soft::Strike(Reason::Unreachable)),
        any::<bool>().prop_map(|idle| Soft::Lost { idle }),
    ]
    .prop_map(Verdict::Soft)
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        6 => Just(Verdict::Alive),
        1 => Just(Verdict::Neutral),
        5 => soft(),
        2 => reason().prop_map(Verdict::Hard),
    ]
}

fn probe_result() -> impl Strategy<Value = ProbeResult> {
    prop_oneof![
        6 => Just(ProbeResult::Ok),
        3 => reason().prop_map(ProbeResult::Failed),
        1 => Just(ProbeResult::NotReady(Reason::NotReady)),
        1 => Just(ProbeResult::NotReady(Reason::Busy)),
        1 => Just(ProbeResult::NotRun),
        1 => Just(ProbeResult::Config),
        1 => Just(ProbeResult::NotRedis),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => verdict().prop_map(Event::Observe),
        4 => (0..1_500_u64, any::<bool>()).prop_map(|(ago, silent)| Event::Timeout(ago, silent)),
        1 => verdict().prop_map(Event::Stale),
        1 => (0..30_u64).prop_map(Event::Successes),
        6 => probe_result().prop_map(Event::Probe),
        1 => probe_result().prop_map(Event::WrongProbe),
        1 => Just(Event::Demand),
        1 => Just(Event::Wait),
    ]
}

fn steps(nodes: u8, event: impl Strategy<Value = Event>) -> impl Strategy<Value = Vec<Step>> {
    let wait = prop_oneof![
        6 => 0..60_u64,
        3 => 0..1_000_u64,
        1 => 0..20_000_u64,
    ];
    let step = (wait, 0..nodes, 0.0..1.0, event).prop_map(|(wait, key, unit, event)| Step {
        wait,
        key,
        unit,
        event,
    });
    vec(step, 1..250)
}

fn history() -> impl Strategy<Value = (u8, Vec<Step>)> {
    (1..7_u8).prop_flat_map(|nodes| (Just(nodes), steps(nodes, event())))
}

/// What a driver would have published about a node.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Published {
    state: NodeState,
    epoch: u64,
}

struct World {
    health: Machine<u8>,
    now: Instant,
    unit: f64,
    published: BTreeMap<u8, Published>,
    /// The probes that the driver runs.
    in_flight: BTreeMap<u8, u64>,
    /// When each node that waits may be probed at the earliest.
    earliest: BTreeMap<u8, Instant>,
    /// When each node was silent last.
    silent: BTreeMap<u8, Instant>,
    /// When each probe started.
    probes: Vec<(u8, Instant)>,
}

impl World {
    fn new(nodes: u8) -> Self {
        let now = Instant::now();
        let mut health = Machine::new(Penalty::default(), RT);
        let mut published = BTreeMap::new();
        for key in 0..nodes {
            health.insert(key, now);
            published.insert(
                key,
                Published {
                    state: NodeState::Up,
                    epoch: 0,
                },
            );
        }
        Self {
            health,
            now,
            unit: 0.0,
            published,
            in_flight: BTreeMap::new(),
            earliest: BTreeMap::new(),
            silent: BTreeMap::new(),
            probes: Vec::new(),
        }
    }

    fn mostly_silent(&self) -> bool {
        let silent = self
            .silent
            .values()
            .filter(|&&at| self.now.duration_since(at) <= Duration::from_secs(1))
            .count();
        silent > 1 && silent * 2 > self.published.len()
    }

    fn admitting(&self) -> usize {
        self.published
            .values()
            .filter(|node| node.state.admits())
            .count()
    }

    /// I3, I4, I8, I9b and I9d at one transition; `before` is the level until then.
    fn publish(&mut self, change: Transition<u8>, before: u32) {
        let old = self.published[&change.key];
        assert_eq!(change.from, old.state, "I9d: transitions follow each other");
        assert_ne!(
            (change.to, change.epoch),
            (old.state, old.epoch),
            "I9d: a change"
        );
        let down = change.to == NodeState::Down;
        assert_eq!(
            change.epoch,
            old.epoch + u64::from(down),
            "an epoch per entry into Down"
        );
        assert!(
            change.level >= before || change.to == NodeState::Up,
            "I8: the level falls only in Up"
        );
        let hopeless = matches!(change.reason, Some(Reason::Config | Reason::NotRedis));
        if self.mostly_silent() && !hopeless {
            assert!(
                change.level <= before,
                "I9b: no level rises when most nodes are silent"
            );
        }
        if down {
            let until = change.until.expect("a wait");
            self.check_wait(&change, until - self.now);
            self.earliest.insert(change.key, until);
            self.in_flight.remove(&change.key);
        } else {
            assert_eq!(change.until, None);
        }
        self.published.insert(
            change.key,
            Published {
                state: change.to,
                epoch: change.epoch,
            },
        );
    }

    /// I4: the wait is one of those that the level, or the rule that applies instead, allows.
    fn check_wait(&self, change: &Transition<u8>, wait: Duration) {
        let schedule = Schedule::new(&Penalty::default());
        let nominal = schedule.nominal(change.level);
        let within = |longest: Duration| (longest / 2..=longest).contains(&wait);
        let base = Duration::from_millis(100);
        let hold = change.from.admits() && within(Duration::from_secs(5));
        let not_ready = |longest: Duration| within(longest.min(Duration::from_secs(1)));
        let ok = match change.reason {
            // These waits grow apart from the level; a busy probe counts as not ready.
            Some(Reason::NotReady | Reason::Busy)
                if change.reason == Some(Reason::NotReady) || !change.from.admits() =>
            {
                (0..7).any(|n| not_ready(schedule.nominal(change.level.max(1) + n)))
            }
            Some(Reason::Config | Reason::NotRedis) => within(nominal) || hold,
            _ if change.client_suspect => wait == base,
            _ => within(nominal) || hold,
        };
        assert!(ok, "I4: {change:?} waits {wait:?}");
    }

    fn apply(&mut self, change: Option<Transition<u8>>, before: u32) {
        if let Some(change) = change {
            self.publish(change, before);
        }
    }

    /// Runs the timers.
    fn timers(&mut self) {
        let levels: BTreeMap<u8, u32> = self
            .published
            .keys()
            .map(|&key| (key, self.health.level(key).unwrap()))
            .collect();
        let states = self.published.clone();
        let unit = self.unit;
        for action in self
            .health
            .due(self.now, &mut || unit, &|_, _| Ran::Throughout)
        {
            match action {
                Action::Probe { key, id, deadline } => {
                    assert!(
                        self.in_flight.insert(key, id).is_none(),
                        "I1: a second probe of {key} in flight"
                    );
                    assert_eq!(self.published[&key].state, NodeState::HalfOpen);
                    assert_eq!(deadline - self.now, Duration::from_millis(500));
                    self.probes.push((key, self.now));
                }
                Action::Check { .. } | Action::Prepare { .. } => {
                    panic!("nobody doubts or prepares: {action:?}")
                }
                Action::Publish(change) => {
                    if change.from == NodeState::Down {
                        let earliest = self.earliest[&change.key];
                        assert!(self.now >= earliest, "I3: probed before its wait was over");
                    }
                    if change.from == NodeState::HalfOpen {
                        self.silent.insert(change.key, self.now);
                    }
                    self.publish(change, levels[&change.key]);
                }
            }
        }
        for (key, level) in levels {
            let fell = self.health.level(key).unwrap() < level;
            assert!(
                !fell || states[&key].state == NodeState::Up,
                "I8: {key} not in Up"
            );
        }
        let next = self.health.next_deadline();
        assert!(next.is_none_or(|at| at > self.now), "what was due was done");
    }

    /// Lets `wait` pass, with every timer at its time.
    fn pass(&mut self, wait: Duration) {
        let until = self.now + wait;
        while let Some(at) = self.health.next_deadline().filter(|&at| at <= until) {
            self.now = self.now.max(at);
            self.timers();
        }
        self.now = until;
    }

    fn observe(&mut self, key: u8, verdict: Verdict) {
        let (before, level) = (self.health.clone(), self.health.level(key).unwrap());
        let (serving, admitting) = (self.health.admits(key), self.admitting());
        let reason = match verdict {
            Verdict::Hard(reason) => Some(reason),
            Verdict::Soft(soft) => Some(soft.reason()),
            _ => None,
        };
        if serving && reason.is_some_and(Reason::is_silence) {
            self.silent.insert(key, self.now);
        }
        let suspect = self.mostly_silent();
        let epoch = self.health.epoch(key).unwrap();
        let change = self
            .health
            .observe(key, epoch, verdict, self.now, self.unit);
        if !serving {
            assert_eq!(change, None, "I2: traffic moved a node that is out");
            assert_eq!(
                self.health, before,
                "I2: traffic changed a node that is out"
            );
        }
        self.apply(change, level);
        let soft = matches!(verdict, Verdict::Soft(_))
            || (verdict == Verdict::Hard(Reason::Unreachable) && suspect);
        if soft && self.admitting() < admitting {
            let left = self.admitting();
            assert!(left > 0, "I9a: suspicion took the last node");
            assert!(
                left * 2 >= self.published.len(),
                "I9a: suspicion left {left} nodes"
            );
        }
        if matches!(verdict, Verdict::Hard(_)) && !soft && serving {
            assert!(!self.health.admits(key), "proof ejects");
        }
    }

    fn step(&mut self, step: &Step) {
        self.unit = step.unit;
        self.pass(Duration::from_millis(step.wait));
        let (key, now) = (step.key, self.now);
        let level = self.health.level(key).unwrap();
        let state = self.published[&key].state;
        match step.event {
            Event::Observe(verdict) => self.observe(key, verdict),
            Event::Timeout(ago, silent) => {
                let sent_at = now - Duration::from_millis(ago);
                self.observe(key, timeout(sent_at, silent));
            }
            Event::Stale(verdict) => {
                let Some(epoch) = self.health.epoch(key).unwrap().checked_sub(1) else {
                    return;
                };
                let before = self.health.clone();
                assert_eq!(
                    self.health.observe(key, epoch, verdict, now, self.unit),
                    None
                );
                assert_eq!(self.health.observe_successes(key, epoch, 9, now), None);
                assert_eq!(self.health, before, "I6: stale evidence changed something");
            }
            Event::Successes(n) => {
                let epoch = self.health.epoch(key).unwrap();
                let change = self.health.observe_successes(key, epoch, n, now);
                self.apply(change, level);
            }
            Event::Probe(result) => {
                let Some(id) = self.in_flight.remove(&key) else {
                    return;
                };
                if matches!(result, ProbeResult::Failed(reason) if reason.is_silence()) {
                    self.silent.insert(key, now);
                }
                let change = self.health.probe_finished(key, id, result, now, self.unit);
                self.apply(change, level);
            }
            Event::WrongProbe(result) => {
                let before = self.health.clone();
                let id = self.in_flight.get(&key).map_or(0, |id| id + 1);
                assert_eq!(
                    self.health.probe_finished(key, id, result, now, self.unit),
                    None
                );
                assert_eq!(
                    self.health, before,
                    "I6: another probe's result changed something"
                );
            }
            Event::Demand => {
                let waits = self.health.retry_after(key, now);
                let pulled = self.health.demand(key, now);
                let shorter = self.health.retry_after(key, now) < waits;
                assert!(!pulled || shorter, "demand lengthened a wait");
                if self.health.state(key) == Some(NodeState::Down) {
                    let wait = self.health.retry_after(key, now).unwrap();
                    assert!(wait <= Duration::from_millis(500), "demand left {wait:?}");
                    let earliest = self.earliest[&key].min(later(now, wait));
                    self.earliest.insert(key, earliest);
                }
            }
            Event::Wait => {}
        }
        let fell = self.health.level(key).unwrap() < level;
        assert!(
            !fell || state == NodeState::Up,
            "I8: the level of {key} fell in {state:?}"
        );
        self.check();
    }

    /// While fewer than half admit, who is held because it flaps is let go sooner.
    fn ease(&mut self) {
        let admitting = self.published.values().filter(|p| p.state.admits()).count();
        if 2 * admitting >= self.published.len() {
            return;
        }
        for (key, earliest) in &mut self.earliest {
            if self.health.state(*key) == Some(NodeState::Down) {
                let wait = self.health.retry_after(*key, self.now).unwrap_or_default();
                *earliest = (*earliest).min(later(self.now, wait));
            }
        }
    }

    /// I9d: what was published is what is, at every moment.
    fn check(&mut self) {
        self.ease();
        for (&key, published) in &self.published {
            let is = Published {
                state: self.health.state(key).unwrap(),
                epoch: self.health.epoch(key).unwrap(),
            };
            assert_eq!(is, *published, "I9d: node {key}");
            assert_eq!(self.health.admits(key), published.state.admits());
            let waits = self.health.retry_after(key, self.now).is_some();
            assert_eq!(waits, !published.state.admits());
            let next = self.health.next_deadline();
            assert!(
                published.state.admits() || next.is_some(),
                "I5: nobody wakes {key}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// I1 to I4, I6, I8, I9a, I9b and I9d hold at every step of any history, and I5 after it:
    /// once all probes are good, every node admits within the longest wait there is.
    #[test]
    fn any_history_keeps_the_invariants((nodes, steps) in history()) {
        let mut world = World::new(nodes);
        for step in &steps {
            world.step(step);
        }
        let hold = Duration::from_secs(5);
        let end = world.now + hold + 2 * Duration::from_millis(500 + 50);
        while world.now < end {
            for key in 0..nodes {
                world.step(&Step { wait: 0, key, unit: 1.0, event: Event::Probe(ProbeResult::Ok) });
            }
            world.pass(Duration::from_millis(25));
        }
        for key in 0..nodes {
            prop_assert!(world.health.admits(key), "I5: node {key} is out for ever");
        }
    }

    /// I7: a single strike against a node with no history never ejects.
    #[test]
    fn one_strike_never_ejects(
        nodes in 1..7_u8,
        ok in 0..1_000_u64,
        verdict in soft(),
        sent in 0..10_000_u64,
        timeout in any::<bool>(),
        silent in any::<bool>(),
    ) {
        let mut world = World::new(nodes);
        world.pass(Duration::from_secs(20));
        world.health.observe_successes(0, 0, ok, world.now);
        let sent_at = world.now - Duration::from_millis(sent);
        let verdict = if timeout {
            self::timeout(sent_at, silent)
        } else {
            verdict
        };
        world.observe(0, verdict);
        prop_assert_eq!(world.health.state(0), Some(NodeState::Up));
    }

    /// A burst, however large and in whatever order its time-outs arrive, is one strike: it and
    /// one more strike do not eject.
    #[test]
    fn a_burst_is_one_strike(
        mut sent in vec(0..500_u64, 1..100),
        first in 0..500_u64,
    ) {
        let mut world = World::new(3);
        // The earliest arrives first, the others in any order.
        sent.insert(0, 0);
        let start = world.now;
        world.now += Duration::from_millis(1_000);
        for ms in sent {
            let sent_at = start + Duration::from_millis(ms);
            world.observe(0, timeout(sent_at, false));
        }
        world.now += Duration::from_millis(first);
        world.observe(0, Verdict::Soft(Soft::Strike(Reason::Busy)));
        prop_assert_eq!(world.health.state(0), Some(NodeState::Up));
    }

    /// I9c: under steady demand a node that stays down is probed at most ten times in any second,
    /// and at least once per 500 ms and the time the probe itself takes.
    #[test]
    fn demand_probes_often_and_never_in_a_storm(
        nodes in 1..4_u8,
        takes in 0..500_u64,
        unit in 0.0..1.0,
        // Good first probes make a second one follow soon.
        results in vec(prop_oneof![
            3 => Just(ProbeResult::Failed(Reason::Refused)),
            1 => Just(ProbeResult::NotReady(Reason::Busy)),
            1 => Just(ProbeResult::Failed(Reason::Unreachable)),
        ], 60),
    ) {
        let mut world = World::new(nodes);
        world.unit = unit;
        for key in 0..nodes {
            world.observe(key, Verdict::Hard(Reason::Refused));
        }
        let mut results = results.iter().cycle();
        let mut started = BTreeMap::new();
        for _ in 0..2_000 {
            world.pass(Duration::from_millis(10));
            for key in 0..nodes {
                world.step(&Step { wait: 0, key, unit, event: Event::Demand });
                let at = *started.entry(key).or_insert(world.now);
                if !world.in_flight.contains_key(&key) {
                    started.insert(key, world.now);
                } else if world.now >= at + Duration::from_millis(takes) {
                    let event = Event::Probe(*results.next().unwrap());
                    world.step(&Step { wait: 0, key, unit, event });
                }
            }
        }
        for key in 0..nodes {
            let at: Vec<_> = world.probes.iter().filter(|(k, _)| *k == key).map(|(_, at)| *at).collect();
            for (i, &start) in at.iter().enumerate() {
                let within = at[i..].iter().take_while(|&&at| at < start + Duration::from_secs(1)).count();
                prop_assert!(within <= 10, "{within} probes in one second");
            }
            for pair in at.windows(2) {
                let gap = pair[1] - pair[0];
                let limit = Duration::from_millis(500 + takes + 30);
                prop_assert!(gap <= limit, "{gap:?} without a probe, each takes {takes} ms");
            }
        }
    }
}
