//! From a description of a cache to the cache.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::backend::Trouble;
use crate::build_error::BuildError;
use crate::cache::codec::{Codec, Raw};
use crate::cache::flight::Flights;
#[cfg(feature = "near")]
use crate::cache::near::NearCache;
use crate::cache::{Cache, CacheMeter, Inner, check_ttl};
use crate::cluster::FlusterCluster;
use crate::recovery::choices::OnReturn;
use crate::replication::Quorum;
use crate::replication::{ReadFrom, ReadRepair};

/// Describes a [`Cache`]; made by [`FlusterCluster::cache`].
#[must_use = "a builder does nothing until `json`, `raw` or `codec` makes the cache"]
#[derive(Clone, Debug)]
pub struct CacheBuilder {
    cluster: FlusterCluster,
    prefix: Vec<u8>,
    replicas: usize,
    quorum: Quorum,
    read_from: ReadFrom,
    read_repair: Option<ReadRepair>,
    stand_in_ttl: Option<Duration>,
    on_return: OnReturn,
    #[cfg(feature = "near")]
    near: Option<crate::near::Near>,
}

impl FlusterCluster {
    /// A cache whose keys on the servers begin with `prefix`.
    ///
    /// ```
    /// # let cluster = fluster::FlusterCluster::from_urls(["redis://10.0.0.1", "redis://10.0.0.2"])?;
    /// let pages: fluster::cache::Cache<String> = cluster.cache("page:").replicas(2).raw()?;
    /// # Ok::<(), fluster::BuildError>(())
    /// ```
    pub fn cache(&self, prefix: impl AsRef<[u8]>) -> CacheBuilder {
        CacheBuilder {
            cluster: self.clone(),
            prefix: prefix.as_ref().to_vec(),
            replicas: 1,
            quorum: Quorum::One,
            read_from: ReadFrom::FirstAvailable,
            read_repair: Some(ReadRepair::default()),
            stand_in_ttl: Some(Duration::from_secs(60)),
            on_return: OnReturn::Invalidate,
            #[cfg(feature = "near")]
            near: None,
        }
    }
}

impl CacheBuilder {
    /// How many nodes keep a copy of each value. Default: 1. [Example](crate::guide::by_example#a-cache).
    pub fn replicas(mut self, n: usize) -> Self {
        self.replicas = n;
        self
    }

    /// How many replicas must have a value before `set` returns. Default: [`Quorum::One`]. [Example](crate::guide::by_example#a-cache).
    pub fn quorum(mut self, quorum: Quorum) -> Self {
        self.quorum = quorum;
        self
    }

    /// Whom reads ask. Default: [`ReadFrom::FirstAvailable`]. [Example](crate::guide::by_example#a-cache).
    pub fn read_from(mut self, from: ReadFrom) -> Self {
        self.read_from = from;
        self
    }

    /// Whether reads fill what a node lost while it was out. Default: [`ReadRepair::default`]; it needs at
    /// least two replicas. [Example](crate::guide::by_example#a-cache).
    pub fn read_repair(mut self, repair: Option<ReadRepair>) -> Self {
        self.read_repair = repair;
        self
    }

    /// The longest time to live of a copy on a stand-in. Default: 60 s; `None`: that of the value. [Example](crate::guide::by_example#a-cache).
    ///
    /// What a stand-in holds is stale as soon as the owner is back and written again; a short life ends
    /// the conflict before the owner's next outage.
    pub fn stand_in_ttl(mut self, ttl: Option<Duration>) -> Self {
        self.stand_in_ttl = ttl;
        self
    }

    /// What is taken from a node that was out before it serves again. Default: [`OnReturn::Invalidate`]: the keys of this
    /// cache that were written or deleted elsewhere meanwhile, which are misses then;
    /// [the guide](crate::guide::returns) says what that needs of the servers, and what is not promised.
    /// [Example](crate::guide::by_example#returns).
    pub fn on_return(mut self, on_return: OnReturn) -> Self {
        self.on_return = on_return;
        self
    }

