//! What ends a command early: one line, and an exit code.

use std::io::{self, Write as _};
use std::process::ExitCode;

use fluster::BuildError;
use fluster::discovery::{DiscoveryError, DiscoveryErrorKind};

use crate::foreign::escaped;
use crate::text::masked;

/// Longer lines on standard error have something in them that is not ours. In characters.
const LONGEST: usize = 2000;

/// The two configurations of a comparison place keys differently; as `diff` says it.
pub const DIFFERENT: u8 = 1;
/// Something else failed, such as a full disk below the output.
const OTHER: u8 = 1;
/// What was asked for makes no sense: arguments, a configuration, a key that is not hexadecimal.
pub const USAGE: u8 = 2;
/// A server did not answer.
pub const UNREACHABLE: u8 = 3;
/// No node is left to serve a key.
pub const NO_NODE: u8 = 4;
/// `select`: the source cannot be asked; `EX_USAGE` to others, and the code that proxenos has here.
pub const CANNOT_CONNECT: u8 = 64;
/// `select`: the source has nothing that matches.
pub const NOTHING_FOUND: u8 = 65;

/// Why a command ends early.
#[derive(Debug)]
pub enum Fault {
    /// To be said on standard error.
    Said(u8, String),
    /// Nobody reads our output any more, as with `| head`: a wish, not a failure.
    Unread,
}

impl Fault {
    pub fn new(code: u8, text: impl Into<String>) -> Self {
        Self::Said(code, text.into())
    }

    pub fn usage(text: impl Into<String>) -> Self {
        Self::new(USAGE, text)
    }

    pub fn other(text: impl Into<String>) -> Self {
        Self::new(OTHER, text)
    }

    /// The same, with what it is about in front.
    pub fn about(self, what: impl std::fmt::Display) -> Self {
        match self {
            Self::Said(code, text) => Self::Said(code, format!("{what}: {text}")),
            Self::Unread => Self::Unread,
        }
    }

    /// Says it, and gives the exit code.
    pub fn report(self) -> ExitCode {
        match self {
            Self::Said(code, text) => {
                say(&text);
                ExitCode::from(code)
            }
            Self::Unread => ExitCode::SUCCESS,
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Said(_, text) => f.write_str(&escaped(masked(text), LONGEST)),
            Self::Unread => f.write_str("nobody reads the answer"),
        }
    }
}

/// One line on standard error, whatever the text holds, and never a password.
pub fn say(text: &str) {
    let line = escaped(masked(text), LONGEST);
    // When standard error is closed too, nobody is left to be told.
    let _ = writeln!(io::stderr().lock(), "fluster: {line}");
}

/// Of writing the answer. What is read is described where it is read.
/// What a source says is wrong, with proxenos' exit codes.
pub fn refused(e: &DiscoveryError) -> Fault {
    let code = match e.kind() {
        DiscoveryErrorKind::Config => USAGE,
        DiscoveryErrorKind::NotFound => NOTHING_FOUND,
        _ => CANNOT_CONNECT,
    };
    Fault::new(code, e.to_string())
}

impl From<io::Error> for Fault {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::BrokenPipe => Self::Unread,
            _ => Self::other(format!("the answer cannot be written: {e}")),
        }
    }
}

/// In the words of the command line; the library's speak of its functions.
impl From<BuildError> for Fault {
    fn from(e: BuildError) -> Self {
        Self::usage(match e {
            BuildError::NoNodes => {
                "it has no node: add --node NAME=URL, or [[nodes]] with a `url` to the file".into()
            }
            BuildError::DuplicateName { name, .. } => {
                format!("two nodes are named \"{name}\": give one of them another name")
            }
            e => e.to_string(),
        })
    }
}
