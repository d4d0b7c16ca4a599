//! What calls and dials show of a node, in the terms that its health is judged in.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::Backend;
use crate::backend::lane::{Cause, NoLane};
use crate::backend::pool::Pool;
use crate::clock::{self, micros, now_micros};
use crate::connection::dial::DialError;
use crate::connection::dial_fault::io_parts;
use crate::connection::link::{Fault, Link, LinkError};
use crate::connection::reply::Reply;
use crate::error::Outcome;
use crate::health::latency::Histogram;
use crate::health::verdict::{
    Class, ConnectionAction, Disposition, Observation, Phase, Seen, disposition, judge,
};

/// A server that refuses write after write has its name looked up once in so long.
const REFUSED_WRITE_GAP: Duration = Duration::from_secs(1);
/// ... and its sentinels are asked once in so long: they are there to be asked.
const READ_ONLY_GAP: Duration = Duration::from_millis(100);

impl Backend {
    pub(crate) fn dial_observation(&self, e: &DialError) -> Observation {
        Observation {
            line: e.line,
            ..self.observation(Phase::Setup, e.seen, e.began)
        }
    }

    pub(super) fn observation(&self, phase: Phase, seen: Seen, sent_at: Instant) -> Observation {
        let last_heard = self.stats.last_heard();
        Observation {
            silent: !self.stats.heard_since(sent_at),
            since_success: (last_heard > 0)
                .then(|| Duration::from_micros(now_micros().saturating_sub(last_heard))),
            limit: match phase {
                Phase::Setup => self.dialer.timeout,
                Phase::Command => self.limits.response_timeout,
            },
            has_live: self.lane.has_live() || self.pool.get().is_some_and(Pool::has_live),
            ..Observation::new(phase, seen, sent_at)
        }
    }

    /// Judges what was seen, does what the judgement asks of this node's connections, and hands it up to whoever
    /// keeps the health of all nodes. What becomes of the connection that it was seen on is the caller's to do,
    /// who holds it.
    pub(super) fn report(self: &Arc<Self>, epoch: u64, what: Observation) -> ConnectionAction {
        let judgement = judge(&what);
        if judgement.verify {
            // It feeds the lane, too.
            let _ = self.dial_lane(Cause::NoLane);
        }
        if judgement.refuses_writes {
            // A demoted master: its name may lead to the new one by now.
            self.refresh_address(match self.asks_sentinels() {
                true => READ_ONLY_GAP,
                false => REFUSED_WRITE_GAP,
            });
        }
        match what.is_time_out() {
            true => self.observer.timed_out(self, epoch, what),
            false => self.observer.judged(self, epoch, judgement.verdict),
        }
        judgement.connection
    }

    /// Reports a failed dial to whoever keeps the node's health.
    pub(crate) fn report_dial(self: &Arc<Self>, epoch: u64, why: &NoLane) {
        if let NoLane::Dial(e) = why {
            self.report(epoch, self.dial_observation(e));
        }
    }

    /// A reply came: what does it say about the node, and what becomes of the connection that it came on?
    ///
    /// No `began` for a command that was told to wait: how long that took says nothing about the node, and
    /// an idle queue would look like a slow server.
    pub(crate) fn answered(
        self: &Arc<Self>,
        reply: &Reply,
        epoch: u64,
        sent_at: Instant,
        began: Option<Instant>,
    ) -> ConnectionAction {
        let Some(class) = reply.class() else {
            match began {
                Some(began) => self.stats.answered(clock::since(began)),
                None => self.stats.succeeded(),
            }
            match self.watch.load(Relaxed) {
                Self::WATCH_NOTHING => {}
                Self::WATCH_COUNT => drop(self.counted.fetch_add(1, Relaxed)),
                _ => self.observer.succeeded(self, epoch),
            }
            return ConnectionAction::Keep;
        };
        self.meter.error_reply(reply);
        let seen = self.observation(Phase::Command, Seen::Error(class), sent_at);
        self.meter.failed(match disposition(&seen) {
            Disposition::Rejected => Outcome::Rejected,
            _ => Outcome::Answered,
        });
        match self.report(epoch, seen) {
            // Who gave no password is told so by each command, and a new connection would be told the same.
            ConnectionAction::Discard if class == Class::NoAuth && !self.dialer.logs_in() => {
                ConnectionAction::Keep
            }
            action => action,
        }
    }

