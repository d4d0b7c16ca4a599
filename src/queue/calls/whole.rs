//! The calls that are about a queue as a whole: nobody reads it in their name.

use redis::{Cmd, Value};

use crate::queue::depth::Depth;
use crate::queue::message::MessageId;
use crate::queue::names::Keys;
use crate::queue::scripts::{self, Call, Script};

/// Adds a message: for later, or where there is a limit.
pub(crate) struct Push<'a> {
    pub(crate) keys: &'a Keys,
    pub(crate) max_len: Option<u64>,
    pub(crate) due: (&'static str, u64),
    pub(crate) id: MessageId,
    pub(crate) payload: &'a [u8],
    pub(crate) key: Option<&'a [u8]>,
}

impl Call for Push<'_> {
    fn script(&self) -> &'static Script {
        &scripts::PUSH
    }

    fn keys(&self) -> impl AsRef<[&str]> {
        [&*self.keys.stream, &*self.keys.delayed]
    }

    fn arguments(&self, cmd: &mut Cmd) {
        cmd.arg(self.max_len.unwrap_or_default());
        cmd.arg(self.due.0).arg(self.due.1);
        cmd.arg(self.id.to_string()).arg(self.payload);
        if let Some(key) = self.key {
            cmd.arg(key);
        }
    }

    type Reply = Value;
    type Answer = ();
    fn answer(_: Value) {}
}

/// How much there is on a node.
pub(crate) struct CountAll<'a>(pub(crate) &'a Keys);

impl Call for CountAll<'_> {
    fn script(&self) -> &'static Script {
        &scripts::DEPTH
    }

    fn keys(&self) -> impl AsRef<[&str]> {
        [&*self.0.stream, &*self.0.delayed, &*self.0.dead]
    }

    fn arguments(&self, cmd: &mut Cmd) {
        cmd.arg(self.0.again()).arg(self.0.later());
    }

    type Reply = (u64, u64, u64, u64);
    type Answer = Depth;
    fn answer((messages, in_flight, delayed, dead): Self::Reply) -> Depth {
        Depth {
            messages,
            in_flight,
            delayed,
            dead,
        }
    }
}

/// Removes all messages from a node; says how many there were.
pub(crate) struct Purge<'a>(pub(crate) &'a Keys);

impl Call for Purge<'_> {
    fn script(&self) -> &'static Script {
        &scripts::PURGE
    }

    fn keys(&self) -> impl AsRef<[&str]> {
        [&*self.0.stream, &*self.0.delayed]
    }

    fn arguments(&self, cmd: &mut Cmd) {
        cmd.arg(self.0.again()).arg(self.0.later());
    }

    type Reply = u64;
    type Answer = u64;
    fn answer(count: u64) -> u64 {
        count
    }
}

/// Gives a dead letter to its group once more; whether it was there.
pub(crate) struct Retry<'a> {
    pub(crate) keys: &'a Keys,
    pub(crate) entry: &'a str,
}

impl Call for Retry<'_> {
    fn script(&self) -> &'static Script {
        &scripts::RETRY
    }

    fn keys(&self) -> impl AsRef<[&str]> {
        [&*self.keys.stream, &*self.keys.dead]
    }

    fn arguments(&self, cmd: &mut Cmd) {
        cmd.arg(self.keys.again()).arg(self.entry);
    }

    type Reply = i64;
    type Answer = bool;
    fn answer(done: i64) -> bool {
        done == 1
    }
}
