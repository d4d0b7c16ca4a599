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
            Self::Token => StatusCode::UNAUTHORIZED,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Form(_) => StatusCode::BAD_REQUEST,
            Self::Readers | Self::Closed => StatusCode::SERVICE_UNAVAILABLE,
        }
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
