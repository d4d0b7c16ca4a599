//! A queue over all nodes: what an application pushes to and makes consumers of.

mod buffer;
mod calls;
mod consumer;
mod dead;
mod dedup;
mod delivery;
mod depth;
mod drain;
mod eviction;
mod follower;
mod held;
mod maintenance;
mod message;
mod meter;
mod names;
mod options;
mod push;
mod push_many;
mod push_outcome;
mod reader;
mod receipt;
mod reply;
mod schedule;
mod scripts;
mod shared;
mod spread;
mod trouble;
#[cfg(feature = "admin")]
mod weak;

pub use self::consumer::{Consumer, Deliveries};
pub use self::dead::{DeadLetter, DeadLetters};
pub use self::delivery::Delivery;
pub use self::depth::{Depth, Drained};
pub use self::message::MessageId;
pub use self::receipt::{PushError, Receipt};
pub use self::schedule::When;
pub use self::spread::Spread;
#[cfg(feature = "admin")]
pub(crate) use self::weak::WeakQueue;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::client::Client;
use crate::clock;
use crate::cluster::FlusterCluster;
use crate::cluster::features::Feature;
use crate::error::{Error, ErrorKind, Outcome};
use crate::node::NodeId;
use crate::queue::meter::QueueMeter;
use crate::queue::names::Keys;
use crate::queue::options::QueueOptions;
use crate::queue::push::Depths;
use crate::tasks::give_way;

impl FlusterCluster {
    /// The queue of this name: at-least-once delivery over all nodes, on Redis streams (Redis 6.2 or later).
    ///
    /// No I/O; what is in the queue is on the servers. Keep one and clone it: two calls make two that take their
    /// turns over the nodes by themselves. Its keys begin with `fluster:{name}:` on every node. How it works, what it
    /// promises and what it costs: [the guide](crate::guide::queues).
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// # async fn run(cluster: fluster::FlusterCluster) -> Result<(), Box<dyn std::error::Error>> {
    /// let jobs = cluster.queue("jobs");
    /// jobs.push("resize cat.png").await?;
    ///
    /// let worker = jobs.consumer("images", "worker-1")?;
    /// while let Some(job) = worker.pop(Duration::from_secs(5)).await? {
    ///     println!("{}, attempt {}", String::from_utf8_lossy(job.payload()), job.attempt());
    ///     job.ack().await?;
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn queue(&self, name: impl AsRef<str>) -> Queue {
        self.engine().uses(Feature::Queue);
        let keys = Keys::new(name.as_ref());
        Queue {
            cluster: self.clone(),
            inner: Arc::new(Inner {
                meter: QueueMeter::new(&keys.queue, &self.engine().limits().cluster),
                keys,
                // Many processes that start at once must not all begin with the same node.
                cursor: AtomicUsize::new(fastrand::usize(..1 << 16)),
                drained: Mutex::default(),
                any_drained: AtomicBool::new(false),
                depths: Mutex::default(),
            }),
            options: Arc::new(QueueOptions::default()),
        }
    }
}

/// A queue over all nodes of a cluster; made by [`FlusterCluster::queue`], cheap to clone.
///
/// The setters return a handle with another setting, and judge nothing: a setting that cannot work is the error
/// of the first call that needs it, [`ErrorKind::Invalid`], with the remedy. All producers and consumers of a
/// queue should use the same settings.
#[derive(Clone)]
pub struct Queue {
    cluster: FlusterCluster,
    inner: Arc<Inner>,
    options: Arc<QueueOptions>,
}

/// What all clones of a queue share.
struct Inner {
    keys: Keys,
    /// Whose turn it is.
    cursor: AtomicUsize,
    /// Guards the names of the nodes that get nothing more; held for a look-up.
    drained: Mutex<BTreeSet<NodeId>>,
    any_drained: AtomicBool,
    /// Guards what is known of the depths; held for a look-up.
    depths: Mutex<Depths>,
    meter: QueueMeter,
}

impl Queue {
    /// How pushes are spread over the nodes. Default: [`Spread::RoundRobin`]. [Example](crate::guide::by_example#a-queue).
    #[must_use]
    pub fn spread(self, spread: Spread) -> Self {
        self.with(|o| o.spread = spread)
    }

