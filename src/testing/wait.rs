//! Waiting is polling with a deadline: as short as possible, and never for ever.

use std::panic::Location;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(5);

/// Waits until `condition` holds. [Example](crate::guide::by_example#servers-for-tests).
///
/// # Panics
///
/// After `deadline`, naming the caller's line.
#[track_caller]
pub fn eventually(
    deadline: Duration,
    mut condition: impl FnMut() -> bool,
) -> impl Future<Output = ()> {
    let caller = Location::caller();
    async move {
        let started = Instant::now();
        while !condition() {
            assert!(
                started.elapsed() < deadline,
                "still not so after {deadline:?}: {caller}"
            );
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Repeats `attempt` until it gives a value. [Example](crate::guide::by_example#servers-for-tests).
///
/// # Panics
///
/// After `deadline`, naming the caller's line.
#[track_caller]
pub fn eventually_some<T>(
    deadline: Duration,
    mut attempt: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move {
        let started = Instant::now();
        loop {
            if let Some(value) = attempt().await {
                return value;
            }
            assert!(
                started.elapsed() < deadline,
                "no value after {deadline:?}: {caller}"
            );
            tokio::time::sleep(POLL).await;
        }
    }
}

/// [`eventually`] for code without a runtime; it blocks the thread. [Example](crate::guide::by_example#servers-for-tests).
///
/// # Panics
///
/// After `deadline`, naming the caller's line.
#[track_caller]
pub fn wait_until(deadline: Duration, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(
            started.elapsed() < deadline,
            "still not so after {deadline:?}"
        );
        std::thread::sleep(POLL);
    }
}
