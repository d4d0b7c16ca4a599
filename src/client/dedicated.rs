//! An exclusive connection, as the application holds it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::aio::ConnectionLike;
use redis::{Cmd, Pipeline, RedisFuture, RedisResult, Value};

use crate::backend::aside::Aside;
use crate::backend::pool::{Exclusive, Loan};
use crate::backend::session::SessionState;
use crate::backend::{Backend, RESENDS};
use crate::clock;
use crate::command::Block;
use crate::connection::args::args;
use crate::connection::link::Fault;
use crate::connection::reply::{Reply, signed};
use crate::connection::request::{Exclusively, Request, refused};
use crate::health::verdict::ConnectionAction;
use crate::node::NodeId;
use crate::tasks::{NO_RUNTIME, give_way};

/// An exclusive connection to one node; it goes back to the node's pool when dropped.
///
/// Everything that needs a connection of its own works here: `MULTI`, `WATCH`, `SELECT`, blocking
/// commands. A connection that comes back with something left behind (an open transaction, another
/// database, a reply outstanding) is closed instead of given to the next user. Blocking commands get
/// their own time plus the response time-out.
///
/// It stays with its node. A worker that keeps one to a stand-in hears nothing of the owner's return: take it again, by
/// [`get_client`](crate::FlusterCluster::get_client), for each job.
///
/// `SUBSCRIBE`, `MONITOR` and `CLIENT REPLY` are refused also here: they end the pairing of commands and
/// replies. It is neither `Clone` nor shared: a clone would outlive the return.
///
/// # Cancellation
///
/// Dropping a call is safe, and costs the connection, which is closed when this is dropped. The command may still be
/// executed; what a cancelled `BLPOP` pops before the server sees the close is lost, so use `BLMOVE` or streams.
///
/// ```no_run
/// # async fn run(cluster: fluster::FlusterCluster) -> redis::RedisResult<()> {
/// let mut own = cluster.get_client("jobs")?.dedicated().await?;
/// let job: Option<String> = redis::cmd("BLMOVE")
///     .arg(&["jobs", "processing", "LEFT", "RIGHT", "2"])
///     .query_async(&mut own)
///     .await?;
/// # Ok(()) }
/// ```
#[doc(alias = "pool")]
#[doc(alias = "connection")]
pub struct DedicatedClient {
    pub(super) loan: Loan,
    pub(super) backend: Arc<Backend>,
    pub(super) response_timeout: Duration,
    /// The end of the call that it was lent for.
    pub(super) deadline: Option<Instant>,
    /// Others should have what is written here.
    pub(super) stands_in: bool,
    /// Keys that an open transaction writes, where that is noted.
    pub(super) queued: Vec<Vec<u8>>,
}

impl DedicatedClient {
    /// The node that this connection leads to. [Example](crate::guide::by_example#an-exclusive-connection).
    #[must_use]
    pub fn node(&self) -> &NodeId {
        self.backend.id()
    }

    /// How long commands on this connection may wait for their reply; blocking commands get their own
    /// time on top. Default: the cluster's response time-out, 500 ms. [Example](crate::guide::by_example#an-exclusive-connection).
    pub fn set_response_timeout(&mut self, timeout: Duration) {
        self.response_timeout = timeout;
    }

    async fn send(&mut self, request: Request<'_>) -> RedisResult<Reply> {
        let tasks = Arc::clone(&self.backend.dialer().tasks);
        if !tasks.has_runtime() {
            return Err(refused(NO_RUNTIME.to_owned()).at(self.node()).into());
        }
        tasks.enter(self.send_inside(request)).await
    }

