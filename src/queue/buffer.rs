//! What a consumer has at hand: deliveries that wait to be popped, and the leases it holds. It decides whose
//! turn it is, how much to fetch, which leases to renew; it does nothing itself.

pub(crate) mod demand;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};
use std::time::{Duration, Instant};

use self::demand::Demand;
use crate::queue::message::{Message, Place};

/// So long a suspect message may be at work before others are fetched past those that wait for it.
const PATIENCE: Duration = Duration::from_millis(50);

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

#[derive(Debug)]
struct Slot {
    waiting: VecDeque<Parcel>,
    /// The bytes of what waits.
    bytes: usize,
    /// How many of those that wait are suspect.
    suspects: usize,
    leases: HashMap<Place, Lease>,
    demand: Demand,
    /// What waited here went back because nobody popped: nothing is fetched until somebody does.
    resting: bool,
}

impl Slot {
    fn put(&mut self, parcel: Parcel, in_front: bool) {
        self.bytes += parcel.message.bytes();
        self.suspects += usize::from(parcel.message.suspect);
        match in_front {
            true => self.waiting.push_front(parcel),
            false => self.waiting.push_back(parcel),
        }
    }

    fn has_next(&self, and_suspects: bool) -> bool {
        self.waiting.len() > if and_suspects { 0 } else { self.suspects }
    }

    /// The first that may be handed out.
    fn get(&mut self, and_suspects: bool) -> Option<Parcel> {
        let may = |p: &Parcel| and_suspects || !p.message.suspect;
        let at = self.waiting.iter().position(may)?;
        let parcel = self.waiting.remove(at)?;
        self.bytes -= parcel.message.bytes();
        self.suspects -= usize::from(parcel.message.suspect);
        Some(parcel)
    }

    /// Forgets those that wait without a lease.
    fn tidy(&mut self) {
        self.waiting.retain(|p| self.leases.contains_key(&p.place));
        self.bytes = self.waiting.iter().map(|p| p.message.bytes()).sum();
        self.suspects = self.waiting.iter().filter(|p| p.message.suspect).count();
    }
}

/// One node's place in the buffer. A node that comes back under its name gets a new one.
pub(crate) type SlotId = u64;

/// What is taken out of the buffer is put there again by `put_back`, or forgotten by `forget`.
#[derive(Debug)]
pub(crate) struct Buffer {
    slots: BTreeMap<SlotId, Slot>,
    prefetch: usize,
    /// Whose turn it was last.
    last: SlotId,
    /// The suspect message that is at work, since when. It is handled alone: if its worker dies of it, no other
    /// suspect is counted along with it.
    alone: Option<(SlotId, Place, Instant)>,
}

/// The leases of one node that need something.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) renew: Vec<Place>,
    /// Waited for too long: these are no longer in the buffer, and are to be given back.
    pub(crate) stale: Vec<Place>,
}

/// What may be fetched from a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    None,
    /// Nothing before this time is over, if nothing changes.
    Soon(Duration),
    Some {
        count: usize,
        /// Also of what is delivered again. Suspects wait here already, and not for room.
        again: bool,
    },
}

impl Buffer {
    pub(crate) fn new(prefetch: usize) -> Self {
        Self {
            slots: BTreeMap::new(),
            prefetch: prefetch.max(1),
            last: 0,
            alone: None,
        }
    }

    pub(crate) fn join(&mut self, slot: SlotId) {
        let prefetch = self.prefetch;
        self.slots.entry(slot).or_insert_with(|| Slot {
            waiting: VecDeque::new(),
            bytes: 0,
            suspects: 0,
            leases: HashMap::new(),
            demand: Demand::new(prefetch),
            resting: false,
        });
    }

    /// Forgets a node, with all that waits here from it.
    pub(crate) fn leave(&mut self, slot: SlotId) {
        self.slots.remove(&slot);
        self.alone = self.alone.filter(|(of, ..)| *of != slot);
    }

    /// How much may be fetched from a node now.
    pub(crate) fn room(&self, slot: SlotId, now: Instant) -> Room {
        let Some(s) = self.slots.get(&slot).filter(|s| !s.resting) else {
            return Room::None;
        };
        let alone = self.alone.filter(|_| s.suspects > 0);
        let beside = match alone {
            Some(_) => s.waiting.len() - s.suspects,
            None => s.waiting.len(),
        };
        let count = s.demand.room(beside, s.bytes);
        match alone {
            _ if count == 0 => Room::None,
            None => Room::Some { count, again: true },
            Some((.., since)) => {
                let waited = now.saturating_duration_since(since);
                match PATIENCE.checked_sub(waited).filter(|left| !left.is_zero()) {
                    Some(left) => Room::Soon(left),
                    None => Room::Some {
                        count,
                        again: false,
                    },
                }
            }
        }
    }

