//! Connections to the other instances, which are kept and shared.
//!
//! HTTP/1.1 has one request at a time on a connection, HTTP/2 all of them on one. Over hyper's own connections rather
//! than a client for the whole web: the target and the host of a request stay what they were, whoever cannot be reached is
//! told from whoever broke off, and what was never sent comes back to be sent elsewhere.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::base::Base;
use super::body::ForwardBody;
use super::dial::{Secure, dial};
use super::error::BoxError;
use super::peers::Peers;
use crate::clock;
use crate::tasks::Tasks;

/// Idle connections that one instance may have for a while, after a burst.
const MOST_IDLE: usize = 128;
/// And for longer.
const FEW_IDLE: usize = 2;
/// The while.
const BURST: Duration = Duration::from_secs(5);
/// How long the few are kept.
const IDLE: Duration = Duration::from_secs(60);
/// How long a connection whose answer was read to its end may take for the next request.
const SETTLED: Duration = Duration::from_millis(50);
/// How often those that are idle are looked at.
const SWEEP: Duration = Duration::from_millis(500);
/// An HTTP/2 connection that is waited on is asked this often whether it is alive, and has as long to say so.
const PING: Duration = Duration::from_secs(5);

type One = http1::SendRequest<ForwardBody>;
type Two = http2::SendRequest<ForwardBody>;

/// What became of a request that was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The other side's kernel says that nobody listens there.
    Refused,
    /// No connection for another reason.
    Unreachable,
    /// It was not looked at.
    NotProcessed,
    /// It may have been handled.
    Broken,
}

impl What {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::NotProcessed => "not_processed",
            Self::Broken => "broken",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) what: What,
    pub(crate) cause: BoxError,
}

/// The connections to all instances.
pub(crate) struct Pools {
    secure: Secure,
    connect: Duration,
    /// By base; guards the map alone.
    all: Mutex<HashMap<Arc<str>, Arc<Pool>>>,
    /// The task that closes what is idle.
    tasks: Tasks,
    /// Whether it was started.
    is_swept: Mutex<bool>,
}

/// The connections to one.
pub(crate) struct Pool {
    base: Base,
    /// Idle connections, the last used one at the end.
    idle: Mutex<Vec<(One, Instant)>>,
    two: Mutex<Option<Connecting>>,
}

/// One connection for all, also while it is being made.
type Connecting = Shared<BoxFuture<'static, Result<Two, Arc<io::Error>>>>;

impl Pools {
    pub(crate) fn new(secure: Secure, connect: Duration) -> Self {
        Self {
            secure,
            connect,
            all: Mutex::default(),
            tasks: Tasks::new(None),
            is_swept: Mutex::new(false),
        }
    }

    /// The connections to whoever takes requests there; `None` when nothing can be sent there at all.
    pub(crate) fn to(&self, base: &Arc<str>) -> Option<Arc<Pool>> {
        let mut all = self.all.lock();
        if let Some(pool) = all.get(base) {
            return Some(Arc::clone(pool));
        }
        let parsed = Base::parse(base).filter(|base| self.secure.can_reach(base))?;
        let pool = Arc::new(Pool {
            base: parsed,
            idle: Mutex::default(),
            two: Mutex::default(),
        });
        all.insert(Arc::clone(base), Arc::clone(&pool));
        Some(pool)
    }

    /// Sends a request to an instance, by HTTP/2 if it came by that. It is taken from where it stands: a request is large,
    /// and a future that is handed one has room for it twice.
    pub(crate) async fn send(
        &self,
        pool: &Arc<Pool>,
        request: &mut Option<Request<ForwardBody>>,
    ) -> Result<(Response<Incoming>, Option<Lease>), Failure> {
        match request.as_ref().map(Request::version) {
            // It is rarely wanted, and much larger than the other one.
            Some(Version::HTTP_2) => Box::pin(self.send_two(pool, request))
                .await
                .map(|answer| (answer, None)),
            _ => self.send_one(pool, request).await,
        }
    }

