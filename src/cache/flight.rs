//! One computation per key at a time; who comes later waits for it.

use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::cluster::invalidation::{Invalidations, UnderWay};

type Landed = Arc<dyn Any + Send + Sync>;

/// The computations under way, by key. Source of the idea: Go's `singleflight`.
#[derive(Debug)]
pub(super) struct Flights {
    /// Guards who computes what; held for a look-up.
    under_way: Mutex<HashMap<Vec<u8>, Arc<Flight>>>,
    landed: AtomicU64,
    invalidations: Arc<Invalidations>,
}

/// One computation, from its first caller to its last.
#[derive(Debug)]
struct Flight {
    key: Vec<u8>,
    /// One permit: whoever has it computes. It is closed with the result, so that who wakes late finds that,
    /// and does not begin anew.
    turn: Semaphore,
    /// Those who compute or wait; changed with the flights locked.
    seats: AtomicUsize,
    was_led: AtomicBool,
    /// What ends with an invalidation of the key; guarded for a look, renewed by each heir.
    work: Mutex<Arc<UnderWay>>,
    result: OnceLock<Landed>,
}

/// A caller's place in a flight; the last one that is dropped ends it.
pub(super) struct Seat<'f> {
    flights: &'f Flights,
    flight: Arc<Flight>,
}

/// What a caller has to do for its value.
pub(super) enum Turn<'f, R> {
    /// Compute it, for all who wait.
    Lead(Leader<'f>),
    /// Nothing: it is here. `None` when it is of another type.
    Landed(Option<Arc<R>>),
}

/// Computes a value. Dropping it, by a cancellation or a panic, gives the turn to one of those who wait.
pub(super) struct Leader<'f> {
    seat: Seat<'f>,
    is_heir: bool,
}

impl Flights {
    pub(super) fn new(invalidations: &Arc<Invalidations>) -> Self {
        Self {
            under_way: Mutex::default(),
            landed: AtomicU64::new(0),
            invalidations: Arc::clone(invalidations),
        }
    }

    /// How many computations ended so far. One that ended between a reader's miss and its turn to compute
    /// may have left the value in the cache.
    pub(super) fn landed(&self) -> u64 {
        self.landed.load(SeqCst)
    }

    /// Takes a seat in the flight of `key`. One that an invalidation overtook is not joined any more: it goes
    /// on for those who were there before.
    pub(super) fn join(&self, key: &[u8]) -> Seat<'_> {
        let mut under_way = self.under_way.lock();
        if let Some(flight) = under_way.get(key)
            && !flight.work.lock().is_overtaken()
        {
            flight.seats.fetch_add(1, SeqCst);
            return Seat {
                flights: self,
                flight: Arc::clone(flight),
            };
        }
        let flight = Arc::new(Flight {
            key: key.to_vec(),
            turn: Semaphore::new(1),
            seats: AtomicUsize::new(1),
            was_led: AtomicBool::new(false),
            work: Mutex::new(Arc::new(self.invalidations.begin(key))),
            result: OnceLock::new(),
        });
        under_way.insert(key.to_vec(), Arc::clone(&flight));
        Seat {
            flights: self,
            flight,
        }
    }

    fn remove(under_way: &mut HashMap<Vec<u8>, Arc<Flight>>, flight: &Arc<Flight>) {
        // An overtaken one has made room for its successor.
        if under_way
            .get(&flight.key)
            .is_some_and(|now| Arc::ptr_eq(now, flight))
        {
            under_way.remove(&flight.key);
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut under_way = self.flights.under_way.lock();
        if self.flight.seats.fetch_sub(1, SeqCst) == 1 {
            Flights::remove(&mut under_way, &self.flight);
        }
    }
}

impl<'f> Seat<'f> {
    /// Waits for the result, or for the turn to compute it. Turns are given in the order of those who wait, to
    /// one at a time.
    pub(super) async fn turn<R: Send + Sync + 'static>(self) -> Turn<'f, R> {
        match self.flight.turn.acquire().await {
            Ok(permit) => permit.forget(),
            Err(_) => {
                let result = self.flight.result.get();
                return Turn::Landed(result.and_then(|r| Arc::clone(r).downcast().ok()));
            }
        }
        let is_heir = self.flight.was_led.swap(true, SeqCst);
        if is_heir {
            // It begins now: an invalidation of its predecessor is none of its own.
            let work = self.flights.invalidations.begin(&self.flight.key);
            *self.flight.work.lock() = Arc::new(work);
        }
        Turn::Lead(Leader {
            seat: self,
            is_heir,
        })
    }
}

