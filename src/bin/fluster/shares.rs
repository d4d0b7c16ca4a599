//! How much of all keys each node gets.

use serde::Serialize;

/// All shares of a cluster.
#[derive(Serialize)]
pub struct Shares {
    pub placement: String,
    pub fingerprint: String,
    /// How many keys were looked up.
    pub keys: u64,
    /// Of real / ideal over the nodes, 0 when every node has what it should.
    pub standard_deviation: f64,
    pub nodes: Vec<Share>,
}

impl Shares {
    /// What was measured, in a few words.
    pub fn title(&self) -> String {
        format!("{}, {} keys", self.placement, self.keys)
    }
}

/// What one node gets, as shares of 1.
#[derive(Serialize)]
pub struct Share {
    pub name: String,
    pub weight: u32,
    pub ideal: f64,
    pub real: f64,
    pub keys: u64,
}

impl Share {
    /// 1 when the node has what it should.
    pub fn ratio(&self) -> f64 {
        self.real / self.ideal
    }
}
