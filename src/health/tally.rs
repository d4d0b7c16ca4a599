//! What is asked of all nodes together, kept while they change: to count a thousand of them for each piece of evidence
//! costs more than the evidence, and while half of them fail there is much of it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::node::NodeHealth;

/// What of a node is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    drained: bool,
    admits: bool,
    silent_at: Option<Instant>,
}

impl Counted {
    pub(super) fn of(node: &NodeHealth) -> Self {
        Self {
            drained: node.overrule.drained,
            admits: node.admits(),
            silent_at: node.silent_at,
        }
    }
}

/// The counts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tally<K> {
    /// Nodes that are not drained, and those of them that admit.
    in_use: usize,
    admitting: usize,
    /// When nodes were last found silent.
    silent: BTreeSet<(Instant, K)>,
}

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self {
            in_use: 0,
            admitting: 0,
            silent: BTreeSet::new(),
        }
    }
}

impl<K: Copy + Ord> Tally<K> {
    pub(super) fn added(&mut self, key: K, node: Counted) {
        self.in_use += usize::from(!node.drained);
        self.admitting += usize::from(!node.drained && node.admits);
        self.silent.extend(node.silent_at.map(|at| (at, key)));
    }

    pub(super) fn removed(&mut self, key: K, node: Counted) {
        self.in_use -= usize::from(!node.drained);
        self.admitting -= usize::from(!node.drained && node.admits);
        if let Some(at) = node.silent_at {
            self.silent.remove(&(at, key));
        }
    }

    pub(super) fn changed(&mut self, key: K, from: Counted, to: Counted) {
        if from != to {
            self.removed(key, from);
            self.added(key, to);
        }
    }

    /// Nodes that are not drained.
    pub(super) fn in_use(&self) -> usize {
        self.in_use
    }

    /// Those of them that admit.
    pub(super) fn admitting(&self) -> usize {
        self.admitting
    }

    /// Nodes that went silent at most so long ago.
    pub(super) fn silent_within(&self, time: Duration, now: Instant) -> usize {
        let since = now.checked_sub(time);
        let recent = self.silent.iter().rev();
        recent
            .take_while(|(at, _)| since.is_none_or(|since| *at >= since))
            .count()
    }
}
