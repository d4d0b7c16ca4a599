//! What comes back for a request.

use redis::{FromRedisValue, RedisError, Value};

use crate::error::text::one_line;
use crate::error::{Error, ErrorKind, Outcome};
use crate::node::NodeId;

/// What came back for it.
#[derive(Debug)]
pub(crate) enum Reply {
    One(Value),
    Many(Vec<Value>),
    /// A transaction that the server refused to execute, with the refusals of its commands inside.
    Aborted(RedisError),
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

/// The answer as the caller's type; an error reply as an error.
pub(crate) fn parse<T: FromRedisValue>(value: Value, node: &NodeId) -> Result<T, Error> {
    let value = value
        .extract_error()
        .map_err(|e| Error::answered(node, e))?;
    T::from_redis_value(value).map_err(|e| {
        let e = RedisError::from(e);
        Error::new(ErrorKind::Type, Outcome::Answered, one_line(e.to_string()))
            .at(node)
            .because(e)
    })
}
