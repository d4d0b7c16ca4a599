//! How deep the queues are: asked of the servers, so seldom, and never by two at once.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde::Serialize;
use tokio::sync::Mutex;

use crate::clock;
use crate::error::text::one_line;
use crate::queue::WeakQueue;

/// What was asked is told for so long.
const FRESH: Duration = Duration::from_secs(5);
/// How long a queue is waited for; then its node is out, and the page has more to say than this.
const PATIENCE: Duration = Duration::from_secs(1);

/// A queue over all nodes that answered.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct QueueDepth {
    name: String,
    messages: u64,
    in_flight: u64,
    delayed: u64,
    dead: u64,
    /// Of the first node that did not say.
    error: Option<String>,
}

/// The last answer.
#[derive(Default)]
pub(super) struct Depths {
    /// Held while the servers are asked.
    asking: Mutex<()>,
    /// Guards the answer; held for a look.
    last: parking_lot::Mutex<Option<(Instant, Vec<QueueDepth>)>>,
}

impl Depths {
    /// What is known, after asking when that is old and nobody asks already.
    ///
    /// # Cancellation
    ///
    /// Safe.
    pub(super) async fn get(&self, queues: &[WeakQueue]) -> Vec<QueueDepth> {
        if queues.is_empty() {
            return Vec::new();
        }
        if !self.is_fresh()
            && let Ok(_asking) = self.asking.try_lock()
        {
            let all = join_all(queues.iter().map(one)).await;
            let all = all.into_iter().flatten().collect();
            *self.last.lock() = Some((clock::now(), all));
        }
        let last = self.last.lock();
        last.as_ref().map_or_else(Vec::new, |(_, all)| all.clone())
    }

    fn is_fresh(&self) -> bool {
        let last = self.last.lock();
        last.as_ref()
            .is_some_and(|(at, _)| clock::since(*at) < FRESH)
    }
}

/// One queue; `None` when its cluster is gone.
async fn one(queue: &WeakQueue) -> Option<QueueDepth> {
    let queue = queue.upgrade()?.within(PATIENCE);
    let mut sum = QueueDepth {
        name: queue.name().to_owned(),
        ..QueueDepth::default()
    };
    match queue.depths().await {
        Ok(depths) => {
            for (_, depth) in depths {
                match depth {
                    Ok(depth) => {
                        sum.messages += depth.messages;
                        sum.in_flight += depth.in_flight;
                        sum.delayed += depth.delayed;
                        sum.dead += depth.dead;
                    }
                    Err(e) => sum.fails(&e),
                }
            }
        }
        Err(e) => sum.fails(&e),
    }
    Some(sum)
}

impl QueueDepth {
    fn fails(&mut self, error: &crate::error::Error) {
        self.error
            .get_or_insert_with(|| one_line(error.to_string()));
    }
}
