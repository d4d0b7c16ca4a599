//! Published messages, wherever their channel is placed.

mod backlog;
mod listener;
mod message;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use self::listener::Listener;
pub use self::message::{Message, Notice};
use crate::cluster::FlusterCluster;
use crate::error::{Error, ErrorKind, Outcome};
use crate::tasks::{SpawnError, give_way};

impl FlusterCluster {
    /// Listens to `channels`, each on the node where `PUBLISH` through the cluster goes: that of the
    /// channel's name as a key. Returns once the servers have confirmed all of them.
    ///
    /// The subscription has connections of its own, one per node it listens to (RESP3, so Redis 6 or
    /// later). When a channel's node changes (it goes out, comes back, is removed, or hangs up) the
    /// subscription moves with it by itself. Messages published in between are lost, as pub/sub has it,
    /// and that is said: a [`Notice::Gap`] follows once it listens again. What must not be lost belongs
    /// into a stream.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ClusterEmpty`] when every candidate is out; the last node's error when not all
    /// channels could be had within the cluster's deadline; [`ErrorKind::Invalid`] without a channel;
    /// [`ErrorKind::Closed`] after a shutdown.
    ///
    /// # Cancellation
    ///
    /// Safe: what was opened is closed.
    ///
    /// ```no_run
    /// use fluster::pubsub::Notice;
    ///
    /// # async fn run(cluster: fluster::FlusterCluster) -> Result<(), fluster::Error> {
    /// let mut news = cluster.subscribe(["news", "weather"]).await?;
    /// while let Some(notice) = news.next().await {
    ///     match notice {
    ///         Notice::Message(m) => println!("{} bytes from {}", m.payload.len(), m.node),
    ///         Notice::Gap { node, .. } => println!("something may have been missed, now at {node}"),
    ///         _ => {}
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pubsub")]
    pub async fn subscribe<C: AsRef<[u8]>>(
        &self,
        channels: impl IntoIterator<Item = C>,
    ) -> Result<Subscription, Error> {
        let topics = channels.into_iter().map(|c| Topic {
            name: c.as_ref().into(),
            kind: Kind::Channel,
        });
        self.listen(topics.collect()).await
    }

    /// Listens to all channels that match `patterns`, on every live node, and on those that come back or
    /// are added once they are there. Each message names its node. [Example](crate::guide::by_example#listening).
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    pub async fn psubscribe<C: AsRef<[u8]>>(
        &self,
        patterns: impl IntoIterator<Item = C>,
    ) -> Result<Subscription, Error> {
        let topics = patterns.into_iter().map(|c| Topic {
            name: c.as_ref().into(),
            kind: Kind::Pattern,
        });
        self.listen(topics.collect()).await
    }

    /// Listens to sharded channels, which are apart from the others of the same name: what `SPUBLISH` says there, each
    /// on the node of the channel's name. Redis 7 or later. [Example](crate::guide::by_example#listening).
    ///
    /// Nodes are independent servers here, so this hears no more and costs no less than
    /// [`subscribe`](Self::subscribe). It is for channels that other applications use by `SSUBSCRIBE` and `SPUBLISH`.
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe); [`ErrorKind::Server`] from a server before Redis 7.
    ///
    /// # Cancellation
    ///
    /// Safe: what was opened is closed.
    pub async fn ssubscribe<C: AsRef<[u8]>>(
        &self,
        channels: impl IntoIterator<Item = C>,
    ) -> Result<Subscription, Error> {
        let topics = channels.into_iter().map(|c| Topic {
            name: c.as_ref().into(),
            kind: Kind::Sharded,
        });
        self.listen(topics.collect()).await
    }

    async fn listen(&self, topics: Vec<Topic>) -> Result<Subscription, Error> {
        if topics.is_empty() {
            let text = "a subscription needs a channel";
            return Err(Error::new(ErrorKind::Invalid, Outcome::NotSent, text));
        }
        let engine = self.engine();
        let (sender, receiver) = backlog::new();
        let (report, settled) = oneshot::channel();
        let listener = Listener::new(engine, topics, sender);
        // From the first dial on in the cluster's own runtime: its connections outlive the caller's.
        let task = listener.run(Arc::downgrade(engine), self.deadline(), report);
        let task = match engine.tasks().spawn(task) {
            Ok(task) => task,
            Err(why) => {
                give_way().await;
                return Err(no_task(why));
            }
        };
        let subscription = Subscription { receiver, task };
        // Without an answer the task was ended: the cluster is closing.
        match settled.await {
            Ok(None) => Ok(subscription),
            Ok(Some(error)) => Err(error),
            Err(_) => Err(Error::closed()),
        }
    }
}

fn no_task(why: SpawnError) -> Error {
    match why {
        SpawnError::Closed => Error::closed(),
        SpawnError::NoRuntime => {
            let text = "there is no tokio runtime here: call from inside one, or build with `.runtime(..)`";
            Error::new(ErrorKind::Invalid, Outcome::NotSent, text)
        }
    }
}

/// A channel or a pattern.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    name: Arc<[u8]>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Channel,
    /// It is listened to on all nodes.
    Pattern,
    Sharded,
}

impl Kind {
    /// The commands that begin and end listening to it.
    fn verbs(self) -> (&'static str, &'static str) {
        match self {
            Self::Channel => ("SUBSCRIBE", "UNSUBSCRIBE"),
            Self::Pattern => ("PSUBSCRIBE", "PUNSUBSCRIBE"),
            Self::Sharded => ("SSUBSCRIBE", "SUNSUBSCRIBE"),
        }
    }
}

/// A running subscription; dropping it closes its connections. It ends with the cluster.
///
/// A reader that falls more than 1024 messages or 32 MiB behind loses the newest, and gets a [`Notice::Gap`].
#[doc(alias = "pubsub")]
pub struct Subscription {
    receiver: backlog::Receiver,
    task: AbortHandle,
}

impl Subscription {
    /// The next notice; `None` when the cluster was shut down. [Example](crate::guide::by_example#listening).
    ///
    /// # Cancellation
    ///
    /// Safe: nothing is lost.
    pub async fn next(&mut self) -> Option<Notice> {
        self.receiver.next().await
    }
}

impl Stream for Subscription {
    type Item = Notice;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Notice>> {
        self.receiver.poll(cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}
