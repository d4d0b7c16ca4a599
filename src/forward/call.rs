//! Handle or forward for those who are no HTTP service: a request in hand, or bytes.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::{timeout, timeout_at};

use super::body::ForwardBody;
use super::envelope::{self, MOST_KEYS};
use super::error::{BoxError, ForwardError, ForwardErrorKind};
use super::forwarder::{Forwarder, Verdict};
use super::layer::{handled, too_late, unsupported};
use super::peers::Peer;
use super::repeat::Origin;
use super::travel::{Arrived, Trip};
use super::{headers, reply};
use crate::error::Outcome;
use crate::error::text::one_line;
use crate::tasks::give_way;

/// Where calls are taken.
pub(crate) const PATH: &str = "/.fluster/call";
/// Of what a handler says when it fails, in bytes.
const LONGEST_REASON: usize = 4096;

type Answering = BoxFuture<'static, Result<Bytes, BoxError>>;

/// Who answers calls: the payload, and the keys that it is about.
pub(crate) struct Handler(Box<dyn Fn(Bytes, Vec<Vec<u8>>) -> Answering + Send + Sync>);

impl Handler {
    pub(crate) fn new<H, F>(handler: H) -> Self
    where
        H: Fn(Bytes, Vec<Vec<u8>>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Bytes, BoxError>> + Send + 'static,
    {
        Self(Box::new(move |payload, keys| {
            Box::pin(handler(payload, keys))
        }))
    }

    pub(crate) fn answer(&self, payload: Bytes, keys: Vec<Vec<u8>>) -> Answering {
        (self.0)(payload, keys)
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handler")
    }
}

impl Forwarder {
    /// Handles a request here, or gives it to the owner of its keys, which must do the same with the same keys. Several
    /// keys must have one owner; without any it is handled here. A request that another instance sent is refused, with
    /// an answer for that instance, when it is not ours. [Example](crate::guide::by_example#forwarding).
    ///
    /// # Errors
    ///
    /// Nobody answered; [`ForwardErrorKind::KeysDiverged`] before anything is sent. An error can be made into a
    /// `Response`, as the layer answers.
    ///
    /// # Cancellation
    ///
    /// Dropped, it leaves the owner's handler dropped, too, or the request may have been handled.
    pub async fn handle_or_forward<H, F, R>(
        &self,
        keys: &[&[u8]],
        request: Request<Bytes>,
        handle: H,
    ) -> Result<Response<ForwardBody>, ForwardError>
    where
        H: FnOnce(Request<Bytes>) -> F,
        F: Future<Output = Response<R>>,
        R: Body<Data = Bytes> + Send + 'static,
        R::Error: Into<BoxError>,
    {
        let (mut parts, body) = request.into_parts();
        let taken = headers::take(&mut parts.headers);
        match self.inner.judge(&parts, keys, taken) {
            Verdict::Handle { by, .. } => {
                self.inner.meter.request("local");
                let answer = handle(Request::from_parts(parts, body));
                let answer = match by {
                    Some(by) => timeout_at(by.into(), answer)
                        .await
                        .map_err(|_| too_late())?,
                    None => answer.await,
                };
                Ok(handled(answer))
            }
            Verdict::Refuse(reason, owner) => {
                self.inner.meter.request("refused");
                Ok(reply::refusal(reason, owner.as_ref()))
            }
            Verdict::Fail(error) => {
                give_way().await;
                self.inner.meter.request("failed");
                Err(error)
            }
            Verdict::Forward { .. } if headers::wants_upgrade(&parts.method, &parts.headers) => {
                self.inner.meter.request("refused");
                Err(unsupported())
            }
            Verdict::Forward { to, hops } => {
                let mut trip = Trip {
                    is_idempotent: self.inner.setup.is_idempotent(&parts),
                    parts: &parts,
                    keys,
                    origin: Origin::new(body.clone().into(), usize::MAX),
                    pinned: None,
                    owner: to,
                    hops,
                };
                match self.travel(&mut trip).await {
                    Arrived::Answer(answer) => Ok(answer),
                    Arrived::Here(_) => Ok(handled(handle(Request::from_parts(parts, body)).await)),
                    Arrived::Failed(error) => Err(error),
                }
            }
        }
    }

    /// Asks the owner of a key, which [`serve`](super::serve)s; this instance's own handler, without the network, when
    /// it is the owner itself. A call is not repeated when it may have been handled, unless the builder's
    /// [`idempotent`](super::ForwarderBuilder::idempotent) says yes to `POST /.fluster/call`. [Example](crate::guide::by_example#forwarding).
    ///
    /// # Errors
    ///
    /// Nobody answered, or the handler failed: [`ForwardErrorKind::Failed`] with its words.
    ///
    /// # Cancellation
    ///
    /// Dropped, it leaves the owner's handler dropped, too, or the call may have been handled.
    pub async fn call(&self, key: &[u8], payload: Bytes) -> Result<Bytes, ForwardError> {
        self.called(&[key], payload, None, 0).await
    }

