//! What comes back for a request.

use redis::{FromRedisValue, RedisError, Value};

use super::request::Request;
use crate::error::{Error, ErrorKind, Outcome, class_of, class_of_error, sign};
use crate::health::verdict::{Class, worst};
use crate::node::NodeId;

/// What came back for it.
#[derive(Debug)]
pub(crate) enum Reply {
    One(Value),
    Many(Vec<Value>),
    /// A transaction that the server refused to execute, with the refusals of its commands inside; or of which it
    /// refused the `MULTI` alone.
    Aborted(RedisError),
}

impl Reply {
    /// As one value.
    pub(crate) fn into_value(self) -> Value {
        match self {
            Self::One(value) => value,
            Self::Many(values) => Value::Array(values),
            Self::Aborted(_) => Value::Nil,
        }
    }

    /// As one value per command.
    pub(crate) fn into_values(self) -> Vec<Value> {
        match self {
            Self::Many(values) => values,
            Self::One(value) => vec![value],
            Self::Aborted(_) => Vec::new(),
        }
    }

    /// The error class that it carries: of the error itself, or the worst of a pipeline or transaction. `None`
    /// for the usual case, a value.
    pub(crate) fn class(&self) -> Option<Class> {
        let of = |value: &Value| match value {
            Value::ServerError(e) => Some(class_of(e)),
            _ => None,
        };
        match self {
            Self::One(value) => of(value),
            Self::Aborted(e) => {
                let inside = e.clone().into_server_errors();
                if inside.is_none() {
                    return Some(class_of_error(e));
                }
                Some(worst(
                    inside
                        .iter()
                        .flat_map(|all| all.iter())
                        .map(|(_, e)| class_of(e)),
                ))
            }
            Self::Many(values) => {
                // One level down: the errors of a transaction are inside the reply to its EXEC.
                let mut errors = values
                    .iter()
                    .flat_map(|v| match v {
                        Value::Array(inner) => inner.as_slice(),
                        other => std::slice::from_ref(other),
                    })
                    .filter_map(of)
                    .peekable();
                errors.peek().is_some().then(|| worst(errors))
            }
        }
    }
}

/// The answer as the caller's type; an error reply as an error.
pub(crate) fn parse<T: FromRedisValue>(value: Value, node: &NodeId) -> Result<T, Error> {
    parse_of(value, Some(node))
}

/// The same for an answer that several nodes gave, or none: its error names nobody.
pub(crate) fn parse_of<T: FromRedisValue>(value: Value, node: Option<&NodeId>) -> Result<T, Error> {
    let value = value.extract_error().map_err(|e| match node {
        Some(node) => Error::answered(node, e),
        None => Error::answered_by_several(e),
    })?;
    T::from_redis_value(value).map_err(|e| {
        let error = Error::said(ErrorKind::Type, Outcome::Answered, RedisError::from(e));
        match node {
            Some(node) => error.at(node),
            None => error,
        }
    })
}

/// The reply with the node's name behind each error of the server: redis-rs's own error has no other place for
/// it, and keeps its kind and its code.
pub(crate) fn signed(reply: Reply, request: Request<'_>, node: &NodeId) -> Reply {
    match reply {
        Reply::One(value) => Reply::One(signed_value(value, node)),
        Reply::Many(values) => {
            let sign = |value| match value {
                // The errors of a transaction are inside the reply to its EXEC.
                Value::Array(inner) if request.is_transaction() => {
                    let inner = inner.into_iter();
                    Value::Array(inner.map(|value| signed_value(value, node)).collect())
                }
                value => signed_value(value, node),
            };
            Reply::Many(values.into_iter().map(sign).collect())
        }
        aborted @ Reply::Aborted(_) => aborted,
    }
}

/// [`signed`] for one value.
pub(crate) fn signed_value(value: Value, node: &NodeId) -> Value {
    match value {
        Value::ServerError(e) => sign(&e, node).unwrap_or(Value::ServerError(e)),
        value => value,
    }
}
