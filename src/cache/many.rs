//! Several values in one call.

use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
use redis::Value;

use crate::backend::answer::Answer;
use crate::cache::{Cache, Codec};
use crate::clock;
use crate::cluster::Engine;
use crate::error::Error;
use crate::node::NodeId;
use crate::replication::{Acks, QuorumError, ReadFrom};

/// Keys of one `MGET`: a server answers nobody else meanwhile.
const KEYS_AT_ONCE: usize = 1000;
/// Writes under way in one call.
const WRITES_AT_ONCE: usize = 256;

impl<V, C: Codec<V>> Cache<V, C> {
    /// The values of `keys`, one result per key in their order; one `MGET` per node and thousand keys. [Example](crate::guide::by_example#a-cache).
    ///
    /// Reads begin at each key's first replica and go on to the next ones as `get` does with
    /// [`ReadFrom::FirstAvailable`]; they are never hedged. With [`ReadFrom::Majority`] each key is read
    /// by itself.
    ///
    /// # Cancellation
    ///
    /// Safe.
    pub async fn get_many<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Vec<Result<Option<V>, Error>> {
        let keys: Vec<_> = keys
            .into_iter()
            .map(|key| self.full(key.as_ref()))
            .collect();
        let mut results = Vec::with_capacity(keys.len());
        for keys in keys.chunks(KEYS_AT_ONCE) {
            if matches!(self.inner.read_from, ReadFrom::Majority { .. }) {
                let deadline = self.deadline();
                let reads = keys.iter().map(|key| self.read(key, deadline));
                results.extend(join_all(reads).await);
                continue;
            }
            #[cfg(feature = "near")]
            if let Some(near) = &self.inner.near {
                results.extend(self.read_near_many(near, keys).await);
                continue;
            }
            results.extend(self.read_together(keys).await);
        }
        for read in &results {
            self.inner.meter.count(read);
        }
        results
    }

    pub(super) async fn read_together(&self, keys: &[Vec<u8>]) -> Vec<Result<Option<V>, Error>> {
        let cluster = &self.inner.cluster;
        let doubted = self.doubted(cluster.engine());
        let is_doubted = |answer: &Answer| answer.node().is_some_and(|node| doubted.contains(node));
        let deadline = self.deadline();
        let pieces = cluster.get_many_from(keys).await;
        let reads = keys.iter().zip(pieces).map(|(key, piece)| async {
            match piece {
                Ok(answer) if answer.value == Value::Nil && is_doubted(&answer) => {
                    self.read(key, deadline).await
                }
                Ok(answer) => self.decode(answer),
                Err(error) => Err(error),
            }
        });
        join_all(reads).await
    }

    /// The nodes that came back lately, whose word that there is no value is not enough.
    fn doubted(&self, engine: &Engine) -> Vec<NodeId> {
        let Some(repair) = self.inner.read_repair.filter(|_| self.inner.replicas > 1) else {
            return Vec::new();
        };
        let (snapshot, now) = (engine.topology(), clock::now());
        let nodes = snapshot.nodes.iter();
        nodes
            .filter(|b| b.stats().returned_within(Some(repair.window), now))
            .map(|b| b.id().clone())
            .collect()
    }

    /// Keeps the values for `ttl` each, one result per pair in their order; as `set` for each of them, 256
    /// at a time. [Example](crate::guide::by_example#a-cache).
    ///
    /// # Cancellation
    ///
    /// Safe; any of the values may be taken.
    pub async fn set_many<K: AsRef<[u8]>>(
        &self,
        pairs: impl IntoIterator<Item = (K, V)>,
        ttl: Duration,
    ) -> Vec<Result<Acks, QuorumError>> {
        let writes = pairs.into_iter().map(|(key, value)| async move {
            let full = self.full(key.as_ref());
            self.write(&full, &value, ttl).await
        });
        stream::iter(writes)
            .buffered(WRITES_AT_ONCE)
            .collect()
            .await
    }
}
