//! The fault suite: what really happens to servers, networks and applications, and what it costs.
//!
//! One file per family; a scenario reads like its row in the table of faults: inject, load, criteria.
//! What must hold in every scenario is in [`rig`]: no wrong reply, no acknowledged write lost, no
//! panic, no leak of tasks or sockets, every call back by its deadline, no dial storm.
//!
//! `make test` holds counts and states strictly and times at three times their limit, since the
//! tests run beside each other; with `FLUSTER_EXACT_TIMES=1` the exact times hold. With
//! `FLUSTER_FAULT_REPORT=file` each scenario adds a line to the file, from which
//! `scripts/fault-table.sh` makes the guide's table.

#![allow(dead_code, reason = "each family uses a part of the rig")]
#![allow(
    clippy::unwrap_used,
    reason = "clippy knows the tests, not their helpers"
)]

mod aside;
mod client_side;
mod flap;
#[cfg(target_os = "linux")]
mod names;
#[cfg(target_os = "linux")]
mod network;
mod process;
pub mod proxy;
mod queues;
mod replies;
pub mod report;
mod resources;
pub mod rig;
mod soak;
mod states;
#[cfg(feature = "tls")]
mod tls;
mod topology;
