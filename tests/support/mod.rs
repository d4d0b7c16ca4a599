//! Real Redis servers, and the few tools around them, for tests, benches and the demo.
//!
//! A server is started by whoever needs it, on a free port of 127.0.0.1, in its own directory,
//! and is killed when its [`Server`] is dropped, also by a panic. A process that is itself killed
//! (SIGKILL, Ctrl-C) leaves nothing behind either: see [`guard`].
//!
//! ```ignore
//! mod support;
//! use support::{Server, eventually, fleet};
//!
//! let [a, b, c] = fleet();
//! a.kill();
//! eventually(Duration::from_secs(5), || cluster.status().active() == 2).await;
//! a.restart();
//! assert_eq!(b.raw(["INCR", "k"]), "1");
//! ```
//!
//! An example uses the same files:
//!
//! ```ignore
//! #[path = "../tests/support/mod.rs"]
//! mod support;
//! ```
//!
//! The servers' calls block their thread (a restart for some 10 ms). A test that measures time
//! beside them uses `#[tokio::test(flavor = "multi_thread")]`, so that its own runtime does not
//! stall.
#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "each test binary uses a part of it"
)]

mod alone;
mod builder;
mod daemon;
#[cfg(target_os = "linux")]
mod dns;
mod fake;
mod guard;
#[cfg(target_os = "linux")]
mod netns;
mod port;
mod resp;
mod server;
mod tls;
mod wait;
mod warnings;

pub use alone::alone;
pub(crate) use alone::test_name;
pub use builder::Builder;
pub use daemon::{Daemon, http, need};
#[cfg(target_os = "linux")]
pub use dns::Dns;
pub use fake::{Fake, answer_to_echo, bulk};
pub use guard::{forget, new_dir, watch};
#[cfg(target_os = "linux")]
pub use netns::{Island, Net, in_a_network};
pub use port::PortClaim;
pub use resp::{Raw, Reply};
pub use server::{Server, fleet, urls};
pub use tls::TlsPki;
pub use wait::{eventually, eventually_some, wait_until};
pub use warnings::Warnings;
