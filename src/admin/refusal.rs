//! Why a request is refused.

use http::StatusCode;

/// A request that gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The name that it was sent to is none of ours.
    Host,
    /// A page of somebody else sent it.
    Foreign,
    NoPath,
    /// With the methods that there are.
    Method(&'static str),
    /// An action, where there are none.
    ReadOnly,
    Token,
    WrongToken,
    /// A body that a form can send as well.
    NotJson,
    TooLarge,
    TooSlow,
    /// A body that makes no sense, with the form that would.
    Form(&'static str),
    NoNode,
    /// All event readers are taken.
    Readers,
    /// The cluster is shut down.
    Closed,
}

impl Refusal {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Foreign | Self::ReadOnly => StatusCode::FORBIDDEN,
            Self::NoPath | Self::NoNode => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Token | Self::WrongToken => StatusCode::UNAUTHORIZED,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Form(_) => StatusCode::BAD_REQUEST,
            Self::Readers | Self::Closed => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// In a word, for metrics.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Foreign => "origin",
            Self::NoPath | Self::NoNode => "not_found",
            Self::Method(_) | Self::NotJson | Self::Form(_) => "malformed",
            Self::ReadOnly => "read_only",
            Self::Token => "no_token",
            Self::WrongToken => "wrong_token",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::Readers => "full",
            Self::Closed => "closed",
        }
    }

    /// Whether nobody asks so by mistake: who guesses tokens, or has a browser ask for it.
    pub(super) fn is_suspicious(self) -> bool {
        matches!(self, Self::Host | Self::Foreign | Self::WrongToken)
    }

    /// In a sentence, with the remedy. Nothing of the request is in it.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Host => {
                "the Host header names neither the address listened on nor localhost: name it in `allow_hosts`"
            }
            Self::Foreign => "a page of another origin sent this: open the admin page itself",
            Self::NoPath => {
                "there is no such path: /, /status, /events, /explain, /drain, /restore, /probe"
            }
            Self::Method(_) => "this path is asked otherwise, see Allow",
            Self::ReadOnly => "this page only shows: the application has not said `allow_actions`",
            Self::Token => "a token is needed, in the header `Authorization: Bearer TOKEN`",
            Self::WrongToken => "this is not the token that the application was given",
            Self::NotJson => "send JSON, with `Content-Type: application/json`",
            Self::TooLarge => "the body is too large: 64 KiB at most",
            Self::TooSlow => "the body did not come within 10 seconds",
            Self::Form(form) => form,
            Self::NoNode => "no node has this name, see /status",
            Self::Readers => "16 readers of events are there already: close one",
            Self::Closed => "the cluster is shut down",
        }
    }
}
