//! A call on its way to a node.
//!
//! Nearly all of them find a lane, are put on it and answered: that way is a future by hand, as small as it can be,
//! since each call moves it and redis-rs's trait wants it in a box. Whatever else may come (a dial, another
//! connection, a node that is out, another runtime) is for few, who pay for a box of their own.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::{Backend, RESENDS};
use crate::backend::gate::Pass;
use crate::backend::lane::{Cause, outcome};
use crate::clock;
use crate::connection::link::{Fault, Link, LinkError, Sent};
use crate::connection::reply::Reply;
use crate::connection::request::LaneRequest;
use crate::error::Error;
use crate::health::verdict::ConnectionAction;
use crate::tasks::{give_way, runtime_here};

/// How long a failed call waits for the dial that tells whether its node is gone, so that the
/// caller's next try already meets the stand-in.
const VERIFY_WAIT: Duration = Duration::from_millis(5);

type Slow<'a> = Pin<Box<dyn Future<Output = Result<Reply, Error>> + Send + 'a>>;

/// A request to a node, from its first poll to its reply.
///
/// # Cancellation
///
/// Safe. What was not written yet never is; what was may still be executed.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Calling<'a> {
    backend: &'a Arc<Backend>,
    began: Instant,
    request: LaneRequest<'a>,
    deadline: Instant,
    state: State<'a>,
}

enum State<'a> {
    New,
    /// On the lane that there was.
    Sent(Sent, Pass),
    Slow(Slow<'a>),
}

/// A try on the lane that failed.
struct Failed {
    link: Arc<Link>,
    error: LinkError,
    epoch: u64,
    sent_at: Instant,
}

impl<'a> Calling<'a> {
    /// Of a caller who has just looked at the clock.
    pub(super) fn new(
        backend: &'a Arc<Backend>,
        began: Instant,
        request: LaneRequest<'a>,
        deadline: Instant,
    ) -> Self {
        Self {
            backend,
            began,
            request,
            deadline,
            state: State::New,
        }
    }

    /// The same call by another way.
    pub(super) fn by(self, slow: Slow<'a>) -> Self {
        Self {
            state: State::Slow(slow),
            ..self
        }
    }

    pub(crate) fn backend(&self) -> &'a Arc<Backend> {
        self.backend
    }

    pub(crate) fn request(&self) -> LaneRequest<'a> {
        self.request
    }

    /// Puts the request on the lane, where nothing speaks against it.
    fn put(&self, cx: &mut Context<'_>) -> Option<(Sent, Pass)> {
        let backend = self.backend;
        let tasks = &backend.dialer.tasks;
        if tasks.is_placed() || runtime_here().is_none() {
            return None;
        }
        if tasks.pulse().is_overdue(self.began) {
            backend.observer.dialling();
        }
        let pass = backend.pass(self.request)?;
        let link = backend.lane.get()?;
        let limit = backend.limit(self.began, self.deadline)?;
        let sent = link.put(self.began, self.request.request(), limit, cx)?;
        backend.stats.sending();
        Some((sent, pass))
    }

    #[cold]
    fn go_slowly(&mut self, before: Option<Failed>) {
        let (began, request, deadline) = (self.began, self.request, self.deadline);
        let slow = self.backend.call_slowly(began, request, deadline, before);
        self.state = State::Slow(Box::pin(slow));
    }
}

impl Future for Calling<'_> {
    type Output = Result<Reply, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let me = &mut *self;
        loop {
            match &mut me.state {
                State::New => match me.put(cx) {
                    Some((sent, pass)) => {
                        me.state = State::Sent(sent, pass);
                        return Poll::Pending;
                    }
                    None => me.go_slowly(None),
                },
                State::Sent(sent, pass) => {
                    let epoch = pass.epoch();
                    let error = match ready!(sent.poll(cx, me.request.request())) {
                        Ok(reply) => {
                            let (link, began) = (sent.link(), me.began);
                            me.backend.heard(link, &reply, epoch, began, began);
                            return Poll::Ready(Ok(reply));
                        }
                        Err(error) => error,
                    };
                    let failed = Failed {
                        link: Arc::clone(sent.link()),
                        error,
                        epoch,
                        sent_at: me.began,
                    };
                    me.go_slowly(Some(failed));
                }
                State::Slow(slow) => return slow.as_mut().poll(cx),
            }
        }
    }
}

impl Backend {
    /// Puts the request on the lane and waits for the reply.
    ///
    /// A command whose connection died before it was written gets another connection; any other failure is
    /// returned with what is known.
    ///
    /// # Cancellation
    ///
    /// Safe. What was not written yet never is; what was may still be executed.
    pub(crate) async fn call(
        self: &Arc<Self>,
        request: LaneRequest<'_>,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        self.call_from(clock::now(), request, deadline).await
    }

