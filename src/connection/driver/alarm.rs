//! The one timer of a connection.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::{Sleep, sleep_until};

use super::{Driver, IDLE, Stream};
use crate::clock;

/// It is not moved for each call: when it rings, it is set to whatever is due next.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    timer: Option<Pin<Box<Sleep>>>,
    at: Option<Instant>,
    /// The runtime does not know of it yet.
    is_new: bool,
    /// It rings within a second: there are buffers to be given back.
    is_near: bool,
}

impl Alarm {
    pub(super) fn is_near(&self) -> bool {
        self.at.is_some() && self.is_near
    }

    /// Sets it, unless it rings before; `true` when it was set.
    pub(super) fn set_earlier(&mut self, at: Instant) -> bool {
        if self.at.is_some_and(|set| set <= at) {
            return false;
        }
        self.set(Some(at), true);
        true
    }

    fn set(&mut self, at: Option<Instant>, is_near: bool) {
        self.at = at;
        self.is_near = is_near;
        let Some(at) = at else { return };
        self.is_new = true;
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(at.into()),
            None => self.timer = Some(Box::pin(sleep_until(at.into()))),
        }
    }

    /// Whether it rings; else whoever polls is woken when it does.
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let (Some(_), Some(timer)) = (self.at, &mut self.timer) else {
            return false;
        };
        if !self.is_new && !timer.is_elapsed() {
            return false;
        }
        self.is_new = false;
        // Whatever the task has spent of its budget: a timer that is not polled wakes nobody.
        let timer = tokio::task::unconstrained(timer.as_mut());
        matches!(std::pin::pin!(timer).poll(cx), Poll::Ready(()))
    }
}

impl<S: Stream> Driver<S> {
    /// Ends what is due, and lets go of memory that is not needed.
    pub(super) fn poll_time(&mut self, cx: &mut Context<'_>) {
        while self.alarm.poll(cx) {
            let now = clock::now();
            let was_busy = std::mem::take(&mut self.busy);
            let wire = std::sync::Arc::clone(&self.wire);
            let mut queue = wire.queue();
            let due = queue.expire(now, &mut self.wakers);
            let next = match was_busy {
                // Once more, to see whether it is quiet by then.
                true => Some(due.map_or(now + IDLE, |due| due.min(now + IDLE))),
                false => {
                    queue.shrink();
                    due
                }
            };
            self.alarm.set(next, was_busy);
            wire.armed(&mut queue, next);
            let room = queue.gave_room();
            drop(queue);
            if room {
                wire.tell_room();
            }
            if !was_busy {
                self.shrink();
            }
            self.wake_all();
        }
    }

    fn shrink(&mut self) {
        self.buffer = Vec::new();
        self.replies = Vec::new();
        self.wakers.shrink_to(0);
        self.spent = Vec::new();
    }
}
