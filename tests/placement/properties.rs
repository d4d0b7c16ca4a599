//! What must hold for any nodes, any keys and any rule.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use fluster::placement::{HashRing, HashTags, Live, Member, Placement, Rendezvous, Table};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

/// Some rules; those that are not stable go by place and count.
pub(super) fn any_rule() -> impl Strategy<Value = Placement> {
    prop_oneof![
        any_stable_rule(),
        Just(Placement::modulo()),
        Just(Placement::fluster_py()),
        any_of(&[
            "redis-array",
            "redis-array:algorithm=murmur3a",
            "twemproxy:distribution=modula",
            "twemproxy:hash=murmur",
        ]),
    ]
}

/// The rules that go by name and weight.
fn any_stable_rule() -> impl Strategy<Value = Placement> {
    prop_oneof![
        Just(Placement::ring()),
        (1..40_u32).prop_map(|n| Placement::ring_with_points(NonZeroU32::new(n).expect("n > 0"))),
        Just(Placement::rendezvous()),
        any_of(&[
            "go-redis",
            "ringpop:replica_points=20",
            "redis-rb",
            "redis-array:consistent=true"
        ]),
    ]
}

/// Rules of feature `compat`; without it, the default one.
fn any_of(rules: &'static [&'static str]) -> impl Strategy<Value = Placement> {
    let read = |rule: &&str| rule.parse().unwrap_or_default();
    let rules: Vec<Placement> = rules.iter().map(read).collect();
    let default = Placement::default();
    assert!(
        rules
            .iter()
            .all(|rule| (*rule != default) == cfg!(feature = "compat"))
    );
    prop::sample::select(rules)
}

/// Names with weights from 1 to 4, or 1 throughout.
pub(super) fn any_nodes() -> impl Strategy<Value = Vec<(String, u32)>> {
    let named = prop::collection::btree_map("[a-z0-9.:é]{1,12}", 1..5_u32, 1..24);
    (named, any::<bool>()).prop_map(|(nodes, weighted): (BTreeMap<_, _>, _)| {
        nodes
            .into_iter()
            .map(|(name, w)| (name, if weighted { w } else { 1 }))
            .collect()
    })
}

pub(super) fn any_keys() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..24), 1..40)
}

/// The weights are left out where the rule has none.
pub(super) fn table(rule: &Placement, nodes: &[(String, u32)]) -> Table {
    let members: Vec<_> = nodes
        .iter()
        .map(|(name, w)| Member::new(name).weight(*w))
        .collect();
    rule.table(&members).unwrap_or_else(|error| {
        assert!(error.to_string().contains("has no weights"), "{error}");
        let members: Vec<_> = nodes.iter().map(|(name, _)| Member::new(name)).collect();
        rule.table(&members).expect("any nodes make a table")
    })
}

