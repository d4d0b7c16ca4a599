//! What the health of nodes is judged by.

use std::time::Duration;

use super::penalty_box::{Penalty, Schedule};

/// What does not change while a cluster lives.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rules {
    pub(super) penalty: Penalty,
    pub(super) schedule: Schedule,
    pub(super) response_timeout: Duration,
    /// Somebody gets a node ready before it serves again.
    pub(super) prepares: bool,
}
