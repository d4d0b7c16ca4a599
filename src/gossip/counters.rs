//! What an instance counts.

use std::time::Duration;

/// Sums since the start, unless something else is said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counters {
    /// By kind of frame.
    pub(crate) sent: [u64; 6],
    pub(crate) received: [u64; 6],
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
    /// By reason.
    pub(crate) refused: [u64; 6],
    /// Datagrams that did not fit, or came too fast to be answered.
    pub(crate) dropped: u64,
    /// Probes that were not answered directly.
    pub(crate) probes_failed: u64,
    /// How often we had to say that we are alive.
    pub(crate) refuted: u64,
    /// How often we were given up, and came back.
    pub(crate) renewed: u64,
    pub(crate) heals_answered: u64,
    pub(crate) heals_silent: u64,
    pub(crate) syncs_equal: u64,
    pub(crate) syncs_different: u64,
    /// How late the last timer was, or how long we were stopped before it.
    pub(crate) lag: Duration,
    /// How often it was so late that we had not run.
    pub(crate) stalls: u64,
}
