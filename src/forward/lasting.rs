//! What goes wrong between instances for long, and is said once. Pure: the time is an argument.
//!
//! A moment of it is what every change of the membership brings; what lasts is somebody's mistake.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// It lasts when it goes on for so long.
const LASTS: Duration = Duration::from_secs(10);
/// And is over when it was not seen for so long: the next one is another one.
const OVER: Duration = Duration::from_secs(60);
/// More than there are instances that one has trouble with; the names may be foreign words.
const MOST: usize = 64;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Trouble {
    /// No answer of an instance, whatever the reason.
    Unanswered,
    /// It says that it does not own what we take for its own.
    Disputed,
    /// It sends what we do not own.
    Diverged,
    /// Its clock is not ours.
    Clock,
    /// Its requests for another instance come here.
    Elsewhere,
    /// Somebody says its name, and has not our keys.
    Forged,
}

#[derive(Debug)]
struct Spell {
    began: Instant,
    last: Instant,
    is_told: bool,
}

/// All that goes wrong now.
#[derive(Debug, Default)]
pub(crate) struct Lasting {
    spells: HashMap<(Trouble, Box<str>), Spell>,
}

impl Lasting {
    /// It happened with that instance; whether it is to be said now: once it lasts, and once.
    pub(crate) fn is_news(&mut self, what: Trouble, whom: &str, now: Instant) -> bool {
        self.spells
            .retain(|_, spell| now.saturating_duration_since(spell.last) < OVER);
        let key = (what, Box::from(whom));
        if self.spells.len() >= MOST && !self.spells.contains_key(&key) {
            let oldest = self.spells.iter().min_by_key(|(_, spell)| spell.last);
            let oldest = oldest.map(|(key, _)| key.clone());
            oldest.map(|key| self.spells.remove(&key));
        }
        let spell = self.spells.entry(key).or_insert(Spell {
            began: now,
            last: now,
            is_told: false,
        });
        spell.last = now;
        let lasts = now.saturating_duration_since(spell.began) >= LASTS;
        lasts && !std::mem::replace(&mut spell.is_told, lasts)
    }

    /// It goes well again; whether that is to be said.
    pub(crate) fn is_over(&mut self, what: Trouble, whom: &str) -> bool {
        let spell = self.spells.remove(&(what, Box::from(whom)));
        spell.is_some_and(|spell| spell.is_told)
    }

    pub(crate) fn len(&self) -> usize {
        self.spells.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_lasts_is_said_once_and_again_when_it_ended_and_came_back() {
        let (mut all, start) = (Lasting::default(), Instant::now());
        let mut said = |seconds: std::ops::RangeInclusive<u32>, whom| {
            let at = |second| start + second * SECOND;
            let news = seconds.filter(|n| all.is_news(Trouble::Disputed, whom, at(*n)));
            news.collect::<Vec<_>>()
        };
        assert_eq!(said(0..=9, "a"), [0; 0], "a moment");
        assert_eq!(said(10..=400, "a"), [10]);
        assert_eq!(said(400..=409, "b"), [0; 0], "each for itself");
        assert_eq!(said(410..=420, "b"), [410]);
        assert_eq!(said(470..=475, "a"), [0; 0], "another one begins");
        assert_eq!(said(476..=600, "a"), [480]);
    }

    #[test]
    fn what_is_well_again_is_said_if_the_trouble_was() {
        let (mut all, start) = (Lasting::default(), Instant::now());
        let what = Trouble::Unanswered;
        assert!(!all.is_over(what, "a"));
        assert!(!all.is_news(what, "a", start));
        assert!(!all.is_over(what, "a"), "nobody heard of it");
        assert!(!all.is_news(what, "a", start + 20 * SECOND), "a new one");
        assert!(all.is_news(what, "a", start + 30 * SECOND));
        assert!(!all.is_over(Trouble::Clock, "a"), "something else");
        assert!(all.is_over(what, "a") && !all.is_over(what, "a"));
        assert_eq!(all.len(), 0);
    }

    #[test]
    fn foreign_names_do_not_fill_the_memory_nor_hide_what_goes_on() {
        let (mut all, start) = (Lasting::default(), Instant::now());
        let mut said = 0;
        for n in 0..1_000 {
            let now = start + n * SECOND / 10;
            said += u32::from(all.is_news(Trouble::Diverged, "a", now));
            assert!(!all.is_news(Trouble::Forged, &n.to_string(), now));
            assert!(all.len() <= MOST);
        }
        assert_eq!(said, 1);
    }
}
