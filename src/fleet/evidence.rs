//! What an instance says of nodes: of those that are out, and of no others.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use crate::clock::later;
use crate::hash::xxh3_64;
use crate::health::Machine;
use crate::health::verdict::Reason;

/// A node's name, as it travels.
pub(crate) type NodeHash = u64;

/// Nodes that one item has room for, and items of an instance.
pub(crate) const ITEM: usize = 64;
pub(crate) const ITEMS: usize = 16;
/// Changes in a second: a node that flaps must not fill the network.
const CHANGES: usize = 5;
const CHANGES_IN: Duration = Duration::from_secs(1);

pub(crate) fn node_hash(name: &str) -> NodeHash {
    xxh3_64(name.as_bytes())
}

/// What is said of a node that is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// It is down, for this reason where it is one that we know. A vote.
    Down(Option<Reason>),
    /// It answers and is ready to serve here, and waits for the others. No vote.
    Prepared,
    /// It is not in service here, and nothing is said against it: it is made ready, or held, or drained; or our own
    /// network is the likelier culprit. No vote, and who is ready waits.
    Unready,
}

/// What [`Said::Unready`] travels as: to who does not know it yet, a reason that it does not know.
const UNREADY: u8 = 254;

impl Said {
    /// What is said of a node as its health is here; nothing of one that is in service.
    pub(crate) fn about<K: Copy + Ord + fmt::Debug>(
        health: &Machine<K>,
        key: K,
        now: Instant,
    ) -> Option<Self> {
        if health.votes_down(key, now) {
            return Some(Self::Down(health.reason(key)));
        }
        let is_in_service = health.standing(key).callable;
        (!is_in_service).then(|| match health.is_ready(key) {
            true => Self::Prepared,
            false => Self::Unready,
        })
    }

    pub(crate) fn is_vote(self) -> bool {
        matches!(self, Self::Down(_))
    }

    /// One byte; what a later version says beyond is a reason that we do not know.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Prepared => 0,
            Self::Unready => UNREADY,
            Self::Down(None) => u8::MAX,
            Self::Down(Some(reason)) => {
                let place = Reason::ALL.iter().position(|known| *known == reason);
                place.map_or(u8::MAX, |place| place as u8 + 1)
            }
        }
    }

    pub(crate) fn of_code(code: u8) -> Self {
        match code {
            0 => Self::Prepared,
            UNREADY => Self::Unready,
            _ => Self::Down(Reason::ALL.get(usize::from(code) - 1).copied()),
        }
    }
}

/// All that one instance says of the nodes of one scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// How it places keys.
    pub(crate) fingerprint: u64,
    pub(crate) nodes: BTreeMap<NodeHash, Said>,
}

impl Evidence {
    /// As much as may be said: votes first, in an order that is everybody's.
    pub(crate) fn new(
        fingerprint: u64,
        nodes: impl IntoIterator<Item = (NodeHash, Said)>,
        items: usize,
    ) -> Self {
        let mut nodes: BTreeMap<_, _> = nodes.into_iter().collect();
        let most = ITEM * items.min(ITEMS);
        if nodes.len() > most {
            let mut all: Vec<_> = std::mem::take(&mut nodes).into_iter().collect();
            all.sort_by_key(|(node, said)| (!said.is_vote(), *node));
            all.truncate(most);
            nodes = all.into_iter().collect();
        }
        Self { fingerprint, nodes }
    }

    pub(crate) fn of(&self, node: NodeHash) -> Option<Said> {
        self.nodes.get(&node).copied()
    }

    pub(crate) fn votes_down(&self, node: NodeHash) -> bool {
        self.of(node).is_some_and(Said::is_vote)
    }
}

/// How often evidence may change.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    said: VecDeque<Instant>,
}

impl Pace {
    /// Takes one change; the error is when there may be the next one.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let recent = |at: &Instant| now.saturating_duration_since(*at) < CHANGES_IN;
        self.said.retain(recent);
        match self.said.front() {
            Some(first) if self.said.len() >= CHANGES => Err(later(*first, CHANGES_IN)),
            _ => {
                self.said.push_back(now);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_survives_its_byte_and_an_unknown_byte_is_a_vote() {
        for said in Reason::ALL
            .iter()
            .map(|reason| Said::Down(Some(*reason)))
            .chain([Said::Prepared, Said::Unready, Said::Down(None)])
        {
            assert_eq!(Said::of_code(said.code()), said);
        }
        assert_eq!(Said::of_code(200), Said::Down(None));
        assert!(Said::of_code(200).is_vote() && !Said::of_code(0).is_vote());
        assert!(!Said::Unready.is_vote() && Reason::ALL.len() < usize::from(UNREADY));
    }

    #[test]
    fn votes_come_before_what_is_prepared_when_there_is_no_room() {
        let prepared = (0..100).map(|node| (node, Said::Prepared));
        let down = (1_000..1_060).map(|node| (node, Said::Down(None)));
        let said = Evidence::new(1, prepared.chain(down), 1);
        assert_eq!(said.nodes.len(), ITEM);
        assert!((1_000..1_060).all(|node| said.votes_down(node)));
        assert_eq!(said.of(3), Some(Said::Prepared));
        let all = Evidence::new(1, (0..5_000).map(|n| (n, Said::Down(None))), 99);
        assert_eq!(all.nodes.len(), ITEM * ITEMS);
    }

    #[test]
    fn five_changes_go_into_a_second() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let mut said = 0;
        for ms in 0..3_000 {
            let now = start + Duration::from_millis(ms);
            match pace.take(now) {
                Ok(()) => said += 1,
                Err(next) => assert!(next > now && next <= now + CHANGES_IN),
            }
        }
        assert_eq!(said, 15);
    }
}
