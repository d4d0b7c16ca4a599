//! What a server refused though nobody waits for its answer: counted each time, said once.
//!
//! Caps, repairs and late copies ride along with what an application asked for. Their failure is not the
//! caller's error, since what was asked for is done; but a failure that lasts must not pass unseen.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use redis::{RedisError, ServerError, Value};

use super::Backend;
use crate::clock::now_micros;
use crate::connection::labels::labels;
use crate::connection::reply::Reply;
use crate::error::Error;
use crate::error::text::one_line;

/// What comes and goes is said at most once a minute.
const SAID_EVERY: u64 = 60_000_000;

/// Work whose result no caller gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unheard {
    /// A limit to the life of what a stand-in was given.
    Cap,
    /// A value that a node lost, read from one replica and put on another.
    Repair,
    /// A write on a replica that its quorum did not wait for.
    Write,
    /// The removal of what was written too late.
    Removal,
    /// A note of what a node that is out should have had.
    Note,
}

impl Unheard {
    fn metric(self) -> &'static str {
        match self {
            Self::Cap => "fluster_stand_in_caps_failed_total",
            Self::Repair => "fluster_read_repairs_failed_total",
            Self::Write => "fluster_replica_writes_failed_total",
            Self::Removal => "fluster_removals_failed_total",
            Self::Note => "fluster_return_refused_total",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Cap => {
                "what is written here as on a stand-in keeps its full time to live: `PEXPIRE .. LT` failed"
            }
            Self::Repair => "a read repair failed here: values that a node lost stay missing",
            Self::Write => {
                "a write that met its quorum without this replica failed here: its copies differ"
            }
            Self::Removal => {
                "a value that was written after its invalidation could not be taken back here"
            }
            Self::Note => {
                "what a node that is out should have had cannot be noted or worked off here: old values may be served"
            }
        }
    }
}

/// One kind of trouble of one thing, and when it was last spoken of.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    lasts: AtomicBool,
    /// Microseconds, see [`now_micros`]; 0 for never.
    said_at: AtomicU64,
}

impl Trouble {
    /// It failed; `true` when that has to be said.
    pub(crate) fn failed(&self, now: u64) -> bool {
        if self.lasts.swap(true, Relaxed) {
            return false;
        }
        let said = self.said_at.load(Relaxed);
        let is_news = said == 0 || now.saturating_sub(said) >= SAID_EVERY;
        if is_news {
            self.said_at.store(now, Relaxed);
        }
        is_news
    }

    pub(crate) fn worked(&self) {
        if self.lasts.load(Relaxed) {
            self.lasts.store(false, Relaxed);
        }
    }
}

/// All of them of one node.
#[derive(Debug, Default)]
pub(crate) struct Troubles([Trouble; 5]);

impl Backend {
    /// The labels of a series of this node.
    pub(crate) fn labels(&self) -> Vec<metrics::Label> {
        labels(&self.limits().cluster, [("node", self.id().to_string())])
    }

    /// `what` failed so many times at once, and this is why.
    pub(crate) fn failed_unheard(&self, what: Unheard, times: usize, why: impl Display) {
        metrics::counter!(what.metric(), self.labels()).increment(times as u64);
        if self.troubles().0[what as usize].failed(now_micros()) {
            let why = one_line(why.to_string());
            tracing::warn!(node = %self.id(), %why, "{}", what.sentence());
        }
    }

    /// `what` works.
    pub(crate) fn worked_unheard(&self, what: Unheard) {
        self.troubles().0[what as usize].worked();
    }

    /// Reads the reply that nobody else reads: `true` when no part of it is an error.
    pub(crate) fn hear(
        &self,
        what: Unheard,
        commands: usize,
        result: &Result<Reply, Error>,
    ) -> bool {
        let (times, why) = match result {
            Err(error) => (commands, error.to_string()),
            Ok(Reply::Aborted(error)) => (commands, why_aborted(error)),
            Ok(Reply::One(value)) => errors(std::slice::from_ref(value)),
            Ok(Reply::Many(values)) => errors(values),
        };
        match times {
            0 => self.worked_unheard(what),
            _ => self.failed_unheard(what, times, why),
        }
        times == 0
    }
}

/// How many of the replies are errors, and the first of them.
fn errors(values: &[Value]) -> (usize, String) {
    let mut errors = values.iter().filter_map(|value| match value {
        Value::ServerError(e) => Some(e),
        _ => None,
    });
    let Some(first) = errors.next() else {
        return (0, String::new());
    };
    (1 + errors.count(), words(first))
}

/// The refusal of a command inside a transaction; that it was discarded for that is said of itself.
fn why_aborted(error: &RedisError) -> String {
    let inside = error.clone().into_server_errors();
    match inside.as_deref().and_then(<[_]>::first) {
        Some((_, first)) => words(first),
        None => error.to_string(),
    }
}

fn words(error: &ServerError) -> String {
    format!("{} {}", error.code(), error.details().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn a_failure_that_lasts_is_said_once_and_one_that_flaps_once_a_minute() {
        let trouble = Trouble::default();
        assert!(trouble.failed(SECOND));
        assert!(!trouble.failed(500 * SECOND), "it lasts");
        trouble.worked();
        assert!(trouble.failed(501 * SECOND), "it is back");
        trouble.worked();
        assert!(!trouble.failed(502 * SECOND), "it flaps");
        trouble.worked();
        assert!(trouble.failed(600 * SECOND));
    }

    #[test]
    fn every_error_among_the_replies_counts_and_the_first_is_quoted() {
        let error = redis::parse_redis_value(b"-NOPERM no pexpire\r\n").expect("an error line");
        let (times, said) = errors(&[Value::Int(1), error.clone(), error]);
        assert_eq!((times, said.as_str()), (2, "NOPERM no pexpire"));
        assert_eq!(errors(&[Value::Okay, Value::Nil]).0, 0);
    }
}
