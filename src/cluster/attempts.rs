//! The walk of one piece of work over the nodes that may do it: who was tried, and what follows a failure.
//!
//! The one place that decides whether a command goes on to another node. Who the next one is, each walk knows
//! itself: the candidates of a key, the replicas of a value, the nodes of a queue.

use std::time::Instant;

use crate::clock;
use crate::cluster::options::{Failover, Refusals};
use crate::error::{Error, ErrorKind, Outcome};
use crate::health::verdict::{Class, Disposition};

/// What may be done with work that a node has not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) failover: Failover,
    pub(crate) refusals: Refusals,
}

impl Policy {
    /// Reads of replicas: another one has the value too, but a refusal is the answer of all.
    pub(crate) const READ: Self = Self {
        failover: Failover::IfSafe,
        refusals: Refusals::Return,
    };
    /// A message for any node: rather twice than lost.
    pub(crate) const PUSH: Self = Self {
        failover: Failover::Always,
        refusals: Refusals::NextCandidate,
    };
}

/// How a node failed a piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The server said no, in words of this class.
    Refused(Class),
    /// No answer came, and this is known of the command.
    Unanswered(Outcome),
    /// A limit of our own at this node is reached: nothing was sent, and the node is there, for others to use.
    Saturated,
    /// The keys stay with the node whatever became of the call: the other processes look for them nowhere else.
    Kept,
    /// It would fail on any node: the request cannot be sent, or the cluster was shut down.
    Hopeless,
}

impl From<&Error> for Failed {
    fn from(error: &Error) -> Self {
        match (error.kind(), error.class()) {
            (ErrorKind::Closed | ErrorKind::Invalid, _) => Self::Hopeless,
            (ErrorKind::Saturated, _) => Self::Saturated,
            (_, Some(class)) => Self::Refused(class),
            (_, None) => Self::Unanswered(error.outcome()),
        }
    }
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is the caller's.
    Return,
    /// Another node may have it, if there is one and time is left.
    Another,
}

/// Decides what follows a failure. `read_only` work may be done twice; what may have been done and is done again
/// adds to the load of an outage, so it takes from the `budget`.
pub(crate) fn next_step(
    policy: Policy,
    failed: Failed,
    read_only: bool,
    budget: impl FnOnce() -> bool,
) -> Step {
    let goes_on = match (policy.failover, failed) {
        (Failover::Never, _) | (_, Failed::Hopeless | Failed::Kept) => false,
        (_, Failed::Refused(class)) => match class.disposition() {
            Disposition::Rejected => true,
            Disposition::NotServing => policy.refusals == Refusals::NextCandidate,
            _ => false,
        },
        // The node serves: a write that goes past it is one that nobody reads, and is not even told of.
        (Failover::IfSafe, Failed::Saturated) => read_only,
        (Failover::Always, Failed::Saturated) => true,
        (_, Failed::Unanswered(outcome)) if outcome.is_safe_to_repeat() => true,
        (Failover::IfSafe, Failed::Unanswered(_)) => read_only && budget(),
        (Failover::Always, Failed::Unanswered(_)) => budget(),
    };
    match goes_on {
        true => Step::Another,
        false => Step::Return,
    }
}

/// The nodes that were tried, in that order, and how each failed.
#[derive(Clone, Debug)]
pub(crate) struct Attempts<N> {
    tried: Vec<(N, Error)>,
}

impl<N> Default for Attempts<N> {
    fn default() -> Self {
        Self { tried: Vec::new() }
    }
}

impl<N> Attempts<N> {
    /// Notes a failure; `Some` when that is the end: what is to be said then.
    pub(crate) fn failed(
        &mut self,
        node: N,
        error: Error,
        step: Step,
        deadline: Instant,
    ) -> Option<Error> {
        let over = step == Step::Return || clock::now() >= deadline;
        let end = over.then(|| error.clone());
        self.tried.push((node, error));
        end
    }

