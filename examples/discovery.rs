//! Servers from a file, which may change while the program runs: a line per server, `host:port  name=a`.
//!
//! `cargo run --features discovery --example discovery -- nodes.txt`, and edit the file. A Kubernetes ConfigMap is
//! such a file; `Dns`, `Srv`, `Consul` and `Etcd` take its place with one line.

use std::time::Duration;

use fluster::discovery::{self, File, Follow};
use fluster::{Event, FlusterCluster};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: discovery FILE")?;
    let mut source = File::new(path);
    let follow = Follow::new();

    // A cluster has at least one node, so it is built with what the file has now.
    let found = discovery::once(&mut source, Duration::from_secs(5)).await?;
    let cluster = FlusterCluster::builder()
        .nodes(follow.nodes(&found))
        .build()?;
    let mut events = cluster.events();
    // It ends when this is dropped. Whatever happens to the file, the last good list stays.
    let _following = cluster.follow_with(source, follow)?;
    tell(&cluster).await;
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Event::TopologyChanged(change)) if change.moved > 0.0 => {
                    println!("{:.0} % of the keys have another server", 100.0 * change.moved);
                    tell(&cluster).await;
                }
                Some(_) => {}
                None => break,
            },
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    cluster.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

async fn tell(cluster: &FlusterCluster) {
    let status = cluster.status();
    let names: Vec<_> = status.nodes.iter().map(|node| node.name.as_str()).collect();
    println!("{} servers: {}", names.len(), names.join(", "));
    match cluster.run::<u64>(redis::cmd("INCR").arg("changes")).await {
        Ok(count) => println!("counted {count}"),
        Err(e) => println!("not counted: {e}"),
    }
}
