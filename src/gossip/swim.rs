//! The membership protocol, without a socket, a task or a clock: foca behind words of our own.
//!
//! This is the one file that knows foca. Whoever changes to another core changes this.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::convert::Infallible;
use std::num::{NonZeroU8, NonZeroUsize};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foca::{
    BroadcastHandler, Codec as _, Config, Foca, Header, Identity, Invalidates, Member, Message,
    Notification, PeriodicParams, PostcardCodec, Runtime, State, Timer,
};
use parking_lot::Mutex;
use rand::rngs::StdRng;

use super::frame::PAYLOAD;
use super::identity::Id;
use super::profile::Times;
use super::records::{ItemKey, Offered, Records};
use super::sync::Life;

/// Members that are asked to probe somebody who does not answer us.
const INDIRECT: usize = 3;
/// Who went and said so is down in this incarnation, which nobody else reaches: foca knows no other way to say it.
const LEFT: u16 = u16::MAX;
/// How often each change is passed on.
const TRANSMISSIONS: u8 = 20;

/// Everything that the others are told of us through it, and they tell us.
pub(crate) struct Swim {
    foca: Foca<Id, PostcardCodec, StdRng, Handler>,
    config: Config,
    out: Out,
    timers: BinaryHeap<Reverse<Due>>,
    /// Of timers that are due at once, the first one that was set comes first.
    order: u64,
}

/// What the protocol wants to be done.
#[derive(Debug, Default)]
struct Out {
    sends: Vec<(Id, Vec<u8>)>,
    news: Vec<News>,
    timers: Vec<(Duration, Timer<Id>)>,
}

/// What the protocol has learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    Up(Id),
    Down(Id),
    /// A later start at the same address; whether it is up is told beside it, unless nothing changed in that.
    Renamed(Id, Id),
    /// We are known to be down.
    Dead,
    /// Nobody is there any more.
    Alone,
}

/// A member as the protocol sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) id: Id,
    pub(crate) incarnation: u16,
    pub(crate) life: Life,
}

/// The beginning of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peek {
    pub(crate) to: Id,
    /// How often its sender has refuted that it is dead.
    pub(crate) incarnation: u16,
    pub(crate) word: Word,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// The receiver is known to be down.
    Obituary,
    /// Somebody did not answer the sender.
    ProbeForMe,
    Other,
}

/// A datagram that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Nonsense;

struct Due {
    at: Instant,
    order: u64,
    timer: Timer<Id>,
    /// Whether it waits for the second time.
    again: bool,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl Identity for Id {
    type Addr = std::net::SocketAddr;

    /// We do it ourselves, where there is a clock.
    fn renew(&self) -> Option<Self> {
        None
    }

    fn addr(&self) -> Self::Addr {
        self.addr
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.generation > adversary.generation
    }
}

impl Invalidates for ItemKey {
    fn invalidates(&self, other: &Self) -> bool {
        self == other
    }
}

/// Shared with whoever owns the protocol, as foca gives no way to it; both are in one task.
struct Handler(Arc<Mutex<Records>>);

impl BroadcastHandler<Id> for Handler {
    type Key = ItemKey;
    type Error = Infallible;

    fn receive_item(
        &mut self,
        data: &[u8],
        sender: Option<&Id>,
    ) -> Result<Option<ItemKey>, Infallible> {
        let mut records = self.0.lock();
        let offered = match sender {
            Some(_) => records.offer(data),
            None => records.write(data),
        };
        // One bad item must not cost the others of the datagram.
        Ok(match offered {
            Offered::New(key) => Some(key),
            Offered::Old | Offered::Refused => None,
        })
    }
}

impl Runtime<Id> for &mut Out {
    fn notify(&mut self, notification: Notification<'_, Id>) {
        self.news.push(match notification {
            Notification::MemberUp(id) => News::Up(*id),
            Notification::MemberDown(id) => News::Down(*id),
            Notification::Rename(old, new) => News::Renamed(*old, *new),
            Notification::Defunct => News::Dead,
            Notification::Idle => News::Alone,
            Notification::Active | Notification::Rejoin(_) => return,
        });
    }

