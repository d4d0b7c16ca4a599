//! Operators' questions, over the port of the instances and sealed like everything else: who has the key may ask.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::builder::wall;
use super::frame::{PAYLOAD, Refusal};
use super::identity::plain;
use super::instance::Instance;
use super::share::NodeReport;
use super::shared::Shared;
use super::status::{GossipStatus, MemberStatus};
use super::sync::PerSecond;
use crate::clock;
use crate::fleet::node_key;
use crate::keys::chance;

/// An older question, or one of a future, is not answered: somebody may have kept it.
const FRESH: u64 = 30_000;
/// Questions that are known, so that none is answered twice. When there are more, those that are older than what is
/// kept are not answered any more.
const MOST_SEEN: usize = 4_096;
/// Answers in a second: what is answered is longer than what is asked.
const ANSWERS: u32 = 200;
/// A ticket is good for one act, and not for long: within it, who asks again hears what came of it.
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
    /// Who is asked: nobody else answers, whoever passes it on.
    pub(crate) to: SocketAddr,
    /// Which start of the process there: what was asked of an earlier one is not answered by a later one.
    pub(crate) start: u64,
    pub(crate) id: u64,
    /// The wall clock of whoever asks, in milliseconds.
    pub(crate) at: u64,
    pub(crate) ask: Ask,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// Which start of the process it is. The one question that can be asked without knowing that; its answer is no
    /// longer than itself.
    Start,
    Status,
    /// From so many on.
    Members(u32),
    /// So many candidates of each; the answer is about as many of the keys as fit it, from the first on.
    Lookup(Vec<Vec<u8>>, u8),
    Ticket,
    Act([u8; 16], Act),
    /// Nodes of all scopes, from so many on.
    Nodes(u32),
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
    /// Drain a node at all instances, or restore it; see [`drain_node`](Self::drain_node).
    #[non_exhaustive]
    DrainNode {
        /// The node of a scope, as it is told.
        node: u64,
        /// Whether to drain it.
        on: bool,
    },
}

impl Act {
    /// Drain a node of this name and scope at all instances, or restore it. There is nothing to be done when the instance
    /// shares the health of no such node, or it is so already. [Example](crate::guide::by_example#asking-from-outside).
    #[must_use]
    pub fn drain_node(scope: impl AsRef<str>, node: impl AsRef<str>, on: bool) -> Self {
        let node = node_key(scope.as_ref(), node.as_ref());
        Self::DrainNode { node, on }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) id: u64,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum What {
    Start(u64),
    Status(Box<GossipStatus>),
    /// How many there are in all, and some of them.
    Members(u32, Vec<MemberStatus>),
    Lookup(Vec<Vec<String>>),
    Ticket([u8; 16]),
    /// Whether there was something to be done.
    Done(bool),
    /// How many there are in all, and some of them.
    Nodes(u32, Vec<NodeReport>),
}

/// Where questions are answered.
#[derive(Debug)]
pub(crate) struct Desk {
    /// What the socket is bound to.
    bound: SocketAddr,
    /// Which start of the process this is; nobody can guess it.
    start: u64,
    seen: Seen,
    tickets: VecDeque<Ticket>,
    rate: PerSecond,
}

#[derive(Debug)]
struct Ticket {
    secret: [u8; 16],
    since: Instant,
    /// What was done with it, and what came of that.
    used: Option<(Act, bool)>,
}

/// Questions that were answered, by their time.
#[derive(Debug, Default)]
struct Seen {
    known: BTreeSet<(u64, u64)>,
    /// Older ones may have been forgotten.
    floor: u64,
}

impl Seen {
    fn is_new(&self, at: u64, id: u64, wall: u64) -> bool {
        at.abs_diff(wall) <= FRESH && at >= self.floor && !self.known.contains(&(at, id))
    }

