//! One immutable snapshot of the cluster: its nodes, who owns which key, who admits traffic.
//!
//! Placement and health live in one value that is replaced as a whole, so no reader ever sees them
//! disagree. A node that goes out or comes back changes `live` alone: the table stays, and with it
//! every key's owner.

use std::sync::Arc;

use crate::placement::{Candidates, Live, Table};

/// A snapshot over nodes of type `N`.
#[derive(Debug)]
pub(crate) struct Topology<N> {
    /// Counts the published snapshots, from 0.
    pub(crate) epoch: u64,
    pub(crate) nodes: Arc<[N]>,
    /// Who owns which key, whoever is out.
    pub(crate) table: Arc<Table>,
    /// The table to look keys up in while `live` are live; the same one, but for rules that make it anew.
    serving: Arc<Table>,
    pub(crate) live: Live,
}

/// What to look keys up in while these are live: made once per snapshot, so that no lookup has to.
fn serving(table: &Arc<Table>, live: &Live) -> Arc<Table> {
    table
        .for_live(live)
        .map_or_else(|| Arc::clone(table), Arc::new)
}

impl<N> Topology<N> {
    /// The first snapshot: every node admits.
    pub(crate) fn new(nodes: Arc<[N]>, table: Arc<Table>) -> Self {
        let live = Live::all(nodes.len() as u32);
        Self {
            epoch: 0,
            nodes,
            serving: serving(&table, &live),
            table,
            live,
        }
    }

    /// The next snapshot, in which node `index` serves or does not.
    pub(crate) fn with_live(&self, index: usize, serves: bool) -> Self {
        let live = self.live.with(index, serves);
        Self {
            epoch: self.epoch + 1,
            nodes: Arc::clone(&self.nodes),
            table: Arc::clone(&self.table),
            serving: serving(&self.table, &live),
            live,
        }
    }

    /// The next snapshot, over another set of nodes.
    pub(crate) fn with_nodes(&self, nodes: Arc<[N]>, table: Arc<Table>, live: Live) -> Self {
        Self {
            epoch: self.epoch + 1,
            nodes,
            serving: serving(&table, &live),
            table,
            live,
        }
    }

    /// The node that serves `key` now: its first candidate that admits.
    #[inline]
    pub(crate) fn route(&self, key: &[u8]) -> Option<&N> {
        self.first(key).map(|i| &self.nodes[i])
    }

    /// The index of the node that serves `key` now.
    #[inline]
    pub(crate) fn first(&self, key: &[u8]) -> Option<usize> {
        self.serving.first(key, &self.live)
    }

    /// The nodes that admit, in the order in which they would serve `key`.
    pub(crate) fn live_candidates(&self, key: &[u8]) -> Candidates<'_> {
        self.serving.live_candidates(key, &self.live)
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
