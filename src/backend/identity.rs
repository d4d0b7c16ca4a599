//! What a server says of itself, in `INFO server`: its version, and the id of its run.
//!
//! Neither is known from the set-up: `HELLO` has a version and no run id, and RESP2 connections send none. So it
//! is asked in the background, on each new lane, beside what the application sends. A server that refuses the
//! question is not asked again: each refusal is a line in its `ACL LOG`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::time::Duration;

use parking_lot::Mutex;
use redis::Value;

use super::Backend;
use crate::connection::link::{Fault, Link};
use crate::connection::reply::Reply;
use crate::connection::request::Request;
use crate::error::class_of;
use crate::health::verdict::Class;

/// How often in a row a connection may end over the question before it counts as refused: some proxies hang up
/// on what they do not know, and a server that is being killed hangs up once.
const HANG_UPS: u8 = 2;
/// A run id is 40 hexadecimal digits; whatever is longer is none.
const LONGEST_RUN_ID: usize = 64;

/// The version of a server: major, minor, patch.
///
/// What calls itself compatible (Valkey, Dragonfly, KeyDB) says the version of Redis that it is compatible with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Version(pub(crate) u16, pub(crate) u16, pub(crate) u16);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl Version {
    /// Reads `7.0.15`, `7.2`, and `8.0.0-rc1`; `None` for what begins with no number and a dot.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().splitn(3, '.').map(|part| {
            let digits = part.find(|c: char| !c.is_ascii_digit());
            part[..digits.unwrap_or(part.len())].parse().ok()
        });
        let major = parts.next()??;
        let minor = parts.next()??;
        Some(Self(major, minor, parts.next().flatten().unwrap_or(0)))
    }
}

/// Who a server says it is. Either may be missing: proxies hide one or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) version: Option<Version>,
    /// New after each restart of the server.
    pub(crate) run_id: Option<Arc<str>>,
}

impl Identity {
    /// From the text of `INFO server`, or of `INFO`; lines that it does not know are left alone.
    pub(crate) fn parse(info: &str) -> Self {
        let mut identity = Self::default();
        for line in info.lines() {
            match line.split_once(':') {
                Some(("redis_version", text)) => identity.version = Version::parse(text),
                Some(("run_id", text)) => identity.run_id = run_id(text.trim()),
                _ => {}
            }
        }
        identity
    }
}

fn run_id(text: &str) -> Option<Arc<str>> {
    let fits = (1..=LONGEST_RUN_ID).contains(&text.len());
    (fits && text.bytes().all(|b| b.is_ascii_alphanumeric())).then(|| text.into())
}

/// What came of the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Identity(Identity),
    /// It does not know the question, or forbids it: asking again is of no use.
    Refused,
    /// Not now: no answer, or one that says nothing (`LOADING`, `BUSY`).
    Nothing,
    /// The connection ended while it was asked.
    HungUp,
}

/// Makes sense of the reply to `INFO server`.
fn told(reply: &Reply) -> Told {
    let text = match reply {
        Reply::One(Value::BulkString(bytes)) => String::from_utf8_lossy(bytes),
        Reply::One(Value::VerbatimString { text, .. } | Value::SimpleString(text)) => {
            text.as_str().into()
        }
        Reply::One(Value::ServerError(e)) => {
            return match class_of(e) {
                Class::NoPerm | Class::UnknownCommand | Class::Answer => Told::Refused,
                _ => Told::Nothing,
            };
        }
        _ => return Told::Refused,
    };
    Told::Identity(Identity::parse(&text))
}

/// What is known of the servers that a node's name led to.
#[derive(Debug, Default)]
pub(crate) struct Inquiry {
    /// Guards the last answer and who asks; held for a look.
    state: Mutex<State>,
    /// What its version lacks and was spoken of, a bit each.
    said: AtomicU8,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Identity>,
    asking: bool,
    refused: bool,
    hung_up: u8,
}

impl Inquiry {
    /// What the server said last.
    #[cfg_attr(not(test), allow(dead_code, reason = "for those who need a version"))]
    pub(crate) fn last(&self) -> Option<Identity> {
        self.state.lock().last.clone()
    }

    /// Those of these bits that nobody spoke of yet.
    pub(crate) fn news(&self, missing: u8) -> u8 {
        missing & !self.said.fetch_or(missing, SeqCst)
    }

    /// The right to ask; `None` while somebody asks, and once it was refused.
    fn begin(&self) -> Option<Asking<'_>> {
        let mut state = self.state.lock();
        if state.asking || state.refused {
            return None;
        }
        state.asking = true;
        Some(Asking(self))
    }

    /// What it says tells nothing that is worth the question.
    pub(crate) fn no_more(&self) {
        self.state.lock().refused = true;
    }

    /// Keeps the answer; returns it when it is one.
    fn end(&self, told: Told) -> Option<Identity> {
        let mut state = self.state.lock();
        match told {
            Told::Identity(identity) => {
                state.hung_up = 0;
                // A server that hides its id hides it always.
                state.refused |= identity.run_id.is_none();
                state.last = Some(identity.clone());
                return Some(identity);
            }
            Told::Refused => state.refused = true,
            Told::Nothing => {}
            Told::HungUp => {
                state.hung_up += 1;
                state.refused = state.hung_up >= HANG_UPS;
            }
        }
        None
    }
}

