//! What a fleet decides, as a stream.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::sync::broadcast::{self, error::RecvError};

use super::opinion::Decision;
use crate::node::NodeId;

/// Something that a fleet decided, or cannot decide.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FleetEvent {
    /// The decision about a node is another one.
    #[non_exhaustive]
    Decided {
        /// The node.
        node: NodeId,
        /// What is decided now.
        decision: Decision,
    },
    /// Half of the instances or more cannot be heard, or that is over. Nothing is decided meanwhile.
    #[non_exhaustive]
    Quorum {
        /// Whether there are enough now.
        present: bool,
    },
    /// More nodes would be out than may be, or that is over. Nothing is decided meanwhile.
    #[non_exhaustive]
    Panic {
        /// Whether it is so now.
        on: bool,
    },
    /// An instance has placed keys in another way for five seconds: it has other nodes, other names for them, or another
    /// rule. Nodes are never taken over from it.
    #[non_exhaustive]
    TopologyDiverged {
        /// Where the instance is reached.
        instance: SocketAddr,
        /// Its ring id.
        ring_id: String,
    },
    /// The reader was too slow: this many events were dropped before the next one.
    Missed(u64),
}

/// What a fleet decides, from the moment [`events`](super::SharedHealth::events) was called.
///
/// It is a `futures` stream; it ends with the sharing. A reader that falls more than 256 events behind gets
/// [`FleetEvent::Missed`] and the newest ones.
///
/// ```no_run
/// # async fn watch(health: fluster::gossip::SharedHealth) {
/// let mut events = health.events();
/// while let Some(event) = events.next().await {
///     println!("{event:?}");
/// }
/// # }
/// ```
pub struct FleetEvents {
    stream: Pin<Box<dyn Stream<Item = FleetEvent> + Send + Sync>>,
}

impl FleetEvents {
    pub(super) fn new(receiver: broadcast::Receiver<FleetEvent>) -> Self {
        let stream = futures_util::stream::unfold(receiver, |mut receiver| async {
            match receiver.recv().await {
                Ok(event) => Some((event, receiver)),
                Err(RecvError::Lagged(n)) => Some((FleetEvent::Missed(n), receiver)),
                Err(RecvError::Closed) => None,
            }
        });
        Self {
            stream: Box::pin(stream),
        }
    }

    /// The next event; `None` when there will be no more. [Example](crate::guide::by_example#a-fleet).
    ///
    /// # Cancellation
    ///
    /// Safe: no event is lost.
    pub async fn next(&mut self) -> Option<FleetEvent> {
        std::future::poll_fn(|cx| self.stream.as_mut().poll_next(cx)).await
    }
}

impl Stream for FleetEvents {
    type Item = FleetEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<FleetEvent>> {
        self.stream.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for FleetEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetEvents").finish_non_exhaustive()
    }
}
