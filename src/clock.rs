//! The clock as numbers that fit an atomic, and sums of times that cannot overflow.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Microseconds since the process first asked, at least 1; fits an atomic, which `Instant` does not.
pub(crate) fn now_micros() -> u64 {
    micros(Instant::now())
}

/// The same scale for an instant that was taken before.
pub(crate) fn micros(at: Instant) -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = *START.get_or_init(Instant::now);
    1 + u64::try_from(at.saturating_duration_since(start).as_micros()).unwrap_or(u64::MAX - 1)
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
