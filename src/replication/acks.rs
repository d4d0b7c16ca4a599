//! What became of a replicated write.

use std::fmt;

use redis::{FromRedisValue, Value};

use crate::connection::reply::{parse, parse_of};
use crate::error::{Error, ErrorKind, Outcome};
use crate::node::NodeId;

/// Who acknowledged a replicated write, who failed, and whom it did not wait for.
#[derive(Clone, Debug, Default)]
pub struct Acks {
    pub(super) requested: usize,
    pub(super) acked: Vec<(NodeId, Value)>,
    pub(super) failed: Vec<(NodeId, Error)>,
    pub(super) pending: Vec<NodeId>,
}

impl Acks {
    /// How many replicas acknowledged the write so far. [Example](crate::guide::by_example#replicas).
    #[must_use]
    pub fn count(&self) -> usize {
        self.acked.len()
    }

    /// How many replicas were asked for. [Example](crate::guide::by_example#replicas).
    #[must_use]
    pub fn requested(&self) -> usize {
        self.requested
    }

    /// Whether every replica that was asked for has acknowledged. [Example](crate::guide::by_example#replicas).
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.count() == self.requested
    }

    /// The nodes that acknowledged, in the order in which they did. [Example](crate::guide::by_example#replicas).
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &NodeId> {
        self.acked.iter().map(|(node, _)| node)
    }

    /// The nodes that failed until the quorum was met, and how. [Example](crate::guide::by_example#replicas).
    #[must_use]
    pub fn failed(&self) -> &[(NodeId, Error)] {
        &self.failed
    }

    /// The nodes whose answer was not waited for; the write goes on there in the background, until the
    /// call's deadline. [Example](crate::guide::by_example#replicas).
    #[must_use]
    pub fn pending(&self) -> &[NodeId] {
        &self.pending
    }

    /// The answer of the node that was first to acknowledge: whether a `SET NX` was the first, how many
    /// fields an `HSET` added. [Example](crate::guide::by_example#replicas).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Type`] when it cannot be read as `T`.
    pub fn value<T: FromRedisValue>(&self) -> Result<T, Error> {
        match self.acked.first() {
            Some((node, value)) => parse(value.clone(), node),
            None => parse_of(Value::Nil, None),
        }
    }
}

/// A replicated write that too few replicas acknowledged. What was written stays written.
///
/// Every replica has answered, failed or run into the deadline when this is returned: it is the whole
/// picture, for a caller that wants to take the write back.
#[derive(Clone, Debug)]
pub struct QuorumError {
    pub(super) needed: usize,
    pub(super) acks: Acks,
    /// Why nothing was sent, when nothing was.
    pub(super) refused: Option<Error>,
}

impl QuorumError {
    /// Nothing was sent, for this reason.
    pub(crate) fn refused(error: Error) -> Self {
        Self {
            needed: 0,
            acks: Acks::default(),
            refused: Some(error),
        }
    }

    /// How many acknowledgements were needed. [Example](crate::guide::by_example#replicas).
    #[must_use]
    pub fn needed(&self) -> usize {
        self.needed
    }

    /// Who acknowledged all the same, and how the others failed. [Example](crate::guide::by_example#replicas).
    #[must_use]
    pub fn acks(&self) -> &Acks {
        &self.acks
    }

    /// [`ErrorKind::Quorum`], or why nothing was sent: [`ErrorKind::Invalid`], [`ErrorKind::Closed`]. [Example](crate::guide::by_example#replicas).
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.refused.as_ref().map_or(ErrorKind::Quorum, Error::kind)
    }

    /// What is known of the write on the replicas together: `NotSent` and `Rejected` only when that is so
    /// for each of them, `Answered` when all that are not acknowledged were refused by their servers. [Example](crate::guide::by_example#replicas).
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        if let Some(error) = &self.refused {
            return error.outcome();
        }
        let outcomes = || self.acks.failed.iter().map(|(_, e)| e.outcome());
        if !self.acks.acked.is_empty() || outcomes().any(|o| o == Outcome::MaybeExecuted) {
            Outcome::MaybeExecuted
        } else if outcomes().any(|o| o == Outcome::Answered) {
            Outcome::Answered
        } else if outcomes().any(|o| o == Outcome::Rejected) {
            Outcome::Rejected
        } else {
            Outcome::NotSent
        }
    }
}

impl fmt::Display for QuorumError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error) = &self.refused {
            return error.fmt(f);
        }
        let (needed, asked, got) = (self.needed, self.acks.requested, self.acks.count());
        write!(
            f,
            "{needed} of {asked} replicas had to acknowledge, {got} did"
        )?;
        for (i, node) in self.acks.nodes().enumerate() {
            write!(f, "{} {node}", if i == 0 { " (" } else { "," })?;
        }
        if got > 0 {
            f.write_str(")")?;
        }
        for (_, error) in &self.acks.failed {
            write!(f, "; {error}")?;
        }
        Ok(())
    }
}

/// Without a source: the text has everybody's words.
impl std::error::Error for QuorumError {}

impl From<QuorumError> for Error {
    fn from(quorum: QuorumError) -> Self {
        let text = quorum.to_string();
        match quorum.refused {
            Some(error) => error,
            None => Self::new(ErrorKind::Quorum, quorum.outcome(), text),
        }
    }
}
