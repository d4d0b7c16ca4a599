//! The items of all instances, as the bytes that came.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::identity::Id;
use super::record::{Head, RECORD, Record};
use super::testimony::{self, DRAINS, TESTIMONIES, Testimony};
use crate::fleet::Word;
use crate::hash::xxh3_64;

/// How long an item waits for the news that its owner is a member.
const PATIENCE: Duration = Duration::from_secs(10);
/// Owners that are no members yet.
const MOST_STRANGERS: usize = 256;
/// Items of one owner.
const MOST_KINDS: usize = 32;

/// Which item: of an owner there is one of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ItemKey {
    pub(crate) owner: SocketAddr,
    pub(crate) kind: u8,
}

/// An item that is kept.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) version: u64,
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) hash: u64,
    said: Said,
}

/// What an item says.
#[derive(Clone, Debug)]
enum Said {
    Record(Arc<Record>),
    Testimony(Arc<Testimony>),
    Drains(Arc<[(u64, Word)]>),
    /// Of a kind that this version does not know.
    Unknown,
}

impl Said {
    /// None: it breaks a rule of ours.
    fn of(kind: u8, body: &[u8]) -> Option<Self> {
        Some(match kind {
            RECORD => Self::Record(Arc::new(Record::of(body)?)),
            _ if TESTIMONIES.contains(&kind) => Self::Testimony(Arc::new(Testimony::of(body)?)),
            _ if DRAINS.contains(&kind) => Self::Drains(testimony::drains_of(body)?.into()),
            _ => Self::Unknown,
        })
    }
}

#[derive(Debug)]
struct Owner {
    generation: u64,
    /// Since when it is known without being a member.
    stranger: Option<Instant>,
    items: BTreeMap<u8, Item>,
}

/// What became of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// It is news, and is passed on.
    New(ItemKey),
    /// It is known, or late.
    Old,
    /// It is none, or there is no room.
    Refused,
}

/// What was counted, ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) refused: u64,
    /// Of a kind that this version does not know.
    pub(crate) unknown: u64,
    /// Two items of one version.
    pub(crate) forked: u64,
}

#[derive(Debug)]
pub(crate) struct Records {
    me: Id,
    /// Set before each call that may bring items.
    pub(crate) now: Instant,
    owners: HashMap<SocketAddr, Owner>,
    /// Those who are or were members: their generation, and whether they live.
    members: HashMap<SocketAddr, (u64, bool)>,
    /// The highest version that somebody tells of us, and that we did not write.
    contested: Option<u64>,
    /// The highest generation at our address that we did not make.
    claimed: Option<u64>,
    /// Whether a record changed since it was asked.
    changed: bool,
    /// The same of what is said of nodes, and of drains.
    fleet_changed: bool,
    drains_changed: bool,
    pub(crate) counted: Counted,
}

impl Records {
    pub(crate) fn new(me: Id, now: Instant) -> Self {
        Self {
            me,
            now,
            owners: HashMap::new(),
            members: HashMap::new(),
            contested: None,
            claimed: None,
            changed: false,
            fleet_changed: false,
            drains_changed: false,
            counted: Counted::default(),
        }
    }

    /// We are somebody else now; nothing of what we said before is ours.
    pub(crate) fn renew(&mut self, me: Id) {
        self.owners.remove(&self.me.addr);
        self.me = me;
        self.contested = None;
    }

