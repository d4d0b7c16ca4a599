//! What goes back: never cached, never framed, never taken for something else.

use std::convert::Infallible;
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
    RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use serde::Serialize;

use super::refusal::Refusal;

const PAGE: &str = include_str!("page.html");
/// Stands in the page where the nonce belongs.
const NONCE: &str = "{{nonce}}";
const OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// The body of an answer of an [`AdminService`](super::AdminService).
#[must_use]
pub struct AdminBody(Kind);

enum Kind {
    /// `None` once it is read.
    Whole(Option<Bytes>),
    Events(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
}

impl AdminBody {
    fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self(Kind::Whole((!bytes.is_empty()).then_some(bytes)))
    }

    /// Whether it goes on for as long as somebody reads.
    pub(super) fn is_endless(&self) -> bool {
        matches!(self.0, Kind::Events(_))
    }
}

impl Body for AdminBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Kind::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Events(events) => events
                .as_mut()
                .poll_next(cx)
                .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Kind::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Kind::Events(_) => SizeHint::default(),
        }
    }
}

impl fmt::Debug for AdminBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminBody").finish_non_exhaustive()
    }
}

/// The page, with a nonce of its own.
pub(super) fn page() -> Response<AdminBody> {
    let nonce = nonce();
    let page = PAGE.replace(NONCE, &nonce);
    // Its own style, its own script, and answers of its own origin: nothing else is loaded, wherever it would come from.
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let mut answer = finish(
        StatusCode::OK,
        "text/html; charset=utf-8",
        AdminBody::whole(page),
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    answer
}

/// A nonce that nobody can tell beforehand: what the operating system gave the hasher as its key is told to nobody.
fn nonce() -> String {
    let half = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", half(), half())
}

pub(super) fn json(value: &impl Serialize) -> Response<AdminBody> {
    said(StatusCode::OK, value)
}

pub(super) fn events(events: impl Stream<Item = Bytes> + Send + 'static) -> Response<AdminBody> {
    let body = AdminBody(Kind::Events(Box::pin(events)));
    finish(StatusCode::OK, "text/event-stream", body)
}

pub(super) fn refused(refusal: Refusal) -> Response<AdminBody> {
    let mut answer = said(
        refusal.status(),
        &serde_json::json!({ "error": refusal.text() }),
    );
    let headers = answer.headers_mut();
    match refusal {
        Refusal::Token | Refusal::WrongToken => {
            drop(headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
        }
        Refusal::Method(methods) => drop(headers.insert(ALLOW, HeaderValue::from_static(methods))),
        Refusal::Readers => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("10"))),
        _ => {}
    }
    answer
}

fn said(status: StatusCode, value: &impl Serialize) -> Response<AdminBody> {
    match serde_json::to_vec(value) {
        Ok(text) => finish(status, "application/json", AdminBody::whole(text)),
        // Nothing of ours has keys or numbers that JSON lacks.
        Err(_) => finish(
            StatusCode::INTERNAL_SERVER_ERROR,
            "application/json",
            AdminBody::whole("{}"),
        ),
    }
}

fn finish(status: StatusCode, kind: &'static str, body: AdminBody) -> Response<AdminBody> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-store"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (OPENER, "same-origin"),
        (RESOURCE, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Response<AdminBody>> {
        vec![
            page(),
            json(&1),
            events(futures_util::stream::empty()),
            refused(Refusal::Token),
            refused(Refusal::Host),
            refused(Refusal::Method("GET")),
        ]
    }

    #[test]
    fn every_answer_is_for_its_reader_alone() {
        for answer in all() {
            let header = |name: &str| {
                answer
                    .headers()
                    .get(name)
                    .map(|v| v.to_str().expect("text"))
            };
            assert_eq!(header("cache-control"), Some("no-store"));
            assert_eq!(header("x-content-type-options"), Some("nosniff"));
            assert_eq!(header("x-frame-options"), Some("DENY"));
            assert_eq!(header("referrer-policy"), Some("no-referrer"));
            assert_eq!(header("cross-origin-resource-policy"), Some("same-origin"));
            let policy = header("content-security-policy").expect("a policy");
            assert!(policy.starts_with("default-src 'none';"), "{policy}");
            assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
            assert!(
                !policy.contains("unsafe") && !policy.contains('*'),
                "{policy}"
            );
            let foreign = |name: &&HeaderName| name.as_str().starts_with("access-control");
            assert_eq!(answer.headers().keys().find(foreign), None, "no CORS");
            assert_eq!(header("set-cookie"), None);
        }
    }

    #[test]
    fn the_page_loads_nothing_and_its_nonce_comes_once() {
        assert_eq!(PAGE.matches("<style nonce=\"{{nonce}}\">").count(), 1);
        assert_eq!(PAGE.matches("<script nonce=\"{{nonce}}\">").count(), 1);
        assert_eq!(
            (
                PAGE.matches("<script").count(),
                PAGE.matches("<style").count()
            ),
            (1, 1)
        );
        assert_eq!(PAGE.matches(NONCE).count(), 2);
        // What would need a policy that is wider, or make markup of a name.
        for word in [
            "http://",
            "https://",
            " src=",
            " style=\"",
            " onclick",
            "@import",
            "url(",
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "localStorage",
            "sessionStorage",
            "document.cookie",
        ] {
            assert!(
                !PAGE
                    .replace("http://www.w3.org/2000/svg", "")
                    .contains(word),
                "{word:?}"
            );
        }
        let nonces: std::collections::BTreeSet<String> = (0..1000).map(|_| nonce()).collect();
        assert_eq!(nonces.len(), 1000);
    }
}
