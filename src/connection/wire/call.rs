//! One request on its way, as its caller holds it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use parking_lot::MutexGuard;
use tokio::time::{Sleep, sleep_until};

use super::Wire;
use crate::connection::encode::{LARGE, most_bytes, pack, pack_large};
use crate::connection::fault::{Ended, Fault};
use crate::connection::queue::{Answer, Ask, Failure, Looked, NoPlace, Place, Queue};
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

/// Whoever keeps a connection while a call is on it.
pub(crate) trait Keeper {
    fn wire(&self) -> &Wire;
}

impl Keeper for &Wire {
    fn wire(&self) -> &Wire {
        self
    }
}

/// A request in the queue of a connection, or behind it, and the wait for its answer.
///
/// # Cancellation
///
/// Dropped before a byte of it was claimed, it is never sent; afterwards its replies are counted and thrown away.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Placed<K: Keeper> {
    keeper: K,
    /// When it was sent, in microseconds.
    began: u64,
    /// [`Place::LEFT`] when it is over.
    place: Place,
    /// Where the driver's timer cannot be relied on.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<K: Keeper> Placed<K> {
    /// Puts a request into the queue, for the task at hand; `began` is now, in microseconds.
    pub(crate) fn put(
        keeper: K,
        began: u64,
        request: Request<'_>,
        ask: Ask,
        cx: &mut Context<'_>,
    ) -> Result<Self, Unanswered> {
        let deadline = ask.deadline;
        let place = keeper.wire().submit(request, ask, cx.waker())?;
        let mut placed = Self {
            keeper,
            began,
            place,
            timer: None,
        };
        if let Some(at) = deadline
            && placed.keeper.wire().is_driven_elsewhere()
        {
            placed.time_by_itself(at, cx);
        }
        Ok(placed)
    }

    #[cold]
    fn time_by_itself(&mut self, deadline: Instant, cx: &mut Context<'_>) {
        let mut timer = Box::pin(sleep_until(deadline.into()));
        // With time over at once, the next poll sees it.
        if timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        self.timer = Some(timer);
    }

    pub(crate) fn keeper(&self) -> &K {
        &self.keeper
    }

    fn failed(&self, failure: Failure) -> Unanswered {
        let wire = self.keeper.wire();
        match failure {
            Failure::Timeout { unsent } => {
                wire.gives_up(self.began);
                Unanswered::new(Fault::Timeout, unsent)
            }
            Failure::Ended { unsent } => ended(&wire.queue(), unsent),
        }
    }

    fn is_overdue(&mut self, cx: &mut Context<'_>) -> bool {
        let timer = self.timer.as_mut();
        timer.is_some_and(|timer| timer.as_mut().poll(cx).is_ready())
    }
}

impl Wire {
    fn submit(&self, request: Request<'_>, ask: Ask, caller: &Waker) -> Result<Place, Unanswered> {
        // Cloned, and dropped where it was not taken, outside the lock: both run code that is not ours.
        let mut caller = Some(caller.clone());
        let bytes = most_bytes(request);
        let mut queue = self.queue();
        let entered = if bytes < LARGE {
            queue.submit(ask, &mut caller, bytes, |out| pack(request, out))
        } else {
            // Packed outside the lock, which nobody is to wait for while much is copied; and only where there is room.
            queue.room_for(bytes).and_then(|()| {
                let packed = MutexGuard::unlocked(&mut queue, || pack_large(request, bytes));
                queue.submit_packed(ask, &mut caller, packed.0, packed.1)
            })
        };
        match entered {
            Ok((place, driver)) => {
                if let Some(early) = queue.early() {
                    self.due_by(early);
                }
                drop(queue);
                if let Some(driver) = driver {
                    driver.wake();
                }
                Ok(place)
            }
            Err(NoPlace::Full) => {
                drop(queue);
                Err(Unanswered::new(Fault::Saturated, true))
            }
            Err(NoPlace::Ended) => Err(ended(&queue, true)),
        }
    }

    /// What came of a call; else its waker is kept.
    fn look(&self, place: Place, waker: &Waker) -> Option<Result<Answer, Failure>> {
        let looked = self.queue().look(place, waker);
        match looked {
            Looked::Over(result) => return Some(result),
            Looked::Waits => return None,
            Looked::ByAnother => {}
        }
        // Cloned, and the one before it dropped, outside the lock.
        let mut waker = Some(waker.clone());
        self.queue().look_again(place, &mut waker)
    }

    fn time_out(&self, place: Place) -> Result<Answer, Failure> {
        let mut queue = self.queue();
        // What it leaves is dropped outside the lock.
        let (result, _left) = queue.time_out(place);
        let room = queue.gave_room();
        drop(queue);
        if room {
            self.tell_room();
        }
        result
    }
}

fn ended(queue: &Queue, unsent: bool) -> Unanswered {
    let why = queue.ended();
    Unanswered {
        fault: why.map_or(Fault::Lost, |why| why.fault),
        unsent,
        error: why.map(Ended::error),
    }
}

impl<K: Keeper + Unpin> Future for Placed<K> {
    type Output = Result<Answer, Unanswered>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let me = &mut *self;
        let place = me.place;
        if place.is_left() {
            debug_assert!(false, "polled after the end");
            return Poll::Pending;
        }
        let result = match me.keeper.wire().look(place, cx.waker()) {
            Some(result) => result,
            None if me.is_overdue(cx) => me.keeper.wire().time_out(place),
            None => return Poll::Pending,
        };
        me.place = Place::LEFT;
        Poll::Ready(result.map_err(|failure| me.failed(failure)))
    }
}

