//! What a failed push means: the next node's turn, or the end.

use crate::error::{Error, ErrorKind, Outcome};
use crate::health::verdict::{Route, classify_code};
use crate::queue::meter::Pushed;

/// The error code of our own scripts for a node that has `max_len` messages.
const FULL: &str = "FULL";

/// How it counts in the metrics, and whether another node may have the message.
///
/// A node that is out, silent or unwilling is passed over. What the server would say anywhere, or what only an
/// operator can mend (`WRONGTYPE`, `NOPERM`, an unknown command), goes to the caller: hidden, it would last.
pub(crate) fn fate(error: &Error) -> (Pushed, bool) {
    match (error.kind(), error.outcome()) {
        (ErrorKind::Closed | ErrorKind::Refused, _) => (Pushed::Failed, false),
        (ErrorKind::Server, _) => {
            let code = error.server_code().unwrap_or_default();
            match classify_code(code, "").route() {
                _ if code == FULL => (Pushed::Full, true),
                Route::Rejected | Route::NotServing => (Pushed::Refused, true),
                _ => (Pushed::Failed, false),
            }
        }
        (_, Outcome::NotSent) => (Pushed::NotSent, true),
        (_, Outcome::Rejected) => (Pushed::Refused, true),
        (_, Outcome::MaybeExecuted) => (Pushed::MaybeExecuted, true),
        (_, Outcome::Answered) => (Pushed::Failed, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: &str) -> Error {
        let e = redis::make_extension_error(code.into(), Some("text".into()));
        Error::new(ErrorKind::Server, Outcome::Answered, code).because(e)
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
        for kind in [ErrorKind::Closed, ErrorKind::Refused] {
            let error = Error::new(kind, Outcome::NotSent, "");
            assert!(!fate(&error).1, "{kind:?}");
        }
    }
}
