//! The words of a redis-rs command.

use redis::{Arg, Cmd};

/// The arguments of a command, its name first.
pub(crate) fn args(cmd: &Cmd) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
    cmd.args_iter().map(|arg| match arg {
        Arg::Simple(bytes) => bytes,
        _ => b"".as_slice(),
    })
}
