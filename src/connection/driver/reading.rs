//! From the socket to those who wait.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use redis::{PushKind, Value};
use std::future::Future as _;
use tokio::io::{AsyncReadExt as _, ReadBuf};

use super::{Driver, Pushes, Stream};
use crate::clock::{self, micros};
use crate::connection::decode::{DecodeLimits, Frame, Garbage};
use crate::connection::fault::{Ended, Fault};
use crate::connection::queue::{Heard, Unfit};
use crate::connection::redis_rs;
use crate::connection::socket::Glance;

const BUFFER: usize = 16 << 10;
/// What the first bytes after a pause are read to, so that an idle connection holds no buffer.
const SMALL: usize = 512;
/// So many replies are handed out together.
const BATCH: usize = 256;

impl<S: Stream> Driver<S> {
    /// Reads until the socket has nothing more, and hands out what came.
    pub(super) fn poll_in(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        loop {
            let n = match ready!(self.poll_some(cx)) {
                Ok(n) => n,
                Err(why) => return Poll::Ready(why),
            };
            if n == 0 {
                return Poll::Ready(self.closed());
            }
        }
    }

    /// Reads once, where the bytes belong, and hands out what is whole.
    fn poll_some(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Ended>> {
        if let Some(mut room) = self.decoder.room() {
            // The rest of a large string, straight to its own memory.
            let read = ready!(pin!(self.stream.read_buf(&mut room)).poll(cx));
            let n = read.map_err(|e| self.lost(&e))?;
            return Poll::Ready(self.came(n, &[]));
        }
        if self.buffer.is_empty() {
            let mut small = [0; SMALL];
            let mut buf = ReadBuf::new(&mut small);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf));
            read.map_err(|e| self.lost(&e))?;
            self.buffer = vec![0; BUFFER];
            let n = buf.filled().len();
            return Poll::Ready(self.came(n, buf.filled()));
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut buf = ReadBuf::new(&mut buffer);
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut buf);
        let n = buf.filled().len();
        let came = match read {
            Poll::Ready(Ok(())) => Poll::Ready(self.came(n, &buffer[..n])),
            Poll::Ready(Err(e)) => Poll::Ready(Err(self.lost(&e))),
            Poll::Pending => Poll::Pending,
        };
        self.buffer = buffer;
        came
    }

    /// So many bytes came; these are those that the decoder has not seen yet.
    fn came(&mut self, n: usize, mut bytes: &[u8]) -> Result<usize, Ended> {
        if n == 0 {
            return Ok(0);
        }
        let now = clock::now();
        self.active(now);
        self.wire.read_at(micros(now));
        self.stats.heard(micros(now));
        if self.in_setup {
            self.still_in_setup(bytes);
        }
        self.meal = self.meal.saturating_add(n as u64);
        loop {
            match self.decoder.read(&mut bytes) {
                Ok(Some(Frame::Reply(_))) if self.unasked => return Err(Ended::stray()),
                Ok(Some(Frame::Reply(value))) => self.replies.push(value),
                Ok(Some(Frame::Push { kind, data })) => {
                    self.unasked = false;
                    self.pushed(kind, data)?;
                }
                Ok(None) => break,
                Err(garbage) => {
                    // What came before it was understood.
                    self.hand_out()?;
                    return Err(self.garbage(&garbage));
                }
            }
            if self.replies.len() >= BATCH {
                self.hand_out()?;
            }
        }
        self.hand_out()?;
        if self.meal > self.most() {
            return Err(self.flood());
        }
        if self.decoder.is_amid() && !self.in_setup && !self.unasked {
            self.unasked = self.wire.queue().is_quiet();
            if self.unasked && matches!(self.manner.pushes, Pushes::Never) {
                return Err(Ended::stray());
            }
        }
        Ok(n)
    }

    /// Before the first write after a pause: is anybody still there?
    ///
    /// A stalled runtime sees a socket as writable long after its peer has gone, and as empty; a write into it would
    /// turn a clean "never sent" into "maybe executed", and an unasked reply into an answer.
    pub(super) fn look_at_idle(&mut self) -> Result<(), Ended> {
        let mut small = [0; SMALL];
        loop {
            match self.stream.glance(&mut small) {
                Glance::Healthy => return Ok(()),
                Glance::Closed => return Err(self.closed()),
                Glance::Bytes(n) => self.came(n, &small[..n])?,
            };
        }
    }

    fn most(&self) -> u64 {
        let limits = match self.in_setup {
            true => DecodeLimits::of_setup(),
            false => self.manner.limits,
        };
        limits.reply as u64
    }

    /// Keeps what is said, while the connection is set up.
    fn still_in_setup(&mut self, bytes: &[u8]) {
        self.in_setup = self.wire.queue().is_in_setup();
        match self.in_setup {
            true => self.wire.note_said(bytes),
            false => {
                self.decoder.set_limits(self.manner.limits);
                self.meal = 0;
            }
        }
    }

    /// Gives each reply to the call that it answers.
    fn hand_out(&mut self) -> Result<(), Ended> {
        if self.replies.is_empty() {
            return Ok(());
        }
        let mut result = Ok(());
        let mut queue = self.wire.queue();
        for value in self.replies.drain(..) {
            match queue.answer(value, &mut self.wakers) {
                Ok(Heard::Part) => {}
                Ok(Heard::Whole) => self.meal = 0,
                Ok(Heard::Token(refusal)) => {
                    self.meal = 0;
                    if let Some(tokens) = &mut self.manner.tokens {
                        tokens.refused(&refusal);
                    }
                }
                Err(unfit) => {
                    result = Err(unfit);
                    break;
                }
            }
        }
        drop(queue);
        self.replies.clear();
        self.wake_all();
        result.map_err(|unfit| self.unfit(unfit))
    }

    fn unfit(&self, unfit: Unfit) -> Ended {
        match unfit {
            Unfit::Stray => Ended::stray(),
            Unfit::Shifted => {
                if let Some(tokens) = &self.manner.tokens {
                    tokens.shifted();
                }
                let text = "the server's replies do not belong to the commands before them";
                Ended::new(Fault::Stray, std::io::ErrorKind::InvalidData, text)
            }
            Unfit::Halfway => {
                let text = "the server refused a command before it had all of it";
                Ended::new(Fault::Lost, std::io::ErrorKind::ConnectionAborted, text)
            }
        }
    }

    /// What answers nobody.
    fn pushed(&mut self, kind: PushKind, data: Vec<Value>) -> Result<(), Ended> {
        // In the order of what came.
        self.hand_out()?;
        self.meal = 0;
        let sink = match &self.manner.pushes {
            Pushes::Never => return Err(Ended::stray()),
            Pushes::Possible => return Ok(()),
            Pushes::Expected(sink) => sink,
        };
        if !is_confirmation(&kind) || !self.wire.queue().expects_confirmation() {
            sink(redis_rs::message(kind, data));
            return Ok(());
        }
        self.replies.push(Value::Push { kind, data });
        self.hand_out()
    }

    fn garbage(&self, garbage: &Garbage) -> Ended {
        match garbage.is_flood() {
            true => self.flood(),
            false => Ended::new(Fault::Garbage, std::io::ErrorKind::InvalidData, garbage),
        }
    }

    fn flood(&self) -> Ended {
        let text = format!(
            "the server sent more than {} bytes for one answer",
            self.most()
        );
        Ended::new(Fault::Flood, std::io::ErrorKind::InvalidData, text)
    }
}

fn is_confirmation(kind: &PushKind) -> bool {
    use PushKind::{PSubscribe, PUnsubscribe, SSubscribe, SUnsubscribe, Subscribe, Unsubscribe};
    matches!(
        kind,
        Subscribe | PSubscribe | SSubscribe | Unsubscribe | PUnsubscribe | SUnsubscribe
    )
}
