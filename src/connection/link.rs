//! One established connection: commands in, replies out, and an honest account of every failure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError};
use tokio::task::AbortHandle;

use crate::clock::{self, micros};
use crate::connection::meter::OpenConnection;
use crate::connection::reply::Reply;
use crate::connection::request::{Request, replies};
use crate::connection::wire::Wire;

/// How a command failed after it was given to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No reply within the time allowed.
    Timeout,
    /// The connection ended: EOF, reset, or a driver that stopped.
    Lost,
    /// The peer does not speak RESP.
    Garbage,
    /// Bytes came that nobody had asked for; from then on no reply can be told from another's.
    Stray,
    /// More came than one call may bring; the connection was closed.
    Flood,
    /// redis-rs refused the command itself.
    Misuse,
}

/// A failure on a connection, with what is known of the command.
#[derive(Debug)]
pub(crate) struct LinkError {
    pub(crate) fault: Fault,
    /// Provably not one byte of the command left.
    pub(crate) unsent: bool,
    /// The connection had been idle for longer than a second when the call began.
    pub(crate) was_idle: bool,
    pub(crate) error: RedisError,
}

/// An established, set-up connection and the task that drives it.
///
/// Dropping the link ends the task and closes the socket, replies outstanding or not.
#[derive(Debug)]
pub(crate) struct Link {
    connection: MultiplexedConnection,
    wire: Arc<Wire>,
    driver: AbortHandle,
    created: Instant,
    /// The node's ejection count when the dial began: a link from before an ejection is stale.
    epoch: u64,
    /// How often the node's name had moved when the dial began: a link from before a move leads elsewhere.
    moves: u64,
    /// Counts this connection in the metrics while it lives.
    _open: Option<OpenConnection>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Link {
    pub(crate) fn new(
        connection: MultiplexedConnection,
        wire: Arc<Wire>,
        driver: AbortHandle,
        epoch: u64,
    ) -> Self {
        Self {
            connection,
            wire,
            driver,
            created: clock::now(),
            epoch,
            moves: 0,
            _open: None,
        }
    }

    pub(crate) fn counted(self, open: OpenConnection) -> Self {
        // `Link` has a destructor, so it cannot be taken apart and built anew.
        let mut link = self;
        link._open = Some(open);
        link
    }

    /// The name had moved so often when the dial began.
    pub(crate) fn after(self, moves: u64) -> Self {
        let mut link = self;
        link.moves = moves;
        link
    }

    pub(crate) fn moves(&self) -> u64 {
        self.moves
    }

    pub(crate) fn wire(&self) -> &Wire {
        &self.wire
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Ends the connection, whatever is outstanding on it and whoever else holds it.
    pub(crate) fn close(&self) {
        self.wire.set_dead();
        self.driver.abort();
    }

    /// Asks for a sign of life while nobody uses the connection; `false` when none comes in time. Whoever
    /// takes the connection meanwhile gets the reply behind it.
    pub(crate) async fn is_alive(&self, limit: Duration) -> bool {
        let _question = self.wire.question();
        let ping = redis::cmd("PING");
        self.call(Request::One(&ping), Some(limit)).await.is_ok()
    }

    pub(crate) fn age(&self) -> Duration {
        clock::since(self.created)
    }

    /// Sends the request and waits for its reply, `timeout` at most (`None`: for ever).
    ///
    /// # Cancellation
    ///
    /// Safe: redis-rs takes the late reply out of the stream, and the wire knows to expect it.
    pub(crate) async fn call(
        &self,
        request: Request<'_>,
        timeout: Option<Duration>,
    ) -> Result<Reply, LinkError> {
        self.call_from(clock::now(), request, timeout).await
    }

    /// [`call`](Self::call) by a caller who has just looked at the clock.
    pub(crate) async fn call_from(
        &self,
        now: Instant,
        request: Request<'_>,
        timeout: Option<Duration>,
    ) -> Result<Reply, LinkError> {
        const A_SECOND: u64 = 1_000_000;
        // redis-rs takes `&mut`, though all it changes is behind an `Arc`; a clone is three counters.
        let mut connection = self.connection.clone();
        // There is no way to say "no limit" once a limit was set: a hundred years will do.
        connection.set_response_timeout(timeout.unwrap_or(Duration::from_secs(100 * 365 * 86_400)));
        let now = micros(now);
        let call = self.wire.begin(now);
        let was_idle = self.wire.idle_micros(now) > A_SECOND;
        let result = match request {
            Request::One(cmd) => connection.send_packed_command(cmd).await.map(Reply::One),
            Request::Many(pipeline) => {
                let (offset, count) = replies(pipeline);
                connection
                    .send_packed_commands(pipeline, offset, count)
                    .await
                    .map(Reply::Many)
            }
        };
        match result {
            Ok(reply) => {
                call.answered();
                Ok(reply)
            }
            Err(error) => match self.fault(&error) {
                // redis-rs turns a refused transaction into an `Err`; it is an answer like any other.
                None => {
                    call.answered();
                    Ok(Reply::Aborted(error))
                }
                Some(fault) => {
                    let unsent = call.is_unsent();
                    Err(LinkError {
                        fault,
                        unsent,
                        was_idle,
                        error,
                    })
                }
            },
        }
    }

    fn fault(&self, error: &RedisError) -> Option<Fault> {
        match error.kind() {
            _ if self.wire.saw_flood() => Some(Fault::Flood),
            _ if self.wire.saw_stray() => Some(Fault::Stray),
            ErrorKind::Io if error.is_timeout() && !self.wire.is_dead() => Some(Fault::Timeout),
            ErrorKind::Io => Some(Fault::Lost),
            // A reply cut short by FIN is a parse error to redis-rs, and a lost connection to us.
            ErrorKind::Parse if self.wire.saw_eof() => Some(Fault::Lost),
            ErrorKind::Parse => Some(Fault::Garbage),
            ErrorKind::Server(_) | ErrorKind::Extension => None,
            _ => Some(Fault::Misuse),
        }
    }
}
