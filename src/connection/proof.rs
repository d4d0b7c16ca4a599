//! Whether it is a Redis that answers, and in the order it was asked. A set-up alone is no proof: anything may say
//! `OK` to it, or an error to all.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};

use redis::{Cmd, ServerError, Value};

use super::courtesy::Forbidden;
use super::fault::LinkError;
use super::labels::labels;
use super::link::send;
use super::queue::{Purpose, token_text};
use super::reply::Reply;
use super::request::Request;
use super::wire::Wire;
use crate::clock;
use crate::error::class_of;
use crate::error::text::one_line;
use crate::health::verdict::Class;
use crate::node::NodeId;

/// Commands that give back what they were given, in the order in which they are tried.
const VERBS: [&str; 2] = ["ECHO", "PING"];

/// Who is told that replies were shifted.
pub(crate) type OnShift = Box<dyn Fn() + Send + Sync>;

/// What is known of whoever answers at one address.
pub(crate) struct Proof {
    node: NodeId,
    /// The name of its cluster.
    cluster: Box<str>,
    on_shift: OnShift,
    /// Which of [`VERBS`] our user may use here; behind them, none. Each try of a forbidden one would be a line of the
    /// server's ACL LOG.
    verb: AtomicU8,
    /// What our user may not tell of us.
    forbidden: Forbidden,
    /// It was said that replies were shifted.
    said: AtomicBool,
}

/// Why the other side is none that can be used.
#[derive(Debug)]
pub(super) enum Unproven {
    /// The connection ended, or what came is no RESP.
    Lost(LinkError),
    /// A Redis's own words: it cannot serve, or not us.
    Refused(Class, ServerError),
    /// It answered as no Redis does; in these words.
    NotRedis(String),
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof")
            .field("node", &self.node)
            .field("verb", &self.verb())
            .finish_non_exhaustive()
    }
}

impl Proof {
    pub(crate) fn new(node: &NodeId, cluster: &str, on_shift: OnShift) -> Self {
        Self {
            node: node.clone(),
            cluster: cluster.into(),
            on_shift,
            verb: AtomicU8::new(0),
            forbidden: Forbidden::default(),
            said: AtomicBool::new(false),
        }
    }

    /// Those of its node.
    pub(super) fn labels(&self) -> Vec<metrics::Label> {
        labels(&self.cluster, [("node", self.node.to_string())])
    }

    pub(super) fn forbidden(&self) -> &Forbidden {
        &self.forbidden
    }

    /// The command to prove something by, if there is one.
    pub(super) fn verb(&self) -> Option<&'static str> {
        VERBS.get(usize::from(self.verb.load(Relaxed))).copied()
    }

    /// Asks for a token on a connection that is being set up: by `ECHO`, which a server also answers while it loads,
    /// cannot save or has lost its master, and by `PING` where that is unknown or forbidden.
    ///
    /// A server that wants a password is a Redis for who has not `logged_in`, and of no use for who has.
    ///
    /// `true` when both are forbidden, which was not known before.
    pub(super) async fn ask(&self, wire: &Wire, logged_in: bool) -> Result<bool, Unproven> {
        let mut said = None;
        for at in self.verb.load(Relaxed).. {
            let Some(name) = VERBS.get(usize::from(at)) else {
                break;
            };
            let token = token_text(fastrand::u64(..));
            let mut cmd = Cmd::new();
            cmd.arg(name).arg(&token);
            let asked = send(wire, clock::now(), Request::One(&cmd), None, Purpose::User);
            let value = match asked.await.map_err(Unproven::Lost)? {
                Reply::One(value) => value,
                other => other.into_value(),
            };
            match heard(value, &token) {
                Heard::Token => {
                    self.verb.fetch_max(at, Relaxed);
                    return Ok(false);
                }
                Heard::Redis => return Ok(false),
                // Who gave no password is told so by each command, as a caller of one server is.
                Heard::Refusal(e) if class_of(&e) == Class::NoAuth && !logged_in => {
                    return Ok(false);
                }
                Heard::Refusal(e) => return Err(Unproven::Refused(class_of(&e), e)),
                Heard::Forbidden => said = None,
                Heard::Unknown(words) => said = Some(words),
                Heard::Other(words) => return Err(Unproven::NotRedis(words)),
            }
        }
        match said {
            Some(words) => Err(Unproven::NotRedis(words)),
            // Whoever says so has let us in and executes commands.
            None => Ok(self.none_left()),
        }
    }

    /// Nothing can be proved here any more; `true` when that is news.
    fn none_left(&self) -> bool {
        let none = VERBS.len() as u8;
        self.verb.swap(none, Relaxed) != none
    }

    /// A token that was asked for by `verb` was answered by an error while the connection was in use.
    pub(super) fn refused(&self, verb: &str, refusal: &Value) {
        let Value::ServerError(e) = refusal else {
            return;
        };
        let at = VERBS.iter().position(|known| *known == verb);
        if let (Class::NoPerm | Class::UnknownCommand, Some(at)) = (class_of(e), at) {
            // What our user may do was changed: from now on the next one is tried, by new connections too.
            self.verb.fetch_max(at as u8 + 1, Relaxed);
        }
    }

    /// Another reply came in the place of a token.
    pub(super) fn shifted(&self) {
        metrics::counter!("fluster_shifted_replies_total", self.labels()).increment(1);
        (self.on_shift)();
        if !self.said.swap(true, Relaxed) {
            tracing::error!(
                node = %self.node,
                "replies do not belong to the commands before them: something between adds or swallows some. The \
                 connection was closed; what it answered within the last second and a round trip may be wrong"
            );
        }
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
    fn a_token_that_is_refused_in_use_leaves_the_other_command() {
        let proof = Proof::new(&NodeId::from("n"), "", Box::new(|| ()));
        let said = |line: &str| redis::parse_redis_value(line.as_bytes()).expect("a reply");
        proof.refused("ECHO", &said("-BUSY a script\r\n"));
        assert_eq!(proof.verb(), Some("ECHO"), "that passes");
        let forbidden = said("-NOPERM this user has no permissions\r\n");
        // Two connections asked at once.
        proof.refused("ECHO", &forbidden);
        proof.refused("ECHO", &forbidden);
        assert_eq!(proof.verb(), Some("PING"), "nobody has refused it");
        proof.refused("PING", &forbidden);
        assert_eq!(proof.verb(), None);
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
