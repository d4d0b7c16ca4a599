//! Why a source could not be asked, or had nothing to say.

use std::fmt;
use std::sync::Arc;

use crate::error::text::one_line;

/// What kind of thing went wrong with a source of endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DiscoveryErrorKind {
    /// The source cannot be used as it is configured: a bad URL, a pattern that does not compile.
    Config,
    /// The source cannot be reached, or hung up: no connection, no TLS, a missing file's directory.
    Unreachable,
    /// The source did not answer in time.
    TimedOut,
    /// The source was reached and refused: a missing or wrong token.
    Denied,
    /// The source was reached and cannot answer now, such as a Consul agent without a leader.
    Unavailable,
    /// The answer is not what such a source says, or larger than is read.
    Invalid,
    /// The source answered that there is nothing of this name.
    NotFound,
    /// The source panicked, or a function of yours that it or [`Follow`](super::Follow) calls.
    Panicked,
}

impl DiscoveryErrorKind {
    /// The kind as it appears in metrics: `config`, `unreachable`, `timed_out`, `denied`,
    /// `unavailable`, `invalid`, `not_found`, `panicked`. [Example](crate::guide::by_example#sources).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Denied => "denied",
            Self::Unavailable => "unavailable",
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Panicked => "panicked",
        }
    }
}

/// Why a source of endpoints gave none: one line of at most 300 characters that names the
/// source, and holds no secret.
#[derive(Clone)]
pub struct DiscoveryError {
    kind: DiscoveryErrorKind,
    text: Arc<str>,
}

impl DiscoveryError {
    /// An error of the source that is called `source`. [Example](crate::guide::by_example#sources).
    pub fn new(
        kind: DiscoveryErrorKind,
        source: impl fmt::Display,
        why: impl fmt::Display,
    ) -> Self {
        Self {
            kind,
            text: one_line(format!("{source}: {why}")).into(),
        }
    }

    /// What kind of thing went wrong. [Example](crate::guide::by_example#sources).
    #[must_use]
    pub fn kind(&self) -> DiscoveryErrorKind {
        self.kind
    }

    /// Whether the source could not be asked at all, as opposed to having nothing to say. [Example](crate::guide::by_example#sources).
    #[must_use]
    pub fn is_connection_error(&self) -> bool {
        use DiscoveryErrorKind::{TimedOut, Unreachable};
        matches!(self.kind, Unreachable | TimedOut)
    }
}

impl fmt::Display for DiscoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for DiscoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiscoveryError")
            .field("kind", &self.kind)
            .field("text", &self.text)
            .finish()
    }
}

impl std::error::Error for DiscoveryError {}
