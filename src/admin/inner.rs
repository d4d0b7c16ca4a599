//! What all requests share.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::access::Access;
use super::depths::Depths;
use super::knocks::Knocks;
use crate::cluster::{Engine, FlusterCluster};
use crate::placement::Fingerprint;
use crate::queue::WeakQueue;

/// So many read events at once.
pub(super) const READERS: usize = 16;

/// What is shown. None of it keeps alive what it shows: the application's last handle ends the cluster.
pub(super) struct Parts {
    pub(super) engine: Arc<Engine>,
    pub(super) queues: Vec<WeakQueue>,
    #[cfg(feature = "gossip")]
    pub(super) gossip: Option<crate::gossip::WeakGossip>,
}

impl Parts {
    pub(super) fn new(cluster: &FlusterCluster) -> Self {
        Self {
            // As the cluster's own tasks do; the last handle closes it.
            engine: Arc::clone(cluster.engine()),
            queues: Vec::new(),
            #[cfg(feature = "gossip")]
            gossip: None,
        }
    }
}

pub(super) struct Inner {
    pub(super) parts: Parts,
    pub(super) access: Access,
    pub(super) readers: Arc<Semaphore>,
    pub(super) depths: Depths,
    pub(super) knocks: Knocks,
    pub(super) began: Instant,
    /// Guards the shares of keys, which are those of one placement; held while they are computed.
    shares: Mutex<Option<(Fingerprint, Arc<[f64]>)>>,
}

impl Inner {
    pub(super) fn new(parts: Parts, access: Access) -> Self {
        Self {
            knocks: Knocks::new(&parts.engine.limits().cluster),
            parts,
            access,
            readers: Arc::new(Semaphore::new(READERS)),
            depths: Depths::default(),
            began: crate::clock::now(),
            shares: Mutex::new(None),
        }
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.parts.engine
    }

    pub(super) fn is_closed(&self) -> bool {
        self.engine().tasks().is_closed()
    }

    /// The share of the keys that each node owns, in the order of the nodes.
    pub(super) fn shares(&self) -> Arc<[f64]> {
        let topology = self.engine().topology_full();
        let fingerprint = topology.table.fingerprint();
        let mut known = self.shares.lock();
        match &*known {
            Some((of, shares)) if *of == fingerprint && shares.len() == topology.nodes.len() => {
                Arc::clone(shares)
            }
            _ => {
                let shares: Arc<[f64]> = topology.table.shares().into();
                *known = Some((fingerprint, Arc::clone(&shares)));
                shares
            }
        }
    }
}
