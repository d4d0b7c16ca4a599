//! The replies to a request, and to commands of ours behind it.

use redis::Value;

use super::slots::Answer;
use super::waiter::{Taken, Taking};

/// What a caller's own request takes, then what ours do.
#[derive(Debug, PartialEq)]
pub(crate) struct Both {
    own: Taking,
    answer: Option<Answer>,
    /// How many of ours are outstanding.
    left: usize,
    said: Vec<Value>,
}

impl Both {
    pub(super) fn new(own: Taking, behind: usize) -> Self {
        Self {
            own,
            answer: None,
            left: behind,
            said: Vec::with_capacity(behind),
        }
    }

    pub(super) fn own(&self) -> &Taking {
        &self.own
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.answer.is_none() && self.own.is_fresh()
    }

    pub(super) fn is_at_last(&self) -> bool {
        self.answer.is_some() && self.left <= 1
    }

    /// `None` when all is there.
    pub(super) fn take(&mut self, value: Value, wanted: bool) -> Option<Taken> {
        if self.answer.is_none() {
            return Some(match self.own.take(value, wanted) {
                Taken::All(answer) => {
                    self.answer = Some(answer);
                    Taken::More
                }
                other => other,
            });
        }
        self.left -= 1;
        if wanted {
            self.said.push(value);
        }
        (self.left > 0).then_some(Taken::More)
    }

    /// What was answered to the caller's own, and to ours.
    pub(crate) fn into_parts(self) -> (Answer, Vec<Value>) {
        // It is handed out when it has one.
        let answer = self.answer.unwrap_or(Answer::Many(Vec::new()));
        (answer, self.said)
    }

    pub(super) fn empty(&mut self) -> Option<Taken> {
        let own = self.own.empty();
        // What has come stands for what was answered: nobody looks at it any more.
        own.or_else(|| match &mut self.answer {
            Some(Answer::Many(values)) => Some(Taken::All(Answer::Many(std::mem::take(values)))),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(mut taking: Taking, replies: impl IntoIterator<Item = Value>) -> Vec<Taken> {
        let replies = replies.into_iter();
        replies.map(|value| taking.take(value, true)).collect()
    }

    fn last(mut taken: Vec<Taken>) -> (Answer, Vec<Value>) {
        let last = taken.pop();
        assert!(
            taken.iter().all(|taken| matches!(taken, Taken::More)),
            "{taken:?}"
        );
        match last {
            Some(Taken::All(Answer::Followed(both))) => both.into_parts(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_call_has_ended_when_what_follows_it_is_answered_too() {
        let replies = [Value::Okay, Value::Int(1), Value::Int(2)];
        let (own, said) = last(heard(Taking::followed(Taking::One, 2), replies));
        assert_eq!(own, Answer::One(Value::Okay));
        assert_eq!(said, [Value::Int(1), Value::Int(2)]);
        let many = Taking::followed(Taking::many(2, false), 1);
        let (own, said) = last(heard(many, [Value::Okay, Value::Nil, Value::Int(1)]));
        assert_eq!(own, Answer::Many(vec![Value::Okay, Value::Nil]));
        assert_eq!(said, [Value::Int(1)]);
    }

    #[test]
    fn behind_a_transaction_they_are_told_apart_from_its_own() {
        let atomic = Taking::followed(Taking::many(1, true), 1);
        assert!(atomic.is_transaction() && atomic.is_fresh());
        let queued = Value::SimpleString("QUEUED".to_owned());
        let exec = Value::Array(vec![Value::Int(7)]);
        let replies = [Value::Okay, queued, exec.clone(), Value::Int(1)];
        let (own, said) = last(heard(atomic, replies));
        assert_eq!(own, Answer::Many(vec![exec]));
        assert_eq!(said, [Value::Int(1)]);
    }
}