    /// Whether none was tried yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.tried.is_empty()
    }

    pub(crate) fn has(&self, is: impl Fn(&N) -> bool) -> bool {
        self.tried.iter().any(|(node, _)| is(node))
    }

    /// The node that was tried last.
    pub(crate) fn left(&self) -> Option<&N> {
        self.tried.last().map(|(node, _)| node)
    }

    /// How the last one failed.
    pub(crate) fn last_error(&self) -> Option<&Error> {
        self.tried.last().map(|(_, error)| error)
    }

    /// Begins again with the first candidate.
    pub(crate) fn clear(&mut self) {
        self.tried.clear();
    }

    /// All of them.
    pub(crate) fn into_tried(self) -> Vec<(N, Error)> {
        self.tried
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Outcome::{MaybeExecuted, NotSent, Rejected};

    const ALL: [(Failover, Refusals); 6] = [
        (Failover::Never, Refusals::Return),
        (Failover::Never, Refusals::NextCandidate),
        (Failover::IfSafe, Refusals::Return),
        (Failover::IfSafe, Refusals::NextCandidate),
        (Failover::Always, Refusals::Return),
        (Failover::Always, Refusals::NextCandidate),
    ];

    fn goes_on(
        failover: Failover,
        refusals: Refusals,
        failed: Failed,
        read_only: bool,
    ) -> [bool; 2] {
        let policy = Policy { failover, refusals };
        [false, true]
            .map(|granted| next_step(policy, failed, read_only, || granted) == Step::Another)
    }

    #[test]
    fn the_whole_table() {
        for (failover, refusals) in ALL {
            let never = failover == Failover::Never;
            for read_only in [false, true] {
                let ask = |failed| goes_on(failover, refusals, failed, read_only);
                assert_eq!(ask(Failed::Hopeless), [false; 2]);
                assert_eq!(
                    ask(Failed::Kept),
                    [false; 2],
                    "nobody would look for it elsewhere"
                );
                // What was not executed costs nobody anything.
                for outcome in [NotSent, Rejected] {
                    assert_eq!(ask(Failed::Unanswered(outcome)), [!never; 2]);
                }
                // A full lane is no sign of a sick node: while the others' writes go there, one of ours elsewhere would be
                // lost to all who read.
                let spills = failover == Failover::Always || (!never && read_only);
                assert_eq!(ask(Failed::Saturated), [spills; 2]);
                let twice = failover == Failover::Always || (!never && read_only);
                assert_eq!(ask(Failed::Unanswered(MaybeExecuted)), [false, twice]);
                for class in [Class::NotReady, Class::Busy, Class::MaxClients] {
                    assert_eq!(ask(Failed::Refused(class)), [!never; 2], "{class:?}");
                }
                let moves = !never && refusals == Refusals::NextCandidate;
                for class in [Class::ReadOnly, Class::OutOfMemory, Class::Misconf] {
                    assert_eq!(ask(Failed::Refused(class)), [moves; 2], "{class:?}");
                }
                for class in [
                    Class::Answer,
                    Class::NoPerm,
                    Class::NoAuth,
                    Class::UnknownCommand,
                ] {
                    assert_eq!(ask(Failed::Refused(class)), [false; 2], "{class:?}");
                }
            }
        }
    }

    #[test]
    fn the_budget_is_asked_only_for_what_may_be_done_twice() {
        let refuse = || -> bool { panic!("asked") };
        for failed in [
            Failed::Hopeless,
            Failed::Kept,
            Failed::Saturated,
            Failed::Unanswered(NotSent),
            Failed::Refused(Class::NotReady),
        ] {
            next_step(Policy::PUSH, failed, true, refuse);
        }
        next_step(
            Policy::READ,
            Failed::Unanswered(MaybeExecuted),
            false,
            refuse,
        );
    }

    #[test]
    fn what_is_too_much_for_a_connection_is_told_from_what_was_not_sent() {
        let of = |kind| Failed::from(&Error::new(kind, NotSent, "full"));
        assert_eq!(of(ErrorKind::Saturated), Failed::Saturated);
        assert_eq!(of(ErrorKind::Connect), Failed::Unanswered(NotSent));
    }

    #[test]
    fn a_walk_ends_with_the_last_word_or_with_the_deadline() {
        let later = Instant::now() + std::time::Duration::from_secs(3600);
        let error = |text| Error::new(ErrorKind::Timeout, NotSent, text);
        let mut attempts = Attempts::default();
        assert!(
            attempts
                .failed(1, error("one"), Step::Another, later)
                .is_none()
        );
        assert!(
            attempts
                .failed(2, error("two"), Step::Return, later)
                .is_some()
        );
        assert!(attempts.has(|n| *n == 1) && !attempts.has(|n| *n == 3));
        assert_eq!(attempts.left(), Some(&2));
        let now = Instant::now();
        let end = attempts.failed(3, error("three"), Step::Another, now);
        assert_eq!(end.map(|e| e.to_string()), Some("three".to_owned()));
        assert_eq!(attempts.into_tried().len(), 3);
    }
}
