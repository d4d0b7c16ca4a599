//! Endpoints by IP address, as proxenos places them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use fluster::discovery::{Endpoint, Snapshot};

use crate::fault::{CANNOT_CONNECT, Fault};

/// The endpoints by their addresses: two services at one address are one to proxenos.
pub async fn addresses(snapshot: &Snapshot) -> Result<BTreeMap<SocketAddr, Endpoint>, Fault> {
    let mut found = BTreeMap::new();
    for endpoint in snapshot.endpoints() {
        let address = SocketAddr::new(ip(endpoint).await?, endpoint.port);
        found.entry(address).or_insert_with(|| endpoint.clone());
    }
    Ok(found)
}

/// The host's address; of a name the first of IPv4, which is what proxenos takes, or else the first.
async fn ip(endpoint: &Endpoint) -> Result<IpAddr, Fault> {
    let host = endpoint.host.as_str();
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(ip.to_canonical());
    }
    let wrong = |why: String| {
        let text = format!("{}: its host cannot be resolved: {why}", endpoint.address());
        Fault::new(CANNOT_CONNECT, text)
    };
    let found = tokio::net::lookup_host((host, endpoint.port)).await;
    let found: Vec<_> = found.map_err(|e| wrong(e.to_string()))?.collect();
    let best = found
        .iter()
        .find(|address| address.is_ipv4())
        .or(found.first());
    best.map(SocketAddr::ip)
        .ok_or_else(|| wrong("it has no address".to_owned()))
}
