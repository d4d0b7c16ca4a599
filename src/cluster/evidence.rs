//! From what was seen of a node to the change of its health.

use std::sync::{Arc, Weak};
use std::time::Instant;

use crate::backend::Backend;
use crate::cluster::core::{Core, set_watch};
use crate::health::verdict::{Observation, Verdict, judge};
use crate::health::watchdog::GRACE;

/// A time-out whose verdict waits for the watchdog.
pub(super) struct Late {
    due: Instant,
    at: Instant,
    backend: Weak<Backend>,
    epoch: u64,
    what: Observation,
}

impl Core {
    /// Applies a verdict; publishes a snapshot when it changes who admits.
    pub(crate) fn apply(&self, backend: &Arc<Backend>, epoch: u64, verdict: Verdict, now: Instant) {
        self.locked(|state, effects| {
            let counted = backend.take_counted();
            if counted > 0
                && let Some(t) = state
                    .health
                    .observe_successes(backend.key(), epoch, counted, now)
            {
                self.publish(state, effects, t, now);
            }
            let transition =
                state
                    .health
                    .observe(backend.key(), epoch, verdict, now, fastrand::f64());
            if let Some(t) = transition {
                self.publish(state, effects, t, now);
            }
            set_watch(state, backend, now);
        });
        self.wake.notify_one();
    }

    /// Judges a time-out, at once or after the watchdog had time to prove a stall of our own.
    pub(super) fn timed_out(
        &self,
        backend: &Arc<Backend>,
        epoch: u64,
        what: Observation,
        now: Instant,
    ) {
        let stalled = {
            let mut state = self.state.lock();
            if state.watchdog.is_on_time(now) {
                Some(state.watchdog.stalled_between(what.sent_at, now))
            } else {
                let backend = Arc::downgrade(backend);
                let due = now + GRACE;
                state.late.push_back(Late {
                    due,
                    at: now,
                    backend,
                    epoch,
                    what,
                });
                None
            }
        };
        match stalled {
            Some(stalled) => {
                let what = Observation { stalled, ..what };
                self.apply(backend, epoch, judge(&what).verdict, now);
            }
            None => self.wake.notify_one(),
        }
    }

    /// Applies the time-outs whose wait for the watchdog is over; says when the next one is due.
    pub(crate) fn apply_late(&self, now: Instant) -> Option<Instant> {
        loop {
            let (late, stalled) = {
                let mut state = self.state.lock();
                let due = state.late.front()?.due;
                if due > now {
                    return Some(due);
                }
                let late = state.late.pop_front()?;
                let stalled = state.watchdog.stalled_between(late.what.sent_at, late.at);
                (late, stalled)
            };
            if let Some(backend) = late.backend.upgrade() {
                let what = Observation {
                    stalled,
                    ..late.what
                };
                self.apply(&backend, late.epoch, judge(&what).verdict, now);
            }
        }
    }
}
