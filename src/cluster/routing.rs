//! Sending one command by its key, and on to the next candidate when that is safe.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Cmd, FromRedisValue, RedisError, Value};
use tokio::time::timeout_at;
use tracing::Instrument as _;

use crate::backend::{Backend, error_class};
use crate::client::{Client, args, one, refusal_on_lane};
use crate::cluster::FlusterCluster;
use crate::cluster::core::{Core, Snapshot};
use crate::cluster::options::{Failover, Refusals};
use crate::command;
use crate::error::{ClusterEmptyError, Outcome};
use crate::failure::{Error, ErrorKind};
use crate::link::{Reply, Request};
use crate::node::NodeId;
use crate::verdict::{Class, Route};

impl FlusterCluster {
    /// The client of the node that serves `key` now: its owner, or the stand-in while the owner is out.
    ///
    /// No I/O, no waiting, no allocation. The client stays pinned to its node; ask again for each
    /// operation, it costs some tens of nanoseconds.
    ///
    /// # Errors
    ///
    /// [`ClusterEmptyError`] when every candidate is out.
    ///
    /// ```
    /// # let cluster = fluster::FlusterCluster::from_urls(["redis://127.0.0.1"])?;
    /// let client = cluster.get_client("user:42")?;
    /// assert_eq!(client.node(), &"127.0.0.1:6379");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get_client(&self, key: impl AsRef<[u8]>) -> Result<Client, ClusterEmptyError> {
        let key = key.as_ref();
        let core = self.core();
        let snapshot = core.snapshot.load();
        match snapshot.table.first(key, &snapshot.live) {
            Some(index) => {
                let rank = rank(&snapshot, key, index);
                Ok(Client::new(Arc::clone(&snapshot.nodes[index]), rank))
            }
            None => Err(core.empty()),
        }
    }

    /// The name of the node that serves `key` now.
    ///
    /// # Errors
    ///
    /// [`ClusterEmptyError`] when every candidate is out.
    pub fn get_node(&self, key: impl AsRef<[u8]>) -> Result<NodeId, ClusterEmptyError> {
        let core = self.core();
        match core.snapshot.load().route(key.as_ref()) {
            Some(backend) => Ok(backend.id().clone()),
            None => Err(core.empty()),
        }
    }

    /// The names of the nodes that serve `keys` now, all by the same snapshot, in the order of the keys.
    ///
    /// # Errors
    ///
    /// [`ClusterEmptyError`] when every node is out.
    pub fn get_node_batch<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<NodeId>, ClusterEmptyError> {
        let core = self.core();
        let snapshot = core.snapshot.load();
        keys.into_iter()
            .map(|key| snapshot.route(key.as_ref()).map(|b| b.id().clone()))
            .collect::<Option<_>>()
            .ok_or_else(|| core.empty())
    }

    /// Sends `cmd` to the node that serves `key`, and on to the next candidates as
    /// [`Failover`](crate::Failover) allows, within the cluster's deadline (default: three times the
    /// response time-out).
    ///
    /// The key need not stand in the command: this is also the way for commands that fluster does not
    /// know.
    ///
    /// # Errors
    ///
    /// An answer of the server comes back as [`ErrorKind::Server`]; everything else says what is known
    /// of the command, see [`Error::outcome`]. With every candidate out it is
    /// [`ErrorKind::ClusterEmpty`].
    ///
    /// # Cancellation
    ///
    /// Safe; the command may still be executed.
    ///
    /// ```no_run
    /// # async fn run(cluster: fluster::FlusterCluster) -> Result<(), fluster::Error> {
    /// let visits: u64 = cluster.run_with_key("user:42", redis::cmd("INCR").arg("user:42")).await?;
    /// # Ok(()) }
    /// ```
    pub async fn run_with_key<T: FromRedisValue>(
        &self,
        key: impl AsRef<[u8]>,
        cmd: &Cmd,
    ) -> Result<T, Error> {
        let (value, node) = self.core().route(key.as_ref(), cmd).await?;
        parse(value, &node)
    }
}

fn rank(snapshot: &Snapshot, key: &[u8], index: usize) -> usize {
    // With every node up the first candidate is the owner: no second walk.
    if snapshot.live.count() == snapshot.nodes.len() {
        0
    } else {
        snapshot.rank(key, index)
    }
}

/// The answer as the caller's type; an error reply as an error.
pub(crate) fn parse<T: FromRedisValue>(value: Value, node: &NodeId) -> Result<T, Error> {
    let value = value.extract_error().map_err(|e| {
        Error::new(ErrorKind::Server, Outcome::Answered, e.to_string())
            .at(node)
            .because(e)
    })?;
    T::from_redis_value(value).map_err(|e| {
        let e = RedisError::from(e);
        Error::new(ErrorKind::Type, Outcome::Answered, e.to_string())
            .at(node)
            .because(e)
    })
}

