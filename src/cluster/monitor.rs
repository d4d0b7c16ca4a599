//! The background tasks: probes and the watchdog. Thin drivers of the pure machines.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;
use tokio::time::{sleep, sleep_until, timeout_at};
use tracing::Instrument as _;

use crate::backend::Backend;
use crate::clock;
use crate::cluster::engine::{Engine, EngineState};
use crate::cluster::events::Event;
use crate::cluster::{evidence, housekeeping};
use crate::health::verdict::{Observation, Phase, ProbeResult, Seen, judge_probe};
use crate::health::waits::Ran;
use crate::health::{Action, Machine, Transition, watchdog};

/// Nodes that leave impatient callers without an answer are looked for with every so many ticks of the watchdog.
const SILENCE_EVERY: u64 = 5;

/// With nothing due, the monitor still looks once in a while.
const AT_LATEST: Duration = Duration::from_secs(60);

/// Starts the tasks on the runtime at hand; those of an earlier start end as soon as they are polled.
fn start(engine: &Arc<Engine>, number: u64, now: Instant) {
    engine.locked(|state, _| state.watchdog.restart(now));
    let (a, b, c) = (Arc::clone(engine), Arc::clone(engine), Arc::clone(engine));
    let ended = Ended(Arc::clone(engine), number);
    let health = async move {
        let _ended = ended;
        run_health(&a, number).await;
    };
    // A cluster that closes needs none of them.
    let _ = engine.tasks.spawn(health);
    let _ = engine
        .tasks
        .spawn(async move { run_watchdog(&b, number).await });
    let _ = engine
        .tasks
        .spawn(async move { housekeeping::run_housekeeping(&c, number).await });
}

impl Engine {
    /// Starts the background tasks, once, on the runtime at hand; again when that one ended, and when
    /// nothing was heard of them for seconds, because nobody polls it.
    pub(crate) fn ensure_monitored(self: &Arc<Self>) {
        let tasks = &self.tasks;
        if tasks.is_closed() || tasks.runtime().is_none() {
            return;
        }
        let (pulse, now) = (tasks.pulse(), clock::now());
        // A runtime that was named is the place for it, asleep or not; and one that has ended is no place
        // to try with every call.
        let again = tasks.is_placed() && pulse.starts() > 0;
        if again && (!pulse.has_ended() || !pulse.claim(now)) {
            return;
        }
        if let Some(number) = pulse.begin_again(now) {
            start(self, number, now);
        } else if pulse.is_overdue(now) && pulse.claim(now) {
            self.revive();
        }
    }

    /// Starts the background anew, after it had its time to tick: it may live on this very runtime, which
    /// has only just been woken.
    fn revive(self: &Arc<Self>) {
        let engine = Arc::clone(self);
        let silent = self.tasks.pulse().starts();
        let revive = async move {
            let asked = clock::now();
            sleep(watchdog::GRACE).await;
            let now = clock::now();
            let pulse = engine.tasks.pulse();
            // Whoever wakes late was stalled itself, and knows nothing.
            let on_time = now.duration_since(asked) <= watchdog::GRACE + watchdog::LATENESS;
            if !on_time || !pulse.is_current(silent) || !pulse.is_overdue(now) {
                return;
            }
            let text = "the runtime of the background tasks does not run; they start anew on a caller's: \
                        see the guide's chapter on runtimes";
            match silent {
                // Once is enough to find it.
                1 => tracing::warn!("{text}"),
                _ => tracing::debug!("{text}"),
            }
            start(&engine, pulse.begin(now), now);
        };
        // A caller without a runtime cannot help.
        let _ = self.tasks.spawn(revive);
    }

    /// A sign of life of the runtime that the background lives on: when it is late, so are all replies.
    ///
    /// `false` when the background was started anew elsewhere, and this one has to end.
    pub(super) fn tick(&self, number: u64, now: Instant) -> bool {
        let pulse = self.tasks.pulse();
        if !pulse.is_current(number) {
            return false;
        }
        pulse.beat(now);
        self.locked(|state, effects| {
            let sent = std::mem::replace(&mut state.sent, self.sent());
            let Some(lasted) = state.watchdog.tick(now) else {
                return;
            };
            // More commands under way than were sent since the last tick: some waited through the stall.
            let under_way = self.on_lanes() > state.sent.saturating_sub(sent);
            if state.stalls.happened(lasted, under_way) {
                evidence::tell_of_stall(&self.limits.cluster, state, lasted, now);
                effects.tell(Event::ClientStall { lasted });
            }
        });
        true
    }

