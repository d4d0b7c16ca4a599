//! Which node or nodes a command is for, decided before anything is sent.

use redis::Cmd;

use crate::cluster::engine::Snapshot;
use crate::cluster::target::Target;
use crate::command::{BadKeys, Gather, Keyless, Scatter, Spec, keyless, sorts_by_other_keys};
use crate::connection::args::args;
use crate::connection::request::LaneRequest;
use crate::error::text::{one_line, quoted};
use crate::error::{Error, ErrorKind, Outcome};

/// Where a command goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// To the node of the word at this position.
    One {
        at: usize,
        /// It has other keys as well, all on that node now; their next candidates may differ.
        together: bool,
    },
    /// To the nodes of its keys, a part to each.
    Split(Scatter),
    /// To every node.
    Everywhere(Gather),
    /// To one live node, whichever.
    Anywhere,
}

impl Plan {
    /// Decides for `cmd` as the nodes are now; what has a plan may share a connection.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] for commands that cannot be routed, [`ErrorKind::CrossNode`] for keys of
    /// several nodes in a command that cannot be cut. Nothing was sent.
    pub(crate) fn of(snapshot: &Snapshot, cmd: &Cmd) -> Result<Self, Error> {
        let found = Spec::find_plain(args(cmd));
        LaneRequest::looked_up(cmd, found)?;
        Self::found(snapshot, cmd, found)
    }

    /// [`of`](Self::of), and the request to send.
    pub(crate) fn with_request<'a>(
        snapshot: &Snapshot,
        cmd: &'a Cmd,
    ) -> Result<(Self, LaneRequest<'a>), Error> {
        let found = Spec::find_plain(args(cmd));
        let request = LaneRequest::looked_up(cmd, found)?;
        Ok((Self::found(snapshot, cmd, found)?, request))
    }

    /// [`of`](Self::of) for a command of a pipeline: what may not share a connection refuses all of it, as a client
    /// does, and what has no place its own command.
    pub(crate) fn of_part(snapshot: &Snapshot, cmd: &Cmd) -> Result<Result<Self, Error>, Error> {
        let found = Spec::find_plain(args(cmd));
        LaneRequest::looked_up(cmd, found)?;
        Ok(Self::found(snapshot, cmd, found))
    }

    // Three callers would cost each call of `run` its inlining: 50 instructions of 590.
    #[inline(always)]
    fn found(
        snapshot: &Snapshot,
        cmd: &Cmd,
        found: Option<(&'static Spec, bool)>,
    ) -> Result<Self, Error> {
        let words = args(cmd);
        let Some((spec, _)) = found else {
            let name = quoted(words.clone().next().unwrap_or_default());
            return Err(refused(format!(
                "{name} is no command fluster knows the keys of; name its key with `run_with_key`"
            )));
        };
        if spec.keyed_by_first && spec.accepts(words.len()) {
            return Ok(Self::One {
                at: 1,
                together: false,
            });
        }
        let positions = spec.key_positions(words.clone()).map_err(|e| match e {
            BadKeys::Arity => refused(format!("{}: wrong number of arguments", spec.name)),
            BadKeys::Count => refused(format!("{}: {e}", spec.name)),
        })?;
        let Some(first) = positions.first() else {
            // With one node there is nothing to choose and nothing to put together.
            let alone = snapshot.nodes.len() == 1;
            return match keyless(spec.name) {
                Keyless::Everywhere(Gather::ByNode) if alone => Ok(Self::Anywhere),
                Keyless::Refused(_) if alone => Ok(Self::Anywhere),
                Keyless::Everywhere(gather) => Ok(Self::Everywhere(gather)),
                Keyless::Anywhere => Ok(Self::Anywhere),
                Keyless::ByWord(at) => Ok(Self::One {
                    at,
                    together: false,
                }),
                Keyless::Refused(why) | Keyless::Never(why) => {
                    Err(refused(format!("{}: {why}", spec.name)))
                }
            };
        };
        if sorts_by_other_keys(words.clone()) {
            return Err(Error::new(
                ErrorKind::CrossNode,
                Outcome::NotSent,
                format!(
                    "{} with a pattern reads keys of other nodes; sort in the application",
                    spec.name
                ),
            ));
        }
        if positions.count() == 1 {
            return Ok(Self::One {
                at: first,
                together: false,
            });
        }
        let mut homes = positions.pick(words.clone()).map(|key| home(snapshot, key));
        let one = homes.next();
        if homes.all(|other| Some(other) == one) {
            return Ok(Self::One {
                at: first,
                together: true,
            });
        }
        match Scatter::of(spec.name) {
            Some(scatter) if scatter.cuts(words.len()) => Ok(Self::Split(scatter)),
            // A key without its value would be lost between the parts.
            Some(_) => Err(refused(format!("{}: wrong number of arguments", spec.name))),
            None => Err(cross_node(snapshot, spec.name, positions.pick(words))),
        }
    }
}

/// Where the only node of a command is to be looked for.
pub(crate) fn target<'a>(cmd: &'a Cmd, at: usize, together: bool) -> Target<'a> {
    let words = args(cmd);
    if together {
        let positions = Spec::find(words.clone()).map(|s| s.key_positions(words.clone()));
        if let Some(Ok(positions)) = positions {
            return Target::Keys(positions.pick(words).collect());
        }
    }
    Target::Key(args(cmd).nth(at).unwrap_or_default())
}

/// A key's owner, and who serves it now. Both must agree for keys to be one node's: by the owner alone a
/// command would break while a node is out, by the server alone it would work only then.
pub(crate) fn home(snapshot: &Snapshot, key: &[u8]) -> (usize, Option<usize>) {
    (snapshot.table.owner(key), snapshot.first(key))
}

pub(crate) fn refused(why: String) -> Error {
    Error::new(ErrorKind::Invalid, Outcome::NotSent, why)
}

pub(crate) fn cross_node<'a>(
    snapshot: &Snapshot,
    name: &str,
    keys: impl Iterator<Item = &'a [u8]>,
) -> Error {
    const SHOWN: usize = 8;
    let mut text = format!("{name}: its keys are those of different nodes (");
    for (i, key) in keys.enumerate() {
        if i == SHOWN {
            text.push_str(", ...");
            break;
        }
        let (owner, serves) = home(snapshot, key);
        let node = snapshot.nodes[serves.unwrap_or(owner)].id();
        let comma = if i == 0 { "" } else { ", " };
        text.push_str(&format!("{comma}{} on {node}", one_line(key)));
        // Without it two keys could be on "different" nodes of one name.
        if serves.is_some_and(|serves| serves != owner) {
            let owner = snapshot.nodes[owner].id();
            text.push_str(&format!(", which stands in for {owner}"));
        }
    }
    text.push_str("); give the keys one hash tag, as in {user:1}:a and {user:1}:b");
    Error::new(ErrorKind::CrossNode, Outcome::NotSent, text)
}
