//! Whether an answer is the whole list. Pure: whether a server still answers is an argument.
//!
//! A name server may list a few addresses of many, other ones each time (Consul lists three at random),
//! and a search list may lead a name that is gone somewhere else. An answer that would take away servers
//! that still answer is looked at again: it is believed when some readings in a row say the same, and
//! many where answers have gone round before or nothing is left of what was known.

use std::collections::BTreeSet;
use std::net::SocketAddr;

/// So many readings in a row must say the same before servers go that still answer.
const AGREE: u32 = 3;
/// The same where answers go round: at 5 s each, five minutes.
const AGREE_LONG: u32 = 60;
/// What came by is remembered up to so many addresses.
const REMEMBERED: usize = 4_096;

/// What an answer is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worth {
    /// It is the list.
    Believed,
    /// The list stays as it was.
    Partial,
    /// The same, and it is worth a warning.
    News,
}

/// What the answers for one name were.
#[derive(Debug, Default)]
pub(super) struct Rotation {
    /// The list in force, sorted.
    believed: Vec<SocketAddr>,
    latest: Vec<SocketAddr>,
    /// How many readings in a row were the latest.
    agree: u32,
    /// What answers have listed since they last were steady.
    seen: BTreeSet<SocketAddr>,
    /// What went has come back, or nothing was left; until answers are steady for long.
    turning: bool,
}

impl Rotation {
    pub(super) fn believed(&self) -> &[SocketAddr] {
        &self.believed
    }

    /// What would go with this answer.
    pub(super) fn gone<'a>(
        &'a self,
        answer: &'a [SocketAddr],
    ) -> impl Iterator<Item = SocketAddr> + 'a {
        self.believed
            .iter()
            .filter(|address| !answer.contains(address))
            .copied()
    }

    /// A reading; whether any server that it does not list any more still answers.
    pub(super) fn read(&mut self, mut answer: Vec<SocketAddr>, still_answers: bool) -> Worth {
        answer.sort_unstable();
        answer.dedup();
        let was_turning = self.turning;
        let is_back = |a: &SocketAddr| self.seen.contains(a) && !self.latest.contains(a);
        let is_left = self.believed.iter().any(|a| answer.contains(a));
        let takes_away = self.gone(&answer).next().is_some() && still_answers;
        self.turning |= takes_away && (!is_left || answer.iter().any(is_back));
        self.agree = match answer == self.latest {
            true => self.agree.saturating_add(1),
            false => 1,
        };
        if self.agree >= AGREE_LONG {
            self.turning = false;
            self.seen.clear();
        }
        let room = REMEMBERED.saturating_sub(self.seen.len());
        self.seen.extend(answer.iter().take(room).copied());
        self.latest.clone_from(&answer);
        let needed = match self.turning {
            true => AGREE_LONG,
            false => AGREE,
        };
        match takes_away && self.agree < needed {
            true if self.turning && !was_turning => Worth::News,
            true => Worth::Partial,
            false => {
                self.believed = answer;
                Worth::Believed
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(ports: &[u16]) -> Vec<SocketAddr> {
        ports.iter().map(|p| ([127, 0, 0, 1], *p).into()).collect()
    }

    fn believing(ports: &[u16]) -> Rotation {
        let mut rotation = Rotation::default();
        assert_eq!(rotation.read(of(ports), true), Worth::Believed, "the first");
        rotation
    }

    #[test]
    fn three_of_six_change_nothing_and_are_news_once() {
        let mut rotation = believing(&[1, 2, 3]);
        let news = (0..600_u16)
            .map(|n| of(&[0, 1, 2].map(|i| (n * 5 + i * (1 + n % 2)) % 6 + 1)))
            .filter(|answer| rotation.read(answer.clone(), true) == Worth::News)
            .count();
        assert_eq!((rotation.believed(), news), (&*of(&[1, 2, 3]), 1));
        // The order of an answer is none of its content.
        assert_eq!(rotation.read(of(&[3, 1, 2]), true), Worth::Believed);
        assert_eq!(
            rotation.read(of(&[6, 5, 4, 3, 2, 1]), true),
            Worth::Believed,
            "the whole"
        );
    }

    #[test]
    fn a_server_that_answers_goes_when_some_readings_agree() {
        let mut rotation = believing(&[1, 2, 3]);
        let two = [(); 3].map(|()| rotation.read(of(&[1, 2]), true));
        assert_eq!(two, [Worth::Partial, Worth::Partial, Worth::Believed]);
    }

    #[test]
    fn a_server_that_does_not_answer_goes_at_once_and_one_that_comes_too() {
        let mut rotation = believing(&[1, 2, 3]);
        assert_eq!(rotation.read(of(&[1, 2]), false), Worth::Believed);
        assert_eq!(rotation.read(of(&[1, 2, 4]), true), Worth::Believed);
        assert_eq!(rotation.read(of(&[7, 8]), false), Worth::Believed);
    }

    #[test]
    fn another_list_altogether_takes_many_readings() {
        let mut rotation = believing(&[1, 2]);
        assert_eq!(rotation.read(of(&[9]), true), Worth::News);
        for _ in 2..AGREE_LONG {
            assert_eq!(rotation.read(of(&[9]), true), Worth::Partial);
        }
        assert_eq!(rotation.read(of(&[9]), true), Worth::Believed);
        // The old list comes back: a name server that was ill.
        let mut rotation = believing(&[1, 2]);
        rotation.read(of(&[9]), true);
        assert_eq!(rotation.read(of(&[1, 2]), true), Worth::Believed);
    }

    proptest! {
        #[test]
        fn what_still_answers_goes_only_when_readings_agree(
            answers in proptest::collection::vec(1_u8..64, 2..200),
        ) {
            let ports = |bits: u8| of(&(0..6).filter(|n| bits & (1 << n) != 0).collect::<Vec<_>>());
            let mut rotation = Rotation::default();
            let (mut last, mut agree) = (0, 0);
            for bits in answers {
                let before = rotation.believed().to_vec();
                agree = if bits == last { agree + 1 } else { 1 };
                last = bits;
                let takes_away = rotation.gone(&ports(bits)).next().is_some();
                let is_believed = rotation.read(ports(bits), true) == Worth::Believed;
                prop_assert_eq!(rotation.believed() == ports(bits), is_believed || before == ports(bits));
                prop_assert!(!takes_away || !is_believed || agree >= AGREE);
                prop_assert!(takes_away || is_believed);
            }
        }
    }
}
