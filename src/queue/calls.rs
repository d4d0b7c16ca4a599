//! The scripts of the queue as calls: what each is given, and what its reply says.

mod claim;
mod tick;
mod whole;

pub(crate) use self::claim::Claim;
pub(crate) use self::tick::{Tick, Turn};
pub(crate) use self::whole::{CountAll, Purge, Push, Retry};

use redis::Cmd;

use crate::queue::message::{EntryId, Place, Which};
use crate::queue::names::{GroupKeys, Keys};
use crate::queue::scripts::{self, Call, Script};

/// A consumer before one of its group's two streams.
#[derive(Clone, Copy)]
pub(crate) struct Seat<'a> {
    pub(crate) keys: &'a Keys,
    pub(crate) of_group: &'a GroupKeys,
    pub(crate) group: &'a str,
    pub(crate) consumer: &'a str,
    pub(crate) which: Which,
}

impl<'a> Seat<'a> {
    pub(crate) fn stream(&self) -> &'a str {
        match self.which {
            Which::Stream => &self.keys.stream,
            Which::Again => &self.of_group.again,
        }
    }

    /// What most scripts are given first: the stream, and where something of it may go.
    fn ways(&self) -> [&'a str; 4] {
        let (again, later) = (&self.of_group.again, &self.of_group.later);
        [self.stream(), again, later, &self.keys.dead]
    }

    /// Whether nobody but the group reads the stream, in the scripts' words.
    fn own(&self) -> u8 {
        u8::from(self.which == Which::Again)
    }
}

/// Acknowledges deliveries of one stream; which of them were still pending.
pub(crate) struct Ack<'a> {
    pub(crate) seat: Seat<'a>,
    pub(crate) places: &'a [Place],
}

impl Call for Ack<'_> {
    fn script(&self) -> &'static Script {
        &scripts::ACK
    }

    fn keys(&self) -> impl AsRef<[&str]> {
        [self.seat.stream(), &*self.seat.of_group.kept]
    }

    fn arguments(&self, cmd: &mut Cmd) {
        cmd.arg(self.seat.group).arg(self.seat.own());
        cmd.arg(self.seat.which.letter());
        ids(cmd, self.places);
    }

    type Reply = Vec<i64>;
    type Answer = Vec<bool>;
    fn answer(done: Vec<i64>) -> Vec<bool> {
        done.into_iter().map(|n| n == 1).collect()
    }
}

/// Gives a delivery back that was started.
pub(crate) struct Nack<'a> {
    pub(crate) seat: Seat<'a>,
    /// In milliseconds.
    pub(crate) delay: u64,
    pub(crate) max_attempts: u32,
    pub(crate) why: &'a str,
    pub(crate) entry: EntryId,
}

/// What became of a delivery that was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// It was this consumer's no more.
    Lost,
    /// It is a dead letter.
    Dead,
    /// It will be delivered again, or was deleted meanwhile.
    Back,
}

impl Call for Nack<'_> {
    fn script(&self) -> &'static Script {
        &scripts::NACK
    }

    fn keys(&self) -> impl AsRef<[&str]> {
        self.seat.ways()
    }

    fn arguments(&self, cmd: &mut Cmd) {
        cmd.arg(self.seat.group).arg(self.seat.consumer);
        cmd.arg(self.seat.own()).arg(self.delay);
        cmd.arg(self.max_attempts).arg(self.why);
        cmd.arg(self.entry.to_string());
    }

    type Reply = String;
    type Answer = Given;
    fn answer(word: String) -> Given {
        match &*word {
            "lost" => Given::Lost,
            "dead" => Given::Dead,
            _ => Given::Back,
        }
    }
}

/// Gives back what is pending for a consumer that does not know of it; says how many.
pub(crate) struct Reclaim<'a> {
    pub(crate) seat: Seat<'a>,
    /// What it knows of.
    pub(crate) held: &'a [Place],
}

