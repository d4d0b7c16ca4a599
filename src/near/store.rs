//! The values, and the judgement of a look-up.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::counts::{Count, Counts};
use super::{Near, places::Places};

/// A value as the server has it; `None` when there is none.
pub(crate) type Bytes = Option<Arc<[u8]>>;

/// Wakes those who wait for the read of another; what it is, who drives knows.
pub(crate) type Tell = Box<dyn Any + Send>;

/// What an entry takes beside its key and its value, in bytes; measured: 130 over 120 with the key's room.
const OVERHEAD: u64 = 100;
/// No value may push out more than this part of the others.
const SHARE: u64 = 16;

#[derive(Clone)]
struct Item {
    bytes: Bytes,
    epoch: u64,
    until: u64,
}

#[derive(Clone)]
struct Weight;

impl Weighter<Box<[u8]>, Item> for Weight {
    fn weight(&self, key: &Box<[u8]>, item: &Item) -> u64 {
        weight(key, &item.bytes)
    }
}

fn weight(key: &[u8], bytes: &Bytes) -> u64 {
    let value = bytes.as_ref().map_or(0, |bytes| bytes.len());
    OVERHEAD + (key.len() + value) as u64
}

/// What one cache keeps in this process.
pub(crate) struct Store {
    prefix: Vec<u8>,
    options: Near,
    items: Cache<Box<[u8]>, Item, Weight>,
    places: Places<Tell>,
    counts: Counts,
}

/// What a look-up found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Hit(Bytes),
    Miss(Miss),
}

/// Why it is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// There is no entry.
    Absent,
    /// It was read over another connection, or before a flush.
    Epoch,
    /// The connection has not proven anything for too long.
    Silence,
    /// It is too old.
    Expired,
    /// There is no connection that tells.
    Off,
}

/// The answer to a read, and what may be kept of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// With its time to live in milliseconds; -1 for none.
    Value(Arc<[u8]>, i64),
    /// No value; what the server said of the time to live.
    Nothing(i64),
}

impl Store {
    pub(crate) fn new(prefix: &[u8], options: Near) -> Self {
        // A guess of what one entry takes, for the size of its tables at first.
        let items = usize::try_from(options.capacity / 512).unwrap_or(usize::MAX);
        Self {
            prefix: prefix.to_vec(),
            items: Cache::with_weighter(items.clamp(64, 1 << 20), options.capacity, Weight),
            options,
            places: Places::new(),
            counts: Counts::new(),
        }
    }

    pub(crate) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    pub(crate) fn options(&self) -> &Near {
        &self.options
    }

