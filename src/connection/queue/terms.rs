//! What callers and driver say to the queue, and what it says to them.

use std::task::Waker;
use std::time::Instant;

use redis::Value;

use super::slots::{Answer, Failure, NOBODY};
use super::waiter::{Purpose, Taken, Taking};

/// Gaps are closed for the sake of room when one of so many calls that wait to be written was given up.
pub(super) const WORTH: usize = 8;

/// How much may wait to be written on one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) calls: usize,
    pub(crate) bytes: u64,
}

/// What a caller wants of its place in the queue.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) deadline: Option<Instant>,
    pub(crate) purpose: Purpose,
    pub(crate) taking: Taking,
}

/// A caller's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(super) ticket: u64,
    pub(super) slot: u32,
}

impl Place {
    /// That of a caller who has left.
    pub(crate) const LEFT: Self = Self {
        ticket: 0,
        slot: NOBODY,
    };

    pub(crate) fn is_left(self) -> bool {
        self.slot == NOBODY
    }
}

/// What a caller finds in its place.
#[derive(Debug)]
pub(crate) enum Looked {
    Over(Result<Answer, Failure>),
    Waits,
    /// It waits, and the waker that is kept is another one.
    ByAnother,
}

/// Why a call got no place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    Ended,
    Full,
}

/// What a reply meant.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    /// One of several of a call.
    Part,
    /// A call has all it waits for.
    Whole,
    /// The answer to a token of ours was an error, which proves nothing.
    Token(Value),
}

/// Why a reply ends the connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// Nobody waits for it.
    Stray,
    /// It is not the answer to the token of ours in whose place it came: replies are shifted.
    Shifted,
    /// The server refused a command before it was whole; its caller knows.
    Halfway,
}

/// What a caller leaves: its waker, which is foreign, and what has come of its replies.
#[allow(dead_code, reason = "held to be dropped")]
#[must_use = "drop it outside the lock"]
#[derive(Debug, Default)]
pub(crate) struct Left(pub(super) Option<Waker>, pub(super) Option<Taken>);

/// What it meant that a caller went away. What it holds may be large, and is dropped outside the lock.
#[allow(dead_code, reason = "some is held to be dropped")]
#[must_use = "drop it outside the lock"]
#[derive(Debug, Default)]
pub(crate) struct Cancelled {
    pub(super) over: Option<Result<Answer, Failure>>,
    pub(super) left: Left,
    /// Who found no room may find some now.
    pub(crate) room: bool,
    /// Some of it has left, or will.
    pub(crate) was_sent: bool,
}
