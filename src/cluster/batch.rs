//! Commands for many nodes, cut into pieces and put together again.
//!
//! Pieces of one node travel in one pipeline, in the order of their commands, so that commands about
//! the same key keep their order even where one of them is cut.

use std::sync::Arc;

use redis::{Cmd, Pipeline, Value};

use crate::backend::answer::Answer;
use crate::cluster::engine::Engine;
use crate::cluster::merge::{self, Piece, gathered};
use crate::cluster::plan::{Plan, target};
use crate::cluster::target::Target;
use crate::command::{self, Gather, Scatter};
use crate::connection::args::args;
use crate::connection::redis_rs;
use crate::connection::reply::Reply;
use crate::connection::request::LaneRequest;
use crate::error::Error;

/// Some commands, and the pieces they fall into.
pub(crate) struct Batch<'a> {
    items: Vec<Item<'a>>,
    parts: Vec<Part<'a>>,
    /// The pipeline whose commands these are.
    pipeline: Option<&'a Pipeline>,
}

struct Item<'a> {
    cmd: &'a Cmd,
    kind: Kind,
    read_only: bool,
    /// How many parts it has.
    parts: usize,
}

enum Kind {
    One,
    Split(Scatter),
    Everywhere { gather: Gather, partial: bool },
    Refused(Error),
}

struct Part<'a> {
    item: usize,
    /// Which of the item's keys it stands for.
    nth: usize,
    target: Target<'a>,
}

/// What is sent to one node.
pub(crate) enum Outgoing<'a> {
    /// All of the pipeline, as it was given.
    Whole(&'a Pipeline),
    One(Cmd),
    Many(Pipeline),
}

impl Outgoing<'_> {
    /// Each of its commands has a plan, or was cut out of one that has.
    pub(crate) fn request(&self) -> LaneRequest<'_> {
        match self {
            Self::Whole(pipeline) => LaneRequest::all_ours(pipeline),
            Self::One(cmd) => LaneRequest::ours(cmd),
            Self::Many(pipeline) => LaneRequest::all_ours(pipeline),
        }
    }
}

impl<'a> Batch<'a> {
    pub(crate) fn new() -> Self {
        Self {
            items: Vec::new(),
            parts: Vec::new(),
            pipeline: None,
        }
    }

    /// For the commands of this pipeline, each of which is to be added.
    pub(crate) fn of(pipeline: &'a Pipeline) -> Self {
        Self {
            items: Vec::with_capacity(pipeline.len()),
            parts: Vec::with_capacity(pipeline.len()),
            pipeline: Some(pipeline),
        }
    }

    /// Adds a command as it was planned. With `partial`, one for all nodes makes do with those there are.
    pub(crate) fn push(
        &mut self,
        engine: &Arc<Engine>,
        cmd: &'a Cmd,
        plan: Result<Plan, Error>,
        partial: bool,
    ) {
        let item = self.items.len();
        let before = self.parts.len();
        let mut add = |nth, target| self.parts.push(Part { item, nth, target });
        let kind = match plan {
            Err(error) => Kind::Refused(error),
            Ok(Plan::One { at, together }) => {
                add(0, target(cmd, at, together));
                Kind::One
            }
            Ok(Plan::Anywhere) => {
                add(0, Target::Any);
                Kind::One
            }
            Ok(Plan::Split(scatter)) => {
                let keys = args(cmd).skip(1).step_by(scatter.stride());
                let count = (args(cmd).len() - 1 - scatter.tail()) / scatter.stride();
                for (nth, key) in keys.take(count).enumerate() {
                    add(nth, Target::Key(key));
                }
                Kind::Split(scatter)
            }
            Ok(Plan::Everywhere(gather)) => {
                let partial = partial || gather == Gather::Any;
                match engine.everyone(partial) {
                    Ok(nodes) => {
                        for (nth, backend) in nodes.into_iter().enumerate() {
                            add(nth, Target::Node(backend));
                        }
                        Kind::Everywhere { gather, partial }
                    }
                    Err(error) => Kind::Refused(error),
                }
            }
        };
        let parts = self.parts.len() - before;
        let read_only = command::is_read_only(args(cmd));
        self.items.push(Item {
            cmd,
            kind,
            read_only,
            parts,
        });
    }

    /// The number of pieces.
    pub(crate) fn len(&self) -> usize {
        self.parts.len()
    }

