//! What a consumer has at hand: deliveries that wait to be popped, and the leases it holds. It decides whose
//! turn it is, how much to fetch, which leases to renew; it does nothing itself.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};
use std::time::{Duration, Instant};

use crate::queue::message::{Message, Place};

/// A message on its way to the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parcel {
    pub(crate) place: Place,
    pub(crate) message: Message,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    /// The application has it; until then it waits here.
    started: bool,
    since: Instant,
    /// Somebody else may have it by now.
    lost: bool,
}

#[derive(Debug, Default)]
struct Slot {
    waiting: VecDeque<Parcel>,
    leases: HashMap<Place, Lease>,
    /// What waited here went back because nobody popped: nothing is fetched until somebody does.
    resting: bool,
}

/// One node's place on the shelf. A node that comes back under its name gets a new one.
pub(crate) type SlotId = u64;

#[derive(Debug)]
pub(crate) struct Shelf {
    slots: BTreeMap<SlotId, Slot>,
    prefetch: usize,
    /// Whose turn it was last.
    last: SlotId,
}

/// The leases of one node that need something.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) renew: Vec<Place>,
    /// Waited for too long: these are no longer on the shelf, and are to be given back.
    pub(crate) stale: Vec<Place>,
}

impl Shelf {
    pub(crate) fn new(prefetch: usize) -> Self {
        Self {
            slots: BTreeMap::new(),
            prefetch: prefetch.max(1),
            last: 0,
        }
    }

    pub(crate) fn join(&mut self, slot: SlotId) {
        self.slots.entry(slot).or_default();
    }

    /// Forgets a node, with all that waits here from it.
    pub(crate) fn leave(&mut self, slot: SlotId) {
        self.slots.remove(&slot);
    }

    /// How much may be fetched from a node now: nothing while at least half of its share waits here, so
    /// that fetches are few and large.
    pub(crate) fn room(&self, slot: SlotId) -> usize {
        match self.slots.get(&slot) {
            Some(s) if !s.resting && s.waiting.len() <= self.prefetch / 2 => {
                self.prefetch - s.waiting.len()
            }
            _ => 0,
        }
    }

    /// Puts what a node gave on the shelf.
    pub(crate) fn stock(
        &mut self,
        slot: SlotId,
        parcels: impl IntoIterator<Item = Parcel>,
        now: Instant,
    ) {
        let Some(s) = self.slots.get_mut(&slot) else {
            return;
        };
        for parcel in parcels {
            let lease = Lease {
                started: false,
                since: now,
                lost: false,
            };
            // A group that was made anew delivers again what is here already.
            if s.leases.insert(parcel.place, lease).is_none() {
                s.waiting.push_back(parcel);
            }
        }
    }

    /// The next delivery: of the nodes that have one, the next after the last one's.
    pub(crate) fn take(&mut self, now: Instant) -> Option<(SlotId, Parcel)> {
        let after = self.slots.range((Excluded(self.last), Unbounded));
        let (id, _) = after
            .chain(self.slots.range(..=self.last))
            .find(|(_, s)| !s.waiting.is_empty())?;
        let id = *id;
        let s = self.slots.get_mut(&id)?;
        let parcel = s.waiting.pop_front()?;
        if let Some(lease) = s.leases.get_mut(&parcel.place) {
            lease.started = true;
            lease.since = now;
        }
        self.last = id;
        Some((id, parcel))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.values().all(|s| s.waiting.is_empty())
    }

    /// Somebody pops: fetching goes on. Says whether anybody rested.
    pub(crate) fn wake(&mut self) -> bool {
        let mut woken = false;
        for s in self.slots.values_mut() {
            woken |= std::mem::take(&mut s.resting);
        }
        woken
    }

    /// A delivery is settled, or was dropped.
    pub(crate) fn forget(&mut self, slot: SlotId, place: Place) {
        if let Some(s) = self.slots.get_mut(&slot) {
            s.leases.remove(&place);
        }
    }

    /// The server no longer holds these for us.
    pub(crate) fn lost(&mut self, slot: SlotId, places: impl IntoIterator<Item = Place>) {
        let Some(s) = self.slots.get_mut(&slot) else {
            return;
        };
        for place in places {
            match s.leases.get_mut(&place) {
                Some(lease) if lease.started => lease.lost = true,
                Some(_) => {
                    s.leases.remove(&place);
                    s.waiting.retain(|p| p.place != place);
                }
                None => {}
            }
        }
    }

    /// Whether a delivery may have gone to somebody else.
    pub(crate) fn is_lost(&self, slot: SlotId, place: Place) -> bool {
        let slot = self.slots.get(&slot);
        slot.and_then(|s| s.leases.get(&place))
            .is_none_or(|l| l.lost)
    }

    /// What is held of a node: what waits, and what the application has.
    pub(crate) fn held(&self, slot: SlotId) -> Vec<Place> {
        let slot = self.slots.get(&slot);
        slot.map_or_else(Vec::new, |s| s.leases.keys().copied().collect())
    }

    pub(crate) fn has_leases(&self, slot: SlotId) -> bool {
        self.slots.get(&slot).is_some_and(|s| !s.leases.is_empty())
    }

    /// Takes everything that waits off the shelf: it is to be given back.
    pub(crate) fn clear(&mut self, slot: SlotId) {
        if let Some(s) = self.slots.get_mut(&slot) {
            for parcel in s.waiting.drain(..) {
                s.leases.remove(&parcel.place);
            }
        }
    }

    /// What to do about the leases of a node: renew what the application has and what has not waited for
    /// long; give back what nobody popped for half of `visibility`.
    pub(crate) fn due(&mut self, slot: SlotId, now: Instant, visibility: Duration) -> Due {
        let mut due = Due::default();
        let Some(s) = self.slots.get_mut(&slot) else {
            return due;
        };
        let is_stale =
            |l: &Lease| !l.started && now.saturating_duration_since(l.since) >= visibility / 2;
        for (place, lease) in &s.leases {
            match is_stale(lease) {
                true => due.stale.push(*place),
                false if lease.lost => {}
                false => due.renew.push(*place),
            }
        }
        if !due.stale.is_empty() {
            s.resting = true;
            s.leases.retain(|_, lease| !is_stale(lease));
            s.waiting.retain(|p| s.leases.contains_key(&p.place));
        }
        due
    }
}

#[cfg(test)]
mod tests;
