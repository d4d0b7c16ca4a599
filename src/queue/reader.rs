//! Fetches from one node: a blocking read on a connection of its own, as long as there is room.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use redis::aio::ConnectionLike as _;
use redis::{RedisError, Value};

use crate::client::DedicatedClient;
use crate::clock;
use crate::error::{Error, ErrorKind, Outcome};
use crate::queue::buffer::Room;
use crate::queue::calls::{Bury, Join, Reclaim};
use crate::queue::message::{Place, Which};
use crate::queue::reply::read;
use crate::queue::scripts::run as run_call;
use crate::queue::shared::{QueueShared, Source};
use crate::queue::trouble::Duty;
use crate::queue::{eviction, named};

/// How long a read waits at the server for something to come.
const BLOCK: Duration = Duration::from_secs(2);
/// The same while suspects wait here and only what is new is read: they may be done at any time.
const PAST_SUSPECTS: Duration = Duration::from_millis(100);
/// After a failure the next try waits this long, twice as long each time up to the other, and half of it by
/// chance: a thousand consumers must not come back at once.
const RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// Counts a reader while it runs, however it ends.
struct Running<'a>(&'a QueueShared, &'a Source);

impl<'a> Running<'a> {
    fn new(shared: &'a QueueShared, source: &'a Source) -> Self {
        shared.readers.send_modify(|n| *n += 1);
        Self(shared, source)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.1.connection.store(0, SeqCst);
        self.0.readers.send_modify(|n| *n -= 1);
    }
}

/// Reads the node until the consumer is closed; tries again for ever.
pub(crate) async fn run(shared: Arc<QueueShared>, source: Arc<Source>) {
    let _running = Running::new(&shared, &source);
    let mut wait = RETRY;
    let mut first = true;
    while !shared.is_closing() {
        let began = clock::now();
        let Err(error) = session(&shared, &source, first).await else {
            return;
        };
        source.connection.store(0, SeqCst);
        let drained = source.client.is_drained();
        if !drained {
            // What waits here could be popped, but not be acknowledged while the node is away: it goes
            // back with the next connection. While it is drained all that still works.
            shared.state.lock().buffer.clear(source.slot);
        }
        first = false;
        if error.kind() == ErrorKind::Closed {
            return;
        }
        if clock::since(began) > LONGEST_RETRY {
            wait = RETRY;
        }
        let error = hint(error);
        let queue = shared.queue.name();
        let visibility = shared.queue.options.visibility;
        match !drained && source.troubled(error.clone(), visibility) {
            true => {
                tracing::warn!(queue, group = &*shared.group, %error, "the queue cannot be read on this node")
            }
            false => {
                tracing::debug!(queue, group = &*shared.group, %error, "the queue still cannot be read")
            }
        }
        shared.stocked.notify_waiters();
        let pause = wait / 2 + (wait / 2).mul_f64(fastrand::f64());
        wait = (wait * 2).min(LONGEST_RETRY);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = source.back.notified() => {
                wait = RETRY;
                tokio::time::sleep(RETRY.mul_f64(fastrand::f64())).await;
            }
            () = shared.closed() => return,
        }
    }
}

/// Says what a full pool means here.
fn hint(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Saturated => error.wrap(
            "a consumer holds one exclusive connection per node; `pool_size` has to be larger than the number \
             of consumers in this process",
        ),
        _ => error,
    }
}

/// One connection's life; `Ok` when the consumer is closed.
async fn session(shared: &QueueShared, source: &Source, first: bool) -> Result<(), Error> {
    let mut own = source.client.dedicated().await?;
    let id = match own.req_packed_command(redis::cmd("CLIENT").arg("ID")).await {
        Ok(Value::Int(id)) => id,
        // Without the right to ask, the last read of a closed consumer takes its time.
        Ok(_) => 0,
        Err(e) => match ours(e, source) {
            error if error.outcome() == Outcome::Answered => 0,
            error => return Err(error),
        },
    };
    if !first {
        // What the last connection was given and did not bring is still ours, and nobody else's for as
        // long as its lease: it goes back now, or then, if the server would not have it.
        match reclaim(shared, source).await {
            Err(error) if error.outcome() != Outcome::Answered => return Err(error),
            Err(error) => {
                tracing::debug!(node = %source.node(), %error, "what was left waits for the end of its lease")
            }
            Ok(()) => {}
        }
    }
    source.connection.store(id, SeqCst);
    // The first read does not wait: it tells whether the node can be read.
    let mut block = Duration::ZERO;
    loop {
        let (count, again) = tokio::select! {
            biased;
            () = shared.closed() => return Ok(()),
            room = room(shared, source) => room,
        };
        if !again {
            block = block.min(PAST_SUSPECTS);
        }
        if source.client.is_drained() {
            return Err(source.client.refusal());
        }
        match fetch(shared, &mut own, count, again, block).await {
            Ok(value) => {
                source.is_fine();
                eviction::look(&shared.queue, &source.client);
                source.joined.store(true, SeqCst);
                stock(shared, source, count, value).await;
            }
            // Not there yet, or not any more. It is made only now: a server without memory may have it.
            Err(e) if is_gone(&e) => {
                if source.joined.swap(false, SeqCst) {
                    tracing::warn!(
                        queue = shared.queue.name(),
                        group = &*shared.group,
                        node = %source.node(),
                        "the group was deleted; it is made anew, and everything unacknowledged is delivered again"
                    );
                }
                join(shared, source).await?;
            }
            // Woken up, because the consumer is being closed.
            Err(e) if e.code() == Some("UNBLOCKED") => {}
            Err(e) => {
                if e.code() == Some("WRONGTYPE") {
                    // It does not say which of the keys it is.
                    join(shared, source).await?;
                }
                return Err(ours(e, source));
            }
        }
        block = BLOCK;
    }
}

