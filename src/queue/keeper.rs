//! Keeps the leases of one node alive, and does the node's chores when it is this consumer's turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{FromRedisValue, Value};

use crate::error::Error;
use crate::queue::message::{EntryId, Place, Which};
use crate::queue::scripts::{RELEASE, TICK, raw};
use crate::queue::shared::{Shared, Source};

/// How often the chores are done.
const EVERY: Duration = Duration::from_secs(1);
/// How much they move at once; the rest follows without a pause.
const AT_MOST: usize = 200;
/// How many leases one command renews.
const LEASES: usize = 500;

/// Keeps what the consumer holds of the node; ends when it is closed and holds nothing more.
pub(crate) async fn run(shared: Arc<Shared>, source: Arc<Source>) {
    let visibility = shared.queue.options.visibility;
    // A third: one renewal may fail, and the next one still comes in time.
    let period = visibility / 3;
    let mut chores = Instant::now() + EVERY.mul_f64(fastrand::f64());
    let mut renewal = Instant::now() + period;
    loop {
        let closing = shared.is_closing();
        if closing && !shared.state.lock().shelf.has_leases(source.slot) {
            return;
        }
        let next = if closing {
            renewal
        } else {
            renewal.min(chores)
        };
        tokio::select! {
            () = tokio::time::sleep_until(next.into()) => {}
            () = source.leases.notified() => continue,
        }
        let now = Instant::now();
        if now >= renewal {
            renewal = now + period;
            renew(&shared, &source, visibility).await;
        }
        if now >= chores && !shared.is_closing() {
            chores = Instant::now() + do_chores(&shared, &source).await;
        }
    }
}

async fn renew(shared: &Shared, source: &Source, visibility: Duration) {
    let due = shared
        .state
        .lock()
        .shelf
        .due(source.slot, Instant::now(), visibility);
    for which in [Which::Stream, Which::Again] {
        let places: Vec<Place> = due
            .renew
            .iter()
            .copied()
            .filter(|p| p.which == which)
            .collect();
        for places in places.chunks(LEASES) {
            if let Err(error) = renew_some(shared, source, which, places).await {
                tracing::debug!(node = %source.node(), %error, "leases could not be renewed");
            }
        }
    }
    for which in [Which::Stream, Which::Again] {
        let places: Vec<Place> = due
            .stale
            .iter()
            .copied()
            .filter(|p| p.which == which)
            .collect();
        if let Err(error) = release(shared, source, which, &places).await {
            // They are nobody's until their leases end, which is soon.
            tracing::debug!(node = %source.node(), %error, "deliveries could not be given back");
        }
    }
}

/// Gives back deliveries that nobody popped; they do not count as an attempt.
async fn release(
    shared: &Shared,
    source: &Source,
    which: Which,
    places: &[Place],
) -> Result<(), Error> {
    for places in places.chunks(LEASES) {
        RELEASE
            .run::<u64>(&source.client, shared.deadline(), |cmd| {
                shared.keys_for(cmd, which, 4);
                cmd.arg(&*shared.group).arg(&shared.consumer);
                cmd.arg(u8::from(which == Which::Again));
                for place in places {
                    cmd.arg(place.entry.to_string());
                }
            })
            .await?;
    }
    Ok(())
}

async fn renew_some(
    shared: &Shared,
    source: &Source,
    which: Which,
    places: &[Place],
) -> Result<(), Error> {
    let mut cmd = redis::cmd("XCLAIM");
    cmd.arg(shared.key_of(which))
        .arg(&*shared.group)
        .arg(&shared.consumer)
        .arg(0);
    for place in places {
        cmd.arg(place.entry.to_string());
    }
    cmd.arg("JUSTID");
    let value = raw(&source.client, &cmd, shared.deadline()).await?;
    let value = crate::connection::reply::parse::<Value>(value, source.node())?;
    let held = Vec::<Vec<u8>>::from_redis_value(value).unwrap_or_default();
    let held: Vec<_> = held.iter().filter_map(|id| EntryId::parse(id)).collect();
    let lost: Vec<Place> = places
        .iter()
        .copied()
        .filter(|place| !held.contains(&place.entry))
        .collect();
    if !lost.is_empty() {
        // Those that were acknowledged meanwhile are forgotten already.
        shared.state.lock().shelf.lost(source.slot, lost);
    }
    Ok(())
}

/// Does the chores if it is this consumer's turn; says when to come again.
async fn do_chores(shared: &Shared, source: &Source) -> Duration {
    let options = &shared.queue.options;
    let keys = shared.queue.keys();
    let done = TICK
        .run::<Vec<i64>>(&source.client, shared.deadline(), |cmd| {
            shared.keys_for(cmd, Which::Stream, 7);
            cmd.arg(&*keys.delayed)
                .arg(&*shared.keys.kept)
                .arg(&*shared.keys.turn);
            cmd.arg(&*shared.group).arg(&shared.consumer);
            cmd.arg(options.visibility.as_millis() as u64);
            cmd.arg(options.max_attempts);
            // A little less than the pause, so that the turn is over when its holder comes again.
            cmd.arg(EVERY.as_millis() as u64 - 50).arg(AT_MOST);
        })
        .await;
    match done.as_deref() {
        Ok([1, expired, dead, depth, more]) => {
            source
                .meter
                .dead
                .increment(u64::try_from(*dead).unwrap_or_default());
            source.meter.depth.set(*depth as f64);
            if *expired > 0 {
                tracing::info!(
                    queue = shared.queue.name(), group = &*shared.group, node = %source.node(),
                    expired, dead, "leases have expired"
                );
            }
            match *more {
                0 => EVERY,
                // Others are served in between.
                _ => Duration::from_millis(1),
            }
        }
        Ok([0, wait, ..]) => {
            let wait = Duration::from_millis(u64::try_from(*wait).unwrap_or_default());
            wait.min(EVERY) + EVERY.mul_f64(fastrand::f64() / 4.0)
        }
        Ok(_) => EVERY,
        Err(error) => {
            tracing::debug!(node = %source.node(), %error, "the chores of the queue have to wait");
            EVERY + EVERY.mul_f64(fastrand::f64())
        }
    }
}
