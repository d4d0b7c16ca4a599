//! Which frames of a sender were seen before.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::identity::Id;

/// How many counters back a late frame may be.
const WINDOW: u64 = 64;
/// Senders that are kept; more than a cluster has members. 64 bytes each.
const MOST: usize = 8_192;

/// The last counters of each sender. Only frames that opened get here, so nobody without a key fills it.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    seen: HashMap<SocketAddr, Seen>,
}

#[derive(Debug)]
struct Seen {
    generation: u64,
    /// The highest counter.
    highest: u64,
    /// Bit n: the counter `highest - n` was seen.
    mask: u64,
}

impl Replays {
    /// Whether the frame is new; it is not the second time. Frames of an older generation never are.
    pub(crate) fn is_new(&mut self, sender: Id, counter: u64) -> bool {
        if self.seen.len() >= MOST && !self.seen.contains_key(&sender.addr) {
            // Whoever is thrown out can be shown its old frames once, as after a restart of ours: incarnations and
            // versions make them harmless.
            let any = self.seen.keys().next().copied();
            any.and_then(|any| self.seen.remove(&any));
        }
        let seen = self.seen.entry(sender.addr).or_insert(Seen {
            generation: sender.generation,
            highest: counter,
            mask: 0,
        });
        if sender.generation < seen.generation {
            return false;
        }
        if sender.generation > seen.generation {
            *seen = Seen {
                generation: sender.generation,
                highest: counter,
                mask: 0,
            };
        }
        if counter > seen.highest {
            let ahead = counter - seen.highest;
            seen.mask = if ahead < WINDOW {
                seen.mask << ahead
            } else {
                0
            };
            seen.highest = counter;
        }
        let behind = seen.highest - counter;
        if behind >= WINDOW || seen.mask & (1 << behind) != 0 {
            return false;
        }
        seen.mask |= 1 << behind;
        true
    }

    /// The generation that is known of an address.
    pub(crate) fn generation(&self, addr: SocketAddr) -> Option<u64> {
        self.seen.get(&addr).map(|seen| seen.generation)
    }

    /// Somebody who was forgotten begins anew.
    pub(crate) fn forget(&mut self, id: Id) {
        if self.generation(id.addr) == Some(id.generation) {
            self.seen.remove(&id.addr);
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.seen.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(port: u16, generation: u64) -> Id {
        Id::new(SocketAddr::from(([10, 0, 0, 1], port)), generation)
    }

    #[test]
    fn a_frame_is_taken_once_in_any_order_within_the_window() {
        let mut replays = Replays::default();
        for counter in [5, 3, 4, 70, 69, 7] {
            assert!(replays.is_new(id(1, 9), counter), "{counter}");
            assert!(!replays.is_new(id(1, 9), counter), "{counter} again");
        }
        assert!(!replays.is_new(id(1, 9), 6), "too late to tell");
        assert!(replays.is_new(id(2, 9), 6), "another sender");
        assert!(replays.is_new(id(1, 9), u64::MAX) && replays.is_new(id(1, 9), u64::MAX - 63));
        assert!(!replays.is_new(id(1, 9), u64::MAX - 64));
    }

    #[test]
    fn a_restart_begins_anew_and_ends_the_old_one() {
        let mut replays = Replays::default();
        assert!(replays.is_new(id(1, 9), 1_000));
        assert!(replays.is_new(id(1, 10), 0));
        assert!(!replays.is_new(id(1, 9), 1_001), "an older generation");
        replays.forget(id(1, 9));
        assert!(!replays.is_new(id(1, 10), 0), "that was another");
        replays.forget(id(1, 10));
        assert!(replays.is_new(id(1, 9), 1_001));
    }

    #[test]
    fn memory_is_bounded_whatever_comes() {
        let mut replays = Replays::default();
        for n in 0..30_000 {
            replays.is_new(
                Id::new(SocketAddr::from(([10, 1, (n >> 8) as u8, n as u8], 1)), 1),
                n,
            );
            replays.is_new(id((n % 60_000) as u16, 1), n);
        }
        assert!(replays.len() <= MOST);
    }
}
