//! Changing the set of nodes under load.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::backend::Backend;
use crate::build_error::BuildError;
use crate::clock;
use crate::cluster::engine::{self, Engine, EngineState};
use crate::cluster::events::{Event, TopologyChange};
use crate::cluster::factory::{BackendFactory, table};
use crate::connection::labels::labels;
use crate::health::admission::{Overrule, Standing};
use crate::node::Node;
use crate::placement::Migration;

impl Engine {
    /// What would move if the set of nodes were this one.
    pub(crate) fn plan(&self, specs: &[Node]) -> Result<Migration, BuildError> {
        let new = table(&self.options.placement, specs)?;
        let table = Arc::clone(&self.snapshot.load().table);
        Ok(table.migration(&new))
    }

    /// Replaces the set of nodes by what `edit` makes of it.
    pub(crate) fn change(
        self: &Arc<Self>,
        edit: impl FnOnce(Vec<Node>) -> Result<Vec<Node>, BuildError>,
    ) -> Result<TopologyChange, BuildError> {
        let _one_at_a_time = self.changing.lock();
        if self.tasks.is_closed() {
            return Err(BuildError::Closed);
        }
        let before = self.locked(|state, _| state.specs.clone());
        let specs = edit(before.clone())?;
        // The new table takes milliseconds for a thousand nodes: built before the state is locked.
        let table = Arc::new(table(&self.options.placement, &specs)?);
        let factory = BackendFactory::new(&self.options, &specs)?;
        let old = self.snapshot.load_full();
        let moved = old.table.moved(&table);
        let fingerprint = table.fingerprint();
        let mut known: BTreeMap<_, _> = old.nodes.iter().map(|b| (b.id().clone(), b)).collect();
        let mut change = TopologyChange {
            added: Vec::new(),
            removed: Vec::new(),
            kept: 0,
            moved,
        };
        let now = clock::now();
        let mut brought = Vec::new();
        self.locked(|state, effects| {
            let nodes: Arc<[Arc<Backend>]> = specs
                .iter()
                .map(|spec| match known.remove(spec.id_ref()) {
                    Some(same) if same.node().endpoint() == spec.endpoint() => {
                        change.kept += 1;
                        Arc::clone(same)
                    }
                    other => {
                        if let Some(moved_away) = other {
                            known.insert(spec.id(), moved_away);
                        }
                        change.added.push(spec.id());
                        let key = state.new_key();
                        state.health.insert(key, now);
                        let drained = state.is_drained(spec.id_ref());
                        let overrule = Overrule {
                            drained,
                            ..Overrule::default()
                        };
                        state.health.overrule(key, overrule);
                        brought.push(key);
                        let weak = Arc::downgrade(self);
                        let (lookups, limits) = (&self.lookups, &self.limits);
                        let new = factory.backend(&weak, spec, key, lookups, limits, &self.tasks);
                        // Its evidence must carry the epoch that the health machine starts it with.
                        let epoch = state.health.epoch(key).unwrap_or_default();
                        new.gate().set(epoch, state.health.standing(key));
                        new.stats().returned(now);
                        new
                    }
                })
                .collect();
            state.specs = specs;
            self.prepare_new(state, &nodes, &brought, now);
            let live = engine::live(state, &nodes);
            let current = self.snapshot.load_full();
            self.snapshot
                .store(Arc::new(current.with_nodes(nodes, table, live)));
            for gone in known.values() {
                change.removed.push(gone.id().clone());
                state.forget(gone.key());
                self.recovery.forget(gone.key());
                // Clients that were handed out are told to ask again; what is in flight goes on.
                let pass = gone.gate().read();
                gone.gate().set(pass.epoch() + 1, Standing::GONE);
                effects.shut(Arc::clone(gone));
            }
            self.published.send_modify(|n| *n += 1);
            effects.tell(Event::TopologyChanged(change.clone()));
        });
        for gone in known.values() {
            gone.flush();
            gone.meter().end();
            if let Some(pool) = gone.pool_if_used() {
                // What comes back from its borrower has no next user, however long clients are held.
                pool.close();
            }
        }
        metrics::gauge!("fluster_keys_moved_ratio", labels(&self.limits.cluster, []))
            .set(change.moved);
        tracing::info!(
            added = change.added.len(),
            removed = change.removed.len(),
            kept = change.kept,
            moved = change.moved,
            %fingerprint,
            cluster = self.limits.named(),
            "the set of nodes changed"
        );
        self.wake.notify_one();
        Ok(change)
    }

    /// Nodes that the set brought are prepared like those that were out, while others serve: with data of theirs nobody
    /// knows where it is from.
    fn prepare_new(
        &self,
        state: &mut EngineState,
        nodes: &[Arc<Backend>],
        brought: &[u64],
        now: Instant,
    ) {
        let serves =
            |b: &Arc<Backend>| state.health.standing(b.key()).serves && !brought.contains(&b.key());
        if !self.recovery.is_on() || !nodes.iter().any(serves) {
            return;
        }
        for backend in nodes.iter().filter(|b| brought.contains(&b.key())) {
            let key = backend.key();
            self.recovery.added(key);
            // It is published with the set.
            if let Some(change) = state.health.unready(key, now) {
                backend.gate().set(change.epoch, state.health.standing(key));
            }
        }
    }
}
