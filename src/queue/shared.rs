//! What a consumer, its deliveries and its tasks share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use crate::client::Client;
use crate::clock;
use crate::error::Error;
use crate::node::NodeId;
use crate::queue::Queue;
use crate::queue::buffer::{Buffer, SlotId};
use crate::queue::calls::Seat;
use crate::queue::message::{Place, Which};
use crate::queue::meter::NodeMeter;
use crate::queue::names::GroupKeys;
use crate::queue::trouble::{Duty, QueueTrouble};

/// QueueShared by one consumer and all that it started or handed out.
pub(crate) struct QueueShared {
    pub(crate) queue: Queue,
    pub(crate) group: Arc<str>,
    /// The name in the group: that of the application, which process it is, and the visibility. Two
    /// processes under one name must not take each other's deliveries.
    pub(crate) consumer: String,
    pub(crate) keys: GroupKeys,
    /// Guards what is at hand; held for microseconds, never across an await.
    pub(crate) state: Mutex<State>,
    /// Something came into the buffer, or went wrong.
    pub(crate) stocked: Notify,
    /// Says that the consumer is being closed: readers end, keepers end with their last lease.
    pub(crate) closing: watch::Sender<bool>,
    /// Readers that run.
    pub(crate) readers: watch::Sender<usize>,
    /// Everything that was not popped went back.
    pub(crate) finished: AtomicBool,
    /// The task that follows the nodes has ended: nothing will come any more.
    pub(crate) ended: AtomicBool,
}

pub(crate) struct State {
    pub(crate) buffer: Buffer,
    pub(crate) sources: BTreeMap<SlotId, Arc<Source>>,
    pub(crate) next: SlotId,
}

/// One node that a consumer reads.
pub(crate) struct Source {
    pub(crate) slot: SlotId,
    pub(crate) client: Client,
    pub(crate) meter: Arc<NodeMeter>,
    /// There may be room for more.
    pub(crate) room: Notify,
    /// The node may be back: no more waiting for another try.
    pub(crate) back: Notify,
    /// Leases came or went, or the end is near.
    pub(crate) leases: Notify,
    /// The id of the connection that reads, for waking it; 0 for none.
    pub(crate) connection: AtomicI64,
    /// The group was there once: if it is not, it was deleted.
    pub(crate) joined: AtomicBool,
    /// Guards what is wrong with the node; held for a look.
    trouble: Mutex<QueueTrouble>,
    /// Guards the tasks of this node; held for a look.
    pub(crate) tasks: Mutex<QueueTasks>,
}

/// The tasks of one node.
#[derive(Default)]
pub(crate) struct QueueTasks {
    pub(crate) reader: Option<AbortHandle>,
    pub(crate) maintenance: Option<AbortHandle>,
}

impl Source {
    pub(crate) fn new(slot: SlotId, client: Client, meter: Arc<NodeMeter>) -> Self {
        Self {
            slot,
            client,
            meter,
            room: Notify::new(),
            back: Notify::new(),
            leases: Notify::new(),
            connection: AtomicI64::new(0),
            joined: AtomicBool::new(false),
            trouble: Mutex::default(),
            tasks: Mutex::default(),
        }
    }

    pub(crate) fn node(&self) -> &NodeId {
        self.client.node()
    }

    /// Notes what keeps the node from being read; says whether an operator has to know, and did not.
    pub(crate) fn troubled(&self, error: Error, visibility: Duration) -> bool {
        let mut trouble = self.trouble.lock();
        trouble.unreadable(error, clock::now(), visibility)
    }

    pub(crate) fn is_fine(&self) {
        self.trouble.lock().readable();
    }

    /// Notes that something that has to be done on the node every now and then failed, at `key`.
    pub(crate) fn failed(&self, shared: &QueueShared, duty: Duty, key: &str, error: Error) {
        let queue = shared.queue.name();
        let error = error.wrap(&format!(
            "{} of the queue fail at the key `{key}`",
            duty.name()
        ));
        let visibility = shared.queue.options.visibility;
        let (is_news, is_raised) = {
            let mut trouble = self.trouble.lock();
            let ailment = trouble.duty(duty);
            let is_news = ailment.failed(key, error.clone(), clock::now(), visibility);
            (is_news, ailment.is_raised())
        };
        self.meter.chores_failed.increment(1);
        match is_news {
            true => {
                tracing::warn!(queue, group = &*shared.group, node = %self.node(), %error, "{} wait", duty.stakes())
            }
            false => tracing::debug!(queue, node = %self.node(), %error, "they wait"),
        }
        if is_raised {
            shared.stocked.notify_waiters();
        }
    }