/// Reads both streams of the group, or only the one of what is new.
async fn fetch(
    shared: &QueueShared,
    own: &mut DedicatedClient,
    count: usize,
    again: bool,
    block: Duration,
) -> Result<Value, RedisError> {
    let mut cmd = redis::cmd("XREADGROUP");
    cmd.arg("GROUP").arg(&*shared.group).arg(&shared.consumer);
    cmd.arg("COUNT").arg(count);
    if !block.is_zero() {
        cmd.arg("BLOCK").arg(block.as_millis() as u64);
    }
    cmd.arg("STREAMS");
    if again {
        cmd.arg(&*shared.keys.again);
    }
    cmd.arg(&*shared.queue.keys().stream);
    if again {
        cmd.arg(">");
    }
    cmd.arg(">");
    own.req_packed_command(&cmd).await?.extract_error()
}

/// Waits until there is room, and says how much, and whether also for what is delivered again.
async fn room(shared: &QueueShared, source: &Source) -> (usize, bool) {
    loop {
        let room = shared.state.lock().buffer.room(source.slot, clock::now());
        // A permit is kept when it comes before the wait.
        let changed = source.room.notified();
        match room {
            Room::Some { count, again } => return (count, again),
            Room::None => changed.await,
            Room::Soon(wait) => {
                // Either way it is looked at again.
                let _ = tokio::time::timeout(wait, changed).await;
            }
        }
    }
}

async fn stock(shared: &QueueShared, source: &Source, asked: usize, value: Value) {
    let read = read(value, &shared.keys.again);
    if !read.parcels.is_empty() {
        let again = read
            .parcels
            .iter()
            .filter(|p| p.message.attempts > 0 || p.message.suspect)
            .count();
        source.meter.delivered.increment(read.parcels.len() as u64);
        source.meter.redelivered.increment(again as u64);
        shared
            .state
            .lock()
            .buffer
            .stock(source.slot, asked, read.parcels, clock::now());
        shared.stocked.notify_one();
    }
    for place in read.strange {
        bury(shared, source, place).await;
    }
}

/// An entry that no queue has written is no message; among the dead letters somebody may look at it.
async fn bury(shared: &QueueShared, source: &Source, place: Place) {
    let bury = Bury {
        seat: shared.seat(place.which),
        why: "not a message of this queue",
        entry: place.entry,
    };
    match run_call(bury, &source.client, shared.deadline()).await {
        Ok(()) => source.meter.dead.increment(1),
        // Its lease ends, and it is met again.
        Err(error) => {
            let dead = &shared.queue.keys().dead;
            source.failed(shared, Duty::Leases, dead, error);
        }
    }
}

/// Makes the group where it is not there, from the beginning of its streams.
async fn join(shared: &QueueShared, source: &Source) -> Result<(), Error> {
    for seat in [Which::Stream, Which::Again].map(|which| shared.seat(which)) {
        run_call(Join(seat), &source.client, shared.deadline())
            .await
            .map_err(|e| named(e, seat.stream()))?;
    }
    Ok(())
}

/// Gives back what is pending for this consumer on the node without being here.
pub(crate) async fn reclaim(shared: &QueueShared, source: &Source) -> Result<(), Error> {
    let held = shared.state.lock().buffer.held(source.slot);
    let reclaim = Reclaim {
        seat: shared.seat(Which::Stream),
        held: &held,
    };
    let count = run_call(reclaim, &source.client, shared.deadline()).await?;
    if count > 0 {
        tracing::debug!(node = %source.node(), count, "deliveries given back");
    }
    Ok(())
}

/// The group or its stream was deleted, maybe while the read waited.
fn is_gone(e: &RedisError) -> bool {
    let text = || e.detail().unwrap_or_default().to_owned();
    e.code() == Some("NOGROUP")
        || (e.code() == Some("UNBLOCKED") && text().contains("no longer exists"))
}

fn ours(e: RedisError, source: &Source) -> Error {
    if let Some(error) = Error::from_redis(&e) {
        return error.clone();
    }
    Error::answered(source.node(), e)
}
