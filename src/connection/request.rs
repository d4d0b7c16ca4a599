//! What is put on a connection in one piece, and what may not be put on a shared one.

use redis::{Cmd, Pipeline};

use super::args::args;
use crate::command::{self, Block, Spec, State};
use crate::error::{Error, ErrorKind, Outcome};

/// What is put on a connection in one piece.
#[derive(Clone, Copy)]
pub(crate) enum Request<'a> {
    One(&'a Cmd),
    Many {
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    },
}

pub(crate) fn each_command<'a>(request: Request<'a>) -> impl Iterator<Item = &'a Cmd> {
    let (one, many) = match request {
        Request::One(cmd) => (Some(cmd), None),
        Request::Many { pipeline, .. } => (None, Some(pipeline.cmd_iter())),
    };
    one.into_iter().chain(many.into_iter().flatten())
}

/// Why a request may not be put on a connection that others share.
pub(crate) fn refusal_on_lane(request: Request<'_>) -> Option<String> {
    each_command(request).find_map(|cmd| {
        // The usual case, by one look at the table.
        if !cmd.is_no_response() && matches!(Spec::find_plain(args(cmd)), Some((_, true))) {
            return None;
        }
        let name = || String::from_utf8_lossy(args(cmd).next().unwrap_or_default()).to_uppercase();
        if cmd.is_no_response() {
            return Some(no_response());
        }
        if command::state(args(cmd)) != State::Unchanged {
            let name = name();
            return Some(match &*name {
                "SUBSCRIBE" | "PSUBSCRIBE" | "SSUBSCRIBE" => format!(
                    "{name} needs a connection of its own; call `cluster.subscribe(..)` or `psubscribe(..)`"
                ),
                _ => format!(
                    "{name} changes the state of a connection that others share; send it over `client.dedicated().await?`"
                ),
            });
        }
        if command::block(args(cmd)) != Block::No {
            return Some(format!(
                "{} blocks a connection that others share; send it over `client.dedicated().await?`",
                name()
            ));
        }
        None
    })
}

pub(crate) fn no_response() -> String {
    "`set_no_response` would shift every later reply of the connection; leave it off".into()
}

pub(crate) fn refused(why: String) -> Error {
    Error::new(ErrorKind::Refused, Outcome::NotSent, why)
}
