//! A consumer: deliveries from all nodes, fairly.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::clock;
use crate::error::{Error, ErrorKind};
use crate::queue::buffer::{Buffer, Room};
use crate::queue::calls::Leave;
use crate::queue::delivery::{Delivery, ack_places};
use crate::queue::held::Held;
use crate::queue::message::{MessageId, Place, Which};
use crate::queue::names::refuse_name;
use crate::queue::scripts::{run as run_call, settle};
use crate::queue::shared::{QueueShared, Source, State};
use crate::queue::{Queue, follower, reader, refused};
use crate::tasks::{NO_RUNTIME, SpawnError};

/// Longer waits are this long: the clocks they are added to have an end.
const LONGEST_WAIT: Duration = Duration::from_secs(365 * 86_400);
/// How long a closing consumer waits for the reads that are under way.
const LAST_READ: Duration = Duration::from_millis(500);
const WAKE_EVERY: Duration = Duration::from_millis(20);

impl Queue {
    /// A consumer of the group `group`: of all consumers of a group one gets each message, and each group gets all. [Example](crate::guide::by_example#a-worker).
    ///
    /// It starts to read every node at once, in the background, nodes that are added later included. The group is
    /// made where it is not there yet, and begins with the oldest message that is left. It holds one exclusive
    /// connection per node, out of the [`pool_size`](crate::ClusterBuilder::pool_size) (16) of each: a process with more
    /// consumers has to raise that. `name` is what operators see; two consumers may have the same.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] for a name or setting that cannot be used, or outside a tokio runtime;
    /// [`ErrorKind::Closed`] after a shutdown.
    pub fn consumer(
        &self,
        group: impl AsRef<str>,
        name: impl AsRef<str>,
    ) -> Result<Consumer, Error> {
        self.usable()?;
        let (group, name) = (group.as_ref(), name.as_ref());
        let why = refuse_name("group", group).or_else(|| refuse_name("consumer", name));
        if let Some(why) = why {
            return Err(refused(why));
        }
        let process = MessageId::random().as_u128() as u32;
        let visibility = self.options.visibility.as_millis();
        let shared = Arc::new(QueueShared {
            queue: self.clone(),
            group: group.into(),
            consumer: format!("{name}:{process:08x}:{visibility}"),
            keys: self.keys().group(group),
            state: Mutex::new(State {
                buffer: Buffer::new(self.options.most_ready()),
                sources: Default::default(),
                next: 0,
            }),
            stocked: Notify::new(),
            closing: watch::Sender::new(false),
            readers: watch::Sender::new(0),
            finished: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        // Heard from before the nodes are looked at: nothing falls in between.
        let events = self.cluster.events();
        let task = follower::run(Arc::clone(&shared), events);
        match self.cluster.engine().tasks().spawn(task) {
            Ok(_) => Ok(Consumer { shared }),
            Err(SpawnError::Closed) => Err(Error::closed()),
            Err(SpawnError::NoRuntime) => Err(refused(NO_RUNTIME)),
        }
    }
}

/// Gets deliveries of a queue; made by [`Queue::consumer`].
///
/// All methods take `&self`: any number of tasks may pop from one consumer. A delivery belongs to whoever popped it
/// until it is acknowledged, given back, or dropped.
///
/// Dropping a consumer gives back what was not popped, as well as that can be done without waiting;
/// [`close`](Self::close) waits for it. Nothing is lost either way: what is not given back is delivered again when
/// its lease ends. The leases of deliveries that were popped are renewed until they are dropped.
pub struct Consumer {
    shared: Arc<QueueShared>,
}

impl Consumer {
    /// The next delivery; `None` when none came within `wait`. Nodes that have something take turns. [Example](crate::guide::by_example#a-worker).
    ///
    /// # Errors
    ///
    /// What keeps a node from being read and does not pass by itself: a key of another type, credentials, a
    /// connection pool that is taken. Told again with every try, at most 5 s apart; the other nodes go on, and what
    /// they deliver comes first. So are the [chores](crate::guide::queues#when-the-chores-fail) of a node when they
    /// have failed for one [`visibility`](Queue::visibility). When the time is over and no node at all can be read,
    /// why. [`ErrorKind::Closed`] after a shutdown.
    ///
    /// # Cancellation
    ///
    /// Safe: a delivery is either returned or still there. One that comes back from an expired lease is noted on its
    /// server first, which may take a round trip more than `wait`.
    pub async fn pop(&self, wait: Duration) -> Result<Option<Delivery>, Error> {
        let until = clock::now() + wait.min(LONGEST_WAIT);
        let tasks = self.shared.queue.cluster.engine().tasks();
        if !tasks.has_runtime() {
            return Err(refused(NO_RUNTIME));
        }
        loop {
            let held = async { tokio::time::timeout_at(until.into(), self.held()).await };
            let held = match tasks.enter(held).await {
                Ok(held) => held?,
                // With no time at all, what is at hand is still handed out.
                Err(_) => match self.take() {
                    Some(held) => held?,
                    None => return self.shared.all_in_trouble().map_or(Ok(None), Err),
                },
            };
            // A suspect may take a round trip more.
            if let Some(delivery) = held.begin().await {
                return Ok(Some(delivery));
            }
        }
    }

    /// The deliveries as a stream without end, but for a shutdown. Errors are items, as [`pop`](Self::pop) has them.
    ///
    /// ```no_run
    /// use futures_util::StreamExt;
    ///
    /// # async fn run(worker: fluster::queue::Consumer) {
    /// let mut jobs = worker.stream();
    /// while let Some(job) = jobs.next().await {
    ///     match job {
    ///         Ok(job) => println!("{} bytes", job.payload().len()),
    ///         Err(e) => eprintln!("{e}"),
    ///     }
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn stream(&self) -> Deliveries<'_> {
        let next = futures_util::stream::unfold(Some(self), |consumer| async move {
            let consumer = consumer?;
            match consumer.next().await {
                Err(e) if e.kind() == ErrorKind::Closed => None,
                item => Some((item, Some(consumer))),
            }
        });
        Deliveries {
            inner: Box::pin(next),
        }
    }

    /// Acknowledges many deliveries, one command per node; one result per delivery, as
    /// [`Delivery::ack`] gives it. [Example](crate::guide::by_example#a-worker).
    ///
    /// # Cancellation
    ///
    /// Safe; any of them may have been acknowledged.
    pub async fn ack_many<'a>(
        &self,
        deliveries: impl IntoIterator<Item = &'a Delivery>,
    ) -> Vec<Result<bool, Error>> {
        let all: Vec<&Delivery> = deliveries.into_iter().collect();
        let mut parts: Vec<(&Delivery, Which, Vec<usize>)> = Vec::new();
        for (n, one) in all.iter().enumerate() {
            let which = one.place().which;
            match parts
                .iter_mut()
                .find(|(d, w, _)| *w == which && d.is_beside(one))
            {
                Some((.., list)) => list.push(n),
                None => parts.push((one, which, vec![n])),
            }
        }
        let answers = join_all(parts.iter().map(|(first, which, list)| {
            let places: Vec<Place> = list.iter().map(|&n| all[n].place()).collect();
            async move { ack_places(first.shared(), first.source(), *which, &places).await }
        }))
        .await;
        let mut results: Vec<Result<bool, Error>> = all.iter().map(|_| Ok(false)).collect();
        for ((.., list), answer) in parts.iter().zip(answers) {
            for (at, &n) in list.iter().enumerate() {
                results[n] = match &answer {
                    Ok(acked) => Ok(all[n].settled(acked.get(at).copied().unwrap_or_default())),
                    Err(error) => Err(error.clone()),
                };
            }
        }
        results
    }

