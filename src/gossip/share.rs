//! The instances of an application share what they know of the health of Redis nodes.

#[cfg(feature = "serde")]
mod config;
mod council;
mod events;
mod opinion;
mod settings;

use std::fmt;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio::task::AbortHandle;

#[cfg(feature = "serde")]
pub use self::config::{FleetConfig, FleetPolicy};
use self::council::Sharing;
pub use self::events::{FleetEvent, FleetEvents};
pub(crate) use self::opinion::Opinions;
pub use self::opinion::{Decision, Effect, NodeOpinion, NodeReport};
pub use self::settings::{Fleet, NoQuorum};
use super::handle::Gossip;
use super::shared::Shared;
use super::testimony::check_scope;
use crate::build_error::BuildError;
use crate::cluster::{Engine, FlusterCluster};
use crate::error::{Error, ErrorKind, Outcome};
use crate::fleet::{ITEMS, node_key};
use crate::tasks::{NO_RUNTIME, SpawnError};

impl FlusterCluster {
    /// Shares the health of this cluster's nodes with the other instances of the application, as
    /// [the guide](crate::guide::fleet) says: what each of them finds out, all know, and with [`Fleet::agreed`] all do the
    /// same about it.
    ///
    /// It ends with the handle, with the cluster and with the last handle of `gossip`; then each node stands as its own
    /// health says.
    ///
    /// # Errors
    ///
    /// [`BuildError::Option`] for a setting that cannot be, a scope that another cluster has on this `gossip`, a cluster
    /// that is shared already, or without a runtime; [`BuildError::Closed`] after a shutdown.
    ///
    /// ```no_run
    /// use fluster::FlusterCluster;
    /// use fluster::gossip::{Fleet, Gossip};
    ///
    /// # fn run(cluster: &FlusterCluster, gossip: &Gossip) -> Result<(), Box<dyn std::error::Error>> {
    /// let health = cluster.share_health(gossip, Fleet::agreed())?;
    /// for opinion in health.opinions() {
    ///     println!("{}: {}, {} of {} say down", opinion.node, opinion.decision, opinion.down, opinion.live);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn share_health(&self, gossip: &Gossip, fleet: Fleet) -> Result<SharedHealth, BuildError> {
        fleet.check()?;
        check_scope(&fleet.scope).map_err(|why| BuildError::Option { name: "scope", why })?;
        let (engine, shared) = (self.engine(), gossip.shared_arc());
        if !engine.begin_sharing() {
            let why = "the cluster shares its health already: drop the other handle first".into();
            return Err(BuildError::Option { name: "fleet", why });
        }
        let inner = Arc::new(Inner {
            engine: Arc::downgrade(engine),
            gossip: Arc::downgrade(shared),
            scope: fleet.scope.as_str().into(),
            is_live: Mutex::new(true),
            opinions: Opinions::default(),
            events: broadcast::Sender::new(super::events::BACKLOG),
        });
        // From here on whatever fails ends with the handle.
        let mut health = SharedHealth { inner, task: None };
        if let Err(why) = shared.begin_share(&fleet.scope, &health.inner.opinions) {
            return Err(BuildError::Option { name: "scope", why });
        }
        let sharing = Sharing::new(&health.inner, engine, shared, fleet);
        let task = engine.tasks().spawn(sharing.run());
        health.task = Some(task.map_err(|e| match e {
            SpawnError::Closed => BuildError::Closed,
            SpawnError::NoRuntime => BuildError::Option {
                name: "runtime",
                why: NO_RUNTIME.into(),
            },
        })?);
        Ok(health)
    }
}

/// A cluster whose health is shared. Dropping it ends that, and whatever the others have said of its nodes.
#[must_use = "dropping it ends the sharing"]
pub struct SharedHealth {
    inner: Arc<Inner>,
    task: Option<AbortHandle>,
}

/// Shared by the handle and the task.
struct Inner {
    engine: Weak<Engine>,
    gossip: Weak<Shared>,
    scope: Box<str>,
    /// Guards that nothing is done to the nodes once it has ended.
    is_live: Mutex<bool>,
    opinions: Opinions,
    events: broadcast::Sender<FleetEvent>,
}

impl Inner {
    /// Lifts everything, once: by the handle, or by the task, whichever ends first.
    fn end(&self) {
        let mut is_live = self.is_live.lock();
        if !std::mem::take(&mut *is_live) {
            return;
        }
        if let Some(gossip) = self.gossip.upgrade() {
            gossip.end_share(&self.scope, &self.opinions);
        }
        if let Some(engine) = self.engine.upgrade() {
            engine.heed_nobody();
            engine.end_sharing();
        }
        council::forget_gauges(&self.scope, &self.opinions.load());
    }
}

impl SharedHealth {
    /// What is thought of each node: here, and by the fleet. Empty until the first look, which is a moment after the
    /// start. [Example](crate::guide::by_example#a-fleet).
    #[must_use]
    pub fn opinions(&self) -> Vec<NodeOpinion> {
        self.inner.opinions.load().to_vec()
    }

    /// Takes a node out of service at all instances of the scope, within a second or so, until somebody restores it; of
    /// several who say something of a node the last one counts. It outlives the instance that said it, not the last one.
    /// What draining means is told at [`drain_node`](FlusterCluster::drain_node). [Example](crate::guide::by_example#a-fleet).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when the cluster has no node of this name, or 64 nodes of all scopes are drained;
    /// [`ErrorKind::Closed`] when the cluster or the gossip has ended.
    pub fn drain(&self, node: impl AsRef<str>) -> Result<(), Error> {
        self.say(node.as_ref(), true)
    }

    /// Ends what [`drain`](Self::drain) began, at all instances, whoever began it. [Example](crate::guide::by_example#a-fleet).
    ///
    /// # Errors
    ///
    /// As `drain`.
    pub fn restore(&self, node: impl AsRef<str>) -> Result<(), Error> {
        self.say(node.as_ref(), false)
    }

    fn say(&self, node: &str, on: bool) -> Result<(), Error> {
        let closed = || Error::new(ErrorKind::Closed, Outcome::NotSent, "the sharing has ended");
        let engine = self.inner.engine.upgrade().ok_or_else(closed)?;
        let gossip = self.inner.gossip.upgrade().ok_or_else(closed)?;
        let refuse = |text: String| Error::new(ErrorKind::Invalid, Outcome::NotSent, text);
        if !engine.topology().nodes.iter().any(|b| *b.id() == *node) {
            let text = format!("no node is named {node:?}: see `status()` for the names in use");
            return Err(refuse(text));
        }
        let key = node_key(&self.inner.scope, node);
        let drains = &gossip.picture.borrow().drains;
        if on && drains.is_full() && !drains.is_drained(key) {
            return Err(refuse(
                "64 nodes are drained, and there is room for no more".into(),
            ));
        }
        gossip.wish(|wishes| wishes.say_drain(key, on));
        Ok(())
    }

    /// What is decided from now on. [Example](crate::guide::by_example#a-fleet).
    #[must_use]
    pub fn events(&self) -> FleetEvents {
        FleetEvents::new(self.inner.events.subscribe())
    }
}

impl Drop for SharedHealth {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        self.inner.end();
    }
}

impl fmt::Debug for SharedHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedHealth")
            .field("scope", &self.inner.scope)
            .field("opinions", &self.inner.opinions.load())
            .finish_non_exhaustive()
    }
}

/// How many clusters one instance can share the health of.
pub(crate) const MOST_SHARES: usize = ITEMS;
