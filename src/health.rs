//! The health of all nodes of a cluster: who admits traffic, who is probed when.
//!
//! A pure state machine: time and random numbers are arguments, dials and replies come in as
//! [`Verdict`]s and [`ProbeResult`]s, changes go out as [`Transition`]s, of which the driver
//! publishes each in one snapshot.
//!
//! ```text
//!  Up --(proof, or enough strikes)--> Down --(wait over)--> HalfOpen --(good probes)--> Probation
//!   ^                                  ^ ^--(probe failed: longer wait)--'                  |  |
//!   |                                  '----------------(one strike)------------------------'  |
//!   '---------------------------------(5 s or 20 successes)------------------------------------'
//! ```
//!
//! Only `Up` and `Probation` admit traffic. In `Down` and `HalfOpen` nothing but the one probe
//! decides.

pub(crate) mod admission;
mod check;
mod held;
pub(crate) mod latency;
mod node;
pub(crate) mod penalty_box;
mod questions;
mod rules;
pub(crate) mod slowness;
pub(crate) mod stalls;
mod state;
mod strikes;
mod tally;
pub(crate) mod verdict;
pub(crate) mod waits;
pub(crate) mod watchdog;

#[cfg(test)]
mod model;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod stall_properties;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use self::admission::{Overrule, Standing};
use self::node::{Facts, NodeHealth, State};
use self::rules::Rules;
pub use self::state::NodeState;
use self::tally::{Counted, Tally};
use crate::health::penalty_box::{Penalty, PenaltyBox, Schedule};
use crate::health::verdict::{Reason, Verdict};
use crate::health::waits::Ran;

/// Nodes that go silent within this time do so together.
const TOGETHER: Duration = Duration::from_secs(1);

/// A node changed its state: one snapshot, one event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Transition<K> {
    pub(crate) key: K,
    pub(crate) from: NodeState,
    pub(crate) to: NodeState,
    /// The node's epoch from now on.
    pub(crate) epoch: u64,
    /// Why it is, or was last, out of service.
    pub(crate) reason: Option<Reason>,
    pub(crate) level: u32,
    /// When its wait ends; `None` unless it went `Down`.
    pub(crate) until: Option<Instant>,
    /// Whether our own network was the likelier culprit.
    pub(crate) client_suspect: bool,
}

/// What the driver has to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Action<K> {
    /// Publish the change.
    Publish(Transition<K>),
    /// Probe the node over a fresh connection, report with
    /// [`probe_finished`](Machine::probe_finished), and give up at `deadline`.
    Probe { key: K, id: u64, deadline: Instant },
    /// The same of a node that admits and that somebody doubts; report with [`checked`](Machine::checked).
    Check { key: K, id: u64, deadline: Instant },
    /// Get the node ready to serve, after its good probes; report with [`prepared`](Machine::prepared). Made only
    /// where somebody [prepares](Machine::prepare_first).
    Prepare { key: K, id: u64, deadline: Instant },
}

/// Which successes the driver must report, so that a healthy node's cost nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Watch {
    /// None.
    Nothing,
    /// Their number, before the next evidence: they weigh in the share of bad results.
    Count,
    /// Each, at once: it clears strikes or ends probation.
    Report,
}

/// The health of the nodes `K`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Machine<K> {
    rules: Rules,
    /// Changed by [`with`](Self::with) alone, so that the tally follows.
    nodes: BTreeMap<K, NodeHealth>,
    tally: Tally<K>,
    penalty_box: PenaltyBox<K>,
    next_question: u64,
    /// Where a new node's epochs start: beyond those of every removed node, so that a late reply
    /// of a removed node cannot pass for one of its successor under the same key.
    first_epoch: u64,
}

impl<K: Copy + Ord + fmt::Debug> Machine<K> {
    /// No nodes yet. `response_timeout` is the one commands are sent with.
    pub(crate) fn new(penalty: Penalty, response_timeout: Duration) -> Self {
        Self {
            penalty_box: PenaltyBox::new(penalty.clone()),
            rules: Rules {
                schedule: Schedule::new(&penalty),
                penalty,
                response_timeout,
                prepares: None,
            },
            nodes: BTreeMap::new(),
            tally: Tally::default(),
            next_question: 0,
            first_epoch: 0,
        }
    }

    /// From now on a node is prepared before it serves again, for so long at most.
    pub(crate) fn prepare_first(&mut self, limit: Duration) {
        self.rules.prepares = Some(limit);
    }

    /// Adds a node, `Up`: the first command finds out sooner than a probe would. A known one stays
    /// as it is.
    pub(crate) fn insert(&mut self, key: K, now: Instant) {
        let epoch = self.first_epoch;
        self.nodes.entry(key).or_insert_with(|| {
            let node = NodeHealth::new(epoch, now);
            self.tally.added(key, Counted::of(&node));
            node
        });
    }

    /// Forgets a node; results of its probe and its commands are ignored from now on.
    pub(crate) fn remove(&mut self, key: K) {
        self.penalty_box.released(&key);
        if let Some(node) = self.nodes.remove(&key) {
            self.tally.removed(key, Counted::of(&node));
            self.first_epoch = self.first_epoch.max(node.epoch + 1);
        }
    }