    async fn send_one(
        &self,
        pool: &Arc<Pool>,
        request: &mut Option<Request<ForwardBody>>,
    ) -> Result<(Response<Incoming>, Option<Lease>), Failure> {
        loop {
            let idle = pool.idle.lock().pop();
            let is_new = idle.is_none();
            let mut sender = match idle {
                Some((sender, _)) if sender.is_ready() => sender,
                // It was closed meanwhile, or is still sending the body of a request that was answered before.
                Some((mut sender, _)) => match Box::pin(timeout(SETTLED, sender.ready())).await {
                    Ok(Ok(())) => sender,
                    Ok(Err(_)) | Err(_) => continue,
                },
                None => Box::pin(self.connect_one(pool)).await?,
            };
            let Some(mut sent) = request.take() else {
                return Err(nothing_left());
            };
            *sent.version_mut() = Version::HTTP_11;
            match sender.try_send_request(sent).await {
                Ok(answer) => {
                    let pool = Arc::downgrade(pool);
                    return Ok((answer, Some(Lease { sender, pool })));
                }
                Err(mut e) => match e.take_message() {
                    // The other side had closed it: nothing was sent.
                    Some(back) if !is_new => *request = Some(back),
                    back => return Err(failed(e, back.is_some())),
                },
            }
        }
    }

    async fn connect_one(&self, pool: &Pool) -> Result<One, Failure> {
        let socket = dial(&pool.base, &self.secure, false, self.connect).await;
        let socket = socket.map_err(unreachable)?;
        let (sender, connection) = http1::handshake(socket).await.map_err(|e| Failure {
            what: What::Unreachable,
            cause: e.into(),
        })?;
        // It ends with its sender, and its errors are those of its requests.
        drop(tokio::spawn(connection.map(drop)));
        Ok(sender)
    }

    async fn send_two(
        &self,
        pool: &Pool,
        request: &mut Option<Request<ForwardBody>>,
    ) -> Result<Response<Incoming>, Failure> {
        loop {
            let (mut sender, is_new) = self.two(pool).await.map_err(|e| unreachable(again(&e)))?;
            if sender.ready().await.is_err() {
                pool.forget_two();
                if is_new {
                    return Err(Failure {
                        what: What::NotProcessed,
                        cause: "the connection was closed at once".into(),
                    });
                }
                continue;
            }
            let Some(mut sent) = request.take() else {
                return Err(nothing_left());
            };
            absolute(&mut sent);
            match sender.try_send_request(sent).await {
                Ok(answer) => return Ok(answer),
                Err(mut e) => match e.take_message() {
                    Some(back) if !is_new => {
                        pool.forget_two();
                        *request = Some(back);
                    }
                    back => return Err(failed(e, back.is_some())),
                },
            }
        }
    }

    /// The shared connection, and whether it was made for us.
    async fn two(&self, pool: &Pool) -> Result<(Two, bool), Arc<io::Error>> {
        let (connecting, is_new) = {
            let mut two = pool.two.lock();
            match &*two {
                Some(there) if is_usable(there) => (there.clone(), false),
                _ => {
                    let making = self.making_two(pool.base.clone());
                    *two = Some(making.clone());
                    (making, true)
                }
            }
        };
        connecting.await.map(|sender| (sender, is_new))
    }

    fn making_two(&self, base: Base) -> Connecting {
        let (secure, limit) = (self.secure.clone(), self.connect);
        let make = async move {
            let socket = dial(&base, &secure, true, limit).await?;
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .keep_alive_interval(PING)
                .keep_alive_timeout(PING)
                .adaptive_window(true);
            let (sender, connection) = builder.handshake(socket).await.map_err(io::Error::other)?;
            // It ends with its last sender, and its errors are those of its requests.
            drop(tokio::spawn(connection.map(drop)));
            Ok(sender)
        };
        make.map(|made| made.map_err(Arc::new)).boxed().shared()
    }

    /// Closes what is idle for long, or leads to somebody who is not there any more.
    fn sweep(&self, is_there: impl Fn(&str) -> bool, now: Instant) {
        // Closed after the lock.
        let mut gone = Vec::new();
        self.all.lock().retain(|base, pool| {
            let stays = is_there(base);
            if !stays {
                gone.push(Arc::clone(pool));
            }
            stays
        });
        let pools: Vec<_> = self.all.lock().values().cloned().collect();
        for pool in pools {
            pool.sweep(now);
        }
        for pool in gone {
            pool.idle.lock().clear();
            pool.forget_two();
        }
    }

