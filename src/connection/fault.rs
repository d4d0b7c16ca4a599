//! How a call on a connection failed, and how a connection ended.

use std::fmt::Display;
use std::io;

use redis::RedisError;

/// How a command failed after it was given to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No reply within the time allowed.
    Timeout,
    /// The connection ended: EOF, reset, or a driver that stopped.
    Lost,
    /// The peer does not speak RESP.
    Garbage,
    /// Bytes came that nobody had asked for, or a reply that was another's: no reply can be told from another's.
    Stray,
    /// More came than one call may bring; the connection was closed.
    Flood,
    /// Too much waits to be written already.
    Saturated,
    /// There is nothing to send.
    Misuse,
}

/// A failure on a connection, with what is known of the command.
#[derive(Debug)]
pub(crate) struct LinkError {
    pub(crate) fault: Fault,
    /// No whole command of it was written (of a transaction: not its `EXEC`), and none will be.
    pub(crate) unsent: bool,
    /// The connection had been idle for longer than a second when the call began.
    pub(crate) was_idle: bool,
    pub(crate) error: RedisError,
}

/// How a connection ended; each call that was on it gets an error of its own made of this.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) fault: Fault,
    kind: io::ErrorKind,
    os: Option<i32>,
    text: Box<str>,
}

impl Ended {
    pub(crate) fn new(fault: Fault, kind: io::ErrorKind, text: impl Display) -> Self {
        Self {
            fault,
            kind,
            os: None,
            text: text.to_string().into(),
        }
    }

    /// The socket failed.
    pub(crate) fn io(e: &io::Error) -> Self {
        Self {
            os: e.raw_os_error(),
            ..Self::new(Fault::Lost, e.kind(), e)
        }
    }

    /// The server closed its side.
    pub(crate) fn eof() -> Self {
        let text = "the server closed the connection";
        Self::new(Fault::Lost, io::ErrorKind::BrokenPipe, text)
    }

    /// Bytes came that nobody had asked for.
    pub(crate) fn stray() -> Self {
        let text = "the server sent bytes that answer no command";
        Self::new(Fault::Stray, io::ErrorKind::InvalidData, text)
    }

    /// Nobody drives it any more.
    pub(crate) fn abandoned() -> Self {
        let text = "the connection was closed on our side";
        Self::new(Fault::Lost, io::ErrorKind::ConnectionAborted, text)
    }

    pub(crate) fn error(&self) -> RedisError {
        match self.os {
            Some(os) => io::Error::from_raw_os_error(os).into(),
            None => io::Error::new(self.kind, &*self.text).into(),
        }
    }
}