    /// Asks that instance, and no other one; for keys of [`by_owner`](Self::by_owner), or without any keys, which
    /// everybody answers. [Example](crate::guide::by_example#forwarding).
    ///
    /// # Errors
    ///
    /// As of [`call`](Self::call); [`ForwardErrorKind::Disputed`] when it does not own the keys.
    ///
    /// # Cancellation
    ///
    /// As of [`call`](Self::call).
    pub async fn call_member(
        &self,
        to: impl Into<Peer>,
        keys: &[&[u8]],
        payload: Bytes,
    ) -> Result<Bytes, ForwardError> {
        self.called(keys, payload, Some(to.into()), 0).await
    }

    /// The same for a call that so many instances passed on.
    pub(crate) async fn called(
        &self,
        keys: &[&[u8]],
        payload: Bytes,
        pinned: Option<Peer>,
        hops: u8,
    ) -> Result<Bytes, ForwardError> {
        let limit = self.inner.setup.call_limit;
        let body = envelope::pack(keys, &payload).filter(|body| body.len() <= limit);
        let Some(body) = body else {
            give_way().await;
            let why = format!("payload and keys are more than {limit} bytes, or {MOST_KEYS} keys");
            return Err(ForwardError::new(ForwardErrorKind::BodyTooLarge, why));
        };
        let is_here = match &pinned {
            Some(peer) => peer.is_me,
            None => keys.iter().all(|key| self.inner.peers.owns(key)),
        };
        if is_here {
            self.inner.meter.request("local");
            return self.answer_here(keys, payload).await;
        }
        let parts = asking();
        let mut trip = Trip {
            is_idempotent: self.inner.setup.is_idempotent(&parts),
            parts: &parts,
            keys,
            origin: Origin::new(body.into(), usize::MAX),
            pinned,
            owner: None,
            hops,
        };
        match self.travel(&mut trip).await {
            Arrived::Answer(answer) => self.read(answer).await,
            Arrived::Here(_) => self.answer_here(keys, payload).await,
            Arrived::Failed(error) => Err(error),
        }
    }

    async fn answer_here(&self, keys: &[&[u8]], payload: Bytes) -> Result<Bytes, ForwardError> {
        let Some(handler) = self.inner.handler.load_full() else {
            give_way().await;
            let why = "a call is for this instance, and nothing is served here: call `serve`";
            return Err(ForwardError::new(ForwardErrorKind::NotServed, why));
        };
        let keys = keys.iter().map(|key| key.to_vec()).collect();
        let answer = timeout(self.inner.setup.deadline, handler.answer(payload, keys)).await;
        match answer {
            Ok(answer) => answer.map_err(failed),
            Err(_) => Err(no_answer()),
        }
    }

    /// What a call is answered.
    async fn read(&self, answer: Response<ForwardBody>) -> Result<Bytes, ForwardError> {
        let (parts, body) = answer.into_parts();
        let limit = match parts.status {
            StatusCode::OK => self.inner.setup.call_limit,
            _ => LONGEST_REASON,
        };
        let whole = timeout(
            self.inner.setup.deadline,
            Limited::new(body, limit).collect(),
        )
        .await;
        let bytes = match whole {
            Err(_) => return Err(no_answer()),
            Ok(Ok(whole)) => whole.to_bytes(),
            Ok(Err(e)) if e.is::<LengthLimitError>() => {
                let why = format!("the answer has more than {limit} bytes");
                let error = ForwardError::new(ForwardErrorKind::BodyTooLarge, why);
                return Err(error.left(Outcome::Answered));
            }
            Ok(Err(e)) => {
                let why = "the answer broke off";
                let error = ForwardError::new(ForwardErrorKind::OutcomeUnknown, why);
                return Err(error.caused_by(Some(Arc::from(e))));
            }
        };
        let (kind, why) = match parts.status {
            StatusCode::OK => return Ok(bytes),
            StatusCode::INTERNAL_SERVER_ERROR => {
                return Err(failed(one_line(&bytes).into()));
            }
            StatusCode::PAYLOAD_TOO_LARGE => (
                ForwardErrorKind::BodyTooLarge,
                "the owner takes no payload of this size",
            ),
            StatusCode::GATEWAY_TIMEOUT => return Err(no_answer()),
            StatusCode::FORBIDDEN => (
                ForwardErrorKind::Failed,
                "the owner does not believe our mark: it has other keys, or its clock is more than 30 s off",
            ),
            _ => (
                ForwardErrorKind::NotServed,
                "the owner takes requests, and no calls: it has to `serve` at its base",
            ),
        };
        Err(ForwardError::new(kind, why).left(Outcome::Rejected))
    }
}

fn no_answer() -> ForwardError {
    ForwardError::new(ForwardErrorKind::Deadline, "no answer came in time")
}

fn failed(cause: BoxError) -> ForwardError {
    let why = "the handler of the call failed";
    ForwardError::new(ForwardErrorKind::Failed, why).caused_by(Some(Arc::from(cause)))
}

/// The head of a call: HTTP/2, so that all of them share a connection.
fn asking() -> Parts {
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static("http://fluster/.fluster/call");
    *request.version_mut() = Version::HTTP_2;
    request.into_parts().0
}
