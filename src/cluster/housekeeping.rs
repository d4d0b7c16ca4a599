//! What is looked after once a second: metrics, idle connections, speed, signs of life.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join;
use tokio::time::{MissedTickBehavior, interval};

use crate::backend::Backend;
use crate::clock::{self, later, now_micros};
use crate::cluster::engine::{Engine, Snapshot, set_watch};
use crate::cluster::events::Event;
use crate::cluster::evidence::say_stalls;
use crate::cluster::monitor::no_answer;
use crate::cluster::options::SlowNodes;
use crate::cluster::recovery;
use crate::connection::link::Link;
use crate::health::latency::Histogram;
use crate::health::slowness;
use crate::health::verdict::{ProbeResult, Reason, Soft, Verdict};

const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// A node that was silent for this long, ± 20 %, is asked for a sign of life.
const HEARTBEAT: Duration = Duration::from_secs(15);

pub(super) async fn run_housekeeping(engine: &Arc<Engine>, number: u64) {
    let mut tick = interval(HOUSEKEEPING);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut window_began = clock::now();
    // What the nodes that are used answered in this window.
    let mut window: BTreeMap<u64, Histogram> = BTreeMap::new();
    let mut looks = false;
    loop {
        tick.tick().await;
        if !engine.tasks.pulse().is_current(number) {
            return;
        }
        // A task of its own, for those who asked for it: a look may take longer than a tick.
        if !looks && engine.recovery.is_on() {
            looks = true;
            let looking = Arc::clone(engine);
            let look = async move { recovery::run_look(&looking, number).await };
            // A cluster that closes needs none.
            let _ = engine.tasks.spawn(look);
        }
        let snapshot = engine.snapshot.load_full();
        let now = clock::now();
        for backend in snapshot.nodes.iter().filter(|b| b.is_used()) {
            window
                .entry(backend.key())
                .or_default()
                .add(&backend.flush());
        }
        // A tick that comes a hair early ends the window too: the next one is a whole second later.
        if now - window_began + HOUSEKEEPING / 2 >= slowness::WINDOW {
            window_began = now;
            compare_speed(engine, &snapshot, &std::mem::take(&mut window), now);
        }
        engine.locked(|state, _| {
            for backend in snapshot.nodes.iter() {
                set_watch(state, backend, now);
                if let Some(is) = state.health.state(backend.key()) {
                    let degraded = state.slowness.is_degraded(backend.key());
                    let drained = state.health.overruled(backend.key()).drained;
                    backend.meter().alive(is, degraded, drained);
                }
            }
            engine.tell_outage(state, now);
            say_stalls(state, now);
        });
        #[cfg(feature = "near")]
        crate::cluster::near::report(engine);
        for backend in snapshot.nodes.iter() {
            if let Some(pool) = backend.pool_if_used() {
                pool.sweep(engine.limits.idle_timeout);
                let (open, idle) = pool.sizes();
                backend.meter().pool(open, idle);
            }
            if backend.is_used() {
                backend.refresh_in_time(now);
            }
            heartbeat(engine, number, backend);
        }
    }
}

/// Closes a window of the latency comparison.
fn compare_speed(
    engine: &Arc<Engine>,
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
                b.stats().set_usual(usual);
            }
            (b.key(), answers.and_then(|a| a.quantile(0.5)))
        })
        .collect();
    let slow = engine.locked(|state, effects| {
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
    if engine.options.slow_nodes == SlowNodes::Suspect {
        for backend in slow {
            let epoch = backend.gate().read().epoch();
            engine.apply(
                &backend,
                epoch,
                Verdict::Soft(Soft::Strike(Reason::Timeout)),
                now,
            );
        }
    }
}

/// Asks a node that nobody has heard for a while for a sign of life, on the connection there is; and, whether or
/// not others are busy, the exclusive connection that was idle for longest, which somebody between may have forgotten.
///
/// Nodes that nobody uses have none, and are left alone: a thousand idle applications must not keep a
/// server busy.
fn heartbeat(engine: &Arc<Engine>, number: u64, backend: &Arc<Backend>) {
    if !backend.gate().read().settles() {
        return;
    }
    let patience = HEARTBEAT.mul_f64(0.8 + 0.4 * fastrand::f64());
    let silent_for = now_micros().saturating_sub(backend.stats().last_heard());
    let is_quiet = silent_for >= patience.as_micros() as u64;
    // With something in flight on it somebody asks already, and what comes of it is seen. On loan is another matter:
    // one that blocks, or borrowers who give up, say nothing.
    let is_idle = |lane: &Arc<Link>| is_quiet && lane.wire().in_flight() == 0;
    let lane = backend.lane().get().filter(is_idle);
    let idle = backend
        .pool_if_used()
        .and_then(|pool| pool.to_be_asked(patience));
    if lane.is_none() && idle.is_none() {
        return;
    }
    let (engine, backend) = (Arc::clone(engine), Arc::clone(backend));
    let tasks = Arc::clone(&engine.tasks);
    let beat = async move {
        let epoch = backend.gate().read().epoch();
        let limit = engine.limits.response_timeout;
        let (lane, idle) = join(
            is_silent(&backend, lane, limit),
            is_silent(&backend, idle, limit),
        )
        .await;
        // One that was forgotten while another one is heard says nothing of the node.
        if !is_quiet || !lane.or(idle).unwrap_or_default() {
            return;
        }
        let began = clock::now();
        let probe = engine.care.probe.probe(Arc::clone(&backend));
        let seen = tokio::time::timeout(limit, probe).await;
        let seen = seen.unwrap_or_else(|_| no_answer(began, later(began, limit)));
        let reason = match engine.probe_result(number, &seen) {
            ProbeResult::Ok => return,
            // It was us who did not listen; the next heartbeat asks again.
            ProbeResult::NotRun => return,
            ProbeResult::Failed(reason) | ProbeResult::NotReady(reason) => reason,
            ProbeResult::Config => Reason::Config,
            ProbeResult::NotRedis => Reason::NotRedis,
        };
        // Suspicion only: nobody asked for this node, so there is time for a second opinion.
        engine.apply(
            &backend,
            epoch,
            Verdict::Soft(Soft::Strike(reason)),
            clock::now(),
        );
    };
    // A cluster that closes needs no heartbeat.
    let _ = tasks.spawn(beat);
}

/// Whether an idle connection gives no sign of life; `None` without one. Then it is used no more, and neither are
/// exclusive ones that were idle as long.
async fn is_silent(
    backend: &Arc<Backend>,
    link: Option<Arc<Link>>,
    limit: Duration,
) -> Option<bool> {
    let (link, began) = (link?, clock::now());
    let is_alive = link.is_alive(limit).await;
    if !is_alive {
        // A no-op for what is not the lane, but for the mark that nothing is put on it any more.
        backend.lane().retire(&link);
        backend.suspect_idle(began);
        if let Some(pool) = backend.pool_if_used() {
            pool.discard_dead();
        }
    }
    Some(!is_alive)
}
