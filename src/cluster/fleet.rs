//! What the other processes of a fleet say of the nodes, made part of where each node stands here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::clock::{self, now_micros};
use crate::cluster::engine::{Effects, Engine, EngineState};
use crate::fleet::Said;
use crate::health::NodeState;
use crate::health::admission::Overrule;
use crate::health::verdict::ProbeResult;
use crate::node::NodeId;

/// One node, as this process sees it.
#[derive(Clone, Debug)]
pub(crate) struct NodeFacts {
    pub(crate) key: u64,
    pub(crate) node: NodeId,
    pub(crate) state: NodeState,
    /// What the others are told of it.
    pub(crate) said: Option<Said>,
    pub(crate) silent_for: Duration,
    /// It serves its keys here.
    pub(crate) serves: bool,
    /// Calls to it pass.
    pub(crate) callable: bool,
    /// By an operator, here or at all instances.
    pub(crate) is_drained: bool,
}

/// What is to be made of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FleetWord {
    pub(crate) hold: bool,
    pub(crate) keep: bool,
    /// By an operator, at all instances.
    pub(crate) drained: bool,
    /// It is asked now whether it is there.
    pub(crate) ask: bool,
    /// One that is ready to serve waits for others.
    pub(crate) awaited: bool,
}

impl Engine {
    /// Whether nobody shares the health of the nodes yet; from now on somebody does.
    pub(crate) fn begin_sharing(&self) -> bool {
        !std::mem::replace(&mut self.state.lock().is_shared, true)
    }

    pub(crate) fn end_sharing(&self) {
        self.state.lock().is_shared = false;
    }

    /// How keys are placed, in 64 bits, and all nodes.
    pub(crate) fn fleet_facts(&self) -> (u64, Vec<NodeFacts>) {
        let (now, micros) = (clock::now(), now_micros());
        self.locked(|state, _| {
            // Under the lock, so that the nodes and their health belong together.
            let snapshot = self.snapshot.load();
            let facts = |backend: &Arc<Backend>| {
                let (health, key) = (&state.health, backend.key());
                let standing = health.standing(key);
                let silent_for = micros.saturating_sub(backend.stats().last_heard());
                NodeFacts {
                    key,
                    node: backend.id().clone(),
                    state: health.state(key).unwrap_or(NodeState::Down),
                    said: Said::about(health, key, now),
                    silent_for: Duration::from_micros(silent_for),
                    serves: standing.serves,
                    callable: standing.callable,
                    is_drained: health.overruled(key).drained,
                }
            };
            let nodes = snapshot.nodes.iter().map(facts).collect();
            (snapshot.table.fingerprint().as_u64(), nodes)
        })
    }

    /// Does what the fleet decided about these nodes, by their keys.
    pub(crate) fn heed(self: &Arc<Self>, words: &BTreeMap<u64, FleetWord>) {
        let now = clock::now();
        let (mut changed, mut asks) = (false, false);
        self.locked(|state, effects| {
            let snapshot = self.snapshot.load_full();
            for backend in snapshot.nodes.iter() {
                if let Some(word) = words.get(&backend.key()) {
                    changed |= self.heed_one(state, effects, backend, *word, now);
                    asks |= word.ask && state.health.check(backend.key(), now);
                }
            }
        });
        if changed || asks {
            // Those who are held or let go are probed, also where nobody has called yet.
            self.ensure_monitored();
            self.wake.notify_one();
        }
    }

    /// Whether something is new.
    fn heed_one(
        &self,
        state: &mut EngineState,
        effects: &mut Effects,
        backend: &Arc<Backend>,
        word: FleetWord,
        now: Instant,
    ) -> bool {
        let (key, node) = (backend.key(), backend.id());
        let turns = state.fleet_drained.contains(node) != word.drained;
        if turns {
            match word.drained {
                true => drop(state.fleet_drained.insert(node.clone())),
                false => drop(state.fleet_drained.remove(node)),
            }
            self.restand(state, effects, backend, now);
        }
        let before = state.health.overruled(key);
        let (keep, awaited) = (word.keep, word.awaited);
        let overrule = Overrule {
            keep,
            awaited,
            ..before
        };
        if overrule != before {
            state.health.overrule(key, overrule);
        }
        if before.awaited != awaited {
            // Whoever waits looks again.
            self.recovery.stir();
        }
        if (before.hold, before.keep) == (word.hold, keep) {
            return turns;
        }
        let unit = fastrand::f64();
        match state.health.hold(key, word.hold, now, unit) {
            Some(transition) => self.publish(state, effects, transition, now),
            None => drop(self.stand(state, effects, key, now)),
        }
        true
    }

    /// Nobody shares anything any more: each node stands as its own health says.
    pub(crate) fn heed_nobody(self: &Arc<Self>) {
        let snapshot = self.topology_full();
        let word = |backend: &Arc<Backend>| (backend.key(), FleetWord::default());
        self.heed(&snapshot.nodes.iter().map(word).collect());
        // Names of nodes that are no part of the cluster now.
        self.locked(|state, _| state.fleet_drained.clear());
    }
}

/// A node that somebody doubts was asked.
pub(super) fn count_ask(backend: &Backend, result: ProbeResult) {
    let result = match result {
        ProbeResult::Ok => "ok",
        ProbeResult::NotRun => "not_run",
        _ => "failed",
    };
    let mut labels = backend.labels();
    labels.push(metrics::Label::new("result", result));
    metrics::counter!("fluster_fleet_asks_total", labels).increment(1);
}
