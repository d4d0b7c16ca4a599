//! How much there is in a queue, and how it is emptied.

use futures_util::future::join_all;

use crate::client::Client;
use crate::error::Error;
use crate::node::NodeId;
use crate::queue::calls::{CountAll, Purge};
use crate::queue::scripts::run;
use crate::queue::{Queue, named};

/// What a queue has on one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Depth {
    /// Messages that are due, those under way included. With several groups a message that is delivered again
    /// counts once more.
    pub messages: u64,
    /// Of these, deliveries that are not acknowledged; over all groups.
    pub in_flight: u64,
    /// Messages for later.
    pub delayed: u64,
    /// Dead letters.
    pub dead: u64,
}

impl Depth {
    /// Everything but the dead letters. [Example](crate::guide::by_example#looking-after-a-queue).
    #[must_use]
    pub fn total(&self) -> u64 {
        self.messages + self.delayed
    }
}

/// What [`Queue::drain`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Messages for later that went to other nodes.
    pub moved: u64,
    /// What is still there.
    pub left: Depth,
}

impl Queue {
    /// The messages on all live nodes, delayed and unacknowledged ones included, dead letters not. [Example](crate::guide::by_example#looking-after-a-queue).
    ///
    /// # Errors
    ///
    /// The first node's error when any fails; [`ErrorKind::ClusterEmpty`](crate::ErrorKind::ClusterEmpty) when all
    /// nodes are out. What nodes have that are out is not counted.
    pub async fn len(&self) -> Result<u64, Error> {
        let mut sum = 0;
        let depths = self.depths().await?;
        for (_, depth) in depths {
            sum += depth?.total();
        }
        Ok(sum)
    }

    /// Whether no live node has a message, delayed and unacknowledged ones included. [Example](crate::guide::by_example#looking-after-a-queue).
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub async fn is_empty(&self) -> Result<bool, Error> {
        Ok(self.len().await? == 0)
    }

    /// What the queue has on each live node. [Example](crate::guide::by_example#looking-after-a-queue).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ClusterEmpty`](crate::ErrorKind::ClusterEmpty) when all nodes are out; a setting that cannot
    /// work. The errors of single nodes are theirs.
    pub async fn depths(&self) -> Result<Vec<(NodeId, Result<Depth, Error>)>, Error> {
        self.usable()?;
        let clients = self.live().await?;
        Ok(join_all(
            clients
                .iter()
                .map(|client| async move { (client.node().clone(), self.depth(client).await) }),
        )
        .await)
    }

    pub(crate) async fn depth(&self, client: &Client) -> Result<Depth, Error> {
        let keys = self.keys();
        run(CountAll(keys), client, self.deadline())
            .await
            .map_err(|e| named(e, &keys.stream))
    }

    /// Removes all messages from all live nodes, also those under way, but no dead letters; says how many there
    /// were on each. A server does nothing else meanwhile: about a second for a few million. [Example](crate::guide::by_example#looking-after-a-queue).
    ///
    /// # Errors
    ///
    /// As [`depths`](Self::depths).
    ///
    /// # Cancellation
    ///
    /// Safe; any of the nodes may have been emptied.
    pub async fn purge(&self) -> Result<Vec<(NodeId, Result<u64, Error>)>, Error> {
        self.usable()?;
        let clients = self.live().await?;
        let keys = self.keys();
        Ok(join_all(clients.iter().map(|client| async move {
            let purged = run(Purge(keys), client, self.deadline())
                .await
                .map_err(|e| named(e, &keys.stream));
            (client.node().clone(), purged)
        }))
        .await)
    }
}
