//! The chores of a group on a node, as a call.

use std::time::Duration;

use redis::Cmd;

use super::Seat;
use crate::queue::names::GroupKeys;
use crate::queue::scripts::{self, Call, Script};

/// Does the chores of a group on a node, if it is this consumer's turn.
pub(crate) struct Tick<'a> {
    pub(crate) seat: Seat<'a>,
    pub(crate) visibility: Duration,
    pub(crate) max_attempts: u32,
    /// How long nobody else may.
    pub(crate) turn: Duration,
    /// How much is moved at once, in messages and bytes.
    pub(crate) most: usize,
    pub(crate) most_bytes: usize,
}

/// Whose turn it was, and what was done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Done {
        expired: i64,
        dead: u64,
        depth: i64,
        /// There is more to do.
        more: bool,
        /// The keys where something is wrong, and what, in the server's words.
        wrong: Vec<(String, String)>,
    },
    /// Somebody else's, for so long; that one tells what is wrong.
    Taken(Duration),
    /// A reply that no script of ours gives.
    Strange,
}

impl Call for Tick<'_> {
    fn script(&self) -> &'static Script {
        &scripts::TICK
    }

    fn keys(&self) -> impl AsRef<[&str]> {
        let [stream, again, later, dead] = self.seat.ways();
        let GroupKeys { kept, turn, .. } = self.seat.of_group;
        [
            stream,
            again,
            later,
            dead,
            &*self.seat.keys.delayed,
            &**kept,
            &**turn,
        ]
    }

    fn arguments(&self, cmd: &mut Cmd) {
        cmd.arg(self.seat.group).arg(self.seat.consumer);
        cmd.arg(self.visibility.as_millis() as u64);
        cmd.arg(self.max_attempts);
        cmd.arg(self.turn.as_millis() as u64);
        cmd.arg(self.most).arg(self.most_bytes);
    }

    type Reply = (Vec<i64>, Vec<String>);
    type Answer = Turn;
    fn answer((done, wrong): Self::Reply) -> Turn {
        match done[..] {
            [1, expired, dead, depth, more] => Turn::Done {
                expired,
                dead: u64::try_from(dead).unwrap_or_default(),
                depth,
                more: more != 0,
                wrong: wrong
                    .chunks_exact(2)
                    .map(|pair| (pair[0].clone(), pair[1].clone()))
                    .collect(),
            },
            [0, wait] => Turn::Taken(Duration::from_millis(
                u64::try_from(wait).unwrap_or_default(),
            )),
            _ => Turn::Strange,
        }
    }
}
