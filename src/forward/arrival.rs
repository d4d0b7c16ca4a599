//! What is done with a request that arrives. Pure.
//!
//! In this order: without a key it is handled; by its owner, too; one that another instance sent is handled by nobody
//! else, and never sent on; the rest goes to the owner.

use super::mark::Mark;

/// What an instance does with a request that another one sent, when it is not the owner itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum OnDisagree {
    /// It refuses (421), and names the owner that it sees. The sender asks that one, or looks again.
    #[default]
    Refuse,
    /// It handles the request: two owners, while the instances disagree, rather than a pause.
    HandleAnyway,
    /// It refuses also as the owner when the sender sees another ring, as Ringpop does. While instances come and go,
    /// requests fail.
    StrictRing,
}

/// Who owns the keys, as far as this instance sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner<'a> {
    Me,
    Other(&'a str),
    /// Several keys of several owners.
    Several,
    Nobody,
}

/// All that the decision depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) has_key: bool,
    pub(crate) owner: Owner<'a>,
    /// The mark, if it is a valid one.
    pub(crate) mark: Option<&'a Mark<'a>>,
    pub(crate) me: &'a str,
    /// Whether this instance may own keys.
    pub(crate) is_ready: bool,
    /// The ring that this instance sees.
    pub(crate) ring: Option<u64>,
    /// Whether this instance comes after the owner that the mark says it stands in for.
    pub(crate) is_next: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate<'a> {
    Handle,
    Forward,
    NoMembers,
    KeysDiverged,
    /// 421 with this reason, and the owner that this instance sees.
    Refuse(Reason, Option<&'a str>),
}

/// Why an instance does not handle what another one sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    NotOwner,
    /// It owns nothing at all now.
    Draining,
    /// It came from this instance itself: somebody else's address leads here.
    OwnMark,
    RingDiffers,
}

impl Reason {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NotOwner => "not-owner",
            Self::Draining => "draining",
            Self::OwnMark => "self",
            Self::RingDiffers => "ring-differs",
        }
    }
}

