//! The state of a node, as users see it.

use std::fmt;

/// What a node does for traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[doc(alias = "health check")]
#[doc(alias = "circuit breaker")]
pub enum NodeState {
    /// Serves.
    Up,
    /// Waits in the penalty box; only the end of its wait changes that.
    Down,
    /// Is being probed; traffic still goes elsewhere.
    HalfOpen,
    /// Serves, on trial: one strike ejects it again, and it gets few dials at once.
    Probation,
}

impl NodeState {
    /// Whether a node in this state is sent traffic. [Example](crate::guide::by_example#watching).
    #[must_use]
    pub fn admits(self) -> bool {
        matches!(self, Self::Up | Self::Probation)
    }

    /// The state as it appears in metrics, events and logs: `up`, `down`, `half_open`,
    /// `probation`. [Example](crate::guide::by_example#watching).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::HalfOpen => "half_open",
            Self::Probation => "probation",
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
