//! Emptying one node before it is removed.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use redis::{FromRedisValue, Value};

use crate::client::Client;
use crate::clock;
use crate::connection::reply::parse;
use crate::error::Error;
use crate::node::NodeId;
use crate::queue::Queue;
use crate::queue::buffer::demand::Sizes;
use crate::queue::depth::Drained;
use crate::queue::scripts::raw;

const LONGEST: Duration = Duration::from_secs(7 * 86_400);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Messages for later that move at once.
const AT_ONCE: usize = 100;

impl Queue {
    /// Empties `node`, so that it can be removed: this queue and its clones push nothing more to it, what is there for
    /// later goes to the other nodes, and consumers have up to `wait` to do the rest. Says what is left; dead letters
    /// and what consumers have put off with [`nack`](crate::queue::Delivery::nack) stay until they are dealt with. [Example](crate::guide::by_example#looking-after-a-queue).
    ///
    /// Every process that pushes has to do this, or be told: nobody else is stopped from pushing to the node.
    /// [`resume`](Self::resume) undoes it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when there is no node of this name; else those of a command
    /// on that node, or on the one that messages move to.
    ///
    /// # Cancellation
    ///
    /// Safe. A message that is being moved may then be on both nodes, under one id.
    pub async fn drain(&self, node: impl AsRef<str>, wait: Duration) -> Result<Drained, Error> {
        self.usable()?;
        let client = self.cluster.get_client_of_node(node)?;
        self.inner.drained.lock().insert(client.node().clone());
        self.inner.any_drained.store(true, Relaxed);
        let until = clock::now() + wait.min(LONGEST);
        let mut moved = self.move_delayed(&client).await?;
        loop {
            let left = self.depth(&client).await?;
            if left.total() == 0 || clock::now() >= until {
                return Ok(Drained { moved, left });
            }
            let pause = LOOK_EVERY.min(until.saturating_duration_since(clock::now()));
            self.cluster.engine().tasks().sleep(pause).await;
            // Other processes may not have been told yet.
            moved += self.move_delayed(&client).await?;
        }
    }

    /// Lets this queue and its clones push to `node` again after [`drain`](Self::drain). [Example](crate::guide::by_example#looking-after-a-queue).
    pub fn resume(&self, node: impl AsRef<str>) {
        let mut drained = self.inner.drained.lock();
        drained.remove(&NodeId::from(node.as_ref()));
        self.inner.any_drained.store(!drained.is_empty(), Relaxed);
    }

    /// Moves what is there for later; first to the other node, then from this one.
    async fn move_delayed(&self, from: &Client) -> Result<u64, Error> {
        let key = &*self.keys().delayed;
        let mut moved = 0;
        // How large they are is seen when they are here: one at first, and more while they are small.
        let (mut ask, mut sizes) = (1, Sizes::default());
        loop {
            let mut range = redis::cmd("ZRANGE");
            range.arg(key).arg(0).arg(ask - 1).arg("WITHSCORES");
            let value = raw(from, &range, self.deadline()).await?;
            let value: Value = parse(value, from.node())?;
            let due = Vec::<(Vec<u8>, f64)>::from_redis_value(value).unwrap_or_default();
            sizes.note(due.iter().map(|(member, _)| member.len()));
            ask = (2 * ask).min(AT_ONCE).min(sizes.fitting(0)).max(1);
            let others: Vec<Client> = self
                .live()
                .await?
                .into_iter()
                .filter(|c| !self.is_drained(c.node()))
                .collect();
            if due.is_empty() || others.is_empty() {
                return Ok(moved);
            }
            let to = &others[self.inner.cursor.fetch_add(1, Relaxed) % others.len()];
            let mut add = redis::cmd("ZADD");
            add.arg(key);
            let mut remove = redis::cmd("ZREM");
            remove.arg(key);
            for (member, score) in &due {
                add.arg(format!("{score:.0}")).arg(&**member);
                remove.arg(&**member);
            }
            parse::<Value>(raw(to, &add, self.deadline()).await?, to.node())?;
            let removed = raw(from, &remove, self.deadline()).await?;
            moved += parse::<u64>(removed, from.node())?;
        }
    }
}
