//! The addresses of a name, as the machine's own resolver gives them.

use std::net::Ipv4Addr;
use std::time::Duration;

use fluster::FlusterCluster;
use fluster::discovery::{self, DiscoveryErrorKind, Dns};

use crate::support::{self, eventually, in_a_network, test_name};
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
