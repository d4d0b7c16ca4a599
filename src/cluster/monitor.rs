//! The background tasks: probes, the watchdog, housekeeping. Thin drivers of the pure machines.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout_at};
use tracing::Instrument as _;

use crate::backend::Backend;
use crate::clock::now_micros;
use crate::cluster::core::{Core, Snapshot, set_watch};
use crate::cluster::events::Event;
use crate::cluster::options::SlowNodes;
use crate::connection::request::Request;
use crate::health::latency::Histogram;
use crate::health::verdict::{
    Observation, Phase, ProbeResult, Reason, Seen, Soft, Verdict, judge_probe,
};
use crate::health::{Action, slowness, watchdog};

const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// A node that was silent for this long, ± 20 %, is asked for a sign of life.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A name is looked up again after this long.
const LOOK_UP_EVERY: Duration = Duration::from_secs(30);
/// With nothing due, the monitor still looks once in a while.
const AT_LATEST: Duration = Duration::from_secs(60);

/// Starts the tasks; `false` when there is no runtime to start them on.
pub(crate) fn start(core: &Arc<Core>) -> bool {
    let (a, b, c) = (Arc::clone(core), Arc::clone(core), Arc::clone(core));
    let ended = Ended(Arc::clone(core));
    let health = async move {
        let _ended = ended;
        run_health(&a).await;
    };
    core.tasks.spawn(health).is_ok()
        && core
            .tasks
            .spawn(async move { run_watchdog(&b).await })
            .is_ok()
        && core
            .tasks
            .spawn(async move { run_housekeeping(&c).await })
            .is_ok()
}

/// When the runtime of the first call is gone, the next call starts the tasks on its own.
struct Ended(Arc<Core>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.not_monitored();
    }
}

/// Whatever is due in the health machine: probes to start, waits that are over, late verdicts.
async fn run_health(core: &Arc<Core>) {
    // The probe under way at each node. On a machine too busy to run them in time, probes that are over
    // by the clock would pile up behind those that follow.
    let mut under_way: BTreeMap<u64, AbortHandle> = BTreeMap::new();
    loop {
        let now = Instant::now();
        let late = core.apply_late(now);
        let (actions, next) = core.locked(|state, effects| {
            let actions = state.health.due(now, &mut fastrand::f64);
            for action in &actions {
                if let Action::Publish(t) = action {
                    core.publish(state, effects, *t, now);
                }
            }
            (actions, state.health.next_deadline())
        });
        for action in actions {
            if let Action::Probe { key, id, deadline } = action {
                let probe = spawn_probe(core, key, id, deadline);
                if let Some(over) = probe.and_then(|probe| under_way.insert(key, probe)) {
                    over.abort();
                }
            }
        }
        if under_way.len() > 2 * core.snapshot.load().nodes.len() {
            under_way.retain(|_, probe| !probe.is_finished());
        }
        let until = [late, next]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(now + AT_LATEST);
        tokio::select! {
            () = sleep_until(until.into()) => {}
            () = core.wake.notified() => {}
        }
    }
}

/// All probes run at once: a silent node must not delay the return of another.
fn spawn_probe(core: &Arc<Core>, key: u64, id: u64, deadline: Instant) -> Option<AbortHandle> {
    let snapshot = core.snapshot.load();
    let backend = snapshot.nodes.iter().find(|b| b.key() == key)?;
    let (core, backend) = (Arc::clone(core), Arc::clone(backend));
    let tasks = Arc::clone(&core.tasks);
    let span = tracing::debug_span!("fluster.probe", node = %backend.id());
    let probe = async move {
        let seen = timeout_at(deadline.into(), core.probe.probe(Arc::clone(&backend))).await;
        let result = match &seen {
            Ok(seen) => judge_probe(seen),
            Err(_) => ProbeResult::Failed(Reason::Timeout),
        };
        tracing::debug!(node = %backend.id(), ?result, "probed");
        backend.meter().probed(match result {
            ProbeResult::Ok => "ok",
            ProbeResult::NotReady(_) => "not_ready",
            ProbeResult::Failed(_) => "failed",
            ProbeResult::Config => "config",
            ProbeResult::NotRedis => "not_redis",
        });
        let now = Instant::now();
        core.locked(|state, effects| {
            if let Some(t) = state
                .health
                .probe_finished(key, id, result, now, fastrand::f64())
            {
                core.publish(state, effects, t, now);
            }
        });
        core.wake.notify_one();
    };
    // A cluster that closes needs no probe; a runtime there is, since this runs on it.
    tasks.spawn(probe.instrument(span)).ok()
}

