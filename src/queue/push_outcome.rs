//! What a failed push means: the next node's turn, or the end.

use crate::cluster::attempts::{Failed, Policy, Step, next_step};
use crate::error::{Error, Outcome};
use crate::queue::meter::Pushed;

/// The error code of our own scripts for a node that has `max_len` messages.
const FULL: &str = "FULL";

/// What came of a push that a node did not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PushOutcome {
    /// How it counts in the metrics.
    pub(crate) counts: Pushed,
    /// Whether another node may have the message.
    pub(crate) step: Step,
}

impl From<&Error> for PushOutcome {
    /// A node that is out, silent or unwilling is passed over. What the server would say anywhere, or what only an
    /// operator can mend (`WRONGTYPE`, `NOPERM`, an unknown command), goes to the caller: hidden, it would last.
    fn from(error: &Error) -> Self {
        if error.server_code() == Some(FULL) {
            return Self {
                counts: Pushed::Full,
                step: Step::Another,
            };
        }
        let failed = Failed::from(error);
        // Copies have one id, so a second one costs no budget.
        let step = next_step(Policy::PUSH, failed, false, || true);
        let counts = match (step, failed) {
            (Step::Return, _) => Pushed::Failed,
            (_, Failed::Refused(_) | Failed::Unanswered(Outcome::Rejected)) => Pushed::Refused,
            (_, Failed::Unanswered(Outcome::MaybeExecuted)) => Pushed::MaybeExecuted,
            _ => Pushed::NotSent,
        };
        Self { counts, step }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::node::NodeId;

    fn server(code: &str) -> Error {
        let e = redis::make_extension_error(code.into(), Some("text".into()));
        Error::answered(&NodeId::from("a"), e)
    }

    /// How it counts, and whether it goes on.
    fn fate(error: &Error) -> (Pushed, bool) {
        let PushOutcome { counts, step } = error.into();
        (counts, step == Step::Another)
    }

    #[test]
    fn a_refusal_goes_on_and_a_mistake_comes_back() {
        for code in [
            "OOM",
            "READONLY",
            "MISCONF",
            "NOREPLICAS",
            "LOADING",
            "MASTERDOWN",
            "CLUSTERDOWN",
            "BUSY",
        ] {
            assert_eq!(fate(&server(code)), (Pushed::Refused, true), "{code}");
        }
        assert_eq!(fate(&server("FULL")), (Pushed::Full, true));
        for code in ["WRONGTYPE", "NOPERM", "ERR", "NOSCRIPT"] {
            assert_eq!(fate(&server(code)), (Pushed::Failed, false), "{code}");
        }
    }

    #[test]
    fn whatever_a_node_could_not_do_another_one_may() {
        use ErrorKind::{Config, Connect, ConnectionLost, NodeOut, Timeout};
        for kind in [NodeOut, Connect, Config] {
            let error = Error::new(kind, Outcome::NotSent, "");
            assert_eq!(fate(&error), (Pushed::NotSent, true), "{kind:?}");
        }
        for kind in [Timeout, ConnectionLost] {
            let error = Error::new(kind, Outcome::MaybeExecuted, "");
            assert_eq!(fate(&error), (Pushed::MaybeExecuted, true), "{kind:?}");
        }
        for kind in [ErrorKind::Closed, ErrorKind::Invalid] {
            let error = Error::new(kind, Outcome::NotSent, "");
            assert!(!fate(&error).1, "{kind:?}");
        }
    }
}
