//! A driver that does not come: a blocked thread, or a runtime that sleeps, holds it up.
//!
//! Deadlines are ended by the driver's timer; where it is not polled, by the monitor, who asks once in a while.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::Wire;
use crate::clock::micros;
use crate::connection::fault::{Ended, Fault};

/// A driver whose timer is overdue by this much does not come.
const OVERDUE: Duration = Duration::from_millis(50);

impl Wire {
    /// The driver was woken to set its timer to this, or will be; should it not come, the monitor knows of it. Said
    /// under the lock of the queue, as what the timer is set to.
    pub(super) fn due_by(&self, at: Instant) {
        self.driver.due.fetch_min(micros(at), Relaxed);
    }

    /// Whether the driver should have come long ago. Asked once in a while; only what is seen twice is true, since who
    /// asks may have been stalled together with the driver.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        let due = self.driver.due.load(Relaxed);
        let is_late = now
            .checked_sub(OVERDUE)
            .is_some_and(|before| due <= micros(before));
        is_late && self.driver.missed.swap(due, Relaxed) == due
    }

    /// Ends what is overdue in the driver's place; a connection that had any is closed.
    pub(crate) fn end_overdue(&self, now: Instant) {
        let mut wakers = Vec::new();
        let before = now.checked_sub(OVERDUE).unwrap_or(now);
        self.queue().expire(before, &mut wakers);
        if wakers.is_empty() {
            return;
        }
        for waker in wakers {
            waker.wake();
        }
        let text = "nothing drives the connection: a thread of its runtime is held up";
        self.end(Ended::new(Fault::Lost, std::io::ErrorKind::TimedOut, text));
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    use redis::Cmd;

    use super::*;
    use crate::connection::queue::{Ask, Bounds, Purpose, Taking};
    use crate::connection::request::Request;
    use crate::connection::wire::{Call, Unanswered};

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A connection whose driver has gone to rest, with nothing due, and is not polled any more.
    fn at_rest() -> Arc<Wire> {
        let wire = Wire::new(Bounds {
            calls: 10,
            bytes: 1 << 20,
        });
        wire.setup_done();
        assert!(wire.queue().rest(Waker::noop(), true).is_none());
        wire
    }

    fn call<'a>(wire: &'a Wire, cmd: &'a Cmd, deadline: Instant) -> Call<'a> {
        let ask = Ask {
            deadline: Some(deadline),
            purpose: Purpose::User,
            taking: Taking::One,
        };
        Call::new(wire, 1, Request::One(cmd), ask)
    }

    #[test]
    fn a_call_that_came_after_the_driver_was_held_up_is_ended_at_its_deadline() {
        let cx = &mut Context::from_waker(Waker::noop());
        let (wire, get) = (at_rest(), Cmd::get("k"));
        let now = Instant::now();
        // The second one is due before the first, for which the driver was woken.
        let mut late = pin!(call(&wire, &get, now + ms(900)));
        let mut early = pin!(call(&wire, &get, now + ms(100)));
        assert!(late.as_mut().poll(cx).is_pending());
        assert!(early.as_mut().poll(cx).is_pending());
        assert!(!wire.is_overdue(now + ms(149)), "the driver may come yet");
        assert!(!wire.is_overdue(now + ms(160)), "seen once");
        assert!(wire.is_overdue(now + ms(170)), "seen twice");
        wire.end_overdue(now + ms(170));
        let Poll::Ready(Err(Unanswered { fault, unsent, .. })) = early.poll(cx) else {
            panic!("it is over");
        };
        assert_eq!((fault, unsent), (Fault::Timeout, true));
        let Poll::Ready(Err(Unanswered { fault, unsent, .. })) = late.poll(cx) else {
            panic!("nothing will come for it");
        };
        assert_eq!((fault, unsent), (Fault::Lost, true));
        assert!(wire.is_dead());
    }

    #[test]
    fn a_connection_with_nothing_due_is_not_overdue() {
        let wire = at_rest();
        let now = Instant::now();
        for after in [0, 1_000, 100_000] {
            assert!(!wire.is_overdue(now + ms(after)));
        }
    }
}