/// Ticks on the runtime that also runs the calls: when the ticks are late, so are all replies.
async fn run_watchdog(core: &Arc<Core>) {
    let mut last = Instant::now();
    core.locked(|state, _| state.watchdog = watchdog::Watchdog::new(last));
    loop {
        tokio::time::sleep(watchdog::PERIOD).await;
        let now = Instant::now();
        core.locked(|state, effects| {
            if state.watchdog.tick(now) {
                let lasted = now - last;
                tracing::warn!(
                    ?lasted,
                    "this process was stalled; time-outs of that time are excused"
                );
                effects.tell(Event::ClientStall { lasted });
            }
        });
        last = now;
    }
}

async fn run_housekeeping(core: &Arc<Core>) {
    let mut tick = interval(HOUSEKEEPING);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut window_began = Instant::now();
    // What the nodes that are used answered in this window.
    let mut window: BTreeMap<u64, Histogram> = BTreeMap::new();
    loop {
        tick.tick().await;
        let snapshot = core.snapshot.load_full();
        let now = Instant::now();
        for backend in snapshot.nodes.iter().filter(|b| b.is_used()) {
            window
                .entry(backend.key())
                .or_default()
                .add(&backend.flush());
        }
        // A tick that comes a hair early ends the window too: the next one is a whole second later.
        if now - window_began + HOUSEKEEPING / 2 >= slowness::WINDOW {
            window_began = now;
            compare_speed(core, &snapshot, &std::mem::take(&mut window), now);
        }
        core.locked(|state, _| {
            for backend in snapshot.nodes.iter() {
                set_watch(state, backend, now);
            }
        });
        for backend in snapshot.nodes.iter() {
            if let Some(pool) = backend.pool_if_used() {
                pool.sweep(core.limits.idle_timeout);
                let (open, idle) = pool.sizes();
                backend.meter().pool(open, idle);
            }
            if backend.is_used() {
                refresh_address(core, backend, LOOK_UP_EVERY);
            }
            heartbeat(core, backend);
        }
    }
}

/// Closes a window of the latency comparison.
fn compare_speed(
    core: &Arc<Core>,
    snapshot: &Snapshot,
    window: &BTreeMap<u64, Histogram>,
    now: Instant,
) {
    let medians: Vec<_> = snapshot
        .nodes
        .iter()
        .map(|b| {
            let answers = window.get(&b.key());
            if let Some(usual) = answers.and_then(|a| a.quantile(0.95)) {
                b.vitals().set_usual(usual);
            }
            (b.key(), answers.and_then(|a| a.quantile(0.5)))
        })
        .collect();
    let slow = core.locked(|state, effects| {
        for (key, slow) in state.slowness.window(&medians) {
            let Some(backend) = snapshot.nodes.iter().find(|b| b.key() == key) else {
                continue;
            };
            let node = backend.id().clone();
            tracing::warn!(%node, slow, "the node's speed, compared with its peers, changed");
            backend.meter().degraded(slow);
            effects.tell(Event::NodeSlow { node, slow });
        }
        let degraded = snapshot
            .nodes
            .iter()
            .filter(|b| state.slowness.is_degraded(b.key()));
        degraded.cloned().collect::<Vec<_>>()
    });
    if core.options.slow_nodes == SlowNodes::Suspect {
        for backend in slow {
            let epoch = backend.gate().read().epoch();
            core.apply(
                &backend,
                epoch,
                Verdict::Soft(Soft::Strike(Reason::Timeout)),
                now,
            );
        }
    }
}