    async fn send_inside(&mut self, request: Request<'_>) -> RedisResult<Reply> {
        // An atomic one is sent all the same: its EXEC tells whether a watched key has changed.
        if !request.is_transaction()
            && let Some(nothing) = request.answer_to_nothing()
        {
            return Ok(nothing);
        }
        let Exclusively { request, block } =
            Exclusively::check(request).map_err(|e| e.at(self.node()))?;
        let limit = match block {
            Block::No => Some(self.response_timeout),
            Block::AtMost(wait) => wait.checked_add(self.response_timeout),
            Block::Forever => None,
        };
        let mut resends = 0;
        loop {
            let (clean, before) = (self.loan.is_clean(), self.loan.left);
            for cmd in request.commands() {
                self.loan.left.sending(args(cmd));
            }
            let began = clock::now();
            let left = self.deadline.map(|at| at.saturating_duration_since(began));
            if left.is_some_and(|left| left.is_zero()) {
                give_way().await;
                return Err(self.backend.too_late().into());
            }
            let own_limit = limit;
            let limit = left.into_iter().chain(own_limit).min();
            let epoch = self.loan.link.epoch();
            // Whoever drops this call may have had it executed all the same.
            let aside = match self.stands_in {
                true => Aside::new(&self.backend, request, &mut self.queued),
                false => None,
            };
            let result = self.loan.link.call(request, limit).await;
            self.loan.touch();
            let e = match result {
                Ok(reply) => {
                    let timed = (block == Block::No).then_some(began);
                    let action = self.backend.answered(&reply, epoch, began, timed);
                    if action == ConnectionAction::Discard {
                        self.loan.link.wire().retire();
                    }
                    self.loan.left = left_after(before, self.loan.left, request, &reply);
                    if let Some(aside) = aside {
                        aside.sent(self.loan.left.is_in_multi(), &mut self.queued);
                    }
                    return match reply {
                        Reply::Aborted(e) => Err(e),
                        reply => Ok(signed(reply, request, self.node())),
                    };
                }
                Err(e) => e,
            };
            match aside {
                Some(aside) if e.unsent => aside.forget(),
                Some(aside) => aside.sent(self.loan.left.is_in_multi(), &mut self.queued),
                None => {}
            }
            // What the caller's own deadline cut short says nothing about the node.
            let cut_short = e.fault == Fault::Timeout && limit != own_limit;
            if cut_short {
                return Err(self.backend.call_error(e, limit.unwrap_or_default()).into());
            }
            if e.fault == Fault::Timeout {
                self.backend.suspect_idle(began);
            }
            self.backend
                .observe_call(&e, epoch, began, limit, block != Block::No);
            // The connection had ended while nobody used it. With nothing on it that the caller
            // relies on, a new one is as good.
            if e.unsent && e.fault == Fault::Lost && clean && resends < RESENDS {
                resends += 1;
                match Exclusive::dial(&self.backend).await {
                    Ok(fresh) => *self.loan = fresh,
                    Err(why) => return Err(self.backend.no_lane(why).into()),
                }
                continue;
            }
            let error = self.backend.call_error(e, limit.unwrap_or_default());
            return Err(error.into());
        }
    }
}

/// What is left on a connection after a request that was answered, given what was left before it and
/// the worst that was assumed of it.
fn left_after(
    before: SessionState,
    worst: SessionState,
    request: Request<'_>,
    reply: &Reply,
) -> SessionState {
    let failed = |value: &Value| matches!(value, Value::ServerError(e) if e.code() != "EXECABORT");
    let all_done = match reply {
        Reply::One(value) => !failed(value),
        Reply::Many(values) => !values.iter().any(failed),
        Reply::Aborted(e) => e.code() == Some("EXECABORT"),
    };
    if !all_done {
        return worst;
    }
    let mut left = before;
    for cmd in request.commands() {
        left.done(args(cmd));
    }
    if request.is_transaction() {
        left.executed();
    }
    left
}

impl fmt::Debug for DedicatedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DedicatedClient")
            .field("node", self.node())
            .finish_non_exhaustive()
    }
}

impl ConnectionLike for DedicatedClient {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move { self.send(Request::One(cmd)).await.map(Reply::into_value) })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let request = Request::many(pipeline, offset, count)?;
            self.send(request).await.map(Reply::into_values)
        })
    }

    fn get_db(&self) -> i64 {
        self.backend.node().endpoint().db
    }
}
