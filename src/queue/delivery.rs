//! A message in the hands of the application.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::node::NodeId;
use crate::queue::buffer::Parcel;
use crate::queue::calls::{Ack, Extend, Given, Nack};
use crate::queue::message::{Message, MessageId, Place, Which};
use crate::queue::schedule::millis;
use crate::queue::scripts::run as run_call;
use crate::queue::shared::{QueueShared, Source};
use crate::queue::{named, refused};

const LONGEST_DELAY: Duration = Duration::from_secs(366 * 86_400);
const LONGEST_LEASE: Duration = Duration::from_secs(7 * 86_400);
/// Reasons are for people.
const LONGEST_REASON: usize = 1_000;

/// A message that is this consumer's for the length of its lease.
///
/// The lease is renewed in the background while the delivery exists. One that is dropped without
/// [`ack`](Self::ack) is delivered again when its lease ends; [`nack`](Self::nack) makes that sooner.
///
/// Settling goes to the delivery's node and to no other. When that fails the delivery is still here, and can be
/// settled again.
pub struct Delivery {
    shared: Arc<QueueShared>,
    source: Arc<Source>,
    place: Place,
    message: Message,
}

impl Delivery {
    pub(crate) fn new(shared: Arc<QueueShared>, source: Arc<Source>, parcel: Parcel) -> Self {
        Self {
            shared,
            source,
            place: parcel.place,
            message: parcel.message,
        }
    }

    /// What was pushed. [Example](crate::guide::by_example#a-worker).
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.message.payload
    }

    /// The message's identity: the same in every delivery of it, and in every copy. [Example](crate::guide::by_example#a-worker).
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.message.id
    }

    /// The key it was pushed by, if any. [Example](crate::guide::by_example#a-worker).
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.message.key.as_deref()
    }

    /// The node that has it. [Example](crate::guide::by_example#a-worker).
    #[must_use]
    pub fn node(&self) -> &NodeId {
        self.source.node()
    }

    /// Which attempt this is: 1 for the first delivery. Attempts are what was started. A lease that expired does not
    /// say whether its message was: what comes back from one is not counted the first time, and then handled
    /// [alone](crate::guide::queues#attempts) and counted. [Example](crate::guide::by_example#a-worker).
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.message.attempts.saturating_add(1)
    }

    /// Whether the lease is known to have ended: somebody else may be working on it. Looked at with every renewal,
    /// three times per visibility. [Example](crate::guide::by_example#a-worker).
    #[must_use]
    pub fn is_lost(&self) -> bool {
        let state = self.shared.state.lock();
        state.buffer.is_lost(self.source.slot, self.place)
    }

    /// The job is done: the message is removed. `false` when it was not this consumer's any more, because its
    /// lease had ended or it was settled before: it may be done twice. [Example](crate::guide::by_example#a-worker).
    ///
    /// # Errors
    ///
    /// Those of a command on the delivery's node. Without a success the message will be delivered again.
    ///
    /// # Cancellation
    ///
    /// Safe; it may have been acknowledged.
    pub async fn ack(&self) -> Result<bool, Error> {
        let places = [self.place];
        let acked = ack_places(&self.shared, &self.source, self.place.which, &places).await?;
        Ok(self.settled(acked == [true]))
    }

    /// The job was not done: the message is delivered again after `delay`, up to a year, or goes to the dead letters
    /// when this was the last of its attempts. `false` as for [`ack`](Self::ack). [Example](crate::guide::by_example#a-worker).
    ///
    /// Without a delay it is there at once, for any consumer of the group; with one, up to a second late.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack); [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a longer delay.
    ///
    /// # Cancellation
    ///
    /// Safe; it may have been given back.
    pub async fn nack(&self, delay: Duration) -> Result<bool, Error> {
        let delay = millis("delay", delay, LONGEST_DELAY).map_err(refused)?;
        let why = format!("attempt {} was given back", self.attempt());
        self.give_back(delay, self.shared.queue.options.max_attempts, &why)
            .await
    }

    /// The job can never be done: the message goes to the dead letters at once, with this reason (its first 1000
    /// bytes). `false` as for [`ack`](Self::ack). [Example](crate::guide::by_example#a-worker).
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack).
    pub async fn reject(&self, reason: &str) -> Result<bool, Error> {
        let mut end = reason.len().min(LONGEST_REASON);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        self.give_back(0, 1, &reason[..end]).await
    }

    /// Makes sure of the delivery for so long from now, also if this process cannot renew its lease meanwhile: up
    /// to 7 days. `false` as for [`ack`](Self::ack). [Example](crate::guide::by_example#a-worker).
    ///
    /// For work that blocks the runtime, or hands the job to somebody else. What is extended is also waited for when
    /// this process dies.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack); [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for no time, or a longer one.
    pub async fn extend(&self, lease: Duration) -> Result<bool, Error> {
        let lease = millis("lease", lease, LONGEST_LEASE).map_err(refused)?;
        if lease == 0 {
            return Err(refused(
                "a lease of no time cannot be held: extend it by at least 1 ms",
            ));
        }
        let shared = &self.shared;
        let extend = Extend {
            seat: shared.seat(self.place.which),
            entry: self.place.entry,
            lease,
        };
        let held = run_call(extend, &self.source.client, shared.deadline())
            .await
            .map_err(|e| named(e, &shared.keys.kept))?;
        if !held {
            let mut state = shared.state.lock();
            state.buffer.lost(self.source.slot, [self.place]);
        }
        Ok(held)
    }

    async fn give_back(&self, delay: u64, max_attempts: u32, why: &str) -> Result<bool, Error> {
        let shared = &self.shared;
        let nack = Nack {
            seat: shared.seat(self.place.which),
            delay,
            max_attempts,
            why,
            entry: self.place.entry,
        };
        let given = run_call(nack, &self.source.client, shared.deadline()).await?;
        if given == Given::Dead {
            self.source.meter.dead.increment(1);
        }
        shared.forget(self.source.slot, self.place);
        Ok(given != Given::Lost)
    }

    /// Notes that the server has settled it.
    pub(crate) fn settled(&self, was_ours: bool) -> bool {
        self.shared.forget(self.source.slot, self.place);
        if was_ours {
            self.source.meter.acked.increment(1);
        }
        was_ours
    }

    pub(crate) fn place(&self) -> Place {
        self.place
    }

    pub(crate) fn shared(&self) -> &QueueShared {
        &self.shared
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// Whether one command can settle both.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.source, &other.source)
    }
}

/// How many ids one script acknowledges: Lua hands no more than some thousands to a command.
const AT_ONCE: usize = 1_000;

/// Acknowledges entries of one stream; which of them were pending.
pub(crate) async fn ack_places(
    shared: &QueueShared,
    source: &Source,
    which: Which,
    places: &[Place],
) -> Result<Vec<bool>, Error> {
    let mut acked = Vec::with_capacity(places.len());
    for places in places.chunks(AT_ONCE) {
        let seat = shared.seat(which);
        let ack = Ack { seat, places };
        acked.extend(run_call(ack, &source.client, shared.deadline()).await?);
    }
    Ok(acked)
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.shared.forget(self.source.slot, self.place);
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("id", &self.message.id)
            .field("node", self.node())
            .field("attempt", &self.attempt())
            .field("bytes", &self.message.payload.len())
            .finish_non_exhaustive()
    }
}
