//! All stores of a cluster, for what is told of a key.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use parking_lot::RwLock;

use super::Store;

/// The stores that live. Keys are theirs by the prefix.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// So that a cluster without one pays nothing.
    is_used: AtomicBool,
    /// Guards the list; held for a walk over it, which removes a key from each.
    stores: RwLock<Vec<Weak<Store>>>,
}

impl Registry {
    pub(crate) fn add(&self, store: &Arc<Store>) {
        let mut stores = self.stores.write();
        stores.retain(|store| store.strong_count() > 0);
        stores.push(Arc::downgrade(store));
        self.is_used.store(true, Relaxed);
    }

    /// A server told that this key changed.
    pub(crate) fn told(&self, key: &[u8]) {
        self.each(key, |store| store.told(key));
    }

    /// A write of this process has ended.
    pub(crate) fn forget(&self, key: &[u8]) {
        if self.is_used.load(Relaxed) {
            self.each(key, |store| store.forget(key));
        }
    }

    fn each(&self, key: &[u8], what: impl Fn(&Store)) {
        for store in self.stores.read().iter().filter_map(Weak::upgrade) {
            if key.starts_with(store.prefix()) {
                what(&store);
            }
        }
    }

    /// The stores that live.
    pub(crate) fn all(&self) -> Vec<Arc<Store>> {
        match self.is_used.load(Relaxed) {
            true => self
                .stores
                .read()
                .iter()
                .filter_map(Weak::upgrade)
                .collect(),
            false => Vec::new(),
        }
    }
}