impl<K: Keeper> Drop for Placed<K> {
    fn drop(&mut self) {
        if self.place.is_left() {
            return;
        }
        let wire = self.keeper.wire();
        let cancelled = wire.queue().cancel(self.place);
        if cancelled.room {
            wire.tell_room();
        }
        if cancelled.was_sent {
            wire.gives_up(self.began);
        }
    }
}

/// Puts a request into the queue of a connection with its first poll, and waits for the answer.
///
/// # Cancellation
///
/// As [`Placed`].
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Call<'a> {
    /// What is to be sent, until it has a place.
    order: Option<(&'a Wire, u64, Request<'a>, Ask)>,
    placed: Option<Placed<&'a Wire>>,
}

impl<'a> Call<'a> {
    /// `began` is now, in microseconds.
    pub(crate) fn new(wire: &'a Wire, began: u64, request: Request<'a>, ask: Ask) -> Self {
        Self {
            order: Some((wire, began, request, ask)),
            placed: None,
        }
    }
}

impl Future for Call<'_> {
    type Output = Result<Answer, Unanswered>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let me = &mut *self;
        if let Some((wire, began, request, ask)) = me.order.take() {
            match Placed::put(wire, began, request, ask, cx) {
                Ok(placed) => me.placed = Some(placed),
                Err(no) => return Poll::Ready(Err(no)),
            }
            return Poll::Pending;
        }
        match &mut me.placed {
            Some(placed) => Pin::new(placed).poll(cx),
            None => {
                debug_assert!(false, "polled after the end");
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::task::Wake;
    use std::time::Duration;

    use redis::{Cmd, Value};

    use super::*;
    use crate::connection::queue::{Bounds, Purpose, Taking};

    /// A waker of an application that looks at the connection when it is woken, and when it is dropped.
    struct Nosy {
        wire: Arc<Wire>,
        looks: Arc<AtomicUsize>,
    }

    impl Nosy {
        fn look(&self) {
            // It would wait for itself.
            assert!(!self.wire.queue.is_locked(), "in the midst of the queue");
            self.looks.fetch_add(1, SeqCst);
        }
    }

    impl Wake for Nosy {
        fn wake(self: Arc<Self>) {
            self.look();
        }
    }

    impl Drop for Nosy {
        fn drop(&mut self) {
            self.look();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_waker_is_woken_or_dropped_under_the_lock() {
        let wire = Wire::new(Bounds {
            calls: 10,
            bytes: 1 << 20,
        });
        wire.setup_done();
        let get = Cmd::get("k");
        let looks = Arc::new(AtomicUsize::new(0));
        let ask = |deadline: Option<Duration>| Ask {
            deadline: deadline.map(|at| tokio::time::Instant::now().into_std() + at),
            purpose: Purpose::User,
            taking: Taking::One,
        };
        let call = |deadline| Call::new(&wire, 1, Request::One(&get), ask(deadline));
        let nosy = || {
            Waker::from(Arc::new(Nosy {
                wire: Arc::clone(&wire),
                looks: Arc::clone(&looks),
            }))
        };
        // Nobody else has the waker when it is dropped.
        let poll = |call: &mut Call<'_>, waker: Waker| {
            Pin::new(call)
                .poll(&mut Context::from_waker(&waker))
                .is_ready()
        };
        let mut moved = call(None);
        assert!(!poll(&mut moved, nosy()) && !poll(&mut moved, nosy()));
        assert_eq!(looks.load(SeqCst), 1, "another takes its place");
        assert!(!poll(&mut moved, Waker::noop().clone()));
        assert_eq!(looks.load(SeqCst), 2);
        let mut dropped = call(None);
        assert!(!poll(&mut dropped, nosy()));
        drop(dropped);
        assert_eq!(looks.load(SeqCst), 3, "it was dropped with its call");
        let mut late = call(Some(Duration::from_millis(5)));
        assert!(!poll(&mut late, nosy()));
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(poll(&mut late, nosy()), "by a timer of its own");
        assert!(looks.load(SeqCst) >= 5);
        let mut answered = call(None);
        assert!(!poll(&mut answered, nosy()));
        let mut wakers = Vec::new();
        drop(moved);
        drop(wire.queue().claim(Vec::new()));
        let heard = wire.queue().answer(Value::Nil, &mut wakers);
        assert!(heard.is_ok() && wakers.len() == 1);
        let before = looks.load(SeqCst);
        wakers.pop().expect("one").wake();
        assert_eq!(looks.load(SeqCst), before + 2, "woken, and dropped");
        assert!(poll(&mut answered, Waker::noop().clone()));
        let mut lost = call(None);
        assert!(!poll(&mut lost, nosy()));
        let before = looks.load(SeqCst);
        wire.end(Ended::eof());
        assert_eq!(looks.load(SeqCst), before + 2, "woken, and dropped");
        assert!(poll(&mut lost, Waker::noop().clone()));
        let mut refused = call(None);
        assert!(poll(&mut refused, nosy()), "it has ended");
        assert_eq!(looks.load(SeqCst), before + 3);
    }
}
