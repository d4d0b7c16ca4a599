//! What comes after an attempt that was not answered. Pure: the outcome and the time that is left are arguments.
//!
//! | seen | what is known | next |
//! |---|---|---|
//! | `NotOwner`, `Draining` | nothing was done | the member that it names, at once, twice at most; else the schedule |
//! | `Unreachable` | nothing was sent | the schedule; after the second one a stand-in at once, once, if one may stand in |
//! | `NotProcessed` | nothing was done | the schedule |
//! | `Broken` | it may have been done | the schedule if it may be repeated, else the end |
//!
//! Whatever was seen, it ends when the body cannot be sent again. The schedule: 100 ms, 500 ms, 1 s, each with a new
//! look-up of the owner, while there is time.

use std::time::Duration;

/// The pauses before the attempts after the first one.
pub(crate) const PAUSES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
];
/// How much longer or shorter a pause may be, as a share of it.
pub(crate) const JITTER: f64 = 0.2;
/// Members that are named by others, and asked at once.
const MOST_HINTS: u8 = 2;
/// So often the owner is not reached before another one stands in.
const REFUSALS: u8 = 2;

/// What is done about an owner that cannot be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Unreachable {
    /// The request is tried again until the schedule ends, and fails then. One owner per key.
    #[default]
    Fail,
    /// After two attempts the next candidate of the key handles it: some seconds of two owners rather than failures.
    StandIn,
}

/// What was seen of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen<'a> {
    /// No connection.
    Unreachable,
    /// It is not the owner, and names the one it sees.
    NotOwner { hint: Option<&'a str> },
    /// It owns nothing at all now.
    Draining { hint: Option<&'a str> },
    /// It took the request, and says that it did not look at it.
    NotProcessed,
    /// It was sent, and no answer came.
    Broken,
}

/// Whom an attempt is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Whoever is the owner by then.
    Owner,
    /// The member of this name.
    Named(Box<str>),
    /// The next candidate after this owner.
    StandIn { of: Box<str> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Go { after: Duration, target: Target },
    End(End),
}

/// How it ends without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Disputed,
    Unreachable,
    OutcomeUnknown,
}

/// The attempts of one request.
#[derive(Clone, Debug)]
pub(crate) struct Attempts {
    /// Whether it may be done twice.
    is_idempotent: bool,
    unreachable: Unreachable,
    /// Pauses that are used up.
    paused: usize,
    hints: u8,
    refusals: u8,
    stood_in: bool,
    /// Whether somebody may have done it.
    maybe_done: bool,
    /// Who could not be reached: nobody's word sends us there again.
    silent: Vec<Box<str>>,
    /// Who owns nothing by its own word.
    drained: Vec<Box<str>>,
}

impl Attempts {
    pub(crate) fn new(is_idempotent: bool, unreachable: Unreachable) -> Self {
        Self {
            is_idempotent,
            unreachable,
            paused: 0,
            hints: 0,
            refusals: 0,
            stood_in: false,
            maybe_done: false,
            silent: Vec::new(),
            drained: Vec::new(),
        }
    }

    /// Whoever is left out of the look-ups of this request.
    pub(crate) fn drained(&self) -> &[Box<str>] {
        &self.drained
    }