    pub(crate) fn target(&self, piece: usize) -> &Target<'a> {
        &self.parts[piece].target
    }

    /// Whether sending the piece twice changes nothing.
    pub(crate) fn is_read_only(&self, piece: usize) -> bool {
        self.items[self.parts[piece].item].read_only
    }

    /// Neighbouring pieces of one cut command make one command again.
    fn runs<'p>(
        &'p self,
        pieces: &'p [usize],
    ) -> impl Iterator<Item = (&'p Item<'a>, &'p [usize])> {
        pieces
            .chunk_by(|a, b| self.parts[*a].item == self.parts[*b].item)
            .map(|run| (&self.items[self.parts[run[0]].item], run))
    }

    /// What is sent to one node for these pieces.
    pub(crate) fn request(&self, engine: &Engine, pieces: &[usize]) -> Outgoing<'a> {
        if let Some(pipeline) = self.pipeline.filter(|_| self.is_whole(engine, pieces)) {
            // A copy of each command would be two allocations for each.
            return Outgoing::Whole(pipeline);
        }
        let mut commands: Vec<Cmd> = Vec::with_capacity(pieces.len());
        // A node that does not know a script learns it from the first call, and the order holds.
        let mut learnt: Vec<&[u8]> = Vec::new();
        for (item, run) in self.runs(pieces) {
            commands.push(match item.kind {
                Kind::Split(scatter) => self.part_of(item, scatter, run),
                _ => {
                    let digest = args(item.cmd).nth(1).unwrap_or_default();
                    match engine.scripts.eval(item.cmd) {
                        Some(eval) if !learnt.contains(&digest) => {
                            learnt.push(digest);
                            eval
                        }
                        _ => item.cmd.clone(),
                    }
                }
            });
        }
        if commands.len() == 1 {
            return Outgoing::One(commands.swap_remove(0));
        }
        let mut pipeline = redis_rs::pipeline(commands.len());
        for cmd in commands {
            pipeline.add_command(cmd);
        }
        Outgoing::Many(pipeline)
    }

    /// Whether these pieces are all of the commands, each as it was given.
    fn is_whole(&self, engine: &Engine, pieces: &[usize]) -> bool {
        let is_as_given = |item: &Item<'_>| {
            matches!(item.kind, Kind::One) && engine.scripts.eval(item.cmd).is_none()
        };
        // One alone is answered as a command is.
        let is_all = pieces.len() > 1 && pieces.len() == self.items.len();
        is_all && self.items.iter().all(is_as_given)
    }

    fn part_of(&self, item: &Item<'_>, scatter: Scatter, run: &[usize]) -> Cmd {
        let words: Vec<&[u8]> = args(item.cmd).collect();
        let mut cmd = Cmd::new();
        cmd.arg(words[0]);
        for &piece in run {
            let at = 1 + self.parts[piece].nth * scatter.stride();
            for word in &words[at..at + scatter.stride()] {
                cmd.arg(*word);
            }
        }
        for word in &words[words.len() - scatter.tail()..] {
            cmd.arg(*word);
        }
        cmd
    }

    /// The answer to [`request`](Self::request), taken apart again: one value per piece, or fewer when
    /// the server did not answer every command.
    pub(crate) fn answers(&self, pieces: &[usize], reply: Reply) -> Vec<Value> {
        let runs = self.runs(pieces).count();
        let values = if runs == 1 {
            vec![reply.into_value()]
        } else {
            reply.into_values()
        };
        let mut answers = Vec::with_capacity(pieces.len());
        for ((item, run), value) in self.runs(pieces).zip(values) {
            match item.kind {
                Kind::Split(scatter) => merge::apart(scatter, run.len(), value, &mut answers),
                _ => answers.push(value),
            }
        }
        answers
    }

    /// One answer per command, from those of its pieces.
    pub(crate) fn finish(self, engine: &Engine, pieces: Vec<Piece>) -> Vec<Result<Answer, Error>> {
        let mut pieces = pieces.into_iter();
        let results = self.items.into_iter().map(|item| {
            let mut own = pieces.by_ref().take(item.parts);
            match item.kind {
                Kind::Refused(error) => Err(error),
                Kind::One => own
                    .next()
                    .unwrap_or_else(|| Ok(Answer::of_several(Value::Nil))),
                Kind::Split(scatter) => {
                    let words: Vec<&[u8]> = args(item.cmd).collect();
                    merge::together(&words, scatter, own.collect()).map(Answer::of_several)
                }
                Kind::Everywhere { gather, partial } => {
                    let value = gathered(gather, partial, own.collect())?;
                    remember(engine, item.cmd, gather, &value);
                    Ok(Answer::of_several(value))
                }
            }
        });
        results.collect()
    }
}

/// Keeps the scripts that were loaded, and forgets those that were flushed.
fn remember(engine: &Engine, cmd: &Cmd, gather: Gather, answer: &Value) {
    let mut words = args(cmd).skip(1);
    let sub = words.next().unwrap_or_default();
    match (gather, answer) {
        (Gather::Any, Value::BulkString(digest)) => {
            engine
                .scripts
                .remember(digest, words.next().unwrap_or_default());
        }
        (Gather::Same, _) if sub.eq_ignore_ascii_case(b"FLUSH") => engine.scripts.forget(),
        _ => {}
    }
}
