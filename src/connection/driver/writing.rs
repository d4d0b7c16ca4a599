//! From the queue to the socket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use super::{Driver, IDLE, PAUSE, Stream};
use crate::clock::{self, micros};
use crate::connection::fault::Ended;
use crate::connection::queue::Chunk;

/// When to step back once before a write, so that more calls gather: their requests go out together.
///
/// With several callers the first of them wakes the driver, which runs before the others: that there were several last
/// time tells that there will be more. Measured: a factor of three in what a call costs at 64 callers.
#[derive(Debug, Default)]
pub(super) struct Cork {
    /// How often it stepped back before this write, and how far the queue reached then.
    stepped: u8,
    seen: u64,
    /// How many calls waited at the last write.
    last: usize,
}

/// The largest buffer that is kept for the next write.
const KEPT: usize = 256 << 10;

/// Twice at most, and once more only while the queue grows.
const STEPS: u8 = 2;

impl Cork {
    fn steps_back(&mut self, depth: usize, appended: u64) -> bool {
        let several = depth > 1 || self.last > 1;
        let grows = self.stepped == 0 || appended > self.seen;
        if several && self.stepped < STEPS && grows {
            self.stepped += 1;
            self.seen = appended;
            return true;
        }
        self.stepped = 0;
        self.last = depth;
        false
    }
}

impl<S: Stream> Driver<S> {
    /// Writes until there is nothing left, or the socket takes no more.
    pub(super) fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        loop {
            let Some(chunk) = &mut self.writing else {
                match self.next_chunk(cx) {
                    Next::Chunk(chunk) => self.writing = Some(chunk),
                    Next::Nothing => return self.poll_flush(cx),
                    Next::Later => return Poll::Pending,
                    Next::Over(why) => return Poll::Ready(why),
                }
                continue;
            };
            match Pin::new(&mut self.stream).poll_write(cx, chunk.rest()) {
                Poll::Ready(Ok(0)) => {
                    let e = io::Error::from(io::ErrorKind::WriteZero);
                    return Poll::Ready(self.write_failed(&e));
                }
                Poll::Ready(Ok(n)) => {
                    chunk.took(n);
                    self.unflushed = true;
                    if chunk.is_done() {
                        let done = self.writing.take();
                        // A connection that is never quiet would keep the room of its largest request for ever.
                        let spent = done.map(Chunk::spent).unwrap_or_default();
                        self.spent = match spent.capacity() <= KEPT {
                            true => spent,
                            false => Vec::new(),
                        };
                    }
                }
                Poll::Ready(Err(e)) => return Poll::Ready(self.write_failed(&e)),
                Poll::Pending => {
                    // What the socket did not take can be taken back.
                    self.give_back();
                    return self.rest(cx);
                }
            }
        }
    }

    fn write_failed(&mut self, e: &io::Error) -> Ended {
        // Under encryption nobody knows how much of it was sent, and all of it counts as written.
        if !self.stream.is_opaque() {
            self.give_back();
        }
        self.lost(e)
    }

    fn give_back(&mut self) {
        if let Some(chunk) = self.writing.take() {
            self.wire.queue().give_back(chunk);
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        if self.unflushed {
            if let Err(e) = ready!(Pin::new(&mut self.stream).poll_flush(cx)) {
                return Poll::Ready(self.lost(&e));
            }
            self.unflushed = false;
        }
        Poll::Pending
    }

    /// The next chunk, claimed; without one, the driver rests.
    fn next_chunk(&mut self, cx: &mut Context<'_>) -> Next {
        let wire = std::sync::Arc::clone(&self.wire);
        let mut queue = wire.queue();
        if let Some(why) = queue.ended() {
            return Next::Over(why.clone());
        }
        if !queue.has_bytes() {
            self.cork.stepped = 0;
            let early = queue.rest(cx.waker(), true);
            self.arm(&mut queue, early);
            return Next::Nothing;
        }
        if self.cork.steps_back(queue.depth(), queue.appended()) {
            cx.waker().wake_by_ref();
            return Next::Later;
        }
        let now = clock::now();
        let is_quiet = queue.is_quiet() && !queue.is_in_setup();
        if is_quiet && self.wire.idle_micros(micros(now)) > PAUSE.as_micros() as u64 {
            drop(queue);
            if let Err(why) = self.look_at_idle() {
                return Next::Over(why);
            }
            queue = wire.queue();
        }
        if let Some(tokens) = &mut self.manner.tokens
            && !queue.is_in_setup()
            && tokens.is_due(now)
            && queue.has_no_token()
        {
            tokens.put(&mut queue, now);
        }
        let (chunk, room) = queue.claim(std::mem::take(&mut self.spent));
        drop(queue);
        if room {
            wire.tell_room();
        }
        self.active(now);
        match chunk {
            Some(chunk) => Next::Chunk(chunk),
            // All of it was given up meanwhile.
            None => self.next_chunk(cx),
        }
    }

    /// The socket takes nothing for now.
    fn rest(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        let wire = std::sync::Arc::clone(&self.wire);
        let mut queue = wire.queue();
        if let Some(why) = queue.ended() {
            return Poll::Ready(why.clone());
        }
        let early = queue.rest(cx.waker(), false);
        self.arm(&mut queue, early);
        Poll::Pending
    }

    /// Sets the alarm for what is due before it rings; while there are buffers to give back, it rings once a second.
    fn arm(&mut self, queue: &mut crate::connection::queue::Queue, early: Option<Instant>) {
        let wants_shrinking = self.busy && !self.alarm.is_near();
        if early.is_none() && !wants_shrinking {
            return;
        }
        let soon = clock::now() + IDLE;
        let at = early.map_or(soon, |early| early.min(soon));
        if self.alarm.set_earlier(at) {
            self.wire.armed(queue, Some(at));
        }
    }
}

/// What follows.
enum Next {
    Chunk(Chunk),
    Nothing,
    /// It is polled again at once.
    Later,
    Over(Ended),
}
