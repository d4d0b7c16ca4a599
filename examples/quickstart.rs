//! `REDIS_URLS=redis://10.0.0.1,redis://10.0.0.2 cargo run --example quickstart`
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let urls = std::env::var("REDIS_URLS").unwrap_or("redis://127.0.0.1:6379".into());
    let cluster = fluster::FlusterCluster::from_urls(urls.split(','))?;
    // To the key's server; to its stand-in while that one is dead.
    let visits: u64 = cluster.run(redis::cmd("INCR").arg("user:42")).await?;
    println!("visit {visits}, on {}", cluster.get_node("user:42")?);
    Ok(())
}
