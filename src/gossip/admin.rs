//! Operators' questions, over the port of the instances and sealed like everything else: who has the key may ask.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::builder::wall;
use super::frame::{PAYLOAD, Refusal};
use super::instance::Instance;
use super::shared::Shared;
use super::status::{GossipStatus, MemberStatus};
use super::sync::PerSecond;
use crate::clock;
use crate::keys::chance;

/// An older question, or one of a future, is not answered: somebody may have kept it.
const FRESH: u64 = 30_000;
/// Questions that are known, so that none is answered twice. One that is shown again after so many others is answered
/// again, which changes nothing: acts need a ticket.
const MOST_SEEN: usize = 1_024;
/// Answers in a second: what is answered is longer than what is asked.
const ANSWERS: u32 = 200;
/// A ticket is good for one act, and not for long.
const TICKET: Duration = Duration::from_secs(10);
const MOST_TICKETS: usize = 16;
/// Keys that are looked up at once, and candidates of each.
pub(crate) const MOST_KEYS: usize = 64;
const MOST_CANDIDATES: usize = 16;
/// What an answer or a question has around its list, at most.
pub(crate) const HEAD: usize = 64;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Question {
    pub(crate) id: u64,
    /// The wall clock of whoever asks, in milliseconds.
    pub(crate) at: u64,
    pub(crate) ask: Ask,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Ask {
    Status,
    /// From so many on.
    Members(u32),
    /// So many candidates of each; the answer is about as many of the keys as fit it, from the first on.
    Lookup(Vec<Vec<u8>>, u8),
    Ticket,
    Act([u8; 16], Act),
}

/// What an instance can be told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Act {
    /// Knock at every door there is.
    Heal,
    /// Leave, as [`Gossip::leave`](super::Gossip::leave) does; the process is not ended.
    Leave,
    /// Own no keys, or own them again.
    Drain(bool),
    /// Forget somebody who is down.
    Forget(SocketAddr),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) id: u64,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum What {
    Status(Box<GossipStatus>),
    /// How many there are in all, and some of them.
    Members(u32, Vec<MemberStatus>),
    Lookup(Vec<Vec<String>>),
    Ticket([u8; 16]),
    /// Whether there was something to be done.
    Done(bool),
}

/// Where questions are answered.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    seen: VecDeque<u64>,
    tickets: VecDeque<([u8; 16], Instant)>,
    rate: Option<PerSecond>,
}

impl Desk {
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.tickets
            .retain(|(_, at)| now.saturating_duration_since(*at) < TICKET);
    }

    /// The answer to a question; the reason for what is no question, is late, or was answered before. `None` for one
    /// too many.
    pub(crate) fn answer(
        &mut self,
        question: &[u8],
        shared: &Arc<Shared>,
        instance: &mut Instance,
    ) -> Result<Vec<u8>, Option<Refusal>> {
        let now = clock::now();
        let (question, _later) =
            postcard::take_from_bytes::<Question>(question).map_err(|_| Some(Refusal::Parse))?;
        let rate = self
            .rate
            .get_or_insert_with(|| PerSecond::new(ANSWERS, now));
        if question.at.abs_diff(wall()) > FRESH || self.seen.contains(&question.id) {
            return Err(Some(Refusal::Replay));
        }
        if !rate.take(now) {
            return Err(None);
        }
        if self.seen.len() == MOST_SEEN {
            self.seen.pop_front();
        }
        self.seen.push_back(question.id);
        let what = match question.ask {
            Ask::Status => What::Status(Box::new(GossipStatus::of(shared))),
            Ask::Members(from) => members(shared, from as usize),
            Ask::Lookup(keys, n) => candidates(shared, &keys, n),
            Ask::Ticket => {
                let ticket = chance().map_err(|_| None)?;
                self.tickets.truncate(MOST_TICKETS - 1);
                self.tickets.push_front((ticket, now));
                What::Ticket(ticket)
            }
            Ask::Act(ticket, act) => {
                self.sweep(now);
                let place = self
                    .tickets
                    .iter()
                    .position(|(known, _)| *known == ticket)
                    .ok_or(Some(Refusal::Replay))?;
                self.tickets.remove(place);
                What::Done(done(act, now, shared, instance))
            }
        };
        encode(&Answer {
            id: question.id,
            what,
        })
        .ok_or(None)
    }
}

fn done(act: Act, now: Instant, shared: &Arc<Shared>, instance: &mut Instance) -> bool {
    match act {
        Act::Heal => {
            instance.heal_all(now);
            true
        }
        Act::Leave => shared.ask_to_leave(),
        // Who leaves owns nothing, whatever is wished.
        Act::Drain(on) => !shared.is_leaving() && shared.wish(|wishes| wishes.drain(on)),
        Act::Forget(addr) => instance.forget_everywhere(now, addr),
    }
}

/// The candidates of as many keys as fit, and of one at least: sixteen names are no longer than an answer.
fn candidates(shared: &Shared, keys: &[Vec<u8>], n: u8) -> What {
    let view = shared.view.load();
    let n = usize::from(n).clamp(1, MOST_CANDIDATES);
    let (mut some, mut size): (Vec<Vec<String>>, usize) = (Vec::new(), HEAD);
    for key in keys.iter().take(MOST_KEYS) {
        let candidates = view.lookup_n(key, n);
        let names: Vec<_> = candidates.iter().map(|m| m.ring_id.to_string()).collect();
        size += postcard::to_allocvec(&names).map_or(PAYLOAD, |bytes| bytes.len());
        if size > PAYLOAD && !some.is_empty() {
            break;
        }
        some.push(names);
    }
    What::Lookup(some)
}

/// As many as fit.
fn members(shared: &Shared, from: usize) -> What {
    let view = shared.view.load();
    let (mut some, mut size) = (Vec::new(), HEAD);
    for member in view.members().iter().skip(from) {
        let member = MemberStatus::new(member);
        size += postcard::to_allocvec(&member).map_or(PAYLOAD, |bytes| bytes.len());
        if size > PAYLOAD && !some.is_empty() {
            break;
        }
        some.push(member);
    }
    What::Members(view.members().len() as u32, some)
}

fn encode(answer: &Answer) -> Option<Vec<u8>> {
    let bytes = postcard::to_allocvec(answer).ok()?;
    (bytes.len() <= PAYLOAD).then_some(bytes)
}
