//! What every source must show, with three real servers under traffic: nodes come and go with the
//! registry, and nothing happens when the registry dies.

use std::time::{Duration, Instant};

use fluster::FlusterCluster;
use fluster::discovery::{self, Discovery, Follow};

use crate::support::{Server, eventually, fleet};
use crate::workload::{Kind, Load, SOON, keys_and_values};

/// A change must be seen within a second; three times that is allowed to a busy machine.
const FOLLOWED: Duration = Duration::from_secs(3);

/// A place where servers are registered.
pub trait Registry {
    fn source(&self) -> Box<dyn Discovery>;
    fn register(&self, id: &str, server: &Server);
    fn deregister(&self, id: &str);
    /// It is gone, at once.
    fn kill(&self);
    /// It is there again; whether it still knows anybody is its own affair.
    fn restart(&self);
}

/// Runs the whole story, and prints how long each change took.
pub async fn nodes_follow_the_registry_and_survive_it(what: &str, registry: &impl Registry) {
    let servers: [Server; 4] = fleet();
    for server in &servers {
        server.raw(["MSET".to_owned()].into_iter().chain(keys_and_values()));
    }
    let [a, b, c, d] = &servers;
    for (id, server) in [("a", a), ("b", b), ("c", c)] {
        registry.register(id, server);
    }
    let mut source = registry.source();
    let found = discovery::once(&mut source, SOON)
        .await
        .expect("three endpoints");
    let nodes = Follow::new().nodes(&found);
    assert_eq!(nodes.len(), 3, "{found:?}");
    let builder = nodes
        .into_iter()
        .fold(FlusterCluster::builder(), |b, n| b.node(n));
    let cluster = builder.build().unwrap();
    let following = cluster.follow(source).unwrap();
    following.ready().await;
    let has = |server: &Server| {
        let status = cluster.status();
        status.nodes.iter().any(|n| n.address == server.name())
    };
    assert_eq!(cluster.status().nodes.len(), 3);
    let load = Load::start(&cluster, Kind::Read);

    let mut took = Vec::new();
    for _ in 0..3 {
        let since = Instant::now();
        registry.register("d", d);
        eventually(SOON, || has(d)).await;
        took.push(since.elapsed());
        let since = Instant::now();
        registry.deregister("d");
        eventually(SOON, || !has(d)).await;
        took.push(since.elapsed());
    }
    assert_eq!(cluster.status().nodes.len(), 3);

    registry.kill();
    eventually(SOON, || following.last_error().is_some()).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(cluster.status().nodes.len(), 3, "nothing is dropped");
    assert!(following.age() > Duration::from_secs(1), "its age says so");
    let error = following
        .last_error()
        .expect("it is still away")
        .to_string();
    assert!(!error.contains('\n'), "{error}");

    let since = Instant::now();
    registry.restart();
    eventually(SOON, || following.last_error().is_none()).await;
    let back = since.elapsed();
    assert_eq!(
        cluster.status().nodes.len(),
        3,
        "an empty registry drops nobody"
    );
    // One by one: at first it knows one of three, which is not believed.
    for (id, server) in [("a", a), ("b", b), ("c", c)] {
        registry.register(id, server);
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!(
            cluster.status().nodes.len(),
            3,
            "nobody is dropped on the way"
        );
    }
    let since = Instant::now();
    registry.register("d", d);
    eventually(SOON, || has(d)).await;
    took.push(since.elapsed());

    let tries = load.calls().await;
    let failed: Vec<_> = tries.iter().filter(|t| t.failed()).collect();
    println!(
        "{what}: changes followed after {took:.0?}, asked again {back:.0?} after its restart, {} of {} calls failed",
        failed.len(),
        tries.len()
    );
    assert!(
        failed.is_empty(),
        "no request fails because of it: {failed:?}"
    );
    assert!(tries.len() > 1_000, "it was under load: {}", tries.len());
    let slow: Vec<_> = took.iter().filter(|t| **t > FOLLOWED).collect();
    assert!(slow.is_empty(), "{what}: {took:?}");
}
