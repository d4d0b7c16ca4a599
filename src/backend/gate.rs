//! Whether a node admits traffic, as one word that every call reads.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::health::admission::Standing;

const ADMITS: u64 = 1;
const PROBATION: u64 = 2;
const CLOSED: u64 = 4;
const SETTLES: u64 = 8;
const KEPT: u64 = 16;
const EPOCH_SHIFT: u32 = 5;

/// The gate of a node: open or shut, on probation or not, and how often the node was ejected.
///
/// The snapshot decides where a key goes; the gate stops a client that was handed out earlier, and
/// tells evidence from before an ejection from evidence after it.
#[derive(Debug)]
pub(crate) struct Gate(AtomicU64);

/// One reading of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pass(u64);

impl Gate {
    pub(crate) fn open() -> Self {
        Self(AtomicU64::new(ADMITS | SETTLES))
    }

    pub(crate) fn read(&self) -> Pass {
        Pass(self.0.load(SeqCst))
    }

    /// Sets the gate, unless it was closed for good.
    pub(crate) fn set(&self, epoch: u64, standing: Standing) {
        let word = (epoch << EPOCH_SHIFT)
            | if standing.callable { ADMITS } else { 0 }
            | if standing.settles { SETTLES } else { 0 }
            | if standing.probation { PROBATION } else { 0 }
            | if standing.kept { KEPT } else { 0 };
        // A closed gate stays closed: a probe may succeed while the cluster is shut down.
        let _ = self
            .0
            .fetch_update(SeqCst, SeqCst, |now| (now & CLOSED == 0).then_some(word));
    }

    /// Shuts the gate for good.
    pub(crate) fn close(&self) {
        // The update always applies.
        let _ = self.0.fetch_update(SeqCst, SeqCst, |now| {
            Some((now & !(ADMITS | SETTLES | KEPT)) | CLOSED)
        });
    }
}

impl Pass {
    /// Whether new calls may pass.
    pub(crate) fn admits(self) -> bool {
        self.0 & ADMITS != 0
    }

    /// Whether what settles that which the node gave out may pass, and with it a dial.
    pub(crate) fn settles(self) -> bool {
        self.0 & SETTLES != 0
    }

    /// Whether the node would take calls, were it not drained.
    pub(crate) fn is_drained(self) -> bool {
        self.settles() && !self.admits()
    }

    /// Whether its keys stay with it though a call to it fails: the other processes find it well.
    pub(crate) fn is_kept(self) -> bool {
        self.0 & KEPT != 0
    }

    pub(crate) fn on_probation(self) -> bool {
        self.0 & PROBATION != 0
    }

    pub(crate) fn is_closed(self) -> bool {
        self.0 & CLOSED != 0
    }

    pub(crate) fn epoch(self) -> u64 {
        self.0 >> EPOCH_SHIFT
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::NodeState;
    use crate::health::admission::Overrule;

    #[test]
    fn a_drained_node_lets_pass_what_settles_and_nothing_else() {
        let gate = Gate::open();
        let drained = Overrule {
            drained: true,
            ..Overrule::default()
        };
        gate.set(1, Standing::new(NodeState::Up, drained));
        let pass = gate.read();
        assert!(pass.is_drained() && pass.settles() && !pass.admits());
        gate.set(2, Standing::new(NodeState::Down, drained));
        let pass = gate.read();
        assert!(!pass.is_drained() && !pass.settles() && !pass.admits());
    }

    #[test]
    fn a_kept_node_is_kept_whether_calls_pass_or_not() {
        let gate = Gate::open();
        assert!(!gate.read().is_kept());
        let keep = Overrule {
            keep: true,
            ..Overrule::default()
        };
        gate.set(1, Standing::new(NodeState::Up, keep));
        assert!(gate.read().is_kept() && gate.read().admits());
        gate.set(2, Standing::new(NodeState::Down, keep));
        assert!(gate.read().is_kept() && !gate.read().admits());
        assert_eq!(gate.read().epoch(), 2);
        gate.close();
        assert!(!gate.read().is_kept());
    }

    #[test]
    fn a_closed_gate_never_opens_again() {
        let gate = Gate::open();
        assert!(gate.read().admits());
        let of = |state| Standing::new(state, Overrule::default());
        gate.set(7, of(NodeState::Down));
        assert_eq!((gate.read().epoch(), gate.read().admits()), (7, false));
        gate.set(7, of(NodeState::Probation));
        assert!(gate.read().admits() && gate.read().on_probation());
        gate.close();
        gate.set(8, of(NodeState::Up));
        assert!(!gate.read().settles());
        assert!(gate.read().is_closed() && !gate.read().admits());
        assert_eq!(gate.read().epoch(), 7);
    }
}
