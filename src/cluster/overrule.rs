//! What the operator says of a node, beside its own health.

use std::sync::Arc;
use std::time::Instant;

use crate::backend::Backend;
use crate::clock;
use crate::cluster::FlusterCluster;
use crate::cluster::engine::{Effects, Engine, EngineState};
use crate::cluster::events::Event;
use crate::error::{Error, ErrorKind, Outcome};
use crate::health::admission::Overrule;

impl FlusterCluster {
    /// Takes a node out of service by hand, for as long as [`restore_node`](Self::restore_node) is not called: its keys
    /// are served by their stand-ins, as if it were out.
    ///
    /// New calls to it fail with [`ErrorKind::NodeOut`] and [`Outcome::NotSent`], also those of a client that was
    /// handed out before. What is in flight ends, exclusive connections on loan included, and what settles what the
    /// node gave out passes: a queue's acknowledgements, renewals and releases, the deletes of a
    /// [`Cache`](crate::cache::Cache).
    ///
    /// Its health goes on to be watched, but [does not count](crate::guide::topology#draining) for the others. The name
    /// stays drained whatever [`set_nodes`](Self::set_nodes) does meanwhile. To drain a drained node does nothing.
    ///
    /// ```
    /// # let cluster = fluster::FlusterCluster::from_urls(["redis://10.0.0.1", "redis://10.0.0.2"])?;
    /// cluster.drain_node("10.0.0.1:6379")?;
    /// assert_eq!(cluster.get_client("any key")?.node().as_str(), "10.0.0.2:6379");
    ///
    /// cluster.restore_node("10.0.0.1:6379")?;
    /// assert_eq!(cluster.status().active(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when the cluster has no node of this name.
    pub fn drain_node(&self, name: impl AsRef<str>) -> Result<(), Error> {
        self.engine().drain(name.as_ref(), true)
    }

    /// Ends what [`drain_node`](Self::drain_node) began: the node serves its own keys again, as soon as its health
    /// allows, and unless it is drained at all instances ([`SharedHealth`](https://docs.rs/fluster/latest/fluster/guide/fleet/index.html)). For a node that is not
    /// drained here it does nothing. [Example](crate::guide::by_example#nodes).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when the cluster has no node of this name, and none was drained under it.
    pub fn restore_node(&self, name: impl AsRef<str>) -> Result<(), Error> {
        self.engine().drain(name.as_ref(), false)
    }

    /// Has a node asked for a sign of life now: one that is out is probed as soon as its back-off allows, half a second
    /// from now at most unless [set otherwise](crate::Penalty::demand_max); one that is in gets a check, whose failures
    /// count as strikes. It does not wait for the answer, which [`events`](Self::events) and [`status`](Self::status)
    /// show. [Example](crate::guide::by_example#nodes).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when the cluster has no node of this name.
    pub fn probe_node(&self, name: impl AsRef<str>) -> Result<(), Error> {
        self.engine().probe(name.as_ref())
    }
}

impl Engine {
    pub(crate) fn probe(self: &Arc<Self>, name: &str) -> Result<(), Error> {
        // Who asks may be the first to ask anything.
        self.ensure_monitored();
        let now = clock::now();
        self.locked(|state, _| {
            let snapshot = self.snapshot.load();
            let backend = snapshot.nodes.iter().find(|b| *b.id() == *name);
            let backend = backend.ok_or_else(|| unknown(name))?;
            state.health.check(backend.key(), now);
            Ok::<_, Error>(())
        })?;
        self.wake.notify_one();
        Ok(())
    }

    pub(crate) fn drain(&self, name: &str, drained: bool) -> Result<(), Error> {
        let now = clock::now();
        self.locked(|state, effects| {
            let snapshot = self.snapshot.load();
            let backend = snapshot.nodes.iter().find(|b| *b.id() == *name);
            let was_drained = state.drained.contains(name);
            if backend.is_none() && (drained || !was_drained) {
                return Err(unknown(name));
            }
            if was_drained == drained {
                return Ok(());
            }
            match (drained, backend) {
                (true, Some(backend)) => drop(state.drained.insert(backend.id().clone())),
                // It may be gone meanwhile.
                _ => drop(state.drained.remove(name)),
            }
            if let Some(backend) = backend {
                self.restand(state, effects, backend, now);
            }
            Ok(())
        })?;
        // Others may be let go sooner now.
        self.wake.notify_one();
        Ok(())
    }

    /// A node's name was drained or restored: it stands otherwise from now on.
    pub(super) fn restand(
        &self,
        state: &mut EngineState,
        effects: &mut Effects,
        backend: &Backend,
        now: Instant,
    ) {
        let (key, node) = (backend.key(), backend.id().clone());
        let drained = state.is_drained(&node);
        let before = state.health.overruled(key);
        if before.drained == drained {
            // By others it was, or is.
            return;
        }
        state.health.overrule(key, Overrule { drained, ..before });
        if !drained {
            // It is taken as it is, but not as it was before it was drained.
            self.recovery.accept(key);
            if let Some(t) = state.health.unready(key, now) {
                self.publish(state, effects, t, now);
            }
        }
        self.stand(state, effects, key, now);
        backend.meter().drained(drained);
        effects.tell(match drained {
            true => {
                tracing::info!(cluster = self.limits.named(), %node, "node is drained");
                Event::NodeDrained { node }
            }
            false => {
                tracing::info!(cluster = self.limits.named(), %node, "node is restored");
                Event::NodeRestored { node }
            }
        });
        self.tell_outage(state, now);
    }
}

impl Engine {
    /// A node that serves has to be prepared after all.
    pub(super) fn unready(&self, backend: &Backend) {
        let (key, now) = (backend.key(), clock::now());
        self.locked(|state, effects| {
            if let Some(t) = state.health.unready(key, now) {
                self.publish(state, effects, t, now);
            }
        });
        self.wake.notify_one();
    }
}

fn unknown(name: &str) -> Error {
    let text = format!("no node is named {name:?}: see `status()` for the names in use");
    Error::new(ErrorKind::Invalid, Outcome::NotSent, text)
}