    /// Notes that it was done.
    pub(crate) fn succeeded(&self, shared: &QueueShared, duty: Duty) {
        if let Some(after) = self.trouble.lock().duty(duty).healed(clock::now()) {
            let (queue, what) = (shared.queue.name(), duty.name());
            tracing::info!(queue, node = %self.node(), ?after, "{what} are done again");
        }
    }

    /// What the application has to know; once per try.
    fn raised(&self) -> Option<Error> {
        self.trouble.lock().raised()
    }

    fn error(&self) -> Option<Error> {
        self.trouble.lock().error()
    }

    /// Ends the reader at its next await.
    pub(crate) fn stop_reading(&self) {
        if let Some(reader) = self.tasks.lock().reader.take() {
            reader.abort();
        }
    }

    fn stop_keeping(&self) {
        if let Some(maintenance) = self.tasks.lock().maintenance.take() {
            maintenance.abort();
        }
    }
}

impl QueueShared {
    pub(crate) fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// Waits until the consumer is being closed.
    pub(crate) async fn closed(&self) {
        let mut closing = self.closing.subscribe();
        // The sender is part of this.
        let _ = closing.wait_for(|closing| *closing).await;
    }

    pub(crate) fn sources(&self) -> Vec<Arc<Source>> {
        self.state.lock().sources.values().cloned().collect()
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.queue.deadline()
    }

    pub(crate) fn key_of(&self, which: Which) -> &str {
        self.seat(which).stream()
    }

    /// The key of this name, as a server says it.
    pub(crate) fn known_key(&self, name: &str) -> &str {
        let (keys, group) = (self.queue.keys(), &self.keys);
        let own = [&keys.stream, &keys.delayed, &keys.dead];
        let own = own
            .into_iter()
            .chain([&group.again, &group.later, &group.kept, &group.turn]);
        own.into_iter()
            .find(|key| ***key == *name)
            .unwrap_or(&group.turn)
    }

    /// The consumer, before one of its streams.
    pub(crate) fn seat(&self, which: Which) -> Seat<'_> {
        Seat {
            keys: self.queue.keys(),
            of_group: &self.keys,
            group: &self.group,
            consumer: &self.consumer,
            which,
        }
    }

    /// A delivery is settled or gone; the last one lets its maintenance end.
    pub(crate) fn forget(&self, slot: SlotId, place: Place) {
        let source = {
            let mut state = self.state.lock();
            if state.buffer.forget(slot, place) {
                self.next_suspect(&state);
            }
            match self.is_closing() && !state.buffer.has_leases(slot) {
                true => state.sources.get(&slot).cloned(),
                false => None,
            }
        };
        if let Some(source) = source {
            source.leases.notify_one();
        }
    }

    /// None is at work any more: the next one may be, and what was fetched past them is fetched in turn again.
    fn next_suspect(&self, state: &State) {
        if state.buffer.has_next() {
            self.stocked.notify_one();
        }
        state.sources.values().for_each(|s| s.room.notify_one());
    }

    /// An error to tell: the first that will not pass by itself.
    pub(crate) fn raised(&self) -> Option<Error> {
        self.sources().iter().find_map(|s| s.raised())
    }

    /// When no node can be read: what is wrong with one of them.
    pub(crate) fn all_in_trouble(&self) -> Option<Error> {
        let sources = self.sources();
        let errors: Vec<Error> = sources.iter().filter_map(|s| s.error()).collect();
        match errors.len() == sources.len() {
            true => errors.into_iter().next(),
            false => None,
        }
    }

    /// Ends what belongs to a node that is no longer part of the cluster.
    pub(crate) fn leave(&self, slot: SlotId) {
        let source = {
            let mut state = self.state.lock();
            state.buffer.leave(slot);
            let source = state.sources.remove(&slot);
            self.next_suspect(&state);
            source
        };
        if let Some(source) = source {
            source.stop_reading();
            source.stop_keeping();
        }
    }
}
