//! The invariants, over random histories.
//!
//! A history is a list of steps; each lets some time pass and lets something happen to one of the
//! nodes. A [`World`] plays the driver and checks after every step what must always hold.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::questions::Question;
use super::*;
use crate::clock::later;
use crate::health::verdict::{ProbeResult, Soft};
use crate::health::waits::Wait;

const RT: Duration = Duration::from_millis(500);
/// How long a node may be prepared.
const PREPARATION: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
enum Event {
    Observe(Verdict),
    /// A time-out of a command sent this many milliseconds ago.
    Timeout(u64, bool),
    /// Evidence from before the node's last ejection.
    Stale(Verdict),
    Successes(u64),
    /// The probe or check in flight ends.
    Probe(ProbeResult),
    /// The preparation in flight ends.
    Prepared(bool),
    /// A question that is not in flight ends.
    Wrong(ProbeResult),
    Demand,
    /// Somebody doubts it.
    Doubt,
    /// What others say of it, drained or restored.
    Overrule(Overrule),
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

fn overrule() -> impl Strategy<Value = Overrule> {
    let one = prop::bool::weighted(0.3);
    (one, one, one).prop_map(|(hold, keep, drained)| Overrule {
        hold,
        keep,
        drained,
        ..Overrule::default()
    })
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => verdict().prop_map(Event::Observe),
        4 => (0..1_500_u64, any::<bool>()).prop_map(|(ago, silent)| Event::Timeout(ago, silent)),
        1 => verdict().prop_map(Event::Stale),
        1 => (0..30_u64).prop_map(Event::Successes),
        7 => probe_result().prop_map(Event::Probe),
        3 => prop::bool::weighted(0.7).prop_map(Event::Prepared),
        1 => probe_result().prop_map(Event::Wrong),
        1 => Just(Event::Demand),
        3 => Just(Event::Doubt),
        2 => overrule().prop_map(Event::Overrule),
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

fn history() -> impl Strategy<Value = (u8, bool, Vec<Step>)> {
    (1..7_u8, any::<bool>())
        .prop_flat_map(|(nodes, prepares)| (Just(nodes), Just(prepares), steps(nodes, event())))
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
    /// Whether nodes are prepared before they serve.
    prepares: bool,
    /// What the driver asks, and until when.
    in_flight: BTreeMap<u8, (Question, u64, Instant)>,
    /// What it asked each node last, and has no answer to wait for any more.
    ended: BTreeMap<u8, (Question, u64)>,
    /// The good probes of each node in a row.
    oks: BTreeMap<u8, u32>,
    /// A preparation that went well is being reported.
    ready: bool,
    /// The failures of each node that is doubted.
    doubts: BTreeMap<u8, u32>,
    /// When each node was checked last.
    checks: BTreeMap<u8, Instant>,
    overrules: BTreeMap<u8, Overrule>,
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
            prepares: false,
            in_flight: BTreeMap::new(),
            ended: BTreeMap::new(),
            oks: BTreeMap::new(),
            ready: false,
            doubts: BTreeMap::new(),
            checks: BTreeMap::new(),
            overrules: BTreeMap::new(),
            earliest: BTreeMap::new(),
            silent: BTreeMap::new(),
            probes: Vec::new(),
        }
    }

    fn preparing(mut self, prepares: bool) -> Self {
        if prepares {
            self.health.prepare_first(PREPARATION);
        }
        self.prepares = prepares;
        self
    }

    fn is_drained(&self, key: u8) -> bool {
        self.overrules.get(&key).is_some_and(|o| o.drained)
    }

    /// Those that count: nobody misses who is drained.
    fn counted(&self) -> impl Iterator<Item = &Published> {
        let all = self.published.iter();
        all.filter(|(key, _)| !self.is_drained(**key))
            .map(|(_, p)| p)
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
        self.counted().filter(|node| node.state.admits()).count()
    }