    /// How long a delivery is its consumer's without a sign of life; then it is delivered again. A consumer
    /// renews it by itself while the job runs. 100 ms to 7 days. Default: 30 s. [Example](crate::guide::by_example#a-queue).
    #[must_use]
    pub fn visibility(self, visibility: Duration) -> Self {
        self.with(|o| o.visibility = visibility)
    }

    /// How often a message is started before it goes to the dead letters; `u32::MAX` for ever. Attempts count what was
    /// [started](crate::guide::queues#attempts): the first lease that expires does not. Default: 16. [Example](crate::guide::by_example#a-queue).
    ///
    /// With 1 the first delivery counts at once, and [`prefetch`](Self::prefetch) is 1.
    #[must_use]
    pub fn max_attempts(self, attempts: u32) -> Self {
        self.with(|o| o.max_attempts = attempts)
    }

    /// The number of messages on one node, delayed and unacknowledged ones included, above which pushes go to the
    /// next node. Default: no limit. [Example](crate::guide::by_example#a-queue).
    #[must_use]
    pub fn max_len(self, messages: u64) -> Self {
        self.with(|o| o.max_len = Some(messages))
    }

    /// The bytes that a payload may have; a longer one is refused before it is sent. At most what the servers'
    /// `proto-max-bulk-len` says (512 MB unless configured): a server ends the connection over a longer one.
    /// Default: 64 MiB. [Example](crate::guide::by_example#a-queue).
    #[must_use]
    pub fn max_payload(self, bytes: usize) -> Self {
        self.with(|o| o.max_payload = bytes)
    }

    /// The most deliveries per node that a consumer holds ready, 1 to 10 000; up to twice as many while messages are
    /// delivered again. It begins with one, and doubles while they are used up at once; they take 8 MiB per node, or
    /// are one. More is faster, and more is delivered twice after a crash. Default: 32. [Example](crate::guide::by_example#a-queue).
    #[must_use]
    pub fn prefetch(self, deliveries: usize) -> Self {
        self.with(|o| o.prefetch = deliveries)
    }

    /// A handle to the same queue whose calls may take this long, over all nodes, in place of the cluster's
    /// deadline. [Example](crate::guide::by_example#a-queue).
    #[must_use]
    pub fn within(&self, deadline: Duration) -> Self {
        Self {
            cluster: self.cluster.with_deadline(deadline),
            ..self.clone()
        }
    }

    /// The queue's name. [Example](crate::guide::by_example#a-queue).
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.keys.queue
    }

    fn with(mut self, edit: impl FnOnce(&mut QueueOptions)) -> Self {
        edit(Arc::make_mut(&mut self.options));
        self
    }

    fn keys(&self) -> &Keys {
        &self.inner.keys
    }

    /// The settings are judged where they are needed.
    fn usable(&self) -> Result<(), Error> {
        match self.options.refuse(self.name()) {
            Some(why) => Err(refused(why)),
            None => Ok(()),
        }
    }

    fn deadline(&self) -> Instant {
        clock::now() + self.cluster.deadline()
    }

    /// The nodes that can be asked; an error when there is none.
    async fn live(&self) -> Result<Vec<Client>, Error> {
        let live = self.cluster.live_clients();
        if !live.is_empty() {
            return Ok(live);
        }
        give_way().await;
        // It says why each of them is out, and pulls their probes forward.
        Ok(vec![self.cluster.get_client(&*self.keys().stream)?])
    }

    fn is_drained(&self, node: &NodeId) -> bool {
        self.inner.any_drained.load(Relaxed) && self.inner.drained.lock().contains(node)
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("name", &self.name())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// The defaults, for the guide: spread, visibility, attempts, the largest payload, prefetch.
#[cfg(all(test, feature = "serde"))]
pub(crate) fn default_options() -> [String; 5] {
    let o = QueueOptions::default();
    [
        format!("`Spread::{:?}`", o.spread),
        format!("{:?}", o.visibility),
        o.max_attempts.to_string(),
        format!("{} MiB", o.max_payload >> 20),
        o.prefetch.to_string(),
    ]
}

fn refused(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, Outcome::NotSent, why)
}

/// Names the key in the error of a server that found something else there.
fn named(error: Error, key: &str) -> Error {
    match error.server_code() {
        Some("WRONGTYPE") => error.wrap(&format!(
            "the key `{key}` holds something else than the queue needs there; rename or delete it"
        )),
        _ => error,
    }
}
