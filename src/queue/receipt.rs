//! How a push ended.

use std::error::Error as StdError;
use std::fmt;

use crate::error::{Error, ErrorKind, Outcome};
use crate::node::NodeId;
use crate::queue::message::MessageId;

/// A message was taken by a node; from then on it is that node's to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    id: MessageId,
    node: NodeId,
    may_be_twice: bool,
}

impl Receipt {
    pub(crate) fn new(id: MessageId, node: NodeId, tried: &[(NodeId, Error)]) -> Self {
        Self {
            id,
            node,
            may_be_twice: may_be_executed(tried),
        }
    }

    /// The message's identity. [Example](crate::guide::by_example#a-queue).
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// The node that has it. [Example](crate::guide::by_example#a-queue).
    #[must_use]
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// Whether another node may have it too: it was asked first, and its answer never came. Both copies
    /// have the same id. [Example](crate::guide::by_example#a-queue).
    #[must_use]
    pub fn may_be_twice(&self) -> bool {
        self.may_be_twice
    }
}

/// No node took a message. It says what each of them answered, and whether one may have it nonetheless.
///
/// Pushing again with [`push_as`](crate::queue::Queue::push_as) and [`id`](Self::id) keeps the identity, so that
/// consumers can tell a copy.
#[derive(Clone, Debug)]
pub struct PushError {
    id: MessageId,
    tried: Vec<(NodeId, Error)>,
    last: Error,
}

impl PushError {
    pub(crate) fn new(id: MessageId, tried: Vec<(NodeId, Error)>, last: Error) -> Self {
        Self { id, tried, last }
    }

    /// The message's identity. [Example](crate::guide::by_example#a-queue).
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// The nodes that were asked, in order, and what came of it. Empty when none was: all nodes are out,
    /// or the push was refused before. [Example](crate::guide::by_example#a-queue).
    #[must_use]
    pub fn tried(&self) -> &[(NodeId, Error)] {
        &self.tried
    }

    /// The last error, or why no node was asked. [Example](crate::guide::by_example#a-queue).
    #[must_use]
    pub fn error(&self) -> &Error {
        &self.last
    }

    /// [`Outcome::MaybeExecuted`] when one of the nodes may have the message; else that of the last error. [Example](crate::guide::by_example#a-queue).
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match may_be_executed(&self.tried) {
            true => Outcome::MaybeExecuted,
            false => self.last.outcome(),
        }
    }
}

fn may_be_executed(tried: &[(NodeId, Error)]) -> bool {
    tried
        .iter()
        .any(|(_, e)| e.outcome() == Outcome::MaybeExecuted)
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tried.is_empty() {
            return write!(f, "message {} was not pushed: {}", self.id, self.last);
        }
        write!(f, "no node took message {}", self.id)?;
        for (i, (_, error)) in self.tried.iter().enumerate() {
            write!(f, "{} {error}", if i == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}

/// Without a source: the text says what each node answered, and [`PushError::error`] has the last.
impl StdError for PushError {}

/// For those who have one error type: the last error's kind, and all of the text.
impl From<PushError> for Error {
    fn from(error: PushError) -> Self {
        if error.tried.len() < 2 {
            return error.last;
        }
        let kind = match error.last.kind() {
            // A server's answer would need the one it came from.
            ErrorKind::Server => ErrorKind::Invalid,
            kind => kind,
        };
        Self::new(kind, error.outcome(), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_says_what_each_node_answered_and_whether_one_may_have_it() {
        let node = NodeId::from;
        let timeout =
            Error::new(ErrorKind::Timeout, Outcome::MaybeExecuted, "no reply").at(&node("a"));
        let oom = Error::new(ErrorKind::Server, Outcome::Answered, "OOM no memory").at(&node("b"));
        let tried = vec![(node("a"), timeout), (node("b"), oom.clone())];
        let error = PushError::new(MessageId::from(1), tried, oom);
        assert_eq!(error.outcome(), Outcome::MaybeExecuted);
        let text = error.to_string();
        for part in ["node a", "node b", "OOM", "may have been executed", "0001"] {
            assert!(text.contains(part), "{text}");
        }
        let one = Error::from(error);
        assert_eq!(one.outcome(), Outcome::MaybeExecuted);
        assert!(one.to_string().contains("node b: OOM"), "{one}");
    }
}
