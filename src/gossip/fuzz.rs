//! Arbitrary and damaged input to everything that reads what others send. `PROPTEST_CASES` sets how many.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::admin::{Answer, Ask, Question};
use super::frame::{AROUND, Kind, LARGEST, PAYLOAD, Seal};
use super::identity::Id;
use super::instance::{Instance, Output, Setup};
use super::profile::GossipProfile;
use super::record::{Head, LARGEST_ITEM, Phase, Record};
use super::records::Records;
use super::sync::{self, Entry, Life, List, Told, Version};
use crate::sealed::{Keyring, NONCE};

/// What one datagram may make us send and keep.
const BOUND: usize = 64 << 10;

/// One damage to some bytes.
#[derive(Clone, Debug)]
enum Damage {
    Set(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
}

fn any_damage() -> impl Strategy<Value = Vec<Damage>> {
    let at = any::<prop::sample::Index>;
    let one = prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        1 => at().prop_map(Damage::Cut),
        1 => (at(), vec(any::<u8>(), 1..12)).prop_map(|(at, some)| Damage::Insert(at, some)),
    ];
    vec(one, 0..5)
}

fn damaged(mut bytes: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        match damage {
            Damage::Set(at, byte) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Damage::Set(..) => {}
            Damage::Cut(at) => bytes.truncate(at.index(bytes.len() + 1)),
            Damage::Insert(at, some) => {
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..at, some.iter().copied());
            }
        }
    }
    bytes
}

fn any_addr() -> impl Strategy<Value = SocketAddr> {
    let few = (1_u8..6, 7_946_u16..7_948).prop_map(|(n, port)| ([10, 0, 0, n], port).into());
    prop_oneof![
        3 => few,
        1 => (any::<IpAddr>(), any::<u16>()).prop_map(SocketAddr::from),
    ]
}

fn any_id() -> impl Strategy<Value = Id> {
    let generation = prop_oneof![3 => 0_u64..4, 1 => any::<u64>()];
    (any_addr(), generation).prop_map(|(addr, generation)| Id::new(addr, generation))
}

fn any_told() -> impl Strategy<Value = Told> {
    use Life::{Alive, Down, Left, Suspect};
    let life = prop::sample::select(vec![Alive, Suspect, Down, Left]);
    (any_id(), any::<u16>(), life, 0..1_000_u32).prop_map(|(id, incarnation, life, down_for)| {
        Told {
            id,
            incarnation,
            life,
            down_for,
        }
    })
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let version = (0..3_u8, 0..4_u64, 0..2_u16).prop_map(|(kind, version, check)| Version {
        kind,
        version,
        check,
    });
    (any_told(), vec(version, 0..4)).prop_map(|(told, items)| Entry { told, items })
}

/// An item, damaged now and then.
fn any_item() -> impl Strategy<Value = Vec<u8>> {
    let labels = prop::collection::btree_map("[a-z_]{0,40}", "[a-z]{0,130}", 0..10);
    let words = (
        "[a-z0-9]{0,70}",
        option::of("(http://)?[a-z:/]{0,20}"),
        labels,
    );
    let numbers = (any_id(), 0..4_u64, any::<u16>(), any_damage());
    (words, numbers).prop_map(|((ring_id, http, labels), (id, version, weight, damage))| {
        let labels = labels.into_iter();
        let record = Record {
            ring_id: ring_id.into(),
            http: http.map(Into::into),
            phase: Phase::Ready,
            weight,
            labels: labels.map(|(k, v)| (k.into(), v.into())).collect(),
        };
        damaged(record.item(id, version).unwrap_or_default(), &damage)
    })
}

fn any_list() -> impl Strategy<Value = List> {
    let heads = (
        any::<u32>(),
        option::of(any_addr()),
        option::of(any_addr()),
        vec(any_entry(), 0..20),
    )
        .prop_map(|(token, from, to, entries)| List::Heads {
            token,
            from,
            to,
            entries,
        });
    let fill = (
        any::<u32>(),
        vec(any_told(), 0..20),
        vec(any_item(), 0..4),
        vec((any_addr(), any::<u8>()), 0..20),
    )
        .prop_map(|(token, members, items, wants)| List::Fill {
            token,
            members,
            items,
            wants,
        });
    let equal = (any::<[u64; 3]>(), any::<[u32; 2]>()).prop_map(|(hashes, [token, ring_age])| {
        let [members, items, ring] = hashes;
        List::Equal(sync::Ask {
            token,
            members,
            items,
            ring,
            ring_age,
        })
    });
    prop_oneof![heads, fill, equal]
}

