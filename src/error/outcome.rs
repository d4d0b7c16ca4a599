//! What is known of a command that did not succeed.

use std::fmt;

/// What is known of a command that did not succeed.
///
/// The outcome decides whether sending the command again elsewhere is safe; see
/// [`Failover`](crate::Failover).
///
/// ```
/// use fluster::Outcome;
///
/// assert!(Outcome::NotSent.is_safe_to_repeat());
/// assert!(!Outcome::MaybeExecuted.is_safe_to_repeat());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// No whole command of it left, of a transaction not its `EXEC`, and none will: no server has executed any of it, or
    /// ever will. A call that times out while it still waits to be written is taken back, and is one of these. (Before a
    /// server has once taken a `MULTI` on the connection, a transaction of which a whole command left is none of these:
    /// for a user who may not use `MULTI`, commands are executed as they come.)
    NotSent,
    /// The server refused to serve now (`LOADING`, `MASTERDOWN`, `CLUSTERDOWN`, `BUSY`, or too
    /// many clients at connect): it did not execute the command.
    Rejected,
    /// The command was written, of a pipeline at least the first one, and its reply never came: it may have been
    /// executed, may still be, or may be lost.
    MaybeExecuted,
    /// The server answered; the answer is an error (`WRONGTYPE`, `NOAUTH`, `READONLY`, ...) or
    /// could not be read as the type that was asked for.
    Answered,
}

impl Outcome {
    /// Whether the command surely left no trace, so that sending it again cannot apply it twice. [Example](crate::guide::by_example#errors).
    #[must_use]
    pub fn is_safe_to_repeat(self) -> bool {
        matches!(self, Self::NotSent | Self::Rejected)
    }

    /// The outcome as it appears in metrics and logs: `not_sent`, `rejected`, `maybe_executed`,
    /// `answered`. [Example](crate::guide::by_example#errors).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotSent => "not_sent",
            Self::Rejected => "rejected",
            Self::MaybeExecuted => "maybe_executed",
            Self::Answered => "answered",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