    /// Commands that all nodes were sent so far.
    fn sent(&self) -> u64 {
        let snapshot = self.snapshot.load();
        let sent = snapshot.nodes.iter().map(|b| b.stats().commands());
        sent.fold(0, u64::wrapping_add)
    }

    /// Commands on lanes that wait for their reply.
    fn on_lanes(&self) -> u64 {
        let snapshot = self.snapshot.load();
        let lanes = snapshot.nodes.iter().filter_map(|b| b.lane().get());
        lanes.map(|link| link.wire().in_flight()).sum()
    }

    /// How much of the time from `from` to `to` our own process ran.
    pub(super) fn ran(&self, from: Instant, to: Instant) -> Ran {
        self.state.lock().watchdog.ran(from, to)
    }
}

/// When the runtime of the first call is gone, the next call starts the tasks on its own.
struct Ended(Arc<Engine>, u64);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.tasks.pulse().end(self.1);
    }
}

/// Whatever is due in the health machine: probes to start, waits that are over, late verdicts.
async fn run_health(engine: &Arc<Engine>, number: u64) {
    // The probe under way at each node. On a machine too busy to run them in time, probes that are over
    // by the clock would pile up behind those that follow.
    let mut under_way: BTreeMap<u64, AbortHandle> = BTreeMap::new();
    loop {
        let now = clock::now();
        // That this runs is as good as a tick: a stall is known before anything is judged by it.
        if !engine.tick(number, now) {
            return;
        }
        let late = engine.judge_late(now);
        let (actions, next) = engine.locked(|state, effects| {
            let EngineState {
                health, watchdog, ..
            } = state;
            let ran = |from, to| watchdog.ran(from, to);
            let actions = health.due(now, &mut fastrand::f64, &ran);
            for action in &actions {
                if let Action::Publish(t) = action {
                    engine.publish(state, effects, *t, now);
                }
            }
            (actions, state.health.next_deadline())
        });
        for action in actions {
            let (key, task) = match action {
                Action::Publish(_) => continue,
                Action::Probe { key, .. }
                | Action::Check { key, .. }
                | Action::Prepare { key, .. } => (key, spawn_question(engine, number, action)),
            };
            if let Some(over) = task.and_then(|task| under_way.insert(key, task)) {
                over.abort();
            }
        }
        if under_way.len() > 2 * engine.snapshot.load().nodes.len() {
            under_way.retain(|_, probe| !probe.is_finished());
        }
        let until = [late, next]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(now + AT_LATEST);
        tokio::select! {
            () = sleep_until(until.into()) => {}
            () = engine.wake.notified() => {}
        }
    }
}

/// All probes run at once: a silent node must not delay the return of another.
fn spawn_question(engine: &Arc<Engine>, number: u64, action: Action<u64>) -> Option<AbortHandle> {
    let (Action::Probe { key, .. } | Action::Check { key, .. } | Action::Prepare { key, .. }) =
        action
    else {
        return None;
    };
    let snapshot = engine.snapshot.load();
    let backend = snapshot.nodes.iter().find(|b| b.key() == key)?;
    let (engine, backend) = (Arc::clone(engine), Arc::clone(backend));
    let tasks = Arc::clone(&engine.tasks);
    let span = tracing::debug_span!("fluster.probe", node = %backend.id());
    let ask = async move {
        match action {
            Action::Probe { id, deadline, .. } => {
                let result = engine.probed(number, &backend, deadline).await;
                let (now, unit) = (clock::now(), fastrand::f64());
                engine.conclude(
                    |health| health.probe_finished(key, id, result, now, unit),
                    now,
                );
            }
            Action::Check { id, deadline, .. } => {
                let result = engine.probed(number, &backend, deadline).await;
                #[cfg(feature = "gossip")]
                super::fleet::count_ask(&backend, result);
                let (now, unit) = (clock::now(), fastrand::f64());
                engine.conclude(|health| health.checked(key, id, result, now, unit), now);
            }
            Action::Prepare { id, deadline, .. } => {
                let conclude = |is_ready: bool| {
                    let (now, unit) = (clock::now(), fastrand::f64());
                    engine.conclude(|health| health.prepared(key, id, is_ready, now, unit), now);
                };
                engine.prepared(&backend, id, deadline, conclude).await;
            }
            Action::Publish(_) => {}
        }
        engine.wake.notify_one();
    };
    // A cluster that closes needs no probe; a runtime there is, since this runs on it.
    tasks.spawn(ask.instrument(span)).ok()
}

