//! What the nodes report, and to whom.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use crate::backend::identity::Identity;
use crate::backend::role::Role;
use crate::backend::stand_in::written;
use crate::backend::{Backend, Observer};
use crate::clock;
use crate::cluster::engine::Engine;
use crate::cluster::events::Event;
use crate::connection::labels::labels;
use crate::connection::proof::OnShift;
use crate::connection::reply::Reply;
use crate::connection::request::LaneRequest;
use crate::connection::resolve::Resolver;
use crate::error::Error;
use crate::health::verdict::{Observation, Verdict};
use crate::node::NodeId;

/// A handle to the engine that the nodes can hold without keeping the cluster alive.
pub(crate) struct Reporter(pub(crate) Weak<Engine>);

impl Reporter {
    /// Says that replies of a node's connection were another's.
    pub(crate) fn on_shift(&self, node: NodeId) -> OnShift {
        let engine = self.0.clone();
        Box::new(move || {
            if let Some(engine) = engine.upgrade() {
                let node = node.clone();
                engine.locked(|_, effects| effects.tell(Event::RepliesShifted { node }));
            }
        })
    }
}

impl Observer for Reporter {
    fn judged(&self, backend: &Arc<Backend>, epoch: u64, verdict: Verdict) {
        let idle = backend.watch().load(Relaxed) == Backend::WATCH_NOTHING;
        // An application's errors are proof of life, and nobody is waiting for that.
        if verdict == Verdict::Neutral || (verdict == Verdict::Alive && idle) {
            return;
        }
        if let Some(engine) = self.0.upgrade() {
            engine.apply(backend, epoch, verdict, clock::now());
        }
    }

    fn timed_out(&self, backend: &Arc<Backend>, epoch: u64, what: Observation) {
        if let Some(engine) = self.0.upgrade() {
            engine.timed_out(backend, epoch, what, clock::now());
        }
    }

    fn succeeded(&self, backend: &Arc<Backend>, epoch: u64) {
        if let Some(engine) = self.0.upgrade() {
            engine.apply(backend, epoch, Verdict::Alive, clock::now());
        }
    }

    fn dialling(&self) {
        if let Some(engine) = self.0.upgrade() {
            engine.ensure_monitored();
        }
    }

    fn has_others(&self) -> bool {
        let engine = self.0.upgrade();
        engine.is_some_and(|engine| engine.topology().live.count() > 1)
    }

    fn identified(&self, backend: &Arc<Backend>, identity: &Identity) {
        tracing::debug!(node = %backend.id(), version = ?identity.version, "a server said who it is");
        if let (Some(engine), Some(version)) = (self.0.upgrade(), identity.version) {
            engine.check_version(backend, version);
        }
        if let (Some(engine), Some(run_id)) = (self.0.upgrade(), &identity.run_id) {
            engine.identified(backend, run_id);
        }
    }

    fn moved(&self, backend: &Arc<Backend>) {
        let node = backend.id().clone();
        let address = backend
            .dialer()
            .resolver
            .as_ref()
            .and_then(Resolver::pinned);
        tracing::info!(%node, ?address, "the node's name leads elsewhere now");
        let labels = labels(&backend.limits().cluster, [("node", node.to_string())]);
        metrics::counter!("fluster_address_changes_total", labels).increment(1);
        if let Some(engine) = self.0.upgrade() {
            let now = clock::now();
            engine.locked(|state, effects| {
                // Commands that still wait at the old server must not put the new one out.
                if let Some(t) = state.health.moved(backend.key(), now) {
                    engine.publish(state, effects, t, now);
                }
                effects.tell(Event::AddressChanged { node });
            });
            // One that is out is asked at once.
            engine.wake.notify_one();
            // Subscriptions follow.
            engine.published.send_modify(|n| *n += 1);
        }
    }

    fn noted<'a>(
        &self,
        backend: &'a Arc<Backend>,
        began: Instant,
        request: LaneRequest<'a>,
        role: Role<'a>,
        deadline: Instant,
    ) -> Option<BoxFuture<'a, Result<Reply, Error>>> {
        let engine = self.0.upgrade()?;
        let notes = engine.owed_at(backend, written(request.request()));
        if notes.is_empty() {
            return None;
        }
        Some(Box::pin(async move {
            let call = engine.execute_noted(backend, began, request, role, &notes, deadline);
            call.await
        }))
    }

    fn sent_aside(&self, backend: &Arc<Backend>, keys: &[Vec<u8>]) {
        let Some(engine) = self.0.upgrade() else {
            return;
        };
        let notes = engine.owed_at(backend, keys.iter().map(Vec::as_slice));
        if !notes.is_empty() {
            engine.enter_late(Some(backend), notes);
        }
    }

    fn retry_after(&self, backend: &Backend) -> Option<Duration> {
        let engine = self.0.upgrade()?;
        let state = engine.state.lock();
        state.health.retry_after(backend.key(), clock::now())
    }
}
