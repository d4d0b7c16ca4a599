//! What a client, or another instance, is told by this one itself.

use http::{HeaderMap, HeaderValue, Response, StatusCode, Version};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::arrival::Reason;
use super::body::ForwardBody;
use super::error::ForwardError;
use super::headers;
use super::peers::Peer;

/// What must not stand in a header as it is.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// gRPC's clients look for these, and for nothing else.
const GRPC_STATUS: &str = "grpc-status";
const GRPC_MESSAGE: &str = "grpc-message";
/// `UNAVAILABLE`: it may be tried again.
const UNAVAILABLE: HeaderValue = HeaderValue::from_static("14");

/// 421: another instance sent what is not ours.
pub(crate) fn refusal(reason: Reason, owner: Option<&Peer>) -> Response<ForwardBody> {
    let mut reply = Response::new(ForwardBody::empty());
    *reply.status_mut() = StatusCode::MISDIRECTED_REQUEST;
    let lines = reply.headers_mut();
    lines.insert(headers::REASON, HeaderValue::from_static(reason.as_str()));
    if let Some(owner) = owner {
        let name = utf8_percent_encode(&owner.ring_id, ESCAPED).to_string();
        if let Ok(name) = HeaderValue::from_str(&name) {
            lines.insert(headers::OWNER, name);
        }
    }
    reply
}

/// An error as a client sees it: the status, the reason as a header, and a line.
pub(crate) fn failure(error: &ForwardError, asked: &Asked) -> Response<ForwardBody> {
    let mut reply = Response::new(ForwardBody::from(format!("{error}\n")));
    *reply.status_mut() = error.kind().status();
    let lines = reply.headers_mut();
    let reason = error.kind().as_str();
    lines.insert(headers::REASON, HeaderValue::from_static(reason));
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    lines.insert(http::header::CONTENT_TYPE, text);
    if asked.is_grpc {
        *reply.status_mut() = StatusCode::OK;
        *reply.body_mut() = ForwardBody::empty();
        let lines = reply.headers_mut();
        let kind = HeaderValue::from_static("application/grpc");
        lines.insert(http::header::CONTENT_TYPE, kind);
        lines.insert(GRPC_STATUS, grpc_status(error));
        let message = utf8_percent_encode(&error.to_string(), ESCAPED).to_string();
        if let Ok(message) = HeaderValue::from_str(&message) {
            lines.insert(GRPC_MESSAGE, message);
        }
    }
    reply
}

fn grpc_status(error: &ForwardError) -> HeaderValue {
    use super::error::ForwardErrorKind as Kind;

    match error.kind() {
        Kind::Deadline => HeaderValue::from_static("4"),
        Kind::Unsupported => HeaderValue::from_static("12"),
        // `UNKNOWN`: a client must not take it for one that it may repeat.
        Kind::OutcomeUnknown => HeaderValue::from_static("2"),
        Kind::Overloaded => HeaderValue::from_static("8"),
        _ => UNAVAILABLE,
    }
}

/// As [`Forwarder::layer`](crate::forward::Forwarder::layer) answers.
impl From<ForwardError> for Response<ForwardBody> {
    fn from(error: ForwardError) -> Self {
        failure(&error, &Asked { is_grpc: false })
    }
}

/// How a request was made, as far as errors are told differently.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    is_grpc: bool,
}

impl Asked {
    pub(crate) fn by(version: Version, lines: &HeaderMap) -> Self {
        let kind = lines.get(http::header::CONTENT_TYPE);
        let is_grpc = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        Self {
            is_grpc: is_grpc && version == Version::HTTP_2,
        }
    }
}
