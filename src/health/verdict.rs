//! From what was seen on the wire to what it says about the node: two pure tables.
//!
//! [`judge`] decides about the node's health and the connection, [`disposition()`] about the command.
//! They differ on purpose: a node can be in perfect health and still answer `READONLY`.
//!
//! Codes and kinds are judged by the phase they occur in, never by an error library's predicates:
//! those call an application's type error "unrecoverable" and an unreachable host "retry at once".

mod disposition;
mod reason;
mod reply;
#[cfg(test)]
mod tests;

use std::io;
use std::time::{Duration, Instant};

pub(crate) use self::disposition::{Disposition, disposition};
pub use self::reason::Reason;
pub(crate) use self::reply::{Class, classify_code, classify_line, worst};
use super::waits::{Ran, Wait};

/// Whether a connection was being made or a command was on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// From the dial to the end of TLS, AUTH, SELECT and CLIENT SETINFO.
    Setup,
    /// A command on a connection that was ready.
    Command,
}

/// What came of it.
///
/// That a reply does not fit the type which the application asked for is seen above, where nobody judges a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A complete reply that is no error; in the set-up phase: at least one reply was read.
    Value,
    /// An error reply, classified by [`classify_code`], or by [`worst`] for `EXECABORT`.
    Error(Class),
    /// A token was asked for, and something else came.
    WrongToken,
    /// The operating system's error, with its number where there is one.
    Io(io::ErrorKind, Option<i32>),
    /// Bytes that are no reply. A reply that the other side's end of the connection cut is [`Self::Io`].
    Garbage,
    /// Bytes that nobody asked for.
    Unsolicited,
    /// The name did not resolve, or not in time.
    Dns,
    /// The server's certificate was refused.
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "nobody looks at one"))]
    Certificate,
    /// The server refused the credentials (the error carries no code).
    Credentials,
    /// The client library refuses its own configuration.
    Misuse,
    /// The connection pool was closed.
    PoolClosed,
}

/// Everything the verdict depends on, as plain data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Observation {
    pub(crate) phase: Phase,
    pub(crate) seen: Seen,
    /// When the dial began or the command was handed to the connection.
    pub(crate) sent_at: Instant,
    /// No byte came from this node, on any connection, since `sent_at`.
    pub(crate) silent: bool,
    /// How long an answer was waited for.
    pub(crate) limit: Duration,
    /// How much of that our own process ran, as the watchdog knows.
    pub(crate) ran: Ran,
    /// A blocking command's own limit expired.
    pub(crate) own_limit: bool,
    /// The connection may have written since `sent_at`; `false` only when it provably has not.
    pub(crate) written: bool,
    /// How long the connection had been unused before this command.
    pub(crate) unused_for: Duration,
    /// How long ago the node's last success was, on any connection.
    pub(crate) since_success: Option<Duration>,
    /// Whether the node has an established, working connection.
    pub(crate) has_live: bool,
    /// The error the server wrote during set-up, from [`classify_line`]; the client library
    /// reports it as a broken pipe.
    pub(crate) line: Option<Class>,
}

impl Observation {
    /// An observation with nothing to excuse it and nothing known beside it.
    pub(crate) fn new(phase: Phase, seen: Seen, sent_at: Instant) -> Self {
        Self {
            phase,
            seen,
            sent_at,
            silent: false,
            limit: Duration::ZERO,
            ran: Ran::Throughout,
            own_limit: false,
            written: true,
            unused_for: Duration::ZERO,
            since_success: None,
            has_live: false,
            line: None,
        }
    }

    /// Whether no answer came in time: only the watchdog knows whether that says anything about the node.
    pub(crate) fn is_time_out(&self) -> bool {
        matches!(self.seen, Seen::Io(kind, os) if io_group(kind, os) == Group::Silence)
    }
}

/// Evidence that is not proof.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Soft {
    /// One strike.
    Strike(Reason),
    /// A time-out; those of one burst are one strike, and one of which our own stalls left less than half
    /// is a part of the next.
    Timeout {
        sent_at: Instant,
        silent: bool,
        wait: Wait,
    },
    /// A connection broke; `idle` when it had not been used for a while.
    Lost { idle: bool },
}

impl Soft {
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::Strike(reason) => reason,
            Self::Timeout { .. } => Reason::Timeout,
            Self::Lost { .. } => Reason::Lost,
        }
    }
}

/// What an observation says about the node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Proof of life.
    Alive,
    /// Says nothing.
    Neutral,
    /// Suspicion.
    Soft(Soft),
    /// Proof: out at once.
    Hard(Reason),
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionAction {
    Keep,
    Discard,
}

/// The whole judgement of one observation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    pub(crate) connection: ConnectionAction,
    /// Dial once, at once: a broken connection is rarely alone, and whether the node is gone shows within a
    /// millisecond.
    pub(crate) verify: bool,
    /// The node lives and refuses writes.
    pub(crate) refuses_writes: bool,
}

