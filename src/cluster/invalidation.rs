//! What is under way for a key, and what is told to it when the key is invalidated meanwhile.
//!
//! Whoever is going to write a value that it learnt before (a computation, a repair), or has a copy of one still
//! on its way, registers first. An invalidation of the key in this process marks all that is registered: when it
//! begins, and again when it ends, however it ends. What is marked does not write, and takes back what it
//! has written. Only what is under way is remembered, so that the memory is bounded by it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use parking_lot::Mutex;

/// The work under way in one process, by the keys as the servers know them.
#[derive(Debug, Default)]
pub(crate) struct Invalidations {
    /// Guards who is told; held for a look-up.
    under_way: Mutex<ByKey>,
    /// What this process keeps of caches in its own memory.
    #[cfg(feature = "near")]
    near: Arc<crate::near::Registry>,
}

type ByKey = HashMap<Arc<[u8]>, Vec<Arc<Stamp>>>;

/// What is known of one piece of work.
#[derive(Debug, Default)]
struct Stamp {
    overtaken: AtomicBool,
    /// It is an application's own write: another one that overlaps it is in no order with it.
    is_write: bool,
    /// That write has returned to its caller, and only copies of it are still on their way.
    is_settled: AtomicBool,
}

/// Work that may write; registered until it is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay {
    registry: Arc<Invalidations>,
    key: Arc<[u8]>,
    stamp: Arc<Stamp>,
}

/// An invalidation, from before its first command is sent until all of them were answered or given up.
#[derive(Debug)]
pub(crate) struct Invalidating {
    registry: Arc<Invalidations>,
    key: Arc<[u8]>,
    is_write: bool,
    /// What it writes itself.
    own: Option<Arc<Stamp>>,
}

/// The moments at which work is overtaken.
#[derive(Clone, Copy)]
enum Moment {
    WriteBegins,
    WriteEnds,
    Delete,
}

impl Stamp {
    fn is_overtaken_at(&self, moment: Moment) -> bool {
        match moment {
            Moment::Delete => true,
            Moment::WriteBegins => !self.is_write || self.is_settled.load(SeqCst),
            Moment::WriteEnds => !self.is_write,
        }
    }
}

impl Invalidations {
    /// Registers work on `key`, before it learns what it may write.
    pub(crate) fn begin(self: &Arc<Self>, key: &[u8]) -> UnderWay {
        self.register(key.into(), Stamp::default())
    }

    fn register(self: &Arc<Self>, key: Arc<[u8]>, stamp: Stamp) -> UnderWay {
        let stamp = Arc::new(stamp);
        let mut under_way = self.under_way.lock();
        let all = under_way.entry(Arc::clone(&key)).or_default();
        all.push(Arc::clone(&stamp));
        drop(under_way);
        UnderWay {
            registry: Arc::clone(self),
            key,
            stamp,
        }
    }

    /// A delete of `key`: ends all that is under way for it, now and when the guard is dropped.
    #[must_use = "it ends where the guard is dropped"]
    pub(crate) fn delete(self: &Arc<Self>, key: &[u8]) -> Invalidating {
        self.invalidate(key, false)
    }

    /// A write of `key`: ends all that is under way for it but other writes that have not returned either.
    #[must_use = "it ends where the guard is dropped"]
    pub(crate) fn write(self: &Arc<Self>, key: &[u8]) -> Invalidating {
        self.invalidate(key, true)
    }

    fn invalidate(self: &Arc<Self>, key: &[u8], is_write: bool) -> Invalidating {
        self.mark(
            key,
            match is_write {
                true => Moment::WriteBegins,
                false => Moment::Delete,
            },
        );
        Invalidating {
            registry: Arc::clone(self),
            key: key.into(),
            is_write,
            own: None,
        }
    }

    #[cfg(feature = "near")]
    pub(crate) fn near(&self) -> &Arc<crate::near::Registry> {
        &self.near
    }

