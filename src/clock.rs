//! The one clock that everything is judged by; the same as numbers that fit an atomic, and sums of times that cannot
//! overflow.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

/// What time it is. Nobody else of us asks the operating system, so that unit tests can have a time of their own.
#[cfg(not(test))]
#[inline]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The same in unit tests: on a runtime whose time is paused, that time; anywhere else, and on threads that have no
/// runtime, the operating system's.
#[cfg(test)]
pub(crate) fn now() -> Instant {
    match tokio::runtime::Handle::try_current() {
        Ok(_) => tokio::time::Instant::now().into_std(),
        // None was entered, or the thread is ending, where tokio would panic.
        Err(_) => Instant::now(),
    }
}

/// How long ago that was.
#[inline]
pub(crate) fn since(at: Instant) -> Duration {
    now().saturating_duration_since(at)
}

/// The time of the day, for people: nothing is judged by it, since it may jump.
pub(crate) fn time_of_day() -> SystemTime {
    SystemTime::now()
}

/// Microseconds since the process first asked, at least 1; fits an atomic, which `Instant` does not.
pub(crate) fn now_micros() -> u64 {
    micros(now())
}

/// The same scale for an instant that was taken before.
pub(crate) fn micros(at: Instant) -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = *START.get_or_init(origin);
    1 + u64::try_from(at.saturating_duration_since(start).as_micros()).unwrap_or(u64::MAX - 1)
}

#[cfg(not(test))]
fn origin() -> Instant {
    Instant::now()
}

/// Before every time that a test's paused clock stands at: it may have been paused before another test asks first.
#[cfg(test)]
fn origin() -> Instant {
    let now = Instant::now();
    let an_hour = Duration::from_secs(3_600);
    now.checked_sub(an_hour).unwrap_or(now)
}

/// A duration in `[nominal/2, nominal]`.
pub(crate) fn half_jitter(nominal: Duration, unit: f64) -> Duration {
    // NaN fails the comparison and becomes 0.
    let unit = if unit > 0.0 { unit.min(1.0) } else { 0.0 };
    let half = nominal / 2;
    (half + nominal.saturating_sub(half).mul_f64(unit)).min(nominal)
}

/// `now + wait`; a wait that the clock cannot express is "in thirty years", not a panic.
pub(crate) fn later(now: Instant, wait: Duration) -> Instant {
    const THIRTY_YEARS: Duration = Duration::from_secs(30 * 365 * 24 * 3_600);
    now.checked_add(wait).unwrap_or_else(|| now + THIRTY_YEARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[tokio::test(start_paused = true)]
    async fn in_paused_time_an_hour_passes_at_once_and_by_nothing_but_timers() {
        let (began, micros, real) = (now(), now_micros(), Instant::now());
        assert_eq!((since(began), now_micros()), (Duration::ZERO, micros));
        tokio::time::sleep(HOUR).await;
        assert_eq!(since(began), HOUR);
        assert_eq!(now_micros() - micros, HOUR.as_micros() as u64);
        assert!(real.elapsed() < HOUR / 60, "it was not slept through");
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_without_a_runtime_has_the_time_of_the_operating_system() {
        tokio::time::advance(HOUR).await;
        let ours = now();
        let theirs = std::thread::spawn(now).join().expect("no panic");
        assert!(theirs < ours, "nobody advanced that one");
        let before = Instant::now();
        let theirs = std::thread::spawn(now).join().expect("no panic");
        assert!((before..=Instant::now()).contains(&theirs));
    }
}