    pub(crate) fn places(&self) -> &Places<Tell> {
        &self.places
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How many entries there are, and their weight in bytes.
    pub(crate) fn size(&self) -> (u64, u64) {
        (self.items.len() as u64, self.items.weight())
    }

    /// Whether `proven` is old enough for a question.
    pub(crate) fn wants_proof(&self, proven: u64, now: u64) -> bool {
        now.saturating_sub(proven) > self.options.silence() / 2
    }

    /// Looks `key` up. What is current, and up to when that is proven, was asked of its node's connection before, and
    /// then what time it is; the entry is looked at last, so that what the proof proves has been applied to it.
    pub(crate) fn look_up(&self, key: &[u8], (epoch, proven): (u64, u64), now: u64) -> Found {
        let found = self.judge(key, (epoch, proven), now);
        self.counts.add(match &found {
            Found::Hit(_) => Count::Hit,
            Found::Miss(Miss::Absent) => Count::Absent,
            Found::Miss(Miss::Epoch) => Count::Epoch,
            Found::Miss(Miss::Silence) => Count::Silence,
            Found::Miss(Miss::Expired) => Count::Expired,
            Found::Miss(Miss::Off) => Count::Off,
        });
        found
    }

    fn judge(&self, key: &[u8], (epoch, proven): (u64, u64), now: u64) -> Found {
        if epoch == 0 {
            return Found::Miss(Miss::Off);
        }
        let Some(item) = self.items.get(key) else {
            return Found::Miss(Miss::Absent);
        };
        if item.epoch != epoch {
            Found::Miss(Miss::Epoch)
        } else if now.saturating_sub(proven) > self.options.silence() {
            Found::Miss(Miss::Silence)
        } else if now >= item.until {
            Found::Miss(Miss::Expired)
        } else {
            Found::Hit(item.bytes)
        }
    }

    /// Whether `key` is kept under this number.
    pub(crate) fn has(&self, key: &[u8], epoch: u64) -> bool {
        self.items.peek(key).is_some_and(|item| item.epoch == epoch)
    }

    /// A server told that `key` changed.
    pub(crate) fn told(&self, key: &[u8]) {
        self.counts.add(Count::Told);
        self.forget(key);
    }

    /// What is known of `key`, and what is being read, is not kept. The place first: what it keeps until then is there
    /// to be removed.
    pub(crate) fn forget(&self, key: &[u8]) {
        self.places.forget(key);
        self.items.remove(key);
    }

    /// The entry alone: what the model leaves out.
    #[cfg(test)]
    pub(super) fn forget_entry(&self, key: &[u8]) {
        self.items.remove(key);
    }

    /// A read was answered, which was asked at this time, over the connection of this number then. It is kept if its
    /// place is still there, and if it is fit to be kept. What wakes those who wait comes back, and the value.
    pub(crate) fn land(
        &self,
        key: &[u8],
        id: u64,
        (epoch, asked): (u64, u64),
        answered: Answered,
    ) -> (Option<Tell>, Bytes) {
        let (bytes, until) = self.fit(key, asked, answered);
        let Some(until) = until else {
            self.counts.add(Count::Unfit);
            let tell = self.places.land(key, id, || ());
            return (tell.flatten(), bytes);
        };
        let item = Item {
            bytes: bytes.clone(),
            epoch,
            until,
        };
        let tell = self
            .places
            .land(key, id, || self.items.insert(key.into(), item));
        self.counts.add(match tell {
            Some(_) => Count::Stored,
            None => Count::Overtaken,
        });
        (tell.flatten(), bytes)
    }

    /// The value, and until when it may be kept, if at all.
    fn fit(&self, key: &[u8], asked: u64, answered: Answered) -> (Bytes, Option<u64>) {
        let until = |micros: u64| Some(asked.saturating_add(micros.min(self.options.age())));
        let (bytes, until) = match answered {
            Answered::Value(bytes, -1) => (Some(bytes), until(u64::MAX)),
            Answered::Value(bytes, left) => match u64::try_from(left) {
                Ok(left) if left > 0 => (Some(bytes), until(left.saturating_mul(1000))),
                // It has just expired, or its time to live is none.
                _ => (Some(bytes), None),
            },
            Answered::Nothing(-2) if self.options.negative => (None, until(u64::MAX)),
            Answered::Nothing(_) => (None, None),
        };
        let is_large = weight(key, &bytes) > self.options.capacity / SHARE;
        (bytes, until.filter(|_| !is_large))
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = self.prefix.escape_ascii().to_string();
        f.debug_struct("Store")
            .field("prefix", &prefix)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::places::Begun;
    use super::*;

    fn value(bytes: &[u8], left: i64) -> Answered {
        Answered::Value(bytes.into(), left)
    }

    fn fill(store: &Store, key: &[u8], epoch: u64, asked: u64, answered: Answered) {
        let Begun::Lead(id) = store.places.begin(key, epoch, asked, 0, |_| ()) else {
            panic!("nobody reads it");
        };
        store.land(key, id, (epoch, asked), answered);
    }

    fn store(options: Near) -> Store {
        Store::new(b"p:", options)
    }

    #[test]
    fn a_hit_is_of_this_connection_proven_and_young() {
        let store = store(Near::default().max_age(Duration::from_secs(10)));
        fill(&store, b"p:k", 3, 1_000_000, value(b"v", 5_000));
        let hit = Found::Hit(Some(b"v".as_slice().into()));
        let found = |epoch, proven, now| store.judge(b"p:k", (epoch, proven), now);
        assert_eq!(found(3, 1_000_000, 2_000_000), hit);
        assert_eq!(found(3, 1_000_000, 2_000_001), Found::Miss(Miss::Silence));
        assert_eq!(found(4, 1_000_000, 1_000_001), Found::Miss(Miss::Epoch));
        assert_eq!(found(0, 1_000_000, 1_000_001), Found::Miss(Miss::Off));
        assert_eq!(found(3, 6_000_000, 5_999_999), hit);
        assert_eq!(found(3, 6_000_000, 6_000_000), Found::Miss(Miss::Expired));
        store.told(b"p:k");
        assert_eq!(found(3, 6_000_000, 5_999_999), Found::Miss(Miss::Absent));
    }

    #[test]
    fn what_is_kept_is_what_is_fit() {
        let small = store(Near::default().capacity(64 << 10));
        let negative = store(Near::default().negative(true));
        let kept = |store: &Store, answered| store.fit(b"p:k", 7, answered).1;
        assert_eq!(kept(&small, value(b"v", -1)), Some(60_000_007), "max_age");
        assert_eq!(kept(&small, value(b"v", 2)), Some(2_007));
        assert_eq!(kept(&small, value(b"v", i64::MAX)), Some(60_000_007));
        for left in [0, -2, -3, i64::MIN] {
            assert_eq!(kept(&small, value(b"v", left)), None, "{left}");
        }
        assert_eq!(kept(&small, Answered::Nothing(-2)), None);
        assert_eq!(kept(&negative, Answered::Nothing(-2)), Some(60_000_007));
        assert_eq!(
            kept(&negative, Answered::Nothing(5)),
            None,
            "it came back meanwhile"
        );
        let large = vec![0; 4 << 10];
        assert_eq!(kept(&small, value(&large, -1)), None);
        assert!(kept(&small, value(&large[..3 << 10], -1)).is_some());
    }

    #[test]
    fn memory_is_bounded_by_weight() {
        let store = store(Near::default().capacity(1 << 20));
        for i in 0..20_000_u32 {
            let key = [b"p:".as_slice(), &i.to_be_bytes()].concat();
            fill(&store, &key, 1, 0, value(&[0; 100], -1));
        }
        let (entries, bytes) = store.size();
        assert!(entries > 3_000 && bytes <= 1 << 20, "{entries}, {bytes}");
        assert_eq!(store.places.len(), 0);
    }
}
