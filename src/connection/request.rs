//! What is put on a connection in one piece, and the one place that decides which connection may carry it.
//!
//! A connection tells replies apart by their order alone. So each command has to have exactly one reply,
//! and whoever counts them has to count right: one command without a reply, and from then on every
//! caller gets another's.

use redis::{Cmd, Pipeline, Value};

use super::args::args;
use super::followed::Followed;
use super::reply::Reply;
use crate::command::{self, Block, Spec, State};
use crate::connection::redis_rs;
use crate::error::{Error, ErrorKind, Outcome};

/// What is put on a connection in one piece.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request<'a> {
    One(&'a Cmd),
    Many(&'a Pipeline),
    /// Commands of ours behind one of these.
    Followed(&'a Followed<'a>),
}

impl<'a> Request<'a> {
    /// A pipeline as redis-rs hands it over, with its numbers: so many replies to skip, so many to keep.
    ///
    /// # Errors
    ///
    /// When the numbers are not the pipeline's own: what is left over would go to the next caller.
    pub(crate) fn many(pipeline: &'a Pipeline, offset: usize, count: usize) -> Result<Self, Error> {
        let own = replies(pipeline);
        if (offset, count) == own {
            return Ok(Self::Many(pipeline));
        }
        Err(refused(format!(
            "a pipeline of {} commands has its replies at offset {} and {} in number, not at {offset} and {count}; \
             send it with `query_async` and choose among the answers",
            pipeline.len(),
            own.0,
            own.1,
        )))
    }

    /// The caller's own, without what follows it.
    #[inline]
    pub(crate) fn own(self) -> Self {
        match self {
            Self::Followed(both) => both.own(),
            own => own,
        }
    }

    /// Its own commands.
    pub(crate) fn commands(self) -> impl Iterator<Item = &'a Cmd> {
        let (one, many) = match self.own() {
            Request::One(cmd) => (Some(cmd), None),
            Request::Many(pipeline) => (None, Some(redis_rs::commands(pipeline))),
            Request::Followed(_) => (None, None),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    pub(crate) fn is_transaction(self) -> bool {
        matches!(self.own(), Self::Many(pipeline) if pipeline.is_transaction())
    }

    /// The reply to a pipeline with nothing in it, for which no server has to be asked.
    pub(crate) fn answer_to_nothing(self) -> Option<Reply> {
        let nothing = Vec::new();
        match self {
            Self::Many(pipeline) if pipeline.is_empty() => Some(Reply::Many(match pipeline {
                p if p.is_transaction() => vec![Value::Array(nothing)],
                _ => nothing,
            })),
            _ => None,
        }
    }
}

/// How many replies come before those that are wanted, and how many of these there are: all of a pipeline's, or
/// that of the `EXEC` of an atomic one.
pub(crate) fn replies(pipeline: &Pipeline) -> (usize, usize) {
    match pipeline.is_transaction() {
        true => (pipeline.len() + 1, 1),
        false => (0, pipeline.len()),
    }
}

/// A request that may be put on a connection that others share; there is no other way onto one.
#[derive(Clone, Copy)]
pub(crate) struct LaneRequest<'a> {
    request: Request<'a>,
    /// It settles what a node gave out, and passes while that node is drained.
    settles: bool,
}

impl<'a> LaneRequest<'a> {
    /// Looks at each command.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] with the remedy, for what blocks, changes its connection, or has no reply of its own.
    pub(crate) fn check(request: Request<'a>) -> Result<Self, Error> {
        match request.commands().find_map(|cmd| {
            let found = Spec::find_plain(args(cmd));
            refusal_on_lane(cmd, found)
        }) {
            Some(why) => Err(refused(why)),
            None => Ok(Self::new(request)),
        }
    }

    /// [`check`](Self::check) of one command that was looked up in the table already.
    #[inline]
    pub(crate) fn looked_up(
        cmd: &'a Cmd,
        found: Option<(&'static Spec, bool)>,
    ) -> Result<Self, Error> {
        // The usual case, by one look at the table.
        if is_plain(cmd, found) {
            return Ok(Self::new(Request::One(cmd)));
        }
        match refusal_on_lane(cmd, found) {
            Some(why) => Err(refused(why)),
            None => Ok(Self::new(Request::One(cmd))),
        }
    }

    /// A command that fluster has written itself, or made of one that was checked.
    pub(crate) fn ours(cmd: &'a Cmd) -> Self {
        Self::vouched(Request::One(cmd))
    }

    /// One that settles what a node gave out: it passes while that node is drained.
    pub(crate) fn settling(cmd: &'a Cmd) -> Self {
        Self {
            settles: true,
            ..Self::ours(cmd)
        }
    }

    /// The same as [`ours`](Self::ours) for a pipeline.
    pub(crate) fn all_ours(pipeline: &'a Pipeline) -> Self {
        Self::vouched(Request::Many(pipeline))
    }

    fn vouched(request: Request<'a>) -> Self {
        debug_assert!(Self::check(request).is_ok(), "not for a shared connection");
        Self::new(request)
    }

    fn new(request: Request<'a>) -> Self {
        Self {
            request,
            settles: false,
        }
    }

    /// With commands of ours behind it.
    pub(crate) fn followed(self, both: &'a Followed<'a>) -> Self {
        Self {
            request: Request::Followed(both),
            ..self
        }
    }

    pub(crate) fn request(self) -> Request<'a> {
        self.request
    }

    /// Whether it passes while its node is drained.
    pub(crate) fn settles(self) -> bool {
        self.settles
    }
}

/// A request that may be put on a connection that nobody else uses, and how long it may wait there.
#[derive(Clone, Copy)]
pub(crate) struct Exclusively<'a> {
    pub(crate) request: Request<'a>,
    pub(crate) block: Block,
}

