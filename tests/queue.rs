//! The queue: what it promises, against real servers.

#![allow(
    clippy::unwrap_used,
    reason = "clippy knows the tests, not their helpers"
)]

mod basics;
mod bytes;
mod chaos;
mod chores;
mod heard;
mod leases;
mod logs;
mod metrics;
mod nodes;
mod poison;
mod rig;
mod scripts;
mod trouble;
mod withheld;
mod worker;