    /// What comes after `whom` was tried: `can_repeat` says whether the body can be sent again.
    pub(crate) fn next(
        &mut self,
        whom: &str,
        seen: Seen<'_>,
        can_repeat: bool,
        left: Duration,
    ) -> Step {
        self.maybe_done |= seen == Seen::Broken;
        if !can_repeat || self.maybe_done && !self.is_idempotent {
            return Step::End(self.end(seen));
        }
        match seen {
            Seen::NotOwner { hint } | Seen::Draining { hint } => {
                if matches!(seen, Seen::Draining { .. }) {
                    self.drained.push(whom.into());
                }
                if let Some(hint) = hint.filter(|hint| self.is_worth_asking(hint, whom)) {
                    self.hints += 1;
                    return Step::Go {
                        after: Duration::ZERO,
                        target: Target::Named(hint.into()),
                    };
                }
            }
            Seen::Unreachable => {
                self.refusals = self.refusals.saturating_add(1);
                self.silent.push(whom.into());
                let may = self.unreachable == Unreachable::StandIn && !self.stood_in;
                if may && self.refusals >= REFUSALS {
                    self.stood_in = true;
                    return Step::Go {
                        after: Duration::ZERO,
                        target: Target::StandIn { of: whom.into() },
                    };
                }
            }
            Seen::NotProcessed | Seen::Broken => {}
        }
        match PAUSES.get(self.paused) {
            Some(pause) if pause.mul_f64(1.0 + JITTER) < left => {
                self.paused += 1;
                Step::Go {
                    after: *pause,
                    target: Target::Owner,
                }
            }
            _ => Step::End(self.end(seen)),
        }
    }

    fn is_worth_asking(&self, hint: &str, whom: &str) -> bool {
        let is_in = |list: &[Box<str>]| list.iter().any(|name| **name == *hint);
        self.hints < MOST_HINTS && hint != whom && !is_in(&self.silent) && !is_in(&self.drained)
    }

