//! Which item stays.

use proptest::prelude::*;

use super::*;
use crate::gossip::record::Phase;
use crate::gossip::sync::{self, Entry, Life, Told, Version};

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

/// What is told of two members, by a store of records.
fn entries(r: &Records) -> Vec<Entry> {
    let told = |id| Told {
        id,
        incarnation: 0,
        life: Life::Alive,
        down_for: 0,
    };
    let entry = |id| Entry {
        told: told(id),
        items: r
            .items(id)
            .map(|(kind, item)| Version {
                kind,
                version: item.version,
                check: item.hash as u16,
            })
            .collect(),
    };
    [id(2, 5), id(3, 5)].map(entry).into()
}

/// One tells the other what that lacks, and gets what it lacks itself; whether there was anything.
fn exchange(one: &mut Records, other: &mut Records) -> bool {
    let difference = sync::compare(&entries(one), &entries(other));
    let bytes = |r: &Records, keys: &[ItemKey]| -> Vec<_> {
        let items = keys.iter().filter_map(|key| r.item(*key));
        items.map(|item| Arc::clone(&item.bytes)).collect()
    };
    let (lacks, wants) = (
        bytes(one, &difference.items),
        bytes(other, &difference.wants),
    );
    for item in &lacks {
        other.offer(item);
    }
    for item in &wants {
        one.offer(item);
    }
    !lacks.is_empty() || !wants.is_empty()
}

fn store(offers: &[(u16, u64, String, u8)]) -> Records {
    let mut r = records();
    r.is_up(id(3, 5));
    for (port, version, name, kind) in offers {
        let mut item = item(id(*port, 5), *version, name);
        item[0] = *kind;
        r.offer(&item);
    }
    r
}

proptest! {
    // Merging is what an exchange does: commutative, idempotent and associative.
    #[test]
    fn two_stores_of_records_that_exchange_are_equal_whoever_asks_and_in_whatever_order_three_meet(
        offers in proptest::collection::vec(
            proptest::collection::vec((2_u16..4, 1_u64..4, "[a-c]", prop_oneof![Just(RECORD), Just(42)]), 0..8),
            3,
        ),
    ) {
        let stores = || -> [Records; 3] { std::array::from_fn(|n| store(&offers[n])) };
        let all = store(&offers.concat()).digest();
        let mut merged = Vec::new();
        for (first, second) in [(0, 1), (1, 0), (1, 2), (2, 1), (0, 2), (2, 0)] {
            let mut three = stores();
            let [one, other] = three.get_disjoint_mut([first, second]).expect("two of them");
            exchange(one, other);
            prop_assert_eq!(one.digest(), other.digest());
            prop_assert!(!exchange(one, other), "nothing is left to tell");
            let third = 3 - first - second;
            let [one, last] = three.get_disjoint_mut([first, third]).expect("two of them");
            exchange(last, one);
            prop_assert_eq!(one.digest(), last.digest());
            merged.push(last.digest());
        }
        prop_assert!(merged.iter().all(|digest| *digest == all), "{:?}", merged);
    }

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
