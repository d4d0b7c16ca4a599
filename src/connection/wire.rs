//! The byte stream under a connection, and what can be seen on it that redis-rs does not tell.
//!
//! redis-rs drives one [`Tap`] per connection. The tap sits between its codec and the socket and
//! notes, in a [`Wire`] shared with the callers: whether the peer is gone, whether any byte was
//! written since a call began (if not, the server cannot have seen it), when the node was last heard,
//! the first line of a refused set-up, and bytes that nobody asked for.

mod meal;
mod silence;
mod socket;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(crate) use self::meal::MOST_OF_SETUP;
use self::meal::Meal;
use self::socket::Glance;
pub(crate) use self::socket::Socket;
use crate::clock::now_micros;
use crate::connection::stats::NodeStats;

/// How much of the set-up's replies is kept, enough for the error line that redis-rs swallows.
const SETUP_KEPT: usize = 256;

/// A connection that was quiet for longer than this is peeked at before it is written to.
const IDLE: Duration = Duration::from_millis(1);

/// What the two sides of a connection know of each other.
///
/// The driver task writes one half, the callers the other; each half has its own cache lines.
#[derive(Debug)]
pub(crate) struct Wire {
    driver: DriverSide,
    callers: CallerSide,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct DriverSide {
    written: AtomicU64,
    last_active: AtomicU64,
    last_read: AtomicU64,
    dead: AtomicBool,
    eof: AtomicBool,
    stray: AtomicBool,
    flood: AtomicBool,
    /// Whole messages that the server pushed.
    pushed: AtomicU64,
    /// Guards the bytes of the set-up, written by the driver, read once by the dial.
    setup: Mutex<Option<Vec<u8>>>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct CallerSide {
    started: AtomicU64,
    finished: AtomicU64,
    /// `started` at the last abandoned call, until a later call proves its reply has passed.
    abandoned_at: AtomicU64,
    /// When the first call was sent that was given up since something came; 0 for none.
    given_up: AtomicU64,
    /// `written` when nothing was in flight any more: bytes that arrive while it has not moved since
    /// were asked for by nobody.
    quiet_at: AtomicU64,
    retired: AtomicBool,
    /// How many of the calls in flight are a pool's own questions.
    questions: AtomicU64,
}

impl Wire {
    pub(crate) fn new() -> Arc<Self> {
        let wire = Self {
            driver: DriverSide::default(),
            callers: CallerSide::default(),
        };
        *wire.driver.setup.lock() = Some(Vec::with_capacity(SETUP_KEPT));
        Arc::new(wire)
    }

    /// The set-up is over: what it wrote was answered, and its bytes are no longer kept.
    pub(crate) fn setup_done(&self) {
        self.driver.setup.lock().take();
        self.callers.quiet_at.store(self.written(), SeqCst);
    }

    /// A server that is full says so unasked, before it hangs up: the set-up has to read that.
    fn is_in_setup(&self) -> bool {
        self.driver.setup.lock().is_some()
    }

    /// What the peer said during the set-up, up to [`SETUP_KEPT`] bytes.
    pub(crate) fn setup_bytes(&self) -> Vec<u8> {
        self.driver.setup.lock().clone().unwrap_or_default()
    }

    pub(crate) fn written(&self) -> u64 {
        self.driver.written.load(SeqCst)
    }

    /// Commands may no longer be put on this connection, or could not arrive.
    pub(crate) fn is_usable(&self) -> bool {
        !self.is_dead() && !self.callers.retired.load(Relaxed)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.driver.dead.load(Relaxed)
    }

    pub(crate) fn set_dead(&self) {
        self.driver.dead.store(true, Relaxed);
    }

    /// The peer closed its side: a reply that stops in the middle was cut, not garbled.
    pub(crate) fn saw_eof(&self) -> bool {
        self.driver.eof.load(Relaxed)
    }

    /// Bytes arrived that nobody had asked for.
    pub(crate) fn saw_stray(&self) -> bool {
        self.driver.stray.load(Relaxed)
    }

    /// More came than one call may bring.
    pub(crate) fn saw_flood(&self) -> bool {
        self.driver.flood.load(Relaxed)
    }

    /// A whole message that was pushed has been read.
    pub(crate) fn pushed(&self) {
        self.driver.pushed.fetch_add(1, Relaxed);
    }

    /// Moves on whenever what is read belongs to another answer than before.
    fn answers(&self) -> u64 {
        let pushed = self.driver.pushed.load(Relaxed);
        self.callers.started.load(Relaxed).wrapping_add(pushed)
    }

    /// No new commands; those in flight run to their own deadlines.
    pub(crate) fn retire(&self) {
        self.callers.retired.store(true, Relaxed);
    }

    pub(crate) fn in_flight(&self) -> u64 {
        let finished = self.callers.finished.load(Relaxed);
        self.callers.started.load(Relaxed).saturating_sub(finished)
    }

    /// Nothing of a user's is in flight, and no abandoned command's reply is outstanding.
    pub(crate) fn is_clean(&self) -> bool {
        // A question's answer comes before those of the next user.
        self.in_flight() <= self.callers.questions.load(Relaxed)
            && self.callers.abandoned_at.load(SeqCst) == 0
    }

    /// The next call is a question of the pool's own, until the guard is dropped.
    pub(crate) fn question(&self) -> Question<'_> {
        self.callers.questions.fetch_add(1, Relaxed);
        Question(self)
    }

    /// Microseconds from the last byte in or out to `now`.
    pub(crate) fn idle_micros(&self, now: u64) -> u64 {
        now.saturating_sub(self.driver.last_active.load(Relaxed))
    }

    /// Announces a call at `now` (in microseconds); its end is told by the guard, by whatever way it ends.
    pub(crate) fn begin(&self, now: u64) -> Call<'_> {
        Call {
            wire: self,
            began: now,
            ticket: self.callers.started.fetch_add(1, SeqCst) + 1,
            written: self.written(),
            answered: false,
        }
    }