    /// Puts what a node gave in the buffer, when it was asked for `asked`.
    pub(crate) fn stock(
        &mut self,
        slot: SlotId,
        asked: usize,
        parcels: impl IntoIterator<Item = Parcel>,
        now: Instant,
    ) {
        let Some(s) = self.slots.get_mut(&slot) else {
            return;
        };
        let mut sizes = Vec::new();
        for parcel in parcels {
            let lease = Lease {
                started: false,
                since: now,
                lost: false,
            };
            sizes.push(parcel.message.bytes());
            // A group that was made anew delivers again what is here already.
            if s.leases.insert(parcel.place, lease).is_none() {
                s.put(parcel, false);
            }
        }
        s.demand.fetched(asked, &sizes, now);
    }

    /// The next delivery: of the nodes that have one, the next after the last one's.
    pub(crate) fn take(&mut self, now: Instant) -> Option<(SlotId, Parcel)> {
        let and_suspects = self.alone.is_none();
        let after = self.slots.range((Excluded(self.last), Unbounded));
        let (id, _) = after
            .chain(self.slots.range(..=self.last))
            .find(|(_, s)| s.has_next(and_suspects))?;
        let id = *id;
        let s = self.slots.get_mut(&id)?;
        let parcel = s.get(and_suspects)?;
        if let Some(lease) = s.leases.get_mut(&parcel.place) {
            lease.started = true;
            lease.since = now;
        }
        if s.demand.room(s.waiting.len(), s.bytes) > 0 {
            s.demand.used_up(now);
        }
        if parcel.message.suspect {
            self.alone = Some((id, parcel.place, now));
        }
        self.last = id;
        Some((id, parcel))
    }

    /// What was taken does not begin after all.
    pub(crate) fn put_back(&mut self, slot: SlotId, parcel: Parcel, now: Instant) {
        self.set_free(slot, parcel.place);
        let Some(s) = self.slots.get_mut(&slot) else {
            return;
        };
        match s.leases.get_mut(&parcel.place) {
            Some(lease) if !lease.lost => {
                (lease.started, lease.since) = (false, now);
                s.put(parcel, true);
            }
            _ => drop(s.leases.remove(&parcel.place)),
        }
    }

    /// Whether somebody who pops now is given something.
    pub(crate) fn has_next(&self) -> bool {
        let and_suspects = self.alone.is_none();
        self.slots.values().any(|s| s.has_next(and_suspects))
    }

    /// Somebody pops: fetching goes on. Says whether anybody rested.
    pub(crate) fn wake(&mut self) -> bool {
        let mut woken = false;
        for s in self.slots.values_mut() {
            woken |= std::mem::take(&mut s.resting);
        }
        woken
    }

    /// A delivery is settled, or was dropped. Says whether others waited for that.
    pub(crate) fn forget(&mut self, slot: SlotId, place: Place) -> bool {
        if let Some(s) = self.slots.get_mut(&slot) {
            s.leases.remove(&place);
        }
        self.set_free(slot, place)
    }

    fn set_free(&mut self, slot: SlotId, place: Place) -> bool {
        let was_alone = self.alone.is_some_and(|(s, p, _)| (s, p) == (slot, place));
        if was_alone {
            self.alone = None;
        }
        was_alone
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
                }
                None => {}
            }
        }
        s.tidy();
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

    /// Takes everything that waits out of the buffer: it is to be given back.
    pub(crate) fn clear(&mut self, slot: SlotId) {
        if let Some(s) = self.slots.get_mut(&slot) {
            for parcel in &s.waiting {
                s.leases.remove(&parcel.place);
            }
            s.tidy();
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
            let and_suspects = self.alone.is_none();
            let unwanted = |p: &Parcel| {
                (and_suspects || !p.message.suspect) && s.leases.get(&p.place).is_some_and(is_stale)
            };
            // Those that wait for a suspect to end are not what nobody wants.
            if s.waiting.iter().any(unwanted) {
                s.resting = true;
                s.demand.unwanted();
            }
            s.leases.retain(|_, lease| !is_stale(lease));
            s.tidy();
        }
        due
    }
}

#[cfg(test)]
mod tests;
