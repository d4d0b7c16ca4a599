//! The hash ring as a collection, and what travels through serde.

use fluster::placement::HashRing;
#[cfg(feature = "serde")]
use fluster::placement::{HashTags, Placement};

#[test]
fn a_ring_is_a_collection_of_nodes() {
    let mut ring = HashRing::new();
    assert!(ring.is_empty() && ring.get("k").is_none() && ring.get_replicas("k", 3).is_empty());
    assert!(ring.add_node_with("a", 1, 6379));
    assert!(!ring.add_node_with("a", 9, 6380), "the name is taken");
    ring.extend([("b", 2, 6380), ("idle", 0, 6381), ("b", 7, 1)]);
    assert_eq!(ring.len(), 3);
    assert!(ring.contains("idle") && !ring.contains("c"));
    let nodes: Vec<_> = ring
        .iter()
        .map(|n| (n.name(), n.weight(), *n.payload()))
        .collect();
    assert_eq!(nodes, [("a", 1, 6379), ("b", 2, 6380), ("idle", 0, 6381)]);
    assert_eq!(
        ring.candidates("k").count(),
        2,
        "the idle node never serves"
    );
    assert_eq!(Some(&ring["k"]), ring.get_node("k"));

    *ring.payload_mut("a").expect("a is there") += 1;
    assert_eq!(ring.node("a").map(|node| *node.payload()), Some(6380));
    assert_eq!(ring.remove_node("a"), Some(6380));
    assert_eq!(ring.remove_node("a"), None);
    assert_eq!(ring.remove_node("b"), Some(6380));
    assert_eq!(ring.get_node("k"), None, "only an idle node is left");
    assert_eq!(
        ring.into_iter()
            .map(|node| node.name().to_owned())
            .collect::<Vec<_>>(),
        ["idle"]
    );
}

#[test]
#[should_panic(expected = "has no room in the ring")]
fn a_ring_that_cannot_be_numbered_is_refused() {
    HashRing::new().add_node("heavy", u32::MAX);
}

#[cfg(feature = "serde")]
mod serde_round_trips {
    use super::*;

    #[test]
    fn a_ring_survives_its_json() {
        let mut ring: HashRing<u16> = [("a", 1, 1), ("b", 0, 2), ("c", 3, 3)]
            .into_iter()
            .collect();
        ring.remove_node("a");
        ring.add_node_with("a", 1, 4);
        let json = serde_json::to_string(&ring).expect("serializes");
        let back: HashRing<u16> = serde_json::from_str(&json).expect("deserializes");
        assert_eq!(back, ring, "through {json}");
        for key in 0..1_000_u32 {
            assert_eq!(
                back.get_node(key.to_be_bytes()),
                ring.get_node(key.to_be_bytes())
            );
        }
    }

    #[test]
    fn a_ring_that_cannot_be_is_not_deserialized() {
        for (json, fault) in [
            (r#"{"virtual_nodes":0,"nodes":[]}"#, "zero"),
            (
                r#"{"virtual_nodes":1,"nodes":[{"name":"a","weight":4294967295,"payload":null}]}"#,
                "too many",
            ),
            (
                r#"{"virtual_nodes":1,"nodes":[{"name":"a","weight":1,"payload":null},{"name":"a","weight":1,"payload":null}]}"#,
                "two nodes",
            ),
        ] {
            let error = serde_json::from_str::<HashRing>(json)
                .expect_err(json)
                .to_string();
            assert!(error.contains(fault), "{json}: {error}");
        }
    }

    #[test]
    fn a_rule_and_its_hash_tags_are_strings() {
        for rule in [
            "ring",
            "ring:points=40,hash_tags=[]",
            "fastring:virtual_nodes=40",
            "rendezvous",
            "modulo",
            "fluster-py",
        ] {
            let json = format!("\"{rule}\"");
            let placement: Placement = serde_json::from_str(&json).expect(rule);
            assert_eq!(serde_json::to_string(&placement).expect(rule), json);
        }
        assert!(serde_json::from_str::<Placement>("\"ring:points=x\"").is_err());
        assert_eq!(
            serde_json::from_str::<HashTags>("\"off\"").expect("off"),
            HashTags::Off
        );
        assert_eq!(
            serde_json::to_string(&HashTags::Redis).expect("redis"),
            "\"redis\""
        );
    }
}
