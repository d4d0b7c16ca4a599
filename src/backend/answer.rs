//! The answer to one command, and who gave it.

use std::fmt;
use std::sync::Arc;

use redis::{FromRedisValue, Value};

use crate::backend::Backend;
use crate::connection::reply::{parse_of, signed_value};
use crate::error::Error;
use crate::node::NodeId;

/// What a command was answered; an error reply of the server is a value here.
pub(crate) struct Answer {
    pub(crate) value: Value,
    /// `None` when several nodes had a part in it, or none.
    by: Option<Arc<Backend>>,
}

impl Answer {
    pub(crate) fn by(value: Value, backend: Arc<Backend>) -> Self {
        Self {
            value,
            by: Some(backend),
        }
    }

    /// An answer that is no single node's.
    pub(crate) fn of_several(value: Value) -> Self {
        Self { value, by: None }
    }

    pub(crate) fn node(&self) -> Option<&NodeId> {
        self.by.as_deref().map(Backend::id)
    }

    /// Whether the server said no.
    pub(crate) fn is_error(&self) -> bool {
        matches!(self.value, Value::ServerError(_))
    }

    /// What it said then.
    pub(crate) fn error(&self) -> Option<Error> {
        let Value::ServerError(e) = &self.value else {
            return None;
        };
        let e = e.clone().into();
        Some(match self.node() {
            Some(node) => Error::answered(node, e),
            None => Error::answered_by_several(e),
        })
    }

    /// As the caller's type; an error reply as an error that names who gave it.
    pub(crate) fn parse<T: FromRedisValue>(self) -> Result<T, Error> {
        parse_of(self.value, self.by.as_deref().map(Backend::id))
    }

    /// As redis-rs's own value, an error reply with the name of who gave it.
    pub(crate) fn signed(self) -> Value {
        match &self.by {
            Some(backend) => signed_value(self.value, backend.id()),
            None => self.value,
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("node", &self.node())
            .field("value", &self.value)
            .finish()
    }
}
