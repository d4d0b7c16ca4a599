//! Placement through the public API, against the answers that other libraries gave themselves.

mod collection;
#[cfg(feature = "compat")]
mod compat;
#[cfg(feature = "compat")]
mod ejecting;
mod fingerprint;
mod migration;
mod properties;

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use fluster::placement::{HashRing, HashTags, Live, Member, Placement, redis_cluster_slot};
use serde_json::Value;

fn vectors(text: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(text).expect("a vector file is JSON");
    file["cases"]
        .as_array()
        .expect("a vector file has cases")
        .clone()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().expect("an array")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = text(hex);
    (0..hex.len() / 2)
        .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hex digits"))
        .collect()
}

fn number(value: &Value) -> u32 {
    value
        .as_u64()
        .and_then(|n| u32::try_from(n).ok())
        .expect("a number")
}

/// The nodes of a case, with their places: in a table a node is its place.
fn members(case: &Value) -> Vec<Member<'_>> {
    array(&case["nodes"]).iter().map(member).collect()
}

fn member(node: &Value) -> Member<'_> {
    Member::new(text(&node["name"])).weight(number(&node["weight"]))
}

fn live(case: &Value, members: &[Member<'_>]) -> Live {
    let down: BTreeSet<&str> = array(&case["down"]).iter().map(text).collect();
    Live::from_fn(count(members), |node| !down.contains(members[node].name))
}

fn count(members: &[Member<'_>]) -> u32 {
    u32::try_from(members.len()).expect("few nodes")
}

#[test]
fn the_hash_ring_answers_as_fastring_does() {
    let (mut owners, mut lists) = (0, 0);
    let cases = vectors(include_str!("vectors/fastring.json"));
    for case in &cases {
        let points = NonZeroU32::new(number(&case["params"]["virtual_nodes"])).expect("points");
        let wanted = number(&case["params"]["replicas_count"]) as usize;
        let mut ring = HashRing::with_virtual_nodes(points);
        for member in members(case) {
            assert!(
                ring.add_node(member.name, member.weight),
                "{} twice",
                member.name
            );
        }
        for name in array(&case["down"]) {
            assert!(
                ring.remove_node(text(name)).is_some(),
                "{name} is there to be removed"
            );
        }
        let mut keys = Vec::new();
        for key in array(&case["keys"]) {
            let (id, bytes) = (&case["id"], bytes(&key["key_hex"]));
            assert_eq!(
                ring.get_node(&bytes),
                key["owner"].as_str(),
                "case {id}, key {key}"
            );
            owners += 1;
            if let Some(replicas) = key["replicas"].as_array() {
                let replicas: Vec<&str> = replicas.iter().map(text).collect();
                assert_eq!(
                    ring.get_replicas(&bytes, wanted),
                    replicas,
                    "case {id}, key {key}"
                );
                lists += 1;
            }
            keys.push((bytes, key["owner"].as_str()));
        }
        let batch = ring.get_node_batch(keys.iter().map(|(bytes, _)| bytes));
        assert!(
            batch.into_iter().eq(keys.iter().map(|&(_, owner)| owner)),
            "batch of {}",
            case["id"]
        );
    }
    println!(
        "fastring: {} cases, {owners} owners, {lists} replica lists",
        cases.len()
    );
    assert_eq!(
        (cases.len(), owners, lists),
        (23, 1017, 1017),
        "no vector was skipped"
    );
}

#[test]
fn the_ring_table_answers_as_fastring_does() {
    let (mut used, mut owners) = (0, 0);
    for case in &vectors(include_str!("vectors/fastring.json")) {
        let points = NonZeroU32::new(number(&case["params"]["virtual_nodes"])).expect("points");
        let members = members(case);
        // Clusters have no idle nodes, and a lighter limit than a ring of one's own.
        if members
            .iter()
            .any(|m| m.weight == 0 || u64::from(m.weight) * u64::from(points.get()) > 65_535)
        {
            continue;
        }
        let wanted = number(&case["params"]["replicas_count"]) as usize;
        let placement = Placement::ring_with_points(points).hash_tags(HashTags::Off);
        let table = placement.table(&members).expect("a table");
        let live = live(case, &members);
        for key in array(&case["keys"]) {
            let bytes = bytes(&key["key_hex"]);
            let name = |node: usize| members[node].name;
            let (id, owner) = (&case["id"], key["owner"].as_str());
            assert_eq!(
                table.first(&bytes, &live).map(name),
                owner,
                "case {id}, key {key}"
            );
            let got: Vec<&str> = table
                .live_candidates(&bytes, &live)
                .take(wanted)
                .map(name)
                .collect();
            let replicas: Vec<&str> = key["replicas"]
                .as_array()
                .map_or(vec![], |all| all.iter().map(text).collect());
            assert_eq!(got, replicas, "case {id}, key {key}");
            owners += 1;
        }
        used += 1;
    }
    println!("fastring by table: {used} cases, {owners} owners");
    assert_eq!((used, owners), (22, 988), "all but the case with weight 0");
}

#[test]
fn fluster_py_answers_as_the_original_does() {
    let (mut owners, mut refused) = (0, 0);
    let cases = vectors(include_str!("vectors/fluster_py.json"));
    for case in &cases {
        let members = members(case);
        let table = Placement::fluster_py().table(&members).expect("a table");
        let live = live(case, &members);
        for key in array(&case["keys"]) {
            let bytes = bytes(&key["key_hex"]);
            let name = |node: usize| members[node].name;
            let (id, owner) = (&case["id"], key["owner"].as_str());
            assert_eq!(
                table.first(&bytes, &live).map(name),
                owner,
                "case {id}, key {key}"
            );
            assert_eq!(
                table.live_candidates(&bytes, &live).next().map(name),
                owner,
                "case {id}"
            );
            if live.count() == members.len() {
                assert_eq!(
                    Some(name(table.owner(&bytes))),
                    owner,
                    "case {id}, key {key}"
                );
            }
            owners += 1;
            refused += usize::from(owner.is_none());
        }
    }
    println!(
        "fluster_py: {} cases, {owners} owners, {refused} of them none",
        cases.len()
    );
    assert_eq!(
        (cases.len(), owners, refused),
        (86, 2816, 8),
        "no vector was skipped"
    );
}

#[test]
fn slots_are_those_of_redis_cluster() {
    let mut slots = 0;
    for case in &vectors(include_str!("vectors/redis_cluster_slot.json")) {
        for key in array(&case["keys"]) {
            let slot = redis_cluster_slot(&bytes(&key["key_hex"]));
            assert_eq!(slot.to_string(), text(&key["owner"]), "key {key}");
            slots += 1;
        }
    }
    println!("redis_cluster_slot: {slots} slots");
    assert_eq!(slots, 372, "no vector was skipped");
}

/// Rendezvous has no other implementation to agree with: these orders come from an independent
/// computation in Python (xxhash's XXH3, `math.log`), and a change of them would move users' keys.
#[test]
fn rendezvous_orders_are_pinned() {
    let names = ["cache-0", "cache-1", "cache-2", "cache-3", "cache-4"];
    let equal = names.map(Member::new);
    let mut rising = equal;
    for (member, weight) in rising.iter_mut().zip(1..) {
        *member = member.weight(weight);
    }
    let cases: [(&[u8], [usize; 5], [usize; 5]); 5] = [
        (b"", [2, 1, 3, 0, 4], [2, 4, 3, 1, 0]),
        (b"user:1", [2, 4, 3, 0, 1], [2, 4, 3, 1, 0]),
        (b"user:2", [1, 3, 2, 4, 0], [3, 1, 2, 4, 0]),
        (b"session:42", [4, 2, 3, 1, 0], [4, 3, 2, 1, 0]),
        (b"\xff\x00", [4, 2, 3, 0, 1], [4, 2, 3, 0, 1]),
    ];
    for (key, by_hash, by_weight) in cases {
        for (members, expected) in [(equal, by_hash), (rising, by_weight)] {
            let table = Placement::rendezvous().table(&members).expect("a table");
            assert_eq!(
                table.candidates(key).collect::<Vec<_>>(),
                expected,
                "key {key:?}"
            );
        }
    }
}
