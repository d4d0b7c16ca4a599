//! What a server is told of us for the eyes of its operators, and need not take.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use redis::{Pipeline, Value};

use crate::error::class_of;
use crate::health::verdict::Class;

/// What is told with the set-up of each connection, as far as our user may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Courtesy {
    /// The name of the connection.
    Name = 1,
    /// The name of the library, and its version.
    Library = 2,
}

/// What is forbidden to our user at one address: each try would be a line of the server's ACL LOG.
#[derive(Debug, Default)]
pub(super) struct Forbidden(AtomicU8);

impl Forbidden {
    fn has(&self, what: Courtesy) -> bool {
        self.0.load(Relaxed) & what as u8 != 0
    }

    /// Adds what may be told to the end of a set-up; what it is, by the order of the replies.
    pub(super) fn tell(&self, name: &str, steps: &mut Pipeline) -> Vec<Courtesy> {
        let mut told = Vec::new();
        if !name.is_empty() && !self.has(Courtesy::Name) {
            steps.cmd("CLIENT").arg("SETNAME").arg(name);
            told.push(Courtesy::Name);
        }
        if !self.has(Courtesy::Library) {
            for (what, value) in [
                ("LIB-NAME", "fluster"),
                ("LIB-VER", env!("CARGO_PKG_VERSION")),
            ] {
                steps.cmd("CLIENT").arg("SETINFO").arg(what).arg(value);
                told.push(Courtesy::Library);
            }
        }
        told
    }

    /// Remembers what was refused for good. A server that does not know it may be a newer one the next time.
    pub(super) fn note(&self, told: &[Courtesy], replies: impl Iterator<Item = Value>) {
        for (what, reply) in told.iter().zip(replies) {
            if let Value::ServerError(e) = reply
                && class_of(&e) == Class::NoPerm
            {
                self.0.fetch_or(*what as u8, Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(line: &str) -> Value {
        redis::parse_redis_value(line.as_bytes()).expect("a reply")
    }

    #[test]
    fn what_is_forbidden_is_told_once_and_what_is_unknown_each_time() {
        let forbidden = Forbidden::default();
        let told = || {
            let mut steps = Pipeline::new();
            let told = forbidden.tell("billing", &mut steps);
            assert_eq!(told.len(), steps.len());
            told
        };
        let all = [Courtesy::Name, Courtesy::Library, Courtesy::Library];
        assert_eq!(told(), all);
        let unknown = || refusal("-ERR unknown subcommand\r\n");
        forbidden.note(&all, [unknown(), unknown(), unknown()].into_iter());
        assert_eq!(told(), all);
        let no = || refusal("-NOPERM this user has no permissions\r\n");
        forbidden.note(&all, [no(), Value::Okay, Value::Okay].into_iter());
        assert_eq!(told(), all[1..]);
        forbidden.note(&all[1..], [no(), no()].into_iter());
        assert_eq!(told(), []);
    }
}
