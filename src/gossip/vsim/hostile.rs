//! What strangers send, and what later versions do.

use super::*;
use crate::gossip::frame::{Kind, LARGEST, Refusal, Seal};
use crate::gossip::identity::Id;
use crate::gossip::record::{Head, RECORD};
use crate::sealed::NONCE;

const EACH: usize = 10_000;

fn key(byte: u8) -> Option<Keyring> {
    Some(Keyring::from_bytes([byte; 32]))
}

fn sealed(seed: u64, n: usize) -> World {
    let mut world = World::new(seed);
    world.keyring = key(1);
    for _ in 0..n {
        world.add();
    }
    world.until(secs(5), "join", World::agrees);
    world
}

/// Sends so many to the first instance; all are refused for one of the reasons, and none is answered.
fn knock(
    world: &mut World,
    name: &str,
    reasons: &[Refusal],
    mut make: impl FnMut(&mut StdRng, usize) -> Vec<u8>,
) {
    let mut rng = StdRng::seed_from_u64(7);
    let counted = |w: &World| {
        let counters = &w.nodes[0].instance.as_ref().expect("it runs").counters;
        (
            reasons
                .iter()
                .map(|r| counters.refused[*r as usize])
                .sum::<u64>(),
            counters.refused.iter().sum::<u64>(),
        )
    };
    let (before, burden) = (counted(world), world.with(0, |i, _| i.burden()));
    let (roster, sent) = (world.nodes[0].roster.clone(), world.nodes[0].bytes);
    for n in 0..EACH {
        let bytes = make(&mut rng, n);
        world.with(0, |i, now| i.datagram(now, &bytes));
    }
    let after = counted(world);
    assert_eq!(
        after.0 - before.0,
        EACH as u64,
        "{name}: counted by their reason"
    );
    assert_eq!(after.1 - before.1, EACH as u64, "{name}: all refused");
    assert_eq!(world.nodes[0].bytes, sent, "{name}: none answered");
    assert_eq!(world.nodes[0].roster, roster, "{name}: nobody moved");
    assert_eq!(
        world.with(0, |i, _| i.burden()),
        burden,
        "{name}: nothing kept"
    );
}

#[test]
fn ten_thousand_hostile_datagrams_of_each_kind_change_nothing_and_get_no_answer() {
    let mut world = sealed(1, 4);
    world.tap = Some(Vec::new());
    world.run(secs(20));
    let heard: Vec<_> = world
        .tap
        .take()
        .expect("a tap")
        .into_iter()
        .filter(|(_, to, _)| *to == addr(0))
        .map(|(.., bytes)| bytes)
        .collect();
    assert!(heard.len() > 40);
    let sender = Id::new(addr(9), WALL);
    let frame = |cluster: &str, ring, n: usize| {
        let seal = Seal::new(cluster, ring);
        let kind = Kind::ALL[n % Kind::ALL.len()];
        seal.close(
            kind,
            sender,
            n as u64,
            &[n as u8; 60],
            &[(n % 251) as u8; NONCE],
        )
        .expect("it fits")
    };
    use Refusal::{Cluster, Key, Parse, Replay, Size};
    knock(&mut world, "wrong key", &[Key], |_, n| {
        frame("vsim", key(2), n)
    });
    knock(&mut world, "another cluster", &[Key], |_, n| {
        frame("other", key(1), n)
    });
    knock(&mut world, "plaintext", &[Cluster], |_, n| {
        frame("vsim", None, n)
    });
    knock(&mut world, "replayed", &[Replay], |_, n| {
        heard[n % heard.len()].clone()
    });
    knock(&mut world, "cut", &[Size, Key], |rng, n| {
        let whole = &heard[n % heard.len()];
        whole[..rng.random_range(0..whole.len())].to_vec()
    });
    knock(
        &mut world,
        "a flipped bit",
        &[Key, Cluster, Parse],
        |rng, n| {
            let mut bytes = heard[n % heard.len()].clone();
            let bit = rng.random_range(0..8 * bytes.len());
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        },
    );
    knock(
        &mut world,
        "random",
        &[Size, Key, Cluster, Parse],
        |rng, _| {
            let mut bytes = vec![0; rng.random_range(0..2 * LARGEST)];
            rng.fill(&mut bytes[..]);
            bytes
        },
    );
    world.run(secs(20));
    assert!(world.agrees() && world.false_downs == 0);
}