pub(super) fn live_of(nodes: &[(String, u32)], out: &[bool]) -> Live {
    Live::from_fn(u32::try_from(nodes.len()).expect("few nodes"), |node| {
        !out[node % out.len()]
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        // Beside this file: the default looks for a `lib.rs`, which a test directory does not have.
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn candidates_are_distinct_complete_and_start_with_the_owner(
        rule in any_rule(), nodes in any_nodes(), keys in any_keys(),
    ) {
        let table = table(&rule, &nodes);
        for key in &keys {
            let order: Vec<usize> = table.candidates(key).collect();
            prop_assert_eq!(order[0], table.owner(key));
            let distinct: BTreeSet<usize> = order.iter().copied().collect();
            prop_assert_eq!(distinct.len(), order.len(), "no node twice: {:?}", order);
            prop_assert!(distinct.into_iter().eq(0..nodes.len()), "all nodes: {:?}", order);
        }
    }

    #[test]
    fn the_first_live_node_is_the_first_live_candidate(
        rule in any_rule(), nodes in any_nodes(), keys in any_keys(),
        out in prop::collection::vec(any::<bool>(), 24),
    ) {
        let table = table(&rule, &nodes);
        let live = live_of(&nodes, &out);
        for key in &keys {
            let order: Vec<usize> = table.live_candidates(key, &live).collect();
            prop_assert_eq!(table.first(key, &live), order.first().copied());
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, live.iter().collect::<Vec<_>>(), "each live node once");
            if live.contains(table.owner(key)) {
                prop_assert_eq!(order[0], table.owner(key), "a live owner serves its keys");
            }
        }
    }

    #[test]
    fn ejecting_a_node_moves_only_its_keys_and_each_to_its_next_candidate(
        rule in any_rule(), nodes in any_nodes(), keys in any_keys(), victim in any::<prop::sample::Index>(),
    ) {
        let table = table(&rule, &nodes);
        let all = Live::all(table.nodes());
        let victim = victim.index(nodes.len());
        let without = all.with(victim, false);
        for key in &keys {
            let mut order = table.candidates(key);
            let owner = order.next();
            let expected = if owner == Some(victim) { order.next() } else { owner };
            prop_assert_eq!(table.first(key, &without), expected);
            prop_assert_eq!(table.first(key, &without.with(victim, true)), owner, "back home");
        }
    }

    #[test]
    fn live_candidates_are_the_candidates_without_those_that_are_out(
        rule in any_stable_rule(), nodes in any_nodes(), keys in any_keys(),
        out in prop::collection::vec(any::<bool>(), 24),
    ) {
        let table = table(&rule, &nodes);
        let live = live_of(&nodes, &out);
        for key in &keys {
            let filtered = table.candidates(key).filter(|&node| live.contains(node));
            prop_assert!(table.live_candidates(key, &live).eq(filtered));
        }
    }

    #[test]
    fn removing_a_node_moves_only_the_keys_it_held(
        rule in any_stable_rule(), nodes in any_nodes(), keys in any_keys(), at in any::<prop::sample::Index>(),
    ) {
        prop_assume!(nodes.len() > 1);
        let mut fewer = nodes.clone();
        let (removed, _) = fewer.remove(at.index(nodes.len()));
        let (before, after) = (table(&rule, &nodes), table(&rule, &fewer));
        for key in &keys {
            // Read from right to left, this is: adding a node moves only the keys it gains.
            let then = before.candidates(key).map(|node| &nodes[node].0).find(|&name| *name != removed);
            prop_assert_eq!(Some(&fewer[after.owner(key)].0), then);
        }
    }

    #[test]
    fn the_order_of_the_nodes_does_not_matter(
        rule in any_stable_rule(), nodes in any_nodes(), keys in any_keys(),
    ) {
        let reversed: Vec<_> = nodes.iter().cloned().rev().collect();
        let (one, other) = (table(&rule, &nodes), table(&rule, &reversed));
        for key in &keys {
            let order = one.candidates(key).map(|node| &nodes[node].0);
            prop_assert!(order.eq(other.candidates(key).map(|node| &reversed[node].0)));
        }
    }

    #[test]
    fn a_hash_tag_decides_alone(
        rule in any_stable_rule(), nodes in any_nodes(), tag in "[a-z]{1,9}", a in "[a-z]{0,20}", b in "[a-z}]{0,20}",
    ) {
        let key = format!("{a}{{{tag}}}{b}");
        let tagged = table(&rule.clone().hash_tags(HashTags::Redis), &nodes);
        prop_assert_eq!(tagged.owner(key.as_bytes()), tagged.owner(tag.as_bytes()));
        let plain = table(&rule.hash_tags(HashTags::Off), &nodes);
        prop_assert_eq!(plain.owner(tag.as_bytes()), tagged.owner(tag.as_bytes()));
    }

    #[test]
    fn a_ring_keeps_its_placement_through_any_history(
        nodes in any_nodes(), extra in prop::collection::btree_set("[A-Z]{1,3}", 0..6), keys in any_keys(),
    ) {
        let direct: HashRing = nodes.iter().cloned().collect();
        let mut ring: HashRing = extra.iter().map(String::as_str).collect();
        for (name, weight) in &nodes {
            prop_assert!(ring.add_node(name, *weight));
            prop_assert!(!ring.add_node(name, weight + 1), "the second of a name changes nothing");
        }
        for name in &extra {
            prop_assert_eq!(ring.remove_node(name), Some(()));
        }
        prop_assert_eq!(&ring, &direct);
        let table = table(&Placement::ring().hash_tags(HashTags::Off), &nodes);
        for key in &keys {
            let order: Vec<&str> = table.candidates(key).map(|node| nodes[node].0.as_str()).collect();
            prop_assert_eq!(ring.get_replicas(key, nodes.len()), &order[..], "as the table's ring");
            prop_assert_eq!(ring.get_node(key), Some(order[0]));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn rendezvous_keeps_its_placement_through_any_history(
        nodes in any_nodes(), extra in prop::collection::btree_set("[A-Z]{1,3}", 0..6), keys in any_keys(),
    ) {
        let direct: Rendezvous = nodes.iter().cloned().collect();
        let mut all: Rendezvous = extra.iter().map(String::as_str).collect();
        for (name, weight) in &nodes {
            prop_assert_eq!(all.add_node(name, *weight), Ok(true));
            prop_assert_eq!(all.add_node(name, weight + 1), Ok(false));
        }
        for name in &extra {
            prop_assert_eq!(all.remove_node(name), Some(()));
        }
        prop_assert_eq!(&all, &direct);
        let table = table(&Placement::rendezvous().hash_tags(HashTags::Off), &nodes);
        for key in &keys {
            let order: Vec<&str> = table.candidates(key).map(|node| nodes[node].0.as_str()).collect();
            prop_assert_eq!(all.get_replicas(key, nodes.len()), &order[..], "as the table");
            prop_assert_eq!(all.select(key), Some(order[0]));
        }
    }

    #[cfg(feature = "compat")]
    #[test]
    fn rendezvous_by_proxenos_is_the_table_of_proxenos(
        ports in prop::collection::btree_set(1..u16::MAX, 1..6), keys in any_keys(),
        method in prop::sample::select(fluster::placement::ProxenosHash::ALL), seed in any::<u32>(),
    ) {
        let rule = fluster::placement::Proxenos::new(method).seed(seed);
        let nodes: Vec<_> = ports.iter().map(|port| (format!("10.0.0.1:{port}"), 1)).collect();
        let table = table(&Placement::proxenos(rule.clone()), &nodes);
        let mut all = Rendezvous::proxenos(rule);
        for (name, weight) in &nodes {
            prop_assert_eq!(all.add_node(name, *weight), Ok(true));
        }
        for key in &keys {
            let order: Vec<&str> = table.candidates(key).map(|node| nodes[node].0.as_str()).collect();
            prop_assert_eq!(all.get_replicas(key, nodes.len()), &order[..]);
            prop_assert_eq!(all.select(key), Some(order[0]));
        }
    }
}

#[test]
fn shares_follow_the_weights() {
    const KEYS: u32 = 120_000;
    let weights = [1, 2, 3, 6];
    let names = ["a", "b", "c", "d"];
    let members: Vec<_> = names
        .iter()
        .zip(weights)
        .map(|(name, weight)| Member::new(name).weight(weight))
        .collect();
    // A ring's shares vary with its points (about 1/sqrt(128) per unit of weight); rendezvous's
    // with the number of keys only.
    for (rule, tolerance) in [
        ("ring", 0.25),
        ("ring:points=4096", 0.05),
        ("rendezvous", 0.03),
    ] {
        let table = rule
            .parse::<Placement>()
            .and_then(|p| p.table(&members))
            .expect("a table");
        let mut held = [0_u32; 4];
        for key in 0..KEYS {
            held[table.owner(format!("user:{key}").as_bytes())] += 1;
        }
        for (node, weight) in weights.into_iter().enumerate() {
            let ideal = f64::from(KEYS * weight) / 12.0;
            let off = f64::from(held[node]) / ideal - 1.0;
            assert!(
                off.abs() < tolerance,
                "{rule}: {} has {off:+.3} of its share",
                names[node]
            );
        }
    }
}

#[test]
fn keys_of_a_dead_rendezvous_node_spread_over_all_others() {
    let members = ["a", "b", "c", "d", "e"].map(Member::new);
    let table = Placement::rendezvous().table(&members).expect("a table");
    let mut inherited = [0_u32; 5];
    for key in 0..50_000_u32 {
        let key = key.to_be_bytes();
        if table.owner(&key) == 2 {
            inherited[table.candidates(&key).nth(1).expect("a second")] += 1;
        }
    }
    for node in [0, 1, 3, 4] {
        assert!(
            (2_200..2_800).contains(&inherited[node]),
            "a quarter of 10 000 each: {inherited:?}"
        );
    }
}

#[test]
fn a_set_of_live_nodes_for_another_table_leads_nowhere_wrong() {
    let members = ["a", "b", "c"].map(Member::new);
    for rule in ["ring", "rendezvous", "modulo"] {
        let table = rule
            .parse::<Placement>()
            .and_then(|p| p.table(&members))
            .expect("a table");
        for key in 0..100_u32 {
            let key = key.to_be_bytes();
            for live in [
                Live::all(0),
                Live::none(3),
                Live::from_fn(200, |node| node >= 3),
            ] {
                assert_eq!(table.first(&key, &live), None, "{rule}, {live:?}");
                assert_eq!(
                    table.live_candidates(&key, &live).next(),
                    None,
                    "{rule}, {live:?}"
                );
            }
            for (live, nodes) in [(Live::all(1), 1), (Live::all(200), 3)] {
                assert!(
                    table.first(&key, &live).is_some_and(|node| node < nodes),
                    "{rule}"
                );
                assert_eq!(
                    table.live_candidates(&key, &live).count(),
                    nodes,
                    "{rule}, {live:?}"
                );
            }
        }
    }
}
