//! Real servers and their faults, for the tests of an application (feature `testing`, on Unix).
//!
//! A mock agrees with whoever wrote it. This starts real `redis-server` processes, each on a free port of 127.0.0.1 and
//! in a directory of its own, and does to them what happens in production: they are killed and come back
//! ([`Server::kill`], [`Server::restart`]), stand still ([`Server::stop`], [`Server::cont`]), and, behind a [`Proxy`], are
//! slow, out of reach, or cut off in the middle of a reply ([`Fault`]). fluster's own tests are made of it.
//!
//! ```toml
//! [dev-dependencies]
//! fluster = { version = "0.1", features = ["testing"] }
//! ```
//!
//! A server is killed when its [`Server`] is dropped, also by a panic. A test process that is itself killed (SIGKILL,
//! Ctrl-C) leaves nothing behind either: a small shell beside it ends what it started. Needed are `redis-server` in the
//! path, or what the environment variable `REDIS_SERVER` names, and `sh`.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use fluster::FlusterCluster;
//! use fluster::testing::{Fault, Proxy, Server, eventually, fleet};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let [a, b] = fleet();
//! let slow = Server::start();
//! let proxy = Proxy::start(&slow);
//! let cluster = FlusterCluster::from_urls([a.url(), b.url(), proxy.url()])?;
//!
//! // The application goes on without one of its servers, and with one that is slow.
//! a.kill();
//! proxy.set(Fault::Delay(Duration::from_millis(100)));
//! let visits: u64 = cluster.run(redis::cmd("INCR").arg("user:42")).await?;
//! assert!(visits > 0);
//!
//! // And finds it again.
//! a.restart();
//! eventually(Duration::from_secs(30), || cluster.status().active() == 3).await;
//! # Ok(()) }
//! ```
//!
//! The servers' calls block their thread (a restart for some 10 ms). A test that measures time beside them runs on
//! several threads (`#[tokio::test(flavor = "multi_thread")]`), so that its own runtime does not stall.
//!
//! # Panics
//!
//! As tests do: with what went wrong and, where a server does not start, its log. [`ServerBuilder::try_start`] and
//! [`Server::try_raw`] are for programs that prefer an error.

mod builder;
mod guard;
mod port;
mod proxy;
mod resp;
mod server;
mod wait;

pub use self::builder::{Place, ServerBuilder, TlsFiles};
pub use self::guard::{forget, new_dir, watch};
pub use self::port::PortClaim;
pub use self::proxy::{End, Fault, Proxy, Seen, Way};
pub use self::resp::{Raw, Reply};
pub use self::server::{Server, fleet, urls};
pub use self::wait::{eventually, eventually_some, wait_until};
