//! The task behind one connection: it reads and hands out, then writes what has gathered.
//!
//! It works on any stream, and knows no command: whose a reply is, what may be taken back and what was never sent is
//! decided by the [`Queue`](super::queue::Queue), under the lock of the [`Wire`].

mod alarm;
mod reading;
mod writing;

#[cfg(test)]
mod tests;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use redis::{PushInfo, PushKind};
use tokio::io::{AsyncRead, AsyncWrite};

use self::alarm::Alarm;
use super::decode::{DecodeLimits, Decoder};
use super::fault::Ended;
use super::queue::Chunk;
use super::redis_rs;
use super::socket::Glance;
use super::stats::NodeStats;
use super::tokens::Tokens;
use super::wire::Wire;
use crate::clock::{micros, now_micros};

/// A stream that a connection can be driven on.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {
    /// Looks for the end of an idle stream, and reads what is there, whatever the runtime believes of it.
    fn glance(&self, _buf: &mut [u8]) -> Glance {
        Glance::Healthy
    }

    /// Whether a failed write may have sent some of what it was given.
    fn is_opaque(&self) -> bool {
        false
    }
}

/// Who hears what a server pushes; it must not block.
pub(crate) type PushSink = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// Whether the server may send something that answers no command.
#[derive(Clone)]
pub(crate) enum Pushes {
    /// RESP2: whatever comes unasked is not for us.
    Never,
    /// RESP3: it may push of its own accord; nobody listens.
    Possible,
    /// It is what the connection is for.
    Expected(PushSink),
}

/// What one connection is to be like.
pub(crate) struct Manner {
    pub(crate) pushes: Pushes,
    /// The most that is read for one call or one message, once it is set up.
    pub(crate) limits: DecodeLimits,
    /// Whether tokens prove the order of its replies.
    pub(crate) tokens: Option<Tokens>,
}

/// A connection that was quiet for longer than this is looked at before it is written to.
const PAUSE: Duration = Duration::from_millis(1);

/// Buffers of a connection that was quiet for this long are given back.
const IDLE: Duration = Duration::from_secs(1);

/// Drives one connection until it ends.
pub(crate) struct Driver<S> {
    stream: S,
    wire: Arc<Wire>,
    stats: Arc<NodeStats>,
    manner: Manner,
    in_setup: bool,
    decoder: Decoder,
    /// Where bytes are read to; empty while nothing comes.
    buffer: Vec<u8>,
    /// Bytes that came since the last whole answer or message.
    meal: u64,
    /// What is half read began while nothing was asked for: it can be a push, and no answer to what follows.
    unasked: bool,
    /// Decoded, and not handed out yet.
    replies: Vec<redis::Value>,
    wakers: Vec<Waker>,
    /// What is on its way.
    writing: Option<Chunk>,
    spent: Vec<u8>,
    unflushed: bool,
    cork: writing::Cork,
    alarm: Alarm,
    /// Something was read or written since the alarm rang last.
    busy: bool,
    began: bool,
}

impl<S: Stream> Driver<S> {
    pub(crate) fn new(stream: S, wire: Arc<Wire>, stats: Arc<NodeStats>, manner: Manner) -> Self {
        Self {
            stream,
            wire,
            stats,
            manner,
            in_setup: true,
            decoder: Decoder::new(DecodeLimits::of_setup()),
            buffer: Vec::new(),
            meal: 0,
            unasked: false,
            replies: Vec::new(),
            wakers: Vec::new(),
            writing: None,
            spent: Vec::new(),
            unflushed: false,
            cork: writing::Cork::default(),
            alarm: Alarm::default(),
            busy: false,
            began: false,
        }
    }

    /// One turn: in, out, time. Ready when the connection is over.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        if !self.began {
            self.began = true;
            self.wire.driven_here();
        }
        if let Poll::Ready(why) = self.poll_in(cx) {
            return Poll::Ready(why);
        }
        if let Poll::Ready(why) = self.poll_out(cx) {
            // What can still be read is read before anybody is told that the connection is lost.
            // All of it, whatever the task has spent of its budget.
            let rest = tokio::task::unconstrained(poll_fn(|cx| self.poll_in(cx)));
            let read = pin!(rest).poll(cx);
            return Poll::Ready(match read {
                Poll::Ready(more) if more.fault != super::fault::Fault::Lost => more,
                _ => why,
            });
        }
        self.poll_time(cx);
        Poll::Pending
    }

    /// The connection ended, and not because we closed it.
    fn lost(&self, e: &io::Error) -> Ended {
        self.stats.lost_connection(now_micros());
        Ended::io(e)
    }

    fn closed(&self) -> Ended {
        self.stats.lost_connection(now_micros());
        Ended::eof()
    }

    fn wake_all(&mut self) {
        for waker in self.wakers.drain(..) {
            waker.wake();
        }
    }

    fn active(&mut self, now: Instant) {
        self.busy = true;
        self.wire.active_at(micros(now));
    }
}

impl<S: Stream> Future for Driver<S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let me = &mut *self;
        match me.turn(cx) {
            Poll::Ready(why) => {
                me.wire.end(why);
                Poll::Ready(())
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Whoever waits is told, also when the task is aborted, or panics.
impl<S> Drop for Driver<S> {
    fn drop(&mut self) {
        // A chunk that is being written counts as written; else it was given back.
        self.wire.end(Ended::abandoned());
        if let Pushes::Expected(sink) = &self.manner.pushes {
            sink(redis_rs::message(PushKind::Disconnection, Vec::new()));
        }
    }
}
