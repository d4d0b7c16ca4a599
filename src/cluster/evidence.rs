//! From what was seen of a node to the change of its health.

use std::sync::{Arc, Weak};
use std::time::Instant;

use tokio::time::sleep_until;

use crate::backend::Backend;
use crate::clock;
use crate::cluster::engine::{Engine, EngineState, set_watch};
use crate::cluster::events::Event;
use crate::connection::labels::labels;
use crate::health::verdict::{Observation, Verdict, judge};
use crate::health::waits::Ran;
use crate::health::watchdog::{GRACE, LATENESS, Watchdog};

/// A time-out whose verdict waits for the watchdog.
pub(super) struct Late {
    due: Instant,
    at: Instant,
    backend: Weak<Backend>,
    epoch: u64,
    what: Observation,
}

impl Late {
    /// How much of the wait our own process ran.
    ///
    /// The watchdog knows once it has ticked. One that does not tick although there was time for it lives
    /// on a runtime that nobody polls, and knows nothing of ours: then the caller's own timer tells.
    fn ran(&self, watchdog: &Watchdog) -> Ran {
        match watchdog.has_ticked_since(self.at) {
            true => watchdog.ran(self.what.sent_at, self.at),
            false => watchdog.ran_by_timer(self.what.sent_at, self.what.limit, self.at),
        }
    }
}

impl Engine {
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
        self: &Arc<Self>,
        backend: &Arc<Backend>,
        epoch: u64,
        what: Observation,
        now: Instant,
    ) {
        let ran = {
            let mut state = self.state.lock();
            if state.watchdog.is_on_time(now) {
                Some(state.watchdog.ran(what.sent_at, now))
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
        match ran {
            Some(ran) => self.apply_time_out(backend, epoch, Observation { ran, ..what }, now),
            None => {
                self.wake.notify_one();
                self.judge_soon(now);
                self.ensure_monitored();
            }
        }
    }

    fn apply_time_out(&self, backend: &Arc<Backend>, epoch: u64, what: Observation, now: Instant) {
        if what.ran != Ran::Throughout {
            self.locked(|state, effects| {
                if let Some(lasted) = state.stalls.touched() {
                    tell_of_stall(&self.limits.cluster, state, lasted, now);
                    effects.tell(Event::ClientStall { lasted });
                }
            });
        }
        self.apply(backend, epoch, judge(&what).verdict, now);
    }

    /// Sees to it that late time-outs are judged also when the monitor's runtime is asleep or busy: on the
    /// caller's, which has just shown that it runs.
    fn judge_soon(self: &Arc<Self>, now: Instant) {
        {
            let mut state = self.state.lock();
            // One that is long overdue went to sleep with its runtime.
            if state.judged_at.is_some_and(|at| now <= at + GRACE) {
                return;
            }
            state.judged_at = Some(now + GRACE);
        }
        let engine = Arc::clone(self);
        let judge = async move {
            let mut due = now + GRACE;
            loop {
                sleep_until(due.into()).await;
                let now = clock::now();
                // Whoever wakes late was stalled itself: the watchdog gets its time once more.
                let next = match now.saturating_duration_since(due) <= LATENESS {
                    true => engine.judge_late(now),
                    false => Some(now + GRACE),
                };
                engine.state.lock().judged_at = next;
                match next {
                    Some(next) => due = next,
                    None => return,
                }
            }
        };
        // A cluster that closes judges nobody any more. Without a runtime the next time-out, or the
        // monitor, judges them all.
        let _ = self.tasks.spawn_here(judge);
    }

    /// Applies the time-outs whose wait for the watchdog is over; says when the next one is due.
    pub(crate) fn judge_late(&self, now: Instant) -> Option<Instant> {
        loop {
            let (late, ran) = {
                let mut state = self.state.lock();
                let due = state.late.front()?.due;
                if due > now {
                    return Some(due);
                }
                let late = state.late.pop_front()?;
                let ran = late.ran(&state.watchdog);
                (late, ran)
            };
            if let Some(backend) = late.backend.upgrade() {
                let what = Observation { ran, ..late.what };
                self.apply_time_out(&backend, late.epoch, what, now);
            }
        }
    }
}

/// A stall was counted: the counter, and a line where one is due.
pub(super) fn tell_of_stall(
    cluster: &str,
    state: &mut EngineState,
    lasted: std::time::Duration,
    now: Instant,
) {
    metrics::counter!("fluster_client_stalls_total", labels(cluster, [])).increment(1);
    tracing::debug!(?lasted, "this process was stalled");
    say_stalls(state, now);
}

/// The line about stalls, at most once a minute.
pub(super) fn say_stalls(state: &mut EngineState, now: Instant) {
    if let Some((count, longest)) = state.stalls.line(now) {
        tracing::warn!(
            count,
            ?longest,
            "this process was stalled; that time counts against no node"
        );
    }
}
