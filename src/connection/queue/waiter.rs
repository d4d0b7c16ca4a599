//! A call that waits for its replies.

use std::time::Instant;

use redis::{ServerError, Value};

use super::followed::Both;
use super::slots::Answer;
use crate::connection::encode::MULTI;

/// Whose call it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    User,
    /// The pool asks an idle connection for a sign of life.
    Question,
    /// The driver's own, which proves the order of the replies.
    Token,
}

/// The replies that a call takes.
#[derive(Debug, PartialEq)]
pub(crate) enum Taking {
    One,
    /// That of a subscription, which comes as a push.
    Confirmation,
    Many(Box<Many>),
    /// Those of a request, and of ours behind it.
    Followed(Box<Both>),
    /// A token, and nothing else.
    Token(u64),
}

/// The replies of a pipeline.
#[derive(Debug, PartialEq)]
pub(crate) struct Many {
    /// How many come, of which all are kept, or the last one of a transaction.
    replies: usize,
    seen: usize,
    is_transaction: bool,
    multi: MultiWas,
    values: Vec<Value>,
    errors: Vec<(usize, ServerError)>,
}

/// What came of a `MULTI`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MultiWas {
    /// Or was not answered yet.
    Taken,
    Refused,
    /// And a command behind it was executed by itself.
    RefusedAndRan,
}

/// What a reply was to a call.
#[derive(Debug)]
pub(crate) enum Taken {
    More,
    All(Answer),
    /// The right answer to a token.
    Proven,
    /// An error instead of a token.
    Error(Value),
    /// Something else instead of a token.
    Shifted,
}

impl Taking {
    /// The replies of a pipeline of so many commands; `MULTI` and `EXEC` have replies too.
    pub(crate) fn many(commands: usize, is_transaction: bool) -> Self {
        let (replies, kept) = match is_transaction {
            true => (commands + 2, 1),
            false => (commands, commands),
        };
        Self::Many(Box::new(Many {
            replies,
            seen: 0,
            is_transaction,
            multi: MultiWas::Taken,
            values: Vec::with_capacity(kept),
            errors: Vec::new(),
        }))
    }

    /// The replies of a request, and of so many commands of ours behind it.
    pub(crate) fn followed(own: Self, behind: usize) -> Self {
        Self::Followed(Box::new(Both::new(own, behind)))
    }

    /// Whether they are those of a `MULTI`, of commands, and of an `EXEC`.
    pub(super) fn is_transaction(&self) -> bool {
        match self {
            Self::Many(many) => many.is_transaction,
            Self::Followed(both) => both.own().is_transaction(),
            _ => false,
        }
    }

    /// Whether the server took the `MULTI`, if this is its answer.
    pub(super) fn hears_multi(&self, value: &Value) -> Option<bool> {
        let is_its_answer = self.is_transaction() && self.is_fresh();
        is_its_answer.then_some(!matches!(value, Value::ServerError(_)))
    }

    /// Whether no reply came yet.
    pub(super) fn is_fresh(&self) -> bool {
        match self {
            Self::Many(many) => many.seen == 0,
            Self::Followed(both) => both.is_fresh(),
            _ => true,
        }
    }

    /// Whether the next reply is the last one.
    fn is_at_last(&self) -> bool {
        match self {
            Self::Many(many) => many.seen + 1 >= many.replies,
            Self::Followed(both) => both.is_at_last(),
            _ => true,
        }
    }

    /// Takes the next reply; what nobody wants is counted and dropped.
    pub(super) fn take(&mut self, value: Value, wanted: bool) -> Taken {
        match self {
            Self::One | Self::Confirmation => Taken::All(Answer::One(value)),
            Self::Many(many) => many.take(value, wanted),
            Self::Followed(both) => match both.take(value, wanted) {
                Some(taken) => taken,
                // The same box goes on to the caller.
                None => match std::mem::replace(self, Self::One) {
                    Self::Followed(both) => Taken::All(Answer::Followed(both)),
                    _ => Taken::More,
                },
            },
            Self::Token(token) => match value {
                Value::ServerError(_) => Taken::Error(value),
                value if is_token(&value, *token) => Taken::Proven,
                _ => Taken::Shifted,
            },
        }
    }

    /// Nobody wants what has come so far, nor what will.
    pub(super) fn empty(&mut self) -> Option<Taken> {
        match self {
            Self::Many(many) if !many.values.is_empty() => {
                Some(Taken::All(Answer::Many(std::mem::take(&mut many.values))))
            }
            Self::Followed(both) => both.empty(),
            _ => None,
        }
    }
}

/// The text of a token.
pub(crate) fn token_text(token: u64) -> String {
    format!("fluster-{token:016x}")
}

fn is_token(value: &Value, token: u64) -> bool {
    let is = |said: &[u8]| said == token_text(token).as_bytes();
    match value {
        Value::BulkString(said) => is(said),
        Value::SimpleString(said) => is(said.as_bytes()),
        _ => false,
    }
}

impl Many {
    fn take(&mut self, value: Value, wanted: bool) -> Taken {
        self.seen += 1;
        let is_last = self.seen == self.replies;
        match value {
            // Of a transaction all but the last one say only whether a command was refused.
            value if self.is_transaction && !is_last => {
                self.heard_inside(value, wanted);
            }
            value if wanted => self.values.push(value),
            _ => {}
        }
        match is_last {
            false => Taken::More,
            true if self.multi == MultiWas::RefusedAndRan && !self.errors.is_empty() => {
                let refusal = self.errors.swap_remove(0).1;
                Taken::All(Answer::Unwrapped(refusal))
            }
            true if self.errors.is_empty() => {
                Taken::All(Answer::Many(std::mem::take(&mut self.values)))
            }
            true => Taken::All(Answer::Aborted(std::mem::take(&mut self.errors))),
        }
    }

    /// What a transaction's `MULTI` and commands were answered.
    fn heard_inside(&mut self, value: Value, wanted: bool) {
        let is_multi = self.seen == 1;
        match value {
            Value::ServerError(e) => {
                if is_multi {
                    self.multi = MultiWas::Refused;
                }
                if wanted {
                    // The refusal of `MULTI` is told as the first command's.
                    self.errors.push((self.seen.saturating_sub(2), e));
                }
            }
            _ if self.multi == MultiWas::Refused => self.multi = MultiWas::RefusedAndRan,
            _ => {}
        }
    }
}

/// A call, from the moment its bytes are appended until its last reply came.
#[derive(Debug)]
pub(super) struct Waiter {
    /// Higher than those of all before it.
    pub(super) ticket: u64,
    pub(super) slot: u32,
    /// Given up before a byte of it was claimed: its bytes must not leave.
    pub(super) dead: bool,
    pub(super) purpose: Purpose,
    /// Where in the stream it begins.
    pub(super) start: u64,
    /// Until so much of the stream was written, nothing of it is executed.
    pub(super) decisive: u64,
    /// Where its last command ends.
    pub(super) end: u64,
    pub(super) deadline: Option<Instant>,
    pub(super) taking: Taking,
}

impl Waiter {
    /// Whether no byte of it lies before the offset.
    pub(super) fn is_whole_behind(&self, offset: u64) -> bool {
        self.start >= offset
    }

    /// What must have been written before its next reply can come.
    pub(super) fn needed_for_next(&self) -> u64 {
        match &self.taking {
            taking if taking.is_at_last() => self.end,
            // Its `EXEC` comes last; the commands before it are answered all the same.
            taking if taking.is_transaction() => self.start + MULTI.len() as u64,
            _ => self.decisive,
        }
    }
}