    fn end(&self, seen: Seen<'_>) -> End {
        match seen {
            _ if self.maybe_done => End::OutcomeUnknown,
            Seen::NotOwner { .. } | Seen::Draining { .. } => End::Disputed,
            Seen::Unreachable | Seen::NotProcessed | Seen::Broken => End::Unreachable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LONG: Duration = Duration::from_secs(5);

    fn paused(step: &Step) -> Option<u64> {
        match step {
            Step::Go { after, .. } => u64::try_from(after.as_millis()).ok(),
            Step::End(_) => None,
        }
    }

    #[test]
    fn an_owner_that_cannot_be_reached_is_tried_four_times() {
        let mut attempts = Attempts::new(false, Unreachable::Fail);
        let mut next = || attempts.next("a", Seen::Unreachable, true, LONG);
        let steps: Vec<_> = (0..4).map(|_| next()).collect();
        assert_eq!(
            steps.iter().map(paused).collect::<Vec<_>>(),
            [Some(100), Some(500), Some(1000), None]
        );
        assert_eq!(steps[3], Step::End(End::Unreachable));
    }

    #[test]
    fn after_two_refusals_the_next_candidate_stands_in_once() {
        let mut attempts = Attempts::new(false, Unreachable::StandIn);
        let mut next = |whom| attempts.next(whom, Seen::Unreachable, true, LONG);
        assert_eq!(paused(&next("a")), Some(100));
        let stand_in = Step::Go {
            after: Duration::ZERO,
            target: Target::StandIn { of: "a".into() },
        };
        assert_eq!(next("a"), stand_in);
        assert_eq!(paused(&next("b")), Some(500), "it is gone, too");
        assert_eq!(paused(&next("a")), Some(1000));
        assert_eq!(next("a"), Step::End(End::Unreachable));
    }

    #[test]
    fn what_was_sent_is_repeated_only_if_that_is_harmless() {
        let mut post = Attempts::new(false, Unreachable::StandIn);
        assert_eq!(
            post.next("a", Seen::Broken, true, LONG),
            Step::End(End::OutcomeUnknown)
        );
        let mut put = Attempts::new(true, Unreachable::Fail);
        assert_eq!(paused(&put.next("a", Seen::Broken, true, LONG)), Some(100));
        assert_eq!(
            put.next("a", Seen::Unreachable, false, LONG),
            Step::End(End::OutcomeUnknown),
            "the first one may have come through"
        );
    }

    #[test]
    fn a_hint_is_followed_at_once_twice_and_never_to_who_is_gone() {
        let named = |step: &Step| match step {
            Step::Go {
                target: Target::Named(name),
                after: Duration::ZERO,
            } => Some(name.to_string()),
            _ => None,
        };
        let no = |hint| Seen::NotOwner { hint: Some(hint) };
        let mut attempts = Attempts::new(false, Unreachable::Fail);
        assert_eq!(
            named(&attempts.next("a", no("b"), true, LONG)).as_deref(),
            Some("b")
        );
        assert_eq!(
            named(&attempts.next("b", no("a"), true, LONG)).as_deref(),
            Some("a")
        );
        assert_eq!(
            paused(&attempts.next("a", no("b"), true, LONG)),
            Some(100),
            "opposite views"
        );

        let mut attempts = Attempts::new(false, Unreachable::Fail);
        attempts.next("a", Seen::Unreachable, true, LONG);
        assert_eq!(named(&attempts.next("b", no("a"), true, LONG)), None);
        assert_eq!(
            named(&attempts.next("b", no("b"), true, LONG)),
            None,
            "itself"
        );
    }

    #[test]
    fn who_drains_is_left_out_from_then_on() {
        let mut attempts = Attempts::new(false, Unreachable::Fail);
        let step = attempts.next("a", Seen::Draining { hint: None }, true, LONG);
        assert_eq!((paused(&step), attempts.drained().len()), (Some(100), 1));
        assert_eq!(&*attempts.drained()[0], "a");
    }

    #[test]
    fn no_pause_goes_past_the_deadline() {
        let mut attempts = Attempts::new(true, Unreachable::Fail);
        let left = Duration::from_millis(119);
        assert_eq!(
            attempts.next("a", Seen::Unreachable, true, left),
            Step::End(End::Unreachable)
        );
    }

    fn seen() -> impl Strategy<Value = (u8, Seen<'static>, bool)> {
        let hint = prop_oneof![
            Just(None),
            Just(Some("a")),
            Just(Some("b")),
            Just(Some("c"))
        ];
        let seen = (0..5u8, hint).prop_map(|(kind, hint)| match kind {
            0 => Seen::Unreachable,
            1 => Seen::NotOwner { hint },
            2 => Seen::Draining { hint },
            3 => Seen::NotProcessed,
            _ => Seen::Broken,
        });
        (0..3u8, seen, proptest::bool::weighted(0.95))
    }

    proptest! {
        #[test]
        fn attempts_end_and_repeat_nothing_that_may_have_been_done(
            all in proptest::collection::vec(seen(), 20),
            is_idempotent: bool,
            stand_in: bool,
            left in 0..6_000u64,
        ) {
            let policy = if stand_in { Unreachable::StandIn } else { Unreachable::Fail };
            let mut attempts = Attempts::new(is_idempotent, policy);
            let (mut left, mut hints, mut stand_ins) = (Duration::from_millis(left), 0, 0);
            let mut end = None;
            for (n, (whom, seen, can_repeat)) in all.into_iter().enumerate() {
                let whom = ["a", "b", "c"][usize::from(whom)];
                match attempts.next(whom, seen, can_repeat, left) {
                    Step::End(how) => {
                        end = Some((n, how));
                        prop_assert_eq!(how == End::OutcomeUnknown, attempts.maybe_done);
                        break;
                    }
                    Step::Go { after, target } => {
                        prop_assert!(can_repeat, "without a body");
                        prop_assert!(is_idempotent || !attempts.maybe_done, "it may have been done");
                        prop_assert!(after < left || after.is_zero());
                        left -= after;
                        match target {
                            Target::Named(_) => hints += 1,
                            Target::StandIn { .. } => stand_ins += 1,
                            Target::Owner => prop_assert!(!after.is_zero(), "at once for ever"),
                        }
                    }
                }
            }
            let (n, _) = end.expect("it ends");
            prop_assert!(n <= 6, "{} attempts", n + 1);
            prop_assert!(hints <= 2 && stand_ins <= u8::from(stand_in), "{hints} {stand_ins}");
        }
    }
}
