//! Instances of an application know each other: who is there, and which keys are whose.
//!
//! Each process starts a [`Gossip`] and finds the others through any [`Discovery`](crate::discovery::Discovery). From
//! then on it has a [`MemberView`] of everybody, with states and labels, in which every key has one owner. Instances
//! that die are noticed by the others within seconds, those that leave say so, and no key moves but theirs. Nothing of it
//! needs Redis. The [guide](crate::guide::membership) says what it costs, what it cannot promise, and how to look after it.
//!
//! ```
//! use fluster::gossip::{Gossip, Keyring};
//! use fluster::discovery::{Endpoint, Static};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = Keyring::generate();
//! let first = Gossip::builder("limiter").keyring(key.clone()).ring_id("limiter-0").start().await?;
//! let address = first.whoami().address;
//! let seeds = Static::new([Endpoint::new(address.ip().to_string(), address.port())]);
//! let second = Gossip::builder("limiter").keyring(key).ring_id("limiter-1").seeds(seeds).start().await?;
//!
//! second.wait_ready(2, std::time::Duration::from_secs(20)).await?;
//! let owner = second.lookup("user:42").expect("both are ready");
//! println!("{} has it, at {}", owner.ring_id, owner.address);
//! # Ok(()) }
//! ```

mod admin;
mod builder;
#[cfg(feature = "serde")]
mod config;
mod counters;
mod driver;
mod endpoints;
mod error;
mod events;
#[cfg(feature = "forward")]
mod forwarding;
mod frame;
#[cfg(test)]
mod fuzz;
mod handle;
mod heal;
mod identity;
mod instance;
mod leave;
mod leaving;
mod meter;
mod operator;
mod profile;
mod record;
mod records;
mod replay;
mod rule;
mod seeds;
mod share;
mod shared;
mod status;
mod swim;
mod sync;
mod testimony;
mod view;

pub use self::admin::Act;
pub use self::builder::GossipBuilder;
#[cfg(feature = "serde")]
pub use self::config::GossipConfig;
pub use self::endpoints::MemberEndpoints;
pub use self::error::{GossipError, GossipErrorKind};
pub use self::events::{GossipEvent, GossipEvents};
pub use self::frame::Refusal;
pub use self::handle::Gossip;
#[cfg(feature = "admin")]
pub(crate) use self::handle::WeakGossip;
pub use self::heal::HealReport;
pub use self::leave::LeaveReport;
pub use self::operator::Operator;
pub use self::profile::GossipProfile;
pub use self::record::Phase;
pub use self::share::{
    Decision, Effect, Fleet, FleetEvent, FleetEvents, NoQuorum, NodeOpinion, NodeReport,
    SharedHealth,
};
#[cfg(feature = "serde")]
pub use self::share::{FleetConfig, FleetPolicy};
pub use self::status::{GossipStatus, MemberStatus};
pub use self::view::{Member, MemberState, MemberView};
pub use crate::sealed::{KeyError, Keyring};

#[cfg(test)]
mod vsim;
#[cfg(test)]
mod whole;
