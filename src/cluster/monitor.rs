//! The background tasks: probes and the watchdog. Thin drivers of the pure machines.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;
use tokio::time::{sleep_until, timeout_at};
use tracing::Instrument as _;

use crate::backend::Backend;
use crate::cluster::core::Core;
use crate::cluster::events::Event;
use crate::cluster::housekeeping;
use crate::health::verdict::{ProbeResult, Reason, judge_probe};
use crate::health::{Action, watchdog};

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
            .spawn(async move { housekeeping::run_housekeeping(&c).await })
            .is_ok()
}

impl Core {
    /// Starts the background tasks, once, on the runtime at hand; again when that one ended.
    pub(crate) fn ensure_monitored(self: &Arc<Self>) {
        if self.monitored.load(Relaxed) || self.monitored.swap(true, Relaxed) {
            return;
        }
        if !start(self) {
            self.monitored.store(false, Relaxed);
        }
    }

    pub(crate) fn not_monitored(&self) {
        self.monitored.store(false, Relaxed);
    }
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
