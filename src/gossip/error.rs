//! What cannot be done, and why.

use std::borrow::Cow;
use std::fmt;

use crate::error::text::one_line;

/// What kind of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GossipErrorKind {
    /// The address cannot be used: it is taken, not ours, or nobody could reach it.
    Address,
    /// An option makes no sense; the message names it.
    Option,
    /// A label that others would not take.
    Label,
    /// No key, or a bad one.
    Key,
    /// There is no tokio runtime.
    NoRuntime,
    /// It did not happen in time.
    Timeout,
    /// This instance has left.
    Left,
}

/// Why an instance did not start, or does not do what it was asked for: one line, with the remedy.
#[derive(Clone, Debug)]
pub struct GossipError {
    kind: GossipErrorKind,
    text: Cow<'static, str>,
}

impl GossipError {
    pub(crate) fn new(kind: GossipErrorKind, why: impl fmt::Display) -> Self {
        Self {
            kind,
            text: one_line(why.to_string()).into(),
        }
    }

    /// Of a record: the option, and what is wrong with it.
    pub(crate) fn of_record((option, why): (&'static str, String)) -> Self {
        let kind = match option {
            "label" => GossipErrorKind::Label,
            _ => GossipErrorKind::Option,
        };
        Self::new(kind, format!("`{option}`: {why}"))
    }

    /// Of a rule that cannot place what was asked for; it would be so at all instances.
    pub(crate) fn of_rule(why: impl fmt::Display) -> Self {
        Self::new(GossipErrorKind::Option, format!("`placement`: {why}"))
    }

    pub(crate) fn left() -> Self {
        Self::new(
            GossipErrorKind::Left,
            "this instance has left: start another one",
        )
    }

    /// What kind of thing is wrong. [Example](crate::guide::by_example#asking-an-instance).
    #[must_use]
    pub fn kind(&self) -> GossipErrorKind {
        self.kind
    }
}

impl fmt::Display for GossipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for GossipError {}