/// Somebody asks; a question that is dropped half-way lets the next one ask.
struct Asking<'a>(&'a Inquiry);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.state.lock().asking = false;
    }
}

impl Backend {
    /// Asks the server behind the lane who it is, remembers it, and tells the observer. `None` when there is no
    /// lane, when somebody asks already, and when it does not say. What becomes of the question is no evidence
    /// of the node's health.
    ///
    /// # Cancellation
    ///
    /// Safe.
    pub(crate) async fn identify(self: &Arc<Self>) -> Option<Identity> {
        let identity = {
            let asking = self.inquiry().begin()?;
            let link = self.lane().get()?;
            let told = ask(&link, self.limits().response_timeout).await;
            asking.0.end(told)?
        };
        self.observer.identified(self, &identity);
        Some(identity)
    }
}

async fn ask(link: &Link, limit: Duration) -> Told {
    let mut info = redis::cmd("INFO");
    info.arg("server");
    match link.call(Request::One(&info), Some(limit)).await {
        Ok(reply) => told(&reply),
        // Not one byte of it left: it was not the question that ended the connection.
        Err(e) if e.unsent => Told::Nothing,
        Err(e) => match e.fault {
            Fault::Lost | Fault::Garbage | Fault::Stray | Fault::Flood => Told::HungUp,
            Fault::Timeout | Fault::Saturated | Fault::Misuse => Told::Nothing,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# Server\r\nredis_version:7.0.15\r\nredis_git_sha1:00000000\r\nos:Linux 6 x86_64\r\n\
        run_id:0123456789abcdef0123456789abcdef01234567\r\ntcp_port:6379\r\nexecutable:/x:y\r\n";

    fn error(code: &str, text: &str) -> Reply {
        let line = format!("-{code} {text}\r\n");
        Reply::One(redis::parse_redis_value(line.as_bytes()).expect("an error line"))
    }

    #[test]
    fn version_and_run_id_are_read_from_info() {
        let identity = Identity::parse(INFO);
        assert_eq!(identity.version, Some(Version(7, 0, 15)));
        let id = identity.run_id.expect("there is one");
        assert_eq!(&*id, "0123456789abcdef0123456789abcdef01234567");
    }

    #[test]
    fn what_a_proxy_hides_is_not_made_up() {
        assert_eq!(Identity::parse(""), Identity::default());
        let odd = "redis_version:unknown\nrun_id:\nredis_version\n:7.0.0\n";
        assert_eq!(Identity::parse(odd), Identity::default());
        let long = format!("run_id:{}", "a".repeat(LONGEST_RUN_ID + 1));
        assert_eq!(Identity::parse(&long).run_id, None);
        assert_eq!(Identity::parse("run_id:\u{1b}[31m").run_id, None);
    }

    #[test]
    fn versions_of_all_forms_are_read_and_compared() {
        let read = |text| Version::parse(text);
        assert_eq!(read("6.2"), Some(Version(6, 2, 0)));
        assert_eq!(read("8.0.0-rc1"), Some(Version(8, 0, 0)));
        assert_eq!(read("255.255.255"), Some(Version(255, 255, 255)));
        for text in ["", "7", "v7.0.1", "7.x", "99999.1.1"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert!(Version(6, 2, 14) < Version(7, 0, 0) && Version(7, 0, 0) < Version(10, 0, 0));
        assert_eq!(Version(7, 0, 15).to_string(), "7.0.15");
    }

    #[test]
    fn a_refusal_is_final_and_a_busy_server_is_asked_again() {
        let refused = [
            error(
                "NOPERM",
                "this user has no permissions to run the 'info' command",
            ),
            error("ERR", "unknown command 'INFO'"),
            Reply::One(Value::Nil),
        ];
        for reply in refused {
            assert_eq!(told(&reply), Told::Refused, "{reply:?}");
        }
        for reply in [
            error("LOADING", "Redis is loading"),
            error("BUSY", "a script"),
        ] {
            assert_eq!(told(&reply), Told::Nothing, "{reply:?}");
        }
        let bulk = Reply::One(Value::BulkString(INFO.into()));
        assert!(matches!(told(&bulk), Told::Identity(_)));

        let inquiry = Inquiry::default();
        drop(inquiry.begin().expect("nobody asked"));
        let asking = inquiry.begin().expect("the one before was dropped");
        assert!(inquiry.begin().is_none(), "one at a time");
        drop(asking);
        assert_eq!(inquiry.end(Told::Nothing), None);
        assert!(inquiry.begin().is_some());
        inquiry.end(Told::Refused);
        assert!(inquiry.begin().is_none(), "not asked again");
    }

    #[test]
    fn a_peer_that_hangs_up_over_the_question_twice_is_not_asked_again() {
        let inquiry = Inquiry::default();
        inquiry.end(Told::HungUp);
        inquiry.end(Told::Identity(Identity::parse(INFO)));
        inquiry.end(Told::HungUp);
        assert!(inquiry.begin().is_some(), "not twice in a row");
        inquiry.end(Told::HungUp);
        assert!(inquiry.begin().is_none());
        assert_eq!(inquiry.last(), Some(Identity::parse(INFO)));
    }
}
