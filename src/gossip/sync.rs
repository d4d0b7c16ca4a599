//! Whether two instances know the same, and what each of them lacks.
//!
//! One asks with two numbers. When the other one's are not the same, it answers with the heads of all that it knows, in
//! chunks, each for a range of addresses; the asker answers each chunk by itself with what the other lacks and what it
//! wants. A chunk that is lost costs the others nothing.

mod grown;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use self::grown::grown;
use super::frame::PAYLOAD;
use super::identity::Id;
use super::records::ItemKey;
use crate::hash::xxh3_64;

/// Of those that are down so long, nobody is told any more: each who hears of it would remember it for a day.
pub(crate) const TOLD_FOR: Duration = Duration::from_secs(600);
/// Datagrams of one exchange, each way.
const MOST_DATAGRAMS: u32 = 64;
/// Exchanges that are under way.
const MOST_EXCHANGES: usize = 16;
/// How long an exchange lasts.
const LASTS: Duration = Duration::from_secs(5);
/// Room for the head and the two ends of a chunk.
const CHUNK: usize = PAYLOAD - 64;

/// What is known of a member, in what is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) id: Id,
    pub(crate) incarnation: u16,
    pub(crate) life: Life,
    /// Seconds since it went down.
    pub(crate) down_for: u32,
}

/// How a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Life {
    Alive,
    Suspect,
    Down,
    /// It went, and said so.
    Left,
}

impl Life {
    pub(crate) fn is_active(self) -> bool {
        matches!(self, Self::Alive | Self::Suspect)
    }
}

/// A version of an item, and a check that it is the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Version {
    pub(crate) kind: u8,
    pub(crate) version: u64,
    pub(crate) check: u16,
}

/// A member, and the heads of its items.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) told: Told,
    #[serde(deserialize_with = "grown")]
    pub(crate) items: Vec<Version>,
}

/// Whether we know the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ask {
    pub(crate) token: u32,
    /// All members, and whether they are down.
    pub(crate) members: u64,
    /// The versions of all items.
    pub(crate) items: u64,
    /// The fingerprint of the ring, and for how many seconds it has been so; 0: there is none.
    pub(crate) ring: u64,
    pub(crate) ring_age: u32,
}

/// An answer, or the answer to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum List {
    /// It is the same; the ring as in the question.
    Equal(Ask),
    /// What the sender knows of the addresses after `from`, up to and with `to`.
    Heads {
        token: u32,
        from: Option<SocketAddr>,
        to: Option<SocketAddr>,
        #[serde(deserialize_with = "grown")]
        entries: Vec<Entry>,
    },
    /// What the receiver lacks, and what the sender wants.
    Fill {
        token: u32,
        #[serde(deserialize_with = "grown")]
        members: Vec<Told>,
        #[serde(deserialize_with = "grown")]
        items: Vec<Vec<u8>>,
        #[serde(deserialize_with = "grown")]
        wants: Vec<(SocketAddr, u8)>,
    },
}

impl List {
    pub(crate) fn token(&self) -> u32 {
        match self {
            Self::Equal(ask) => ask.token,
            Self::Heads { token, .. } | Self::Fill { token, .. } => *token,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        // Into a vector nothing can fail.
        postcard::to_allocvec(self).unwrap_or_default()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (list, _later) = postcard::take_from_bytes(bytes).ok()?;
        Some(list)
    }
}

impl Ask {
    pub(crate) fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).unwrap_or_default()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (ask, _later) = postcard::take_from_bytes(bytes).ok()?;
        Some(ask)
    }
}

/// One number for a member's share of what is asked: who it is, and whether it is down.
pub(crate) fn digest(id: Id, is_down: bool) -> u64 {
    let bytes = postcard::to_allocvec(&(id, is_down)).unwrap_or_default();
    xxh3_64(&bytes)
}

/// All that is known, cut into chunks that cover all addresses.
pub(crate) fn heads(token: u32, mut entries: Vec<Entry>) -> Vec<List> {
    entries.sort_unstable_by_key(|entry| entry.told.id.addr);
    let (mut lists, mut chunk, mut size) = (Vec::new(), Vec::<Entry>::new(), 0);
    let mut from = None;
    for entry in entries {
        let more = postcard::to_allocvec(&entry).map_or(CHUNK, |bytes| bytes.len());
        if size + more > CHUNK
            && let Some(last) = chunk.last()
        {
            let to = Some(last.told.id.addr);
            let entries = std::mem::take(&mut chunk);
            lists.push(List::Heads {
                token,
                from,
                to,
                entries,
            });
            (from, size) = (to, 0);
        }
        size += more;
        chunk.push(entry);
    }
    let (to, entries) = (None, chunk);
    lists.push(List::Heads {
        token,
        from,
        to,
        entries,
    });
    lists
}

/// What one side of a chunk lacks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// What they do not know of members.
    pub(crate) members: Vec<Told>,
    /// Items that they lack.
    pub(crate) items: Vec<ItemKey>,
    /// Items that we lack.
    pub(crate) wants: Vec<ItemKey>,
}

