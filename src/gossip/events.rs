//! What happens among the instances, as a stream.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::sync::broadcast::{self, error::RecvError};

use super::frame::Refusal;
use super::view::Member;
use crate::placement::Fingerprint;

/// How many events wait for a slow reader before the oldest are dropped.
pub(crate) const BACKLOG: usize = 256;

/// Something that happened among the instances.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum GossipEvent {
    /// An instance is new, or is there again.
    MemberUp(Arc<Member>),
    /// An instance did not answer; it keeps its keys for the seconds in which it can object.
    MemberSuspected(Arc<Member>),
    /// An instance is gone, without a word.
    MemberDown(Arc<Member>),
    /// An instance left.
    MemberLeft(Arc<Member>),
    /// A later start of an instance took the place of one that was still there.
    MemberRenewed(Arc<Member>),
    /// An instance says something else of itself.
    #[non_exhaustive]
    RecordChanged {
        /// The instance, as it is now.
        member: Arc<Member>,
        /// Whether its labels changed.
        labels: bool,
    },
    /// Keys have other owners.
    #[non_exhaustive]
    RingChanged {
        /// The ring before; `None` when nobody was ready.
        old: Option<Fingerprint>,
        /// The ring now.
        new: Option<Fingerprint>,
        /// Who owns keys now, and did not before.
        added: Vec<Arc<Member>>,
        /// Who owned keys, and does not any more.
        removed: Vec<Arc<Member>>,
        /// The share of all keys whose owner changed, 0 to 1.
        moved: f64,
    },
    /// An instance knows the same members, and has had another ring for ten seconds: its placement is another one.
    RingDiverged(Arc<Member>),
    /// This instance owns keys for the first time.
    Ready,
    /// Nobody else is there any more.
    Alone,
    /// The others had given this instance up; it is there again under a later generation.
    Renewed,
    /// Two instances have one ring id. This is the one that was started first, and owns nothing.
    RingIdTaken(Arc<Member>),
    /// Another process says that it is at our address, again and again. This one owns no keys until that ends.
    AddressTaken,
    /// Somebody who might be there was knocked at.
    #[non_exhaustive]
    HealTried {
        /// Where.
        to: SocketAddr,
        /// Whether there was an answer within a second.
        answered: bool,
    },
    /// A datagram was not listened to. At most one a second is told for each reason.
    #[non_exhaustive]
    Refused {
        /// Why.
        reason: Refusal,
    },
    /// This instance left.
    Left,
    /// The reader was too slow: this many events were dropped before the next one.
    Missed(u64),
}

/// What happens among the instances, from the moment [`events`](super::Gossip::events) was called.
///
/// It is a `futures` stream; it ends with the last handle. A reader that falls more than 256 events behind gets
/// [`GossipEvent::Missed`] and the newest ones.
///
/// ```no_run
/// # async fn watch(gossip: fluster::gossip::Gossip) {
/// let mut events = gossip.events();
/// while let Some(event) = events.next().await {
///     println!("{event:?}");
/// }
/// # }
/// ```
pub struct GossipEvents {
    stream: Pin<Box<dyn Stream<Item = GossipEvent> + Send + Sync>>,
}

impl GossipEvents {
    pub(crate) fn new(receiver: broadcast::Receiver<GossipEvent>) -> Self {
        let stream = futures_util::stream::unfold(receiver, |mut receiver| async {
            match receiver.recv().await {
                Ok(event) => Some((event, receiver)),
                Err(RecvError::Lagged(n)) => Some((GossipEvent::Missed(n), receiver)),
                Err(RecvError::Closed) => None,
            }
        });
        Self {
            stream: Box::pin(stream),
        }
    }

    /// The next event; `None` when there will be no more. [Example](crate::guide::by_example#asking-an-instance).
    ///
    /// # Cancellation
    ///
    /// Safe: no event is lost.
    pub async fn next(&mut self) -> Option<GossipEvent> {
        std::future::poll_fn(|cx| self.stream.as_mut().poll_next(cx)).await
    }
}

impl Stream for GossipEvents {
    type Item = GossipEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<GossipEvent>> {
        self.stream.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for GossipEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GossipEvents").finish_non_exhaustive()
    }
}
