//! A page that shows the running cluster, with a little load on it.
//!
//! ```text
//! REDIS_URLS=redis://10.0.0.1,redis://10.0.0.2 cargo run --features admin --example admin
//! fluster status --of http://127.0.0.1:9800
//! ```
//!
//! With `ADMIN_TOKEN=$(openssl rand -hex 32)` it can drain and restore nodes, too.

use std::error::Error;
use std::time::Duration;

use fluster::FlusterCluster;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let urls = std::env::var("REDIS_URLS").unwrap_or("redis://127.0.0.1:6379".into());
    let cluster = FlusterCluster::from_urls(urls.split(','))?;
    let jobs = cluster.queue("admin-example");

    let mut admin = cluster.admin().queue(&jobs);
    if let Ok(token) = std::env::var("ADMIN_TOKEN") {
        admin = admin.token(token).allow_actions();
    }
    let listen = std::env::var("LISTEN").unwrap_or("127.0.0.1:9800".into());
    let admin = admin.listen(listen)?;
    println!("see http://{}", admin.address());

    for n in 0_u64.. {
        // A node that is out is on the page, and no reason to end.
        let counted: Result<u64, _> = cluster.run(redis::cmd("INCR").arg(n % 1000)).await;
        if n % 1000 == 0 {
            jobs.push("a job").await.ok();
            println!("{n} commands, the last one: {counted:?}");
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}
