//! The error of a command: what kind, what is known of the command, which node.

mod class;
mod empty;
mod outcome;
pub(crate) mod redact;
mod signed;
pub(crate) mod text;

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use redis::RedisError;

pub(crate) use self::class::{class_of, class_of_error};
pub use self::empty::ClusterEmptyError;
pub(crate) use self::empty::Reasons;
pub use self::outcome::Outcome;
pub(crate) use self::signed::sign;
use self::text::one_line;
use crate::health::verdict::{Class, Disposition};
use crate::node::NodeId;

/// What went wrong with a command, in the terms of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Every candidate of the key is out; see [`ClusterEmptyError`].
    ClusterEmpty,
    /// The client's node is out; ask the cluster for a client again to get its stand-in.
    NodeOut,
    /// The other processes of [the fleet](https://docs.rs/fluster/latest/fluster/guide/fleet/index.html) reach the client's node, and this one does not: the keys
    /// stay there, and nothing was sent. No stand-in has them.
    UnreachableHere,
    /// No connection could be had: refused, unreachable, timed out.
    Connect,
    /// No connection could be had, and trying again will not help: credentials, certificate, database.
    Config,
    /// The connection ended before the reply came.
    ConnectionLost,
    /// No reply came in time.
    Timeout,
    /// The server answered with an error.
    Server,
    /// The server's answer cannot be read as the type that was asked for.
    Type,
    /// What was asked for cannot be done in this way: the command cannot be sent over this kind of
    /// connection, or an argument makes no sense. The message has the remedy.
    Invalid,
    /// The keys of the command are on different nodes, and it cannot be cut.
    CrossNode,
    /// The watched keys of a transaction changed every time it was tried; it was not executed.
    Conflict,
    /// Fewer replicas answered, or are live, than the quorum needs.
    Quorum,
    /// All exclusive connections of the node are taken, or too much waits to be written on its shared one
    /// ([`max_waiting_calls`](crate::ClusterBuilder::max_waiting_calls)). Nothing was sent, and the node is not at fault.
    Saturated,
    /// The cluster was shut down, or its last handle was dropped.
    Closed,
}

/// The error of a command sent through fluster.
///
/// Through redis-rs's own methods it arrives as a [`RedisError`]; [`Error::from_redis`] gets it back.
/// Answers of the server (`WRONGTYPE`, ...) stay plain `RedisError`s there, with their kind and code, and the
/// node's name behind their words.
///
/// ```
/// use fluster::{Error, Outcome};
///
/// fn may_try_elsewhere(e: &redis::RedisError) -> bool {
///     Error::from_redis(e).is_some_and(|e| e.outcome() == Outcome::NotSent)
/// }
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    outcome: Outcome,
    node: Option<NodeId>,
    /// What the server's error reply says, when it is one.
    class: Option<Class>,
    retry_after: Option<Duration>,
    message: String,
    source: Option<Source>,
}

