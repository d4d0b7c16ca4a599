//! What the health of nodes is judged by.

use std::time::Duration;

use super::penalty_box::{Penalty, Schedule};

/// What does not change while a cluster lives.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rules {
    pub(super) penalty: Penalty,
    pub(super) schedule: Schedule,
    pub(super) response_timeout: Duration,
    /// How long a node may be prepared before it serves; `None` when nobody prepares.
    pub(super) prepares: Option<Duration>,
}
