//! What the programs of this directory share: contestants, servers, counters, results.

pub mod chart;
pub mod counting;
pub mod histogram;
pub mod load;
pub mod machine;
pub mod results;
pub mod rivals;
pub mod stats;
pub mod summary;
#[allow(
    clippy::new_without_default,
    reason = "the tests' own module; public only here"
)]
#[path = "../../../tests/support/mod.rs"]
pub mod support;
