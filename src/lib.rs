#![cfg_attr(docsrs, feature(doc_cfg))]
// The picture that the README has beside it: of two definitions of a link the first one holds.
#![cfg_attr(doc, doc = include_str!("../docs/demo-link.md"))]
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

// Who may import whom is told by the floors of `tests/layers.rs`.
#[cfg(feature = "admin")]
pub mod admin;
mod backend;
mod budget;
mod build_error;
pub mod cache;
mod client;
mod clock;
mod cluster;
mod command;
mod connection;
mod describe;
#[cfg(feature = "discovery")]
pub mod discovery;
mod error;
mod fan_out;
#[cfg(feature = "gossip")]
mod fleet;
#[cfg(feature = "forward")]
pub mod forward;
#[cfg(feature = "gossip")]
pub mod gossip;
pub mod guide;
mod hash;
mod health;
#[cfg(any(feature = "forward", feature = "gossip"))]
mod keys;
#[cfg(feature = "near")]
mod near;
mod node;
pub mod placement;
pub mod pubsub;
pub mod queue;
mod recovery;
pub mod replication;
mod scan;
#[cfg(any(feature = "forward", feature = "gossip"))]
mod sealed;
mod tasks;
#[cfg(all(feature = "testing", unix))]
pub mod testing;
mod topology;
mod transaction;

/// The version of [redis-rs](https://docs.rs/redis) whose commands, values and traits are used here.
///
/// An application that imports `fluster::redis` needs no dependency of its own, and cannot have another major
/// version of it by accident: a `Cmd` of that one would be refused by the compiler.
///
/// ```no_run
/// use fluster::redis::{AsyncCommands, RedisResult};
///
/// # async fn run(cluster: fluster::FlusterCluster) -> Result<(), Box<dyn std::error::Error>> {
/// let mut client = cluster.get_client("user:42")?;
/// let name: RedisResult<String> = client.get("user:42").await;
/// # Ok(()) }
/// ```
pub use redis;

pub use crate::build_error::BuildError;
pub use crate::client::{Client, DedicatedClient};
pub use crate::cluster::FlusterCluster;
pub use crate::cluster::builder::ClusterBuilder;
pub use crate::cluster::clients::{Clients, Rounds};
#[cfg(feature = "serde")]
pub use crate::cluster::config::{Config, NodeConfig};
pub use crate::cluster::events::{Event, Events, TopologyChange};
pub use crate::cluster::explain::{Candidate, Explanation};
pub use crate::cluster::options::{Failover, Refusals, SlowNodes};
pub use crate::cluster::status::{ClusterStatus, NodeStatus};
pub use crate::cluster::warm_up::WarmUp;
pub use crate::connection::credentials::{Credentials, CredentialsFuture, CredentialsProvider};

#[cfg(feature = "tls")]
pub use crate::connection::tls::Tls;
pub use crate::error::{ClusterEmptyError, Error, ErrorKind, Outcome};
pub use crate::health::NodeState;
pub use crate::health::penalty_box::{Penalty, PenaltyBox};
pub use crate::health::verdict::Reason;
pub use crate::node::{Node, NodeId};
pub use crate::placement::Placement;
pub use crate::recovery::choices::{OnReturn, OnUnknown};
pub use crate::recovery::unknown::UnknownReason;
pub use crate::scan::Scan;