impl Leader<'_> {
    /// Whether another one began before it and was dropped.
    pub(super) fn is_heir(&self) -> bool {
        self.is_heir
    }

    /// What an invalidation of the key ends.
    pub(super) fn work(&self) -> Arc<UnderWay> {
        Arc::clone(&self.seat.flight.work.lock())
    }

    /// Gives the result to all who wait.
    pub(super) fn land<R: Send + Sync + 'static>(self, result: Arc<R>) {
        let (flights, flight) = (self.seat.flights, &self.seat.flight);
        // Only one lands, so nothing is there yet.
        let _ = flight.result.set(result);
        flights.landed.fetch_add(1, SeqCst);
        Flights::remove(&mut flights.under_way.lock(), flight);
        flight.turn.close();
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        if !self.seat.flight.turn.is_closed() {
            self.seat.flights.landed.fetch_add(1, SeqCst);
            self.seat.flight.turn.add_permits(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn flights() -> Flights {
        Flights::new(&Arc::default())
    }

    fn lead<'f>(seat: Seat<'f>, why: &str) -> Leader<'f> {
        match seat.turn::<u32>().now_or_never() {
            Some(Turn::Lead(leader)) => leader,
            _ => panic!("{why}"),
        }
    }

    fn waits(seat: Seat<'_>) -> impl Future<Output = Option<Turn<'_, u32>>> {
        let mut turn = Box::pin(seat.turn::<u32>());
        assert!((&mut turn).now_or_never().is_none(), "somebody computes it");
        turn.map(Some)
    }

    #[tokio::test]
    async fn followers_get_the_leaders_result_and_later_callers_lead_again() {
        let flights = flights();
        let leader = lead(flights.join(b"k"), "nobody computes it yet");
        let a = waits(flights.join(b"k"));
        let b = flights.join(b"k");
        lead(flights.join(b"other"), "another key");
        let before = flights.landed();
        leader.land(Arc::new(7_u32));
        assert!(matches!(a.await, Some(Turn::Landed(Some(n))) if *n == 7));
        assert!(
            matches!(b.turn::<String>().await, Turn::Landed(None)),
            "another type"
        );
        assert!(flights.landed() > before);
        assert!(!lead(flights.join(b"k"), "it landed").is_heir());
        assert!(
            flights.under_way.lock().is_empty(),
            "nothing is left behind"
        );
    }

    #[tokio::test]
    async fn a_leader_that_is_dropped_has_one_heir_and_who_wakes_late_gets_its_result() {
        let flights = flights();
        let leader = lead(flights.join(b"k"), "nobody computes it yet");
        let (first, second) = (waits(flights.join(b"k")), waits(flights.join(b"k")));
        let (late, gone) = (waits(flights.join(b"k")), waits(flights.join(b"k")));
        drop(leader);
        drop(gone);
        let Some(Some(Turn::Lead(heir))) = first.now_or_never() else {
            panic!("who has waited longest computes");
        };
        assert!(heir.is_heir());
        let mut second = Box::pin(second);
        assert!((&mut second).now_or_never().is_none(), "and nobody else");
        heir.land(Arc::new(7_u32));
        for waiting in [second.await, late.await] {
            assert!(matches!(waiting, Some(Turn::Landed(Some(n))) if *n == 7));
        }
        assert!(
            flights.under_way.lock().is_empty(),
            "nothing is left behind"
        );
    }

    #[tokio::test]
    async fn a_flight_that_everybody_left_is_forgotten() {
        let flights = flights();
        let leader = lead(flights.join(b"k"), "nobody computes it yet");
        let waiting = waits(flights.join(b"k"));
        drop(leader);
        assert_eq!(flights.under_way.lock().len(), 1, "somebody waits");
        drop(waiting);
        assert!(flights.under_way.lock().is_empty());
    }

    #[tokio::test]
    async fn who_comes_after_an_invalidation_joins_nothing_that_began_before_it() {
        let flights = flights();
        let old = lead(flights.join(b"k"), "nobody computes it yet");
        let before = waits(flights.join(b"k"));
        drop(flights.invalidations.delete(b"k"));
        assert!(old.work().is_overtaken());
        let new = lead(flights.join(b"k"), "the old one is not joined");
        assert!(!new.work().is_overtaken());
        let after = waits(flights.join(b"k"));
        // The old one ends for those who were there, and leaves its successor alone.
        old.land(Arc::new(1_u32));
        assert!(matches!(before.await, Some(Turn::Landed(Some(n))) if *n == 1));
        assert_eq!(flights.under_way.lock().len(), 1);
        new.land(Arc::new(2_u32));
        assert!(matches!(after.await, Some(Turn::Landed(Some(n))) if *n == 2));
        assert!(flights.under_way.lock().is_empty());
    }

    #[tokio::test]
    async fn the_heir_of_an_overtaken_leader_begins_anew() {
        let flights = flights();
        let leader = lead(flights.join(b"k"), "nobody computes it yet");
        let waiting = waits(flights.join(b"k"));
        drop(flights.invalidations.delete(b"k"));
        drop(leader);
        let Some(Turn::Lead(heir)) = waiting.await else {
            panic!("it is the only one");
        };
        assert!(!heir.work().is_overtaken(), "what it computes is new");
    }
}
