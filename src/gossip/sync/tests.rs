//! What is told of whom, and in how many datagrams.

use super::*;

fn entry(port: u16, generation: u64, life: Life, versions: &[(u8, u64, u16)]) -> Entry {
    let items = versions.iter().map(|&(kind, version, check)| Version {
        kind,
        version,
        check,
    });
    Entry {
        told: Told {
            id: Id::new(
                SocketAddr::from(([10, 0, (port >> 8) as u8, 1], port)),
                generation,
            ),
            incarnation: 0,
            life,
            down_for: 0,
        },
        items: items.collect(),
    }
}

#[test]
fn a_thousand_members_fit_a_few_datagrams_that_cover_every_address() {
    let entries: Vec<_> = (1..=1_000)
        .map(|n| entry(n, 1_700_000_000_000, Life::Alive, &[(1, 3, 7)]))
        .collect();
    let lists = heads(9, entries.iter().rev().cloned().collect());
    assert!(lists.len() <= 32, "{} datagrams", lists.len());
    let (mut seen, mut end) = (0, None);
    for list in &lists {
        assert!(list.encode().len() <= PAYLOAD);
        assert_eq!(List::decode(&list.encode()).as_ref(), Some(list));
        let List::Heads {
            from, to, entries, ..
        } = list
        else {
            panic!("heads")
        };
        assert_eq!(*from, end, "where the last one ended");
        let inside = |addr| from.is_none_or(|from| addr > from) && to.is_none_or(|to| addr <= to);
        assert!(entries.iter().all(|entry| inside(entry.told.id.addr)));
        (seen, end) = (seen + entries.len(), *to);
    }
    assert_eq!((seen, end), (1_000, None));
    assert_eq!(heads(9, Vec::new()).len(), 1, "nobody is an answer too");
}

#[test]
fn each_side_gets_what_it_lacks_and_nothing_twice() {
    use Life::{Alive, Down, Suspect};
    let ours = [
        entry(1, 5, Alive, &[(1, 3, 0), (9, 1, 0)]),
        entry(2, 5, Down, &[]),
        entry(3, 5, Suspect, &[(1, 1, 0)]),
        entry(4, 6, Alive, &[(1, 1, 0)]),
        entry(5, 5, Alive, &[(1, 1, 0)]),
        entry(7, 5, Alive, &[(1, 1, 1)]),
    ];
    let theirs = [
        entry(1, 5, Alive, &[(1, 4, 0)]),
        entry(2, 5, Alive, &[(1, 1, 0)]),
        entry(3, 5, Alive, &[(1, 1, 0)]),
        entry(4, 5, Alive, &[(1, 9, 0)]),
        entry(6, 5, Alive, &[(1, 2, 0)]),
        entry(7, 5, Alive, &[(1, 1, 2)]),
    ];
    let ports = |keys: &[ItemKey]| {
        keys.iter()
            .map(|k| (k.owner.port(), k.kind))
            .collect::<Vec<_>>()
    };
    let difference = compare(&ours, &theirs);
    let members: Vec<_> = difference
        .members
        .iter()
        .map(|told| told.id.addr.port())
        .collect();
    assert_eq!(members, [2, 3, 4, 5]);
    assert_eq!(ports(&difference.items), [(1, 9), (4, 1), (5, 1), (7, 1)]);
    assert_eq!(ports(&difference.wants), [(1, 1), (6, 1), (7, 1)]);
    assert_eq!(compare(&ours, &ours), Difference::default());
}

#[test]
fn what_is_lacking_goes_into_as_many_datagrams_as_it_takes() {
    let entries: Vec<_> = (1..=300)
        .map(|n| entry(n, 1_700_000_000_000, Life::Alive, &[(1, 3, 7)]))
        .collect();
    let difference = compare(&entries, &[]);
    let lists = fill(7, &difference, |_| Some(vec![0; 64]));
    let mut counted = (0, 0);
    for list in &lists {
        assert!(list.encode().len() <= PAYLOAD, "{}", list.encode().len());
        if let List::Fill { members, items, .. } = list {
            counted = (counted.0 + members.len(), counted.1 + items.len());
        }
    }
    assert_eq!(counted, (300, 300));
    assert!(lists.len() <= 28, "{} datagrams", lists.len());
    assert!(fill(7, &Difference::default(), |_| None).is_empty());
    let large = fill(7, &difference, |_| {
        Some(vec![0; crate::gossip::record::LARGEST_ITEM])
    });
    assert!(large.iter().all(|list| list.encode().len() <= PAYLOAD));
}

#[test]
fn an_exchange_ends_after_64_datagrams_and_few_run_at_a_time() {
    let (mut budget, now) = (Budget::default(), Instant::now());
    let of = |port| SocketAddr::from(([10, 0, 0, 1], port));
    let spent = (0..1_000).filter(|_| budget.spend(of(1), 7, now)).count();
    assert_eq!(spent, 64);
    let begun = (2..100)
        .filter(|port| budget.spend(of(*port), 7, now))
        .count();
    assert_eq!(begun, MOST_EXCHANGES - 1);
    assert!(budget.spend(of(1), 8, now + LASTS));
    let mut second = PerSecond::new(5, now);
    assert_eq!((0..100).filter(|_| second.take(now)).count(), 5);
    assert!(second.take(now + Duration::from_secs(1)));
}
