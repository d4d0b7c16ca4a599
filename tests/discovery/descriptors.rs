//! No file descriptor is left: that is our own limit, and says nothing about a server or a name.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fluster::discovery::{DiscoveryErrorKind, Dns};
use fluster::{ErrorKind, FlusterCluster, Outcome};

use super::dns::servers;
use crate::support::{self, Server, eventually, in_a_network, test_name};
use crate::workload::SOON;

/// For some seconds from now on this process can open nothing.
fn run_out_of_descriptors() {
    let pid = std::process::id();
    let script =
        format!("prlimit --pid {pid} --nofile=3: && sleep 4; prlimit --pid {pid} --nofile=1024:");
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .spawn()
        .expect("start a shell");
    std::thread::spawn(move || child.wait());
}

fn is_out() -> bool {
    fs::File::open("/dev/null").is_err()
}

#[test]
fn without_a_file_descriptor_no_node_goes_out_and_no_name_is_unknown() {
    let name = test_name!("without_a_file_descriptor_no_node_goes_out_and_no_name_is_unknown");
    in_a_network(name, async |net| {
        let (all, addresses): ([Server; 3], _) = servers(&net);
        let dns = support::Dns::start(&net);
        dns.set("cache.test", &addresses[..1]);
        let others = all[1..].iter().map(Server::url);
        let nodes = others.chain(["redis://cache.test".to_owned()]);
        let cluster = FlusterCluster::from_urls(nodes).unwrap();
        for node in &all[1..] {
            let mut client = cluster.get_client_of_node(node.name()).unwrap();
            let _: String = redis::cmd("PING").query_async(&mut client).await.unwrap();
        }
        let followed = FlusterCluster::from_urls(["redis://127.0.0.1:1"]).unwrap();
        let source = Dns::new("cache.test").unwrap();
        let source = source.every(Duration::from_millis(100));
        let following = followed.follow(source).unwrap();
        following.ready().await;
        run_out_of_descriptors();
        eventually(SOON, is_out).await;
        let (mut failed, mut dials, mut unsent) = (0, 0, 0);
        let mut said = None;
        while is_out() {
            // The name was never looked up.
            for key in 0..10 {
                let mut get = redis::cmd("GET");
                if let Err(e) = cluster.run::<Option<String>>(get.arg(key)).await {
                    assert_ne!(e.kind(), ErrorKind::NodeOut, "{e}");
                    failed += 1;
                }
            }
            // Whoever insists on the node is told why, and that the write never left.
            let mut client = cluster.get_client_of_node("cache.test:6379").unwrap();
            let set = redis::cmd("SET").arg("k").arg("v").to_owned();
            if let Err(e) = set.query_async::<()>(&mut client).await {
                let e = fluster::Error::from_redis(&e).expect("ours");
                assert_eq!(e.outcome(), Outcome::NotSent, "{e}");
                assert_eq!(e.kind(), ErrorKind::Connect, "{e}");
                unsent += 1;
            }
            let status = cluster.status();
            let node = status.node("cache.test:6379").expect("it stays");
            assert!(node.admits, "after {failed} calls: {node:?}");
            dials = node.failed_dials;
            said = following.last_error().or(said);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(dials > 3, "{dials} dials");
        assert!(unsent > 3, "{unsent} writes that never left");
        let said = said.expect("the source could not be asked");
        assert_eq!(said.kind(), DiscoveryErrorKind::Unreachable, "{said}");
        assert!(said.to_string().contains("open files"), "{said}");
        assert_eq!(followed.status().nodes.len(), 1);
        let began = Instant::now();
        loop {
            let mut client = cluster.get_client_of_node("cache.test:6379").unwrap();
            match redis::cmd("PING").query_async::<String>(&mut client).await {
                Ok(_) => break,
                Err(e) => assert!(began.elapsed() < SOON, "it serves again: {e}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(
            cluster.status().node("cache.test:6379").unwrap().ejections,
            0
        );
        eventually(SOON, || following.last_error().is_none()).await;
    });
}
