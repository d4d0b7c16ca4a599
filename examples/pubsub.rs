//! Publishes and listens: each channel on the server of its name, wherever that is by now.
//!
//! `REDIS_URLS=redis://10.0.0.1,redis://10.0.0.2 cargo run --example pubsub`

use fluster::FlusterCluster;
use fluster::pubsub::Notice;

const CHANNELS: [&str; 3] = ["news", "sports", "weather"];

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let urls = std::env::var("REDIS_URLS").unwrap_or("redis://127.0.0.1:6379".into());
    let cluster = FlusterCluster::from_urls(urls.split(','))?;

    // It is listening when this returns.
    let mut listener = cluster.subscribe(CHANNELS).await?;
    for channel in CHANNELS {
        let listeners: u64 = cluster
            .run(redis::cmd("PUBLISH").arg(channel).arg("hello"))
            .await?;
        println!("published to {channel}: {listeners} listening");
    }

    let mut heard = 0;
    while heard < CHANNELS.len() {
        match listener.next().await {
            Some(Notice::Message(message)) => {
                heard += 1;
                println!(
                    "{}: {} (from {})",
                    String::from_utf8_lossy(&message.channel),
                    String::from_utf8_lossy(&message.payload),
                    message.node
                );
            }
            // Its server went out or came back: what was published meanwhile is lost. Read anew what you keep.
            Some(Notice::Gap { node, .. }) => println!("something may be missing from {node}"),
            Some(_) => {}
            // The cluster was shut down.
            None => break,
        }
    }
    Ok(())
}