impl<'a> Exclusively<'a> {
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] for what ends the pairing of commands and replies.
    pub(crate) fn check(request: Request<'a>) -> Result<Self, Error> {
        let mut block = Block::No;
        for cmd in request.commands() {
            if let Some(why) = unpaired(cmd) {
                return Err(refused(why));
            }
            if command::state(args(cmd)) == State::Breaks {
                return Err(refused(
                    "this command ends the pairing of commands and replies, which a pooled connection needs; \
                     open a connection of your own with redis-rs for it"
                        .to_owned(),
                ));
            }
            block = longer(block, command::block(args(cmd)));
        }
        Ok(Self { request, block })
    }
}

fn longer(a: Block, b: Block) -> Block {
    match (a, b) {
        (Block::Forever, _) | (_, Block::Forever) => Block::Forever,
        (Block::AtMost(x), Block::AtMost(y)) => Block::AtMost(x.saturating_add(y)),
        (Block::No, other) | (other, Block::No) => other,
    }
}

/// Why a command has no reply, whatever its name.
fn unpaired(cmd: &Cmd) -> Option<String> {
    if cmd.is_no_response() {
        let text =
            "`set_no_response` would shift every later reply of the connection; leave it off";
        return Some(text.into());
    }
    if args(cmd).next().is_none() {
        return Some("a command without words gets no reply".into());
    }
    None
}

/// Whether nothing that follows its name can make the command unfit for a shared connection.
#[inline]
fn is_plain(cmd: &Cmd, found: Option<(&'static Spec, bool)>) -> bool {
    matches!(found, Some((_, true))) && !cmd.is_no_response()
}

/// Why a command may not be put on a connection that others share; `found` is its entry in the table.
fn refusal_on_lane(cmd: &Cmd, found: Option<(&'static Spec, bool)>) -> Option<String> {
    if is_plain(cmd, found) {
        return None;
    }
    if let Some(why) = unpaired(cmd) {
        return Some(why);
    }
    let name = || String::from_utf8_lossy(args(cmd).next().unwrap_or_default()).to_uppercase();
    if command::state(args(cmd)) != State::Unchanged {
        let name = name();
        return Some(match &*name {
            "SUBSCRIBE" | "PSUBSCRIBE" | "SSUBSCRIBE" => format!(
                "{name} needs a connection of its own; call `cluster.subscribe(..)`, `psubscribe(..)` or `ssubscribe(..)`"
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
}

pub(crate) fn refused(why: String) -> Error {
    Error::new(ErrorKind::Invalid, Outcome::NotSent, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(line: &str) -> Cmd {
        let mut cmd = Cmd::new();
        for word in line.split_whitespace() {
            cmd.arg(word);
        }
        cmd
    }

    #[test]
    fn only_what_has_one_reply_passes() {
        let mut silent = line("SET k v");
        silent.set_no_response(true);
        let mut unpaired = vec![Cmd::new(), silent];
        unpaired.extend(
            [
                "REPLCONF ACK 0",
                "client reply off",
                "SUBSCRIBE a",
                "MONITOR",
            ]
            .map(line),
        );
        for cmd in unpaired {
            for atomic in [false, true] {
                let mut pipe = Pipeline::new();
                pipe.cmd("GET").arg("k").add_command(cmd.clone());
                if atomic {
                    pipe.atomic();
                }
                let (one, many) = (Request::One(&cmd), Request::Many(&pipe));
                let words: Vec<_> = args(&cmd).map(String::from_utf8_lossy).collect();
                for request in [one, many] {
                    assert!(LaneRequest::check(request).is_err(), "{words:?} on a lane");
                    assert!(Exclusively::check(request).is_err(), "{words:?}");
                }
            }
        }
        let get = line("GET k");
        assert!(LaneRequest::check(Request::One(&get)).is_ok());
        let blocks = line("BLPOP k 1");
        assert!(LaneRequest::check(Request::One(&blocks)).is_err());
        assert!(Exclusively::check(Request::One(&blocks)).is_ok());
    }

    #[test]
    fn the_numbers_of_a_pipeline_are_its_own() {
        for len in 0..4 {
            for atomic in [false, true] {
                let mut pipe = Pipeline::new();
                for _ in 0..len {
                    pipe.cmd("GET").arg("k");
                }
                if atomic {
                    pipe.atomic();
                }
                let own = replies(&pipe);
                for offset in 0..7 {
                    for count in 0..7 {
                        let is_own = own == (offset, count);
                        assert_eq!(Request::many(&pipe, offset, count).is_ok(), is_own);
                    }
                }
                let all = pipe.len() + if atomic { 2 } else { 0 };
                assert_eq!(own.0 + own.1, all, "every reply is skipped or kept");
            }
        }
    }
}