    /// Stops fetching, gives back what was fetched and not popped, and takes the consumer's name off the servers.
    /// Deliveries that were popped can still be settled. [Example](crate::guide::by_example#a-worker).
    ///
    /// Takes half a second at most, and the cluster's deadline where a node does not answer.
    ///
    /// # Cancellation
    ///
    /// The rest is done in the background.
    pub async fn close(self) {
        let tasks = self.shared.queue.cluster.engine().tasks();
        // Without a runtime it is the drop that tells the servers, where it can.
        if tasks.has_runtime() {
            tasks.enter(finish(&self.shared)).await;
        }
    }

    /// The name of the consumer in its group, as `XINFO CONSUMERS` shows it: the one that was given, eight digits
    /// that tell processes apart, and the visibility in milliseconds. [Example](crate::guide::by_example#a-worker).
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.consumer
    }

    async fn next(&self) -> Result<Delivery, Error> {
        loop {
            if let Some(delivery) = self.held().await?.begin().await {
                return Ok(delivery);
            }
        }
    }

    /// What comes next.
    async fn held(&self) -> Result<Held, Error> {
        let shared = &self.shared;
        loop {
            let stocked = shared.stocked.notified();
            let mut stocked = std::pin::pin!(stocked);
            // From here on nothing that comes is missed.
            stocked.as_mut().enable();
            if let Some(result) = self.take() {
                return result;
            }
            stocked.await;
        }
    }

    /// What is at hand.
    fn take(&self) -> Option<Result<Held, Error>> {
        let shared = &self.shared;
        let taken = {
            let mut state = shared.state.lock();
            if state.buffer.wake() {
                state.sources.values().for_each(|s| s.room.notify_one());
            }
            let now = clock::now();
            let taken = state.buffer.take(now);
            taken.and_then(|(slot, parcel)| {
                let source = Arc::clone(state.sources.get(&slot)?);
                let room = state.buffer.room(slot, now) != Room::None;
                Some((source, parcel, room, state.buffer.has_next()))
            })
        };
        if let Some((source, parcel, room, more)) = taken {
            if room {
                source.room.notify_one();
            }
            if more {
                // One notice stands for a whole fetch: the next one who waits is told.
                shared.stocked.notify_one();
            }
            return Some(Ok(Held::new(Arc::clone(shared), source, parcel)));
        }
        if let Some(error) = shared.raised() {
            return Some(Err(error));
        }
        shared.ended.load(SeqCst).then(|| Err(Error::closed()))
    }
}

