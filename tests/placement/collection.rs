//! The hash ring and rendezvous hashing as collections, and what travels through serde.

use fluster::placement::{HashRing, Rendezvous};
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

#[test]
fn rendezvous_is_a_collection_of_nodes() {
    let mut nodes = Rendezvous::new();
    assert!(nodes.is_empty() && nodes.get("k").is_none() && nodes.get_replicas("k", 3).is_empty());
    let mut add = |name, weight, payload| nodes.add_node_with(name, weight, payload);
    assert_eq!(add("a", 1, 6379), Ok(true));
    assert_eq!(add("a", 9, 6380), Ok(false), "the name is taken");
    assert_eq!(add("idle", 0, 6381), Ok(true));
    assert_eq!(add("b", 2, 6380), Ok(true));
    assert_eq!(nodes.len(), 3);
    assert!(nodes.contains("idle") && !nodes.contains("c"));
    let all: Vec<_> = nodes
        .iter()
        .map(|n| (n.name(), n.weight(), *n.payload()))
        .collect();
    assert_eq!(all, [("a", 1, 6379), ("idle", 0, 6381), ("b", 2, 6380)]);
    assert_eq!(
        nodes.candidates("k").count(),
        2,
        "the idle node never serves"
    );
    let keys: Vec<_> = (0..100).map(|n| format!("k{n}")).collect();
    for (key, owner) in keys.iter().zip(nodes.get_node_batch(&keys)) {
        assert_eq!(owner, nodes.select(key));
        assert_eq!(owner, Some(&nodes[key]));
        assert_eq!(owner, nodes.candidates(key).next().map(|n| n.name()));
        assert_ne!(owner, Some("idle"));
    }

    *nodes.payload_mut("a").expect("a is there") += 1;
    assert_eq!(nodes.node("a").map(|node| *node.payload()), Some(6380));
    assert_eq!(nodes.remove_node("a"), Some(6380));
    assert_eq!(nodes.remove_node("a"), None);
    assert_eq!(nodes.select("k"), Some("b"));
    assert_eq!(nodes.remove_node("b"), Some(6380));
    assert_eq!(nodes.select("k"), None, "only an idle node is left");
    assert_eq!(nodes.into_iter().count(), 1);
}

#[cfg(feature = "compat")]
#[test]
fn proxenos_takes_addresses_without_weights_and_nothing_else() {
    use fluster::placement::{Proxenos, ProxenosHash};

    let rule = Proxenos::new(ProxenosHash::SipHash).secret([0xab; 16]);
    let mut nodes = Rendezvous::proxenos(rule);
    assert_eq!(nodes.add_node("10.0.0.1:6379", 1), Ok(true));
    for (name, weight, fault) in [
        ("cache.example:6379", 1, "IP address"),
        ("cache", 1, "IP address"),
        ("10.0.0.2:6379", 2, "has no weights"),
    ] {
        let error = nodes.add_node(name, weight).expect_err(name).to_string();
        assert!(error.contains(fault), "{error}");
        assert!(!nodes.contains(name) && nodes.len() == 1, "nothing changed");
        assert_eq!(nodes.select("k"), Some("10.0.0.1:6379"));
    }
    assert!(!format!("{nodes:?}").contains("abab"), "{nodes:?}");
}

#[cfg(feature = "serde")]
mod serde_round_trips {
    use super::*;

    #[test]
    fn rendezvous_survives_its_json() {
        let nodes: Rendezvous<u16> = [("a", 1, 1), ("b", 0, 2), ("c", 3, 3)]
            .into_iter()
            .collect();
        let json = serde_json::to_string(&nodes).expect("serializes");
        let back: Rendezvous<u16> = serde_json::from_str(&json).expect("deserializes");
        assert_eq!(back, nodes, "through {json}");
        for key in 0..1_000_u32 {
            let key = key.to_be_bytes();
            assert_eq!(back.select(key), nodes.select(key));
        }
        let node = r#"{"name":"a","weight":1,"payload":null}"#;
        for (json, fault) in [
            (r#"{"rule":"ring","nodes":[]}"#.to_owned(), "no rendezvous"),
            (
                format!(r#"{{"rule":"rendezvous","nodes":[{node},{node}]}}"#),
                "two nodes",
            ),
        ] {
            let error = serde_json::from_str::<Rendezvous>(&json).expect_err(&json);
            assert!(error.to_string().contains(fault), "{json}: {error}");
        }
    }

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
