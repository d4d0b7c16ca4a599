//! TLS with an authority of your own, a client certificate, and a password.
//!
//! ```text
//! REDIS_URLS=rediss://app:secret@10.0.0.1:6380 CA_FILE=ca.pem CERT_FILE=me.pem KEY_FILE=me.key \
//!     cargo run --features tls --example tls
//! ```

use fluster::{ErrorKind, FlusterCluster, Tls};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let urls = std::env::var("REDIS_URLS").unwrap_or("rediss://127.0.0.1:6380".into());
    let file = |name| std::env::var_os(name);
    // Without any of it: the platform's authorities, and no certificate of ours.
    let mut tls = Tls::new();
    if let Some(ca) = file("CA_FILE") {
        tls = tls.ca_file(ca);
    }
    if let (Some(chain), Some(key)) = (file("CERT_FILE"), file("KEY_FILE")) {
        tls = tls.client_cert_files(chain, key);
    }
    let cluster = FlusterCluster::builder()
        .urls(urls.split(','))
        .tls(tls)
        .build()?;

    match cluster.run::<u64>(redis::cmd("INCR").arg("visits")).await {
        Ok(visits) => println!(
            "visit {visits}, over TLS to {}",
            cluster.get_node("visits")?
        ),
        // Every node is out: a wrong authority, name or password is a reason that time does not cure.
        Err(e) if e.kind() == ErrorKind::ClusterEmpty => {
            for (node, reason) in e.cluster_empty().into_iter().flat_map(|e| e.reasons()) {
                eprintln!("{node}: {reason}");
            }
            return Err(e.into());
        }
        Err(e) => return Err(e.into()),
    }
    Ok(())
}
