//! What the application holds: the client of a node, and an exclusive connection to it.

mod dedicated;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use redis::aio::ConnectionLike;
use redis::{Cmd, Pipeline, RedisFuture, RedisResult, Value};
use tokio::time::timeout_at;

pub use self::dedicated::DedicatedClient;
use crate::backend::lane::NoLane;
use crate::backend::pool::NoLoan;
use crate::backend::role::Role;
use crate::backend::{Backend, Calling};
use crate::clock;
use crate::connection::reply::{Reply, signed};
use crate::connection::request::{LaneRequest, Request, refused};
use crate::error::{Error, ErrorKind, Outcome};
use crate::node::NodeId;
use crate::tasks::NO_RUNTIME;

/// The client of one node, as [`get_client`](crate::FlusterCluster::get_client) hands it out.
///
/// It implements redis-rs's `ConnectionLike`, so every method of `redis::AsyncCommands` works on it. It
/// is cheap to clone, shares its node's connection with all other clients, and needs no `&mut` of yours
/// but the one redis-rs asks for.
///
/// A client is pinned: it never goes to another node by itself. While its node is out, every call fails
/// at once with [`Outcome::NotSent`], without a dial; asking the cluster for a client again gives the
/// stand-in. A command whose connection died before it was written is put on a new connection to the
/// same node. A client does not keep its cluster alive: once that was shut down, or its last handle dropped, every call
/// fails with [`ErrorKind::Closed`].
///
/// Commands that block or change the state of their connection (`BLPOP`, `WATCH`, `SELECT`, `SUBSCRIBE`,
/// ...) are refused before they are sent, with [`ErrorKind::Invalid`]: [`dedicated`](Self::dedicated)
/// is the place for them.
///
/// # Cancellation
///
/// Dropping a call is safe for the connection and for all other calls on it. The command may have been
/// sent, and may still be executed.
///
/// ```no_run
/// use redis::AsyncCommands;
///
/// # async fn run(cluster: fluster::FlusterCluster) -> redis::RedisResult<()> {
/// let mut client = cluster.get_client("user:42")?;
/// let visits: u64 = client.incr("user:42", 1).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Client {
    backend: Arc<Backend>,
    rank: usize,
}

impl Client {
    pub(crate) fn new(backend: Arc<Backend>, rank: usize) -> Self {
        Self { backend, rank }
    }

    /// The node that this client talks to. [Example](crate::guide::by_example#routing).
    #[must_use]
    pub fn node(&self) -> &NodeId {
        self.backend.id()
    }

    /// The node's place among the candidates of the key that was asked for: 0 is the owner. [Example](crate::guide::by_example#routing).
    #[must_use]
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Whether the node serves the key in place of its owner, which was out when the client was asked
    /// for. [Example](crate::guide::by_example#routing).
    #[must_use]
    pub fn is_stand_in(&self) -> bool {
        self.rank > 0
    }

    /// An exclusive connection to the node, from a pool: for transactions with `WATCH`, blocking reads
    /// and everything else that must not share a connection. [Example](crate::guide::by_example#an-exclusive-connection).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NodeOut`] while the node is out, [`ErrorKind::Saturated`] when all connections stay
    /// taken (default: 16 per node, 250 ms), [`ErrorKind::Connect`] or [`ErrorKind::Config`] when a new
    /// one cannot be had. Nothing was sent in any of these.
    ///
    /// # Cancellation
    ///
    /// Safe: a connection half made is closed, a place in the queue is given up.
    pub async fn dedicated(&self) -> Result<DedicatedClient, Error> {
        self.dedicated_until(None).await
    }

