//! A value from the cache, or made once and kept.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::flight::Role;
use crate::cache::{Cache, Codec};

impl<V, C> Cache<V, C>
where
    V: Clone + Send + Sync + 'static,
    C: Codec<V>,
{
    /// The value of `key`; when there is none, `compute` makes it and it is kept for `ttl`.
    ///
    /// In one process only one caller at a time computes the value of a key; the others wait and get a
    /// clone of its result, the error too. The cache is a help, not a condition: when it cannot be read,
    /// what is there is no `V`, or the value cannot be kept, the computed value is returned all the same.
    ///
    /// # Errors
    ///
    /// That of `compute`, shared by all who waited for it.
    ///
    /// # Cancellation
    ///
    /// Safe; when the caller that computes is dropped, one of those who wait computes in its place. They
    /// wait as long as `compute` takes: give it a time-out of its own.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn render(_: &str) -> Result<String, std::io::Error> { Ok(String::new()) }
    /// # async fn run(pages: fluster::Cache<String>) -> Result<(), Box<dyn std::error::Error>> {
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
        let mut landed = flights.landed();
        if let Ok(Some(value)) = self.get(key).await {
            return Ok(value);
        }
        let full = self.full(key);
        let leader = loop {
            match flights.join(&full) {
                Role::Lead(leader) if flights.landed() == landed => break leader,
                Role::Lead(leader) => {
                    // Somebody finished between our miss and our turn, perhaps with this very key.
                    if let Ok(Some(value)) = self.read(&full).await {
                        leader.land(Arc::new(Ok::<V, Arc<E>>(value.clone())));
                        return Ok(value);
                    }
                    break leader;
                }
                Role::Follow(follower) => {
                    if let Some(result) = follower.wait::<Result<V, Arc<E>>>().await {
                        return (*result).clone();
                    }
                    landed = flights.landed();
                }
            }
        };
        let result = compute().await.map_err(Arc::new);
        if let Ok(value) = &result
            && let Err(error) = self.write(&full, value, ttl).await
        {
            tracing::debug!(%error, "a computed value could not be kept");
        }
        leader.land(Arc::new(result.clone()));
        result
    }
}
