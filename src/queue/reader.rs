//! Fetches from one node: a blocking read on a connection of its own, as long as there is room.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use redis::aio::ConnectionLike as _;
use redis::{Pipeline, RedisError, Value};

use crate::client::DedicatedClient;
use crate::error::{Error, ErrorKind};
use crate::queue::message::{Place, Which};
use crate::queue::named;
use crate::queue::reply::read;
use crate::queue::scripts::{BURY, RECLAIM};
use crate::queue::shared::{Shared, Source};

/// How long a read waits at the server for something to come.
const BLOCK: Duration = Duration::from_secs(2);
/// After a failure the next try waits this long, twice as long each time up to the other, and half of it by
/// chance: a thousand consumers must not come back at once.
const RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// Counts a reader while it runs, however it ends.
struct Running<'a>(&'a Shared, &'a Source);

impl<'a> Running<'a> {
    fn new(shared: &'a Shared, source: &'a Source) -> Self {
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
pub(crate) async fn run(shared: Arc<Shared>, source: Arc<Source>) {
    let _running = Running::new(&shared, &source);
    let mut wait = RETRY;
    let mut first = true;
    while !shared.is_closing() {
        let began = Instant::now();
        let Err(error) = session(&shared, &source, first).await else {
            return;
        };
        source.connection.store(0, SeqCst);
        // What waits here could be popped, but not be acknowledged while the node is away: it goes back
        // with the next connection.
        shared.state.lock().shelf.clear(source.slot);
        first = false;
        if error.kind() == ErrorKind::Closed {
            return;
        }
        if began.elapsed() > LONGEST_RETRY {
            wait = RETRY;
        }
        let error = hint(error);
        let queue = shared.queue.name();
        match source.troubled(error.clone()) {
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
async fn session(shared: &Shared, source: &Source, first: bool) -> Result<(), Error> {
    let mut own = source.client.dedicated().await?;
    let id = set_up(shared, source, &mut own).await?;
    if !first {
        // What the last connection was given and did not bring is still ours, and nobody else's for as
        // long as its lease: it goes back now.
        reclaim(shared, source).await?;
    }
    source.connection.store(id, SeqCst);
    source.is_fine();
    loop {
        let count = tokio::select! {
            biased;
            () = shared.closed() => return Ok(()),
            count = room(shared, source) => count,
        };
        let mut cmd = redis::cmd("XREADGROUP");
        cmd.arg("GROUP").arg(&*shared.group).arg(&shared.consumer);
        cmd.arg("COUNT").arg(count);
        cmd.arg("BLOCK").arg(BLOCK.as_millis() as u64);
        cmd.arg("STREAMS")
            .arg(&*shared.keys.again)
            .arg(&*shared.queue.keys().stream);
        cmd.arg(">").arg(">");
        let value = match own.req_packed_command(&cmd).await {
            Ok(value) => value.extract_error(),
            Err(e) => Err(e),
        };
        match value {
            Ok(value) => stock(shared, source, value).await,
            Err(e) if is_gone(&e) => {
                tracing::warn!(
                    queue = shared.queue.name(),
                    group = &*shared.group,
                    node = %source.node(),
                    "the group was deleted; it is made anew, and everything unacknowledged is delivered again"
                );
                set_up(shared, source, &mut own).await?;
            }
            // Woken up, because the consumer is being closed.
            Err(e) if e.code() == Some("UNBLOCKED") => {}
            Err(e) => return Err(ours(e, source)),
        }
    }
}

/// Waits until there is room, and says how much.
async fn room(shared: &Shared, source: &Source) -> usize {
    loop {
        let room = shared.state.lock().shelf.room(source.slot);
        if room > 0 {
            return room;
        }
        // A permit is kept when it comes before the wait.
        source.room.notified().await;
    }
}

async fn stock(shared: &Shared, source: &Source, value: Value) {
    let read = read(value, &shared.keys.again);
    if !read.parcels.is_empty() {
        let again = read
            .parcels
            .iter()
            .filter(|p| p.message.attempts > 0)
            .count();
        source.meter.delivered.increment(read.parcels.len() as u64);
        source.meter.redelivered.increment(again as u64);
        shared
            .state
            .lock()
            .shelf
            .stock(source.slot, read.parcels, Instant::now());
        shared.stocked.notify_one();
    }
    for place in read.strange {
        bury(shared, source, place).await;
    }
}

/// An entry that no queue has written is no message; among the dead letters somebody may look at it.
async fn bury(shared: &Shared, source: &Source, place: Place) {
    let buried = BURY
        .run::<i64>(&source.client, shared.deadline(), |cmd| {
            cmd.arg(2)
                .arg(shared.key_of(place.which))
                .arg(&*shared.queue.keys().dead);
            cmd.arg(&*shared.group)
                .arg(u8::from(place.which == Which::Again));
            cmd.arg("not a message of this queue")
                .arg(place.entry.to_string());
        })
        .await;
    match buried {
        Ok(_) => source.meter.dead.increment(1),
        // Its lease ends, and it is met again.
        Err(error) => tracing::debug!(%error, "a strange entry stays where it is"),
    }
}

/// Makes the groups if they are not there, from the beginning of their streams; the id of the connection.
async fn set_up(shared: &Shared, source: &Source, own: &mut DedicatedClient) -> Result<i64, Error> {
    let mut pipe = Pipeline::new();
    pipe.cmd("CLIENT").arg("ID");
    let keys = [&shared.queue.keys().stream, &shared.keys.again];
    for key in keys {
        pipe.cmd("XGROUP")
            .arg("CREATE")
            .arg(&**key)
            .arg(&*shared.group);
        pipe.arg("0").arg("MKSTREAM");
    }
    let answers = own.req_packed_commands(&pipe, 0, pipe.len()).await;
    let mut answers = answers.map_err(|e| ours(e, source))?.into_iter();
    let id = match answers.next() {
        Some(Value::Int(id)) => id,
        // Without the right to ask, the last read of a closed consumer takes its time.
        _ => 0,
    };
    for (key, answer) in keys.into_iter().zip(answers) {
        match answer.extract_error() {
            Ok(_) => {}
            Err(e) if e.code() == Some("BUSYGROUP") => {}
            Err(e) => return Err(named(ours(e, source), key)),
        }
    }
    Ok(id)
}

/// Gives back what is pending for this consumer on the node without being here.
pub(crate) async fn reclaim(shared: &Shared, source: &Source) -> Result<(), Error> {
    let held = shared.state.lock().shelf.held(source.slot);
    let count = RECLAIM
        .run::<u64>(&source.client, shared.deadline(), |cmd| {
            shared.keys_for(cmd, Which::Stream, 4);
            cmd.arg(&*shared.group).arg(&shared.consumer);
            for place in &held {
                cmd.arg(format!("{}{}", place.letter(), place.entry));
            }
        })
        .await?;
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
