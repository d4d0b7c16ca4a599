//! What the programs of this directory share: contestants, servers, counters, results.

pub mod chart;
pub mod counting;
pub mod histogram;
pub mod machine;
pub mod results;
pub mod rivals;
pub mod stats;
pub mod summary;
#[path = "../../../tests/support/mod.rs"]
pub mod support;