/// Asks a node that nobody has heard for a while for a sign of life, on the connection there is.
///
/// Nodes that nobody uses have none, and are left alone: a thousand idle applications must not keep a
/// server busy.
fn heartbeat(core: &Arc<Core>, backend: &Arc<Backend>) {
    let silent_for = now_micros().saturating_sub(backend.vitals().last_heard());
    let patience = HEARTBEAT.mul_f64(0.8 + 0.4 * fastrand::f64()).as_micros() as u64;
    if silent_for < patience || !backend.gate().read().admits() {
        return;
    }
    if backend.in_flight() > 0 {
        // Somebody asks already, and will say what came of it.
        return;
    }
    let (core, backend) = (Arc::clone(core), Arc::clone(backend));
    let tasks = Arc::clone(&core.tasks);
    let beat = async move {
        let epoch = backend.gate().read().epoch();
        let limit = core.limits.response_timeout;
        if !is_silent(&backend, limit).await {
            return;
        }
        let seen = match tokio::time::timeout(limit, core.probe.probe(Arc::clone(&backend))).await {
            Ok(seen) => judge_probe(&seen),
            Err(_) => judge_probe(&Observation::new(
                Phase::Setup,
                Seen::Io(std::io::ErrorKind::TimedOut, None),
                Instant::now(),
            )),
        };
        let reason = match seen {
            ProbeResult::Ok => return,
            ProbeResult::Failed(reason) | ProbeResult::NotReady(reason) => reason,
            ProbeResult::Config => Reason::Config,
            ProbeResult::NotRedis => Reason::NotRedis,
        };
        // Suspicion only: nobody asked for this node, so there is time for a second opinion.
        core.apply(
            &backend,
            epoch,
            Verdict::Soft(Soft::Strike(reason)),
            Instant::now(),
        );
    };
    // A cluster that closes needs no heartbeat.
    let _ = tasks.spawn(beat);
}

/// Sends `PING` over an idle connection, the lane or an exclusive one; `true` when no answer comes.
async fn is_silent(backend: &Arc<Backend>, limit: Duration) -> bool {
    let ping = redis::cmd("PING");
    if let Some(link) = backend.lane().get() {
        let silent = link.call(Request::One(&ping), Some(limit)).await.is_err();
        if silent {
            backend.lane().retire(&link);
        }
        return silent;
    }
    let Some(pool) = backend.pool_if_used() else {
        return false;
    };
    let Some(mut loan) = pool.borrow_idle().await else {
        return false;
    };
    let silent = loan
        .link
        .call(Request::One(&ping), Some(limit))
        .await
        .is_err();
    loan.touch();
    if silent {
        // What was idle for as long as this one is no better.
        pool.suspect();
    }
    silent
}

/// Looks a node's name up again when the last answer is older than `age`, in the background; a new
/// address takes the old connections out of use.
pub(crate) fn refresh_address(core: &Core, backend: &Arc<Backend>, age: Duration) {
    let Some(resolver) = &backend.dialer().resolver else {
        return;
    };
    if !resolver.is_older_than(age) || !resolver.begin_refresh() {
        return;
    }
    let (events, backend) = (core.events.clone(), Arc::clone(backend));
    let limit = core.limits.connect_timeout;
    let look_up = async move {
        let Some(resolver) = &backend.dialer().resolver else {
            return;
        };
        let result = resolver.look_up(limit).await;
        resolver.end_refresh();
        match result {
            Ok(true) => {
                let node = backend.id().clone();
                tracing::info!(%node, address = ?resolver.pinned(), "the node's name leads elsewhere now");
                backend.shut();
                // No receiver is no error.
                let _ = events.send(Event::AddressChanged { node });
            }
            Ok(false) => {}
            Err(error) => {
                tracing::debug!(node = %backend.id(), %error, "look-up failed; the last address stays")
            }
        }
    };
    // A cluster that closes, or a caller without a runtime, needs no address.
    let _ = core.tasks.spawn(look_up);
}