    /// What traffic under `epoch` showed. Hand in counted successes first
    /// ([`observe_successes`](Self::observe_successes)).
    ///
    /// Nothing happens when the epoch is stale or the node is out of service.
    pub(crate) fn observe(
        &mut self,
        key: K,
        epoch: u64,
        verdict: Verdict,
        now: Instant,
        unit: f64,
    ) -> Option<Transition<K>> {
        let node = self.nodes.get(&key)?;
        if node.epoch != epoch || !node.admits() {
            return None;
        }
        let verdict = self.with(key, |node, _| node.whole(verdict))?;
        let reason = match verdict {
            Verdict::Hard(reason) => Some(reason),
            Verdict::Soft(soft) => Some(soft.reason()),
            Verdict::Alive | Verdict::Neutral => None,
        };
        if reason.is_some_and(Reason::is_silence) {
            self.silent(key, now);
        }
        self.change(key, now, unit, |node, facts| node.evidence(verdict, facts))
    }

    /// Hands in `n` successes under `epoch`, counted as [`watch`](Self::watch) asked.
    pub(crate) fn observe_successes(
        &mut self,
        key: K,
        epoch: u64,
        n: u64,
        now: Instant,
    ) -> Option<Transition<K>> {
        if self.nodes.get(&key)?.epoch != epoch {
            return None;
        }
        self.change(key, now, 0.0, |node, facts| node.succeed(n, facts))
    }