    /// I9a, after suspicion took `key`.
    fn check_cap(&self, key: u8) {
        let left = self.admitting();
        if !self.is_drained(key) {
            assert!(left > 0, "I9a: suspicion took the last node");
            assert!(
                left * 2 >= self.counted().count(),
                "I9a: suspicion left {left} nodes"
            );
        }
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
        if change.from == NodeState::HalfOpen && change.to.admits() {
            let held = self.overrules.get(&change.key).is_some_and(|o| o.hold);
            assert!(!held, "a held node came back");
            assert_eq!(self.ready, self.prepares, "it serves when it is prepared");
        }
        if down {
            let until = change.until.expect("a wait");
            self.check_wait(&change, until - self.now);
            self.earliest.insert(change.key, until);
            if let Some((question, id, _)) = self.in_flight.remove(&change.key) {
                self.ended.insert(change.key, (question, id));
            }
            self.doubts.remove(&change.key);
            self.oks.insert(change.key, 0);
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
        if down {
            match change.reason {
                Some(Reason::NotReady) => assert_eq!(change.level, before, "it says so itself"),
                Some(Reason::Config | Reason::NotRedis) => {
                    let most = Schedule::new(&Penalty::default()).max_level();
                    assert_eq!(change.level, most, "waiting alone will not help");
                }
                _ => {}
            }
            self.ease();
        }
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
            Some(Reason::Fleet) => within(base),
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

    /// I1, and what is asked of whom, when, and for how long.
    fn asks(&mut self, key: u8, question: Question, id: u64, deadline: Instant) {
        let asked = (question, id, deadline);
        assert!(
            self.in_flight.insert(key, asked).is_none(),
            "I1: a second question to {key} in flight"
        );
        let state = self.published[&key].state;
        let mut limit = Duration::from_millis(500);
        match question {
            Question::Probe => {
                assert_eq!(state, NodeState::HalfOpen);
                self.probes.push((key, self.now));
            }
            Question::Prepare => {
                assert_eq!(state, NodeState::HalfOpen);
                assert!(self.prepares && self.oks[&key] >= 2, "after good probes");
                limit = PREPARATION;
            }
            Question::Check => {
                assert!(state.admits(), "who is out is probed");
                assert!(self.doubts.contains_key(&key), "nobody doubts {key}");
                let last = self.checks.insert(key, self.now);
                let gap = last.map(|last| self.now - last);
                assert!(
                    gap.is_none_or(|gap| gap >= Duration::from_millis(100)),
                    "checked again after {gap:?}"
                );
            }
        }
        assert_eq!(deadline - self.now, limit);
    }

    /// A check failed; three of them end the doubt.
    fn failed(&mut self, key: u8) {
        if let Some(failures) = self.doubts.get_mut(&key) {
            *failures += 1;
            if *failures == 3 {
                self.doubts.remove(&key);
            }
        }
    }

    /// The questions whose time is over; who was silent is noted when the machine comes to it.
    fn take_late(&mut self) -> Vec<(u8, Question)> {
        let late = self.in_flight.iter();
        let late = late.filter(|(_, (.., deadline))| *deadline <= self.now);
        let late: Vec<_> = late
            .map(|(key, (question, ..))| (*key, *question))
            .collect();
        for (key, question) in &late {
            if let Some((_, id, _)) = self.in_flight.remove(key) {
                self.ended.insert(*key, (*question, id));
            }
        }
        late
    }

    fn note_late(&mut self, late: &mut Vec<(u8, Question)>, up_to: u8) {
        for (key, question) in late.extract_if(.., |(key, _)| *key <= up_to) {
            match question {
                Question::Prepare => drop(self.oks.insert(key, 1)),
                _ => drop(self.silent.insert(key, self.now)),
            }
            if question == Question::Check {
                self.failed(key);
            }
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
        let mut late = self.take_late();
        for action in self
            .health
            .due(self.now, &mut || unit, &|_, _| Ran::Throughout)
        {
            match action {
                Action::Probe { key, id, deadline } => {
                    self.asks(key, Question::Probe, id, deadline);
                }
                Action::Check { key, id, deadline } => {
                    self.asks(key, Question::Check, id, deadline);
                }
                Action::Prepare { key, id, deadline } => {
                    self.asks(key, Question::Prepare, id, deadline);
                }
                Action::Publish(change) => {
                    if change.from == NodeState::Down {
                        let earliest = self.earliest[&change.key];
                        assert!(self.now >= earliest, "I3: probed before its wait was over");
                    } else {
                        self.note_late(&mut late, change.key);
                    }
                    self.publish(change, levels[&change.key]);
                    if change.from.admits() && !change.to.admits() {
                        self.check_cap(change.key);
                    }
                }
            }
        }
        self.note_late(&mut late, u8::MAX);
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
            self.check_cap(key);
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
            Event::Probe(result) => self.answer(key, result),
            Event::Prepared(is_ready) => self.prepared(key, is_ready),
            Event::Wrong(result) => self.wrong(key, result),
            Event::Demand => self.demand(key, Machine::demand),
            Event::Doubt if state.admits() => {
                let before = (self.published[&key], level);
                self.health.check(key, now);
                self.doubts.entry(key).or_insert(0);
                assert_eq!((self.is(key), level), before, "doubt alone is no evidence");
                let soon = self.health.next_deadline().expect("it is asked");
                assert!(soon <= now + RT, "asked after {:?}", soon - now);
            }
            Event::Doubt => self.demand(key, Machine::check),
            Event::Overrule(overrule) => self.overrule(key, overrule),
            Event::Wait => {}
        }
        let fell = self.health.level(key).unwrap() < level;
        assert!(
            !fell || state == NodeState::Up,
            "I8: the level of {key} fell in {state:?}"
        );
        assert!(
            self.health.is_tallied(),
            "what was counted is what there is"
        );
        self.check();
    }

    fn overrule(&mut self, key: u8, overrule: Overrule) {
        let (now, level) = (self.now, self.health.level(key).unwrap());
        let hold = self.health.overruled(key).hold;
        self.health.overrule(key, Overrule { hold, ..overrule });
        self.overrules.insert(key, overrule);
        assert_eq!(self.is(key), self.published[&key], "it is no health");
        let was_admitted = self.published[&key].state.admits();
        let change = self.health.hold(key, overrule.hold, now, self.unit);
        let falls = was_admitted && overrule.hold;
        assert_eq!(
            change.is_some(),
            falls,
            "a hold takes who admits, and gives nobody back"
        );
        if overrule.hold
            && let Some(&(Question::Prepare, id, _)) = self.in_flight.get(&key)
        {
            self.in_flight.remove(&key);
            self.ended.insert(key, (Question::Prepare, id));
        }
        self.apply(change, level);
        assert_eq!(self.health.level(key), Some(level), "it did nothing wrong");
        let state = self.published[&key].state;
        assert_eq!(self.health.standing(key), Standing::new(state, overrule));
    }

    /// The probe or check in flight ends.
    fn answer(&mut self, key: u8, result: ProbeResult) {
        let (now, level) = (self.now, self.health.level(key).unwrap());
        let Some(&(question, id, _)) = self.in_flight.get(&key) else {
            return;
        };
        if question == Question::Prepare {
            return;
        }
        self.in_flight.remove(&key);
        self.ended.insert(key, (question, id));
        if matches!(result, ProbeResult::Failed(reason) if reason.is_silence()) {
            self.silent.insert(key, now);
        }
        if question == Question::Probe {
            if result == ProbeResult::Ok {
                *self.oks.entry(key).or_default() += 1;
            }
            let change = self.health.probe_finished(key, id, result, now, self.unit);
            return self.apply(change, level);
        }
        let change = self.health.checked(key, id, result, now, self.unit);
        match result {
            ProbeResult::Ok => drop(self.doubts.remove(&key)),
            ProbeResult::NotRun => {}
            _ => self.failed(key),
        }
        self.apply(change, level);
        if !self.published[&key].state.admits() {
            self.check_cap(key);
        }
    }

    /// The preparation in flight ends.
    fn prepared(&mut self, key: u8, is_ready: bool) {
        let (now, level) = (self.now, self.health.level(key).unwrap());
        let Some(&(Question::Prepare, id, _)) = self.in_flight.get(&key) else {
            return;
        };
        self.in_flight.remove(&key);
        self.ended.insert(key, (Question::Prepare, id));
        let change = self.health.prepared(key, id, is_ready, now, self.unit);
        assert_eq!(change.is_some(), is_ready);
        if !is_ready {
            self.oks.insert(key, 1);
        }
        self.ready = is_ready;
        self.apply(change, level);
        self.ready = false;
        assert_eq!(self.health.level(key), Some(level), "it is no evidence");
    }

    /// Answers to what was not asked, or not any more, or as something else.
    fn wrong(&mut self, key: u8, result: ProbeResult) {
        let before = self.health.clone();
        let asked = self
            .in_flight
            .get(&key)
            .map(|(question, id, _)| (*question, *id));
        let mut answers = Vec::new();
        for question in [Question::Probe, Question::Check, Question::Prepare] {
            let ids = asked.map(|(_, id)| id).into_iter().chain([u64::MAX]);
            answers.extend(ids.map(|id| (question, id)));
        }
        answers.extend(self.ended.get(&key).copied());
        for (question, id) in answers {
            if asked == Some((question, id)) {
                continue;
            }
            let (health, now, unit) = (&mut self.health, self.now, self.unit);
            let change = match question {
                Question::Probe => health.probe_finished(key, id, result, now, unit),
                Question::Check => health.checked(key, id, result, now, unit),
                Question::Prepare => health.prepared(key, id, true, now, unit),
            };
            assert_eq!(change, None);
            assert_eq!(
                self.health, before,
                "I6: another question's answer changed something"
            );
        }
    }

    /// Somebody needs a node that is out, or doubts it, which is the same.
    fn demand(&mut self, key: u8, demand: fn(&mut Machine<u8>, u8, Instant) -> bool) {
        let now = self.now;
        let waits = self.health.retry_after(key, now);
        let pulled = demand(&mut self.health, key, now);
        let is = self.health.retry_after(key, now);
        let half_open = self.health.state(key) == Some(NodeState::HalfOpen);
        assert!(
            !pulled || is < waits || half_open,
            "demand lengthened a wait"
        );
        if self.health.state(key) == Some(NodeState::Down) {
            let wait = is.unwrap();
            assert!(wait <= Duration::from_millis(500), "demand left {wait:?}");
            let earliest = self.earliest[&key].min(later(now, wait));
            self.earliest.insert(key, earliest);
        }
    }

    /// What a driver would publish now.
    fn is(&self, key: u8) -> Published {
        Published {
            state: self.health.state(key).unwrap(),
            epoch: self.health.epoch(key).unwrap(),
        }
    }

    /// While fewer than half admit, who is held because it flaps is let go sooner.
    fn ease(&mut self) {
        if 2 * self.admitting() >= self.counted().count() {
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
            assert_eq!(self.is(key), *published, "I9d: node {key}");
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
    /// once all answers are good, every node admits within the longest wait there is.
    #[test]
    fn any_history_keeps_the_invariants((nodes, prepares, steps) in history()) {
        let mut world = World::new(nodes).preparing(prepares);
        for step in &steps {
            world.step(step);
        }
        for key in 0..nodes {
            let event = Event::Overrule(Overrule::default());
            world.step(&Step { wait: 0, key, unit: 1.0, event });
        }
        let hold = Duration::from_secs(5);
        let prepared = Duration::from_secs(1);
        let end = world.now + hold + prepared + 2 * Duration::from_millis(500 + 50);
        while world.now < end {
            for key in 0..nodes {
                for event in [Event::Probe(ProbeResult::Ok), Event::Prepared(true)] {
                    world.step(&Step { wait: 0, key, unit: 1.0, event });
                }
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
        prepares in any::<bool>(),
        // Good first probes make a second one follow soon.
        results in vec(prop_oneof![
            3 => Just(ProbeResult::Failed(Reason::Refused)),
            1 => Just(ProbeResult::NotReady(Reason::Busy)),
            1 => Just(ProbeResult::Failed(Reason::Unreachable)),
        ], 60),
    ) {
        let mut world = World::new(nodes).preparing(prepares);
        world.unit = unit;
        for key in 0..nodes {
            world.observe(key, Verdict::Hard(Reason::Refused));
        }
        let mut results = results.iter().cycle();
        let mut answers = 0;
        let mut started = BTreeMap::new();
        for _ in 0..2_000 {
            world.pass(Duration::from_millis(10));
            for key in 0..nodes {
                world.step(&Step { wait: 0, key, unit, event: Event::Demand });
                let at = *started.entry(key).or_insert(world.now);
                if !world.in_flight.contains_key(&key) {
                    started.insert(key, world.now);
                } else if world.now >= at + Duration::from_millis(takes) {
                    let mut result = *results.next().unwrap();
                    answers += 1;
                    // Who is prepared in vain stays out however good its probes are.
                    if prepares && answers % 5 < 3 {
                        result = ProbeResult::Ok;
                    }
                    for event in [Event::Probe(result), Event::Prepared(false)] {
                        world.step(&Step { wait: 0, key, unit, event });
                    }
                }
            }
        }
        for key in 0..nodes {
            let at: Vec<_> = world.probes.iter().filter(|(k, _)| *k == key).map(|(_, at)| *at).collect();
            for (i, &start) in at.iter().enumerate() {
                let within = at[i..].iter().take_while(|&&at| at < start + Duration::from_secs(1)).count();
                // Each good first probe is soon followed by one more.
                let most = if prepares { 15 } else { 10 };
                prop_assert!(within <= most, "{within} probes in one second");
            }
            for pair in at.windows(2) {
                let gap = pair[1] - pair[0];
                let limit = Duration::from_millis(500 + takes + 30);
                prop_assert!(gap <= limit, "{gap:?} without a probe, each takes {takes} ms");
            }
        }
    }
}
