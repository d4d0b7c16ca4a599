use super::*;
use crate::queue::message::{EntryId, MessageId, Which};
use proptest::prelude::*;

const S: Duration = Duration::from_secs(1);

fn place(n: u64) -> Place {
    Place {
        which: Which::Stream,
        entry: EntryId::parse(format!("{n}-0").as_bytes()).unwrap(),
    }
}

fn parcel(n: u64) -> Parcel {
    let message = Message {
        id: MessageId::from(u128::from(n)),
        key: None,
        payload: Vec::new(),
        attempts: 0,
        suspect: false,
    };
    Parcel {
        place: place(n),
        message,
    }
}

fn suspect(n: u64) -> Parcel {
    let mut parcel = parcel(n);
    parcel.message.suspect = true;
    parcel
}

/// As many as may be fetched, of both streams.
fn some(count: usize) -> Room {
    Room::Some { count, again: true }
}

fn buffer(slots: u64, prefetch: usize) -> Buffer {
    let mut buffer = Buffer::new(prefetch);
    (1..=slots).for_each(|slot| buffer.join(slot));
    buffer
}

#[test]
fn fetches_begin_with_one_and_become_large_and_bounded() {
    let mut now = Instant::now();
    let mut buffer = buffer(1, 8);
    let (mut n, mut asked) = (0, Vec::new());
    for _ in 0..8 {
        let Room::Some { count, again: true } = buffer.room(1, now) else {
            panic!("no room with {n} fetched");
        };
        asked.push(count);
        buffer.stock(1, count, (n..n + count as u64).map(parcel), now);
        n += count as u64;
        while buffer.room(1, now) == Room::None {
            assert!(buffer.take(now).is_some());
        }
        now += S / 100;
    }
    assert_eq!(
        asked,
        [1, 1, 2, 3, 6, 4, 4, 4],
        "beside the half that is left"
    );
    assert_eq!(buffer.room(2, now), Room::None, "a node that is not here");
    assert_eq!(Buffer::new(0).prefetch, 1);
}

#[test]
fn suspects_are_handed_out_one_at_a_time_and_others_beside_them() {
    let now = Instant::now();
    let mut buffer = buffer(2, 8);
    buffer.stock(1, 9, [suspect(1), suspect(2), parcel(3)], now);
    buffer.stock(2, 9, [suspect(4)], now);
    let (slot, first) = buffer.take(now).unwrap();
    assert_eq!((slot, &first), (1, &suspect(1)));
    // One of another node is a suspect too.
    assert_eq!(buffer.take(now).unwrap().1, parcel(3));
    assert!(!buffer.has_next() && buffer.take(now).is_none());
    assert!(!buffer.forget(1, place(3)), "nobody waited for that");
    assert!(buffer.forget(1, first.place) && buffer.has_next());
    let (slot, second) = buffer.take(now).unwrap();
    assert_eq!((slot, &second), (2, &suspect(4)));
    // It does not begin after all: it is the first of its node again, and others may be first.
    buffer.put_back(slot, second, now);
    assert_eq!(buffer.take(now).unwrap().1, suspect(2));
    assert!(buffer.take(now).is_none());
    buffer.leave(1);
    assert_eq!(buffer.take(now).unwrap().1, suspect(4));
    // One that was lost meanwhile is not put back.
    buffer.lost(2, [place(4)]);
    buffer.put_back(2, suspect(4), now);
    assert!(!buffer.has_next());
}

#[test]
fn what_is_new_is_fetched_past_suspects_that_wait() {
    let now = Instant::now();
    let mut buffer = buffer(1, 8);
    buffer.stock(1, 9, [suspect(1), suspect(2), suspect(3)], now);
    assert_eq!(buffer.room(1, now), Room::None);
    let (_, first) = buffer.take(now).unwrap();
    assert_eq!(buffer.room(1, now), Room::Soon(PATIENCE));
    let later = now + S;
    let past = Room::Some {
        count: 1,
        again: false,
    };
    assert_eq!(buffer.room(1, later), past);
    // Suspects that wait their turn too long go to other workers; that is no reason to rest.
    let due = buffer.due(1, later, S);
    assert_eq!((due.stale.len(), due.renew), (2, vec![first.place]));
    assert_eq!(buffer.room(1, later), some(1));
}

