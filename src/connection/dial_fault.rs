//! What a connection that could not be set up shows: for the verdict, and in words for the caller.

use std::error::Error as _;
use std::io;
use std::sync::Arc;

use redis::{ErrorKind, RedisError};

use super::dial::DialError;
use super::proof::Unproven;
use super::wire::Wire;
use crate::error::class_of_error;
use crate::error::redact::redacted;
use crate::error::text::{one_line, quoted};
use crate::health::verdict::{Seen, classify_line};

#[cfg(feature = "tls")]
pub(super) fn tls_fault(e: io::Error) -> DialError {
    match e.kind() {
        // rustls reports a peer that does not speak TLS and a certificate that does not verify alike.
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            DialError::new(Seen::Certificate, e)
        }
        _ => DialError::io(e),
    }
}

/// The first error line among the replies of the set-up; redis-rs hides it behind "broken pipe", "ERR"
/// or no text at all. AUTH and SELECT are answered first, so the first error is the cause.
fn first_error_line(said: &[u8]) -> Option<&str> {
    said.split(|b| *b == b'\n')
        .find(|line| line.first() == Some(&b'-'))
        .and_then(|line| std::str::from_utf8(&line[1..]).ok())
        .map(str::trim_end)
}

/// The first line of what a peer said that is no Redis.
fn first_words(said: &[u8], secret: &str) -> String {
    let line = said
        .split(|b| b"\r\n".contains(b))
        .next()
        .unwrap_or_default();
    let line = redacted(&String::from_utf8_lossy(line), &[secret]);
    quoted(line.chars().take(60).collect::<String>())
}

pub(super) fn setup_fault(wire: &Wire, error: RedisError, secret: &str) -> DialError {
    let said = wire.setup_bytes();
    let seen = match error.kind() {
        _ if wire.saw_flood() => Seen::Garbage,
        ErrorKind::Io => {
            let (kind, os) = io_parts(&error);
            Seen::Io(kind, os)
        }
        // A reply that stops in the middle was cut by the peer's FIN; anything else is not RESP.
        ErrorKind::Parse if wire.saw_eof() => Seen::Io(io::ErrorKind::UnexpectedEof, None),
        ErrorKind::Parse => Seen::Garbage,
        ErrorKind::AuthenticationFailed => Seen::Credentials,
        ErrorKind::Server(_) | ErrorKind::Extension => Seen::Error(class_of_error(&error)),
        _ => Seen::Misuse,
    };
    let error = match first_error_line(&said) {
        Some(line) if seen != Seen::Misuse => {
            let kind = match error.kind() {
                ErrorKind::Io => ErrorKind::Extension,
                kind => kind,
            };
            let line = one_line(redacted(line, &[secret]));
            RedisError::from((kind, "the server refused the connection", line))
        }
        _ => match seen {
            Seen::Garbage => {
                let text = format!(
                    "it does not speak Redis's protocol (it said {})",
                    first_words(&said, secret)
                );
                io::Error::new(io::ErrorKind::InvalidData, text).into()
            }
            Seen::Io(kind, _) => {
                let text = format!("connected, hung up on during the log-in: {error}");
                io::Error::new(kind, text).into()
            }
            _ => error,
        },
    };
    DialError {
        line: classify_line(&said),
        ..DialError::new(seen, error)
    }
}

/// The other side was set up, and did not answer as a Redis does.
pub(super) fn unproven(wire: &Wire, why: Unproven, secret: &str) -> DialError {
    match why {
        Unproven::Lost(e) => setup_fault(wire, e, secret),
        Unproven::Refused(class, e) => {
            let line = one_line(redacted(&e.to_string(), &[secret]));
            let text = "the server refused the connection";
            DialError::new(Seen::Error(class), (ErrorKind::Extension, text, line))
        }
        Unproven::NotRedis(said) => {
            let said = redacted(&said, &[secret]);
            let text = format!(
                "it does not answer as a Redis does (it said {})",
                quoted(said)
            );
            DialError::new(
                Seen::WrongToken,
                io::Error::new(io::ErrorKind::InvalidData, text),
            )
        }
    }
}

/// The kind and number of the operating system's error inside.
pub(crate) fn io_parts(error: &RedisError) -> (io::ErrorKind, Option<i32>) {
    // redis-rs keeps the I/O error behind an `Arc`, and hands out the `Arc` as the source.
    type Shared = Arc<dyn std::error::Error + Send + Sync>;
    let inner = error
        .source()
        .and_then(|source| match source.downcast_ref::<Shared>() {
            Some(shared) => shared.downcast_ref::<io::Error>(),
            None => source.downcast_ref::<io::Error>(),
        });
    match inner {
        Some(e) => (e.kind(), e.raw_os_error()),
        None => (io::ErrorKind::BrokenPipe, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_line_is_found_among_other_replies() {
        assert_eq!(
            first_error_line(b"+OK\r\n-ERR DB index\r\n-x"),
            Some("ERR DB index")
        );
        assert_eq!(
            first_error_line(b"-ERR max number of clients reached\r\n"),
            Some("ERR max number of clients reached")
        );
        assert_eq!(first_error_line(b"+OK\r\n$1\r\n-"), Some(""));
        assert_eq!(first_error_line(b""), None);
    }
}