/// Compares what we know of a range of addresses with what they do.
pub(crate) fn compare(ours: &[Entry], theirs: &[Entry]) -> Difference {
    let mut difference = Difference::default();
    let their: BTreeMap<_, _> = theirs
        .iter()
        .map(|entry| (entry.told.id.addr, entry))
        .collect();
    let our: BTreeMap<_, _> = ours
        .iter()
        .map(|entry| (entry.told.id.addr, entry))
        .collect();
    for entry in ours {
        let (told, other) = (&entry.told, their.get(&entry.told.id.addr));
        if other.is_none_or(|other| newer(told, &other.told) == Ordering::Greater) {
            difference.members.push(*told);
        }
        for item in &entry.items {
            let theirs = same_start(other, told).and_then(|other| version(other, item.kind));
            if theirs.is_none_or(|theirs| wins(item, theirs)) {
                difference.items.push(ItemKey {
                    owner: told.id.addr,
                    kind: item.kind,
                });
            }
        }
    }
    for entry in theirs.iter().filter(|entry| entry.told.life.is_active()) {
        let (told, own) = (&entry.told, our.get(&entry.told.id.addr));
        // Of an earlier start, or of somebody who is down here, nothing is wanted.
        let is_void = |own: &&Entry| own.told.id != told.id || !own.told.life.is_active();
        if own.is_some_and(|own| newer(&own.told, told) == Ordering::Greater && is_void(own)) {
            continue;
        }
        for item in &entry.items {
            let ours = same_start(own, told).and_then(|own| version(own, item.kind));
            if ours.is_none_or(|ours| wins(item, ours)) {
                difference.wants.push(ItemKey {
                    owner: told.id.addr,
                    kind: item.kind,
                });
            }
        }
    }
    difference
}

fn same_start<'e>(entry: Option<&&'e Entry>, told: &Told) -> Option<&'e Entry> {
    entry.filter(|entry| entry.told.id == told.id).copied()
}

fn version(entry: &Entry, kind: u8) -> Option<&Version> {
    entry.items.iter().find(|item| item.kind == kind)
}

/// Whether the other side would take it; of two that are told as one version both sides get both.
fn wins(item: &Version, other: &Version) -> bool {
    item.version > other.version || (item.version == other.version && item.check != other.check)
}

/// Which of two words about an address is the newer one, as the protocol itself sees it.
fn newer(a: &Told, b: &Told) -> Ordering {
    let rank = |told: &Told| match told.life {
        Life::Down | Life::Left => (told.id.generation, true, 0, false),
        life => (
            told.id.generation,
            false,
            told.incarnation,
            life == Life::Suspect,
        ),
    };
    rank(a).cmp(&rank(b))
}

/// What fills a difference, in as many datagrams as it takes.
pub(crate) fn fill(
    token: u32,
    difference: &Difference,
    mut item: impl FnMut(ItemKey) -> Option<Vec<u8>>,
) -> Vec<List> {
    let mut fills = Fills {
        token,
        ..Fills::default()
    };
    for told in &difference.members {
        let size = postcard::to_allocvec(told).map_or(0, |bytes| bytes.len());
        fills.room(size);
        fills.members.push(*told);
    }
    for key in &difference.wants {
        fills.room(20);
        fills.wants.push((key.owner, key.kind));
    }
    for bytes in difference.items.iter().filter_map(|key| item(*key)) {
        fills.room(bytes.len() + 2);
        fills.items.push(bytes);
    }
    fills.end();
    fills.lists
}

#[derive(Default)]
struct Fills {
    token: u32,
    size: usize,
    lists: Vec<List>,
    members: Vec<Told>,
    items: Vec<Vec<u8>>,
    wants: Vec<(SocketAddr, u8)>,
}

impl Fills {
    fn room(&mut self, size: usize) {
        if self.size + size > CHUNK {
            self.end();
        }
        self.size += size;
    }

    fn end(&mut self) {
        if self.size > 0 {
            self.lists.push(List::Fill {
                token: self.token,
                members: std::mem::take(&mut self.members),
                items: std::mem::take(&mut self.items),
                wants: std::mem::take(&mut self.wants),
            });
        }
        self.size = 0;
    }
}

/// What each exchange may still send: whoever answers must not be made to shout.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    exchanges: Vec<(SocketAddr, u32, u32, Instant)>,
}

impl Budget {
    /// Whether one datagram more of this exchange may go out.
    pub(crate) fn spend(&mut self, with: SocketAddr, token: u32, now: Instant) -> bool {
        self.exchanges
            .retain(|(.., since)| now.saturating_duration_since(*since) < LASTS);
        let is_full = self.exchanges.len() >= MOST_EXCHANGES;
        let known = self
            .exchanges
            .iter_mut()
            .find(|(addr, of, ..)| (*addr, *of) == (with, token));
        match known {
            Some((_, _, spent, _)) if *spent >= MOST_DATAGRAMS => false,
            Some((_, _, spent, _)) => {
                *spent += 1;
                true
            }
            None if is_full => false,
            None => {
                self.exchanges.push((with, token, 1, now));
                true
            }
        }
    }
}

/// So many in a second, and no more.
#[derive(Debug)]
pub(crate) struct PerSecond {
    most: u32,
    spent: u32,
    since: Instant,
}

impl PerSecond {
    pub(crate) fn new(most: u32, now: Instant) -> Self {
        Self {
            most,
            spent: 0,
            since: now,
        }
    }

    pub(crate) fn take(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            (self.spent, self.since) = (0, now);
        }
        let may = self.spent < self.most;
        self.spent += u32::from(may);
        may
    }
}

#[cfg(test)]
mod tests;
