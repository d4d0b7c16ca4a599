//! One change of one node's health, made visible: gate, snapshot, metrics, log, event.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::backend::gate::Pass;
use crate::clock;
use crate::cluster::engine::{Effects, Engine, EngineState, set_watch};
use crate::cluster::events::Event;
use crate::cluster::outage::Line;
use crate::connection::stats::NodeStats;
use crate::health::verdict::Reason;
use crate::health::{NodeState, Transition};

impl Engine {
    /// Publishes one change of one node: gate, snapshot, event, metrics.
    pub(crate) fn publish(
        &self,
        state: &mut EngineState,
        effects: &mut Effects,
        t: Transition<u64>,
        now: Instant,
    ) {
        let Some(backend) = self.stand(state, effects, t.key, now) else {
            return;
        };
        backend.meter().state(t.to);
        self.announce(state, effects, &backend, t, now);
        self.tell_outage(state, now);
    }

    /// Makes a node's standing what callers meet: its gate, and whether it is live in the next snapshot. But for a
    /// change of the set of nodes nobody else writes either.
    pub(super) fn stand(
        &self,
        state: &EngineState,
        effects: &mut Effects,
        key: u64,
        now: Instant,
    ) -> Option<Arc<Backend>> {
        let old = self.snapshot.load();
        let index = old.nodes.iter().position(|b| b.key() == key)?;
        let backend = Arc::clone(&old.nodes[index]);
        let (standing, was) = (state.health.standing(key), backend.gate().read());
        if standing.settles && !was.settles() {
            backend.lane().dial_at_will(now);
        }
        let returns = standing.serves && !old.live.contains(index);
        if returns {
            backend.stats().returned(now);
        }
        let epoch = state.health.epoch(key).unwrap_or_else(|| was.epoch());
        backend.gate().set(epoch, standing);
        if old.live.contains(index) != standing.serves {
            let next = old.with_live(index, standing.serves);
            self.snapshot.store(Arc::new(next));
        }
        let kept = |pass: Pass| pass.is_kept() && !pass.admits();
        let (node, is_kept) = (backend.id(), kept(backend.gate().read()));
        if is_kept != kept(was) {
            match is_kept {
                true => {
                    tracing::warn!(%node, "this process has the node out, and the fleet does not: its keys fail here")
                }
                false => tracing::info!(%node, "the node is no longer kept while it is out here"),
            }
            effects.tell(Event::NodeKept {
                node: node.clone(),
                kept: is_kept,
            });
        }
        set_watch(state, &backend, now);
        self.published.send_modify(|n| *n += 1);
        Some(backend)
    }

    /// Says what is due of an outage: here for all who need the nodes, and not once by each of them.
    pub(crate) fn tell_outage(&self, state: &mut EngineState, now: Instant) {
        let cluster = self.limits.named();
        // What the operator did is no outage.
        let of = state.health.in_use();
        let live = self.snapshot.load().live.count();
        match state.outage.seen(of.saturating_sub(live), of, now) {
            Some(Line::All) => {
                tracing::error!(
                    cluster,
                    nodes = of,
                    effect = "every call fails",
                    "the last node went out"
                )
            }
            Some(Line::Lasting { out, out_for }) => {
                let effect = match out >= of {
                    true => "every call fails",
                    false => "stand-ins serve their keys",
                };
                tracing::info!(cluster, out, nodes = of, ?out_for, effect, "nodes are out")
            }
            Some(Line::Over { out_for }) => {
                tracing::info!(
                    cluster,
                    ?out_for,
                    effect = "calls are served",
                    "a first node is back"
                )
            }
            None => {}
        }
    }

    fn announce(
        &self,
        state: &mut EngineState,
        effects: &mut Effects,
        backend: &Arc<Backend>,
        t: Transition<u64>,
        now: Instant,
    ) {
        let (node, address) = (backend.id().clone(), backend.node().endpoint());
        if t.from.admits() != t.to.admits() {
            state.since.insert(t.key, clock::time_of_day());
        }
        let reason = t.reason.unwrap_or(Reason::Io);
        let retry_after = t
            .until
            .map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        // One that was to be prepared, and cannot be reached, was not said to be out before.
        let is_new = t.from.admits() || !state.out_since.contains_key(&t.key);
        if is_new && t.to == NodeState::Down {
            state.out_since.entry(t.key).or_insert(now);
            NodeStats::count(&backend.stats().ejections);
            backend.meter().ejected(reason.as_str());
            tracing::warn!(
                cluster = self.limits.named(),
                %node,
                %address,
                %reason,
                ?retry_after,
                client_suspect = t.client_suspect,
                effect = "stand-ins serve its keys",
                "node is out"
            );
            effects.shut(Arc::clone(backend));
            effects.tell(Event::NodeDown {
                node,
                reason,
                retry_after,
            });
        } else if t.to == NodeState::Down {
            tracing::debug!(%node, %reason, ?retry_after, "node stays out");
            effects.tell(Event::NodeStillDown {
                node,
                reason,
                retry_after,
            });
        } else if t.to.admits() && !t.from.admits() {
            let out_for = state
                .out_since
                .remove(&t.key)
                .map_or(Duration::ZERO, |at| now - at);
            tracing::info!(cluster = self.limits.named(), %node, %address, ?out_for, effect = "it serves its own keys", "node is back");
            effects.tell(Event::NodeUp { node, out_for });
        } else {
            tracing::debug!(%node, from = t.from.as_str(), to = t.to.as_str(), "node changes state");
        }
    }
}
