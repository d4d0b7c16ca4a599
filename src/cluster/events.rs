//! What happens to the cluster, as a stream.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::health::verdict::Reason;
use crate::node::NodeId;
use crate::recovery::unknown::UnknownReason;

/// How many events wait for a slow reader before the oldest are dropped.
pub(crate) const BACKLOG: usize = 256;

/// What a change of the set of nodes did.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TopologyChange {
    /// The nodes that are new, or that have a new address under an old name.
    pub added: Vec<NodeId>,
    /// The nodes that are gone, or whose address changed; they finish what is in flight.
    pub removed: Vec<NodeId>,
    /// The nodes that keep their connections and their health.
    pub kept: usize,
    /// The share of all keys whose owner changed, 0 to 1. Exact for rings and the modulo rules, measured on
    /// 16 384 keys (to about ± 0.01) for those that score nodes; [`Migration`](crate::placement::Migration) says more.
    pub moved: f64,
}

/// Something that happened to the cluster.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A node went out; its keys are served by their stand-ins.
    #[non_exhaustive]
    NodeDown {
        /// The node.
        node: NodeId,
        /// What it did.
        reason: Reason,
        /// The time until its first probe.
        retry_after: Duration,
    },
    /// A node that is out was probed, and stays out.
    #[non_exhaustive]
    NodeStillDown {
        /// The node.
        node: NodeId,
        /// What the probe saw.
        reason: Reason,
        /// The time until the next probe.
        retry_after: Duration,
    },
    /// A node answered its probes and serves its own keys again, unless it is drained.
    #[non_exhaustive]
    NodeUp {
        /// The node.
        node: NodeId,
        /// How long it was out.
        out_for: Duration,
    },
    /// The operator [drained](crate::FlusterCluster::drain_node) a node; its keys are served by their stand-ins.
    #[non_exhaustive]
    NodeDrained {
        /// The node.
        node: NodeId,
    },
    /// The operator [restored](crate::FlusterCluster::restore_node) a node: it serves its own keys again, as far as its
    /// health allows.
    #[non_exhaustive]
    NodeRestored {
        /// The node.
        node: NodeId,
    },
    /// The other processes of [the fleet](https://docs.rs/fluster/latest/fluster/guide/fleet/index.html) find a node well that is out here, so its keys stay with
    /// it and calls to it fail; or that is over.
    #[non_exhaustive]
    NodeKept {
        /// The node.
        node: NodeId,
        /// Whether it is so now.
        kept: bool,
    },
    /// A node is much slower than its peers, or no longer is.
    #[non_exhaustive]
    NodeSlow {
        /// The node.
        node: NodeId,
        /// Whether it is slow now.
        slow: bool,
    },
    /// The set of nodes changed.
    TopologyChanged(TopologyChange),
    /// This process was stalled while a call waited; that time is not held against any node.
    #[non_exhaustive]
    ClientStall {
        /// How long no task of this runtime ran.
        lasted: Duration,
    },
    /// A node's name now leads to another address; its connections are replaced.
    #[non_exhaustive]
    AddressChanged {
        /// The node.
        node: NodeId,
    },
    /// Two nodes that were two servers are one now: the name of one of them leads to the server of the other. Both
    /// names are looked up, at once and for a while; see [`AddressChanged`](Self::AddressChanged).
    #[non_exhaustive]
    SameServer {
        /// The node whose connection was made last.
        node: NodeId,
        /// The other one.
        other: NodeId,
    },
    /// On a shared connection of a node, replies did not belong to the commands before them: something between adds or
    /// swallows some. The connection was closed. What it answered within the last second and a round trip may have been
    /// the answer to something else, reads and writes alike; what was kept of it should be dropped.
    #[non_exhaustive]
    RepliesShifted {
        /// The node.
        node: NodeId,
    },
    /// Keys that were written or deleted elsewhere while a node was out were taken from it. More than once for one
    /// return, where processes do not agree when it was.
    #[non_exhaustive]
    KeysInvalidated {
        /// The node.
        node: NodeId,
        /// How many.
        keys: usize,
    },
    /// Nobody knows which keys of a node that returns are old. What is done then says
    /// [`on_unknown`](crate::ClusterBuilder::on_unknown).
    #[non_exhaustive]
    ReturnUnknown {
        /// The node.
        node: NodeId,
        /// Why.
        reason: UnknownReason,
    },
    /// The reader was too slow: this many events were dropped before the next one.
    Missed(u64),
}

/// The events of a cluster, from the moment [`events`](crate::FlusterCluster::events) was called.
///
/// It is a `futures` stream; it ends when the cluster is shut down and dropped. A reader that falls
/// more than 256 events behind gets [`Event::Missed`] and the newest ones.
///
/// ```no_run
/// # async fn watch(cluster: fluster::FlusterCluster) {
/// let mut events = cluster.events();
/// while let Some(event) = events.next().await {
///     println!("{event:?}");
/// }
/// # }
/// ```
pub struct Events {
    stream: Pin<Box<dyn Stream<Item = Event> + Send + Sync>>,
}

impl Events {
    pub(crate) fn new(receiver: broadcast::Receiver<Event>) -> Self {
        let stream = futures_util::stream::unfold(receiver, |mut receiver| async {
            match receiver.recv().await {
                Ok(event) => Some((event, receiver)),
                Err(RecvError::Lagged(n)) => Some((Event::Missed(n), receiver)),
                Err(RecvError::Closed) => None,
            }
        });
        Self {
            stream: Box::pin(stream),
        }
    }

    /// The next event; `None` when there will be no more. [Example](crate::guide::by_example#watching).
    ///
    /// # Cancellation
    ///
    /// Safe: no event is lost.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| self.stream.as_mut().poll_next(cx)).await
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.stream.as_mut().poll_next(cx)
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}
