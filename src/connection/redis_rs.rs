//! The places where redis-rs's majors differ, all of them: what its 2.0 changes is changed here.
//!
//! Its values, commands, errors and traits are what callers hold, and are used by their names everywhere. In the
//! candidates of 2.0 these are other than in 1.x: a pipeline lends its commands as `CmdRef`, has no `with_capacity`,
//! and a message can be made by `PushInfo::new` alone. What only its own connection can make is in
//! [`aborted`](super::aborted); what only its parser can, here and in the decoder's big numbers.

use redis::{Cmd, Pipeline, PushInfo, PushKind, ServerError, Value, make_extension_error};

/// The commands of a pipeline.
pub(crate) fn commands(pipeline: &Pipeline) -> impl Iterator<Item = &Cmd> {
    pipeline.cmd_iter()
}

/// An empty pipeline with room for so many commands.
pub(crate) fn pipeline(commands: usize) -> Pipeline {
    Pipeline::with_capacity(commands)
}

/// A message of a server.
pub(crate) fn message(kind: PushKind, data: Vec<Value>) -> PushInfo {
    PushInfo { kind, data }
}

/// The codes that redis-rs has kinds for. Their errors only its parser can make, for more than making them costs.
pub(super) const KINDS: [&str; 14] = [
    "ERR",
    "EXECABORT",
    "LOADING",
    "NOSCRIPT",
    "MOVED",
    "ASK",
    "TRYAGAIN",
    "CLUSTERDOWN",
    "CROSSSLOT",
    "MASTERDOWN",
    "READONLY",
    "NOTBUSY",
    "NOSUB",
    "NOPERM",
];

/// The error that a server's line is, as redis-rs's own connection would have it.
pub(crate) fn server_error(line: &str) -> Option<ServerError> {
    let (code, detail) = match line.split_once(' ') {
        Some((code, detail)) => (code, Some(detail)),
        None => (line, None),
    };
    if !KINDS.contains(&code) {
        let error = make_extension_error(code.to_owned(), detail.map(str::to_owned));
        return error.try_into().ok();
    }
    let reply = format!("!{}\r\n{line}\r\n", line.len());
    match redis::parse_redis_value(reply.as_bytes()) {
        Ok(Value::ServerError(error)) => Some(error),
        _ => None,
    }
}
