//! What others say of nodes, and what is said to them.

use std::fmt;
use std::time::Instant;

use super::node::NodeHealth;
use super::{Machine, Transition};

#[cfg_attr(
    not(any(test, feature = "gossip")),
    expect(dead_code, reason = "only processes that know each other say it")
)]
impl<K: Copy + Ord + fmt::Debug> Machine<K> {
    /// Others find the node out, or do not any more; see [`NodeHealth::hold`].
    pub(crate) fn hold(
        &mut self,
        key: K,
        on: bool,
        now: Instant,
        unit: f64,
    ) -> Option<Transition<K>> {
        let transition = self.change(key, now, unit, |node, facts| node.hold(on, facts));
        self.ease();
        transition
    }

    /// Whether the node is ready to serve, but for the others, for which it waits.
    pub(crate) fn is_ready(&self, key: K) -> bool {
        self.nodes.get(&key).is_some_and(NodeHealth::is_ready)
    }

    /// Whether what we saw of the node says that it is down: it is out, and its last probe was not answered. Nothing that
    /// we saw counts while our own network is the likelier culprit.
    pub(crate) fn votes_down(&self, key: K, now: Instant) -> bool {
        let node = self.nodes.get(&key);
        let is_out = node.is_some_and(|node| !node.admits() && !node.probes_well());
        is_out && !self.client_suspect(now)
    }
}
