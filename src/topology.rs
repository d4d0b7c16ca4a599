//! One immutable snapshot of the cluster: its nodes, who owns which key, who admits traffic.
//!
//! Placement and health live in one value that is replaced as a whole, so no reader ever sees them
//! disagree. A node that goes out or comes back changes `live` alone: the table stays, and with it
//! every key's owner.

use std::sync::Arc;

use crate::placement::{Live, Table};

/// A snapshot over nodes of type `N`.
#[derive(Debug)]
pub(crate) struct Topology<N> {
    /// Counts the published snapshots, from 0.
    pub(crate) epoch: u64,
    pub(crate) nodes: Arc<[N]>,
    pub(crate) table: Arc<Table>,
    pub(crate) live: Live,
}

impl<N> Topology<N> {
    /// The first snapshot: every node admits.
    pub(crate) fn new(nodes: Arc<[N]>, table: Arc<Table>) -> Self {
        let live = Live::all(nodes.len() as u32);
        Self {
            epoch: 0,
            nodes,
            table,
            live,
        }
    }

    /// The next snapshot, in which node `index` admits or does not.
    pub(crate) fn with_live(&self, index: usize, admits: bool) -> Self {
        Self {
            epoch: self.epoch + 1,
            nodes: Arc::clone(&self.nodes),
            table: Arc::clone(&self.table),
            live: self.live.with(index, admits),
        }
    }

    /// The next snapshot, over another set of nodes.
    pub(crate) fn with_nodes(&self, nodes: Arc<[N]>, table: Arc<Table>, live: Live) -> Self {
        Self {
            epoch: self.epoch + 1,
            nodes,
            table,
            live,
        }
    }

    /// The node that serves `key` now: its first candidate that admits.
    #[inline]
    pub(crate) fn route(&self, key: &[u8]) -> Option<&N> {
        self.table.first(key, &self.live).map(|i| &self.nodes[i])
    }

    /// How many candidates of `key` come before node `index`: 0 is the owner.
    pub(crate) fn rank(&self, key: &[u8], index: usize) -> usize {
        if self.table.owner(key) == index {
            return 0;
        }
        self.table
            .candidates(key)
            .position(|i| i == index)
            .unwrap_or(1)
    }
}
