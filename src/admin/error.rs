//! Why there is no page.

use std::fmt;

use crate::error::text::one_line;

/// What kind of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AdminErrorKind {
    /// The address cannot be listened on: it is taken, is not ours, or is none.
    Address,
    /// Who may ask is not said: a token is missing, or is none.
    Access,
    /// There is no tokio runtime.
    NoRuntime,
    /// The cluster is shut down.
    Closed,
}

/// Why there is no page: one line, with the remedy.
#[derive(Clone, Debug)]
pub struct AdminError {
    kind: AdminErrorKind,
    text: String,
}

impl AdminError {
    pub(super) fn new(kind: AdminErrorKind, why: impl fmt::Display) -> Self {
        Self {
            kind,
            text: one_line(why.to_string()),
        }
    }

    /// What kind of thing is wrong. [Example](crate::guide::by_example#the-admin-page).
    #[must_use]
    pub fn kind(&self) -> AdminErrorKind {
        self.kind
    }
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "admin: {}", self.text)
    }
}

impl std::error::Error for AdminError {}
