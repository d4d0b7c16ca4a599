//! Why a cluster, a node or an option was refused before anything is sent.

use std::fmt;

use crate::error::redact::{has_secret, redacted};
use crate::error::text::{one_line, quoted};

/// Why a cluster, a node or a change of topology was refused; it names the culprit and the remedy.
///
/// No variant ever holds a password: URLs are described without their user-info.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// A cluster needs at least one node.
    NoNodes,
    /// Two nodes have the same name.
    #[non_exhaustive]
    DuplicateName {
        /// The name that was used twice.
        name: String,
    },
    /// A URL cannot be used as a node's address.
    #[non_exhaustive]
    Url {
        /// The URL as given, without its user-info and query.
        url: String,
        /// What is wrong with it, and what to write instead.
        why: String,
    },
    /// A node was given a value it cannot have.
    #[non_exhaustive]
    Node {
        /// The node's name.
        name: String,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// An option is out of range, or contradicts another one.
    #[non_exhaustive]
    Option {
        /// The option's name, as the builder and the configuration call it.
        name: &'static str,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// A change names a node that the cluster does not have.
    #[non_exhaustive]
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
                "two nodes are named {}: give one of them another name with `Node::name(..)`",
                named(name)
            ),
            Self::Url { url, why } => write!(f, "URL {}: {why}", quoted(url)),
            Self::Node { name, why } => write!(f, "node {}: {why}", named(name)),
            Self::Option { name, why } => write!(f, "option `{name}`: {why}"),
            Self::UnknownNode { name } => {
                write!(
                    f,
                    "no node is named {}: see `status()` for the names in use",
                    named(name)
                )
            }
            Self::Closed => f.write_str("the cluster was shut down: build a new one"),
        }
    }
}

impl std::error::Error for BuildError {}

/// A value that somebody wrote into a configuration, for the message that refuses it: a URL with its
/// password may stand where a number belongs.
pub(crate) fn told(value: &str) -> String {
    one_line(redacted(value, &[]))
}

/// A node's name in a message: who gave a URL for a name gave its password too.
fn named(name: &str) -> String {
    quoted(match has_secret(name) {
        true => redacted(name, &[]),
        false => name.to_owned(),
    })
}
