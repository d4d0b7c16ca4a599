//! One computation per key at a time; who comes later waits for it.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use parking_lot::Mutex;
use tokio::sync::watch;

type Landed = Arc<dyn Any + Send + Sync>;

/// The computations under way, by key. Source of the idea: Go's `singleflight`.
#[derive(Debug, Default)]
pub(super) struct Flights {
    /// Guards who computes what; held for a look-up.
    under_way: Mutex<HashMap<Vec<u8>, watch::Receiver<Option<Landed>>>>,
    landed: AtomicU64,
}

/// What a caller has to do for its value.
pub(super) enum Role<'f> {
    /// Compute it, for all who wait.
    Lead(Leader<'f>),
    /// Wait for whoever computes it.
    Follow(Follower),
}

/// Computes a value. Dropping it, by a cancellation or a panic, lets one of those who wait take over.
pub(super) struct Leader<'f> {
    flights: &'f Flights,
    key: Vec<u8>,
    tell: watch::Sender<Option<Landed>>,
}

pub(super) struct Follower(watch::Receiver<Option<Landed>>);

impl Flights {
    /// How many computations ended so far. One that ended between a reader's miss and its turn to compute
    /// may have left the value in the cache.
    pub(super) fn landed(&self) -> u64 {
        self.landed.load(SeqCst)
    }

    pub(super) fn join(&self, key: &[u8]) -> Role<'_> {
        let mut under_way = self.under_way.lock();
        if let Some(flight) = under_way.get(key) {
            return Role::Follow(Follower(flight.clone()));
        }
        let (tell, hear) = watch::channel(None);
        under_way.insert(key.to_vec(), hear);
        Role::Lead(Leader {
            flights: self,
            key: key.to_vec(),
            tell,
        })
    }
}

impl Leader<'_> {
    /// Gives the result to all who wait.
    pub(super) fn land<R: Send + Sync + 'static>(self, result: Arc<R>) {
        self.tell.send_replace(Some(result));
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        self.flights.landed.fetch_add(1, SeqCst);
        self.flights.under_way.lock().remove(&self.key);
    }
}

impl Follower {
    /// The leader's result; `None` when it gave up, or computes another type.
    pub(super) async fn wait<R: Send + Sync + 'static>(mut self) -> Option<Arc<R>> {
        let landed = match self.0.wait_for(Option::is_some).await {
            Ok(landed) => landed.clone(),
            Err(_) => None,
        };
        landed?.downcast::<R>().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn followers_get_the_leaders_result_and_later_callers_lead_again() {
        let flights = Flights::default();
        let Role::Lead(leader) = flights.join(b"k") else {
            panic!("nobody computes it yet");
        };
        let Role::Follow(a) = flights.join(b"k") else {
            panic!("somebody does");
        };
        let Role::Follow(b) = flights.join(b"k") else {
            panic!("somebody does");
        };
        assert!(matches!(flights.join(b"other"), Role::Lead(_)));
        let before = flights.landed();
        leader.land(Arc::new(7_u32));
        assert_eq!(a.wait::<u32>().await.as_deref(), Some(&7));
        assert_eq!(b.wait::<String>().await, None, "another type");
        assert!(flights.landed() > before);
        assert!(matches!(flights.join(b"k"), Role::Lead(_)));
    }

    #[tokio::test]
    async fn a_leader_that_is_dropped_lets_a_follower_take_over() {
        let flights = Flights::default();
        let leader = flights.join(b"k");
        let Role::Follow(follower) = flights.join(b"k") else {
            panic!("somebody computes it");
        };
        drop(leader);
        assert_eq!(follower.wait::<u32>().await, None);
        assert!(matches!(flights.join(b"k"), Role::Lead(_)));
        assert!(
            flights.under_way.lock().is_empty(),
            "nothing is left behind"
        );
    }
}
