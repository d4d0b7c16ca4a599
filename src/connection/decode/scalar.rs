//! What has no values inside.

use redis::{PushKind, Value, VerbatimFormat};

use super::garbage::Garbage;
use super::number;
use crate::connection::redis_rs;

/// The value that a line is, its type in front.
pub(super) fn of_line(line: &[u8]) -> Result<Value, Garbage> {
    let Some((&kind, text)) = line.split_first() else {
        return Err(Garbage::no_resp(line));
    };
    let (value, what) = match kind {
        b'+' => (Some(status(text)), ""),
        b'-' => (error(text), "an error that is none"),
        b':' => (
            number::integer(text).map(Value::Int),
            "an integer that is none",
        ),
        b',' => (
            number::double(text).map(Value::Double),
            "a double that is none",
        ),
        b'(' => (big_number(text), "a big number that is none"),
        b'#' => (boolean(text), "a boolean that is neither"),
        b'_' => (
            text.is_empty().then_some(Value::Nil),
            "a null that is something",
        ),
        _ => return Err(Garbage::no_resp(line)),
    };
    value.ok_or_else(|| Garbage::new(what, line))
}

/// The value that a string is, by the type it was announced with.
#[inline]
pub(super) fn string(kind: u8, bytes: Vec<u8>) -> Result<Value, Garbage> {
    match kind {
        b'!' => error(&bytes).ok_or_else(|| Garbage::new("an error that is none", &bytes)),
        b'=' => verbatim(bytes),
        _ => Ok(Value::BulkString(bytes)),
    }
}

fn status(text: &[u8]) -> Value {
    match std::str::from_utf8(text) {
        Ok("OK") => Value::Okay,
        Ok(text) => Value::SimpleString(text.to_owned()),
        // A script's: no reason to end the connection of all others, nor to change it.
        Err(_) => Value::BulkString(text.to_vec()),
    }
}

fn boolean(text: &[u8]) -> Option<Value> {
    match text {
        b"t" => Some(Value::Boolean(true)),
        b"f" => Some(Value::Boolean(false)),
        _ => None,
    }
}

/// An error as redis-rs understands it: nothing else can make one.
fn error(text: &[u8]) -> Option<Value> {
    redis_rs::server_error(&String::from_utf8_lossy(text)).map(Value::ServerError)
}

/// A number that redis-rs keeps as digits or, with its feature `num-bigint`, which any crate can switch on, as a
/// number: it knows which.
fn big_number(digits: &[u8]) -> Option<Value> {
    if !number::is_integer(digits) {
        return None;
    }
    redis::parse_redis_value(&[b"(", digits, b"\r\n"].concat()).ok()
}

fn verbatim(bytes: Vec<u8>) -> Result<Value, Garbage> {
    let mut text = String::from_utf8(bytes)
        .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
    let Some(at) = text.find(':') else {
        return Err(Garbage::new(
            "a verbatim string without a format",
            text.as_bytes(),
        ));
    };
    let format = match &text[..at] {
        "txt" => VerbatimFormat::Text,
        "mkd" => VerbatimFormat::Markdown,
        other => VerbatimFormat::Unknown(other.to_owned()),
    };
    text.drain(..=at);
    Ok(Value::VerbatimString { format, text })
}

/// The kind of a push by its first value.
pub(super) fn push_kind(name: Value) -> Option<PushKind> {
    let name = match name {
        Value::BulkString(name) => String::from_utf8(name).ok()?,
        Value::SimpleString(name) => name,
        _ => return None,
    };
    Some(match &*name {
        "invalidate" => PushKind::Invalidate,
        "message" => PushKind::Message,
        "pmessage" => PushKind::PMessage,
        "smessage" => PushKind::SMessage,
        "subscribe" => PushKind::Subscribe,
        "psubscribe" => PushKind::PSubscribe,
        "ssubscribe" => PushKind::SSubscribe,
        "unsubscribe" => PushKind::Unsubscribe,
        "punsubscribe" => PushKind::PUnsubscribe,
        "sunsubscribe" => PushKind::SUnsubscribe,
        _ => PushKind::Other(name),
    })
}
