//! Dead letters: messages that nobody could process.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use redis::{FromRedisValue, Value};

use crate::connection::reply::parse;
use crate::error::Error;
use crate::node::NodeId;
use crate::queue::calls::Retry;
use crate::queue::message::{Message, MessageId};
use crate::queue::scripts::{raw, run};
use crate::queue::{Queue, named};

/// An entry of a stream: its id, and its fields.
type Entry = (String, Vec<(Vec<u8>, Vec<u8>)>);

impl Queue {
    /// The dead letters of the queue: messages that used up their
    /// [`max_attempts`](Self::max_attempts), and those that were [rejected](crate::queue::Delivery::reject). [Example](crate::guide::by_example#looking-after-a-queue).
    ///
    /// They stay on their nodes until they are retried or discarded.
    #[must_use]
    pub fn dead(&self) -> DeadLetters {
        DeadLetters {
            queue: self.clone(),
        }
    }
}

/// The dead letters of a queue; made by [`Queue::dead`].
#[derive(Clone, Debug)]
pub struct DeadLetters {
    queue: Queue,
}

impl DeadLetters {
    /// The oldest dead letters, `most` of each live node. [Example](crate::guide::by_example#looking-after-a-queue).
    ///
    /// # Errors
    ///
    /// The first node's error when any fails; [`ErrorKind::ClusterEmpty`](crate::ErrorKind::ClusterEmpty) when all
    /// nodes are out.
    pub async fn list(&self, most: usize) -> Result<Vec<DeadLetter>, Error> {
        self.queue.usable()?;
        let clients = self.queue.live().await?;
        let key = &*self.queue.keys().dead;
        let mut cmd = redis::cmd("XRANGE");
        cmd.arg(key).arg("-").arg("+").arg("COUNT").arg(most.max(1));
        let deadline = self.queue.deadline();
        let answers = join_all(clients.iter().map(|c| raw(c, &cmd, deadline))).await;
        let mut letters = Vec::new();
        for (client, answer) in clients.iter().zip(answers) {
            let value: Value = parse(answer?, client.node()).map_err(|e| named(e, key))?;
            let entries = Vec::<Entry>::from_redis_value(value).unwrap_or_default();
            let letter = |entry| DeadLetter::new(client.node(), entry);
            letters.extend(entries.into_iter().map(letter));
        }
        Ok(letters)
    }

    /// Gives a dead letter to its group once more, with its attempts forgotten. `false` when it is not there any more. [Example](crate::guide::by_example#looking-after-a-queue).
    ///
    /// # Errors
    ///
    /// Those of a command on the letter's node.
    pub async fn retry(&self, letter: &DeadLetter) -> Result<bool, Error> {
        let client = self.queue.cluster.get_client_of_node(&letter.node)?;
        let (keys, entry) = (self.queue.keys(), &*letter.entry);
        run(Retry { keys, entry }, &client, self.queue.deadline()).await
    }

    /// Removes a dead letter for good. `false` when it is not there any more. [Example](crate::guide::by_example#looking-after-a-queue).
    ///
    /// # Errors
    ///
    /// Those of a command on the letter's node.
    pub async fn discard(&self, letter: &DeadLetter) -> Result<bool, Error> {
        let client = self.queue.cluster.get_client_of_node(&letter.node)?;
        let mut cmd = redis::cmd("XDEL");
        cmd.arg(&*self.queue.keys().dead).arg(&letter.entry);
        let value = raw(&client, &cmd, self.queue.deadline()).await?;
        Ok(parse::<i64>(value, client.node())? == 1)
    }
}

/// A message that nobody could process, and why.
#[derive(Clone, PartialEq, Eq)]
pub struct DeadLetter {
    node: NodeId,
    entry: String,
    message: Option<Message>,
    payload: Vec<u8>,
    group: String,
    reason: String,
}

impl DeadLetter {
    fn new(node: &NodeId, (entry, fields): Entry) -> Self {
        let field = |name: &str| {
            let found = fields.iter().find(|(n, _)| n == name.as_bytes());
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let text = |name| String::from_utf8_lossy(&field(name)).into_owned();
        Self {
            node: node.clone(),
            entry,
            payload: field("p"),
            group: text("g"),
            reason: text("r"),
            message: Message::from_fields(fields.iter().cloned()),
        }
    }

    /// What was pushed; of an entry that no queue has written, all its fields. [Example](crate::guide::by_example#looking-after-a-queue).
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The message's identity; `None` for an entry that no queue has written. [Example](crate::guide::by_example#looking-after-a-queue).
    #[must_use]
    pub fn id(&self) -> Option<MessageId> {
        self.message.as_ref().map(|m| m.id)
    }

    /// The key it was pushed by, if any. [Example](crate::guide::by_example#looking-after-a-queue).
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.message.as_ref()?.key.as_deref()
    }

    /// How often it was delivered. [Example](crate::guide::by_example#looking-after-a-queue).
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.message.as_ref().map_or(0, |m| m.attempts)
    }

    /// The group that gave it up. [Example](crate::guide::by_example#looking-after-a-queue).
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Why. [Example](crate::guide::by_example#looking-after-a-queue).
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The node that has it. [Example](crate::guide::by_example#looking-after-a-queue).
    #[must_use]
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// When it was given up, by the clock of its node. [Example](crate::guide::by_example#looking-after-a-queue).
    #[must_use]
    pub fn since(&self) -> SystemTime {
        let ms = self
            .entry
            .split_once('-')
            .and_then(|(ms, _)| ms.parse().ok());
        UNIX_EPOCH + Duration::from_millis(ms.unwrap_or_default())
    }
}

impl fmt::Debug for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetter")
            .field("id", &self.id())
            .field("node", &self.node)
            .field("group", &self.group)
            .field("reason", &self.reason)
            .field("attempts", &self.attempts())
            .field("bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}