/// A connection unused for this long may have been closed by the server for its own reasons.
const IDLE_AFTER: Duration = Duration::from_secs(1);

/// A node that answered this recently is not ejected because one dial hangs.
const FRESH_SUCCESS: Duration = Duration::from_secs(1);

/// Says what an observation means for the node and for the connection.
pub(crate) fn judge(o: &Observation) -> Judgement {
    let verdict = verdict(o);
    Judgement {
        verdict,
        connection: connection_action(o),
        verify: breaks_a_connection(o),
        refuses_writes: matches!(o.seen, Seen::Error(class) if class.refuses_writes()),
    }
}

fn verdict(o: &Observation) -> Verdict {
    use Verdict::{Alive, Hard, Neutral};
    match (o.seen, o.phase) {
        (Seen::Value, _) => Alive,
        (Seen::Error(class), Phase::Command) => reply_verdict(class, o),
        (Seen::Error(class), Phase::Setup) => refusal(o.line.unwrap_or(class), o),
        (Seen::Io(kind, os), phase) => match (io_group(kind, os), phase) {
            (Group::OwnLimit | Group::Misuse, _) => Neutral,
            (Group::Silence, phase) => time_out(o, phase),
            (Group::Closed, Phase::Setup) => match o.line {
                Some(class) => refusal(class, o),
                None => strike(Reason::Lost),
            },
            (Group::Closed, Phase::Command) => Verdict::Soft(Soft::Lost {
                idle: o.unused_for >= IDLE_AFTER,
            }),
            (Group::Refused, Phase::Setup) => Hard(Reason::Refused),
            (Group::Unreachable, Phase::Setup) => Hard(Reason::Unreachable),
            // On an established connection these are rumours of a router, not of the kernel's
            // own table.
            (Group::Unreachable, Phase::Command) => strike(Reason::Unreachable),
            (Group::Config, Phase::Setup) => Hard(Reason::Config),
            (Group::Other, Phase::Setup) => strike(Reason::Io),
            (Group::Refused | Group::Config | Group::Other, Phase::Command) => {
                Verdict::Soft(Soft::Lost { idle: false })
            }
        },
        (Seen::Garbage, Phase::Setup) if o.line.is_some_and(Class::is_refusal) => {
            refusal(o.line.unwrap_or(Class::Answer), o)
        }
        (Seen::Garbage | Seen::WrongToken, _) => Hard(Reason::NotRedis),
        (Seen::Dns, _) => strike(Reason::Dns),
        (Seen::Certificate | Seen::Credentials, _) => Hard(Reason::Config),
        (Seen::Misuse | Seen::Unsolicited | Seen::PoolClosed, _) => Neutral,
    }
}

fn strike(reason: Reason) -> Verdict {
    Verdict::Soft(Soft::Strike(reason))
}

/// The verdict on an error reply to a command.
fn reply_verdict(class: Class, o: &Observation) -> Verdict {
    match class {
        Class::NotReady => Verdict::Hard(Reason::NotReady),
        Class::Busy => strike(Reason::Busy),
        // Written before the server closes a connection it never accepted: still set-up, though a
        // client that sends no set-up commands sees it as the reply to its first one.
        Class::MaxClients | Class::Denied => refusal(class, o),
        _ => Verdict::Alive,
    }
}

/// The verdict on a server that refuses the connection in so many words.
fn refusal(class: Class, o: &Observation) -> Verdict {
    match class {
        Class::NotReady => Verdict::Hard(Reason::NotReady),
        Class::Busy => strike(Reason::Busy),
        // The node is alive for everyone who is already connected, ourselves included.
        Class::MaxClients | Class::Denied if o.has_live => Verdict::Neutral,
        Class::MaxClients => strike(Reason::MaxClients),
        Class::Denied => strike(Reason::Config),
        Class::NoProto => Verdict::Neutral,
        _ => Verdict::Hard(Reason::Config),
    }
}

fn time_out(o: &Observation, phase: Phase) -> Verdict {
    if o.own_limit && phase == Phase::Command {
        return Verdict::Neutral;
    }
    let fresh = o.since_success.is_some_and(|ago| ago <= FRESH_SUCCESS);
    // A wait put together from what several stalls have left is suspicion, never proof.
    if phase == Phase::Setup && !fresh && o.ran.is_most_of(o.limit) {
        return Verdict::Hard(Reason::Timeout);
    }
    Verdict::Soft(Soft::Timeout {
        sent_at: o.sent_at,
        silent: o.silent,
        wait: Wait {
            ran: o.ran,
            limit: o.limit,
        },
    })
}

fn connection_action(o: &Observation) -> ConnectionAction {
    match o.seen {
        _ if o.phase == Phase::Setup && o.seen != Seen::Value => ConnectionAction::Discard,
        Seen::Value | Seen::Misuse | Seen::PoolClosed => ConnectionAction::Keep,
        // `NOAUTH` on a connection that was authenticated: reset, or its user was deleted.
        Seen::Error(Class::NoAuth | Class::MaxClients | Class::Denied) => ConnectionAction::Discard,
        Seen::Error(_) => ConnectionAction::Keep,
        _ => ConnectionAction::Discard,
    }
}