#[derive(Clone)]
enum Source {
    Redis(RedisError),
    Empty(ClusterEmptyError),
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, outcome: Outcome, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            outcome,
            node: None,
            class: None,
            retry_after: None,
            message: message.into(),
            source: None,
        }))
    }

    /// The server's error reply, or what one of a transaction says of all.
    pub(crate) fn answered(node: &NodeId, reply: RedisError) -> Self {
        let words = signed::without_signature(&reply, node);
        Self::of_reply(words, reply).at(node)
    }

    /// A server's error reply, of no node, where several made the answer.
    pub(crate) fn answered_by_several(reply: RedisError) -> Self {
        Self::of_reply(one_line(reply.to_string()), reply)
    }

    fn of_reply(words: String, reply: RedisError) -> Self {
        let class = class_of_error(&reply);
        let outcome = match class.disposition() {
            Disposition::Rejected => Outcome::Rejected,
            _ => Outcome::Answered,
        };
        let mut error = Self::new(ErrorKind::Server, outcome, words).because(reply);
        error.0.class = Some(class);
        error
    }

    /// What redis-rs or a server says, in its own words; of no node, where several made the answer.
    pub(crate) fn said(kind: ErrorKind, outcome: Outcome, e: RedisError) -> Self {
        Self::new(kind, outcome, one_line(e.to_string())).because(e)
    }

    pub(crate) fn at(mut self, node: &NodeId) -> Self {
        self.0.node = Some(node.clone());
        self
    }

    pub(crate) fn because(mut self, source: RedisError) -> Self {
        self.0.source = Some(Source::Redis(source));
        self
    }

    /// The same failure, of which more is known.
    pub(crate) fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.0.outcome = outcome;
        self
    }

    pub(crate) fn retry_in(mut self, wait: Option<Duration>) -> Self {
        self.0.retry_after = wait;
        self
    }

    /// The same failure, with what it was part of in front.
    pub(crate) fn wrap(mut self, what: &str) -> Self {
        self.0.message = format!("{what}: {}", self.0.message);
        self
    }

    pub(crate) fn closed() -> Self {
        Self::new(
            ErrorKind::Closed,
            Outcome::NotSent,
            "the cluster was shut down, or its last handle was dropped",
        )
    }

    /// The kind of failure. [Example](crate::guide::by_example#errors).
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What is known of the command. [Example](crate::guide::by_example#errors).
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// The node that failed last, when one was involved. [Example](crate::guide::by_example#errors).
    #[must_use]
    pub fn node(&self) -> Option<&NodeId> {
        self.0.node.as_ref()
    }

    /// When the node's next probe is due, where that is known. [Example](crate::guide::by_example#errors).
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether the connection failed rather than the command: the node is out, unreachable, silent or
    /// hung up. The original's `ConnectionError` and `TimeoutError`. [Example](crate::guide::by_example#errors).
    #[must_use]
    pub fn is_connection_error(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::NodeOut
                | ErrorKind::UnreachableHere
                | ErrorKind::Connect
                | ErrorKind::Config
                | ErrorKind::ConnectionLost
                | ErrorKind::Timeout
        )
    }

    /// The fluster error inside a [`RedisError`], when there is one. [Example](crate::guide::by_example#errors).
    #[must_use]
    pub fn from_redis(error: &RedisError) -> Option<&Self> {
        // redis-rs keeps the I/O error behind an `Arc`, and hands out the `Arc` as the source.
        type Shared = std::sync::Arc<dyn StdError + Send + Sync>;
        let source = error.source()?;
        let io = match source.downcast_ref::<Shared>() {
            Some(shared) => shared.downcast_ref::<io::Error>(),
            None => source.downcast_ref::<io::Error>(),
        }?;
        io.get_ref()?.downcast_ref::<Self>()
    }

    /// Why each node is out, for [`ErrorKind::ClusterEmpty`]. [Example](crate::guide::by_example#errors).
    #[must_use]
    pub fn cluster_empty(&self) -> Option<&ClusterEmptyError> {
        match &self.0.source {
            Some(Source::Empty(empty)) => Some(empty),
            _ => None,
        }
    }

    /// What the server's error reply says of node and command.
    pub(crate) fn class(&self) -> Option<Class> {
        self.0.class
    }

    /// The code of the server's error reply, such as `WRONGTYPE`, when it is one. [Example](crate::guide::by_example#errors).
    #[must_use]
    pub fn server_code(&self) -> Option<&str> {
        match &self.0.source {
            Some(Source::Redis(e)) if self.kind() == ErrorKind::Server => e.code(),
            _ => None,
        }
    }

    pub(crate) fn io_kind(&self) -> io::ErrorKind {
        match self.kind() {
            ErrorKind::ClusterEmpty | ErrorKind::NodeOut | ErrorKind::UnreachableHere => {
                io::ErrorKind::NotConnected
            }
            ErrorKind::Connect => io::ErrorKind::ConnectionRefused,
            ErrorKind::ConnectionLost => io::ErrorKind::BrokenPipe,
            ErrorKind::Timeout | ErrorKind::Saturated => io::ErrorKind::TimedOut,
            ErrorKind::Quorum => io::ErrorKind::NotConnected,
            ErrorKind::Closed => io::ErrorKind::ConnectionAborted,
            ErrorKind::Config => io::ErrorKind::PermissionDenied,
            ErrorKind::Conflict => io::ErrorKind::ResourceBusy,
            ErrorKind::Invalid | ErrorKind::CrossNode => io::ErrorKind::Unsupported,
            ErrorKind::Server | ErrorKind::Type => io::ErrorKind::InvalidData,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(node) = &self.0.node {
            write!(f, "node {node}: ")?;
        }
        f.write_str(&self.0.message)?;
        if self.0.outcome == Outcome::MaybeExecuted {
            f.write_str(" (the command may have been executed)")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("outcome", &self.0.outcome)
            .field("node", &self.0.node)
            .field("message", &self.0.message)
            .finish_non_exhaustive()
    }
}

/// Without a source: the text has the words of whatever is behind it, and a chain that says one sentence
/// four times is read four times. [`Error::server_code`] and [`Error::cluster_empty`] have the rest.
impl StdError for Error {}

impl From<ClusterEmptyError> for Error {
    fn from(empty: ClusterEmptyError) -> Self {
        let mut error = Self::new(ErrorKind::ClusterEmpty, Outcome::NotSent, empty.to_string())
            .retry_in(Some(empty.retry_after()));
        error.0.source = Some(Source::Empty(empty));
        error
    }
}

/// An answer of the server becomes redis-rs's own error again, code and all; everything else becomes
/// an I/O error that redis-rs's predicates understand and [`Error::from_redis`] opens.
impl From<Error> for RedisError {
    fn from(error: Error) -> Self {
        match error.0.source {
            Some(Source::Redis(answer))
                if matches!(error.0.kind, ErrorKind::Server | ErrorKind::Type) =>
            {
                match &error.0.node {
                    Some(node) => signed::signed(answer, node),
                    None => answer,
                }
            }
            _ => io::Error::new(error.io_kind(), error).into(),
        }
    }
}

impl From<ClusterEmptyError> for RedisError {
    fn from(empty: ClusterEmptyError) -> Self {
        Error::from(empty).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn an_error_survives_the_way_through_redis_rs() {
        let error = Error::new(
            ErrorKind::Timeout,
            Outcome::MaybeExecuted,
            "no reply within 500 ms",
        )
        .at(&NodeId::from("a"));
        let redis = RedisError::from(error);
        assert!(redis.is_timeout() && redis.is_io_error());
        let back = Error::from_redis(&redis).expect("recovered");
        assert_eq!(back.outcome(), Outcome::MaybeExecuted);
        assert_eq!(back.node().unwrap(), "a");
        assert!(
            redis.to_string().contains("may have been executed"),
            "{redis}"
        );
        assert!(Error::from_redis(&io::Error::other("x").into()).is_none());
    }

    #[test]
    fn an_answer_of_the_server_keeps_its_code() {
        let answer = redis::make_extension_error("OOM".into(), Some("no memory".into()));
        let error = Error::new(ErrorKind::Server, Outcome::Answered, "OOM").because(answer);
        assert_eq!(RedisError::from(error).code(), Some("OOM"));
    }

    #[test]
    fn an_empty_cluster_keeps_its_reasons() {
        let empty = ClusterEmptyError::new(Arc::new([]), Duration::from_millis(70));
        let redis = RedisError::from(empty);
        let error = Error::from_redis(&redis).unwrap();
        assert_eq!(error.retry_after(), Some(Duration::from_millis(70)));
        let empty = error.cluster_empty().expect("its reasons");
        assert_eq!(empty.to_string(), error.to_string(), "said once");
        assert!(error.source().is_none());
        assert!(redis.is_connection_dropped());
    }
}
