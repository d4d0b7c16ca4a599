//! A rate limiter of several instances without a database: a key's bucket of tokens is in the memory of its owner.
//!
//! ```sh
//! fluster gossip keygen > gossip.key
//! cargo run --features gossip,forward --example rate_limiter -- --gossip 127.0.0.1:7946 --http 127.0.0.1:8080 --key-file gossip.key
//! # Two more, each in a terminal of its own:
//! ... --gossip 127.0.0.1:7947 --http 127.0.0.1:8081 --seed 127.0.0.1:7946 --key-file gossip.key
//! ... --gossip 127.0.0.1:7948 --http 127.0.0.1:8082 --seed 127.0.0.1:7946 --key-file gossip.key
//! # Whichever is asked, the sixth token of a second is refused:
//! for n in 1 2 3 4 5 6; do curl -X POST http://127.0.0.1:808$((n % 3))/limit/user:42; done
//! ```
//!
//! An instance leaves when it is told to end (SIGTERM, Ctrl-C), and no request fails.

use std::collections::HashMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use fluster::discovery::{Endpoint, Static};
use fluster::forward::{Forwarder, path_segment};
use fluster::gossip::{Gossip, Keyring};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Tokens that a bucket holds, and gets back in a second.
const TOKENS: f64 = 5.0;

/// What is left for a key, and since when. An application would forget full ones.
#[derive(Clone, Default)]
struct Buckets(Arc<Mutex<HashMap<String, (f64, Instant)>>>);

async fn take(State(buckets): State<Buckets>, Path(key): Path<String>) -> (StatusCode, String) {
    let mut buckets = buckets.0.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    let (left, since) = buckets.entry(key).or_insert((TOKENS, now));
    *left = TOKENS.min(*left + (now - *since).as_secs_f64() * TOKENS);
    *since = now;
    if *left < 1.0 {
        return (StatusCode::TOO_MANY_REQUESTS, "wait\n".to_owned());
    }
    *left -= 1.0;
    (StatusCode::OK, format!("{left:.0} left\n"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let options = || {
        words
            .chunks(2)
            .filter_map(|pair| Some((&*pair[0], &**pair.get(1)?)))
    };
    let option = |name| {
        options()
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value)
    };
    let needed = |name| option(name).ok_or(format!("say where: {name} .."));
    let (bind, http): (SocketAddr, _) = (needed("--gossip")?.parse()?, needed("--http")?);
    let mut seeds = Vec::new();
    for (_, seed) in options().filter(|(name, _)| *name == "--seed") {
        let seed: SocketAddr = seed.parse()?;
        seeds.push(Endpoint::new(seed.ip().to_string(), seed.port()));
    }

    let listener = TcpListener::bind(http).await?;
    let mut gossip = Gossip::builder("limiter")
        .bind(bind)
        .http(format!("http://{http}")) // where the others forward to
        .keyring(Keyring::from_file(needed("--key-file")?)?)
        .seeds(Static::new(seeds));
    if let Some(id) = option("--ring-id") {
        gossip = gossip.ring_id(id);
    }
    let gossip = gossip.start().await?;
    let forward = Forwarder::new(&gossip)?;
    let app = Router::new()
        .route("/limit/{key}", post(take))
        .layer(forward.layer(path_segment(1)))
        .with_state(Buckets::default());

    // Leave first, then close the listener: others may still send what was ours.
    let mut ended = signal(SignalKind::terminate())?;
    let stop = async move {
        tokio::select! { _ = ended.recv() => {}, _ = tokio::signal::ctrl_c() => {} }
        gossip.leave().await;
    };
    Ok(axum::serve(listener, app)
        .with_graceful_shutdown(stop)
        .await?)
}