    /// An item of ours.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Offered {
        match Head::of(bytes) {
            Some((head, body)) if head.owner == self.me => self.keep(head, body, bytes, None),
            _ => Offered::Refused,
        }
    }

    /// An item that somebody tells.
    pub(crate) fn offer(&mut self, bytes: &[u8]) -> Offered {
        let Some((head, body)) = Head::of(bytes) else {
            self.counted.refused += 1;
            return Offered::Refused;
        };
        if head.owner.addr == self.me.addr {
            return self.offered_mine(head, bytes);
        }
        let stranger = match self.members.get(&head.owner.addr) {
            Some((generation, _)) if head.owner.generation < *generation => return Offered::Old,
            Some((generation, true)) if head.owner.generation == *generation => None,
            Some((generation, false)) if head.owner.generation == *generation => {
                return Offered::Old;
            }
            // A start of it that we have not heard of.
            _ => Some(self.now),
        };
        self.keep(head, body, bytes, stranger)
    }

    fn offered_mine(&mut self, head: Head, bytes: &[u8]) -> Offered {
        if head.owner.generation > self.me.generation {
            self.claimed = self.claimed.max(Some(head.owner.generation));
            return Offered::Old;
        }
        if head.owner != self.me {
            return Offered::Old;
        }
        let own = self.item(ItemKey {
            owner: self.me.addr,
            kind: head.kind,
        });
        let is_ours =
            |kind| kind == RECORD || TESTIMONIES.contains(&kind) || DRAINS.contains(&kind);
        let is_foreign = match own {
            Some(own) => {
                head.version > own.version || (head.version == own.version && *own.bytes != *bytes)
            }
            None => is_ours(head.kind),
        };
        if is_foreign {
            self.contested = self.contested.max(Some(head.version));
        }
        Offered::Old
    }

    fn keep(
        &mut self,
        head: Head,
        body: &[u8],
        bytes: &[u8],
        stranger: Option<Instant>,
    ) -> Offered {
        let Some(said) = Said::of(head.kind, body) else {
            self.counted.refused += 1;
            return Offered::Refused;
        };
        let addr = head.owner.addr;
        if stranger.is_some() && !self.owners.contains_key(&addr) {
            let strangers = self.owners.values().filter(|o| o.stranger.is_some());
            if strangers.count() >= MOST_STRANGERS {
                self.counted.refused += 1;
                return Offered::Refused;
            }
        }
        let owner = self.owners.entry(addr).or_insert_with(|| Owner {
            generation: head.owner.generation,
            stranger,
            items: BTreeMap::new(),
        });
        if head.owner.generation < owner.generation {
            return Offered::Old;
        }
        if head.owner.generation > owner.generation {
            owner.generation = head.owner.generation;
            owner.stranger = stranger;
            owner.items.clear();
        }
        let hash = xxh3_64(bytes);
        match owner.items.get(&head.kind) {
            Some(known) if known.version > head.version => return Offered::Old,
            Some(known) if known.version == head.version => {
                if known.hash == hash {
                    return Offered::Old;
                }
                // Nobody should write two of them. Everybody has to keep the same one.
                self.counted.forked += 1;
                if known.hash > hash {
                    return Offered::Old;
                }
            }
            None if owner.items.len() >= MOST_KINDS => {
                self.counted.refused += 1;
                return Offered::Refused;
            }
            _ => {}
        }
        match said {
            Said::Record(_) => self.changed = true,
            Said::Testimony(_) => self.fleet_changed = true,
            Said::Drains(_) => self.drains_changed = true,
            Said::Unknown => self.counted.unknown += 1,
        }
        owner.items.insert(
            head.kind,
            Item {
                version: head.version,
                bytes: bytes.into(),
                hash,
                said,
            },
        );
        Offered::New(ItemKey {
            owner: addr,
            kind: head.kind,
        })
    }

    /// The instance is a member.
    pub(crate) fn is_up(&mut self, id: Id) {
        self.members.insert(id.addr, (id.generation, true));
        if let Some(owner) = self.owners.get_mut(&id.addr) {
            if owner.generation < id.generation {
                self.owners.remove(&id.addr);
            } else if owner.generation == id.generation {
                owner.stranger = None;
            }
        }
        self.changed = true;
    }

    /// The instance is none any more: what it said is void.
    pub(crate) fn is_down(&mut self, id: Id) {
        self.members.insert(id.addr, (id.generation, false));
        if self
            .owners
            .get(&id.addr)
            .is_some_and(|owner| owner.generation <= id.generation)
        {
            self.owners.remove(&id.addr);
        }
        self.changed = true;
    }

    /// The instance was forgotten.
    pub(crate) fn is_gone(&mut self, id: Id) {
        if self
            .members
            .get(&id.addr)
            .is_some_and(|(generation, alive)| *generation == id.generation && !alive)
        {
            self.members.remove(&id.addr);
        }
    }

    /// Drops what waited in vain for its owner to become a member.
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.owners.retain(|_, owner| {
            owner
                .stranger
                .is_none_or(|since| now.saturating_duration_since(since) < PATIENCE)
        });
    }

    /// The record of a member.
    pub(crate) fn record(&self, id: Id) -> Option<Arc<Record>> {
        let owner = self
            .owners
            .get(&id.addr)
            .filter(|owner| owner.generation == id.generation)?;
        match &owner.items.get(&RECORD)?.said {
            Said::Record(record) => Some(Arc::clone(record)),
            _ => None,
        }
    }

    /// What a member says of nodes.
    pub(crate) fn testimonies(&self, id: Id) -> impl Iterator<Item = &Arc<Testimony>> {
        self.items(id).filter_map(|(_, item)| match &item.said {
            Said::Testimony(testimony) => Some(testimony),
            _ => None,
        })
    }

    /// All words on drains that are known.
    pub(crate) fn drains(&self) -> impl Iterator<Item = (u64, Word)> {
        let items = self.owners.values().flat_map(|owner| owner.items.values());
        let drains = items.filter_map(|item| match &item.said {
            Said::Drains(words) => Some(words.iter().copied()),
            _ => None,
        });
        drains.flatten()
    }

    pub(crate) fn item(&self, key: ItemKey) -> Option<&Item> {
        self.owners.get(&key.owner)?.items.get(&key.kind)
    }

    /// All items of a member.
    pub(crate) fn items(&self, id: Id) -> impl Iterator<Item = (u8, &Item)> {
        let owner = self
            .owners
            .get(&id.addr)
            .filter(|owner| owner.generation == id.generation);
        owner
            .into_iter()
            .flat_map(|owner| owner.items.iter().map(|(kind, item)| (*kind, item)))
    }

    /// One number for all that members have said; the order of arrival is not in it.
    pub(crate) fn digest(&self) -> u64 {
        let known = self
            .owners
            .values()
            .filter(|owner| owner.stranger.is_none());
        known
            .flat_map(|owner| owner.items.values())
            .fold(0, |all, item| all ^ item.hash)
    }

    pub(crate) fn take_contested(&mut self) -> Option<u64> {
        self.contested.take()
    }

    pub(crate) fn take_claimed(&mut self) -> Option<u64> {
        self.claimed.take()
    }

    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    pub(crate) fn take_fleet_changed(&mut self) -> bool {
        std::mem::take(&mut self.fleet_changed)
    }

    pub(crate) fn take_drains_changed(&mut self) -> bool {
        std::mem::take(&mut self.drains_changed)
    }

    /// Bytes of all items.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        let all = self.owners.values().flat_map(|owner| owner.items.values());
        all.map(|item| item.bytes.len()).sum()
    }
}

#[cfg(test)]
mod tests;
