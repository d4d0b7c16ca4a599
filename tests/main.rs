//! All integration tests, in one binary: real servers, real sockets, real time.
//!
//! `cargo test --test it original::` runs one file of them.

#![allow(
    unreachable_pub,
    reason = "nothing of a test binary can be reached from outside"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to panic")]
#![allow(missing_docs, reason = "tests are named as the sentences they prove")]

#[cfg(feature = "admin")]
mod admin;
#[cfg(feature = "cli")]
mod cli;
mod client_name;
mod command;
mod connections;
mod deadline;
mod dedicated;
#[cfg(feature = "discovery")]
mod discovery;
mod docker;
mod documented;
mod drain;
#[cfg(feature = "cli")]
mod examples;
mod exclusive;
mod faults;
#[cfg(all(feature = "forward", feature = "gossip"))]
mod forward;
mod fuzz;
#[cfg(feature = "gossip")]
mod gossip;
mod harness;
mod input;
mod layers;
mod lifecycle;
#[cfg(feature = "near")]
mod near;
mod observability;
mod one_client;
mod original;
mod outage;
mod pairing;
mod placement;
mod probation;
mod proof;
mod queue;
mod readme;
mod recovery;
mod replication;
mod runtimes;
mod saturated;
mod secrets;
mod sentinel;
mod silence;
mod support;
mod topology;
mod transport;
mod versions;
mod wire;
mod workload;
