//! What the code of an error reply says.

use super::Disposition;

/// Error replies by what follows from them.
///
/// Codes decide, never a client library's error kinds: it knows only a few codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// `LOADING`, `MASTERDOWN`, `CLUSTERDOWN`.
    NotReady,
    /// `BUSY`: a script runs.
    Busy,
    /// `ERR max number of clients reached`.
    MaxClients,
    /// `DENIED`: protected mode.
    Denied,
    /// `READONLY`, and `UNBLOCKED` because the master became a replica.
    ReadOnly,
    /// `NOREPLICAS`.
    NoReplicas,
    /// `OOM`.
    OutOfMemory,
    /// `MISCONF`: cannot save to disk.
    Misconf,
    /// `NOAUTH`.
    NoAuth,
    /// `WRONGPASS`.
    WrongPass,
    /// `NOPERM`.
    NoPerm,
    /// `NOPROTO`: a protocol version the server does not speak.
    NoProto,
    /// `ERR unknown command`.
    UnknownCommand,
    /// Any other error: the caller's own business.
    Answer,
}

impl Class {
    /// Where the command goes.
    pub(crate) fn disposition(self) -> Disposition {
        match self {
            Self::NotReady | Self::Busy | Self::MaxClients => Disposition::Rejected,
            Self::ReadOnly | Self::NoReplicas | Self::OutOfMemory | Self::Misconf => {
                Disposition::NotServing
            }
            _ => Disposition::Answer,
        }
    }

    /// Whether the node lives and refuses writes.
    pub(crate) fn refuses_writes(self) -> bool {
        self.disposition() == Disposition::NotServing
    }

    /// Whether a server that says this refuses the connection as such.
    pub(super) fn is_refusal(self) -> bool {
        !matches!(self, Self::Answer | Self::UnknownCommand) && !self.refuses_writes()
    }

    /// Which of several errors decides: what ejects, then what strikes, then what refuses, then
    /// what costs the connection.
    fn weight(self) -> u8 {
        match self {
            Self::NotReady => 5,
            Self::Busy | Self::MaxClients | Self::Denied => 4,
            Self::ReadOnly => 3,
            Self::NoReplicas | Self::OutOfMemory | Self::Misconf => 2,
            Self::NoAuth => 1,
            _ => 0,
        }
    }
}

/// Classifies an error reply by its code (the first word, without `-`) and the rest of its text.
pub(crate) fn classify_code(code: &str, detail: &str) -> Class {
    match code {
        "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" => Class::NotReady,
        "BUSY" => Class::Busy,
        "DENIED" => Class::Denied,
        "READONLY" => Class::ReadOnly,
        "UNBLOCKED" if detail.contains("instance state changed") => Class::ReadOnly,
        "NOREPLICAS" => Class::NoReplicas,
        "OOM" => Class::OutOfMemory,
        "MISCONF" => Class::Misconf,
        "NOAUTH" => Class::NoAuth,
        "WRONGPASS" => Class::WrongPass,
        "NOPERM" => Class::NoPerm,
        "NOPROTO" => Class::NoProto,
        "ERR" if detail.starts_with("max number of clients") => Class::MaxClients,
        "ERR" if detail.starts_with("unknown command") => Class::UnknownCommand,
        _ => Class::Answer,
    }
}

/// The class that decides for a transaction that was aborted (`EXECABORT`, which says nothing
/// itself): the worst of the errors inside.
pub(crate) fn worst(inside: impl IntoIterator<Item = Class>) -> Class {
    // `max_by_key` keeps the last of equals; which one does not matter, equals follow one rule.
    inside
        .into_iter()
        .max_by_key(|class| class.weight())
        .unwrap_or(Class::Answer)
}

/// Finds the refusal in the first bytes a server wrote, e.g. `-ERR max number of clients reached`.
///
/// `None` when there is none. Only for connections whose set-up failed: before that, an error line
/// among the first replies may be about a command that does not matter.
pub(crate) fn classify_line(bytes: &[u8]) -> Option<Class> {
    String::from_utf8_lossy(bytes)
        .lines()
        .filter_map(|line| line.strip_prefix('-'))
        .map(|line| {
            let (code, detail) = line.split_once(' ').unwrap_or((line, ""));
            classify_code(code, detail)
        })
        .find(|class| class.is_refusal())
}
