//! What can go wrong before anything is sent, and what is known of a command that failed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::node::NodeId;
use crate::verdict::Reason;

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
    /// The command was never handed to a connection, or provably no byte of it left: no server
    /// has seen it.
    NotSent,
    /// The server refused to serve now (`LOADING`, `MASTERDOWN`, `CLUSTERDOWN`, `BUSY`, or too
    /// many clients at connect): it did not execute the command.
    Rejected,
    /// The command was handed to a connection and its reply never came: it may have been
    /// executed, may still be, or may be lost.
    MaybeExecuted,
    /// The server answered; the answer is an error (`WRONGTYPE`, `NOAUTH`, `READONLY`, ...) or
    /// could not be read as the type that was asked for.
    Answered,
}

impl Outcome {
    /// Whether the command surely left no trace, so that sending it again cannot apply it twice.
    #[must_use]
    pub fn is_safe_to_repeat(self) -> bool {
        matches!(self, Self::NotSent | Self::Rejected)
    }

    /// The outcome as it appears in metrics and logs: `not_sent`, `rejected`, `maybe_executed`,
    /// `answered`.
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

/// Why a cluster, a node or a change of topology was refused; it names the culprit and the remedy.
///
/// No variant ever holds a password: URLs are described without their user-info.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// A cluster needs at least one node.
    NoNodes,
    /// Two nodes have the same name.
    DuplicateName {
        /// The name that was used twice.
        name: String,
    },
    /// A URL cannot be used as a node's address.
    Url {
        /// The URL as given, without its user-info and query.
        url: String,
        /// What is wrong with it, and what to write instead.
        why: String,
    },
    /// A node was given a value it cannot have.
    Node {
        /// The node's name.
        name: String,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// An option is out of range, or contradicts another one.
    Option {
        /// The option's name, as the builder and the configuration call it.
        name: &'static str,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// A change names a node that the cluster does not have.
    UnknownNode {
        /// The name that was not found.
        name: String,
    },
    /// The cluster was shut down; build a new one.
    Closed,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNodes => f.write_str(
                "a cluster needs at least one node: add one with `.node(..)` or `.nodes(..)`",
            ),
            Self::DuplicateName { name } => write!(
                f,
                "two nodes are named \"{name}\": give one of them another name with `Node::name(..)`"
            ),
            Self::Url { url, why } => write!(f, "URL \"{url}\": {why}"),
            Self::Node { name, why } => write!(f, "node \"{name}\": {why}"),
            Self::Option { name, why } => write!(f, "option `{name}`: {why}"),
            Self::UnknownNode { name } => {
                write!(
                    f,
                    "no node is named \"{name}\": see `status()` for the names in use"
                )
            }
            Self::Closed => f.write_str("the cluster was shut down: build a new one"),
        }
    }
}

impl std::error::Error for BuildError {}

/// No node can serve: every candidate of the key is out.
///
/// Returned at once, without a dial; the nodes' next probes are pulled forward by it. It names why
/// each node is out and when asking again may be worthwhile.
///
/// ```
/// use fluster::FlusterCluster;
///
/// let cluster = FlusterCluster::from_urls(["redis://127.0.0.1:6379"])?;
/// if let Err(empty) = cluster.get_client("user:42") {
///     eprintln!("{empty}; trying again in {:?}", empty.retry_after());
/// }
/// # Ok::<(), fluster::BuildError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClusterEmptyError {
    reasons: Reasons,
    retry_after: Duration,
}

/// Why each node is out; shared by all errors of one moment.
pub(crate) type Reasons = Arc<[(NodeId, Reason)]>;

impl ClusterEmptyError {
    pub(crate) fn new(reasons: Reasons, retry_after: Duration) -> Self {
        Self {
            reasons,
            retry_after,
        }
    }

    /// Each node that is out, and why.
    #[must_use]
    pub fn reasons(&self) -> &[(NodeId, Reason)] {
        &self.reasons
    }

    /// The time until the next probe of any node; before that, asking again is in vain.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        self.retry_after
    }
}

impl fmt::Display for ClusterEmptyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 5;
        match self.reasons.len() {
            0 => f.write_str("no node can serve")?,
            1 => f.write_str("the only node is out: ")?,
            n => write!(f, "all {n} nodes are out: ")?,
        }
        for (i, (node, reason)) in self.reasons.iter().take(SHOWN).enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{node} ({reason})")?;
        }
        if self.reasons.len() > SHOWN {
            write!(f, " and {} more", self.reasons.len() - SHOWN)?;
        }
        Ok(())
    }
}

impl std::error::Error for ClusterEmptyError {}
