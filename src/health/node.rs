//! One node's state machine; what the other nodes do comes in as [`Facts`].

mod asked;
mod held;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use self::held::HELD;
use super::NodeState;
use super::admission::Overrule;
use super::check::Check;
use super::penalty_box::Penalty;
use super::rules::Rules;
use super::strikes::{Strikes, Weight};
use crate::clock::{half_jitter, later};
use crate::health::verdict::{ProbeResult, Reason, Soft, Verdict};

/// What a node's machine must know beyond itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) rules: &'a Rules,
    pub(super) now: Instant,
    /// A random number from 0 to 1.
    pub(super) unit: f64,
    /// Soft evidence may take this node: enough others admit traffic.
    pub(super) may_eject: bool,
    /// So many nodes went silent at once that our own network is the likelier culprit.
    pub(super) suspect: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum State {
    Up {
        decay_at: Instant,
    },
    Down {
        until: Instant,
    },
    HalfOpen {
        /// The one probe in flight: its id and its deadline.
        probe: Option<(u64, Instant)>,
        /// When the next one starts.
        next: Instant,
        oks: u32,
    },
    /// Good probes are behind it; out as in `HalfOpen`, and not probed.
    Preparing {
        since: Instant,
        /// The preparation in flight: its id and its deadline.
        work: Option<(u64, Instant)>,
        /// It is ready, and waits for the others until then.
        waits: Option<Instant>,
    },
    Probation {
        since: Instant,
        oks: u64,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct NodeHealth {
    pub(super) state: State,
    pub(super) level: u32,
    /// One more at every entry into `Down`, and where another server takes over: what was observed under an older one
    /// is stale.
    pub(super) epoch: u64,
    pub(super) reason: Option<Reason>,
    /// What others say of it; no part of its own health.
    pub(super) overrule: Overrule,
    /// Somebody doubts it though it admits.
    check: Option<Check>,
    /// When it was last asked because of that.
    checked_at: Option<Instant>,
    /// The last time-out or unreachable, by traffic or by a probe.
    pub(super) silent_at: Option<Instant>,
    strikes: Strikes,
    /// How often in a row it said that it is not ready.
    not_ready: u32,
    /// The latest times it left service, at most as many as the flap rule counts.
    ejections: VecDeque<Instant>,
    /// While it waits longer because it flaps: the end of the wait that it would have without that.
    held_from: Option<Instant>,
    /// When the last probe or preparation ended; before the first one, when the node went out.
    tried_at: Instant,
}

/// How a node enters `Down`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fall {
    /// It failed: one level up.
    Failed,
    /// It says itself that it will be back: same level, short waits. They still grow, apart from
    /// the level: many clients asking ten times a second would slow down what they wait for.
    NotReady,
    /// Waiting alone will not help: the highest level at once.
    Hopeless,
    /// It did nothing wrong here: others find it out. Same level, the shortest wait.
    Held,
}

impl From<Reason> for Fall {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::NotReady => Self::NotReady,
            Reason::Config | Reason::NotRedis => Self::Hopeless,
            _ => Self::Failed,
        }
    }
}

impl NodeHealth {
    pub(super) fn new(epoch: u64, now: Instant) -> Self {
        Self {
            state: State::Up { decay_at: now },
            level: 0,
            epoch,
            reason: None,
            overrule: Overrule::default(),
            check: None,
            checked_at: None,
            silent_at: None,
            strikes: Strikes::default(),
            not_ready: 0,
            ejections: VecDeque::new(),
            held_from: None,
            tried_at: now,
        }
    }

    pub(super) fn kind(&self) -> NodeState {
        match self.state {
            State::Up { .. } => NodeState::Up,
            State::Down { .. } => NodeState::Down,
            State::HalfOpen { .. } | State::Preparing { .. } => NodeState::HalfOpen,
            State::Probation { .. } => NodeState::Probation,
        }
    }

    pub(super) fn admits(&self) -> bool {
        self.kind().admits()
    }

    pub(super) fn strikes(&self) -> &Strikes {
        &self.strikes
    }

