//! What a connection that could not be set up shows: for the verdict, and in words for the caller.

use std::error::Error as _;
use std::io;
use std::sync::Arc;

use redis::{ErrorKind, RedisError, ServerError};

use super::dial::DialError;
use super::fault::{Fault, LinkError};
use super::proof::Unproven;
use super::setup::{Part, SetupFault};
use super::wire::Wire;
use crate::error::class_of;
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

/// The first error line among the replies of the set-up: a server that hangs up has said why before all was
/// answered. AUTH and SELECT are answered first, so the first error is the cause.
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

/// What a connection shows whose set-up failed.
pub(super) fn setup_fault(wire: &Wire, why: SetupFault, secret: &str) -> DialError {
    match why {
        SetupFault::Lost(e) | SetupFault::Unproven(Unproven::Lost(e)) => lost(wire, &e, secret),
        SetupFault::Refused(part, e) => refused(part, &e, secret),
        SetupFault::NoAuth(said) => {
            let text = format!(
                "AUTH was not answered by OK (but by {})",
                shown(&said, secret)
            );
            let kind = ErrorKind::AuthenticationFailed;
            let error = (kind, "the server refused the connection", text);
            DialError::new(Seen::Credentials, error)
        }
        SetupFault::Unproven(Unproven::Refused(class, e)) => {
            let line = said_by(&e, secret);
            let text = "the server refused the connection";
            DialError::new(Seen::Error(class), (ErrorKind::Extension, text, line))
        }
        SetupFault::Unproven(Unproven::NotRedis(said)) => {
            let text = format!(
                "it does not answer as a Redis does (it said {})",
                shown(&said, secret)
            );
            DialError::new(
                Seen::WrongToken,
                io::Error::new(io::ErrorKind::InvalidData, text),
            )
        }
        SetupFault::NotDriven(e) => e,
    }
}

fn shown(said: &str, secret: &str) -> String {
    quoted(redacted(said, &[secret]))
}

/// An error reply as the line it was.
fn line_of(e: &ServerError) -> String {
    match e.details() {
        Some(words) => format!("{} {words}", e.code()),
        None => e.code().to_owned(),
    }
}

fn said_by(e: &ServerError, secret: &str) -> String {
    one_line(redacted(&line_of(e), &[secret]))
}

/// The server said no to a step of the set-up.
fn refused(part: Part, e: &ServerError, secret: &str) -> DialError {
    let (seen, kind) = match (part, e.kind()) {
        (Part::Auth, _) => (Seen::Credentials, ErrorKind::AuthenticationFailed),
        (_, Some(kind)) => (Seen::Error(class_of(e)), ErrorKind::Server(kind)),
        (_, None) => (Seen::Error(class_of(e)), ErrorKind::Extension),
    };
    let line = said_by(e, secret);
    DialError {
        line: classify_line(format!("-{}", line_of(e)).as_bytes()),
        ..DialError::new(seen, (kind, "the server refused the connection", line))
    }
}

/// The connection ended before it was set up.
fn lost(wire: &Wire, e: &LinkError, secret: &str) -> DialError {
    let said = wire.setup_bytes();
    let seen = match e.fault {
        Fault::Garbage | Fault::Flood | Fault::Stray => Seen::Garbage,
        Fault::Lost | Fault::Timeout => {
            let (kind, os) = io_parts(&e.error);
            Seen::Io(kind, os)
        }
        Fault::Saturated | Fault::Misuse => Seen::Misuse,
    };
    let error = match (first_error_line(&said), seen) {
        (Some(line), _) if seen != Seen::Misuse => {
            let line = one_line(redacted(line, &[secret]));
            let text = "the server refused the connection";
            RedisError::from((ErrorKind::Extension, text, line))
        }
        (_, Seen::Garbage) => {
            let text = format!(
                "it does not speak Redis's protocol (it said {})",
                first_words(&said, secret)
            );
            io::Error::new(io::ErrorKind::InvalidData, text).into()
        }
        (_, Seen::Io(kind, _)) => {
            let error = one_line(e.error.to_string());
            let text = format!("connected, hung up on during the log-in: {error}");
            io::Error::new(kind, text).into()
        }
        _ => e.error.clone(),
    };
    DialError {
        line: classify_line(&said),
        ..DialError::new(seen, error)
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
