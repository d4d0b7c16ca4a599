//! The queue: what it promises, against real servers.

#![allow(
    clippy::unwrap_used,
    reason = "clippy knows the tests, not their helpers"
)]

mod basics;
mod chaos;
mod leases;
mod metrics;
mod nodes;
mod rig;
mod trouble;
mod worker;
