//! All integration tests, in one binary: real servers, real sockets, real time.
//!
//! `cargo test --test it original::` runs one file of them.

#![allow(
    unreachable_pub,
    reason = "nothing of a test binary can be reached from outside"
)]
#![allow(missing_docs, reason = "tests are named as the sentences they prove")]

mod harness;
mod original;
mod outage;
mod support;
mod workload;
