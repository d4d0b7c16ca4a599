//! Which keys move, computed and counted.

use std::collections::BTreeMap;

use fluster::placement::{HashTags, Member, Migration, Placement, Table};
use fluster::{BuildError, FlusterCluster, Node};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::properties::{any_nodes, any_rule, table};

const KEYS: u32 = 20_000;

/// The shares of moved keys by pair, counted.
fn counted(from: &Table, to: &Table) -> BTreeMap<(String, String), f64> {
    let mut counts = BTreeMap::new();
    for key in 0..KEYS {
        // As keys with a random identifier are; some of the hashes keep the likeness of those that count up.
        let key = format!("user:{:016x}", spread(key.into()));
        let name = |table: &Table| {
            let name = table.name(table.owner(key.as_bytes()));
            name.expect("a name").to_owned()
        };
        let pair = (name(from), name(to));
        if pair.0 != pair.1 {
            *counts.entry(pair).or_insert(0.0) += 1.0 / f64::from(KEYS);
        }
    }
    counts
}

/// `SplitMix64`.
fn spread(number: u64) -> u64 {
    let mut x = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Six standard deviations, and a floor for small shares.
fn tolerance(share: f64) -> f64 {
    let share = share.min(1.0);
    6.0 * (share * (1.0 - share) / f64::from(KEYS)).sqrt() + 1e-3
}

fn assert_agrees(migration: &Migration, counts: &BTreeMap<(String, String), f64>) {
    let total: f64 = counts.values().sum();
    let off = (migration.moved() - total).abs();
    assert!(
        off <= tolerance(total) + migration.margin() * 3.0,
        "{migration}, but {total}"
    );
    for step in migration.moves() {
        let pair = (step.from.clone(), step.to.clone());
        let share = counts.get(&pair).copied().unwrap_or_default();
        let sampled = migration.sampled_keys().map_or(0.0, |keys| {
            6.0 * (step.share * (1.0 - step.share) / f64::from(keys)).sqrt()
        });
        let off = (step.share - share).abs();
        assert!(
            off <= tolerance(step.share) + sampled,
            "{step:?}, but {share}"
        );
    }
}

fn of(rule: &str, nodes: &[(&str, u32)]) -> Table {
    let members: Vec<_> = nodes
        .iter()
        .map(|&(name, weight)| Member::new(name).weight(weight))
        .collect();
    let rule: Placement = rule.parse().expect(rule);
    rule.table(&members).expect("a table")
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_computed_is_what_is_counted(
        rules in [any_rule(), any_rule()], same_rule in any::<bool>(),
        nodes in any_nodes(), others in any_nodes(), kept in 0..24_usize,
    ) {
        let mut after: Vec<_> = nodes.iter().take(kept).cloned().collect();
        after.extend(others.into_iter().filter(|(name, _)| nodes.iter().all(|(old, _)| old != name)));
        prop_assume!(!after.is_empty());
        let second = if same_rule { &rules[0] } else { &rules[1] };
        let (from, to) = (table(&rules[0], &nodes), table(second, &after));
        assert_agrees(&from.migration(&to), &counted(&from, &to));
        let nothing = from.migration(&from);
        prop_assert_eq!((nothing.moved(), nothing.moves().len()), (0.0, 0), "nowhere");
    }
}

#[test]
fn rings_and_remainders_are_exact_and_scores_are_sampled() {
    let (three, four) = (
        [("a", 1), ("b", 1), ("c", 1)],
        [("a", 1), ("b", 1), ("c", 1), ("d", 1)],
    );
    let exact = |one: &str, other: &str| of(one, &three).migration(&of(other, &four));
    for rule in ["ring", "modulo", "fluster-py"] {
        let migration = exact(rule, rule);
        assert!(
            migration.is_exact() && migration.margin() == 0.0,
            "{rule}: {migration}"
        );
    }
    assert!(
        exact("ring", "ring:points=7").is_exact(),
        "one hash, other points"
    );
    for (one, other) in [("rendezvous", "rendezvous"), ("ring", "modulo")] {
        let migration = exact(one, other);
        assert_eq!(migration.sampled_keys(), Some(16_384), "{one} to {other}");
        assert!(
            migration.margin() > 0.0 && migration.margin() < 0.01,
            "{migration}"
        );
    }
    // Of 12 remainders 0, 1 and 2 stay.
    let modulo = exact("modulo", "modulo");
    assert!((modulo.moved() - 0.75).abs() < 1e-8, "{modulo}");
    assert_eq!(
        modulo.to_string(),
        "75.0 % of the keys move, between 9 pairs of nodes"
    );
}

#[cfg(feature = "compat")]
#[test]
fn the_rules_of_other_libraries_are_exact_where_their_hash_is_spread() {
    let (two, three) = ([("a", 1), ("b", 1)], [("a", 1), ("b", 1), ("c", 1)]);
    for (rule, exact) in [
        ("twemproxy", true),
        ("twemproxy:auto_eject=true", true),
        ("twemproxy:hash=crc32", true),
        ("twemproxy:hash=crc16", false),
        ("twemproxy:hash=crc32,distribution=modula", false),
        ("twemproxy:hash=murmur,distribution=modula", true),
        ("redis-rb", true),
        ("redis-array", true),
        ("redis-array:consistent=true,algorithm=sha1", true),
        ("ringpop", true),
        ("go-redis", false),
    ] {
        let (from, to) = (of(rule, &two), of(rule, &three));
        let migration = from.migration(&to);
        assert_eq!(migration.is_exact(), exact, "{rule}");
        assert_agrees(&migration, &counted(&from, &to));
    }
    let addresses = [
        Member::new("10.0.0.1:1"),
        Member::new("10.0.0.2:1"),
        Member::new("10.0.0.3:1"),
    ];
    let rule: Placement = "proxenos".parse().expect("a RULE");
    let (from, to) = (rule.table(&addresses[..2]), rule.table(&addresses));
    let (from, to) = (from.expect("a table"), to.expect("a table"));
    let migration = from.migration(&to);
    assert_eq!(migration.sampled_keys(), Some(1_024));
    assert!(migration.moves().iter().all(|step| step.to == "10.0.0.3:1"));
    assert!((migration.moved() - 1.0 / 3.0).abs() < 0.1, "{migration}");
    // One move to a ring of the same hash.
    let rb = of("redis-rb", &two).migration(&of("redis-rb:hash_tags=off", &three));
    assert!(rb.is_exact());
}

#[test]
fn a_plan_is_what_the_change_then_does() {
    let node = |name: &str| Node::new(format!("redis://{name}")).expect(name).name(name);
    for rule in ["ring", "modulo", "rendezvous"] {
        let builder = ["a", "b", "c"]
            .into_iter()
            .fold(FlusterCluster::builder(), |builder, name| {
                builder.node(node(name))
            });
        let cluster = builder
            .placement(rule.parse().expect(rule))
            .build()
            .expect("a cluster");
        let four = || ["a", "b", "d", "e"].map(node);
        let migration = cluster.plan(four()).expect("a plan");
        assert_eq!(cluster.status().nodes.len(), 3, "nothing is changed");
        let change = cluster.set_nodes(four()).expect("a change");
        let off = (change.moved - migration.moved()).abs();
        assert!(off < 1e-9, "{rule}: {} was {migration}", change.moved);
        assert!(
            migration.moves().iter().all(|step| step.to != "c"),
            "it is gone"
        );
        assert_eq!(cluster.plan([]).err(), Some(BuildError::NoNodes));
        let twice = cluster.plan([node("a"), node("a")]).expect_err("twice");
        assert!(matches!(twice, BuildError::DuplicateName { .. }), "{twice}");
    }
}

#[test]
fn moves_are_sorted_and_add_up() {
    let from = of("ring", &[("a", 1), ("b", 2), ("c", 4)]);
    let to = of("ring", &[("x", 1), ("y", 1)]);
    let migration = from.migration(&to);
    assert!(
        (migration.moved() - 1.0).abs() < 1e-12,
        "every key: {migration}"
    );
    assert_eq!(migration.moves().len(), 6);
    assert!(
        migration
            .moves()
            .is_sorted_by(|one, other| one.share >= other.share)
    );
    #[cfg(feature = "serde")]
    {
        let json = serde_json::to_value(&migration).expect("JSON");
        assert_eq!(json["moves"].as_array().map(Vec::len), Some(6));
        assert_eq!(
            (&json["sampled_keys"], &json["margin"]),
            (&serde_json::Value::Null, &0.0.into())
        );
    }
    let tagged = Placement::ring().hash_tags(HashTags::Off);
    let other = tagged.table(&["a", "b"].map(Member::new)).expect("a table");
    let one = Placement::ring()
        .table(&["a", "b"].map(Member::new))
        .expect("a table");
    assert_eq!(one.migration(&other).moved(), 0.0, "for keys without tags");
}

#[test]
fn nothing_that_moves_is_a_plain_zero() {
    let table = of("ring", &[("a", 1), ("b", 2)]);
    let text = table.migration(&table).to_string();
    assert_eq!(text, "0.0 % of the keys move, between 0 pairs of nodes");
}
