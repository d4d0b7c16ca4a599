//! The names of a queue's keys; the same on every node.

use std::fmt;
use std::sync::Arc;

use crate::error::text;
use crate::error::text::quoted;

/// The keys of one queue. The braces keep them together wherever hash tags count.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) queue: Arc<str>,
    pub(crate) stream: Arc<str>,
    /// Messages for later, by the time they are due.
    pub(crate) delayed: Arc<str>,
    pub(crate) dead: Arc<str>,
}

impl Keys {
    pub(crate) fn new(queue: &str) -> Self {
        let key = |what: &str| Arc::from(format!("fluster:{{{queue}}}:{what}"));
        Self {
            queue: queue.into(),
            stream: key("stream"),
            delayed: key("delayed"),
            dead: key("dead"),
        }
    }

    /// What the names of the streams of messages delivered again begin with; the group follows.
    pub(crate) fn again(&self) -> String {
        format!("fluster:{{{}}}:again:", self.queue)
    }

    pub(crate) fn later(&self) -> String {
        format!("fluster:{{{}}}:later:", self.queue)
    }

    pub(crate) fn group(&self, group: &str) -> GroupKeys {
        let key = |what: &str| Arc::from(format!("fluster:{{{}}}:{what}:{group}", self.queue));
        GroupKeys {
            again: key("again"),
            later: key("later"),
            kept: key("kept"),
            turn: key("turn"),
        }
    }

    /// The key that remembers that `id` was seen. Without the queue's braces: these are placed by
    /// themselves, over all nodes.
    pub(crate) fn seen(&self, id: impl fmt::Display) -> String {
        format!("fluster:seen:{}:{id}", self.queue)
    }
}

/// The keys of one group of consumers.
#[derive(Clone, Debug)]
pub(crate) struct GroupKeys {
    /// Messages delivered again, for this group alone.
    pub(crate) again: Arc<str>,
    /// Messages given back for later.
    pub(crate) later: Arc<str>,
    /// Leases that were extended, by their end.
    pub(crate) kept: Arc<str>,
    /// Whose turn the chores are.
    pub(crate) turn: Arc<str>,
}

/// Why a name cannot be that of a queue, a group or a consumer.
pub(crate) fn refuse_name(what: &str, name: &str) -> Option<String> {
    let why = text::refuse_name(name)?;
    Some(format!(
        "the name {} of the {what} {why}: choose another",
        quoted(name)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_a_queue_share_a_hash_tag_and_those_of_seen_ids_do_not() {
        let keys = Keys::new("jobs");
        let group = keys.group("mail");
        let own = [
            &keys.stream,
            &keys.delayed,
            &keys.dead,
            &group.again,
            &group.later,
            &group.kept,
            &group.turn,
        ];
        for key in own {
            assert!(key.starts_with("fluster:{jobs}:"), "{key}");
        }
        assert_eq!(&*group.again, keys.again() + "mail");
        assert_eq!(&*group.later, keys.later() + "mail");
        assert_eq!(keys.seen("ab"), "fluster:seen:jobs:ab");
    }

    #[test]
    fn names_that_would_break_a_key_are_refused() {
        for bad in [
            "",
            "a{b",
            "a}b",
            "a b",
            "a\n",
            "a\u{202e}",
            &"x".repeat(257),
        ] {
            let why = refuse_name("queue", bad).expect(bad);
            assert!(why.contains("queue"), "{why}");
        }
        for good in ["jobs", "jobs:mail", "größe", &"x".repeat(256)] {
            assert_eq!(refuse_name("queue", good), None, "{good}");
        }
    }
}
