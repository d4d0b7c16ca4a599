//! One established connection: commands in, replies out, and an honest account of every failure.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use redis::ErrorKind;
use tokio::task::AbortHandle;
use tokio::time::timeout_at;

use super::aborted::{aborted, unwrapped};
use super::args::args;
use super::fault::Ended;
pub(crate) use super::fault::{Fault, LinkError};
use super::queue::{Answer, Ask, Purpose, Taking};
use super::wire::{Call, Keeper, Placed, Unanswered};
use crate::clock::{self, later, micros};
use crate::connection::meter::OpenConnection;
use crate::connection::reply::Reply;
use crate::connection::request::Request;
use crate::connection::wire::Wire;

/// An established, set-up connection and the task that drives it.
///
/// Dropping the link ends the task and closes the socket, replies outstanding or not.
#[derive(Debug)]
pub(crate) struct Link {
    wire: Arc<Wire>,
    driver: AbortHandle,
    created: Instant,
    /// The node's ejection count when the dial began: a link from before an ejection is stale.
    epoch: u64,
    /// How often the node's name had moved when the dial began: a link from before a move leads elsewhere.
    moves: u64,
    /// Counts this connection in the metrics while it lives.
    _open: Option<OpenConnection>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What ends a connection for whoever does not hold it.
#[derive(Clone, Debug)]
pub(crate) struct End(AbortHandle);

impl End {
    /// As [`Link::close`]; `wire` is the link's.
    pub(crate) fn end(&self, wire: &Wire) {
        wire.end(Ended::abandoned());
        self.0.abort();
    }
}

impl Link {
    pub(crate) fn end(&self) -> End {
        End(self.driver.clone())
    }

    pub(crate) fn new(wire: Arc<Wire>, driver: AbortHandle, epoch: u64) -> Self {
        Self {
            wire,
            driver,
            created: clock::now(),
            epoch,
            moves: 0,
            _open: None,
        }
    }

    pub(crate) fn counted(self, open: OpenConnection) -> Self {
        // `Link` has a destructor, so it cannot be taken apart and built anew.
        let mut link = self;
        link._open = Some(open);
        link
    }

    /// The name had moved so often when the dial began.
    pub(crate) fn after(self, moves: u64) -> Self {
        let mut link = self;
        link.moves = moves;
        link
    }

    pub(crate) fn moves(&self) -> u64 {
        self.moves
    }

    pub(crate) fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Ends the connection, whatever is outstanding on it and whoever else holds it.
    pub(crate) fn close(&self) {
        self.end().end(&self.wire);
    }

    /// Asks for a sign of life while nobody uses the connection; `false` when none comes in time. Whoever
    /// takes the connection meanwhile gets the reply behind it.
    pub(crate) async fn is_alive(&self, limit: Duration) -> bool {
        let ping = redis::cmd("PING");
        let now = clock::now();
        let request = Request::One(&ping);
        let deadline = Some(later(now, limit));
        let asked = send(&self.wire, now, request, deadline, Purpose::Question);
        asked.await.is_ok()
    }

    pub(crate) fn age(&self) -> Duration {
        clock::since(self.created)
    }

    /// Sends the request and waits for its reply, `timeout` at most (`None`: for ever).
    ///
    /// # Cancellation
    ///
    /// Safe: what was not written never is, and the replies to what was are counted and thrown away.
    pub(crate) async fn call(
        &self,
        request: Request<'_>,
        timeout: Option<Duration>,
    ) -> Result<Reply, LinkError> {
        self.call_from(clock::now(), request, timeout).await
    }

    /// [`call`](Self::call) by a caller who has just looked at the clock.
    pub(crate) fn call_from<'a>(
        &'a self,
        now: Instant,
        request: Request<'a>,
        timeout: Option<Duration>,
    ) -> impl Future<Output = Result<Reply, LinkError>> + 'a {
        // No `async fn`, whose future would hold all of this once more.
        let deadline = timeout.map(|limit| later(now, limit));
        send(&self.wire, now, request, deadline, Purpose::User)
    }
}

impl Keeper for Arc<Link> {
    fn wire(&self) -> &Wire {
        &self.wire
    }
}

/// A request on a link that it keeps, for whoever waits by hand.
pub(crate) struct Sent {
    placed: Placed<Arc<Link>>,
    was_idle: bool,
}

impl Sent {
    pub(crate) fn link(&self) -> &Arc<Link> {
        self.placed.keeper()
    }

    /// `request` is what was put.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        request: Request<'_>,
    ) -> Poll<Result<Reply, LinkError>> {
        let answer = Pin::new(&mut self.placed).poll(cx);
        let was_idle = self.was_idle;
        answer.map(|result| {
            let result = result.map(|answer| reply(own_answer(request, answer)));
            result.map_err(|no| link_error(no, was_idle))
        })
    }
}

impl Link {
    /// Puts a request on the link for the task at hand. `None` where that cannot be said in a word: the connection has
    /// ended, there is no room, or nothing to send; then nothing was, and [`call`](Self::call) says more.
    pub(crate) fn put(
        self: Arc<Self>,
        now: Instant,
        request: Request<'_>,
        timeout: Duration,
        cx: &mut Context<'_>,
    ) -> Option<Sent> {
        if without_words(request).is_some() {
            return None;
        }
        let began = micros(now);
        let was_idle = self.wire.idle_micros(began) > A_SECOND;
        let ask = Ask {
            deadline: Some(later(now, timeout)),
            purpose: Purpose::User,
            taking: taking(request),
        };
        let placed = Placed::put(self, began, request, ask, cx).ok()?;
        Some(Sent { placed, was_idle })
    }
}

