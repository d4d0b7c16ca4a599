//! A queue that does not keep its cluster alive.

use std::sync::Arc;

use crate::cluster::WeakCluster;
use crate::queue::options::QueueOptions;
use crate::queue::{Inner, Queue};

/// What is left of a queue without its cluster.
#[derive(Clone)]
pub(crate) struct WeakQueue {
    cluster: WeakCluster,
    inner: Arc<Inner>,
    options: Arc<QueueOptions>,
}

impl WeakQueue {
    /// The queue, while its cluster is there.
    pub(crate) fn upgrade(&self) -> Option<Queue> {
        Some(Queue {
            cluster: self.cluster.upgrade()?,
            inner: Arc::clone(&self.inner),
            options: Arc::clone(&self.options),
        })
    }
}

impl Queue {
    pub(crate) fn downgrade(&self) -> WeakQueue {
        WeakQueue {
            cluster: self.cluster.downgrade(),
            inner: Arc::clone(&self.inner),
            options: Arc::clone(&self.options),
        }
    }
}