    /// Starts the task that sweeps, once; it ends with the last handle.
    pub(crate) fn keep_swept(self: &Arc<Self>, peers: &Arc<dyn Peers>) {
        let mut is_swept = self.is_swept.lock();
        if *is_swept && self.tasks.count() > 0 {
            return;
        }
        let (pools, peers) = (Arc::downgrade(self), Arc::downgrade(peers));
        let sweep = async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                let (Some(pools), Some(peers)) = (Weak::upgrade(&pools), Weak::upgrade(&peers))
                else {
                    return;
                };
                pools.sweep(|base| peers.is_there(base), clock::now());
            }
        };
        // Without a runtime there are no connections either.
        *is_swept = self.tasks.spawn(sweep).is_ok();
    }
}

impl Drop for Pools {
    fn drop(&mut self) {
        drop(self.tasks.close());
    }
}

impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all.lock().keys()).finish()
    }
}

impl Pool {
    fn sweep(&self, now: Instant) {
        let mut idle = self.idle.lock();
        let few = idle.len().saturating_sub(FEW_IDLE);
        let mut place = 0;
        // The longest idle ones stand first.
        idle.retain(|(sender, since)| {
            let lasted = now.saturating_duration_since(*since);
            let limit = if place < few { BURST } else { IDLE };
            place += 1;
            lasted < limit && !sender.is_closed()
        });
        drop(idle);
        let mut two = self.two.lock();
        if two.as_ref().is_some_and(|there| !is_usable(there)) {
            *two = None;
        }
    }

    fn forget_two(&self) {
        *self.two.lock() = None;
    }
}

/// Whether it is being made, or is there and open.
fn is_usable(connecting: &Connecting) -> bool {
    match connecting.peek() {
        Some(Ok(sender)) => !sender.is_closed(),
        Some(Err(_)) => false,
        None => true,
    }
}

/// HTTP/2 wants an authority in the target; a client may have said it as `Host` alone.
fn absolute(request: &mut Request<ForwardBody>) {
    if request.uri().authority().is_some() {
        return;
    }
    let host = request.headers().get(http::header::HOST);
    let host = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let mut parts = request.uri().clone().into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(host.unwrap_or_else(|| Authority::from_static("fluster")));
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

/// A connection that an answer is being read from.
pub(crate) struct Lease {
    sender: One,
    pool: Weak<Pool>,
}

impl Lease {
    /// The answer is read to its end.
    pub(crate) fn give_back(self) {
        if self.sender.is_closed() {
            return;
        }
        if let Some(pool) = self.pool.upgrade() {
            let mut idle = pool.idle.lock();
            if idle.len() < MOST_IDLE {
                idle.push((self.sender, clock::now()));
            }
        }
    }
}

/// Nobody hands on what is not there.
fn nothing_left() -> Failure {
    Failure {
        what: What::NotProcessed,
        cause: "there is no request any more".into(),
    }
}

fn unreachable(e: io::Error) -> Failure {
    let what = match e.kind() {
        io::ErrorKind::ConnectionRefused => What::Refused,
        _ => What::Unreachable,
    };
    Failure {
        what,
        cause: e.into(),
    }
}

/// The same error for somebody else.
fn again(e: &io::Error) -> io::Error {
    io::Error::new(e.kind(), e.to_string())
}

fn failed<T>(e: TrySendError<T>, came_back: bool) -> Failure {
    let e = e.into_error();
    let what = match came_back || was_not_looked_at(&e) {
        true => What::NotProcessed,
        false => What::Broken,
    };
    Failure {
        what,
        cause: e.into(),
    }
}

/// Whether the other side says by HTTP/2 that it did not look at the request: it refused the stream, or goes away and the
/// stream came after the last one that it took.
fn was_not_looked_at(e: &hyper::Error) -> bool {
    let mut cause = std::error::Error::source(e);
    while let Some(error) = cause {
        if let Some(e) = error.downcast_ref::<h2::Error>() {
            let refused = e.is_reset() && e.reason() == Some(h2::Reason::REFUSED_STREAM);
            return e.is_remote() && (refused || e.is_go_away());
        }
        cause = error.source();
    }
    false
}