/// What to do with what one candidate gave.
enum Next {
    Done(Value, NodeId),
    /// Try the next candidate; this is what to say when there is none.
    Another(Error),
    Failed(Error),
}

impl Core {
    async fn route(self: &Arc<Self>, key: &[u8], cmd: &Cmd) -> Result<(Value, NodeId), Error> {
        let request = Request::One(cmd);
        if let Some(why) = refusal_on_lane(request) {
            return Err(Error::new(ErrorKind::Refused, Outcome::NotSent, why));
        }
        let mut deadline = Instant::now() + self.limits.deadline;
        let mut tried: Vec<u64> = Vec::new();
        let mut last: Option<Error> = None;
        let mut waited = false;
        loop {
            let Some(backend) = self.next_candidate(key, &tried) else {
                match last.take() {
                    // It found out itself that every candidate is out: then it waits like those
                    // that come later.
                    Some(error) if waited || !self.waits_for(key) => return Err(error),
                    _ => self.wait_for_node(key).await?,
                }
                tried.clear();
                waited = true;
                // The wait has its own limit; the call still has all of its time.
                deadline = Instant::now() + self.limits.deadline;
                continue;
            };
            let span = tracing::trace_span!("fluster.command", node = %backend.id());
            let result = backend.call(request, deadline).instrument(span).await;
            match self.judge(&backend, cmd, result) {
                Next::Done(value, node) => return Ok((value, node)),
                Next::Failed(error) => return Err(error),
                Next::Another(error) if Instant::now() < deadline => {
                    backend.meter().failed_over();
                    tried.push(backend.key());
                    last = Some(error);
                }
                Next::Another(error) => return Err(error),
            }
        }
    }

    /// The first live candidate of `key` that was not tried yet.
    fn next_candidate(&self, key: &[u8], tried: &[u64]) -> Option<Arc<Backend>> {
        let snapshot = self.snapshot.load();
        if tried.is_empty() {
            return snapshot.route(key).cloned();
        }
        snapshot
            .table
            .live_candidates(key, &snapshot.live)
            .map(|i| &snapshot.nodes[i])
            .find(|b| !tried.contains(&b.key()))
            .cloned()
    }

    fn judge(&self, backend: &Backend, cmd: &Cmd, result: Result<Reply, Error>) -> Next {
        let error = match result {
            Ok(reply) => {
                let class = error_class(&reply);
                let goes_on = self.options.failover != Failover::Never
                    && match class.map(Class::route) {
                        Some(Route::Rejected) => true,
                        Some(Route::NotServing) => self.options.refusals == Refusals::NextCandidate,
                        _ => false,
                    };
                let value = one(reply);
                if !goes_on {
                    return Next::Done(value, backend.id().clone());
                }
                let outcome = match class.map(Class::route) {
                    Some(Route::Rejected) => Outcome::Rejected,
                    _ => Outcome::Answered,
                };
                return Next::Another(match value.extract_error() {
                    Err(e) => Error::new(ErrorKind::Server, outcome, e.to_string())
                        .at(backend.id())
                        .because(e),
                    Ok(_) => Error::new(ErrorKind::Server, outcome, "the node cannot serve now")
                        .at(backend.id()),
                });
            }
            Err(error) => error,
        };
        if matches!(error.kind(), ErrorKind::Closed | ErrorKind::Refused) {
            return Next::Failed(error);
        }
        let safe = error.outcome().is_safe_to_repeat();
        let goes_on = match self.options.failover {
            Failover::Never => false,
            Failover::IfSafe => safe || command::is_read_only(args(cmd)),
            Failover::Always => true,
        };
        if goes_on {
            Next::Another(error)
        } else {
            Next::Failed(error)
        }
    }

    fn waits_for(&self, key: &[u8]) -> bool {
        self.options.wait_for_node.is_some() && self.snapshot.load().route(key).is_none()
    }

    /// With every candidate out: fails at once, or waits as long as the builder said.
    async fn wait_for_node(self: &Arc<Self>, key: &[u8]) -> Result<(), Error> {
        if self.tasks.is_closed() {
            return Err(Error::closed());
        }
        let mut published = self.published.subscribe();
        let empty = self.empty();
        let Some(wait) = self.options.wait_for_node else {
            return Err(empty.into());
        };
        let until = Instant::now() + wait;
        let back = async {
            loop {
                if self.tasks.is_closed() || self.snapshot.load().route(key).is_some() {
                    return;
                }
                // While somebody waits, the demand for a probe is renewed.
                let again = Duration::from_millis(100);
                let _ = tokio::time::timeout(again, published.changed()).await;
                drop(self.empty());
            }
        };
        match timeout_at(until.into(), back).await {
            Ok(()) if self.tasks.is_closed() => Err(Error::closed()),
            Ok(()) => Ok(()),
            Err(_) => Err(empty.into()),
        }
    }
}
