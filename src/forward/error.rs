//! What became of a request that nobody answered.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use http::StatusCode;

use crate::error::Outcome;
use crate::error::text::one_line;

/// The type that foreign errors come in.
pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// Why a request was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ForwardErrorKind {
    /// No instance is ready: no key has an owner.
    NoMembers,
    /// The owner does not say where it takes requests, or says `https://` and there is no TLS here.
    NoAddress,
    /// The instances do not agree on the owner, and did not in time.
    Disputed,
    /// Several keys, and they have not all one owner.
    KeysDiverged,
    /// The owner cannot be reached, or does not take requests.
    Unreachable,
    /// The request was sent and no answer came: it may have been handled.
    OutcomeUnknown,
    /// No answer came in time.
    Deadline,
    /// The payload or the answer of a call is larger than is allowed.
    BodyTooLarge,
    /// As many requests are being forwarded as are allowed at once.
    Overloaded,
    /// An upgrade, such as a WebSocket, or `CONNECT`: these are not forwarded.
    Unsupported,
    /// A call was for this instance, or another one, and it has no handler: see [`serve`](crate::forward::serve).
    NotServed,
    /// The handler of a call failed, or the member answered with something that is none of ours.
    Failed,
    /// An option makes no sense; the message names it.
    Option,
}

impl ForwardErrorKind {
    /// The kind as it stands in the header `fluster-reason`, in metrics and logs. [Example](crate::guide::by_example#forwarding).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoMembers => "no-members",
            Self::NoAddress => "no-address",
            Self::Disputed => "disputed",
            Self::KeysDiverged => "keys-diverged",
            Self::Unreachable => "unreachable",
            Self::OutcomeUnknown => "outcome-unknown",
            Self::Deadline => "deadline",
            Self::BodyTooLarge => "body-too-large",
            Self::Overloaded => "overloaded",
            Self::Unsupported => "unsupported",
            Self::NotServed => "not-served",
            Self::Failed => "failed",
            Self::Option => "option",
        }
    }

    /// Whether an answer of this status says one of the reasons.
    pub(crate) fn is_said(reason: &[u8], status: StatusCode) -> bool {
        let all = [
            Self::NoMembers,
            Self::NoAddress,
            Self::Disputed,
            Self::KeysDiverged,
            Self::Unreachable,
            Self::OutcomeUnknown,
            Self::Deadline,
            Self::BodyTooLarge,
            Self::Overloaded,
            Self::Unsupported,
            Self::NotServed,
        ];
        let mut all = all.iter();
        all.any(|kind| kind.as_str().as_bytes() == reason && kind.status() == status)
    }

    /// What a client is answered.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::NoMembers
            | Self::NoAddress
            | Self::Disputed
            | Self::KeysDiverged
            | Self::Unreachable
            | Self::NotServed
            | Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::OutcomeUnknown => StatusCode::BAD_GATEWAY,
            Self::Deadline => StatusCode::GATEWAY_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unsupported => StatusCode::NOT_IMPLEMENTED,
            Self::Failed | Self::Option => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What is known of the request where nothing else is said.
    fn outcome(self) -> Outcome {
        match self {
            Self::Disputed | Self::NotServed => Outcome::Rejected,
            Self::OutcomeUnknown | Self::Deadline => Outcome::MaybeExecuted,
            Self::Failed => Outcome::Answered,
            _ => Outcome::NotSent,
        }
    }
}

/// Why a request was not answered: one line, and the first cause as its [`source`](Error::source).
#[derive(Clone, Debug)]
pub struct ForwardError {
    kind: ForwardErrorKind,
    text: Box<str>,
    owner: Option<Box<str>>,
    attempts: u32,
    outcome: Outcome,
    cause: Option<Arc<dyn Error + Send + Sync>>,
}

impl ForwardError {
    pub(crate) fn new(kind: ForwardErrorKind, why: impl fmt::Display) -> Self {
        Self {
            kind,
            text: one_line(why.to_string()).into(),
            owner: None,
            attempts: 0,
            outcome: kind.outcome(),
            cause: None,
        }
    }

    pub(crate) fn of_owner(mut self, owner: Option<&str>) -> Self {
        self.owner = owner.map(Into::into);
        self
    }

    pub(crate) fn after(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    pub(crate) fn left(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    pub(crate) fn caused_by(mut self, cause: Option<Arc<dyn Error + Send + Sync>>) -> Self {
        self.cause = cause;
        self
    }

    /// What kind of thing is wrong. [Example](crate::guide::by_example#forwarding).
    #[must_use]
    pub fn kind(&self) -> ForwardErrorKind {
        self.kind
    }

    /// The ring id of the owner that was tried last, if there was one. [Example](crate::guide::by_example#forwarding).
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// How often it was sent, or tried to be. [Example](crate::guide::by_example#forwarding).
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// What is known of the request: whether somebody may have handled it. [Example](crate::guide::by_example#forwarding).
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }
}

impl fmt::Display for ForwardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for ForwardError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let cause = self.cause.as_deref()?;
        Some(cause)
    }
}