fn any_question() -> impl Strategy<Value = Vec<u8>> {
    let ask = prop_oneof![
        Just(Ask::Status),
        any::<u32>().prop_map(Ask::Members),
        (vec(vec(any::<u8>(), 0..40), 0..20), any::<u8>())
            .prop_map(|(keys, n)| Ask::Lookup(keys, n)),
        Just(Ask::Ticket),
    ];
    // What stands before it: an id, a time, and the like.
    (vec(any::<u64>(), 0..5), ask).prop_map(|(head, ask)| {
        let mut bytes = Vec::new();
        for number in head {
            bytes = postcard::to_extend(&number, bytes).unwrap_or_default();
        }
        postcard::to_extend(&ask, bytes).unwrap_or_default()
    })
}

fn any_kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(Kind::ALL.to_vec())
}

/// What somebody who has the key may put into a frame: something that makes sense, damaged, or anything.
fn any_payload() -> impl Strategy<Value = Vec<u8>> {
    let id = |id: &Id| postcard::to_allocvec(id).unwrap_or_default();
    let sense = prop_oneof![
        4 => any_list().prop_map(|list| list.encode()),
        1 => any_item(),
        1 => any_question(),
        1 => any_id().prop_map(move |of| id(&of)),
    ];
    let mut payload = prop_oneof![
        3 => (sense, any_damage()).prop_map(|(bytes, damage)| damaged(bytes, &damage)),
        1 => vec(any::<u8>(), 0..PAYLOAD),
    ]
    .boxed();
    payload = payload
        .prop_map(|mut bytes| {
            bytes.truncate(PAYLOAD);
            bytes
        })
        .boxed();
    payload
}

fn seal() -> Seal {
    Seal::new("fuzz", Some(Keyring::from_bytes([1; 32])))
}

fn me() -> Id {
    Id::new(([10, 0, 0, 1], 7_946).into(), 2)
}

fn instance(now: Instant) -> Instance {
    let me = me();
    let setup = Setup {
        cluster: "fuzz".into(),
        address: me.addr,
        wall: me.generation,
        record: Record {
            ring_id: "me".into(),
            http: None,
            phase: Phase::Joining,
            weight: 1,
            labels: [].into(),
        },
        times: GossipProfile::Lan.times(),
        keyring: Some(Keyring::from_bytes([1; 32])),
        seed: [3; 32],
    };
    Instance::new(setup, now)
}

