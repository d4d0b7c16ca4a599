//! The addresses of a name, as the machine's own resolver gives them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use fluster::FlusterCluster;
use fluster::discovery::{self, DiscoveryErrorKind, Dns, Family};

use super::logs::Logs;
use crate::support::{self, Net, Server, eventually, in_a_network, test_name};
use crate::workload::SOON;

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

fn names(cluster: &FlusterCluster) -> Vec<String> {
    let status = cluster.status();
    status.nodes.iter().map(|n| n.name.to_string()).collect()
}

#[test]
fn nodes_follow_the_addresses_of_a_name() {
    in_a_network(
        test_name!("nodes_follow_the_addresses_of_a_name"),
        async |net| {
            let dns = support::Dns::start(&net);
            dns.set("cache.test", &[ip(3), ip(1), ip(2)]);
            let cluster = FlusterCluster::from_urls(["redis://127.0.0.1:1"]).unwrap();
            let source = Dns::new("cache.test:7000").unwrap();
            let following = cluster
                .follow(source.every(Duration::from_millis(300)))
                .unwrap();
            following.ready().await;
            assert_eq!(
                names(&cluster),
                ["10.0.0.1:7000", "10.0.0.2:7000", "10.0.0.3:7000"]
            );
            dns.set("cache.test", &[ip(1), ip(4), ip(2)]);
            eventually(SOON, || names(&cluster).contains(&"10.0.0.4:7000".into())).await;
            assert_eq!(names(&cluster).len(), 3);
            // The name is gone, then nobody answers at all.
            dns.clear();
            eventually(SOON, || following.last_error().is_some()).await;
            let error = following.last_error().unwrap();
            assert_eq!(error.kind(), DiscoveryErrorKind::NotFound, "{error}");
            dns.silent(true);
            let mut source = Dns::new("other.test").unwrap();
            let error = discovery::once(&mut source, Duration::from_millis(500))
                .await
                .unwrap_err();
            assert!(error.is_connection_error(), "{error:?}");
            assert_eq!(names(&cluster).len(), 3, "an error removes nobody");
        },
    );
}

#[test]
fn a_server_with_two_addresses_is_one_node() {
    let name = test_name!("a_server_with_two_addresses_is_one_node");
    in_a_network(name, async |net| {
        let v6 = |last: u16| IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last));
        let dns = support::Dns::start(&net);
        dns.set_all("both.test", &[v6(1), ip(1).into(), ip(2).into(), v6(2)]);
        dns.set_all("six.test", &[v6(2), v6(1)]);
        let ids = async |source: Dns| {
            let mut source = source;
            let found = discovery::once(&mut source, SOON).await?;
            Ok::<_, discovery::DiscoveryError>(
                found
                    .endpoints()
                    .iter()
                    .map(|e| e.id.clone())
                    .collect::<Vec<_>>(),
            )
        };
        let of = |name: &str| Dns::new(name).unwrap();
        let four = ["10.0.0.1:6379", "10.0.0.2:6379"];
        let six = ["[fd00::1]:6379", "[fd00::2]:6379"];
        assert_eq!(ids(of("both.test")).await.unwrap(), four);
        assert_eq!(ids(of("six.test")).await.unwrap(), six);
        assert_eq!(
            ids(of("both.test").family(Family::Ipv6)).await.unwrap(),
            six
        );
        assert_eq!(
            ids(of("both.test").family(Family::Both))
                .await
                .unwrap()
                .len(),
            4
        );
        let none = ids(of("six.test").family(Family::Ipv4)).await.unwrap_err();
        assert_eq!(none.kind(), DiscoveryErrorKind::NotFound);
        assert!(none.to_string().contains("IPv4"), "{none}");
    });
}

/// Servers on islands of their own, and their addresses.
pub(super) fn servers<const N: usize>(net: &Net) -> ([Server; N], [Ipv4Addr; N]) {
    let islands: [_; N] = std::array::from_fn(|_| net.island());
    let addresses = islands.each_ref().map(|i| i.address());
    let servers = islands.map(|island| {
        let server = Server::builder().on(&island).start();
        // The namespace must outlive this function; the guard ends it.
        std::mem::forget(island);
        server
    });
    (servers, addresses)
}

/// Everything this process logs; it is a process of its own.
fn heard() -> Logs {
    let logs = Logs::default();
    tracing::subscriber::set_global_default(logs.clone()).expect("nobody else listens");
    logs
}

