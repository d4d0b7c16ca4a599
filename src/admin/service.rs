//! From a request to its answer.

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::timeout;
use tower_service::Service;

use super::access::Head;
use super::answer::{self, AdminBody};
use super::inner::Inner;
use super::refusal::Refusal;
use super::report::Report;
use super::route::Route;
use super::{act, ask, reader};

/// How long a body may take to come, and a connection on the port of its own altogether.
pub(super) const LIMIT: Duration = Duration::from_secs(10);
/// What a body may have: the longest key that is looked at.
const LARGEST: usize = 64 << 10;

/// The page and its answers, as a service of tower; made by [`AdminBuilder::service`](super::AdminBuilder::service).
///
/// Paths are those that are left of it where it is mounted: `/`, `/status`, and so on.
#[derive(Clone)]
pub struct AdminService {
    inner: Arc<Inner>,
    local: Option<IpAddr>,
}

impl AdminService {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self { inner, local: None }
    }

    /// The same, for a connection whose end here has this address.
    pub(super) fn at(inner: Arc<Inner>, local: Option<IpAddr>) -> Self {
        Self { inner, local }
    }
}

impl fmt::Debug for AdminService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminService").finish_non_exhaustive()
    }
}

impl<B> Service<Request<B>> for AdminService
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<AdminBody>;
    type Error = Infallible;
    type Future = AdminFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> AdminFuture {
        let (inner, local) = (Arc::clone(&self.inner), self.local);
        let answer = async move {
            let (head, body) = request.into_parts();
            let answered = answered(&inner, &head, local, body).await;
            inner.knocks.heard(answered.as_ref().err().copied());
            answered.unwrap_or_else(answer::refused)
        };
        AdminFuture(Box::pin(answer))
    }
}

/// An answer of an [`AdminService`] that is being made.
#[must_use = "futures do nothing unless polled"]
pub struct AdminFuture(Pin<Box<dyn Future<Output = Response<AdminBody>> + Send>>);

impl Future for AdminFuture {
    type Output = Result<Response<AdminBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx).map(Ok)
    }
}

impl fmt::Debug for AdminFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminFuture").finish_non_exhaustive()
    }
}

async fn answered<B>(
    inner: &Arc<Inner>,
    head: &Parts,
    local: Option<IpAddr>,
    body: B,
) -> Result<Response<AdminBody>, Refusal>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // Before a byte of the body is waited for.
    let route = inner.access.judge(Head {
        method: &head.method,
        uri: &head.uri,
        headers: &head.headers,
        local,
    })?;
    if inner.is_closed() {
        return Err(Refusal::Closed);
    }
    Ok(match route {
        Route::Page => answer::page(),
        Route::Status => answer::json(&Report::make(inner).await),
        Route::Events => answer::events(reader::read(inner)?),
        Route::Explain => {
            let key = match head.method == Method::POST {
                true => ask::key_in(&whole(body).await?)?,
                false => ask::key_of(head.uri.query())?,
            };
            answer::json(&inner.engine().explain(&key))
        }
        Route::Act(action) => {
            let node = ask::node_in(&whole(body).await?)?;
            answer::json(&act::act(inner, action, &node)?)
        }
    })
}

async fn whole<B>(body: B) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match timeout(LIMIT, Limited::new(body, LARGEST).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => Err(Refusal::TooLarge),
        // It broke off, and nobody will read this either.
        Ok(Err(_)) | Err(_) => Err(Refusal::TooSlow),
    }
}
