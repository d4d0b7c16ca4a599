//! The server of calls, for applications that have none of their own.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{timeout, timeout_at};

use super::body::ForwardBody;
use super::call::{Handler, PATH};
use super::envelope;
use super::error::{BoxError, ForwardErrorKind};
use super::forwarder::{Forwarder, Verdict};
use super::headers;
use super::layer::too_late;
use super::reply;
use crate::clock;
use crate::error::text::one_line;

/// After an error of the listener, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);
/// A connection that is silent for so long, when asked, is closed.
const PING: Duration = Duration::from_secs(20);

/// Answers the calls of other instances, and this one's own, by `handler`: payload and keys give an answer. It ends when
/// it is dropped, and its connections and handlers with it.
///
/// The listener is at the base that this instance says. Where the instances have keys, it answers nobody else: 403.
///
/// ```no_run
/// use fluster::forward::{Forwarder, serve};
///
/// # async fn run(gossip: fluster::gossip::Gossip) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let forward = Forwarder::new(&gossip)?;
/// let listener = tokio::net::TcpListener::bind("10.0.0.1:8080").await?;
/// tokio::spawn(serve(listener, forward.clone(), |payload, _keys| async move { Ok(payload) }));
/// let echo = forward.call(b"user:42", "hello".into()).await?;
/// # Ok(()) }
/// ```
///
/// # Cancellation
///
/// That is how it ends.
pub async fn serve<H, F>(listener: TcpListener, forward: Forwarder, handler: H)
where
    H: Fn(Bytes, Vec<Vec<u8>>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Bytes, BoxError>> + Send + 'static,
{
    let handler = Arc::new(Handler::new(handler));
    forward.inner.handler.store(Some(Arc::clone(&handler)));
    let _serving = Serving(forward.clone(), Arc::clone(&handler));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(talk(stream, forward.clone(), Arc::clone(&handler)));
                }
                Err(e) => {
                    tracing::debug!(error = %e, "a connection could not be taken");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            // So that those that have ended are not kept.
            Some(_) = connections.join_next() => {}
        }
    }
}

/// While this is there, calls to oneself have a handler.
struct Serving(Forwarder, Arc<Handler>);

impl Drop for Serving {
    fn drop(&mut self) {
        let handler = &self.0.inner.handler;
        // Another one may have taken its place.
        if handler
            .load()
            .as_ref()
            .is_some_and(|now| Arc::ptr_eq(now, &self.1))
        {
            handler.store(None);
        }
    }
}

async fn talk(stream: TcpStream, forward: Forwarder, handler: Arc<Handler>) {
    // Small answers must not wait for more; a stream without it is slower, no worse.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let (forward, handler) = (forward.clone(), Arc::clone(&handler));
        async move { Ok::<_, Infallible>(answer(&forward, &handler, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING);
    let talking = builder.serve_connection(TokioIo::new(stream), service);
    if let Err(e) = talking.await {
        tracing::debug!(error = %e, "a connection of calls broke");
    }
}

async fn answer(
    forward: &Forwarder,
    handler: &Handler,
    request: Request<Incoming>,
) -> Response<ForwardBody> {
    let inner = &*forward.inner;
    let (mut parts, body) = request.into_parts();
    let taken = headers::take(&mut parts.headers);
    if parts.method != Method::POST || parts.uri.path() != PATH {
        return plain(StatusCode::NOT_FOUND, "there is nothing here");
    }
    let limit = inner.setup.call_limit;
    let whole = timeout(inner.setup.deadline, Limited::new(body, limit).collect()).await;
    let body = match whole {
        Ok(Ok(whole)) => whole.to_bytes(),
        Ok(Err(e)) if e.is::<LengthLimitError>() => {
            return plain(StatusCode::PAYLOAD_TOO_LARGE, "the payload is too large");
        }
        Ok(Err(_)) | Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "it did not come whole"),
    };
    let Some((keys, payload)) = envelope::unpack(body) else {
        return plain(StatusCode::BAD_REQUEST, "that is no call");
    };
    let slices: Vec<_> = keys.iter().map(Vec::as_slice).collect();
    let is_keyed = inner.peers.keyring().is_some();
    match inner.judge(&parts, &slices, taken) {
        Verdict::Handle { is_sent, by } if is_sent || !is_keyed => {
            inner.meter.request("local");
            let limit = by.unwrap_or_else(|| clock::later(clock::now(), inner.setup.deadline));
            match timeout_at(limit.into(), handler.answer(payload, keys)).await {
                Ok(Ok(answer)) => Response::new(answer.into()),
                Ok(Err(e)) => plain(StatusCode::INTERNAL_SERVER_ERROR, &e.to_string()),
                Err(_) => too_late().into(),
            }
        }
        Verdict::Refuse(reason, owner) => {
            inner.meter.request("refused");
            reply::refusal(reason, owner.as_ref())
        }
        // Whoever is none of the instances has nothing to ask here.
        _ if is_keyed => plain(StatusCode::FORBIDDEN, "that mark is none of ours"),
        Verdict::Fail(error) => error.into(),
        verdict @ (Verdict::Handle { .. } | Verdict::Forward { .. }) => {
            if slices.len() != 1 {
                return plain(StatusCode::MISDIRECTED_REQUEST, "one key, or its owner");
            }
            let hops = match verdict {
                Verdict::Forward { hops, .. } => hops,
                _ => 0,
            };
            match forward.called(&slices, payload, None, hops).await {
                Ok(answer) => Response::new(answer.into()),
                Err(e) if e.kind() == ForwardErrorKind::Failed => {
                    plain(StatusCode::INTERNAL_SERVER_ERROR, &e.to_string())
                }
                Err(e) => e.into(),
            }
        }
    }
}

fn plain(status: StatusCode, why: &str) -> Response<ForwardBody> {
    let mut reply = Response::new(ForwardBody::from(one_line(why)));
    *reply.status_mut() = status;
    reply
}
