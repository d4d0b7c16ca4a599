//! Rules whose table is made anew from the nodes that are left, and what no rule takes.

use fluster::placement::{Live, Member, Placement, Twemproxy};
use fluster::{FlusterCluster, Node};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::properties::{any_keys, any_nodes, live_of, table};
use crate::support::{Server, eventually, fleet};
use crate::workload::SOON;

fn rule(text: &str) -> Placement {
    text.parse().expect(text)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_table_of_the_live_nodes_is_that_of_a_cluster_without_the_others(
        modula in any::<bool>(), nodes in any_nodes(), keys in any_keys(),
        out in prop::collection::vec(any::<bool>(), 24),
    ) {
        let distribution = if modula { "modula" } else { "ketama" };
        let rule = rule(&format!("twemproxy:distribution={distribution},auto_eject=true"));
        let whole = table(&rule, &nodes);
        let live = live_of(&nodes, &out);
        let fewer: Vec<_> = live.iter().map(|node| nodes[node].clone()).collect();
        let fewer = (!fewer.is_empty()).then(|| table(&rule, &fewer));
        let now = whole.for_live(&live);
        prop_assert_eq!(now.is_some(), !modula && live.count() < nodes.len());
        for key in &keys {
            let expected = fewer.as_ref().and_then(|fewer| fewer.name(fewer.owner(key)));
            for table in [&whole].into_iter().chain(&now) {
                prop_assert_eq!(table.first(key, &live).and_then(|node| table.name(node)), expected);
                let order: Vec<usize> = table.live_candidates(key, &live).collect();
                prop_assert_eq!(order.first().and_then(|&node| table.name(node)), expected);
                let mut sorted = order.clone();
                sorted.sort_unstable();
                prop_assert_eq!(sorted, live.iter().collect::<Vec<_>>(), "each live node once");
                // All are back: so is every key.
                let all = Live::all(whole.nodes());
                prop_assert_eq!(table.first(key, &all), Some(whole.owner(key)));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_places_as_twemproxy_does_while_a_server_is_out_and_when_it_is_back() {
    let servers: [Server; 3] = fleet();
    let names = ["cache0", "cache1", "cache2"];
    let placement = Placement::twemproxy(Twemproxy::default().auto_eject(true));
    let builder = servers.iter().zip(names).fold(
        FlusterCluster::builder().placement(placement.clone()),
        |builder, (server, name)| builder.node(Node::new(server.url()).unwrap().name(name)),
    );
    let cluster = builder.build().unwrap();
    let keys: Vec<String> = (0..2_000).map(|i| format!("user:{i}")).collect();
    let places = |names: &[&str]| -> Vec<String> {
        let members: Vec<_> = names.iter().map(|name| Member::new(name)).collect();
        let table = placement.table(&members).unwrap();
        let name = |key: &String| names[table.owner(key.as_bytes())].to_owned();
        keys.iter().map(name).collect()
    };
    let now = || -> Vec<String> {
        let nodes = cluster.get_node_batch(&keys).unwrap();
        nodes.iter().map(ToString::to_string).collect()
    };
    assert_eq!(now(), places(&names));
    servers[1].kill();
    eventually(SOON, || {
        // Traffic finds out.
        let _ = cluster.get_client("any").is_ok();
        cluster.status().active() == 2 || {
            let client = cluster
                .clients()
                .find_map(|c| c.ok().filter(|c| *c.node() == "cache1"));
            if let Some(mut client) = client {
                tokio::spawn(async move {
                    let _ = redis::cmd("PING").query_async::<()>(&mut client).await;
                });
            }
            false
        }
    })
    .await;
    assert_eq!(
        now(),
        places(&["cache0", "cache2"]),
        "as if it were not there"
    );
    for key in &keys {
        let client = cluster.get_client(key).unwrap();
        let node = cluster.get_node(key).unwrap();
        assert_eq!(client.node(), &node, "every route agrees");
    }
    servers[1].restart();
    eventually(SOON, || cluster.status().active() == 3).await;
    assert_eq!(now(), places(&names), "every key is back");
}

#[test]
fn weights_under_a_rule_without_weights_are_refused_by_name() {
    let members = [
        Member::new("127.0.0.1:1"),
        Member::new("127.0.0.1:2").weight(3),
    ];
    for text in [
        "modulo",
        "fluster-py",
        "go-redis",
        "proxenos",
        "ringpop",
        "redis-rb",
        "redis-array",
        "redis-array:consistent=true",
    ] {
        let error = rule(text).table(&members).expect_err(text).to_string();
        let name = text.split(':').next().expect("a name");
        assert!(
            error.contains("127.0.0.1:2")
                && error.contains(&format!("rule `{name}` has no weights")),
            "{error}"
        );
    }
    assert!(rule("twemproxy").table(&members).is_ok(), "it has");
    let heavy = [Member::new("a").weight(u32::MAX), Member::new("b")];
    for text in ["twemproxy", "twemproxy:distribution=modula"] {
        let error = rule(text).table(&heavy).expect_err("too heavy").to_string();
        assert!(
            error.contains("the weights add up to 4294967296"),
            "{error}"
        );
    }
}

#[test]
fn proxenos_needs_addresses_and_says_so() {
    let cluster = |url: &str| {
        let node = Node::new(url).unwrap().name("a");
        FlusterCluster::builder()
            .node(node)
            .placement(rule("proxenos"))
            .build()
    };
    assert!(cluster("redis://10.0.0.1").is_ok());
    assert!(cluster("redis://[fe80::1]:7000").is_ok());
    for (url, why) in [
        ("redis://cache.local", "\"cache.local\" is a name"),
        (
            "unix:///run/redis.sock",
            "by IP address and port, and it has none",
        ),
    ] {
        let error = cluster(url).expect_err(url).to_string();
        assert!(
            error.contains("node \"a\"") && error.contains(why),
            "{error}"
        );
    }
}

#[test]
fn the_identity_of_ringpop_is_a_label() {
    let named = |label: Option<&str>| {
        let nodes =
            ["a", "b", "c"].map(|name| Node::new(format!("redis://{name}")).unwrap().name(name));
        let builder = nodes.into_iter().fold(
            FlusterCluster::builder().placement(rule("ringpop")),
            |builder, node| {
                builder.node(match label {
                    Some(identity) if node.id() == "b" => node.label("identity", identity),
                    _ => node,
                })
            },
        );
        builder.build().unwrap().status().fingerprint
    };
    assert_eq!(named(None), named(Some("b")), "its own name is no identity");
    assert_ne!(named(None), named(Some("worker-1")));
}

#[test]
fn a_server_without_points_is_never_a_candidate() {
    let members = [Member::new("big").weight(100_000), Member::new("tiny")];
    let table = rule("twemproxy").table(&members).unwrap();
    for key in 0..1_000_u32 {
        let key = key.to_be_bytes();
        assert_eq!(table.candidates(&key).collect::<Vec<_>>(), [0]);
        assert_eq!(table.first(&key, &Live::all(2).with(0, false)), None);
    }
    let table = rule("twemproxy:auto_eject=true").table(&members).unwrap();
    let left = table.first(b"key", &Live::all(2).with(0, false));
    assert_eq!(left, Some(1), "alone it has them all");
}