    /// Keeps hot values in this process's memory, for as long as they are provably current. Default: it does not; needs
    /// the feature `near`. [The guide](https://docs.rs/fluster/latest/fluster/guide/near/index.html) has the promise, and
    /// when it is worth it.
    ///
    /// ```
    /// use fluster::cache::{Cache, Near};
    ///
    /// # let cluster = fluster::FlusterCluster::from_urls(["redis://10.0.0.1", "redis://10.0.0.2"])?;
    /// let pages: Cache<String> = cluster.cache("page:").near(Near::default()).raw()?;
    /// # Ok::<(), fluster::BuildError>(())
    /// ```
    #[cfg(feature = "near")]
    pub fn near(mut self, near: crate::near::Near) -> Self {
        self.near = Some(near);
        self
    }

    /// The cache, with values as JSON. [Example](crate::guide::by_example#a-cache).
    ///
    /// # Errors
    ///
    /// As [`codec`](Self::codec).
    #[cfg(feature = "serde")]
    pub fn json<V>(self) -> Result<crate::cache::JsonCache<V>, BuildError>
    where
        crate::cache::codec::Json: Codec<V>,
    {
        self.codec(crate::cache::codec::Json)
    }

    /// The cache, with values that are bytes themselves: `Vec<u8>`, `String`. [Example](crate::guide::by_example#a-cache).
    ///
    /// # Errors
    ///
    /// As [`codec`](Self::codec).
    pub fn raw<V>(self) -> Result<Cache<V, Raw>, BuildError>
    where
        Raw: Codec<V>,
    {
        self.codec(Raw)
    }

    /// The cache, with values in the form that `codec` gives them. [Example](crate::guide::by_example#a-cache).
    ///
    /// # Errors
    ///
    /// [`BuildError::Option`] for a number of replicas that the cluster cannot have, a quorum that can
    /// never be met, a `stand_in_ttl` below 1 ms or above 100 years, or what a near cache cannot be: one of its
    /// numbers out of its range, or [`ReadFrom::Majority`] beside it.
    pub fn codec<V, C: Codec<V>>(self, codec: C) -> Result<Cache<V, C>, BuildError> {
        let nodes = self.cluster.engine().topology().nodes.len();
        let n = self.replicas;
        if n == 0 || n > nodes {
            let why = format!("{n} copies over {nodes} nodes: use 1 to {nodes}");
            return Err(BuildError::Option {
                name: "replicas",
                why,
            });
        }
        if self.quorum.of(n).is_none() {
            let why = format!(
                "{} of {n} replicas can never be met: use 1 to {n}",
                self.quorum
            );
            return Err(BuildError::Option {
                name: "quorum",
                why,
            });
        }
        if let Some(ttl) = self.stand_in_ttl {
            check_ttl(ttl).map_err(|why| BuildError::Option {
                name: "stand_in_ttl",
                why,
            })?;
        }
        #[cfg(feature = "near")]
        let near = match self.near {
            Some(near) => {
                let is_majority = matches!(self.read_from, ReadFrom::Majority { .. });
                let alone = "what one server says is kept, and a majority is asked for: use another `read_from`";
                let checked = match is_majority {
                    true => Err(alone.to_owned()),
                    false => near.check(),
                };
                checked.map_err(|why| BuildError::Option { name: "near", why })?;
                Some(NearCache::new(&self.cluster, &self.prefix, near))
            }
            None => None,
        };
        if self.on_return == OnReturn::Invalidate {
            let engine = self.cluster.engine();
            engine.invalidate_on_return(Some((&self.prefix, n)));
        }
        let flights = Flights::new(self.cluster.engine().invalidations());
        let name = self.prefix.escape_ascii().to_string();
        Ok(Cache {
            inner: Arc::new(Inner {
                meter: CacheMeter::new(&name, &self.cluster.engine().limits().cluster),
                cluster: self.cluster,
                prefix: self.prefix,
                replicas: n,
                quorum: self.quorum,
                read_from: self.read_from,
                read_repair: self.read_repair,
                stand_in_ttl: self.stand_in_ttl,
                codec,
                flights,
                #[cfg(feature = "near")]
                near,
                unkept: Trouble::default(),
                odd_ttl: AtomicBool::new(false),
            }),
            value: PhantomData,
        })
    }
}
