//! A server's error with the name of its node, in redis-rs's own terms.

use std::error::Error as _;

use redis::{RedisError, ServerError, Value};

use super::text::one_line;
use crate::node::NodeId;

/// What stands behind the server's words.
fn signature(node: &NodeId) -> String {
    format!(" (node {node})")
}

/// The same error with the node's name behind its words; kind and code stay. redis-rs's parser makes it, since
/// nothing else can.
pub(crate) fn sign(e: &ServerError, node: &NodeId) -> Option<Value> {
    let (words, signature) = (one_line(e.details().unwrap_or_default()), signature(node));
    if words.ends_with(&signature) {
        return None;
    }
    let line = format!("-{} {words}{signature}\r\n", one_line(e.code()));
    match redis::parse_redis_value(line.as_bytes()) {
        Ok(value @ Value::ServerError(_)) => Some(value),
        _ => None,
    }
}

/// [`sign`] for an error that was taken out of its reply; an aborted transaction stays as it is.
pub(super) fn signed(e: RedisError, node: &NodeId) -> RedisError {
    let inner = e.source().and_then(|source| source.downcast_ref());
    match inner.and_then(|inner| sign(inner, node)) {
        Some(value) => value.extract_error().err().unwrap_or(e),
        None => e,
    }
}

/// The words of an error for a text that names the node in front.
pub(super) fn without_signature(e: &RedisError, node: &NodeId) -> String {
    let text = e.to_string();
    // Piece by piece, as most errors have none: nothing is made only to be compared.
    let bare = text
        .strip_suffix(')')
        .and_then(|rest| rest.strip_suffix(node.as_str()))
        .and_then(|rest| rest.strip_suffix(" (node "));
    one_line(bare.unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_error_keeps_its_kind_and_its_code() {
        for line in [
            "-ERR unknown command",
            "-WRONGTYPE Operation against a key",
            "-OOM command not allowed",
            "-READONLY You can't write",
            "-NOSCRIPT No matching script.",
            "-MOVED 1 127.0.0.1:7000",
            "-MYOWN",
        ] {
            let value = redis::parse_redis_value(format!("{line}\r\n").as_bytes()).unwrap();
            let node = NodeId::from("a");
            let before = value.extract_error().unwrap_err();
            let after = signed(before.clone(), &node);
            assert_eq!((before.kind(), before.code()), (after.kind(), after.code()));
            assert_eq!(before.redirect_node(), after.redirect_node(), "{line}");
            let words = before.detail().unwrap_or_default();
            let detail = after.detail().unwrap();
            assert!(
                detail.starts_with(words) && detail.ends_with("(node a)"),
                "{after}"
            );
            let twice = signed(after.clone(), &node);
            assert_eq!(twice.to_string(), after.to_string(), "signed once");
            let bare = without_signature(&after, &node);
            assert!(!bare.contains("node a"), "{bare}");
        }
    }
}
