//! What a server's error reply says, in the terms that its node and its command are judged in. The one place
//! that asks.

use redis::{RedisError, ServerError};

use crate::health::verdict::{Class, classify_code};

/// The class of an error inside a reply.
pub(crate) fn class_of(e: &ServerError) -> Class {
    classify_code(e.code(), e.details().unwrap_or_default())
}

/// The class of an error that was taken out of its reply.
pub(crate) fn class_of_error(e: &RedisError) -> Class {
    classify_code(e.code().unwrap_or_default(), e.detail().unwrap_or_default())
}
