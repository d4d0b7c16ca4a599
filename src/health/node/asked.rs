//! What one node is asked, one thing at a time, and what its answers do to it.

use std::time::{Duration, Instant};

use super::{Facts, NodeHealth, State};
use crate::clock::{half_jitter, later};
use crate::health::check::Check;
use crate::health::questions::Question;
use crate::health::rules::Rules;
use crate::health::verdict::{ProbeResult, Reason, Soft};

/// So long a node that is ready waits for others that are not.
pub(in crate::health) const OTHERS: Duration = Duration::from_secs(2);

impl NodeHealth {
    /// Asks what is due, if nothing is in flight; returns what, and its deadline.
    pub(in crate::health) fn ask(
        &mut self,
        id: u64,
        now: Instant,
        rules: &Rules,
    ) -> Option<(Question, Instant)> {
        let limit = rules.penalty.probe_timeout;
        match &mut self.state {
            State::HalfOpen { probe, next, .. } if probe.is_none() && *next <= now => {
                let deadline = later(now, limit);
                *probe = Some((id, deadline));
                Some((Question::Probe, deadline))
            }
            State::Preparing { work, .. } if work.is_none() => {
                let deadline = later(now, rules.prepares.unwrap_or_default());
                *work = Some((id, deadline));
                Some((Question::Prepare, deadline))
            }
            State::Up { .. } | State::Probation { .. } => {
                let deadline = self.check.as_mut()?.start(id, now, limit)?;
                self.checked_at = Some(now);
                Some((Question::Check, deadline))
            }
            _ => None,
        }
    }

    /// The question in flight, its id and its deadline.
    pub(in crate::health) fn question(&self) -> Option<(Question, u64, Instant)> {
        let (question, in_flight) = match self.state {
            State::HalfOpen { probe, .. } => (Question::Probe, probe),
            State::Preparing { work, .. } => (Question::Prepare, work),
            State::Up { .. } | State::Probation { .. } => {
                (Question::Check, self.check.and_then(|check| check.asked()))
            }
            State::Down { .. } => return None,
        };
        in_flight.map(|(id, deadline)| (question, id, deadline))
    }

    /// Somebody doubts it though it admits; says whether that is new.
    pub(in crate::health) fn doubt(&mut self, now: Instant) -> bool {
        let is_new = self.check.is_none();
        let last = self.checked_at;
        self.check.get_or_insert_with(|| Check::new(now, last));
        is_new
    }

    /// The check in flight ended.
    pub(in crate::health) fn checked(&mut self, result: ProbeResult, facts: &Facts<'_>) {
        let Some(check) = self.check.take() else {
            return;
        };
        let reason = match result {
            ProbeResult::Ok => return self.succeed(1, facts),
            ProbeResult::NotRun => None,
            ProbeResult::Failed(reason) | ProbeResult::NotReady(reason) => Some(reason),
            ProbeResult::Config => Some(Reason::Config),
            ProbeResult::NotRedis => Some(Reason::NotRedis),
        };
        let most = facts.rules.penalty.strikes;
        self.check = check.after(reason.is_some(), facts.now, most);
        if let Some(reason) = reason {
            // As after a probe that said so: one that is loading is asked again soon.
            self.suspicion(Soft::Strike(reason), reason.into(), facts);
        }
    }

    /// A node that admits has to be prepared after all: it was drained, or is new.
    pub(in crate::health) fn unready(&mut self, now: Instant, rules: &Rules) {
        if self.admits() && rules.prepares.is_some() {
            self.check = None;
            self.state = State::Preparing {
                since: now,
                work: None,
                waits: None,
            };
        }
    }

    /// The preparation in flight is done, and the node serves as soon as the others are ready too. It is given up when
    /// nothing is heard of it long after that.
    pub(in crate::health) fn ready(&mut self, now: Instant, rules: &Rules) {
        if let State::Preparing {
            work: Some((_, deadline)),
            waits,
            ..
        } = &mut self.state
        {
            let until = later(now, OTHERS);
            *waits = Some(until);
            // What came meanwhile is looked for once more before it serves.
            *deadline = later(until, rules.prepares.unwrap_or_default());
        }
    }

    /// Whether a node that is prepared waits for others, and until when.
    pub(in crate::health) fn waits(&self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Preparing { waits, .. } => {
                waits.filter(|until| self.overrule.awaited && *until > now)
            }
            _ => None,
        }
    }

    /// Whether it is ready to serve, but for the others.
    pub(in crate::health) fn is_ready(&self) -> bool {
        matches!(self.state, State::Preparing { waits: Some(_), .. })
    }

    /// The preparation in flight ended. One that failed leaves the node out, at its level, until the next good probe.
    pub(in crate::health) fn prepared(&mut self, is_ready: bool, facts: &Facts<'_>) {
        let penalty = &facts.rules.penalty;
        self.tried_at = facts.now;
        match is_ready {
            true => self.serve(facts),
            false => {
                self.state = State::HalfOpen {
                    probe: None,
                    next: later(facts.now, half_jitter(penalty.not_ready_max, facts.unit)),
                    oks: penalty.rise.saturating_sub(1),
                }
            }
        }
    }
}
