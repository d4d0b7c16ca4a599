//! A node that others find out: it is asked on, and stays out.

use std::time::Duration;

use super::{Facts, Fall, NodeHealth, State};
use crate::clock::{half_jitter, later};
use crate::health::verdict::Reason;

/// The longest wait between two probes of a node that is held and answers them.
pub(super) const HELD: Duration = Duration::from_secs(2);

impl NodeHealth {
    /// Others find it out, or do not any more. It comes back as after any outage: by a probe of our own, which is due at
    /// once when it had answered those before.
    pub(in crate::health) fn hold(&mut self, on: bool, facts: &Facts<'_>) {
        if self.overrule.hold == on {
            return;
        }
        self.overrule.hold = on;
        match &mut self.state {
            State::Up { .. } | State::Probation { .. } if on => {
                self.fall(Fall::Held, Reason::Fleet, facts);
            }
            // It was ready, and waits like the others.
            State::Preparing { .. } if on => {
                self.state = State::HalfOpen {
                    probe: None,
                    next: later(facts.now, half_jitter(HELD, facts.unit)),
                    oks: facts.rules.penalty.rise,
                };
            }
            State::HalfOpen {
                probe: None, next, ..
            } if !on => *next = facts.now,
            _ => {}
        }
    }

    /// Whether it is out and answered its last probe, held or just let go: nobody is told that it is down.
    pub(in crate::health) fn probes_well(&self) -> bool {
        match self.state {
            State::HalfOpen { oks, .. } => oks > 0,
            State::Preparing { .. } => true,
            _ => false,
        }
    }
}