    fn send_to(&mut self, to: Id, data: &[u8]) {
        self.sends.push((to, data.to_vec()));
    }

    fn submit_after(&mut self, event: Timer<Id>, after: Duration) {
        self.timers.push((after, event));
    }
}

impl Swim {
    pub(crate) fn new(me: Id, times: &Times, rng: StdRng, records: Arc<Mutex<Records>>) -> Self {
        let config = config(times);
        let handler = Handler(records);
        Self {
            foca: Foca::with_custom_broadcast(me, config.clone(), rng, PostcardCodec, handler),
            config,
            out: Out::default(),
            timers: BinaryHeap::new(),
            order: 0,
        }
    }

    /// What stands at the beginning of a datagram of the protocol.
    pub(crate) fn peek(data: &[u8]) -> Option<Peek> {
        let header: Header<Id> = PostcardCodec.decode_header(data).ok()?;
        Some(Peek {
            to: Id::new(header.dst.addr, header.dst.generation),
            incarnation: header.src_incarnation,
            word: match header.message {
                Message::TurnUndead => Word::Obituary,
                Message::PingReq { .. } => Word::ProbeForMe,
                _ => Word::Other,
            },
        })
    }

    pub(crate) fn datagram(&mut self, now: Instant, data: &[u8]) -> Result<(), Nonsense> {
        let result = self.foca.handle_data(data, &mut self.out);
        self.settle(now);
        result.map_err(|_| Nonsense)
    }

    /// When the first timer is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse(due)| due.at)
    }

    /// We were stopped: the time did not pass for us, and is not the others' silence.
    pub(crate) fn shift(&mut self, lag: Duration) {
        self.timers = std::mem::take(&mut self.timers)
            .into_iter()
            .map(|Reverse(due)| {
                Reverse(Due {
                    at: due.at + lag,
                    ..due
                })
            })
            .collect();
    }

    /// Lets the timers go off that are due. Whoever is deaf gives those whom it suspects their time once more: it does
    /// not hear them object, and they would be down for all others too who hear its word before they give it up.
    pub(crate) fn tick(&mut self, now: Instant, is_deaf: bool) {
        while let Some(Reverse(due)) = self.timers.peek()
            && due.at <= now
            && let Some(Reverse(due)) = self.timers.pop()
        {
            if is_deaf && !due.again && matches!(due.timer, Timer::ChangeSuspectToDown { .. }) {
                self.timers.push(Reverse(Due {
                    at: now + self.config.suspect_to_down_after,
                    again: true,
                    ..due
                }));
                continue;
            }
            // It fails where foca itself says that it recovers: a probe that was cut short by our own lag.
            let _ = self.foca.handle_timer(due.timer, &mut self.out);
            self.settle(now);
        }
    }

    /// Knocks at an address, whoever lives there.
    pub(crate) fn announce(&mut self, now: Instant, to: Id) {
        // Nothing in it can be too long.
        let _ = self.foca.announce(to, &mut self.out);
        self.settle(now);
    }

    /// What others say of members; those about ourselves are heard too.
    pub(crate) fn apply(
        &mut self,
        now: Instant,
        known: impl IntoIterator<Item = Known>,
        tell: bool,
    ) {
        let members = known.into_iter().map(|known| {
            let state = match known.life {
                Life::Alive => State::Alive,
                Life::Suspect => State::Suspect,
                Life::Down | Life::Left => State::Down,
            };
            let incarnation = match known.life {
                Life::Left => LEFT,
                _ => known.incarnation,
            };
            Member::new(known.id, incarnation, state)
        });
        // As above.
        let _ = self.foca.apply_many(members, tell, &mut self.out);
        self.settle(now);
    }

    /// An item of ours that all are to know.
    pub(crate) fn broadcast(&mut self, item: &[u8]) -> bool {
        self.foca.add_broadcast(item).unwrap_or(false)
    }

