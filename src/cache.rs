//! A typed cache over the cluster: values with a time to live, on one node or several.

mod builder;
mod codec;
mod compute;
mod delete;
mod flight;
mod many;
#[cfg(feature = "near")]
mod near;
#[cfg(feature = "near")]
mod near_status;

pub use self::builder::CacheBuilder;

#[cfg(feature = "serde")]
pub use self::codec::Json;
pub use self::codec::{Codec, CodecError, Raw};
pub use self::delete::Deletion;
#[cfg(feature = "near")]
pub use self::near_status::{NearNode, NearStatus};
#[cfg(feature = "near")]
pub use crate::near::Near;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use metrics::Counter;
use redis::Cmd;

use crate::backend::Trouble;
use crate::backend::answer::Answer;
use crate::cache::flight::Flights;
use crate::clock;
use crate::cluster::FlusterCluster;
use crate::cluster::invalidation::UnderWay;
use crate::connection::labels::labels;
use crate::error::text::{one_line, quoted};
use crate::error::{Error, ErrorKind, Outcome};
use crate::node::NodeId;
use crate::replication::{
    Acks, LONGEST_TTL, Quorum, QuorumError, ReadFrom, ReadRepair, Replicas, TakeBack,
};
use crate::tasks::give_way;

/// Typed values with a time to live, each on one node or on several.
///
/// Made by [`FlusterCluster::cache`]; cheap to clone. All clones share the computations of
/// [`get_or_compute`](Self::get_or_compute). What it promises and what it cannot:
/// [the guide](crate::guide::replication).
///
/// ```no_run
/// # #[cfg(feature = "serde")]
/// # mod example {
/// use std::time::Duration;
/// use fluster::cache::JsonCache;
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct User {
///     name: String,
/// }
///
/// # async fn run(cluster: fluster::FlusterCluster) -> Result<(), Box<dyn std::error::Error>> {
/// let users: JsonCache<User> = cluster.cache("user:").replicas(2).json()?;
/// users.set("42", &User { name: "Ann".into() }, Duration::from_secs(300)).await?;
/// let found = users.get("42").await?;
/// assert_eq!(found.map(|user| user.name).as_deref(), Some("Ann"));
/// # Ok(()) }
/// # }
/// ```
///
/// Text and bytes as they are: `Cache<String>` and `Cache<Vec<u8>>`, made by [`raw`](CacheBuilder::raw).
pub struct Cache<V, C = Raw> {
    inner: Arc<Inner<C>>,
    value: PhantomData<fn(V) -> V>,
}

/// A [`Cache`] of values as JSON, for whatever serde knows; made by [`json`](CacheBuilder::json).
#[cfg(feature = "serde")]
pub type JsonCache<V> = Cache<V, Json>;

struct Inner<C> {
    cluster: FlusterCluster,
    prefix: Vec<u8>,
    replicas: usize,
    quorum: Quorum,
    read_from: ReadFrom,
    read_repair: Option<ReadRepair>,
    stand_in_ttl: Option<Duration>,
    codec: C,
    flights: Flights,
    #[cfg(feature = "near")]
    near: Option<near::NearCache>,
    meter: CacheMeter,
    /// Computed values that could not be kept.
    unkept: Trouble,
    /// Whether a time to live that cannot be was spoken of.
    odd_ttl: AtomicBool,
}

/// Handles into the metrics recorder that was installed when the cache was built.
struct CacheMeter {
    hits: Counter,
    misses: Counter,
    errors: Counter,
    unkept: Counter,
}

impl CacheMeter {
    fn new(cache: &str, cluster: &str) -> Self {
        let reads = |result: &'static str| {
            let own = [("cache", cache.to_owned()), ("result", result.to_owned())];
            metrics::counter!("fluster_cache_reads_total", labels(cluster, own))
        };
        Self {
            hits: reads("hit"),
            misses: reads("miss"),
            errors: reads("error"),
            unkept: metrics::counter!(
                "fluster_cache_unkept_total",
                labels(cluster, [("cache", cache.to_owned())])
            ),
        }
    }

    fn count<T>(&self, read: &Result<Option<T>, Error>) {
        match read {
            Ok(Some(_)) => &self.hits,
            Ok(None) => &self.misses,
            Err(_) => &self.errors,
        }
        .increment(1);
    }
}