    /// [`dedicated`](Self::dedicated) for a call that has a deadline: the connection's commands keep it too.
    pub(crate) async fn dedicated_until(
        &self,
        deadline: Option<Instant>,
    ) -> Result<DedicatedClient, Error> {
        let pass = self.backend.gate().read();
        if !pass.admits() {
            return Err(self.backend.no_lane(NoLane::NodeOut));
        }
        let tasks = &self.backend.dialer().tasks;
        if !tasks.has_runtime() {
            return Err(refused(NO_RUNTIME.to_owned()).at(self.node()));
        }
        let loan = async {
            let loan = self.backend.pool().get();
            match deadline {
                Some(deadline) => timeout_at(deadline.into(), loan).await.ok(),
                None => Some(loan.await),
            }
        };
        let Some(loan) = tasks.enter(loan).await else {
            return Err(self.backend.too_late());
        };
        match loan {
            Ok(loan) => Ok(DedicatedClient {
                loan,
                backend: Arc::clone(&self.backend),
                response_timeout: self.backend.limits().response_timeout,
                deadline,
                stands_in: self.is_stand_in(),
                queued: Vec::new(),
            }),
            Err(NoLoan::Lane(why)) => Err(self.backend.no_lane(why)),
            // Because the cluster was shut down, or the node was removed.
            Err(NoLoan::Closed) => Err(self.backend.no_lane(NoLane::NodeOut)),
            Err(NoLoan::Saturated) => {
                let limits = self.backend.limits();
                let text = format!(
                    "all {} exclusive connections were taken for {:?}; raise `pool_size`, or hold them for less time",
                    limits.pool_size, limits.pool_wait
                );
                Err(Error::new(ErrorKind::Saturated, Outcome::NotSent, text).at(self.node()))
            }
        }
    }

    /// Whether the operator has drained the node, which would take calls otherwise.
    pub(crate) fn is_drained(&self) -> bool {
        self.backend.gate().read().is_drained()
    }

    /// What a call is told that does not pass.
    pub(crate) fn refusal(&self) -> Error {
        self.backend.no_lane(NoLane::NodeOut)
    }

    /// Whether nobody looked before at what the node is like; asked by whoever does so now.
    pub(crate) fn is_first_look(&self) -> bool {
        self.backend.is_first_look()
    }

    /// The raw reply to a request that may be put on a shared connection, by `deadline`; error replies
    /// are values.
    pub(crate) async fn answer(
        &self,
        request: LaneRequest<'_>,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        self.backend.call(request, deadline).await
    }

    async fn send(&self, request: Request<'_>) -> RedisResult<Reply> {
        if let Some(nothing) = request.answer_to_nothing() {
            return Ok(nothing);
        }
        let mut call = self.call(request)?;
        let result = (&mut call).await;
        answer_of(&call, result)
    }

    /// The call of a request that may share a connection.
    fn call<'a>(&'a self, request: Request<'a>) -> Result<Calling<'a>, Error> {
        let shared = LaneRequest::check(request)?;
        let now = clock::now();
        let deadline = now + self.backend.limits().deadline;
        let role = Role::standing_in(self.is_stand_in());
        Ok(self.backend.execute_held(now, shared, role, deadline))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("node", self.node())
            .field("rank", &self.rank)
            .finish()
    }
}

/// One command by a client. By hand, since redis-rs wants it in a box: the box is most of what a call allocates.
enum OneCommand<'a> {
    New(&'a Client, &'a Cmd),
    Sent(Calling<'a>),
}

impl Future for OneCommand<'_> {
    type Output = RedisResult<Value>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let me = &mut *self;
        if let Self::New(client, cmd) = me {
            *me = Self::Sent(client.call(Request::One(cmd))?);
        }
        let Self::Sent(call) = me else {
            return Poll::Pending;
        };
        let result = ready!(Pin::new(&mut *call).poll(cx));
        Poll::Ready(answer_of(call, result).map(Reply::into_value))
    }
}

/// What came back, as redis-rs's callers are told it.
fn answer_of(call: &Calling<'_>, result: Result<Reply, Error>) -> RedisResult<Reply> {
    match result? {
        Reply::Aborted(e) => Err(e),
        reply => Ok(signed(reply, call.request().request(), call.backend().id())),
    }
}

/// Two clients are equal when they talk to the same node of the same cluster.
impl PartialEq for Client {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.backend, &other.backend)
    }
}

impl Eq for Client {}

impl ConnectionLike for Client {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(OneCommand::New(self, cmd))
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
