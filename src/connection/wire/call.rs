//! One request on its way, as its caller holds it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use parking_lot::MutexGuard;
use tokio::time::{Sleep, sleep_until};

use super::Wire;
use crate::connection::encode::{LARGE, most_bytes, pack, pack_large};
use crate::connection::fault::Fault;
use crate::connection::queue::{Answer, Ask, Failure, NoPlace, Place};
use crate::connection::request::Request;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) struct Unanswered {
    pub(crate) fault: Fault,
    pub(crate) unsent: bool,
    pub(crate) error: Option<redis::RedisError>,
}

impl Unanswered {
    fn new(fault: Fault, unsent: bool) -> Self {
        Self {
            fault,
            unsent,
            error: None,
        }
    }
}

/// Puts a request into the queue of a connection with its first poll, and waits for the answer.
///
/// # Cancellation
///
/// Dropped before a byte of it was claimed, it is never sent; afterwards its replies are counted and thrown away.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Call<'a> {
    wire: &'a Wire,
    /// What is to be sent, until it has a place.
    order: Option<(Request<'a>, Ask)>,
    /// When it was sent, in microseconds.
    began: u64,
    place: Option<Place>,
    deadline: Option<Instant>,
    /// Where the driver's timer cannot be relied on.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<'a> Call<'a> {
    /// `began` is now, in microseconds.
    pub(crate) fn new(wire: &'a Wire, began: u64, request: Request<'a>, ask: Ask) -> Self {
        Self {
            wire,
            began,
            deadline: ask.deadline,
            order: Some((request, ask)),
            place: None,
            timer: None,
        }
    }

    fn submit(
        &mut self,
        request: Request<'a>,
        ask: Ask,
        cx: &mut Context<'_>,
    ) -> Result<(), Unanswered> {
        let caller = cx.waker().clone();
        let bytes = most_bytes(request);
        let mut queue = self.wire.queue();
        let entered = if bytes < LARGE {
            queue.submit(ask, caller, bytes, |out| pack(request, out))
        } else {
            // Packed outside the lock, which nobody is to wait for while much is copied; and only where there is room.
            queue.room_for(bytes).and_then(|()| {
                let packed = MutexGuard::unlocked(&mut queue, || pack_large(request, bytes));
                queue.submit_packed(ask, caller, packed.0, packed.1)
            })
        };
        match entered {
            Ok((place, driver)) => {
                if let Some(early) = queue.early() {
                    self.wire.due_by(early);
                }
                drop(queue);
                self.place = Some(place);
                if let Some(driver) = driver {
                    driver.wake();
                }
                Ok(())
            }
            Err(no) => {
                drop(queue);
                Err(self.no_place(&no))
            }
        }
    }

    fn no_place(&self, no: &NoPlace) -> Unanswered {
        match no {
            NoPlace::Full => Unanswered::new(Fault::Saturated, true),
            NoPlace::Ended => ended(&self.wire.queue(), true),
        }
    }

    fn failed(&self, failure: Failure) -> Unanswered {
        match failure {
            Failure::Timeout { unsent } => {
                self.wire.gives_up(self.began);
                Unanswered::new(Fault::Timeout, unsent)
            }
            Failure::Ended { unsent } => ended(&self.wire.queue(), unsent),
        }
    }

    fn time_out(&self, place: Place) -> Result<Answer, Failure> {
        let mut queue = self.wire.queue();
        let result = queue.time_out(place);
        let room = queue.gave_room();
        drop(queue);
        if room {
            self.wire.tell_room();
        }
        result
    }

    fn is_overdue(&mut self, cx: &mut Context<'_>) -> bool {
        let timer = self.timer.as_mut();
        timer.is_some_and(|timer| timer.as_mut().poll(cx).is_ready())
    }
}

fn ended(queue: &crate::connection::queue::Queue, unsent: bool) -> Unanswered {
    let why = queue.ended();
    Unanswered {
        fault: why.map_or(Fault::Lost, |why| why.fault),
        unsent,
        error: why.map(crate::connection::fault::Ended::error),
    }
}

impl Future for Call<'_> {
    type Output = Result<Answer, Unanswered>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let me = &mut *self;
        if let Some((request, ask)) = me.order.take() {
            if let Err(no) = me.submit(request, ask, cx) {
                return Poll::Ready(Err(no));
            }
            if let Some(deadline) = me.deadline.filter(|_| me.wire.is_driven_elsewhere()) {
                let mut timer = Box::pin(sleep_until(deadline.into()));
                // With time over at once, the next poll sees it.
                if timer.as_mut().poll(cx).is_ready() {
                    cx.waker().wake_by_ref();
                }
                me.timer = Some(timer);
            }
            return Poll::Pending;
        }
        let Some(place) = me.place else {
            debug_assert!(false, "polled after the end");
            return Poll::Pending;
        };
        let looked = me.wire.queue().look(place, cx.waker());
        let result = match looked {
            Some(result) => result,
            None if me.is_overdue(cx) => me.time_out(place),
            None => return Poll::Pending,
        };
        me.place = None;
        Poll::Ready(result.map_err(|failure| me.failed(failure)))
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let cancelled = self.wire.queue().cancel(place);
            if cancelled.room {
                self.wire.tell_room();
            }
            if cancelled.was_sent {
                self.wire.gives_up(self.began);
            }
        }
    }
}
