//! Reads that this process's memory answers, while what it has is current.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::task::coop::consume_budget;
use tokio::time::timeout;

use crate::backend::Backend;
use crate::backend::tracking::Tracking;
use crate::cache::{Cache, Codec};
use crate::clock::{self, micros};
use crate::cluster::{Engine, FlusterCluster};
use crate::error::{Error, ErrorKind, Outcome};
use crate::near::{Answered, Begun, Bytes, Count, Found, Near, Registry, Store, Told};
use crate::node::NodeId;
use crate::replication::ReadFrom;

/// A connection that gave no sign of life for so many times `max_silence` is given up.
const PATIENCE: u32 = 3;

/// What a cache keeps here.
pub(super) struct NearCache {
    store: Arc<Store>,
    registry: Arc<Registry>,
}

/// What a read found.
pub(super) enum Looked {
    Hit(Bytes),
    /// Its server is to be asked.
    Ask(Arc<Backend>, Arc<Tracking>),
    /// The lanes are to be asked: nothing could be kept.
    Lanes,
}

impl NearCache {
    pub(super) fn new(cluster: &FlusterCluster, prefix: &[u8], near: Near) -> Self {
        let store = Arc::new(Store::new(prefix, near));
        let registry = Arc::clone(cluster.engine().invalidations().near());
        registry.add(&store);
        Self { store, registry }
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Looks `full` up.
    pub(super) fn look_up(&self, cluster: &FlusterCluster, full: &[u8]) -> Looked {
        let snapshot = cluster.engine().topology();
        let Some(backend) = snapshot.route(full) else {
            return Looked::Lanes;
        };
        let tracking = backend.near().tracking();
        // The proof first, then the time, then the entry.
        let judged = tracking.as_ref().map_or((0, 0), |t| t.current().judged());
        let now = micros(clock::now());
        match (self.store.look_up(full, judged, now), &*tracking) {
            (Found::Hit(bytes), Some(tracking)) => {
                if self.store.wants_proof(judged.1, now) {
                    backend.ask_tracked(tracking, PATIENCE * self.store.options().max_silence);
                }
                Looked::Hit(bytes)
            }
            (_, Some(tracking)) if judged.0 != 0 => {
                Looked::Ask(Arc::clone(backend), Arc::clone(tracking))
            }
            (_, tracking) => {
                if let Some(ended) = tracking {
                    backend.forsake(ended);
                }
                backend.track(&self.registry);
                Looked::Lanes
            }
        }
    }

    /// Reads `full` from its server, and keeps what it says; `None` when the lanes have to be asked.
    ///
    /// # Cancellation
    ///
    /// Safe: those who wait for this read then read for themselves.
    pub(super) async fn read(
        &self,
        (backend, tracking): (Arc<Backend>, Arc<Tracking>),
        full: &[u8],
        deadline: Instant,
    ) -> Option<Bytes> {
        let now = clock::now();
        let left = deadline.saturating_duration_since(now);
        let limit = backend.limits().response_timeout.min(left);
        // Before it is sent: what is told of it from now on takes its place away.
        let (epoch, asked) = (tracking.current().epoch(), micros(now));
        let silence = self.store.options().silence();
        if epoch == 0 {
            return None;
        }
        let begun = self
            .store
            .places()
            .begin(full, epoch, asked, silence, |tell| {
                // It is of our making.
                let waiting = tell
                    .as_ref()
                    .and_then(|tell| tell.downcast_ref::<watch::Sender<Option<Bytes>>>());
                match waiting {
                    Some(sender) => sender.subscribe(),
                    None => {
                        let (sender, receiver) = watch::channel(None);
                        *tell = Some(Box::new(sender));
                        receiver
                    }
                }
            });
        let id = match begun {
            Begun::Lead(id) => id,
            Begun::Follow(mut receiver) => {
                let landed = receiver.wait_for(Option::is_some).await;
                let landed = landed.ok().and_then(|bytes| bytes.clone());
                if let Some(bytes) = landed {
                    return Some(bytes);
                }
                // Whom we followed was overtaken or has gone: we read for ourselves, and keep nothing.
                let answered = backend.read_tracked(&tracking, full, now, limit).await?;
                return Some(bytes_of(answered));
            }
        };
        let lead = Lead {
            store: &self.store,
            key: full,
            id,
        };
        let answered = backend.read_tracked(&tracking, full, now, limit).await;
        let Some(answered) = answered else {
            self.store.counts().add(Count::Lost);
            return None;
        };
        let (tell, bytes) = self.store.land(full, id, (epoch, asked), answered);
        drop(lead);
        if let Some(sender) = tell.and_then(|tell| tell.downcast::<watch::Sender<_>>().ok()) {
            sender.send_replace(Some(bytes.clone()));
        }
        Some(bytes)
    }

    /// The same, for no longer than `patience`: then the lanes are asked, who may ask another node.
    pub(super) async fn read_within(
        &self,
        cluster: &FlusterCluster,
        asked: (Arc<Backend>, Arc<Tracking>),
        full: &[u8],
        deadline: Instant,
        patience: Option<Duration>,
    ) -> Option<Bytes> {
        let tasks = cluster.engine().tasks();
        match patience {
            Some(patience) if tasks.has_runtime() => {
                let read = async { timeout(patience, self.read(asked, full, deadline)).await };
                tasks.enter(read).await.ok().flatten()
            }
            _ => self.read(asked, full, deadline).await,
        }
    }

    /// Before `full` is written: who must tell of it.
    pub(super) fn writing(&self, cluster: &FlusterCluster, full: &[u8]) -> Option<Owed> {
        let snapshot = cluster.engine().topology();
        let backend = snapshot.route(full)?;
        let tracking = backend.near().tracking();
        let tracking = tracking.as_ref()?;
        let current = tracking.current();
        let before = current.told();
        self.store.has(full, current.epoch()).then(|| Owed {
            backend: Arc::clone(backend),
            tracking: Arc::clone(tracking),
            before,
        })
    }
}

impl<V, C: Codec<V>> Cache<V, C> {
    /// What this process has, or what the key's server says over the connection that tells of changes; `None` when
    /// the replicas have to be asked as ever.
    pub(super) async fn read_near(
        &self,
        near: &NearCache,
        full: &[u8],
        deadline: Instant,
    ) -> Option<Result<Option<V>, Error>> {
        let cluster = &self.inner.cluster;
        // A loop over hits must not keep the connection's task from hearing what has changed.
        consume_budget().await;
        let (backend, tracking) = match near.look_up(cluster, full) {
            Looked::Hit(bytes) => return Some(self.decode_near(bytes, None)),
            Looked::Ask(backend, tracking) => (backend, tracking),
            Looked::Lanes => return None,
        };
        let patience = match &self.inner.read_from {
            ReadFrom::Hedged { after } => Some(after.wait(backend.stats().usual())),
            _ => None,
        };
        let asked = (Arc::clone(&backend), tracking);
        let bytes = near
            .read_within(cluster, asked, full, deadline, patience)
            .await?;
        if bytes.is_none() && self.is_doubted(&backend) {
            return None;
        }
        Some(self.decode_near(bytes, Some(backend.id())))
    }