#[test]
fn what_nobody_pops_goes_back_and_nothing_more_is_fetched() {
    let now = Instant::now();
    let mut buffer = buffer(1, 8);
    buffer.stock(1, 1_000, (0..2).map(parcel), now);
    let (_, taken) = buffer.take(now).unwrap();
    let due = buffer.due(1, now + S, 10 * S);
    assert_eq!(due.renew.len(), 2);
    assert!(due.stale.is_empty());
    let due = buffer.due(1, now + 5 * S, 10 * S);
    assert_eq!(due.renew, [taken.place], "what the application has stays");
    assert_eq!(due.stale, [place(1)]);
    assert!(buffer.take(now).is_none() && buffer.room(1, now) == Room::None);
    assert!(buffer.wake() && !buffer.wake());
    assert_eq!(buffer.room(1, now), some(1));
}

#[test]
fn a_lost_lease_is_known_to_its_delivery_and_never_handed_out() {
    let now = Instant::now();
    let mut buffer = buffer(1, 8);
    buffer.stock(1, 1_000, (0..3).map(parcel), now);
    buffer.take(now).unwrap();
    buffer.lost(1, [place(0), place(1), place(9)]);
    assert!(buffer.is_lost(1, place(0)));
    assert_eq!(buffer.take(now).unwrap().1, parcel(2));
    assert!(!buffer.is_lost(1, place(2)));
    assert!(
        buffer.due(1, now, S).renew == [place(2)],
        "a lost one is not renewed"
    );
    buffer.forget(1, place(0));
    buffer.forget(1, place(2));
    assert!(!buffer.has_leases(1));
}

#[test]
fn what_is_delivered_twice_waits_once() {
    let now = Instant::now();
    let mut buffer = buffer(1, 8);
    buffer.stock(1, 1_000, [parcel(1), parcel(1)], now);
    buffer.stock(1, 1_000, [parcel(1)], now);
    assert!(buffer.take(now).is_some() && buffer.take(now).is_none());
}

#[test]
fn a_node_that_left_has_nothing_here() {
    let now = Instant::now();
    let mut buffer = buffer(2, 8);
    buffer.stock(1, 1_000, [parcel(1)], now);
    buffer.stock(2, 1_000, [parcel(2)], now);
    buffer.leave(1);
    buffer.stock(1, 1_000, [parcel(3)], now);
    assert_eq!(buffer.take(now).unwrap().0, 2);
    assert!(buffer.take(now).is_none() && buffer.is_lost(1, place(1)));
    buffer.stock(2, 1_000, [parcel(4)], now);
    buffer.clear(2);
    assert_eq!(buffer.held(2), [place(2)], "only what was started");
}

proptest! {
    /// Between two turns of a node that has something, every other node has one turn at most.
    #[test]
    fn no_node_waits_more_than_one_round(
        steps in prop::collection::vec((1u64..6, 0usize..4), 1..200)
    ) {
        let now = Instant::now();
        let mut buffer = buffer(5, 1_000);
        let (mut n, mut waited) = (0, [0u32; 6]);
        for (slot, some) in steps {
            buffer.stock(slot, 1_000, (0..some).map(|_| { n += 1; parcel(n) }), now);
            let has = |buffer: &Buffer, slot| buffer.slots.get(&slot).is_some_and(|s| !s.waiting.is_empty());
            let ready: Vec<u64> = (1..=5).filter(|s| has(&buffer, *s)).collect();
            let Some((turn, _)) = buffer.take(now) else { continue };
            for slot in 1..=5u64 {
                let is_waiting = slot != turn && ready.contains(&slot);
                waited[slot as usize] = if is_waiting { waited[slot as usize] + 1 } else { 0 };
                prop_assert!(waited[slot as usize] <= 4);
            }
        }
    }
}