    fn keep(&mut self, at: u64, id: u64, wall: u64) {
        self.known = self.known.split_off(&(wall.saturating_sub(2 * FRESH), 0));
        self.known.insert((at, id));
        if self.known.len() > MOST_SEEN
            && let Some((at, _)) = self.known.pop_first()
        {
            self.floor = self.floor.max(at + 1);
        }
    }
}

/// Whether an address that is asked is ours, though it may not be the one that we tell: the socket may be bound to all
/// of this machine. The loopback of another machine has the same addresses.
fn is_ours(
    asked: SocketAddr,
    from: SocketAddr,
    advertised: SocketAddr,
    bound: SocketAddr,
    is_local: impl FnOnce(IpAddr) -> bool,
) -> bool {
    let asked = plain(asked);
    if asked == advertised || (asked == plain(bound) && !bound.ip().is_unspecified()) {
        return true;
    }
    let is_port = bound.ip().is_unspecified() && asked.port() == bound.port();
    match asked.ip().is_loopback() || asked.ip().is_unspecified() {
        true => is_port && plain(from).ip().is_loopback(),
        false => is_port && is_local(asked.ip()),
    }
}

/// Whether an interface of this machine has the address.
fn is_local(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

impl Desk {
    pub(crate) fn new(bound: SocketAddr, start: u64) -> Self {
        Self {
            bound,
            start,
            seen: Seen::default(),
            tickets: VecDeque::new(),
            rate: PerSecond::new(ANSWERS, clock::now()),
        }
    }

    pub(crate) fn sweep(&mut self, now: Instant) {
        self.tickets
            .retain(|ticket| now.saturating_duration_since(ticket.since) < TICKET);
    }

    /// The answer to a question; the reason for what is no question, is another one's, is late, or was answered before.
    /// `None` for one too many.
    pub(crate) fn answer(
        &mut self,
        question: &[u8],
        from: SocketAddr,
        shared: &Arc<Shared>,
        instance: &mut Instance,
    ) -> Result<Vec<u8>, Option<Refusal>> {
        let (now, wall) = (clock::now(), wall());
        let (question, _later) =
            postcard::take_from_bytes::<Question>(question).map_err(|_| Some(Refusal::Parse))?;
        let Question {
            to, start, id, at, ..
        } = question;
        if !self.seen.is_new(at, id, wall) || (start != self.start && question.ask != Ask::Start) {
            return Err(Some(Refusal::Replay));
        }
        if !self.rate.take(now) {
            return Err(None);
        }
        let advertised = shared.view.load().me().address;
        if !is_ours(to, from, advertised, self.bound, is_local) {
            return Err(Some(Refusal::Elsewhere));
        }
        self.seen.keep(at, id, wall);
        let what = match question.ask {
            Ask::Status => What::Status(Box::new(GossipStatus::of(shared))),
            Ask::Members(from) => members(shared, from as usize),
            Ask::Nodes(from) => nodes(shared, from as usize),
            Ask::Lookup(keys, n) => candidates(shared, &keys, n),
            Ask::Start => What::Start(self.start),
            Ask::Ticket => {
                let secret = chance().map_err(|_| None)?;
                self.tickets.truncate(MOST_TICKETS - 1);
                self.tickets.push_front(Ticket {
                    secret,
                    since: now,
                    used: None,
                });
                What::Ticket(secret)
            }
            Ask::Act(secret, act) => {
                self.sweep(now);
                let ticket = self.tickets.iter_mut().find(|known| known.secret == secret);
                let ticket = ticket.ok_or(Some(Refusal::Replay))?;
                let (used, done) = *ticket
                    .used
                    .get_or_insert_with(|| (act, done(act, now, shared, instance)));
                if used != act {
                    return Err(Some(Refusal::Replay));
                }
                What::Done(done)
            }
        };
        encode(&Answer { id, what }).ok_or(None)
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
        Act::DrainNode { node, on } => {
            let mut all = shared.opinions().into_iter();
            let is_known = all.any(|(scope, opinions)| {
                let mut nodes = opinions.iter();
                nodes.any(|opinion| node_key(&scope, opinion.node.as_str()) == node)
            });
            is_known && instance.say_drain(now, node, on) == Ok(true)
        }
    }
}

/// What is thought of nodes: as many as fit.
fn nodes(shared: &Shared, from: usize) -> What {
    let all = shared.opinions();
    let count = all
        .iter()
        .map(|(_, opinions)| opinions.len())
        .sum::<usize>();
    let each = all
        .iter()
        .flat_map(|(scope, opinions)| opinions.iter().map(move |opinion| (scope, opinion)));
    let (mut some, mut size) = (Vec::new(), HEAD);
    for (scope, opinion) in each.skip(from) {
        let report = NodeReport::new(scope, opinion);
        size += postcard::to_allocvec(&report).map_or(PAYLOAD, |bytes| bytes.len());
        if size > PAYLOAD && !some.is_empty() {
            break;
        }
        some.push(report);
    }
    What::Nodes(count as u32, some)
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

#[cfg(test)]
mod tests;
