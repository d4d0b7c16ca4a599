//! One connection: where it leads, how it is made, what is seen on it.

pub(crate) mod args;
mod connect;
pub(crate) mod credentials;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the driver that uses it is not here yet")
)]
pub(crate) mod decode;
pub(crate) mod dial;
pub(crate) mod dial_fault;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the queue that uses it is not here yet")
)]
pub(crate) mod encode;
mod error_replies;
pub(crate) mod link;
pub(crate) mod meter;
pub(crate) mod network;
pub(crate) mod proof;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod resolve;
pub(crate) mod stats;
mod step;
#[cfg(feature = "tls")]
pub(crate) mod tls;
pub(crate) mod wire;
