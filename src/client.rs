//! What the application holds: the client of a node, and an exclusive connection to it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::aio::ConnectionLike;
use redis::{Arg, Cmd, Pipeline, RedisFuture, RedisResult, Value};

use crate::backend::leftover::Leftover;
use crate::backend::pool::{Exclusive, Loan, NoLoan};
use crate::backend::{Backend, RESENDS};
use crate::command::{self, Block, Spec, State};
use crate::connection::link::{Fault, Reply, Request};
use crate::error::{Error, ErrorKind, Outcome};
use crate::node::NodeId;

/// The client of one node, as [`get_client`](crate::FlusterCluster::get_client) hands it out.
///
/// It implements redis-rs's `ConnectionLike`, so every method of `redis::AsyncCommands` works on it. It
/// is cheap to clone, shares its node's connection with all other clients, and needs no `&mut` of yours
/// but the one redis-rs asks for.
///
/// A client is pinned: it never goes to another node by itself. While its node is out, every call fails
/// at once with [`Outcome::NotSent`], without a dial; asking the cluster for a client again gives the
/// stand-in. A command whose connection died before it was written is put on a new connection to the
/// same node.
///
/// Commands that block or change the state of their connection (`BLPOP`, `WATCH`, `SELECT`, `SUBSCRIBE`,
/// ...) are refused before they are sent, with [`ErrorKind::Refused`]: [`dedicated`](Self::dedicated)
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

    /// The node that this client talks to.
    #[must_use]
    pub fn node(&self) -> &NodeId {
        self.backend.id()
    }

    /// The node's place among the candidates of the key that was asked for: 0 is the owner.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Whether the node serves the key in place of its owner, which was out when the client was asked
    /// for.
    #[must_use]
    pub fn is_stand_in(&self) -> bool {
        self.rank > 0
    }

    /// An exclusive connection to the node, from a pool: for transactions with `WATCH`, blocking reads
    /// and everything else that must not share a connection.
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
        let pass = self.backend.gate().read();
        if !pass.admits() {
            return Err(self.backend.no_lane(crate::backend::lane::NoLane::NodeOut));
        }
        match self.backend.pool().get().await {
            Ok(loan) => Ok(DedicatedClient {
                loan,
                backend: Arc::clone(&self.backend),
                response_timeout: self.backend.limits().response_timeout,
            }),
            Err(NoLoan::Lane(why)) => Err(self.backend.no_lane(why)),
            // Because the cluster was shut down, or the node was removed.
            Err(NoLoan::Closed) => Err(self.backend.no_lane(crate::backend::lane::NoLane::NodeOut)),
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

    /// The raw reply to a request that may be put on a shared connection, by `deadline`; error replies
    /// are values.
    pub(crate) async fn answer(
        &self,
        request: Request<'_>,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        self.backend.call(request, deadline).await
    }

    async fn send(&self, request: Request<'_>) -> RedisResult<Reply> {
        let sent = match refusal_on_lane(request) {
            Some(why) => Err(refused(why)),
            None => {
                let now = Instant::now();
                let deadline = now + self.backend.limits().deadline;
                let stand_in = self.is_stand_in();
                let backend = &self.backend;
                backend.call_for(now, request, deadline, stand_in).await
            }
        };
        match sent {
            Ok(Reply::Aborted(e)) => Err(e),
            Ok(reply) => Ok(reply),
            Err(e) => Err(e.into()),
        }
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

/// Two clients are equal when they talk to the same node of the same cluster.
impl PartialEq for Client {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.backend, &other.backend)
    }
}

impl Eq for Client {}

impl ConnectionLike for Client {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move { self.send(Request::One(cmd)).await.map(one) })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            self.send(Request::Many {
                pipeline,
                offset,
                count,
            })
            .await
            .map(many)
        })
    }

    fn get_db(&self) -> i64 {
        self.backend.node().endpoint().db
    }
}

pub(crate) fn one(reply: Reply) -> Value {
    match reply {
        Reply::One(value) => value,
        Reply::Many(values) => Value::Array(values),
        Reply::Aborted(_) => Value::Nil,
    }
}

pub(crate) fn many(reply: Reply) -> Vec<Value> {
    match reply {
        Reply::Many(values) => values,
        Reply::One(value) => vec![value],
        Reply::Aborted(_) => Vec::new(),
    }
}

/// The arguments of a command, its name first.
pub(crate) fn args(cmd: &Cmd) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
    cmd.args_iter().map(|arg| match arg {
        Arg::Simple(bytes) => bytes,
        _ => b"".as_slice(),
    })
}

fn each_command<'a>(request: Request<'a>) -> impl Iterator<Item = &'a Cmd> {
    let (one, many) = match request {
        Request::One(cmd) => (Some(cmd), None),
        Request::Many { pipeline, .. } => (None, Some(pipeline.cmd_iter())),
    };
    one.into_iter().chain(many.into_iter().flatten())
}