const OFTEN: Duration = Duration::from_millis(100);

async fn follow(name: &str) -> (FlusterCluster, discovery::Following) {
    let cluster = FlusterCluster::from_urls(["redis://127.0.0.1:1"]).unwrap();
    let source = Dns::new(name).unwrap().every(OFTEN);
    let following = cluster
        .follow_with(source, discovery::Follow::new().hold_shrinks(OFTEN))
        .unwrap();
    following.ready().await;
    (cluster, following)
}

#[test]
fn answers_that_are_each_a_part_of_the_list_change_nothing() {
    let name = test_name!("answers_that_are_each_a_part_of_the_list_change_nothing");
    in_a_network(name, async |net| {
        let logs = heard();
        let (servers, all): ([Server; 6], _) = servers(&net);
        let dns = support::Dns::start(&net);
        dns.set("cache.test", &all);
        dns.at_most(3);
        let (cluster, following) = follow("cache.test").await;
        let first = names(&cluster);
        assert_eq!(first.len(), 3);
        let asked = dns.asked();
        while dns.asked() < asked + 60 {
            assert_eq!(names(&cluster), first, "{:?}", logs.lines());
            tokio::time::sleep(OFTEN / 4).await;
        }
        assert!(following.age() < Duration::from_secs(5), "it answers");
        let lines = logs.warnings("cache.test");
        assert_eq!(lines.len(), 1, "once: {:?}", logs.lines());
        assert!(
            lines[0].contains("Srv") && lines[0].contains("Consul"),
            "{lines:?}"
        );
        // One of them dies, and its name server notices: the whole list is believed.
        let dead = servers.iter().position(|s| s.name() == first[0]).unwrap();
        servers[dead].kill();
        dns.at_most(6);
        let rest: Vec<_> = all
            .iter()
            .filter(|ip| first[1..].iter().any(|n| n.starts_with(&format!("{ip}:"))))
            .copied()
            .collect();
        assert_eq!(rest.len(), 2);
        dns.set("cache.test", &rest);
        eventually(SOON, || names(&cluster) == first[1..]).await;
    });
}

#[test]
fn a_server_that_leaves_while_it_answers_goes_after_some_readings() {
    let name = test_name!("a_server_that_leaves_while_it_answers_goes_after_some_readings");
    in_a_network(name, async |net| {
        let (_servers, all): ([Server; 4], _) = servers(&net);
        let dns = support::Dns::start(&net);
        dns.set("cache.test", &all[..3]);
        let (cluster, _following) = follow("cache.test").await;
        assert_eq!(names(&cluster).len(), 3);
        dns.set("cache.test", &all[..2]);
        eventually(SOON, || names(&cluster).len() == 2).await;
        // One that comes needs no second look.
        dns.set("cache.test", &all);
        eventually(SOON, || names(&cluster).len() == 4).await;
    });
}

#[test]
fn a_wildcard_in_the_search_list_does_not_replace_servers_that_answer() {
    let name = test_name!("a_wildcard_in_the_search_list_does_not_replace_servers_that_answer");
    in_a_network(name, async |net| {
        let logs = heard();
        let (servers, all): ([Server; 3], _) = servers(&net);
        let dns = support::Dns::start(&net);
        dns.resolv_conf("nameserver 127.0.0.1\nsearch wild\n");
        dns.set("cache.test", &all[..2]);
        dns.set("*.test.wild", &all[2..]);
        let (cluster, _following) = follow("cache.test").await;
        let first = names(&cluster);
        assert_eq!(first.len(), 2);
        dns.clear();
        dns.set("*.test.wild", &all[2..]);
        let asked = dns.asked();
        while dns.asked() < asked + 60 {
            assert_eq!(names(&cluster), first);
            tokio::time::sleep(OFTEN / 4).await;
        }
        let lines = logs.warnings("cache.test");
        assert_eq!(lines.len(), 1, "once: {:?}", logs.lines());
        assert!(lines[0].contains("final dot"), "{lines:?}");
        // With a final dot the list is not looked at.
        let mut source = Dns::new("cache.test.:7000").unwrap();
        let error = discovery::once(&mut source, SOON).await.unwrap_err();
        assert_eq!(error.kind(), DiscoveryErrorKind::NotFound, "{error}");
        // Servers that are gone are replaced.
        servers[0].kill();
        servers[1].kill();
        eventually(SOON, || names(&cluster).len() == 1).await;
    });
}