#[test]
fn nonsense_from_somebody_who_has_the_key_makes_nobody_panic_and_memory_is_bounded() {
    let mut world = sealed(2, 3);
    world.tap = Some(Vec::new());
    world.run(secs(20));
    let seal = Seal::new("vsim", key(1));
    let heard: Vec<_> = world
        .tap
        .take()
        .expect("a tap")
        .into_iter()
        .filter_map(|(.., bytes)| seal.open(&bytes).ok())
        .collect();
    let mut rng = StdRng::seed_from_u64(3);
    for n in 0..EACH as u64 {
        let known = &heard[n as usize % heard.len()];
        let mut payload = known.payload.clone();
        match n % 3 {
            0 => payload.truncate(rng.random_range(0..=payload.len())),
            1 => {
                for _ in 0..rng.random_range(1..8) {
                    let at = rng.random_range(0..=payload.len().saturating_sub(1));
                    if let Some(byte) = payload.get_mut(at) {
                        *byte = rng.random();
                    }
                }
            }
            _ => {
                payload = vec![0; rng.random_range(0..1_000)];
                rng.fill(&mut payload[..]);
            }
        }
        let kind = if n % 2 == 0 {
            known.kind
        } else {
            Kind::ALL[rng.random_range(0..Kind::ALL.len())]
        };
        let sender = Id::new(addr(9), WALL + n / 1_000);
        let mut nonce = [0; NONCE];
        rng.fill(&mut nonce);
        let frame = seal
            .close(kind, sender, n, &payload, &nonce)
            .expect("it fits");
        world.with(0, |i, now| i.datagram(now, &frame));
        if n % 100 == 0 {
            world.run(ms(10));
        }
    }
    // Whoever has the key may lie about members; it may not fill the memory: of ten thousand lies what is kept is what
    // three instances and the ten starts of the liar have.
    let burden = world.with(0, |i, _| i.burden());
    assert!(burden < 64, "{burden}");
    assert!(world.with(0, |i, _| i.records().bytes()) < 1 << 20);
}

#[test]
fn two_applications_with_one_network_never_mix() {
    for keyrings in [
        [None, None],
        [key(1), key(1)],
        [key(1), key(2)],
        [key(1), None],
    ] {
        let mut world = World::new(1);
        for n in 0..6 {
            world.add();
            let setup = Setup {
                cluster: if n < 3 { "one" } else { "two" }.into(),
                address: addr(n),
                wall: WALL,
                record: Record {
                    ring_id: format!("i{n}").into(),
                    http: None,
                    phase: Phase::Joining,
                    weight: 1,
                    labels: BTreeMap::new(),
                },
                times: world.profile.times(),
                keyring: keyrings[n / 3].clone(),
                seed: world.rng.random(),
            };
            world.boot_as(n, setup);
            world.with(n, |i, now| i.set_doors(now, (0..6).map(addr)));
        }
        world.run(secs(30));
        for n in 0..6 {
            let seen: Vec<_> = world.nodes[n]
                .roster
                .keys()
                .map(|a| usize::from(a.port() != 7_946 || a.ip() >= addr(3).ip()))
                .collect();
            assert_eq!(seen, [n / 3; 3]);
        }
        let refused = world.count(|e| {
            matches!(
                e,
                GossipEvent::Refused {
                    reason: Refusal::Key | Refusal::Cluster
                }
            )
        });
        assert!(refused > 10);
    }
}

#[test]
fn keys_are_changed_under_load_and_nobody_is_lost() {
    let mut world = sealed(3, 20);
    world.net.loss = 0.01;
    let (old, new) = (key(1).expect("a key"), key(2).expect("a key"));
    for ring in [old.clone().also(new.clone()), new.clone().also(old), new] {
        for n in 0..20 {
            world.with(n, |i, _| i.set_keyring(ring.clone()));
            world.run(ms(100));
        }
        world.run(secs(3));
    }
    world.until(secs(10), "whole", World::agrees);
    let refused: u64 = world
        .nodes
        .iter()
        .filter_map(|node| node.instance.as_ref())
        .map(|i| i.counters.refused.iter().sum::<u64>())
        .sum();
    assert_eq!((refused, world.false_downs), (0, 0));
}

#[test]
fn an_instance_of_a_later_version_says_more_and_nothing_of_it_is_lost() {
    let mut world = World::started(4, 5);
    world.until(secs(5), "join", World::agrees);
    let id = world.nodes[0].instance.as_ref().expect("it runs").me();
    // What it writes: a record with more fields, and an item of a kind that nobody else knows.
    let said = Record {
        ring_id: "i0".into(),
        http: None,
        phase: Phase::Ready,
        weight: 3,
        labels: [("zone".into(), "b".into())].into(),
    };
    let mut later = said.item(id, 90).expect("it fits");
    later[1] = 9;
    later.extend(b"\x05later");
    let mut unknown = later.clone();
    unknown[0] = 42;
    world.with(0, |i, now| {
        i.say_raw(now, &later);
        i.say_raw(now, &unknown);
    });
    world.run(secs(5));
    let late = world.add();
    world.run(secs(5));
    for n in (0..5).chain([late]) {
        let member = &world.nodes[n].roster[&addr(0)];
        if n != 0 {
            assert_eq!((member.weight, &*member.labels["zone"]), (3, "b"));
        }
        let records = world.nodes[n].instance.as_ref().expect("it runs").records();
        for (kind, bytes) in [(RECORD, &later), (42, &unknown)] {
            let item = records.item(crate::gossip::records::ItemKey {
                owner: addr(0),
                kind,
            });
            assert_eq!(
                item.map(|item| &*item.bytes),
                Some(&bytes[..]),
                "i{n}, kind {kind}"
            );
        }
    }
    assert!(Head::of(&later).is_some());
    let others: BTreeSet<_> = (1..6).map(|n| world.nodes[n].ring).collect();
    assert_eq!(others.len(), 1);
}