fn breaks_a_connection(o: &Observation) -> bool {
    let Seen::Io(kind, os) = o.seen else {
        return false;
    };
    let broken = match io_group(kind, os) {
        // The kernel's own, with a number, ends the connection; ours ends the wait.
        Group::Silence => os.is_some(),
        Group::OwnLimit | Group::Misuse => false,
        _ => true,
    };
    o.phase == Phase::Command && broken
}

/// What kinds of operating system errors have in common for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    Refused,
    Unreachable,
    Silence,
    Closed,
    Config,
    OwnLimit,
    Misuse,
    Other,
}

fn io_group(kind: io::ErrorKind, os: Option<i32>) -> Group {
    use io::ErrorKind as K;
    // ENFILE and EMFILE, the same numbers on every Unix, have no stable kind. Our own limit on
    // open files must not look like dead servers.
    if cfg!(unix) && matches!(os, Some(23 | 24)) {
        return Group::OwnLimit;
    }
    match kind {
        K::ConnectionRefused | K::NotFound => Group::Refused,
        K::HostUnreachable | K::NetworkUnreachable | K::NetworkDown => Group::Unreachable,
        K::TimedOut | K::WouldBlock => Group::Silence,
        K::ConnectionReset
        | K::ConnectionAborted
        | K::BrokenPipe
        | K::NotConnected
        | K::UnexpectedEof
        | K::WriteZero => Group::Closed,
        // TLS reports certificates as invalid data; a socket file or a firewall may forbid us.
        K::InvalidData | K::PermissionDenied => Group::Config,
        // No local port or no memory left.
        K::AddrNotAvailable | K::AddrInUse | K::OutOfMemory => Group::OwnLimit,
        K::InvalidInput | K::Unsupported => Group::Misuse,
        _ => Group::Other,
    }
}

/// How a probe went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProbeResult {
    /// A full set-up and the right answer.
    Ok,
    /// Still down.
    Failed(Reason),
    /// Up, but not serving yet, or nothing learnt: ask again soon, hold nothing against it.
    NotReady(Reason),
    /// Our own process stood still for most of it: ask again.
    NotRun,
    /// Refuses us until somebody changes the configuration.
    Config,
    /// Another service answers there.
    NotRedis,
}

/// Judges what a probe saw: a fresh connection, the full set-up and one `PING` with a token.
///
/// It is stricter than [`judge`]: to come back, a node must show that it serves.
pub(crate) fn judge_probe(o: &Observation) -> ProbeResult {
    if let (Seen::Error(class), Phase::Command) = (o.seen, o.phase) {
        return match class {
            Class::NotReady => ProbeResult::NotReady(Reason::NotReady),
            Class::Busy => ProbeResult::NotReady(Reason::Busy),
            Class::NoAuth | Class::WrongPass | Class::Denied => ProbeResult::Config,
            Class::MaxClients => ProbeResult::Failed(Reason::MaxClients),
            // It cannot save to disk, so it refuses writes and, oddly, PING. It serves reads.
            Class::Misconf => ProbeResult::Ok,
            // A user or a server without PING would else stay out for ever; whoever says so has
            // let us in and executes commands.
            Class::NoPerm | Class::UnknownCommand => ProbeResult::Ok,
            Class::ReadOnly | Class::NoReplicas | Class::OutOfMemory => ProbeResult::Ok,
            Class::NoProto | Class::Answer => ProbeResult::Failed(Reason::Protocol),
        };
    }
    // A set-up alone is no proof: an empty one "succeeds" against a stopped server.
    if o.phase == Phase::Setup && o.seen == Seen::Value {
        return ProbeResult::Failed(Reason::Protocol);
    }
    if o.is_time_out() && !o.ran.is_most_of(o.limit) {
        return ProbeResult::NotRun;
    }
    match verdict(o) {
        Verdict::Alive => ProbeResult::Ok,
        Verdict::Neutral if o.seen == Seen::Misuse || o.line == Some(Class::NoProto) => {
            ProbeResult::Config
        }
        Verdict::Neutral => ProbeResult::NotReady(neutral_reason(o)),
        Verdict::Hard(reason) => from_reason(reason),
        Verdict::Soft(soft) => from_reason(soft.reason()),
    }
}

fn from_reason(reason: Reason) -> ProbeResult {
    match reason {
        Reason::NotReady | Reason::Busy => ProbeResult::NotReady(reason),
        Reason::Config => ProbeResult::Config,
        Reason::NotRedis => ProbeResult::NotRedis,
        _ => ProbeResult::Failed(reason),
    }
}

/// Why a probe taught us nothing.
fn neutral_reason(o: &Observation) -> Reason {
    match o.line {
        Some(Class::MaxClients) => Reason::MaxClients,
        _ => Reason::Io,
    }
}
