//! The items of all instances, as the bytes that came.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::identity::Id;
use super::record::{Head, RECORD, Record};
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
    record: Option<Arc<Record>>,
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
        let is_foreign = match own {
            Some(own) => {
                head.version > own.version || (head.version == own.version && *own.bytes != *bytes)
            }
            None => head.kind == RECORD,
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
        let record = match head.kind {
            RECORD => match Record::of(body) {
                Some(record) => Some(Arc::new(record)),
                None => {
                    self.counted.refused += 1;
                    return Offered::Refused;
                }
            },
            _ => None,
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
        if record.is_none() {
            self.counted.unknown += 1;
        }
        self.changed |= record.is_some();
        owner.items.insert(
            head.kind,
            Item {
                version: head.version,
                bytes: bytes.into(),
                hash,
                record,
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
        owner.items.get(&RECORD)?.record.clone()
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

    /// Bytes of all items.
    pub(crate) fn bytes(&self) -> usize {
        let all = self.owners.values().flat_map(|owner| owner.items.values());
        all.map(|item| item.bytes.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::record::Phase;
    use super::*;

    fn id(port: u16, generation: u64) -> Id {
        Id::new(SocketAddr::from(([10, 0, 0, 1], port)), generation)
    }

    fn item(owner: Id, version: u64, ring_id: &str) -> Vec<u8> {
        let record = Record {
            ring_id: ring_id.into(),
            http: None,
            phase: Phase::Ready,
            weight: 1,
            labels: BTreeMap::new(),
        };
        record.item(owner, version).expect("it fits")
    }

    fn records() -> Records {
        let mut records = Records::new(id(1, 1), Instant::now());
        records.is_up(id(2, 5));
        records
    }

    #[test]
    fn the_newest_version_of_a_living_member_stays_and_is_void_when_it_is_down() {
        let mut r = records();
        let key = ItemKey {
            owner: id(2, 5).addr,
            kind: RECORD,
        };
        assert_eq!(r.offer(&item(id(2, 5), 3, "b")), Offered::New(key));
        assert_eq!(r.offer(&item(id(2, 5), 3, "b")), Offered::Old);
        assert_eq!(r.offer(&item(id(2, 5), 2, "old")), Offered::Old);
        assert_eq!(r.offer(&item(id(2, 4), 9, "before")), Offered::Old);
        assert_eq!(&*r.record(id(2, 5)).expect("a record").ring_id, "b");
        r.is_down(id(2, 5));
        assert_eq!((r.record(id(2, 5)), r.bytes()), (None, 0));
        assert_eq!(r.offer(&item(id(2, 5), 4, "late")), Offered::Old);
        assert!(matches!(
            r.offer(&item(id(2, 6), 1, "again")),
            Offered::New(_)
        ));
        r.is_up(id(2, 6));
        assert_eq!(&*r.record(id(2, 6)).expect("a record").ring_id, "again");
    }

    #[test]
    fn an_item_that_comes_before_its_member_waits_ten_seconds_and_there_is_room_for_few() {
        let mut r = records();
        let start = r.now;
        for n in 0..1_000 {
            r.offer(&item(id(1_000 + n, 1), 1, "x"));
        }
        assert_eq!(r.owners.len(), MOST_STRANGERS);
        assert_eq!(r.counted.refused, 1_000 - MOST_STRANGERS as u64);
        r.is_up(id(1_000, 1));
        r.sweep(start + PATIENCE - Duration::from_millis(1));
        assert_eq!(r.owners.len(), MOST_STRANGERS);
        assert_eq!(
            r.digest(),
            r.item(ItemKey {
                owner: id(1_000, 1).addr,
                kind: RECORD
            })
            .expect("kept")
            .hash
        );
        r.sweep(start + PATIENCE);
        assert_eq!(r.owners.len(), 1);
    }

    #[test]
    fn what_others_say_of_us_is_not_believed_and_is_answered() {
        let mut r = records();
        assert!(matches!(r.write(&item(id(1, 1), 1, "me")), Offered::New(_)));
        assert_eq!(
            r.write(&item(id(2, 5), 1, "me")),
            Offered::Refused,
            "of somebody else"
        );
        r.offer(&item(id(1, 1), 1, "me"));
        assert_eq!(r.take_contested(), None);
        r.offer(&item(id(1, 1), 7, "not me"));
        assert_eq!((r.take_contested(), r.take_contested()), (Some(7), None));
        r.offer(&item(id(1, 1), 1, "not me"));
        assert_eq!(r.take_contested(), Some(1));
        r.offer(&item(id(1, 9), 1, "another at our address"));
        assert_eq!((r.take_claimed(), r.take_contested()), (Some(9), None));
        assert_eq!(&*r.record(id(1, 1)).expect("ours").ring_id, "me");
    }

    #[test]
    fn a_kind_that_is_not_known_is_kept_and_passed_on_as_it_came() {
        let mut r = records();
        let mut unknown = item(id(2, 5), 1, "b");
        unknown[0] = 77;
        unknown.extend([255; 20]);
        let key = ItemKey {
            owner: id(2, 5).addr,
            kind: 77,
        };
        assert_eq!(r.offer(&unknown), Offered::New(key));
        assert_eq!(&*r.item(key).expect("kept").bytes, &unknown[..]);
        for kind in 78..=255 {
            unknown[0] = kind;
            r.offer(&unknown);
        }
        assert_eq!(r.items(id(2, 5)).count(), MOST_KINDS);
        assert_eq!((r.counted.unknown, r.counted.refused), (32, 147));
    }

    proptest! {
        // A semilattice: whatever the order and however often, all end with the same.
        #[test]
        fn records_merge_to_the_same_in_any_order(
            offers in proptest::collection::vec((2_u16..5, 1_u64..4, 1_u64..4, "[a-c]"), 1..20),
            again in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
            seed in any::<u64>(),
        ) {
            let all: Vec<_> = offers.iter().map(|(port, generation, version, name)| item(id(*port, *generation), *version, name)).collect();
            let mut other = all.clone();
            other.extend(again.iter().map(|index| index.get(&all).clone()));
            fastrand::Rng::with_seed(seed).shuffle(&mut other);
            let end = |items: &[Vec<u8>]| {
                let mut r = Records::new(id(1, 1), Instant::now());
                for item in items {
                    r.offer(item);
                }
                for port in 2..5 {
                    let generation = r.owners.get(&id(port, 1).addr).map_or(1, |owner| owner.generation);
                    r.is_up(id(port, generation));
                }
                let bytes: BTreeMap<_, _> = r.owners.iter().map(|(addr, o)| (*addr, o.items[&RECORD].bytes.to_vec())).collect();
                (r.digest(), bytes)
            };
            prop_assert_eq!(end(&all), end(&other));
        }
    }
}