/// Why a request may not be put on a connection that others share.
pub(crate) fn refusal_on_lane(request: Request<'_>) -> Option<String> {
    each_command(request).find_map(|cmd| {
        // The usual case, by one look at the table.
        if !cmd.is_no_response() && matches!(Spec::find_plain(args(cmd)), Some((_, true))) {
            return None;
        }
        let name = || String::from_utf8_lossy(args(cmd).next().unwrap_or_default()).to_uppercase();
        if cmd.is_no_response() {
            return Some(no_response());
        }
        if command::state(args(cmd)) != State::Unchanged {
            let name = name();
            return Some(match &*name {
                "SUBSCRIBE" | "PSUBSCRIBE" | "SSUBSCRIBE" => format!(
                    "{name} needs a connection of its own; call `cluster.subscribe(..)` or `psubscribe(..)`"
                ),
                _ => format!(
                    "{name} changes the state of a connection that others share; send it over `client.dedicated().await?`"
                ),
            });
        }
        if command::block(args(cmd)) != Block::No {
            return Some(format!(
                "{} blocks a connection that others share; send it over `client.dedicated().await?`",
                name()
            ));
        }
        None
    })
}

fn no_response() -> String {
    "`set_no_response` would shift every later reply of the connection; leave it off".into()
}

fn refused(why: String) -> Error {
    Error::new(ErrorKind::Refused, Outcome::NotSent, why)
}

/// An exclusive connection to one node; it goes back to the node's pool when dropped.
///
/// Everything that needs a connection of its own works here: `MULTI`, `WATCH`, `SELECT`, blocking
/// commands. A connection that comes back with something left behind (an open transaction, another
/// database, a reply outstanding) is closed instead of given to the next user. Blocking commands get
/// their own time plus the response time-out.
///
/// `SUBSCRIBE`, `MONITOR` and `CLIENT REPLY` are refused also here: they end the pairing of commands and
/// replies. It is neither `Clone` nor shared: a clone would outlive the return.
///
/// # Cancellation
///
/// Dropping a call is safe, and costs the connection. The command may still be executed; what a
/// cancelled `BLPOP` pops is lost, so use `BLMOVE` or streams.
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
pub struct DedicatedClient {
    loan: Loan,
    backend: Arc<Backend>,
    response_timeout: Duration,
}

impl DedicatedClient {
    /// The node that this connection leads to.
    #[must_use]
    pub fn node(&self) -> &NodeId {
        self.backend.id()
    }

    /// How long commands on this connection may wait for their reply; blocking commands get their own
    /// time on top. Default: the cluster's response time-out, 500 ms.
    pub fn set_response_timeout(&mut self, timeout: Duration) {
        self.response_timeout = timeout;
    }

    async fn send(&mut self, request: Request<'_>) -> RedisResult<Reply> {
        for cmd in each_command(request) {
            let why = match command::state(args(cmd)) {
                State::Breaks => Some(
                    "this command ends the pairing of commands and replies, which a pooled connection needs; \
                     open a connection of your own with redis-rs for it"
                        .to_owned(),
                ),
                _ if cmd.is_no_response() => Some(no_response()),
                _ => None,
            };
            if let Some(why) = why {
                return Err(refused(why).at(self.node()).into());
            }
        }
        let block = each_command(request).fold(Block::No, |block, cmd| {
            longer(block, command::block(args(cmd)))
        });
        let limit = match block {
            Block::No => Some(self.response_timeout),
            Block::AtMost(wait) => wait.checked_add(self.response_timeout),
            Block::Forever => None,
        };
        let mut resends = 0;
        loop {
            let (clean, before) = (self.loan.is_clean(), self.loan.left);
            for cmd in each_command(request) {
                self.loan.left.sending(args(cmd));
            }
            let began = Instant::now();
            let epoch = self.loan.link.epoch();
            let result = self.loan.link.call(request, limit).await;
            self.loan.touch();
            let e = match result {
                Ok(reply) => {
                    let timed = (block == Block::No).then_some(began);
                    self.backend.answered(&reply, epoch, began, timed);
                    self.loan.left = left_after(before, self.loan.left, request, &reply);
                    return match reply {
                        Reply::Aborted(e) => Err(e),
                        reply => Ok(reply),
                    };
                }
                Err(e) => e,
            };
            self.backend
                .observe_call(&e, epoch, began, block != Block::No);
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
fn left_after(before: Leftover, worst: Leftover, request: Request<'_>, reply: &Reply) -> Leftover {
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
    for cmd in each_command(request) {
        left.done(args(cmd));
    }
    if matches!(request, Request::Many { pipeline, .. } if pipeline.is_transaction()) {
        left.executed();
    }
    left
}

fn longer(a: Block, b: Block) -> Block {
    match (a, b) {
        (Block::Forever, _) | (_, Block::Forever) => Block::Forever,
        (Block::AtMost(x), Block::AtMost(y)) => Block::AtMost(x.saturating_add(y)),
        (Block::No, other) | (other, Block::No) => other,
    }
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
        Box::pin(async move { self.send(Request::One(cmd)).await.map(one) })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            self.send(Request::Many {
                pipeline,
                offset,
                count,
            })
            .await
            .map(many)
        })
    }

    fn get_db(&self) -> i64 {
        self.backend.node().endpoint().db
    }
}
