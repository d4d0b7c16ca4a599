//! One connection to a sentinel: words out, values in. No more than a few lines are said on it, in RESP2, so it has no task
//! and no queue.

use std::io;

use redis::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::answer::Refusal;
use crate::connection::decode::{DecodeLimits, Decoder, Frame};
use crate::connection::socket::Socket;
use crate::error::redact::redacted;
use crate::error::text::one_line;
use crate::node::SentinelAddress;

/// In bytes. A master's fields are about two thousand.
const LARGEST: u64 = 64 << 10;
/// A message names a master and two addresses.
const DEEPEST: usize = 4;

pub(super) struct Line {
    socket: Socket,
    decoder: Decoder,
    /// What came, and was not decoded yet.
    unread: Vec<u8>,
    unsaid: Vec<u8>,
}

impl Line {
    pub(super) fn new(socket: Socket) -> Self {
        let limits = DecodeLimits {
            nesting: DEEPEST,
            line: 1 << 10,
            ..DecodeLimits::default()
        };
        Self {
            socket,
            decoder: Decoder::new(limits.reply(LARGEST)),
            unread: Vec::new(),
            unsaid: Vec::new(),
        }
    }

    /// Puts a command behind what is to be said.
    pub(super) fn say(&mut self, words: &[&str]) {
        let mut cmd = redis::Cmd::new();
        for word in words {
            cmd.arg(word);
        }
        cmd.write_packed_command(&mut self.unsaid);
    }

    /// Says it.
    ///
    /// # Cancellation
    ///
    /// A command may have left in part: the line is of no more use.
    pub(super) async fn flush(&mut self) -> Result<(), Refusal> {
        let unsaid = std::mem::take(&mut self.unsaid);
        let written = async {
            self.socket.write_all(&unsaid).await?;
            self.socket.flush().await
        };
        written.await.map_err(|e| Refusal::unreachable(&e))
    }

    /// The next reply or message.
    ///
    /// # Cancellation
    ///
    /// Safe: what has come is kept.
    pub(super) async fn hear(&mut self) -> Result<Value, Refusal> {
        loop {
            let mut rest = &self.unread[..];
            let frame = self.decoder.read(&mut rest);
            let used = self.unread.len() - rest.len();
            self.unread.drain(..used);
            match frame {
                Ok(Some(Frame::Reply(value))) => return Ok(value),
                Ok(Some(Frame::Push { data, .. })) => return Ok(Value::Array(data)),
                Ok(None) => {}
                Err(garbage) => return Err(Refusal::Odd(one_line(garbage.to_string()))),
            }
            match self.socket.read_buf(&mut self.unread).await {
                Ok(0) => {
                    let ended = io::Error::from(io::ErrorKind::UnexpectedEof);
                    return Err(Refusal::unreachable(&ended));
                }
                Ok(_) => {}
                Err(e) => return Err(Refusal::unreachable(&e)),
            }
        }
    }

    /// Gives the password, where there is one.
    pub(super) async fn log_in(&mut self, address: &SentinelAddress) -> Result<(), Refusal> {
        let Some(password) = &address.password else {
            return Ok(());
        };
        match &address.username {
            Some(user) => self.say(&["AUTH", user, password]),
            None => self.say(&["AUTH", password]),
        }
        self.flush().await?;
        match self.hear().await? {
            Value::Okay => Ok(()),
            Value::ServerError(e) => {
                let words = format!("{} {}", e.code(), e.details().unwrap_or_default());
                Err(Refusal::Refused(one_line(redacted(&words, &[password]))))
            }
            _ => Err(Refusal::Odd("no answer to AUTH".into())),
        }
    }
}
