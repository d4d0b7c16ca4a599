//! The errors that a node's callers get.

use std::time::Duration;

use super::Backend;
use crate::backend::lane::{DIAL_GAP, NoLane};
use crate::connection::link::{Fault, LinkError};
use crate::error::text::one_line;
use crate::error::{Error, ErrorKind, Outcome};
use crate::health::verdict::{Disposition, Reason, Seen, Verdict, disposition, judge};
use crate::tasks::NO_RUNTIME;

impl Backend {
    /// The node is out, or the cluster closed.
    pub(super) fn refuse(&self, closed: bool) -> Error {
        self.meter.failed(Outcome::NotSent);
        // The gate of a node that was removed before the end says only that it is out.
        if closed || self.dialer.tasks.is_closed() {
            return Error::closed().at(self.id());
        }
        let pass = self.gate.read();
        let (kind, text) = if pass.is_kept() {
            let text = "this process has the node out, and the fleet does not: its keys stay there, and fail here until \
                        it can be reached";
            (ErrorKind::UnreachableHere, text)
        } else if pass.is_drained() {
            let text =
                "the node is drained; ask the cluster for a client again to get its stand-in";
            (ErrorKind::NodeOut, text)
        } else {
            let text = "the node is out; ask the cluster for a client again to get its stand-in";
            (ErrorKind::NodeOut, text)
        };
        Error::new(kind, Outcome::NotSent, text)
            .at(self.id())
            .retry_in(self.observer.retry_after(self))
    }

    /// No timer and no connection can be made where the caller is.
    pub(super) fn no_runtime(&self) -> Error {
        self.meter.failed(Outcome::NotSent);
        Error::new(ErrorKind::Invalid, Outcome::NotSent, NO_RUNTIME).at(self.id())
    }

    /// The caller's deadline passed before the command could be sent.
    pub(crate) fn too_late(&self) -> Error {
        self.meter.failed(Outcome::NotSent);
        let text = "the deadline passed before the command could be sent";
        Error::new(ErrorKind::Timeout, Outcome::NotSent, text).at(self.id())
    }

    pub(crate) fn call_error(&self, e: LinkError, limit: Duration) -> Error {
        let (kind, text) = match e.fault {
            Fault::Timeout => (ErrorKind::Timeout, format!("no reply within {limit:?}")),
            Fault::Lost => (
                ErrorKind::ConnectionLost,
                format!("the connection was lost: {}", said(&e.error)),
            ),
            Fault::Garbage => (
                ErrorKind::ConnectionLost,
                format!("the reply is not RESP: {}", said(&e.error)),
            ),
            Fault::Stray => {
                let text =
                    "the server sent bytes that answer no command; the connection was closed";
                (ErrorKind::ConnectionLost, text.to_owned())
            }
            Fault::Flood => {
                let text = format!(
                    "the reply is larger than {} bytes, the connection was closed; raise `max_reply`, or ask for less",
                    self.limits.max_reply
                );
                (ErrorKind::ConnectionLost, text)
            }
            Fault::Saturated => {
                let text = format!(
                    "more waits to be written on its connection than {} calls or {} bytes",
                    self.dialer.bounds.calls, self.dialer.bounds.bytes
                );
                (ErrorKind::Saturated, text)
            }
            Fault::Misuse => (
                ErrorKind::Invalid,
                format!("the command cannot be sent: {}", said(&e.error)),
            ),
        };
        let outcome = match e.fault {
            Fault::Misuse | Fault::Saturated => Outcome::NotSent,
            _ if e.unsent => Outcome::NotSent,
            _ => Outcome::MaybeExecuted,
        };
        self.meter.failed(outcome);
        Error::new(kind, outcome, text)
            .at(self.id())
            .because(e.error)
    }

    pub(crate) fn no_lane(&self, why: NoLane) -> Error {
        let e = match why {
            NoLane::NodeOut => return self.refuse(self.gate.read().is_closed()),
            NoLane::TooSoon => {
                self.meter.failed(Outcome::NotSent);
                let text = "connecting failed a moment ago, and is not tried again at once";
                return Error::new(ErrorKind::Connect, Outcome::NotSent, text)
                    .at(self.id())
                    .retry_in(Some(DIAL_GAP));
            }
            NoLane::Silent => {
                self.meter.failed(Outcome::NotSent);
                let text = "no reply came in time, and a new connection has brought none yet";
                return Error::new(ErrorKind::Connect, Outcome::NotSent, text)
                    .at(self.id())
                    .retry_in(Some(DIAL_GAP));
            }
            NoLane::Dial(e) => e,
        };
        let seen = self.dial_observation(&e);
        let outcome = match disposition(&seen) {
            Disposition::Rejected => Outcome::Rejected,
            _ => Outcome::NotSent,
        };
        let kind = match judge(&seen).verdict {
            _ if e.seen == Seen::PoolClosed => ErrorKind::Closed,
            Verdict::Hard(Reason::Config) => ErrorKind::Config,
            _ => ErrorKind::Connect,
        };
        self.meter.failed(outcome);
        let text = format!("cannot connect: {}", said(&e.error));
        Error::new(kind, outcome, text)
            .at(self.id())
            .because(e.error)
    }
}

/// What a server, a certificate or a proxy said may be in it.
fn said(error: &redis::RedisError) -> String {
    one_line(error.to_string())
}
