//! Keeps the leases of one node alive, and does the node's chores when it is this consumer's turn.

use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::error::text::one_line;
use crate::error::{Error, ErrorKind, Outcome};
use crate::queue::buffer::Due;
use crate::queue::calls::{Claim, Release, Tick, Turn};
use crate::queue::message::{Place, Which};
use crate::queue::meter::Teller;
use crate::queue::scripts::run as run_call;
use crate::queue::shared::{QueueShared, Source};
use crate::queue::trouble::Duty;

/// How often the chores are done.
const EVERY: Duration = Duration::from_secs(1);
/// How much they move at once; the rest follows without a pause.
const AT_MOST: usize = 200;
/// The same in bytes. A server moves some 450 MiB per second, and answers nobody else meanwhile.
const BYTES_AT_MOST: usize = 8 << 20;
/// How many leases one command renews.
const LEASES: usize = 500;

/// Keeps what the consumer holds of the node; ends when it is closed and holds nothing more.
pub(crate) async fn run(shared: Arc<QueueShared>, source: Arc<Source>) {
    let _teller = Teller(Arc::clone(&source.meter));
    let visibility = shared.queue.options.visibility;
    // A third: one renewal may fail, and the next one still comes in time.
    let period = visibility / 3;
    let mut chores = clock::now() + EVERY.mul_f64(fastrand::f64());
    let mut renewal = clock::now() + period;
    loop {
        let closing = shared.is_closing();
        if closing && !shared.state.lock().buffer.has_leases(source.slot) {
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
        let now = clock::now();
        if now >= renewal {
            renewal = now + period;
            renew(&shared, &source, visibility).await;
        }
        if now >= chores && !shared.is_closing() {
            chores = clock::now() + do_chores(&shared, &source).await;
        }
    }
}

async fn renew(shared: &QueueShared, source: &Source, visibility: Duration) {
    let due = shared
        .state
        .lock()
        .buffer
        .due(source.slot, clock::now(), visibility);
    let mut result = Ok(());
    for which in [Which::Stream, Which::Again] {
        let of = |places: &[Place]| -> Vec<Place> {
            let here = places.iter().filter(|p| p.which == which);
            here.copied().collect()
        };
        for places in of(&due.renew).chunks(LEASES) {
            let renewed = renew_some(shared, source, which, places).await;
            result = result.and(renewed.map_err(|e| (which, e)));
        }
        // What cannot be given back is nobody's until its lease ends, which is soon.
        let released = release(shared, source, which, &of(&due.stale)).await;
        result = result.and(released.map_err(|e| (which, e)));
    }
    match result {
        Ok(()) if due == Due::default() => {}
        Ok(()) => source.succeeded(shared, Duty::Leases),
        Err((which, error)) => told(shared, source, Duty::Leases, shared.key_of(which), error),
    }
}

/// Tells of a failure, unless it is the node's own end: others do that.
fn told(shared: &QueueShared, source: &Source, duty: Duty, key: &str, error: Error) {
    match error.kind() {
        ErrorKind::NodeOut
        | ErrorKind::UnreachableHere
        | ErrorKind::Closed
        | ErrorKind::Connect
        | ErrorKind::ConnectionLost => {
            tracing::debug!(node = %source.node(), %error, "{} have to wait", duty.name())
        }
        _ => source.failed(shared, duty, key, error),
    }
}

/// Notes on the server that a suspect begins, so that it counts if its worker dies of it; `false` when it is not
/// this consumer's any more.
pub(crate) async fn begin(
    shared: &QueueShared,
    source: &Source,
    place: Place,
) -> Result<bool, Error> {
    let claim = Claim {
        seat: shared.seat(place.which),
        places: &[place],
        begins: true,
    };
    match claim.run(&source.client, shared.deadline()).await {
        Ok(held) => Ok(!held.is_empty()),
        Err(error) => {
            let key = shared.key_of(place.which);
            told(shared, source, Duty::Leases, key, error.clone());
            Err(error)
        }
    }
}

/// Gives back deliveries that nobody popped; they do not count as an attempt.
async fn release(
    shared: &QueueShared,
    source: &Source,
    which: Which,
    places: &[Place],
) -> Result<(), Error> {
    for places in places.chunks(LEASES) {
        let seat = shared.seat(which);
        let release = Release { seat, places };
        run_call(release, &source.client, shared.deadline()).await?;
    }
    Ok(())
}

async fn renew_some(
    shared: &QueueShared,
    source: &Source,
    which: Which,
    places: &[Place],
) -> Result<(), Error> {
    let claim = Claim {
        seat: shared.seat(which),
        places,
        begins: false,
    };
    let held = claim.run(&source.client, shared.deadline()).await?;
    let lost: Vec<Place> = places
        .iter()
        .copied()
        .filter(|place| !held.contains(&place.entry))
        .collect();
    if !lost.is_empty() {
        // Those that were acknowledged meanwhile are forgotten already.
        shared.state.lock().buffer.lost(source.slot, lost);
    }
    Ok(())
}

/// Does the chores if it is this consumer's turn; says when to come again.
async fn do_chores(shared: &QueueShared, source: &Source) -> Duration {
    let options = &shared.queue.options;
    let tick = Tick {
        seat: shared.seat(Which::Stream),
        visibility: options.visibility,
        max_attempts: options.max_attempts,
        // A little less than the pause, so that the turn is over when its holder comes again.
        turn: EVERY.saturating_sub(Duration::from_millis(50)),
        most: AT_MOST,
        most_bytes: BYTES_AT_MOST,
    };
    let turn = match run_call(tick, &source.client, shared.deadline()).await {
        Ok(turn) => turn,
        Err(error) => {
            told(shared, source, Duty::Chores, &shared.keys.turn, error);
            return EVERY + EVERY.mul_f64(fastrand::f64());
        }
    };
    match turn {
        Turn::Done {
            expired,
            dead,
            depth,
            more,
            wrong,
        } => {
            for (key, says) in &wrong {
                let says = one_line(says);
                let error = Error::new(ErrorKind::Server, Outcome::Answered, says);
                let error = error.at(source.node());
                // Only what is ours is repeated.
                let key = shared.known_key(key);
                source.failed(shared, Duty::Chores, key, error);
            }
            if wrong.is_empty() {
                source.succeeded(shared, Duty::Chores);
            }
            source.meter.dead.increment(dead);
            source.meter.depth(depth as f64);
            if expired > 0 {
                tracing::info!(
                    queue = shared.queue.name(), group = &*shared.group, node = %source.node(),
                    expired, dead, "leases have expired"
                );
            }
            match more {
                false => EVERY,
                // Others are served in between.
                true => Duration::from_millis(1),
            }
        }
        Turn::Taken(wait) => wait.min(EVERY) + EVERY.mul_f64(fastrand::f64() / 4.0),
        Turn::Strange => EVERY,
    }
}