impl Call for Reclaim<'_> {
    fn script(&self) -> &'static Script {
        &scripts::RECLAIM
    }

    fn keys(&self) -> impl AsRef<[&str]> {
        self.seat.ways()
    }

    fn arguments(&self, cmd: &mut Cmd) {
        cmd.arg(self.seat.group).arg(self.seat.consumer);
        for place in self.held {
            cmd.arg(format!("{}{}", place.which.letter(), place.entry));
        }
    }

    type Reply = u64;
    type Answer = u64;
    fn answer(count: u64) -> u64 {
        count
    }
}

/// Gives back deliveries of one stream that nobody popped; they do not count as an attempt. Says how many.
pub(crate) struct Release<'a> {
    pub(crate) seat: Seat<'a>,
    pub(crate) places: &'a [Place],
}

impl Call for Release<'_> {
    fn script(&self) -> &'static Script {
        &scripts::RELEASE
    }

    fn keys(&self) -> impl AsRef<[&str]> {
        self.seat.ways()
    }

    fn arguments(&self, cmd: &mut Cmd) {
        cmd.arg(self.seat.group).arg(self.seat.consumer);
        cmd.arg(self.seat.own());
        ids(cmd, self.places);
    }

    type Reply = u64;
    type Answer = u64;
    fn answer(count: u64) -> u64 {
        count
    }
}

/// Makes the group on a stream, from its beginning, where it is not there.
pub(crate) struct Join<'a>(pub(crate) Seat<'a>);

impl Call for Join<'_> {
    fn script(&self) -> &'static Script {
        &scripts::JOIN
    }

    fn keys(&self) -> impl AsRef<[&str]> {
        [self.0.stream()]
    }

    fn arguments(&self, cmd: &mut Cmd) {
        cmd.arg(self.0.group);
    }

    type Reply = i64;
    type Answer = ();
    fn answer(_: i64) {}
}

/// Takes the consumer's name from both streams, where it holds nothing.
pub(crate) struct Leave<'a>(pub(crate) Seat<'a>);

impl Call for Leave<'_> {
    fn script(&self) -> &'static Script {
        &scripts::LEAVE
    }

    fn keys(&self) -> impl AsRef<[&str]> {
        [&*self.0.keys.stream, &*self.0.of_group.again]
    }

    fn arguments(&self, cmd: &mut Cmd) {
        cmd.arg(self.0.group).arg(self.0.consumer);
    }

    type Reply = i64;
    type Answer = ();
    fn answer(_: i64) {}
}

/// Makes sure of a delivery for some time; whether it was still this consumer's.
pub(crate) struct Extend<'a> {
    pub(crate) seat: Seat<'a>,
    pub(crate) entry: EntryId,
    /// In milliseconds.
    pub(crate) lease: u64,
}

impl Call for Extend<'_> {
    fn script(&self) -> &'static Script {
        &scripts::EXTEND
    }

    fn keys(&self) -> impl AsRef<[&str]> {
        [self.seat.stream(), &*self.seat.of_group.kept]
    }

    fn arguments(&self, cmd: &mut Cmd) {
        cmd.arg(self.seat.group).arg(self.seat.consumer);
        cmd.arg(self.seat.which.letter());
        cmd.arg(self.entry.to_string()).arg(self.lease);
    }

    type Reply = i64;
    type Answer = bool;
    fn answer(held: i64) -> bool {
        held == 1
    }
}

/// Puts an entry that no queue has written among the dead letters.
pub(crate) struct Bury<'a> {
    pub(crate) seat: Seat<'a>,
    pub(crate) why: &'a str,
    pub(crate) entry: EntryId,
}

impl Call for Bury<'_> {
    fn script(&self) -> &'static Script {
        &scripts::BURY
    }

    fn keys(&self) -> impl AsRef<[&str]> {
        [self.seat.stream(), &*self.seat.keys.dead]
    }

    fn arguments(&self, cmd: &mut Cmd) {
        cmd.arg(self.seat.group).arg(self.seat.own());
        cmd.arg(self.why).arg(self.entry.to_string());
    }

    type Reply = i64;
    type Answer = ();
    fn answer(_: i64) {}
}

fn ids(cmd: &mut Cmd, places: &[Place]) {
    for place in places {
        cmd.arg(place.entry.to_string());
    }
}

#[cfg(test)]
mod tests;
