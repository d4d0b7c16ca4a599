//! A request is handled here, or by the instance that owns its key.
//!
//! Each instance of an application has a part of the keys, as [`Gossip`](crate::gossip::Gossip) or a list
//! ([`FixedPeers`]) says, and takes requests for all of them: a [`Forwarder`] handles its own and passes the others on to
//! their owners, once. What an owner keeps in memory is then all that there is of a key: a bucket of tokens, a session, a
//! single flight. The layer fits axum, hyper and tonic; bodies and trailers stream; errors say whether the request may have
//! been handled. The [guide](crate::guide::forwarding) says what is promised, and what is not: for some seconds
//! after an instance died two may take a key for their own.
//!
//! ```no_run
//! use axum::{Router, routing::post};
//! use fluster::forward::{Forwarder, path_segment};
//! use fluster::gossip::{Gossip, Keyring};
//!
//! # async fn take() -> &'static str { "" }
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let gossip = Gossip::builder("limiter")
//!     .bind("10.0.0.1:7946".parse()?)
//!     .http("http://10.0.0.1:8080") // where the others forward to
//!     .keyring(Keyring::from_file("gossip.key")?)
//!     .start()
//!     .await?;
//! let forward = Forwarder::new(&gossip)?;
//! let app: Router = Router::new().route("/limit/{key}", post(take)).layer(forward.layer(path_segment(1)));
//! # Ok(()) }
//! ```

mod arrival;
mod attempt;
mod base;
mod body;
mod builder;
mod call;
mod client;
mod complaint;
#[cfg(feature = "serde")]
mod config;
mod dial;
mod envelope;
mod error;
mod fixed;
mod flight;
mod forwarder;
mod headers;
mod key;
mod known;
mod lasting;
mod layer;
mod mark;
mod meter;
mod peers;
mod repeat;
mod reply;
mod serve;
mod travel;

pub use self::arrival::OnDisagree;
pub use self::attempt::Unreachable;
pub use self::body::{BodyError, ForwardBody};
pub use self::builder::ForwarderBuilder;
#[cfg(feature = "serde")]
pub use self::config::ForwardConfig;
pub use self::error::{ForwardError, ForwardErrorKind};
pub use self::fixed::FixedPeers;
pub use self::forwarder::Forwarder;
pub use self::key::{KeyOf, header, path_segment, query};
pub use self::layer::{ForwardFuture, ForwardLayer, ForwardService};
pub use self::peers::{Peer, Peers};
pub use self::serve::serve;
pub use crate::sealed::{KeyError, Keyring};
