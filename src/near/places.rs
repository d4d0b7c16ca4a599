//! Reads under way, from before they are sent until what they brought is kept.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

/// A look-up of one key waits for no other's.
const SHARDS: usize = 16;

/// One place for each key that is read. What is told of a key, and the end of an own write, takes the place away: a read
/// keeps what it brought only while its own place is there.
///
/// `T` wakes those who wait for the read of another.
#[derive(Debug)]
pub(crate) struct Places<T> {
    hasher: RandomState,
    /// Guards who may keep what; held for a look-up, and while what was read is kept.
    shards: [Mutex<ByKey<T>>; SHARDS],
    last: AtomicU64,
}

type ByKey<T> = HashMap<Box<[u8]>, Place<T>>;

#[derive(Debug)]
struct Place<T> {
    id: u64,
    epoch: u64,
    asked: u64,
    /// Made by the first who waits.
    tell: Option<T>,
}

/// What a read has to do.
#[derive(Debug)]
pub(crate) enum Begun<F> {
    /// Read, and keep it under this id.
    Lead(u64),
    /// Wait for one that reads already.
    Follow(F),
}

impl<T> Places<T> {
    pub(crate) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
            last: AtomicU64::new(0),
        }
    }

    fn shard(&self, key: &[u8]) -> &Mutex<ByKey<T>> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }

    /// A read of `key` begins, over the connection of this number. One that reads already is followed while nothing was
    /// told of the key, it reads over the same connection, and was asked no longer than `silence` ago.
    pub(crate) fn begin<F>(
        &self,
        key: &[u8],
        epoch: u64,
        asked: u64,
        silence: u64,
        follow: impl FnOnce(&mut Option<T>) -> F,
    ) -> Begun<F> {
        let mut shard = self.shard(key).lock();
        if let Some(place) = shard.get_mut(key)
            && place.epoch == epoch
            && asked.saturating_sub(place.asked) <= silence
        {
            return Begun::Follow(follow(&mut place.tell));
        }
        let id = self.last.fetch_add(1, Relaxed) + 1;
        let place = Place {
            id,
            epoch,
            asked,
            tell: None,
        };
        let before = shard.insert(key.into(), place);
        drop(shard);
        // Whoever waits for it reads for itself; woken outside the lock.
        drop(before);
        Begun::Lead(id)
    }

    /// Takes the place of `key` away, whoever's it is.
    pub(crate) fn forget(&self, key: &[u8]) {
        let place = self.shard(key).lock().remove(key);
        drop(place);
    }

    /// The read of this id has its value: `keep` is called while no one can forget it, if the place is still its own.
    /// Those who wait are told by what is returned.
    pub(crate) fn land(&self, key: &[u8], id: u64, keep: impl FnOnce()) -> Option<Option<T>> {
        let mut shard = self.shard(key).lock();
        if shard.get(key).is_none_or(|place| place.id != id) {
            return None;
        }
        keep();
        shard.remove(key).map(|place| place.tell)
    }

    /// The read of this id ends without a value.
    pub(crate) fn leave(&self, key: &[u8], id: u64) {
        let place = {
            let mut shard = self.shard(key).lock();
            match shard.get(key) {
                Some(place) if place.id == id => shard.remove(key),
                _ => None,
            }
        };
        drop(place);
    }

    /// Whose place it is; 0 for nobody's.
    #[cfg(test)]
    pub(super) fn id(&self, key: &[u8]) -> u64 {
        self.shard(key).lock().get(key).map_or(0, |place| place.id)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(places: &Places<()>, epoch: u64, asked: u64) -> Begun<()> {
        places.begin(b"k", epoch, asked, 10, |_| ())
    }

    fn lead(places: &Places<()>, epoch: u64, asked: u64) -> u64 {
        match begin(places, epoch, asked) {
            Begun::Lead(id) => id,
            Begun::Follow(()) => panic!("there is none to follow"),
        }
    }

    #[test]
    fn only_who_has_the_place_keeps_something() {
        let places = Places::new();
        let first = lead(&places, 1, 0);
        assert!(matches!(begin(&places, 1, 10), Begun::Follow(())));
        places.forget(b"k");
        let second = lead(&places, 1, 1);
        assert!(places.land(b"k", first, || panic!("forgotten")).is_none());
        places.leave(b"k", first);
        let mut kept = false;
        assert!(places.land(b"k", second, || kept = true).is_some());
        assert!(kept && places.len() == 0);
    }

    #[test]
    fn who_is_too_old_or_of_another_connection_is_not_followed() {
        let places = Places::new();
        let first = lead(&places, 1, 0);
        let second = lead(&places, 1, 11);
        let third = lead(&places, 2, 11);
        for old in [first, second] {
            assert!(
                places
                    .land(b"k", old, || panic!("it was replaced"))
                    .is_none()
            );
        }
        places.leave(b"k", third);
        assert_eq!(places.len(), 0);
    }
}
