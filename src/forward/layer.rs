//! The layer around a service of an application.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::body::ForwardBody;
use super::error::{BoxError, ForwardError, ForwardErrorKind};
use super::forwarder::{Forwarder, Verdict};
use super::headers;
use super::key::KeyOf;
use super::peers::Peer;
use super::repeat::Origin;
use super::reply::{self, Asked};
use super::travel::{Arrived, Trip};

/// Puts [`ForwardService`] around a service; see [`Forwarder::layer`].
#[derive(Clone, Debug)]
pub struct ForwardLayer<K> {
    forward: Forwarder,
    key: K,
}

impl<K: KeyOf> ForwardLayer<K> {
    pub(crate) fn new(forward: Forwarder, key: K) -> Self {
        Self { forward, key }
    }
}

impl<S, K: KeyOf> Layer<S> for ForwardLayer<K> {
    type Service = ForwardService<S, K>;

    fn layer(&self, inner: S) -> Self::Service {
        ForwardService {
            inner,
            forward: self.forward.clone(),
            key: self.key.clone(),
        }
    }
}

/// A service that handles a request with the service inside, or forwards it to the owner of its key.
#[derive(Clone, Debug)]
pub struct ForwardService<S, K> {
    inner: S,
    forward: Forwarder,
    key: K,
}

impl<S, K, B, R> Service<Request<B>> for ForwardService<S, K>
where
    S: Service<Request<ForwardBody>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    K: KeyOf,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<ForwardBody>;
    type Error = S::Error;
    type Future = ForwardFuture<S::Future, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        // First of all, and always: nobody else sees what is ours.
        let taken = headers::take(&mut parts.headers);
        let inner = &self.forward.inner;
        let key = self.key.key_of(&parts);
        let one = key.as_deref();
        let keys: &[&[u8]] = one.as_slice();
        let asked = Asked::by(parts.version, &parts.headers);
        let state = match inner.judge(&parts, keys, taken) {
            Verdict::Handle { by, .. } => {
                if !keys.is_empty() {
                    inner.meter.request("local");
                }
                let request = Request::from_parts(parts, ForwardBody::new(body));
                State::Here {
                    answer: self.inner.call(request),
                    late: by.map(|by| Box::pin(tokio::time::sleep_until(by.into()))),
                    asked,
                }
            }
            Verdict::Refuse(reason, owner) => {
                inner.meter.request("refused");
                State::Said {
                    reply: Some(reply::refusal(reason, owner.as_ref())),
                }
            }
            Verdict::Fail(error) => {
                inner.meter.request("failed");
                State::Said {
                    reply: Some(reply::failure(&error, &asked)),
                }
            }
            Verdict::Forward { .. } if headers::wants_upgrade(&parts.method, &parts.headers) => {
                inner.meter.request("refused");
                State::Said {
                    reply: Some(reply::failure(&unsupported(), &asked)),
                }
            }
            Verdict::Forward { to, hops } => {
                // The one that was asked whether it is ready; the next request asks the other.
                let clone = self.inner.clone();
                let service = std::mem::replace(&mut self.inner, clone);
                let body = ForwardBody::new(body);
                let way = (to, hops);
                let away = forwarded(self.forward.clone(), service, parts, body, key, way, asked);
                State::Away {
                    answer: Box::pin(away),
                }
            }
        };
        ForwardFuture { state }
    }
}

async fn forwarded<S, R>(
    forward: Forwarder,
    mut service: S,
    parts: Parts,
    body: ForwardBody,
    key: Option<Vec<u8>>,
    (owner, hops): (Option<Peer>, u8),
    asked: Asked,
) -> Result<Response<ForwardBody>, S::Error>
where
    S: Service<Request<ForwardBody>, Response = Response<R>>,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    let one = key.as_deref();
    let setup = &forward.inner.setup;
    let mut trip = Trip {
        is_idempotent: setup.is_idempotent(&parts),
        origin: Origin::new(body, setup.replay_limit),
        parts: &parts,
        keys: one.as_slice(),
        pinned: None,
        owner,
        hops,
    };
    match forward.travel(&mut trip).await {
        Arrived::Answer(answer) => Ok(answer),
        Arrived::Here(body) => {
            let answer = service.call(Request::from_parts(parts, body)).await?;
            Ok(handled(answer))
        }
        Arrived::Failed(error) => Ok(reply::failure(&error, &asked)),
    }
}

/// What the application answers: it cannot speak in our name.
pub(crate) fn handled<R>(answer: Response<R>) -> Response<ForwardBody>
where
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    let mut answer = answer.map(ForwardBody::new);
    headers::strip_ours(answer.headers_mut());
    answer
}

pub(crate) fn unsupported() -> ForwardError {
    let why = "upgrades, such as WebSockets, and CONNECT are not forwarded: connect to the owner of the key itself";
    ForwardError::new(ForwardErrorKind::Unsupported, why)
}

pub(crate) fn too_late() -> ForwardError {
    let why = "the instance that sent the request does not wait any longer";
    ForwardError::new(ForwardErrorKind::Deadline, why)
}

pin_project! {
    /// The answer of a [`ForwardService`].
    #[must_use = "futures do nothing unless polled"]
    pub struct ForwardFuture<F, E> {
        #[pin]
        state: State<F, E>,
    }
}

pin_project! {
    #[project = Project]
    enum State<F, E> {
        Here {
            #[pin]
            answer: F,
            // When whoever sent it does not wait any longer.
            late: Option<Pin<Box<tokio::time::Sleep>>>,
            asked: Asked,
        },
        Away {
            answer: Pin<Box<dyn Future<Output = Result<Response<ForwardBody>, E>> + Send>>,
        },
        Said {
            reply: Option<Response<ForwardBody>>,
        },
    }
}

impl<F, E, R> Future for ForwardFuture<F, E>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Output = Result<Response<ForwardBody>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            Project::Here {
                answer,
                late,
                asked,
            } => {
                if let Poll::Ready(answer) = answer.poll(cx) {
                    return Poll::Ready(answer.map(handled));
                }
                match late {
                    Some(late) => ready!(late.as_mut().poll(cx)),
                    None => return Poll::Pending,
                }
                Poll::Ready(Ok(reply::failure(&too_late(), asked)))
            }
            Project::Away { answer } => answer.as_mut().poll(cx),
            Project::Said { reply } => match reply.take() {
                Some(reply) => Poll::Ready(Ok(reply)),
                // Polled again after it was ready.
                None => Poll::Pending,
            },
        }
    }
}

impl<F, E> std::fmt::Debug for ForwardFuture<F, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ForwardFuture").finish_non_exhaustive()
    }
}
