//! Tokens that prove, on a connection that is busy, that replies belong to the commands before them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::Value;

use super::encode::pack;
use super::proof::Proof;
use super::queue::{Queue, token_text};
use super::request::Request;

/// With calls in flight, one token in this time at most.
const EVERY: Duration = Duration::from_secs(1);

/// The tokens of one connection.
pub(crate) struct Tokens {
    proof: Arc<Proof>,
    next: u64,
    /// What the last one was asked for by.
    verb: &'static str,
    last: Option<Instant>,
}

impl Tokens {
    pub(crate) fn new(proof: &Arc<Proof>) -> Self {
        Self {
            proof: Arc::clone(proof),
            next: fastrand::u64(..),
            verb: "",
            last: None,
        }
    }

    /// Whether it is time for the next one.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        // The set-up has just proved it.
        let last = *self.last.get_or_insert(now);
        now.saturating_duration_since(last) >= EVERY && self.proof.verb().is_some()
    }

    /// Puts one behind what waits to be written.
    pub(crate) fn put(&mut self, queue: &mut Queue, now: Instant) {
        let Some(verb) = self.proof.verb() else {
            return;
        };
        self.last = Some(now);
        self.verb = verb;
        self.next = self.next.wrapping_add(1);
        let mut cmd = redis::cmd(verb);
        cmd.arg(token_text(self.next));
        queue.token(self.next, |out| pack(Request::One(&cmd), out));
    }

    /// The server did not give it back, and said why; that proves nothing.
    pub(crate) fn refused(&self, refusal: &Value) {
        self.proof.refused(self.verb, refusal);
    }

    /// Something else came in its place.
    pub(crate) fn shifted(&self) {
        self.proof.shifted();
    }
}