    /// Everything that is due at `now`; `unit` gives random numbers from 0 to 1, and `ran` says how much
    /// of a time our own process ran.
    pub(crate) fn due(
        &mut self,
        now: Instant,
        unit: &mut dyn FnMut() -> f64,
        ran: &dyn Fn(Instant, Instant) -> Ran,
    ) -> Vec<Action<K>> {
        let mut actions = Vec::new();
        while let Some(key) = self.penalty_box.pop_due(now) {
            let opened = self.change(key, now, 0.0, |node, facts| node.open_half(facts.now));
            actions.extend(opened.map(Action::Publish));
        }
        let due: Vec<K> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.deadline(&self.rules).is_some_and(|at| at <= now))
            .map(|(key, _)| *key)
            .collect();
        for key in due {
            let is_late = |node: &NodeHealth| node.question().is_some_and(|(_, _, at)| at <= now);
            let changed = match self.nodes.get(&key).is_some_and(is_late) {
                true => self.late(key, now, unit(), ran),
                false => self.change(key, now, 0.0, |node, facts| node.tick(facts)),
            };
            actions.extend(changed.map(Action::Publish));
            actions.extend(self.ask(key, now));
        }
        actions
    }

    /// When [`due`](Self::due) has something to do next.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.nodes
            .values()
            .filter_map(|node| node.deadline(&self.rules))
            .chain(self.penalty_box.next_release())
            .min()
    }

    /// A caller found no candidate that admits, `key` among them: its next probe comes sooner.
    /// Says whether [`next_deadline`](Self::next_deadline) may have changed.
    pub(crate) fn demand(&mut self, key: K, now: Instant) -> bool {
        let Some(at) = self
            .with(key, |node, rules| node.demand(now, rules))
            .flatten()
        else {
            return false;
        };
        // One that does not wait there is due by itself.
        self.penalty_box.pull_forward(&key, at);
        true
    }

    /// The node's state; `None` for an unknown one.
    pub(crate) fn state(&self, key: K) -> Option<NodeState> {
        self.nodes.get(&key).map(NodeHealth::kind)
    }

    /// The epoch to note when a command is sent or a dial begins.
    pub(crate) fn epoch(&self, key: K) -> Option<u64> {
        self.nodes.get(&key).map(|node| node.epoch)
    }

    /// Whether the node is healthy enough for traffic; [`standing`](Self::standing) says whether it gets any.
    #[cfg(test)]
    pub(crate) fn admits(&self, key: K) -> bool {
        self.nodes.get(&key).is_some_and(NodeHealth::admits)
    }

    /// What the node may do for callers.
    pub(crate) fn standing(&self, key: K) -> Standing {
        self.nodes.get(&key).map_or(Standing::GONE, |node| {
            Standing::new(node.kind(), node.overrule)
        })
    }

    /// What others say of the node, beside its own health.
    pub(crate) fn overruled(&self, key: K) -> Overrule {
        self.nodes
            .get(&key)
            .map(|node| node.overrule)
            .unwrap_or_default()
    }

    /// Replaces what others say of the node; its own health goes on as before.
    pub(crate) fn overrule(&mut self, key: K, overrule: Overrule) {
        self.with(key, |node, _| node.overrule = overrule);
        self.ease();
    }

    /// How far up the back-off the node is.
    pub(crate) fn level(&self, key: K) -> Option<u32> {
        self.nodes.get(&key).map(|node| node.level)
    }

    /// Why the node is, or was last, out of service.
    pub(crate) fn reason(&self, key: K) -> Option<Reason> {
        self.nodes.get(&key)?.reason
    }

    /// When it is worth asking for the node again; `None` while it admits.
    pub(crate) fn retry_after(&self, key: K, now: Instant) -> Option<Duration> {
        match self.nodes.get(&key)?.state {
            State::Up { .. } | State::Probation { .. } => None,
            State::Down { until } => Some(until.saturating_duration_since(now)),
            // The verdict of the probe is a matter of milliseconds.
            State::HalfOpen { .. } | State::Preparing { .. } => Some(self.rules.penalty.probe_gap),
        }
    }

    /// Which of the node's successes matter now.
    pub(crate) fn watch(&self, key: K, now: Instant) -> Watch {
        match self.nodes.get(&key) {
            Some(node) if node.kind() == NodeState::Probation => Watch::Report,
            Some(node) if node.admits() && node.strikes().any() => Watch::Report,
            Some(node) if node.admits() && node.strikes().is_rated(now, &self.rules) => {
                Watch::Count
            }
            _ => Watch::Nothing,
        }
    }

    /// Whether more than half of the nodes went silent together, so that our own network is the
    /// likelier culprit.
    ///
    /// It takes two: of a cluster's only node no one can say whose fault its silence is, and its
    /// back-off must work.
    ///
    /// Drained nodes count, among the silent as among all: they serve nobody, but are asked for a sign of life like
    /// the others, so their silence, and their answers, tell as much of our network.
    pub(crate) fn client_suspect(&self, now: Instant) -> bool {
        let silent = self.tally.silent_within(TOGETHER, now);
        silent >= 2 && 2 * silent > self.nodes.len()
    }

    /// Whether suspicion may take one more node: at least one must stay, and at least half of all.
    /// Evidence that is not proof can have one cause for all nodes, and it is better to send
    /// commands to doubtful nodes than to none.
    ///
    /// Drained nodes do not count: they serve nobody, and are nobody's loss.
    fn may_eject(&self, key: K) -> bool {
        if self.overruled(key).drained {
            return true;
        }
        let (all, admitting) = (self.tally.in_use(), self.tally.admitting());
        admitting >= 2 && (all - admitting + 1) * 2 <= all
    }

    /// While fewer than half of the nodes admit nobody is held because it flaps: what fails now and then is better
    /// than what is not there, and the few that are left in may be there by the cap alone.
    fn ease(&mut self) {
        if 2 * self.tally.admitting() >= self.tally.in_use() {
            return;
        }
        // What it gives way of, its hold, is not counted.
        for (key, node) in &mut self.nodes {
            if let Some(until) = node.give_way() {
                self.penalty_box.pull_forward(key, until);
            }
        }
    }

    /// Nodes that are not drained.
    pub(crate) fn in_use(&self) -> usize {
        self.tally.in_use()
    }

    /// The tally, counted anew.
    #[cfg(test)]
    fn is_tallied(&self) -> bool {
        let mut anew = Tally::default();
        for (&key, node) in &self.nodes {
            anew.added(key, Counted::of(node));
        }
        anew == self.tally
    }

    /// The node gave no answer.
    fn silent(&mut self, key: K, now: Instant) {
        self.with(key, |node, _| node.silent_at = Some(now));
    }

    /// The one way in which a node is changed.
    fn with<R>(&mut self, key: K, f: impl FnOnce(&mut NodeHealth, &Rules) -> R) -> Option<R> {
        let node = self.nodes.get_mut(&key)?;
        let before = Counted::of(node);
        let result = f(node, &self.rules);
        self.tally.changed(key, before, Counted::of(node));
        Some(result)
    }

    /// Lets `f` work on a node and draws the consequences: the penalty box follows, and a change
    /// of state becomes a transition.
    fn change(
        &mut self,
        key: K,
        now: Instant,
        unit: f64,
        f: impl FnOnce(&mut NodeHealth, &Facts<'_>),
    ) -> Option<Transition<K>> {
        let (may_eject, suspect) = (self.may_eject(key), self.client_suspect(now));
        let (from, to) = self.with(key, |node, rules| {
            let facts = Facts {
                rules,
                now,
                unit,
                may_eject,
                suspect,
            };
            let from = (node.kind(), node.epoch);
            f(node, &facts);
            (from, (node.kind(), node.epoch))
        })?;
        if from == to {
            return None;
        }
        let node = self.nodes.get(&key)?;
        match node.state {
            State::Down { until } => {
                self.penalty_box.sentence(key, node.level, until);
                self.ease();
            }
            State::HalfOpen { .. } | State::Preparing { .. } => {}
            State::Up { .. } | State::Probation { .. } => drop(self.penalty_box.released(&key)),
        }
        let node = self.nodes.get(&key)?;
        let until = match node.state {
            State::Down { until } => Some(until),
            _ => None,
        };
        Some(Transition {
            key,
            from: from.0,
            to: to.0,
            epoch: to.1,
            reason: node.reason,
            level: node.level,
            until,
            client_suspect: suspect,
        })
    }
}
