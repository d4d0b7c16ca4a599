//! What nodes are asked, and what follows from their answers: probes, checks, preparations.

use std::fmt;
use std::time::Instant;

use super::node::NodeHealth;
use super::{Action, Machine, Transition};
use crate::health::verdict::{ProbeResult, Reason};
use crate::health::waits::Ran;

/// What a node is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// Whether it is back.
    Probe,
    /// Whether it is still there.
    Check,
    /// Whether it is ready to serve.
    Prepare,
}

/// What was asked was given up meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stale;

impl<K: Copy + Ord + fmt::Debug> Machine<K> {
    /// Somebody doubts the node. One that admits is asked at once, and each failure is a strike, until it answers or
    /// has failed as often as strikes eject; for one that is out this is a [`demand`](Self::demand). Says whether
    /// [`next_deadline`](Self::next_deadline) may have changed.
    pub(crate) fn check(&mut self, key: K, now: Instant) -> bool {
        let doubted = self.with(key, |node, _| node.admits().then(|| node.doubt(now)));
        match doubted.flatten() {
            Some(changed) => changed,
            None => self.demand(key, now),
        }
    }

    /// The node's name leads to another server: what was seen of the one before, and what is still under way there, says
    /// nothing about it.
    ///
    /// One that is out has its next probe at once, unless it is held because it flaps.
    pub(crate) fn moved(&mut self, key: K, now: Instant) -> Option<Transition<K>> {
        if let Some(Some(at)) = self.with(key, |node, _| node.ask_anew(now)) {
            // One that does not wait there is due by itself.
            self.penalty_box.pull_forward(&key, at);
        }
        self.change(key, now, 0.0, |node, _| node.moved())
    }

    /// How a probe went. Ignored unless it is the one in flight.
    pub(crate) fn probe_finished(
        &mut self,
        key: K,
        id: u64,
        result: ProbeResult,
        now: Instant,
        unit: f64,
    ) -> Option<Transition<K>> {
        self.answered(key, Question::Probe, id, result, now, unit)
    }

    /// How a check went. Ignored unless it is the one in flight.
    pub(crate) fn checked(
        &mut self,
        key: K,
        id: u64,
        result: ProbeResult,
        now: Instant,
        unit: f64,
    ) -> Option<Transition<K>> {
        self.answered(key, Question::Check, id, result, now, unit)
    }

    /// A node that admits is prepared before it serves on, where somebody [prepares](Self::prepare_first).
    pub(crate) fn unready(&mut self, key: K, now: Instant) -> Option<Transition<K>> {
        self.change(key, now, 0.0, |node, facts| {
            node.unready(facts.now, facts.rules)
        })
    }

    /// The node is ready to serve here, and [waits](Self::awaits) for the others; `false` unless that preparation is in
    /// flight.
    pub(crate) fn ready(&mut self, key: K, id: u64, now: Instant) -> bool {
        let is_in_flight = self.is_prepared_by(key, id);
        if is_in_flight {
            self.with(key, |node, rules| node.ready(now, rules));
        }
        is_in_flight
    }

    /// Until when a node that is ready waits for others, if it does; the error says that this preparation is not in flight
    /// any more.
    pub(crate) fn awaits(&self, key: K, id: u64, now: Instant) -> Result<Option<Instant>, Stale> {
        match self.is_prepared_by(key, id) {
            true => Ok(self.nodes.get(&key).and_then(|node| node.waits(now))),
            false => Err(Stale),
        }
    }

    fn is_prepared_by(&self, key: K, id: u64) -> bool {
        let question = self.nodes.get(&key).and_then(NodeHealth::question);
        question.is_some_and(|(question, flying, _)| (question, flying) == (Question::Prepare, id))
    }

    /// Whether the node is ready to serve. Ignored unless that preparation is in flight.
    pub(crate) fn prepared(
        &mut self,
        key: K,
        id: u64,
        is_ready: bool,
        now: Instant,
        unit: f64,
    ) -> Option<Transition<K>> {
        if !self.is_prepared_by(key, id) {
            return None;
        }
        self.change(key, now, unit, |node, facts| node.prepared(is_ready, facts))
    }

    fn answered(
        &mut self,
        key: K,
        question: Question,
        id: u64,
        result: ProbeResult,
        now: Instant,
        unit: f64,
    ) -> Option<Transition<K>> {
        let (asked, flying, _) = self.nodes.get(&key)?.question()?;
        if (asked, flying) != (question, id) {
            return None;
        }
        if matches!(result, ProbeResult::Failed(reason) if reason.is_silence()) {
            self.silent(key, now);
        }
        self.change(key, now, unit, |node, facts| match question {
            Question::Check => node.checked(result, facts),
            _ => node.probed(result, facts),
        })
    }

    /// Ends the question in flight whose deadline is over.
    pub(super) fn late(
        &mut self,
        key: K,
        now: Instant,
        unit: f64,
        ran: &dyn Fn(Instant, Instant) -> Ran,
    ) -> Option<Transition<K>> {
        let (question, id, deadline) = self.nodes.get(&key)?.question()?;
        if question == Question::Prepare {
            return self.prepared(key, id, false, now, unit);
        }
        let limit = self.rules.penalty.probe_timeout;
        let began = deadline.checked_sub(limit).unwrap_or(deadline);
        let late = match ran(began, now).is_most_of(limit) {
            true => ProbeResult::Failed(Reason::Timeout),
            false => ProbeResult::NotRun,
        };
        self.answered(key, question, id, late, now, unit)
    }

    /// Asks what is due.
    pub(super) fn ask(&mut self, key: K, now: Instant) -> Option<Action<K>> {
        let id = self.next_question;
        let (question, deadline) = self.with(key, |node, rules| node.ask(id, now, rules))??;
        self.next_question += 1;
        Some(match question {
            Question::Probe => Action::Probe { key, id, deadline },
            Question::Check => Action::Check { key, id, deadline },
            Question::Prepare => Action::Prepare { key, id, deadline },
        })
    }
}
