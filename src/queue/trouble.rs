//! What is wrong with a node, and when who is told: an operator once, the application when it lasts.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind};

/// The application is told no more often than this.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// What a consumer does on a node beside reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Of the whole group, in turns.
    Chores,
    /// Renewing, giving back, noting what is started.
    Leases,
}

impl Duty {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Chores => "the chores",
            Self::Leases => "the leases",
        }
    }

    /// What waits while it is not done.
    pub(crate) fn stakes(self) -> &'static str {
        match self {
            Self::Chores => "delayed messages and those of workers that died",
            Self::Leases => "messages come twice, and those that were not popped",
        }
    }
}

/// One thing that fails, maybe for long.
#[derive(Debug, Default)]
pub(crate) struct Ailment {
    since: Option<Instant>,
    /// The keys at which it fails and that were told to the operator.
    warned: BTreeSet<String>,
    told: Option<Instant>,
    raised: Option<Error>,
}

impl Ailment {
    /// It failed at `key`; says whether an operator has to know: from the second failure on, once per key.
    pub(crate) fn failed(
        &mut self,
        key: &str,
        error: Error,
        now: Instant,
        visibility: Duration,
    ) -> bool {
        let Some(since) = self.since else {
            self.since = Some(now);
            return false;
        };
        let is_due = self
            .told
            .is_none_or(|told| now.saturating_duration_since(told) >= TELL_EVERY);
        if is_due && now.saturating_duration_since(since) >= visibility {
            (self.told, self.raised) = (Some(now), Some(error));
        }
        self.warned.insert(key.to_owned())
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.raised.is_some()
    }

    /// It was done; after how long, if somebody was told that it was not.
    pub(crate) fn healed(&mut self, now: Instant) -> Option<Duration> {
        let ended = std::mem::take(self);
        let since = ended.since.filter(|_| !ended.warned.is_empty())?;
        Some(now.saturating_duration_since(since))
    }
}

/// What is wrong with a node.
#[derive(Debug, Default)]
pub(crate) struct QueueTrouble {
    error: Option<Error>,
    /// It was not told yet, and will not pass by itself.
    raised: bool,
    /// It should pass by itself.
    passing: Ailment,
    chores: Ailment,
    leases: Ailment,
}

impl QueueTrouble {
    /// The node cannot be read; says whether an operator has to know.
    pub(crate) fn unreadable(&mut self, error: Error, now: Instant, visibility: Duration) -> bool {
        let known = self.error.as_ref().map(Error::kind);
        let is_news = known != Some(error.kind());
        self.error = Some(error.clone());
        match Sort::of(&error) {
            // Whoever knows the nodes says so, for all that need them.
            Sort::Out => false,
            Sort::Passes => self.passing.failed("", error, now, visibility),
            Sort::Stays => {
                self.raised = true;
                is_news
            }
        }
    }

    pub(crate) fn readable(&mut self) {
        (self.error, self.raised) = (None, false);
        self.passing = Ailment::default();
    }

    pub(crate) fn duty(&mut self, duty: Duty) -> &mut Ailment {
        match duty {
            Duty::Chores => &mut self.chores,
            Duty::Leases => &mut self.leases,
        }
    }

    /// What the application has to know; once per try.
    pub(crate) fn raised(&mut self) -> Option<Error> {
        if std::mem::take(&mut self.raised) {
            return self.error.clone();
        }
        let all = [&mut self.passing, &mut self.chores, &mut self.leases];
        all.into_iter().find_map(|ailment| ailment.raised.take())
    }

    /// Why the node cannot be read.
    pub(crate) fn error(&self) -> Option<Error> {
        self.error.clone()
    }
}

/// What becomes of an error by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    /// The node is out, or about to be: it comes back.
    Out,
    /// Another role or moment of the server; it may last.
    Passes,
    /// What the server answers, and a pool that others hold, stay as they are.
    Stays,
}

impl Sort {
    fn of(error: &Error) -> Self {
        match (error.kind(), error.server_code()) {
            (
                ErrorKind::NodeOut
                | ErrorKind::UnreachableHere
                | ErrorKind::Connect
                | ErrorKind::ConnectionLost
                | ErrorKind::Timeout,
                _,
            ) => Self::Out,
            (
                _,
                Some(
                    "LOADING" | "MASTERDOWN" | "READONLY" | "BUSY" | "CLUSTERDOWN" | "OOM"
                    | "MISCONF" | "NOREPLICAS",
                ),
            ) => Self::Passes,
            _ => Self::Stays,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Outcome;

    const S: Duration = Duration::from_secs(1);

    fn error(kind: ErrorKind) -> Error {
        Error::new(kind, Outcome::Answered, "it says")
    }

    #[test]
    fn what_fails_once_is_no_news_and_what_lasts_is_told_once_to_each() {
        let began = Instant::now();
        let mut ailment = Ailment::default();
        let fails = |a: &mut Ailment, key: &str, after: u32| {
            a.failed(key, error(ErrorKind::Server), began + S * after, 30 * S)
        };
        assert!(!fails(&mut ailment, "a", 0));
        assert!(fails(&mut ailment, "a", 1), "the second time");
        assert!(!fails(&mut ailment, "a", 2) && fails(&mut ailment, "b", 2));
        assert!(!ailment.is_raised(), "not for one visibility");
        let mut raised = 0;
        for after in 30..51 {
            fails(&mut ailment, "a", after);
            raised += u32::from(ailment.raised.take().is_some());
        }
        assert_eq!(raised, 5, "in 20 s, 5 s apart");
        assert_eq!(ailment.healed(began + 60 * S), Some(60 * S));
        assert_eq!(ailment.healed(began + 61 * S), None);
        assert!(!fails(&mut ailment, "a", 70), "it begins anew");
        assert_eq!(
            ailment.healed(began + 71 * S),
            None,
            "nobody had heard of it"
        );
    }

    #[test]
    fn a_node_that_is_out_is_told_by_others_and_what_stays_by_each_try() {
        let now = Instant::now();
        let mut trouble = QueueTrouble::default();
        for kind in [
            ErrorKind::ConnectionLost,
            ErrorKind::Connect,
            ErrorKind::NodeOut,
        ] {
            assert!(!trouble.unreadable(error(kind), now, S));
            assert!(trouble.raised().is_none() && trouble.error().is_some());
        }
        assert!(trouble.unreadable(error(ErrorKind::Config), now, S));
        assert!(trouble.raised().is_some() && trouble.raised().is_none());
        assert!(!trouble.unreadable(error(ErrorKind::Config), now, S));
        assert!(trouble.raised().is_some());
        trouble.readable();
        assert!(trouble.error().is_none());
    }
}