proptest! {
    #[test]
    fn any_bytes_are_opened_or_refused(
        head in prop::sample::select(vec![0_u8, 1, 2, 255]),
        rest in vec(any::<u8>(), 0..LARGEST + 100),
        whole in any::<bool>(),
    ) {
        let mut bytes = rest;
        if whole {
            bytes.insert(0, head);
        }
        for seal in [seal(), Seal::new("fuzz", None)] {
            if let Ok(frame) = seal.open(&bytes) {
                prop_assert!(frame.payload.len() < bytes.len());
            }
        }
        prop_assert!(seal().open(&bytes).is_err(), "sealed by nobody");
    }

    #[test]
    fn a_frame_opens_as_it_was_closed_and_never_damaged(
        kind in any_kind(),
        payload in vec(any::<u8>(), 0..PAYLOAD),
        counter in any::<u64>(),
        nonce in any::<[u8; NONCE]>(),
        bit in any::<prop::sample::Index>(),
    ) {
        let mut bytes = seal().close(kind, me(), counter, &payload, &nonce).expect("it fits");
        prop_assert!(bytes.len() <= payload.len() + AROUND);
        let frame = seal().open(&bytes).expect("ours");
        prop_assert_eq!((frame.kind, frame.sender, frame.payload), (kind, me(), payload));
        let bit = bit.index(8 * bytes.len());
        bytes[bit / 8] ^= 1 << (bit % 8);
        // The second byte only says which key to try first.
        prop_assert!(seal().open(&bytes).is_err() || bit / 8 == 1);
    }

    #[test]
    fn lists_are_read_as_they_were_written_and_damaged_ones_do_no_harm(
        list in any_list(),
        damage in any_damage(),
        ours in vec(any_entry(), 0..40),
    ) {
        let bytes = list.encode();
        prop_assert_eq!(List::decode(&bytes), Some(list));
        let read = List::decode(&damaged(bytes, &damage));
        if let Some(List::Heads { token, entries, .. }) = read {
            let difference = sync::compare(&ours, &entries);
            let many = |_| Some(vec![0; LARGEST_ITEM]);
            for list in sync::fill(token, &difference, many) {
                prop_assert!(list.encode().len() <= PAYLOAD);
            }
            for list in sync::heads(token, entries) {
                prop_assert!(list.encode().len() <= PAYLOAD);
            }
        }
    }

    #[test]
    fn questions_and_answers_are_read_or_refused(
        question in any_question(),
        damage in any_damage(),
        bytes in vec(any::<u8>(), 0..PAYLOAD),
    ) {
        for bytes in [damaged(question, &damage), bytes] {
            // Nothing is held that did not come.
            if let Ok((Question { ask: Ask::Lookup(keys, _), .. }, _)) = postcard::take_from_bytes(&bytes) {
                prop_assert!(keys.iter().map(Vec::len).sum::<usize>() <= bytes.len());
            }
            drop(postcard::take_from_bytes::<Answer>(&bytes));
        }
    }
}

// Each of these is forty items or datagrams and what they lead to, and twenty thousand of them took longer than all else
// that `make soak` does.
proptest! {
    #![proptest_config(ProptestConfig::with_cases((ProptestConfig::default().cases / 16).max(64)))]

    #[test]
    fn what_is_told_of_others_is_taken_whole_or_not_at_all(items in vec(any_item(), 1..40)) {
        let now = Instant::now();
        let mut records = Records::new(me(), now);
        records.is_up(Id::new(([10, 0, 0, 2], 7_946).into(), 2));
        for item in &items {
            records.offer(item);
            let Some((head, body)) = Head::of(item) else { continue };
            if let Some(record) = Record::of(body) {
                prop_assert!(record.check().is_ok());
                if let Some(again) = record.item(head.owner, head.version) {
                    let (_, body) = Head::of(&again).expect("ours");
                    prop_assert_eq!(Record::of(body), Some(record));
                }
            }
        }
        let told: usize = items.iter().map(Vec::len).sum();
        prop_assert!(records.bytes() <= told);
        prop_assert!(records.digest() == records.digest());
        records.sweep(now + Duration::from_secs(60));
        prop_assert!(records.bytes() <= 3 * LARGEST_ITEM, "of the one that is a member");
    }

    #[test]
    fn whoever_has_the_key_may_say_anything_and_an_instance_lives_on(
        said in vec((any_kind(), any_id(), any_payload(), 0..3_000_u64), 1..40),
    ) {
        let (mut now, seal) = (Instant::now() + Duration::from_secs(1_000), seal());
        let mut victim = instance(now);
        let mut told = 0;
        for (counter, (kind, sender, payload, wait)) in said.into_iter().enumerate() {
            let nonce = [counter as u8; NONCE];
            let frame = seal.close(kind, sender, counter as u64 + 1, &payload, &nonce);
            let frame = frame.expect("it fits");
            told += frame.len();
            victim.datagram(now, &frame);
            let mut sent = 0;
            while let Some(output) = victim.next_output() {
                sent += match output {
                    Output::Send { bytes, .. } => {
                        prop_assert!(bytes.len() <= LARGEST);
                        bytes.len()
                    }
                    Output::Admin(question) => question.len(),
                    _ => 0,
                };
            }
            prop_assert!(sent <= BOUND, "{sent} bytes for one datagram");
            // Ours is one more.
            prop_assert!(victim.records().bytes() <= told + LARGEST_ITEM);
            now += Duration::from_millis(wait);
            for _ in 0..100 {
                if victim.next_deadline() > now {
                    break;
                }
                victim.tick(now);
            }
            while victim.next_output().is_some() {}
        }
        prop_assert!(victim.me().addr == me().addr);
    }
}