/// In microseconds.
const A_SECOND: u64 = 1_000_000;

/// Sends a request on a connection and waits for its reply.
///
/// # Cancellation
///
/// As [`Link::call`].
pub(super) async fn send(
    wire: &Wire,
    now: Instant,
    request: Request<'_>,
    deadline: Option<Instant>,
    purpose: Purpose,
) -> Result<Reply, LinkError> {
    let began = micros(now);
    let was_idle = wire.idle_micros(began) > A_SECOND;
    if let Some(nothing) = without_words(request) {
        return nothing.ok_or_else(|| LinkError {
            fault: Fault::Misuse,
            unsent: true,
            was_idle,
            error: (ErrorKind::Client, "empty command").into(),
        });
    }
    let ask = || Ask {
        deadline,
        purpose,
        taking: taking(request),
    };
    let mut result = Call::new(wire, began, request, ask()).await;
    if is_full(&result) {
        result = Box::pin(when_there_is_room(wire, request, deadline, &ask)).await;
    }
    let result = result.map(|answer| reply(own_answer(request, answer)));
    result.map_err(|no| link_error(no, was_idle))
}

/// The answer to the caller's own; what was said to ours behind it is left for whoever sent them.
#[inline]
fn own_answer(request: Request<'_>, answer: Answer) -> Answer {
    let Answer::Followed(both) = answer else {
        return answer;
    };
    let (answer, said) = both.into_parts();
    if let Request::Followed(both) = request {
        both.answered(said);
    }
    answer
}

fn reply(answer: Answer) -> Reply {
    match answer {
        Answer::One(value) => Reply::One(value),
        Answer::Many(values) => Reply::Many(values),
        // An answer like any other.
        Answer::Aborted(refusals) => Reply::Aborted(aborted(&refusals)),
        Answer::Unwrapped(refusal) => Reply::Aborted(unwrapped(&refusal)),
        // It was taken apart.
        Answer::Followed(_) => Reply::Many(Vec::new()),
    }
}

#[cold]
fn link_error(no: Unanswered, was_idle: bool) -> LinkError {
    let Unanswered {
        fault,
        unsent,
        error,
    } = no;
    let error = error.unwrap_or_else(|| {
        let text = match fault {
            Fault::Saturated => "too much waits to be written on the connection",
            _ => "no reply in time",
        };
        io::Error::new(io::ErrorKind::TimedOut, text).into()
    });
    LinkError {
        fault,
        unsent,
        was_idle,
        error,
    }
}

/// Tries again whenever something was written, until the deadline.
async fn when_there_is_room(
    wire: &Wire,
    request: Request<'_>,
    deadline: Option<Instant>,
    ask: &(dyn Fn() -> Ask + Sync),
) -> Result<Answer, Unanswered> {
    loop {
        let mut room = std::pin::pin!(wire.room());
        // Before the look: else what is written in between is missed.
        room.as_mut().enable();
        let result = Call::new(wire, micros(clock::now()), request, ask()).await;
        if !is_full(&result) {
            return result;
        }
        match deadline {
            None => room.await,
            Some(at) => {
                if timeout_at(at.into(), room).await.is_err() {
                    return result;
                }
            }
        }
    }
}

fn is_full(result: &Result<Answer, Unanswered>) -> bool {
    matches!(result, Err(no) if no.fault == Fault::Saturated)
}

/// What has no bytes is not sent: nothing would answer it. `Some(None)` for what must not be, and the answer to a
/// pipeline with nothing in it.
#[allow(clippy::option_option, reason = "two questions, asked at once")]
fn without_words(request: Request<'_>) -> Option<Option<Reply>> {
    match request {
        Request::One(cmd) if args(cmd).len() == 0 => Some(None),
        Request::Many(pipeline) if pipeline.is_empty() && !pipeline.is_transaction() => {
            Some(Some(Reply::Many(Vec::new())))
        }
        _ => None,
    }
}

/// The replies that a request has.
fn taking(request: Request<'_>) -> Taking {
    match request {
        Request::One(cmd) if subscribes(cmd) => Taking::Confirmation,
        Request::One(_) => Taking::One,
        Request::Many(pipeline) => Taking::many(pipeline.len(), pipeline.is_transaction()),
        Request::Followed(both) => Taking::followed(taking(both.own()), both.behind().len()),
    }
}

/// Whether its reply comes as a push, in RESP3.
fn subscribes(cmd: &redis::Cmd) -> bool {
    let name = args(cmd).next().unwrap_or_default();
    // Nearly all are told apart by their length.
    (9..=12).contains(&name.len())
        && [
            "SUBSCRIBE",
            "PSUBSCRIBE",
            "SSUBSCRIBE",
            "UNSUBSCRIBE",
            "PUNSUBSCRIBE",
            "SUNSUBSCRIBE",
        ]
        .iter()
        .any(|other| name.eq_ignore_ascii_case(other.as_bytes()))
}