    /// Whether everything written so far has been answered.
    fn is_quiet(&self) -> bool {
        self.written() == self.callers.quiet_at.load(SeqCst)
            && self.callers.abandoned_at.load(SeqCst) == 0
    }
}

/// A call that is no user's.
pub(crate) struct Question<'a>(&'a Wire);

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.0.callers.questions.fetch_sub(1, Relaxed);
    }
}

/// One command or pipeline on its way.
pub(crate) struct Call<'a> {
    wire: &'a Wire,
    began: u64,
    ticket: u64,
    written: u64,
    answered: bool,
}

impl Call<'_> {
    /// No byte left the connection since the call began: the server has not seen it.
    pub(crate) fn is_unsent(&self) -> bool {
        self.wire.written() == self.written
    }

    /// The reply came; without this the call counts as abandoned, and its late reply is expected.
    pub(crate) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let callers = &self.wire.callers;
        if !self.answered {
            callers
                .abandoned_at
                .store(callers.started.load(SeqCst), SeqCst);
            callers.finished.fetch_add(1, SeqCst);
            self.wire.gives_up(self.began);
            return;
        }
        // Replies come in the order of the commands: one for a command that was started after the
        // last abandoned call means that call's reply has passed.
        let abandoned = callers.abandoned_at.load(SeqCst);
        if abandoned != 0 && abandoned < self.ticket {
            // A call abandoned right now keeps its mark: the exchange fails.
            let _ = callers
                .abandoned_at
                .compare_exchange(abandoned, 0, SeqCst, SeqCst);
        }
        // The order finished, written, started matters: when the last equals the first, no call
        // began in between, so `written` holds nothing but answered commands.
        let finished = callers.finished.fetch_add(1, SeqCst) + 1;
        let written = self.wire.written();
        if callers.started.load(SeqCst) == finished {
            callers.quiet_at.store(written, SeqCst);
        }
    }
}

/// Whether the server may send something that answers no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushes {
    /// RESP2: whatever comes unasked is not for us.
    Never,
    /// RESP3: it may begin a push of its own accord.
    Possible,
    /// It is what the connection is for.
    Expected,
}

/// The stream that redis-rs reads and writes.
#[derive(Debug)]
pub(crate) struct Tap {
    socket: Socket,
    wire: Arc<Wire>,
    stats: Arc<NodeStats>,
    pushes: Pushes,
    /// Set once the connection is handed out; until then its bytes belong to the set-up.
    in_setup: bool,
    yielded: bool,
    /// The most that is read for one answer; `None`: no limit.
    most: Option<u64>,
    meal: Meal,
}