    /// [`call`](Self::call) by a caller who has just looked at the clock: on the way of a command that
    /// is answered at once, reading it again and again was the largest cost of our own.
    pub(crate) fn call_from<'a>(
        self: &'a Arc<Self>,
        began: Instant,
        request: LaneRequest<'a>,
        deadline: Instant,
    ) -> Calling<'a> {
        Calling::new(self, began, request, deadline)
    }

    /// [`call_from`](Self::call_from) for all whom the lane does not answer at once: also for one whose first try
    /// has `failed`.
    async fn call_slowly(
        self: &Arc<Self>,
        began: Instant,
        request: LaneRequest<'_>,
        deadline: Instant,
        failed: Option<Failed>,
    ) -> Result<Reply, Error> {
        let tasks = &self.dialer.tasks;
        if !tasks.has_runtime() {
            return Err(self.no_runtime());
        }
        let inside = self.call_inside(began, request, deadline, failed);
        tasks.enter(inside).await
    }

    async fn call_inside(
        self: &Arc<Self>,
        began: Instant,
        request: LaneRequest<'_>,
        deadline: Instant,
        mut failed: Option<Failed>,
    ) -> Result<Reply, Error> {
        if self.dialer.tasks.pulse().is_overdue(began) {
            self.observer.dialling();
        }
        let mut now = began;
        let mut resends = 0;
        loop {
            let failure = match failed.take() {
                Some(failed) => failed,
                None => {
                    let Some(pass) = self.pass(request) else {
                        give_way().await;
                        return Err(self.refuse(self.gate.read().is_closed()));
                    };
                    let link = match self.lane.get() {
                        Some(link) => link,
                        None => {
                            let link = self.new_lane(deadline).await?;
                            now = clock::now();
                            link
                        }
                    };
                    let Some(limit) = self.limit(now, deadline) else {
                        give_way().await;
                        return Err(self.too_late());
                    };
                    self.stats.sending();
                    match link.call_from(now, request.request(), Some(limit)).await {
                        Ok(reply) => {
                            self.heard(&link, &reply, pass.epoch(), now, began);
                            return Ok(reply);
                        }
                        Err(error) => Failed {
                            link,
                            error,
                            epoch: pass.epoch(),
                            sent_at: now,
                        },
                    }
                }
            };
            let limit = self.limit(failure.sent_at, deadline).unwrap_or_default();
            // What the caller's own deadline cut short says nothing about the node.
            let cut_short = limit < self.limits.response_timeout;
            if cut_short && failure.error.fault == Fault::Timeout {
                return Err(self.call_error(failure.error, limit));
            }
            let again = self.failed(&failure, deadline).await;
            if again && resends < RESENDS {
                resends += 1;
                now = clock::now();
                continue;
            }
            return Err(self.call_error(failure.error, limit));
        }
    }

    /// Whether the request may pass now, and as of which gate.
    #[inline]
    fn pass(&self, request: LaneRequest<'_>) -> Option<Pass> {
        let pass = self.gate.read();
        (pass.admits() || (request.settles() && pass.settles())).then_some(pass)
    }

    /// How long a try that begins now may take; `None` when it is too late.
    #[inline]
    fn limit(&self, now: Instant, deadline: Instant) -> Option<Duration> {
        let left = deadline.saturating_duration_since(now);
        (!left.is_zero()).then(|| self.limits.response_timeout.min(left))
    }

    /// A reply came on the lane.
    #[inline]
    fn heard(
        self: &Arc<Self>,
        link: &Arc<Link>,
        reply: &Reply,
        epoch: u64,
        sent_at: Instant,
        began: Instant,
    ) {
        let action = self.answered(reply, epoch, sent_at, Some(began));
        if action == ConnectionAction::Discard {
            // It was logged in, and is not any more: a dial tells whether a new one may be.
            self.lane.retire(link);
            let _ = self.dial_lane(Cause::LoggedOut);
        }
    }

    /// A call failed on `link`: takes it out of use, reports, starts the dial that tells more.
    /// Returns whether the command may be put on another connection of this node.
    async fn failed(self: &Arc<Self>, failure: &Failed, deadline: Instant) -> bool {
        let Failed {
            link,
            error: e,
            epoch,
            sent_at,
        } = failure;
        let (epoch, sent_at) = (*epoch, *sent_at);
        let seen = self.call_observation(e, sent_at);
        if e.fault == Fault::Timeout && e.was_idle {
            self.suspect_idle(sent_at);
        }
        match e.fault {
            Fault::Misuse | Fault::Saturated => return false,
            Fault::Timeout => {
                self.gives_no_answer(link, epoch, seen);
                return false;
            }
            Fault::Lost | Fault::Garbage | Fault::Stray | Fault::Flood => {}
        }
        self.lane.retire(link);
        if let Some(pool) = self.pool.get() {
            pool.discard_dead();
        }
        self.report(epoch, seen);
        if e.unsent {
            // Who may pass is looked at again, with the next try.
            return self.gate.read().settles();
        }
        if let Ok(dial) = self.dial_lane(Cause::NoLane) {
            let limit = VERIFY_WAIT.min(deadline.saturating_duration_since(clock::now()));
            // Only its effect on the node's state matters here, and that it had its time.
            let _ = timeout(limit, outcome(dial)).await;
        }
        false
    }
}
