//! Calls that were given up before they were answered: were their callers impatient, or is nobody there?
//!
//! A caller whose own time is short, or who drops the future, sees too little to judge by. What many of them see one
//! after the other is as much as one patient caller sees: that nothing came for a whole response time-out.

use std::sync::atomic::Ordering::Relaxed;

use super::Wire;

impl Wire {
    /// When the first call was sent that was given up, if nothing came over this connection since; in microseconds.
    pub(crate) fn silent_since(&self) -> Option<u64> {
        let first = self.given_up.load(Relaxed);
        let is_silent = first > 0 && self.driver.last_read.load(Relaxed) < first;
        is_silent.then_some(first)
    }

    /// The call that was sent at `sent` is waited for no more.
    pub(super) fn gives_up(&self, sent: u64) {
        if self.silent_since().is_none() {
            self.given_up.store(sent, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::queue::Bounds;

    #[test]
    fn a_connection_is_silent_since_the_first_call_that_was_given_up_after_the_last_byte() {
        let wire = Wire::new(Bounds { calls: 1, bytes: 1 });
        assert_eq!(wire.silent_since(), None, "nothing was given up");
        wire.gives_up(10);
        wire.gives_up(20);
        assert_eq!(wire.silent_since(), Some(10));
        wire.read_at(30);
        assert_eq!(wire.silent_since(), None, "a late answer is one");
        wire.gives_up(40);
        assert_eq!(wire.silent_since(), Some(40));
    }
}