    /// A time-out of which too little remains to count, as nothing; see
    /// [`Waits`](super::waits::Waits).
    pub(super) fn whole(&mut self, verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::Soft(Soft::Timeout { wait, .. }) if !self.strikes.counts(wait) => {
                Verdict::Neutral
            }
            verdict => verdict,
        }
    }

    /// Another server answers under the node's name, and what is being asked is the one before: out of service, the next
    /// probe starts now. Returns when, if that is news.
    pub(super) fn ask_anew(&mut self, now: Instant) -> Option<Instant> {
        let held = self.held_from.is_some();
        match &mut self.state {
            State::Down { until } if !held && *until > now => *until = now,
            State::HalfOpen { probe, next, oks } => {
                (*probe, *next, *oks) = (None, now, 0);
            }
            _ => return None,
        }
        Some(now)
    }

    /// Another server answers under the node's name.
    pub(super) fn moved(&mut self) {
        if self.admits() {
            self.epoch += 1;
            self.strikes = Strikes::default();
            self.check = None;
        }
    }

    /// What traffic showed. Out of service it changes nothing: a late reply must neither bring a
    /// node back nor keep it out.
    pub(super) fn evidence(&mut self, verdict: Verdict, facts: &Facts<'_>) {
        if !self.admits() {
            return;
        }
        match verdict {
            Verdict::Alive => self.succeed(1, facts),
            Verdict::Neutral => {}
            // Proof about the path, and the path may be ours.
            Verdict::Hard(Reason::Unreachable) if facts.suspect => {
                self.suspicion(Soft::Strike(Reason::Unreachable), Fall::Failed, facts);
            }
            Verdict::Hard(reason) => self.fall(reason.into(), reason, facts),
            Verdict::Soft(soft) => self.suspicion(soft, Fall::Failed, facts),
        }
    }

    /// Suspicion, and how the node falls if that is enough.
    fn suspicion(&mut self, soft: Soft, fall: Fall, facts: &Facts<'_>) {
        let weight = self.strikes.record(soft, facts.now, facts.rules);
        let ejects = match self.state {
            State::Probation { .. } => weight != Weight::Nothing,
            _ => weight == Weight::Ejects,
        };
        if ejects && facts.may_eject {
            self.fall(fall, soft.reason(), facts);
        }
    }

    pub(super) fn succeed(&mut self, n: u64, facts: &Facts<'_>) {
        if !self.admits() || n == 0 {
            return;
        }
        self.strikes.succeed(n, facts.now, facts.rules);
        if let State::Probation { oks, .. } = &mut self.state {
            *oks = oks.saturating_add(n);
            self.leave_probation(facts);
        }
    }

    fn leave_probation(&mut self, facts: &Facts<'_>) {
        let penalty = &facts.rules.penalty;
        if let State::Probation { since, oks } = self.state
            && (oks >= u64::from(penalty.probation_oks)
                || facts.now >= later(since, penalty.probation))
        {
            self.rise(facts);
        }
    }

    fn rise(&mut self, facts: &Facts<'_>) {
        self.state = State::Up {
            decay_at: later(facts.now, facts.rules.penalty.decay),
        };
        self.decay(facts);
    }

    /// Forgives one level per decay time in service. Only there: a node that falls again right
    /// after its return must wait longer than the last time.
    fn decay(&mut self, facts: &Facts<'_>) {
        while let State::Up { decay_at } = &mut self.state
            && self.level > 0
            && facts.now >= *decay_at
        {
            self.level -= 1;
            *decay_at = later(*decay_at, facts.rules.penalty.decay);
        }
    }

    fn fall(&mut self, fall: Fall, reason: Reason, facts: &Facts<'_>) {
        let (penalty, schedule) = (&facts.rules.penalty, &facts.rules.schedule);
        let serving = self.admits();
        let flaps = serving && fall != Fall::Held && self.is_flapping(penalty, facts.now);
        if serving {
            self.not_ready = 0;
        }
        match fall {
            Fall::Failed if !facts.suspect => {
                self.level = (self.level + 1).min(schedule.max_level());
            }
            Fall::Hopeless => self.level = schedule.max_level(),
            _ => {}
        }
        let base = schedule.nominal(1);
        let (longest, flaps) = match fall {
            // Backing off from our own outage would only prolong it.
            Fall::Failed if facts.suspect => (base, false),
            Fall::Held => (base, false),
            Fall::NotReady => {
                let level = self.level.max(1).saturating_add(self.not_ready);
                self.not_ready = self.not_ready.saturating_add(1);
                let longest = schedule.nominal(level).min(penalty.not_ready_max);
                (longest, false)
            }
            _ => (schedule.nominal(self.level), flaps),
        };
        // The first wait may be half as long as the base, so that not all clients probe at once.
        // Where waits may stay that short, half would mean more than ten dials a second.
        let shortest = if serving && !facts.suspect {
            Duration::ZERO
        } else {
            base.min(longest)
        };
        let end_of = |longest| {
            let wait = schedule.draw(longest, facts.unit).max(shortest);
            later(facts.now, wait)
        };
        let ordinary = end_of(longest);
        let until = match flaps {
            true => end_of(penalty.flap_hold.max(longest)),
            false => ordinary,
        };
        self.held_from = flaps.then_some(ordinary);
        self.state = State::Down { until };
        self.epoch += 1;
        self.check = None;
        self.reason = Some(reason);
        self.strikes = Strikes::default();
        self.tried_at = facts.now;
    }

    /// Notes one more ejection from service; says whether they have become too many.
    fn is_flapping(&mut self, penalty: &Penalty, now: Instant) -> bool {
        let limit = penalty.flap_count as usize;
        if limit == 0 {
            return false;
        }
        self.ejections.push_back(now);
        while self.ejections.len() > limit
            || self
                .ejections
                .front()
                .is_some_and(|&at| now.saturating_duration_since(at) > penalty.flap_window)
        {
            self.ejections.pop_front();
        }
        self.ejections.len() >= limit
    }

    /// Too few nodes admit for this one to be held because it flaps: it waits as long as any other would.
    /// Returns the new end of the wait.
    pub(super) fn give_way(&mut self) -> Option<Instant> {
        let ordinary = self.held_from.take()?;
        match &mut self.state {
            State::Down { until } if ordinary < *until => {
                *until = ordinary;
                Some(ordinary)
            }
            _ => None,
        }
    }

    /// A caller found no node that admits: the next probe comes sooner, but never in a storm.
    /// Returns when it starts.
    pub(super) fn demand(&mut self, now: Instant, rules: &Rules) -> Option<Instant> {
        let at = match &mut self.state {
            State::Down { until } => until,
            // It was prepared in vain.
            State::HalfOpen {
                probe: None, next, ..
            } => next,
            _ => return None,
        };
        let gap = (rules.schedule.nominal(self.level) / 4)
            .max(rules.penalty.demand_min)
            .min(rules.penalty.demand_max);
        let sooner = later(self.tried_at, gap).max(now);
        (sooner < *at).then(|| {
            *at = sooner;
            sooner
        })
    }

    /// The wait is over.
    pub(super) fn open_half(&mut self, now: Instant) {
        if let State::Down { .. } = self.state {
            self.state = State::HalfOpen {
                probe: None,
                next: now,
                oks: 0,
            };
        }
    }

    /// Good probes, and what had to be prepared: it serves again.
    fn serve(&mut self, facts: &Facts<'_>) {
        if facts.rules.penalty.probation.is_zero() {
            self.rise(facts);
        } else {
            self.state = State::Probation {
                since: facts.now,
                oks: 0,
            };
        }
    }

    /// The probe in flight ended.
    pub(super) fn probed(&mut self, result: ProbeResult, facts: &Facts<'_>) {
        let penalty = &facts.rules.penalty;
        let State::HalfOpen { probe, next, oks } = &mut self.state else {
            return;
        };
        match result {
            ProbeResult::Ok => {
                *oks = oks.saturating_add(1);
                *probe = None;
                self.tried_at = facts.now;
                if self.overrule.hold && *oks >= penalty.rise {
                    *next = later(facts.now, half_jitter(HELD, facts.unit));
                } else if *oks < penalty.rise {
                    *next = later(facts.now, half_jitter(penalty.probe_gap, facts.unit));
                } else if facts.rules.prepares.is_some() {
                    self.state = State::Preparing {
                        since: facts.now,
                        work: None,
                        waits: None,
                    };
                } else {
                    self.serve(facts);
                }
            }
            // The level is the node's memory: it outlives good probes, and only serving makes it
            // fall.
            ProbeResult::Failed(reason) => self.fall(reason.into(), reason, facts),
            ProbeResult::NotReady(reason) => self.fall(Fall::NotReady, reason, facts),
            // Nobody asked, so nobody knows.
            ProbeResult::NotRun => {
                *probe = None;
                *next = later(facts.now, half_jitter(penalty.probe_gap, facts.unit));
            }
            ProbeResult::Config => self.fall(Fall::Hopeless, Reason::Config, facts),
            ProbeResult::NotRedis => self.fall(Fall::Hopeless, Reason::NotRedis, facts),
        }
    }

    /// What time alone changes in service.
    pub(super) fn tick(&mut self, facts: &Facts<'_>) {
        self.leave_probation(facts);
        self.decay(facts);
    }

    /// When time alone changes something; the end of a wait in `Down` is the penalty box's.
    pub(super) fn deadline(&self, rules: &Rules) -> Option<Instant> {
        let by_itself = match self.state {
            State::Up { decay_at } => (self.level > 0).then_some(decay_at),
            State::Down { .. } => None,
            State::Preparing { since, work, .. } => {
                Some(work.map_or(since, |(_, deadline)| deadline))
            }
            State::HalfOpen { probe, next, .. } => {
                Some(probe.map_or(next, |(_, deadline)| deadline))
            }
            State::Probation { since, .. } => Some(later(since, rules.penalty.probation)),
        };
        let check = self.check.map(|check| check.deadline());
        by_itself.into_iter().chain(check).min()
    }
}