impl<'a> Arrival<'a> {
    pub(crate) fn fate(&self, on_disagree: OnDisagree) -> Fate<'a> {
        if !self.has_key {
            return Fate::Handle;
        }
        let hint = match self.owner {
            Owner::Other(name) => Some(name),
            Owner::Me => Some(self.me),
            Owner::Several | Owner::Nobody => None,
        };
        if let Some(mark) = self.mark
            && on_disagree == OnDisagree::StrictRing
            && mark.ring != self.ring
        {
            return Fate::Refuse(Reason::RingDiffers, hint);
        }
        match (self.owner, self.mark) {
            (Owner::Me, _) => Fate::Handle,
            (_, Some(mark)) if mark.from == self.me => Fate::Refuse(Reason::OwnMark, hint),
            (_, Some(mark)) if mark.stands_in_for.is_some() && self.is_next => Fate::Handle,
            (_, Some(_)) if on_disagree == OnDisagree::HandleAnyway => Fate::Handle,
            (_, Some(_)) if !self.is_ready => Fate::Refuse(Reason::Draining, hint),
            (_, Some(_)) => Fate::Refuse(Reason::NotOwner, hint),
            (Owner::Other(_), None) => Fate::Forward,
            (Owner::Several, None) => Fate::KeysDiverged,
            (Owner::Nobody, None) => Fate::NoMembers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival<'a>(owner: Owner<'a>, mark: Option<&'a Mark<'a>>) -> Arrival<'a> {
        Arrival {
            has_key: true,
            owner,
            mark,
            me: "me",
            is_ready: true,
            ring: Some(1),
            is_next: false,
        }
    }

    fn mark(from: &'static str, ring: u64) -> Mark<'static> {
        Mark {
            from: from.into(),
            to: "me".into(),
            at: 0,
            nonce: [0; 24],
            ring: Some(ring),
            stands_in_for: None,
        }
    }

    #[test]
    fn what_another_one_sent_is_never_sent_on() {
        let marks = [mark("a", 1), mark("a", 2), mark("me", 1), {
            let mut mark = mark("a", 1);
            mark.stands_in_for = Some("b".into());
            mark
        }];
        let owners = [Owner::Me, Owner::Other("b"), Owner::Several, Owner::Nobody];
        let policies = [
            OnDisagree::Refuse,
            OnDisagree::HandleAnyway,
            OnDisagree::StrictRing,
        ];
        for (mark, owner, policy) in marks
            .iter()
            .flat_map(|m| owners.map(|o| (m, o)))
            .flat_map(|(m, o)| policies.map(|p| (m, o, p)))
        {
            for (is_ready, is_next) in [(true, true), (true, false), (false, true), (false, false)]
            {
                let mut arrival = arrival(owner, Some(mark));
                (arrival.is_ready, arrival.is_next) = (is_ready, is_next);
                let fate = arrival.fate(policy);
                assert!(
                    matches!(fate, Fate::Handle | Fate::Refuse(..)),
                    "{fate:?} of {arrival:?} by {policy:?}"
                );
            }
        }
    }

    #[test]
    fn the_rules_in_their_order() {
        let foreign = mark("a", 1);
        let own = mark("me", 1);
        let other_ring = mark("a", 2);
        let refuse = |fate: Fate<'_>| match fate {
            Fate::Refuse(reason, hint) => Some((reason.as_str(), hint.map(str::to_owned))),
            _ => None,
        };
        fn fate(arrival: Arrival<'_>) -> Fate<'_> {
            arrival.fate(OnDisagree::Refuse)
        }
        let unkeyed = Arrival {
            has_key: false,
            ..arrival(Owner::Nobody, Some(&foreign))
        };
        assert_eq!(fate(unkeyed), Fate::Handle);
        assert_eq!(fate(arrival(Owner::Me, None)), Fate::Handle);
        assert_eq!(fate(arrival(Owner::Me, Some(&own))), Fate::Handle);
        assert_eq!(fate(arrival(Owner::Other("b"), None)), Fate::Forward);
        assert_eq!(fate(arrival(Owner::Nobody, None)), Fate::NoMembers);
        assert_eq!(fate(arrival(Owner::Several, None)), Fate::KeysDiverged);
        let of_b = arrival(Owner::Other("b"), Some(&foreign));
        assert_eq!(refuse(fate(of_b)), Some(("not-owner", Some("b".into()))));
        let draining = Arrival {
            is_ready: false,
            ..of_b
        };
        assert_eq!(refuse(fate(draining)), Some(("draining", Some("b".into()))));
        assert_eq!(
            refuse(fate(arrival(Owner::Nobody, Some(&own)))),
            Some(("self", None))
        );
        assert_eq!(of_b.fate(OnDisagree::HandleAnyway), Fate::Handle);
        let strict = |mark| arrival(Owner::Me, Some(mark)).fate(OnDisagree::StrictRing);
        assert_eq!(strict(&foreign), Fate::Handle);
        assert_eq!(
            refuse(strict(&other_ring)),
            Some(("ring-differs", Some("me".into())))
        );
    }

    #[test]
    fn whoever_stands_in_must_be_the_next_one_by_its_own_ring() {
        let mut mark = mark("a", 1);
        let handles = |mark: &Mark<'_>, is_next| {
            let arrival = Arrival {
                is_next,
                ..arrival(Owner::Other("b"), Some(mark))
            };
            match arrival.fate(OnDisagree::Refuse) {
                Fate::Handle => true,
                fate => {
                    assert_eq!(fate, Fate::Refuse(Reason::NotOwner, Some("b")));
                    false
                }
            }
        };
        assert!(!handles(&mark, true), "nobody asked it to");
        mark.stands_in_for = Some("b".into());
        assert!(handles(&mark, true) && !handles(&mark, false));
    }
}