    /// Says what there is to say at once, not with the next period.
    pub(crate) fn gossip(&mut self, now: Instant) {
        let _ = self.foca.gossip(&mut self.out);
        self.settle(now);
    }

    /// From now on we are this.
    pub(crate) fn become_other(&mut self, now: Instant, me: Id) {
        let _ = self.foca.change_identity(me, &mut self.out);
        // It looks at its members only when something comes.
        let _ = self
            .foca
            .apply_many(std::iter::empty(), false, &mut self.out);
        self.settle(now);
    }

    /// Stops, and answers nobody any more. That we are gone is told in words of our own: foca's say that we are down.
    pub(crate) fn leave(&mut self, now: Instant) {
        let me = *self.foca.identity();
        self.apply(
            now,
            [Known {
                id: me,
                incarnation: LEFT,
                life: Life::Down,
            }],
            false,
        );
    }

    /// Forgets somebody who is down.
    pub(crate) fn forget(&mut self, now: Instant, id: Id) {
        let _ = self.foca.handle_timer(Timer::RemoveDown(id), &mut self.out);
        self.settle(now);
    }

    /// Suspicion lasts longer in large clusters.
    pub(crate) fn set_suspicion(&mut self, lasts: Duration) {
        if self.config.suspect_to_down_after != lasts {
            self.config.suspect_to_down_after = lasts;
            // The one thing that is changed may be changed.
            let _ = self.foca.set_config(self.config.clone());
        }
    }

    pub(crate) fn suspicion(&self) -> Duration {
        self.config.suspect_to_down_after
    }

    /// All who are known, down or not, without ourselves.
    pub(crate) fn known(&self) -> impl Iterator<Item = Known> {
        self.foca.iter_membership_state().map(|member| Known {
            id: *member.id(),
            incarnation: member.incarnation(),
            life: match member.state() {
                State::Alive => Life::Alive,
                State::Suspect => Life::Suspect,
                State::Down if member.incarnation() == LEFT => Life::Left,
                State::Down => Life::Down,
            },
        })
    }

    /// How many others are alive or suspect.
    pub(crate) fn active(&self) -> usize {
        self.foca.num_members()
    }

    /// Changes that are still passed on: of members, of items.
    pub(crate) fn backlog(&self) -> (usize, usize) {
        (
            self.foca.updates_backlog(),
            self.foca.custom_broadcast_backlog(),
        )
    }

    pub(crate) fn take_sends(&mut self) -> Vec<(Id, Vec<u8>)> {
        std::mem::take(&mut self.out.sends)
    }

    pub(crate) fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.out.news)
    }

    #[cfg(test)]
    pub(crate) fn timers(&self) -> usize {
        self.timers.len()
    }

    /// Timers get their place. Who is to be forgotten is told by our owner, who knows since when somebody is down:
    /// foca would keep a timer for each death, a day long.
    fn settle(&mut self, now: Instant) {
        for (after, timer) in self.out.timers.drain(..) {
            if matches!(timer, Timer::RemoveDown(_)) {
                continue;
            }
            self.order += 1;
            self.timers.push(Reverse(Due {
                at: now + after,
                order: self.order,
                timer,
                again: false,
            }));
        }
    }
}

fn config(times: &Times) -> Config {
    const fn some(n: usize) -> NonZeroUsize {
        NonZeroUsize::new(n).expect("more than nobody")
    }
    let every = |frequency, members| {
        Some(PeriodicParams {
            frequency,
            num_members: members,
        })
    };
    Config {
        probe_period: times.probe,
        probe_rtt: times.rtt,
        num_indirect_probes: const { some(INDIRECT) },
        max_transmissions: const { NonZeroU8::new(TRANSMISSIONS).expect("more than none") },
        suspect_to_down_after: times.suspect,
        remove_down_after: None,
        max_packet_size: const { some(PAYLOAD) },
        notify_down_members: true,
        periodic_announce: every(times.announce, const { some(1) }),
        periodic_announce_to_down_members: every(times.announce_down, const { some(2) }),
        periodic_gossip: every(times.gossip, const { some(3) }),
    }
}