impl<V, C: Codec<V>> Cache<V, C> {
    /// The value of `key`, when there is one. [Example](crate::guide::by_example#a-cache).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Type`] when what is there is no `V`; otherwise that of the last replica that was
    /// asked. Most callers take an error for a miss.
    ///
    /// # Cancellation
    ///
    /// Safe.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<V>, Error> {
        let read = self.read(&self.full(key.as_ref()), self.deadline()).await;
        self.inner.meter.count(&read);
        read
    }

    /// When a call that begins now has to end.
    fn deadline(&self) -> Instant {
        clock::now() + self.inner.cluster.deadline()
    }

    async fn read(&self, full: &[u8], deadline: Instant) -> Result<Option<V>, Error> {
        #[cfg(feature = "near")]
        if let Some(near) = &self.inner.near
            && let Some(found) = self.read_near(near, full, deadline).await
        {
            return found;
        }
        let replicas = match self.replicas(full, deadline) {
            Ok(replicas) => replicas,
            Err(error) => {
                give_way().await;
                return Err(error);
            }
        };
        let mut cmd = redis::cmd("GET");
        cmd.arg(full);
        let read_from = &self.inner.read_from;
        self.decode(replicas.read_answer(&cmd, read_from).await?)
    }

    /// Keeps `value` under `key` for `ttl`, 1 ms to 100 years, on as many replicas as the quorum says;
    /// the others follow in the background. [Example](crate::guide::by_example#a-cache).
    ///
    /// It ends what this process has under way for the key, as [`delete`](Self::delete) does: a computation, a read
    /// repair, a write that has not reached all replicas. Of two writes of one key that overlap, either may stay.
    ///
    /// # Errors
    ///
    /// When fewer replicas took it than the quorum says: [`QuorumError`] names them.
    ///
    /// # Cancellation
    ///
    /// Safe; any of the replicas may take the value.
    pub async fn set(
        &self,
        key: impl AsRef<[u8]>,
        value: &V,
        ttl: Duration,
    ) -> Result<Acks, QuorumError> {
        let full = self.full(key.as_ref());
        self.write(&full, value, ttl).await
    }

    async fn write(&self, full: &[u8], value: &V, ttl: Duration) -> Result<Acks, QuorumError> {
        let engine = self.inner.cluster.engine();
        #[cfg(feature = "near")]
        let owed = self.inner.near.as_ref();
        #[cfg(feature = "near")]
        let owed = owed.and_then(|near| near.writing(&self.inner.cluster, full));
        let mut invalidating = engine.invalidations().write(full);
        let work = Arc::new(invalidating.begin());
        let result = self.put(full, value, ttl, work, self.deadline()).await;
        #[cfg(feature = "near")]
        if let (Some(owed), Ok(acks)) = (owed, &result) {
            owed.written(acks.nodes());
        }
        result
    }

    /// Writes a value, and takes it back where `work` was overtaken meanwhile.
    async fn put(
        &self,
        full: &[u8],
        value: &V,
        ttl: Duration,
        work: Arc<UnderWay>,
        deadline: Instant,
    ) -> Result<Acks, QuorumError> {
        let (replicas, regular, short) = match self.prepare(full, value, ttl, deadline) {
            Ok(prepared) => prepared,
            Err(error) => {
                give_way().await;
                return Err(QuorumError::refused(error));
            }
        };
        let command = |member: &crate::replication::ReplicaMember| match &short {
            Some(short) if member.stand_in => Arc::clone(short),
            _ => Arc::clone(&regular),
        };
        let engine = self.inner.cluster.engine();
        // One looks when the quorum is met or the call dropped, the other behind the last replica.
        let look = TakeBack::new(engine, work, &regular, replicas.backends());
        let quorum = self.inner.quorum;
        replicas.write_each(quorum, command, look.clone()).await
    }

    /// Where a value goes, and the commands for regular replicas and for stand-ins.
    fn prepare(
        &self,
        full: &[u8],
        value: &V,
        ttl: Duration,
        deadline: Instant,
    ) -> Result<Prepared, Error> {
        check_ttl(ttl).map_err(|why| {
            Error::new(ErrorKind::Invalid, Outcome::NotSent, format!("ttl: {why}"))
        })?;
        let bytes = self.inner.codec.encode(value).map_err(|e| {
            let text = format!(
                "the value of {} cannot be encoded: {}",
                quoted(full),
                one_line(e.to_string())
            );
            Error::new(ErrorKind::Type, Outcome::NotSent, text)
        })?;
        let replicas = self.replicas(full, deadline)?;
        let set = |ttl: Duration| {
            let mut cmd = Cmd::with_capacity(5, bytes.len() + full.len() + 32);
            cmd.arg("SET").arg(full).arg(&bytes).arg("PX");
            cmd.arg(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
            Arc::new(cmd)
        };
        let cap = self.inner.stand_in_ttl.filter(|cap| *cap < ttl);
        let short = cap.filter(|_| replicas.has_stand_in()).map(set);
        Ok((replicas, set(ttl), short))
    }
}

