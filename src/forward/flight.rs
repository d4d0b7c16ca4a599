//! How many requests are forwarded at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use metrics::Gauge;

/// Counts what is under way, up to a limit.
pub(crate) struct Flights {
    now: AtomicUsize,
    most: usize,
    gauge: Gauge,
}

impl Flights {
    pub(crate) fn new(most: usize, gauge: Gauge) -> Arc<Self> {
        Arc::new(Self {
            now: AtomicUsize::new(0),
            most,
            gauge,
        })
    }

    /// One more, unless there are as many as are allowed.
    pub(crate) fn start(self: &Arc<Self>) -> Option<InFlight> {
        let more = |now| (now < self.most).then_some(now + 1);
        self.now.fetch_update(Relaxed, Relaxed, more).ok()?;
        self.tell();
        Some(InFlight(Arc::clone(self)))
    }

    pub(crate) fn now(&self) -> usize {
        self.now.load(Relaxed)
    }

    fn tell(&self) {
        self.gauge.set(self.now() as f64);
    }
}

/// One that is under way; it ends with this.
pub(crate) struct InFlight(Arc<Flights>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Relaxed);
        self.0.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_under_way_than_are_allowed() {
        let flights = Flights::new(2, Gauge::noop());
        let (one, two) = (flights.start(), flights.start());
        assert!(one.is_some() && two.is_some() && flights.start().is_none());
        drop(one);
        assert_eq!(flights.now(), 1);
        assert!(flights.start().is_some());
    }
}
