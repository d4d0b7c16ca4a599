//! What cannot be known of a node that returns.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// A set that nobody adds to for so long is gone.
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// Why nobody knows what a node that returns holds of old values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum UnknownReason {
    /// More keys were written meanwhile than [`return_limit`](crate::ClusterBuilder::return_limit) lets be noted.
    Overflow,
    /// A server refused what is needed to note keys or to take them back: an ACL, a proxy, a key of another type under
    /// the journal's name, or no memory left.
    Refused,
    /// The server started anew from its last save, without an append-only file: what was written after the save is old.
    Rollback,
    /// A node that noted keys for it lost what it had.
    Lost,
    /// A node that may have noted keys for it is out itself.
    Unread,
    /// It was added with data in it, of which nobody here knows where it is from.
    Added,
    /// It was out for longer than notes are kept: a day.
    Day,
}

impl UnknownReason {
    /// As metrics and logs have it. [Example](crate::guide::by_example#returns).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Overflow => "overflow",
            Self::Refused => "refused",
            Self::Rollback => "rollback",
            Self::Lost => "lost",
            Self::Unread => "unread",
            Self::Added => "added",
            Self::Day => "day",
        }
    }
}

impl fmt::Display for UnknownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a server says of itself, as far as it says anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) run_id: Option<Box<str>>,
    /// Whether it keeps an append-only file.
    pub(crate) has_aof: Option<bool>,
    /// How many keys there are.
    pub(crate) keys: Option<u64>,
}

impl Facts {
    /// Reads one line of `INFO`.
    pub(crate) fn line(&mut self, line: &str) {
        match line.trim_end().split_once(':') {
            Some(("run_id", id)) if !id.is_empty() && id.len() <= 64 => {
                self.run_id = Some(id.into());
            }
            Some(("aof_enabled", yes)) => self.has_aof = Some(yes != "0"),
            _ => {}
        }
    }

    /// Whether it certainly holds nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys == Some(0)
    }

    /// Whether this is another run of the server than `before`, which began with a save of an earlier moment.
    pub(crate) fn is_rolled_back(&self, before: &Self) -> bool {
        self.is_other_run(before) && !self.is_empty() && self.has_aof == Some(false)
    }

    /// Whether what was noted here during the run of `before` may be gone.
    pub(crate) fn lost_its_notes(&self, before: &Self) -> bool {
        self.is_other_run(before) && self.has_aof == Some(false)
    }

    fn is_other_run(&self, before: &Self) -> bool {
        matches!((&self.run_id, &before.run_id), (Some(now), Some(then)) if now != then)
    }
}

/// What this process knows of the time that a node was out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Absence {
    /// `None` when it was not out, but drained, or is new.
    pub(crate) lasted: Option<Duration>,
    /// Somebody who went out later, and may have noted something before, is out still.
    pub(crate) others_are_out: bool,
    /// The set of nodes brought it.
    pub(crate) is_added: bool,
}

impl Absence {
    /// Why nobody knows what the node has, as far as that follows from what it was `before` and is `now`.
    pub(crate) fn doubts(&self, before: Option<&Facts>, now: &Facts) -> BTreeSet<UnknownReason> {
        let is_rolled_back = before.is_some_and(|before| now.is_rolled_back(before));
        let all = [
            (is_rolled_back, UnknownReason::Rollback),
            (self.others_are_out, UnknownReason::Unread),
            (self.is_added && !now.is_empty(), UnknownReason::Added),
            (
                self.lasted.is_some_and(|lasted| lasted >= DAY),
                UnknownReason::Day,
            ),
        ];
        let doubts = all.into_iter().filter(|(is_so, _)| *is_so);
        doubts.map(|(_, why)| why).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_nobody_knows_what_a_node_has_follows_from_its_absence() {
        let (before, now) = (facts("a", false, 9), facts("b", false, 9));
        let doubts = |absence: Absence, before: Option<&Facts>, now: &Facts| {
            let doubts = absence.doubts(before, now).into_iter();
            doubts.map(UnknownReason::as_str).collect::<Vec<_>>()
        };
        let short = Absence {
            lasted: Some(DAY - Duration::from_secs(1)),
            ..Absence::default()
        };
        assert_eq!(doubts(short, Some(&before), &before), [""; 0]);
        assert_eq!(doubts(short, None, &now), [""; 0], "it was not known");
        assert_eq!(doubts(short, Some(&before), &now), ["rollback"]);
        let long = Absence {
            lasted: Some(DAY),
            others_are_out: true,
            is_added: false,
        };
        assert_eq!(doubts(long, Some(&before), &before), ["unread", "day"]);
        let added = Absence {
            is_added: true,
            ..Absence::default()
        };
        assert_eq!(doubts(added, None, &now), ["added"]);
        let empty = facts("b", false, 0);
        assert_eq!(
            doubts(added, Some(&before), &empty),
            [""; 0],
            "it has nothing"
        );
    }

    fn facts(id: &str, aof: bool, keys: u64) -> Facts {
        Facts {
            run_id: Some(id.into()),
            has_aof: Some(aof),
            keys: Some(keys),
        }
    }

    #[test]
    fn a_server_that_began_anew_from_a_save_is_rolled_back_and_an_empty_one_is_not() {
        let before = facts("a", false, 9);
        assert!(facts("b", false, 9).is_rolled_back(&before));
        assert!(!facts("b", true, 9).is_rolled_back(&before), "it has all");
        assert!(
            !facts("b", false, 0).is_rolled_back(&before),
            "it has nothing"
        );
        assert!(
            !facts("a", false, 9).is_rolled_back(&before),
            "it only stopped"
        );
        assert!(!Facts::default().is_rolled_back(&before), "it says nothing");
        assert!(facts("b", false, 0).lost_its_notes(&before));
    }

    #[test]
    fn the_lines_of_info_are_read_and_foreign_ones_left_alone() {
        let mut facts = Facts::default();
        for line in [
            "# Server",
            "run_id:abc\r",
            "aof_enabled:0\r",
            "run_id",
            "aof_enabled",
        ] {
            facts.line(line);
        }
        assert_eq!(
            (facts.run_id.as_deref(), facts.has_aof),
            (Some("abc"), Some(false))
        );
        facts.line(&format!("run_id:{}", "x".repeat(65)));
        assert_eq!(facts.run_id.as_deref(), Some("abc"));
    }
}