impl Engine {
    async fn probed(&self, number: u64, backend: &Arc<Backend>, deadline: Instant) -> ProbeResult {
        let began = clock::now();
        let probe = self.care.probe.probe(Arc::clone(backend));
        let seen = timeout_at(deadline.into(), probe).await;
        let seen = seen.unwrap_or_else(|_| no_answer(began, deadline));
        let result = self.probe_result(number, &seen);
        tracing::debug!(node = %backend.id(), ?result, "probed");
        backend.meter().probed(match result {
            ProbeResult::Ok => "ok",
            ProbeResult::NotReady(_) => "not_ready",
            ProbeResult::NotRun => "not_run",
            ProbeResult::Failed(_) => "failed",
            ProbeResult::Config => "config",
            ProbeResult::NotRedis => "not_redis",
        });
        result
    }

    /// Gets the node ready and says whether it is; `false` when it failed, or was not done in time.
    async fn prepared(
        self: &Arc<Self>,
        backend: &Arc<Backend>,
        id: u64,
        deadline: Instant,
        conclude: impl FnOnce(bool),
    ) {
        let conclude = |is_ready: bool| {
            tracing::debug!(node = %backend.id(), is_ready, "prepared");
            conclude(is_ready);
        };
        match &self.care.preparation {
            None => self.prepare_return(backend, id, deadline, conclude).await,
            Some(preparation) => {
                let work = preparation.prepare(Arc::clone(backend));
                conclude(timeout_at(deadline.into(), work).await.unwrap_or(false));
            }
        }
    }

    /// Applies what a question brought.
    fn conclude(
        &self,
        answer: impl FnOnce(&mut Machine<u64>) -> Option<Transition<u64>>,
        now: Instant,
    ) {
        self.locked(|state, effects| {
            if let Some(t) = answer(&mut state.health) {
                self.publish(state, effects, t, now);
            }
        });
    }
}

/// What a probe, or a second opinion, saw that got no answer in its time.
pub(super) fn no_answer(began: Instant, deadline: Instant) -> Observation {
    let seen = Seen::Io(std::io::ErrorKind::TimedOut, None);
    Observation {
        limit: deadline.saturating_duration_since(began),
        ..Observation::new(Phase::Setup, seen, began)
    }
}

impl Engine {
    /// How a probe went, given how much of its time our own process ran.
    pub(super) fn probe_result(&self, number: u64, seen: &Observation) -> ProbeResult {
        let now = clock::now();
        // It runs on the monitor's runtime. Where that was stalled until now, the watchdog learns it here.
        self.tick(number, now);
        let ran = self.ran(seen.sent_at, now);
        judge_probe(&Observation { ran, ..*seen })
    }
}

/// Ticks on the runtime of the background, which is that of the connections; and sees now and then to what callers
/// gave up.
async fn run_watchdog(engine: &Arc<Engine>, number: u64) {
    for n in 1_u64.. {
        sleep(watchdog::PERIOD).await;
        let now = clock::now();
        if !engine.tick(number, now) {
            return;
        }
        let snapshot = engine.snapshot.load_full();
        snapshot.nodes.iter().for_each(|b| b.end_overdue(now));
        if n % SILENCE_EVERY == 0 {
            snapshot.nodes.iter().for_each(|b| b.miss_answers(now));
        }
    }
}