impl Tap {
    pub(crate) fn new(
        socket: Socket,
        wire: Arc<Wire>,
        stats: Arc<NodeStats>,
        pushes: Pushes,
        most: Option<u64>,
    ) -> Self {
        Self {
            socket,
            wire,
            stats,
            pushes,
            in_setup: true,
            yielded: false,
            most,
            meal: Meal::default(),
        }
    }

    /// The connection ended, and not because we closed it.
    fn lost(&self) {
        self.stats.lost_connection(now_micros());
        self.wire.set_dead();
    }

    fn note_read(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.in_setup && !self.wire.is_in_setup() {
            self.in_setup = false;
        }
        let most = match self.in_setup {
            true => Some(MOST_OF_SETUP),
            false => self.most,
        };
        let driver = &self.wire.driver;
        if let Some(most) = most
            && let Err(e) = self.meal.add(bytes.len(), self.wire.answers(), most)
        {
            driver.flood.store(true, Relaxed);
            self.wire.set_dead();
            return Err(e);
        }
        if bytes.is_empty() {
            driver.eof.store(true, Relaxed);
            self.lost();
            return Ok(());
        }
        let now = now_micros();
        driver.last_active.store(now, Relaxed);
        driver.last_read.store(now, Relaxed);
        self.stats.heard(now);
        if self.in_setup {
            if let Some(kept) = driver.setup.lock().as_mut() {
                kept.extend(&bytes[..bytes.len().min(SETUP_KEPT - kept.len())]);
                return Ok(());
            }
            self.in_setup = false;
        }
        // With RESP3 the server may push; with RESP2 nothing comes unasked on our connections.
        let may_push = match self.pushes {
            Pushes::Never => false,
            Pushes::Possible => bytes[0] == b'>',
            Pushes::Expected => true,
        };
        if self.wire.is_quiet() && !may_push {
            driver.stray.store(true, Relaxed);
            self.wire.set_dead();
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the server sent bytes that answer no command",
            ));
        }
        Ok(())
    }

    /// Before the first write after a pause: is anybody still there?
    ///
    /// A stalled runtime sees a socket as writable long after its peer has gone; a write into it
    /// would turn a clean "never sent" into "maybe executed".
    fn check_idle(&self, now: u64) -> io::Result<()> {
        let idle = self.wire.idle_micros(now) > IDLE.as_micros() as u64;
        if !idle || !self.wire.is_quiet() || self.wire.is_in_setup() {
            return Ok(());
        }
        match self.socket.glance() {
            Glance::Healthy => Ok(()),
            Glance::Stray if self.pushes == Pushes::Expected => Ok(()),
            Glance::Closed => {
                self.wire.driver.eof.store(true, Relaxed);
                self.lost();
                Err(io::Error::new(
                    io::ErrorKind::BrokenPipe,
                    "closed by the server while idle",
                ))
            }
            Glance::Stray => {
                self.wire.driver.stray.store(true, Relaxed);
                self.wire.set_dead();
                Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the server sent bytes that answer no command",
                ))
            }
        }
    }
}

impl AsyncRead for Tap {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        match Pin::new(&mut this.socket).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => Poll::Ready(this.note_read(&buf.filled()[before..])),
            Poll::Ready(Err(e)) => {
                this.lost();
                Poll::Ready(Err(e))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // The cork: with several calls in flight, step back once; redis-rs then finds more commands
        // in its queue and puts them all into one write. Measured: 1.3x the throughput.
        if !this.yielded && this.wire.in_flight() > 1 {
            this.yielded = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.yielded = false;
        let now = now_micros();
        this.check_idle(now)?;
        match Pin::new(&mut this.socket).poll_write(cx, buf) {
            Poll::Ready(Ok(n)) => {
                let driver = &this.wire.driver;
                driver.written.fetch_add(n as u64, SeqCst);
                driver.last_active.store(now, Relaxed);
                Poll::Ready(Ok(n))
            }
            Poll::Ready(Err(e)) => {
                this.lost();
                Poll::Ready(Err(e))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
