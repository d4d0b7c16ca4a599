//! Whether it is a Redis that answers. A set-up alone is no proof: anything may say `OK` to it, or an error to all.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{RedisError, ServerError, Value};

use crate::error::class_of;
use crate::error::text::one_line;
use crate::health::verdict::Class;

/// What is known of whoever answers at one address.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    /// `ECHO` is forbidden here; each try would be a line of the server's ACL LOG.
    forbidden: AtomicBool,
}

/// Why the other side is none that can be used.
#[derive(Debug)]
pub(super) enum Unproven {
    /// The connection ended, or what came is no RESP.
    Lost(RedisError),
    /// A Redis's own words: it cannot serve, or not us.
    Refused(Class, RedisError),
    /// It answered as no Redis does; in these words.
    NotRedis(String),
}

impl Proof {
    /// Asks for a token on a connection that is set up: by `ECHO`, which a server also answers while it loads, cannot
    /// save or has lost its master, and by `PING` where that is unknown.
    ///
    /// A server that wants a password is a Redis for who has not `logged_in`, and of no use for who has.
    ///
    /// `true` when `ECHO` is forbidden, which was not known before.
    pub(super) async fn ask(
        &self,
        connection: &mut MultiplexedConnection,
        logged_in: bool,
    ) -> Result<bool, Unproven> {
        if self.forbidden.load(Relaxed) {
            return Ok(false);
        }
        let token = format!("fluster-{:016x}", fastrand::u64(..));
        let mut said = String::new();
        for name in ["ECHO", "PING"] {
            let mut cmd = redis::cmd(name);
            cmd.arg(&token);
            let reply = connection.req_packed_command(&cmd).await;
            match heard(reply.map_err(Unproven::Lost)?, &token) {
                Heard::Token | Heard::Redis => return Ok(false),
                // Who gave no password is told so by each command, as a caller of one server is.
                Heard::Refusal(e) if class_of(&e) == Class::NoAuth && !logged_in => {
                    return Ok(false);
                }
                Heard::Forbidden => return Ok(!self.forbidden.swap(true, Relaxed)),
                Heard::Refusal(e) => return Err(Unproven::Refused(class_of(&e), e.into())),
                Heard::Unknown(words) => said = words,
                Heard::Other(words) => {
                    said = words;
                    break;
                }
            }
        }
        Err(Unproven::NotRedis(said))
    }
}

/// What one answer says.
#[derive(Debug, PartialEq)]
enum Heard {
    /// The token.
    Token,
    /// A Redis that has a reason not to answer this; commands will tell.
    Redis,
    /// A Redis's answer as well, that will not change.
    Forbidden,
    /// It cannot serve us.
    Refusal(ServerError),
    /// An error that anything may give: the other command may be known.
    Unknown(String),
    /// No answer to the question.
    Other(String),
}

fn heard(value: Value, token: &str) -> Heard {
    let e = match value {
        Value::BulkString(bytes) if bytes == token.as_bytes() => return Heard::Token,
        Value::SimpleString(text) if text == token => return Heard::Token,
        Value::ServerError(e) => e,
        other => return Heard::Other(one_line(format!("{other:?}"))),
    };
    match class_of(&e) {
        Class::NoPerm => Heard::Forbidden,
        Class::Busy | Class::Misconf | Class::ReadOnly | Class::NoReplicas | Class::OutOfMemory => {
            Heard::Redis
        }
        Class::NotReady | Class::NoAuth | Class::WrongPass | Class::Denied | Class::MaxClients => {
            Heard::Refusal(e)
        }
        Class::UnknownCommand | Class::NoProto | Class::Answer => {
            let words = format!("{} {}", e.code(), e.details().unwrap_or_default());
            Heard::Unknown(one_line(words))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Heard {
        let value = redis::parse_redis_value(line.as_bytes()).expect("a reply");
        heard(value, "t")
    }

    #[test]
    fn only_a_redis_has_these_answers() {
        assert_eq!(of("$1\r\nt\r\n"), Heard::Token);
        assert_eq!(of("+t\r\n"), Heard::Token);
        for line in ["-BUSY a script", "-MISCONF disk", "-READONLY", "-OOM"] {
            assert_eq!(of(&format!("{line}\r\n")), Heard::Redis, "{line}");
        }
        assert_eq!(of("-NOPERM this user\r\n"), Heard::Forbidden);
        for line in [
            "-LOADING",
            "-MASTERDOWN x",
            "-NOAUTH x",
            "-WRONGPASS x",
            "-DENIED x",
        ] {
            let heard = of(&format!("{line}\r\n"));
            assert!(matches!(heard, Heard::Refusal(_)), "{line}: {heard:?}");
        }
    }

    #[test]
    fn anything_else_is_no_proof() {
        for line in [
            "+OK\r\n",
            "$1\r\nx\r\n",
            ":1\r\n",
            "$-1\r\n",
            "*1\r\n$1\r\nt\r\n",
        ] {
            assert!(matches!(of(line), Heard::Other(_)), "{line}");
        }
        for line in [
            "-ERR unknown command 'ECHO'\r\n",
            "-ERR no\r\n",
            "-WHATEVER\r\n",
        ] {
            assert!(matches!(of(line), Heard::Unknown(_)), "{line}");
        }
    }
}