type Prepared = (Replicas, Arc<Cmd>, Option<Arc<Cmd>>);

impl<V, C> Cache<V, C> {
    /// The key as the servers know it.
    fn full(&self, key: &[u8]) -> Vec<u8> {
        [self.inner.prefix.as_slice(), key].concat()
    }

    /// The nodes of a key, for a call that has to end at `deadline`.
    fn replicas(&self, full: &[u8], deadline: Instant) -> Result<Replicas, Error> {
        let left = deadline.saturating_duration_since(clock::now());
        let cluster = &self.inner.cluster.with_deadline(left);
        // A cluster that was made smaller than the number of copies has fewer of them.
        let nodes = cluster.engine().topology().nodes.len();
        let replicas = cluster.replicas(full, self.inner.replicas.min(nodes))?;
        let replicas = replicas.stand_in_ttl(self.inner.stand_in_ttl);
        Ok(match self.inner.read_repair {
            Some(repair) => replicas.read_repair(repair),
            None => replicas,
        })
    }

    fn decode(&self, answer: Answer) -> Result<Option<V>, Error>
    where
        C: Codec<V>,
    {
        let node = answer.node().cloned();
        let bytes: Option<Vec<u8>> = answer.parse()?;
        self.decode_bytes(bytes, node.as_ref())
    }

    fn decode_bytes(
        &self,
        bytes: Option<Vec<u8>>,
        node: Option<&NodeId>,
    ) -> Result<Option<V>, Error>
    where
        C: Codec<V>,
    {
        let decode = |bytes| {
            self.inner.codec.decode(bytes).map_err(|e| {
                let text = format!(
                    "the cached value cannot be decoded: {}",
                    one_line(e.to_string())
                );
                let error = Error::new(ErrorKind::Type, Outcome::Answered, text);
                match node {
                    Some(node) => error.at(node),
                    None => error,
                }
            })
        };
        bytes.map(decode).transpose()
    }
}

impl<V, C> Clone for Cache<V, C> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            value: PhantomData,
        }
    }
}

impl<V, C> fmt::Debug for Cache<V, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("prefix", &one_line(&self.inner.prefix))
            .field("replicas", &self.inner.replicas)
            .field("quorum", &self.inner.quorum)
            .field("read_from", &self.inner.read_from)
            .finish_non_exhaustive()
    }
}

/// A time to live that Redis can keep.
fn check_ttl(ttl: Duration) -> Result<(), String> {
    if ttl < Duration::from_millis(1) {
        Err(format!("{ttl:?} is too short: use at least 1 ms"))
    } else if ttl > LONGEST_TTL {
        Err(format!("{ttl:?} is too long: use at most 100 years"))
    } else {
        Ok(())
    }
}