    /// Whether the node's word that there is no value is not enough.
    fn is_doubted(&self, backend: &Backend) -> bool {
        let repair = self.inner.read_repair.filter(|_| self.inner.replicas > 1);
        repair.is_some_and(|repair| {
            let stats = backend.stats();
            stats.returned_within(Some(repair.window), clock::now())
        })
    }

    fn decode_near(&self, bytes: Bytes, node: Option<&NodeId>) -> Result<Option<V>, Error> {
        self.decode_bytes(bytes.map(|bytes| bytes.to_vec()), node)
    }

    /// The values of `keys`: what this process has at once, the others together.
    pub(super) async fn read_near_many(
        &self,
        near: &NearCache,
        keys: &[Vec<u8>],
    ) -> Vec<Result<Option<V>, Error>> {
        let deadline = self.deadline();
        let reads = keys.iter().map(|key| async move {
            match self.read_near(near, key, deadline).await {
                Some(read) => Ok(read),
                None => Err(key),
            }
        });
        let reads = join_all(reads).await;
        let rest: Vec<Vec<u8>> = reads
            .iter()
            .filter_map(|read| read.as_ref().err().map(|key| (*key).clone()))
            .collect();
        let mut rest = match rest.is_empty() {
            true => Vec::new(),
            false => self.read_together(&rest).await,
        }
        .into_iter();
        let nothing = || {
            let text = "one answer per key is missing".to_owned();
            Err(Error::new(
                ErrorKind::ConnectionLost,
                Outcome::NotSent,
                text,
            ))
        };
        let reads = reads.into_iter();
        reads
            .map(|read| read.unwrap_or_else(|_| rest.next().unwrap_or_else(nothing)))
            .collect()
    }
}

/// A write of a key that is kept: its server must tell of it.
pub(super) struct Owed {
    backend: Arc<Backend>,
    tracking: Arc<Tracking>,
    before: Told,
}

impl Owed {
    /// It was executed by these.
    pub(super) fn written<'a>(self, mut by: impl Iterator<Item = &'a NodeId>) {
        if by.any(|node| node == self.backend.id()) {
            self.tracking.current().owes(self.before);
        }
    }
}

/// A write that no caller of this cache asked for by name: what was read before its end is not kept.
pub(super) struct Written<'a> {
    registry: &'a Registry,
    full: &'a [u8],
}

impl<'a> Written<'a> {
    pub(super) fn new(engine: &'a Engine, full: &'a [u8]) -> Self {
        let registry = engine.invalidations().near();
        Self { registry, full }
    }
}

impl Drop for Written<'_> {
    fn drop(&mut self) {
        self.registry.forget(self.full);
    }
}

/// A read whose place is its own until it is dropped.
struct Lead<'a> {
    store: &'a Store,
    key: &'a [u8],
    id: u64,
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.store.places().leave(self.key, self.id);
    }
}

fn bytes_of(answered: Answered) -> Bytes {
    match answered {
        Answered::Value(bytes, _) => Some(bytes),
        Answered::Nothing(_) => None,
    }
}
