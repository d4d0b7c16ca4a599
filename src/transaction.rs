//! Transactions that watch their keys.

use std::time::{Duration, Instant};

use redis::{FromRedisValue, Pipeline, RedisError, RedisResult, Value};

use crate::client::{Client, DedicatedClient};
use crate::clock::{self, later};
use crate::cluster::FlusterCluster;
use crate::connection::reply::parse;
use crate::error::text::one_line;
use crate::error::{Error, ErrorKind, Outcome};
use crate::node::NodeId;
use crate::tasks::give_way;

/// How often a transaction is tried before its keys count as too busy.
const ATTEMPTS: u32 = 16;
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

impl FlusterCluster {
    /// Watches `keys`, lets `steps` read over an exclusive connection and fill a pipeline (they give back both), and executes
    /// the pipeline as one transaction (`MULTI` ... `EXEC`) if none of the keys changed meanwhile; else
    /// all of it again.
    ///
    /// The answer is that of `EXEC`, as [`redis::Pipeline::query_async`] would give it. `steps` may run
    /// several times, also when they only read and leave the pipeline empty: up to 16. All of it keeps the cluster's
    /// deadline, that of [`with_deadline`](Self::with_deadline) if given: no command is waited for longer, and when
    /// `steps` come back later than that nothing is executed. An error of its own ends the transaction too.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::CrossNode`] when `keys`, or those of the pipeline, are not all on one node;
    /// [`ErrorKind::Conflict`] when other writers were faster every time; and whatever commands on a
    /// connection give. [`Outcome::MaybeExecuted`] when the answer to `EXEC` was lost: it is not tried
    /// again then. A node that goes out before that is replaced by its stand-in.
    ///
    /// # Cancellation
    ///
    /// Safe: the connection is closed. The transaction may still be executed.
    ///
    /// ```no_run
    /// use redis::AsyncCommands;
    ///
    /// # async fn run(cluster: fluster::FlusterCluster) -> Result<(), fluster::Error> {
    /// let (balance,): (i64,) = cluster
    ///     .transaction(["account:7"], |mut own, mut pipe| async move {
    ///         let balance: i64 = own.get("account:7").await?;
    ///         pipe.set("account:7", balance * 2).ignore().get("account:7");
    ///         Ok((own, pipe))
    ///     })
    ///     .await?;
    /// # Ok(()) }
    /// ```
    pub async fn transaction<T, K, F, Steps>(
        &self,
        keys: impl IntoIterator<Item = K>,
        mut steps: F,
    ) -> Result<T, Error>
    where
        T: FromRedisValue,
        K: AsRef<[u8]>,
        F: FnMut(DedicatedClient, Pipeline) -> Steps,
        Steps: Future<Output = RedisResult<(DedicatedClient, Pipeline)>>,
    {
        let keys = owned(keys);
        let deadline = later(clock::now(), self.deadline());
        let mut attempt = 0;
        loop {
            let error = match self.attempt(&keys, deadline, &mut steps).await {
                Ok(Attempt::Done(value, node)) => return parse(value, &node),
                Ok(Attempt::Conflict(node)) => {
                    let text = "the watched keys changed every time";
                    Error::new(ErrorKind::Conflict, Outcome::Rejected, text).at(&node)
                }
                Ok(Attempt::Again(error)) => error,
                Err(error) => {
                    give_way().await;
                    return Err(error);
                }
            };
            attempt += 1;
            if attempt >= ATTEMPTS || clock::now() >= deadline {
                return Err(error);
            }
            // Those who conflict must not meet again at once.
            let longest = LONGEST_PAUSE.min(Duration::from_millis(1 << attempt.min(10)));
            let pause = longest.mul_f64(fastrand::f64());
            let left = deadline.saturating_duration_since(clock::now());
            self.engine().tasks().sleep(pause.min(left)).await;
        }
    }

    async fn attempt<F, Steps>(
        &self,
        keys: &[Vec<u8>],
        deadline: Instant,
        steps: &mut F,
    ) -> Result<Attempt, Error>
    where
        F: FnMut(DedicatedClient, Pipeline) -> Steps,
        Steps: Future<Output = RedisResult<(DedicatedClient, Pipeline)>>,
    {
        let home = self.home_of("a transaction", keys)?;
        let stands_in = keys
            .first()
            .is_some_and(|key| self.engine().is_no_owner(key, &home));
        let client = Client::new(home, usize::from(stands_in));
        let node = client.node().clone();
        let mut own = match client.dedicated_until(Some(deadline)).await {
            Ok(own) => own,
            Err(error) => return again_if_safe(error),
        };
        let mut watch = redis::cmd("WATCH");
        if let Err(e) = watch.arg(keys).query_async::<()>(&mut own).await {
            let error = ours(e, &node);
            // Watching twice changes nothing.
            return match error.is_connection_error() {
                true => Ok(Attempt::Again(error)),
                false => Err(error),
            };
        }
        let mut pipe = Pipeline::new();
        pipe.atomic();
        let (mut own, mut pipe) = steps(own, pipe).await.map_err(|e| ours(e, &node))?;
        // They may have brought another one along.
        pipe.atomic();
        if *own.node() != node {
            let text = "the steps have to give back the connection that they were given";
            return Err(Error::new(ErrorKind::Invalid, Outcome::NotSent, text));
        }
        self.is_at_home(keys, &pipe)?;
        // An empty one too: its EXEC says whether what the steps have read was still true at the end.
        match pipe.query_async::<Value>(&mut own).await {
            Ok(Value::Nil) => Ok(Attempt::Conflict(node)),
            Ok(value) => Ok(Attempt::Done(value, node)),
            Err(e) => again_if_safe(ours(e, &node)),
        }
    }
}

fn owned<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>) -> Vec<Vec<u8>> {
    keys.into_iter().map(|key| key.as_ref().to_vec()).collect()
}

enum Attempt {
    Done(Value, NodeId),
    /// A watched key changed; nothing was executed.
    Conflict(NodeId),
    /// Nothing was executed, and another node may be there by now.
    Again(Error),
}

fn again_if_safe(error: Error) -> Result<Attempt, Error> {
    match error.kind() {
        // A refusal may be one of its commands' own, and the others were executed.
        ErrorKind::Closed | ErrorKind::Invalid | ErrorKind::Config | ErrorKind::Server => {
            Err(error)
        }
        _ if error.outcome().is_safe_to_repeat() => Ok(Attempt::Again(error)),
        _ => Err(error),
    }
}

/// What came through redis-rs as our own error again.
fn ours(e: RedisError, node: &NodeId) -> Error {
    if let Some(error) = Error::from_redis(&e) {
        return error.clone();
    }
    match e.kind() {
        redis::ErrorKind::Parse | redis::ErrorKind::UnexpectedReturnType => {
            Error::new(ErrorKind::Type, Outcome::Answered, one_line(e.to_string()))
                .at(node)
                .because(e)
        }
        _ => Error::answered(node, e).with_outcome(Outcome::Answered),
    }
}