/// Ends the reads, and gives back what was not popped.
async fn finish(shared: &Arc<QueueShared>) {
    shared.closing.send_replace(true);
    let sources = shared.sources();
    // A read that waits at its server is woken there: a connection that is just closed might still be given
    // something, which nobody would miss before its lease ends.
    let mut readers = shared.readers.subscribe();
    let ended = async {
        loop {
            join_all(sources.iter().map(|s| wake(s, shared))).await;
            let done = tokio::time::timeout(WAKE_EVERY, readers.wait_for(|n| *n == 0)).await;
            if done.is_ok() {
                return;
            }
        }
    };
    // Whoever is not done by then is cut off; what it was given is given back below.
    let _ = tokio::time::timeout(LAST_READ, ended).await;
    join_all(sources.iter().map(|source| async move {
        source.stop_reading();
        shared.state.lock().buffer.clear(source.slot);
        let left = match reader::reclaim(shared, source).await {
            Ok(()) => leave(shared, source).await,
            Err(error) => Err(error),
        };
        if let Err(error) = left {
            tracing::debug!(node = %source.node(), %error, "what was not popped waits for the end of its lease");
        }
        source.leases.notify_one();
    }))
    .await;
    shared.finished.store(true, SeqCst);
}

async fn wake(source: &Source, shared: &QueueShared) {
    let id = source.connection.load(SeqCst);
    if id > 0 {
        let mut cmd = redis::cmd("CLIENT");
        cmd.arg("UNBLOCK").arg(id);
        // Without the permission it is cut off when its time is over.
        let _ = settle(&source.client, &cmd, shared.deadline()).await;
    }
}

async fn leave(shared: &QueueShared, source: &Source) -> Result<(), Error> {
    let leave = Leave(shared.seat(Which::Stream));
    run_call(leave, &source.client, shared.deadline()).await
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let shared = Arc::clone(&self.shared);
        shared.closing.send_replace(true);
        if shared.finished.load(SeqCst) {
            return;
        }
        let tasks = Arc::clone(shared.queue.cluster.engine().tasks());
        // After a shutdown there is nobody left to tell.
        let _ = tasks.spawn(async move { finish(&shared).await });
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("queue", &self.shared.queue.name())
            .field("group", &self.shared.group)
            .field("name", &self.shared.consumer)
            .finish_non_exhaustive()
    }
}

/// The deliveries of a consumer, as a stream; see [`Consumer::stream`].
pub struct Deliveries<'a> {
    inner: Pin<Box<dyn Stream<Item = Result<Delivery, Error>> + Send + 'a>>,
}

impl Stream for Deliveries<'_> {
    type Item = Result<Delivery, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.inner.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for Deliveries<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries").finish_non_exhaustive()
    }
}