    /// A write of `key` has ended, or a copy that was on its way: nothing that was read before is kept.
    fn forget(&self, key: &[u8]) {
        #[cfg(feature = "near")]
        self.near.forget(key);
        #[cfg(not(feature = "near"))]
        let _ = (self, key);
    }

    fn mark(&self, key: &[u8], moment: Moment) {
        let under_way = self.under_way.lock();
        let all = under_way.get(key).into_iter().flatten();
        for stamp in all.filter(|stamp| stamp.is_overtaken_at(moment)) {
            stamp.overtaken.store(true, SeqCst);
        }
    }
}

impl Invalidating {
    /// Registers what the write itself has on its way, also after it returned.
    pub(crate) fn begin(&mut self) -> UnderWay {
        let stamp = Stamp {
            is_write: true,
            ..Stamp::default()
        };
        let work = self.registry.register(Arc::clone(&self.key), stamp);
        self.own = Some(Arc::clone(&work.stamp));
        work
    }
}

impl Drop for Invalidating {
    fn drop(&mut self) {
        if let Some(own) = &self.own {
            own.is_settled.store(true, SeqCst);
        }
        self.registry.mark(
            &self.key,
            match self.is_write {
                true => Moment::WriteEnds,
                false => Moment::Delete,
            },
        );
        self.registry.forget(&self.key);
    }
}

impl UnderWay {
    /// Whether the key was invalidated since the work began: then it must leave nothing behind.
    pub(crate) fn is_overtaken(&self) -> bool {
        self.stamp.overtaken.load(SeqCst)
    }

    pub(crate) fn key(&self) -> &Arc<[u8]> {
        &self.key
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut under_way = self.registry.under_way.lock();
        if let Some(all) = under_way.get_mut(&self.key) {
            all.retain(|other| !Arc::ptr_eq(other, &self.stamp));
            if all.is_empty() {
                under_way.remove(&self.key);
            }
        }
        drop(under_way);
        self.registry.forget(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalidation_overtakes_what_began_before_its_end_and_nothing_else() {
        let all = Arc::new(Invalidations::default());
        for is_write in [false, true] {
            let (before, other) = (all.begin(b"k"), all.begin(b"other"));
            let invalidating = all.invalidate(b"k", is_write);
            assert!(before.is_overtaken());
            let meanwhile = all.begin(b"k");
            assert!(!meanwhile.is_overtaken(), "it has not ended yet");
            drop(invalidating);
            assert!(meanwhile.is_overtaken());
            assert!(!all.begin(b"k").is_overtaken() && !other.is_overtaken());
        }
    }

    #[test]
    fn writes_that_overlap_are_in_no_order_and_a_later_one_overtakes_what_is_left() {
        let all = Arc::new(Invalidations::default());
        let mut first = all.write(b"k");
        let a = first.begin();
        let mut second = all.write(b"k");
        let b = second.begin();
        drop(first);
        drop(second);
        assert!(!a.is_overtaken() && !b.is_overtaken());
        let third = all.write(b"k");
        assert!(a.is_overtaken() && b.is_overtaken(), "they had returned");
        drop(third);
    }

    #[test]
    fn a_delete_overtakes_every_write_that_began_before_its_end() {
        let all = Arc::new(Invalidations::default());
        let mut first = all.write(b"k");
        let a = first.begin();
        let delete = all.delete(b"k");
        assert!(a.is_overtaken());
        let mut second = all.write(b"k");
        let b = second.begin();
        assert!(!b.is_overtaken());
        drop(delete);
        assert!(b.is_overtaken());
    }

    #[test]
    fn nothing_is_remembered_of_what_is_over() {
        let all = Arc::new(Invalidations::default());
        let work = (all.begin(b"k"), all.begin(b"k"), all.delete(b"k"));
        assert_eq!(all.under_way.lock()[b"k".as_slice()].len(), 2);
        drop(work);
        assert!(all.under_way.lock().is_empty());
    }
}