    /// Hands what succeeded since the last call to the metrics, and returns how long it took.
    ///
    /// Once a second instead of once a command: a recorder that was told of each answer was the largest
    /// cost of a busy client.
    pub(crate) fn flush(&self) -> Histogram {
        let answers = self.stats.take_answers();
        let succeeded = self.stats.take_untimed() + answers.samples();
        self.meter.flush(succeeded, &answers);
        answers
    }

    pub(crate) fn call_observation(&self, e: &LinkError, sent_at: Instant) -> Observation {
        let seen = match e.fault {
            Fault::Timeout => Seen::Io(io::ErrorKind::TimedOut, None),
            Fault::Lost => {
                let (kind, os) = io_parts(&e.error);
                Seen::Io(kind, os)
            }
            Fault::Garbage => Seen::Garbage,
            Fault::Stray | Fault::Flood => Seen::Unsolicited,
            // Our own doing; it says nothing of the node.
            Fault::Saturated | Fault::Misuse => Seen::Misuse,
        };
        Observation {
            written: !e.unsent,
            unused_for: if e.was_idle {
                Duration::from_secs(2)
            } else {
                Duration::ZERO
            },
            ..self.observation(Phase::Command, seen, sent_at)
        }
    }

    /// Looks for what no caller waits for: calls on the lane were given up, and nothing has come over it for as long as
    /// a whole response time-out. Then it is as if one of them had waited.
    pub(crate) fn miss_answers(self: &Arc<Self>, now: Instant) {
        let Some((link, since)) = self.lane.get().and_then(|link| {
            let since = link.wire().silent_since()?;
            Some((link, since))
        }) else {
            return;
        };
        let waited = Duration::from_micros(micros(now).saturating_sub(since));
        let sent_at = now.checked_sub(waited).unwrap_or(now);
        if waited < self.limits.response_timeout {
            return;
        }
        let epoch = self.gate.read().epoch();
        let seen = Seen::Io(io::ErrorKind::TimedOut, None);
        self.gives_no_answer(
            &link,
            epoch,
            self.observation(Phase::Command, seen, sent_at),
        );
    }

    /// A call on the lane got no answer in its time: the lane is used no more, and the next one dialled, so that the
    /// next caller finds it, or the verdict, sooner.
    pub(super) fn gives_no_answer(
        self: &Arc<Self>,
        link: &Arc<Link>,
        epoch: u64,
        seen: Observation,
    ) {
        self.stats.lost_connection(now_micros());
        self.lane.retire(link);
        self.report(epoch, seen);
        // That there is none may be for good reason, and is nobody's error.
        let _ = self.dial_lane(Cause::TimedOut);
    }

    pub(crate) fn observe_call(
        self: &Arc<Self>,
        e: &LinkError,
        epoch: u64,
        sent_at: Instant,
        limit: Option<Duration>,
        own_limit: bool,
    ) {
        let seen = Observation {
            own_limit,
            limit: limit.unwrap_or(self.limits.response_timeout),
            ..self.call_observation(e, sent_at)
        };
        self.report(epoch, seen);
        let whole = seen.limit >= self.limits.response_timeout && !own_limit;
        if e.fault == Fault::Timeout && whole && seen.silent {
            // A silent connection is rarely alone: the next caller finds a lane, or the verdict, sooner.
            self.lane.keep(|_| false);
            let _ = self.dial_lane(Cause::TimedOut);
        }
    }
}
