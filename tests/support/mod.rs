//! What tests, benches and the demo have in common.
//!
//! The servers are those of [`fluster::testing`], the kit that applications have for their own tests; here is what only
//! ours need: certificates, networks that can be broken, other daemons, servers that lie.
#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    unnameable_types,
    reason = "each test binary uses a part of it"
)]

mod alone;
mod daemon;
#[cfg(target_os = "linux")]
mod dns;
mod fake;
#[cfg(target_os = "linux")]
mod netns;
mod sentinel;
mod tls;
mod warnings;

pub use alone::alone;
pub(crate) use alone::test_name;
pub use daemon::{Daemon, http, need};
#[cfg(target_os = "linux")]
pub use dns::Dns;
pub use fake::{Fake, answer_to_echo, bulk};
pub use fluster::testing::{
    PortClaim, Raw, Reply, Server, eventually, eventually_some, fleet, forget, new_dir, urls,
    wait_until, watch,
};
#[cfg(target_os = "linux")]
pub use netns::{Island, Net, in_a_network};
pub use sentinel::{Manner, Pair, Sentinel, Watched};
pub use tls::TlsPki;
pub use warnings::Warnings;
