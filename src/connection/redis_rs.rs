//! The places where redis-rs's majors differ, all of them: what its 2.0 changes is changed here.
//!
//! Its values, commands, errors and traits are what callers hold, and are used by their names everywhere. In the
//! candidates of 2.0 these are other than in 1.x: a pipeline lends its commands as `CmdRef`, has no `with_capacity`,
//! and a message can be made by `PushInfo::new` alone. What only its own connection can make is in
//! [`aborted`](super::aborted).

use redis::{Cmd, Pipeline, PushInfo, PushKind, Value};

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
