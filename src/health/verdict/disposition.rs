//! What becomes of the command.

use super::{Class, Group, Observation, Phase, Seen, io_group};

/// Where a command goes after this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// Back to the caller as it is; no other node would say better.
    Answer,
    /// Never reached a server: the next candidate may have it.
    NotSent,
    /// The server did not execute it and cannot serve now: the next candidate may have it.
    Rejected,
    /// The server lives and refused this command (`READONLY`, `OOM`, `MISCONF`, `NOREPLICAS`):
    /// back to the caller unless the cluster was told to move on.
    NotServing,
    /// It may have been executed: only what is safe to repeat goes on.
    MaybeExecuted,
}

/// Says what an observation means for the command, whatever it means for the node.
///
/// For `EXECABORT` and for set-up failures the class inside decides. Each command of a plain
/// pipeline is an observation of its own.
pub(crate) fn disposition(o: &Observation) -> Disposition {
    match (o.seen, o.phase) {
        // Our own mistake fails everywhere.
        (Seen::Misuse, _) => Disposition::Answer,
        (Seen::Io(kind, os), _) if io_group(kind, os) == Group::Misuse => Disposition::Answer,
        (Seen::Value | Seen::WrongToken, _) => Disposition::Answer,
        (Seen::Error(class), Phase::Command) => class.disposition(),
        (Seen::Error(class), Phase::Setup) => setup_disposition(o.line.unwrap_or(class)),
        (_, Phase::Setup) => o.line.map_or(Disposition::NotSent, setup_disposition),
        (Seen::PoolClosed, _) => Disposition::NotSent,
        // Also of a time-out: what was not written when its caller gave up never is.
        _ if o.written => Disposition::MaybeExecuted,
        _ => Disposition::NotSent,
    }
}

/// Nothing of the caller's was sent during set-up, so even a refusal is at worst "not sent".
fn setup_disposition(class: Class) -> Disposition {
    match class.disposition() {
        Disposition::Rejected => Disposition::Rejected,
        _ if class == Class::NoProto => Disposition::Answer,
        _ => Disposition::NotSent,
    }
}
