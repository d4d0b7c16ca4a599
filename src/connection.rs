//! One connection: where it leads, how it is made, what is seen on it.

mod aborted;
pub(crate) mod args;
mod connect;
mod courtesy;
pub(crate) mod credentials;
pub(crate) mod decode;
pub(crate) mod dial;
pub(crate) mod dial_fault;
pub(crate) mod driver;
mod encode;
mod error_replies;
mod fault;
pub(crate) mod followed;
pub(crate) mod labels;
pub(crate) mod link;
pub(crate) mod meter;
pub(crate) mod network;
pub(crate) mod proof;
pub(crate) mod queue;
pub(crate) mod redis_rs;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod resolve;
mod role;
pub(crate) mod sentinel;
mod setup;
mod socket;
pub(crate) mod stats;
mod step;
#[cfg(feature = "tls")]
pub(crate) mod tls;
mod tokens;
pub(crate) mod wire;
