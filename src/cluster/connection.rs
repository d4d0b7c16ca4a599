//! The cluster as a redis-rs connection.

use redis::aio::ConnectionLike;
use redis::{Cmd, Pipeline, RedisError, RedisFuture, Value};

use crate::cluster::FlusterCluster;
use crate::cluster::pipeline::Each;
use crate::connection::request::Request;
use crate::error::Error;
use crate::error::text::{escaped, one_line};

/// Every method of `redis::AsyncCommands` finds its node by itself:
///
/// ```no_run
/// use redis::AsyncCommands;
///
/// # async fn run(cluster: fluster::FlusterCluster) -> redis::RedisResult<()> {
/// let mut cluster = cluster.clone();
/// let _: () = cluster.set("k", 1).await?;
/// let n: i64 = cluster.get("k").await?;
/// # Ok(()) }
/// ```
///
/// It is [`run`](FlusterCluster::run) underneath. In a pipeline each command has its own fate: one that
/// failed without an answer of a server is an error reply with the code `FLUSTER`, followed by the
/// outcome (`not_sent`, `rejected`, `maybe_executed`) and the reason, so that the others' answers are kept;
/// `Pipeline::ignore_errors` shows them all.
impl ConnectionLike for FlusterCluster {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move { Ok(self.answer(cmd).await?.signed()) })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let request = Request::many(pipeline, offset, count)?;
            if request.is_transaction() {
                return Ok(self.atomic(pipeline).await?.0);
            }
            let each = match self.each(pipeline).await? {
                Each::Good(values, _) => return Ok(values),
                Each::Own(each) => each,
            };
            each.into_iter()
                .map(|result| match result {
                    Ok(answer) => Ok(answer.signed()),
                    Err(error) => synthetic(error),
                })
                .collect()
        })
    }

    /// 0: the nodes' databases are in their URLs, and may differ.
    fn get_db(&self) -> i64 {
        0
    }
}

/// A failure as an error reply: what redis-rs can carry beside the answers of other commands.
///
/// A refusal of the server to a part of a cut command keeps its own code.
fn synthetic(error: Error) -> Result<Value, RedisError> {
    // What is foreign in it is cut already; this is for the line's sake.
    let text = escaped(error.to_string(), usize::MAX);
    let line = match error.server_code() {
        Some(code) => format!("-{} {text}\r\n", one_line(code)),
        None => format!("-FLUSTER {} {text}\r\n", error.outcome()),
    };
    redis::parse_redis_value(line.as_bytes())
}
