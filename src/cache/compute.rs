//! A value from the cache, or made once and kept.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::cache::flight::Turn;
#[cfg(feature = "near")]
use crate::cache::near;
use crate::cache::{Cache, Codec, check_ttl};
use crate::clock::{self, now_micros};
use crate::cluster::invalidation::UnderWay;
use crate::error::text::one_line;
use crate::replication::LONGEST_TTL;

impl<V, C> Cache<V, C>
where
    V: Clone + Send + Sync + 'static,
    C: Codec<V>,
{
    /// The value of `key`; when there is none, `compute` makes it and it is kept for `ttl`, 1 ms to 100 years; a
    /// shorter or longer one is cut to that, with a warning.
    ///
    /// In one process only one caller at a time computes the value of a key; the others wait and get a
    /// clone of its result, the error too. Reading and keeping take no longer than the cluster's deadline together, beside
    /// the time of `compute`. The cache is a help, not a condition: when it cannot be read,
    /// what is there is no `V`, or the value cannot be kept, the computed value is returned all the same; how often
    /// it could not be kept is counted, and warned of while it lasts.
    ///
    /// A [`delete`](Self::delete) or [`set`](Self::set) of the key by this process ends a computation: its value goes
    /// to those who waited for it, and is not kept; who comes later begins anew.
    ///
    /// # Errors
    ///
    /// That of `compute`, shared by all who waited for it.
    ///
    /// # Cancellation
    ///
    /// Safe; when the caller that computes is dropped, one of those who wait computes in its place, who has waited
    /// longest. They wait as long as `compute` takes: give it a time-out of its own.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn render(_: &str) -> Result<String, std::io::Error> { Ok(String::new()) }
    /// # async fn run(pages: fluster::cache::Cache<String>) -> Result<(), Box<dyn std::error::Error>> {
    /// let ttl = Duration::from_secs(300);
    /// let page = pages.get_or_compute("home", ttl, || render("home")).await?;
    /// # Ok(()) }
    /// ```
    pub async fn get_or_compute<E, F>(
        &self,
        key: impl AsRef<[u8]>,
        ttl: Duration,
        compute: impl FnOnce() -> F,
    ) -> Result<V, Arc<E>>
    where
        E: Send + Sync + 'static,
        F: Future<Output = Result<V, E>>,
    {
        let key = key.as_ref();
        let flights = &self.inner.flights;
        let landed = flights.landed();
        let full = self.full(key);
        // What the servers may cost this call: reading at first, and what that leaves is for keeping.
        let mut until = self.deadline();
        let read = self.read(&full, until).await;
        self.inner.meter.count(&read);
        if let Ok(Some(value)) = read {
            return Ok(value);
        }
        let left = until.saturating_duration_since(clock::now());
        let leader = loop {
            let turn = flights.join(&full).turn::<Result<V, Arc<E>>>().await;
            // Others computed meanwhile: no server has cost this call anything.
            until = clock::now() + left;
            match turn {
                Turn::Landed(Some(result)) => return (*result).clone(),
                // Of another type; the value, if there is one, is in the cache.
                Turn::Landed(None) => {}
                Turn::Lead(leader) if !leader.is_heir() && flights.landed() == landed => {
                    break leader;
                }
                Turn::Lead(leader) => {
                    // Somebody finished between our miss and our turn, perhaps with this very key.
                    if let Ok(Some(value)) = self.read(&full, until).await {
                        leader.land(Arc::new(Ok::<V, Arc<E>>(value.clone())));
                        return Ok(value);
                    }
                    break leader;
                }
            }
        };
        let left = until.saturating_duration_since(clock::now());
        let result = compute().await.map_err(Arc::new);
        if let Ok(value) = &result {
            let until = clock::now() + left;
            self.keep(&full, value, ttl, leader.work(), until).await;
        }
        leader.land(Arc::new(result.clone()));
        result
    }

    /// Writes a computed value, unless the key was invalidated since the computation began.
    async fn keep(
        &self,
        full: &[u8],
        value: &V,
        ttl: Duration,
        work: Arc<UnderWay>,
        until: Instant,
    ) {
        if work.is_overtaken() {
            return;
        }
        let inner = &self.inner;
        // However it ends, what was read before it is not kept.
        #[cfg(feature = "near")]
        let _written = near::Written::new(inner.cluster.engine(), full);
        match self.put(full, value, self.bounded(ttl), work, until).await {
            Ok(_) => inner.unkept.worked(),
            Err(error) => {
                inner.meter.unkept.increment(1);
                if inner.unkept.failed(now_micros()) {
                    let (cache, why) = (one_line(&inner.prefix), one_line(error.to_string()));
                    tracing::warn!(%cache, %why, "computed values cannot be kept, and are computed each time");
                }
            }
        }
    }

    /// A time to live that a server takes: who only wants the value must not lose it, and the cache with it,
    /// over one that it does not.
    fn bounded(&self, ttl: Duration) -> Duration {
        let Err(why) = check_ttl(ttl) else {
            return ttl;
        };
        if !self.inner.odd_ttl.swap(true, Relaxed) {
            let cache = one_line(&self.inner.prefix);
            tracing::warn!(%cache, %why, "a time to live is cut to what can be, 1 ms to 100 years");
        }
        ttl.clamp(Duration::from_millis(1), LONGEST_TTL)
    }
}
