//! One instance, whole, without a socket, a task or a clock: datagrams, times and wishes go in, datagrams, events and
//! pictures come out.

#[cfg(test)]
mod deaf;
mod exchange;
mod fleet;
mod members;
mod own;
mod seek;
#[cfg(test)]
mod shown;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use self::fleet::Fleet;
pub(crate) use self::fleet::{Picture, Speaker};
use self::members::Seen;
use self::own::Own;
use self::seek::Seek;
use super::counters::Counters;
use super::events::GossipEvent;
use super::frame::{Frame, Kind, Refusal, Seal};
use super::identity::{Id, NOWHERE, plain};
use super::profile::Times;
use super::record::Record;
use super::records::{Counted, Records};
use super::replay::Replays;
use super::swim::{News, Swim, Word};
use super::sync::{Budget, PerSecond};
use crate::sealed::{Keyring, NONCE};

/// A timer that is so late says that we did not run: all others are shifted, as time in which we did not run is not
/// the others' silence.
const LATE: Duration = Duration::from_millis(500);
/// How often what has no timer of its own is looked at.
const CHORES: Duration = Duration::from_millis(250);
/// How late a suspicion may be seen: foca does not tell of it.
const LOOK: Duration = Duration::from_millis(100);
/// Above so many, news waits for a look as suspicions do: while a thousand join, every second datagram brings some, and
/// a look at all of them with each was two fifths of what a join cost.
const FEW: usize = 100;

/// What an instance is made of.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) cluster: String,
    /// Where the others reach it.
    pub(crate) address: SocketAddr,
    /// Milliseconds of the wall clock.
    pub(crate) wall: u64,
    pub(crate) record: Record,
    pub(crate) times: Times,
    /// None: plaintext.
    pub(crate) keyring: Option<Keyring>,
    /// Where nonces and chance come from.
    pub(crate) seed: [u8; 32],
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Output {
    Send {
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    Event(GossipEvent),
    /// Nobody answers at the doors that are known: the source should be asked again.
    WantSeeds,
    /// An operator's datagram.
    Admin(Vec<u8>),
}

pub(crate) struct Instance {
    me: Id,
    own: Own,
    fleet: Fleet,
    swim: Swim,
    records: Arc<Mutex<Records>>,
    seal: Seal,
    replays: Replays,
    frames: u64,
    rng: StdRng,
    times: Times,
    /// Everybody else, as the last look saw them.
    seen: BTreeMap<SocketAddr, Seen>,
    seek: Seek,
    budget: Budget,
    asks: PerSecond,
    answers: PerSecond,
    /// When a datagram of another instance came last.
    heard_at: Instant,
    /// When somebody is asked next whether we know the same.
    next_sync: Instant,
    /// A new member, who is asked at once.
    sync_with: Option<SocketAddr>,
    /// The fingerprint of our ring, and since when.
    ring: Option<(u64, Instant)>,
    next_chores: Instant,
    /// When members are looked at again, once something came.
    look: Option<Instant>,
    look_now: bool,
    /// Whether the next look has something to find that the digest does not show.
    is_awaited: bool,
    /// All members as they were at the last look.
    looked_at: Option<u64>,
    /// Whether the picture has changed since it was taken.
    changed: bool,
    out: VecDeque<Output>,
    pub(crate) counters: Counters,
}

impl Instance {
    pub(crate) fn new(setup: Setup, now: Instant) -> Self {
        let me = Id::new(plain(setup.address), setup.wall);
        let records = Arc::new(Mutex::new(Records::new(me, now)));
        let mut rng = StdRng::from_seed(setup.seed);
        let swim = Swim::new(
            me,
            &setup.times,
            StdRng::from_rng(&mut rng),
            Arc::clone(&records),
        );
        let mut instance = Self {
            me,
            own: Own::new(setup.record, setup.wall, now),
            fleet: Fleet::default(),
            swim,
            records,
            seal: Seal::new(&setup.cluster, setup.keyring),
            replays: Replays::default(),
            frames: 0,
            rng,
            times: setup.times,
            seen: BTreeMap::new(),
            seek: Seek::new(now, setup.times.heal),
            budget: Budget::default(),
            asks: PerSecond::new(1, now),
            answers: PerSecond::new(5, now),
            heard_at: now,
            next_sync: now + setup.times.sync,
            sync_with: None,
            ring: None,
            next_chores: now,
            look: None,
            look_now: false,
            is_awaited: false,
            looked_at: None,
            changed: true,
            out: VecDeque::new(),
            counters: Counters::default(),
        };
        instance.publish(now);
        instance
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(crate) fn next_deadline(&self) -> Instant {
        let mut first = self.next_chores.min(self.next_sync);
        // Outside nobody is probed: whoever cannot answer us is not down.
        let swim = self.swim.next_deadline().filter(|_| !self.own.is_outside());
        for due in [swim, self.look, self.seek.next_deadline(self.is_alone())] {
            first = due.map_or(first, |due| first.min(due));
        }
        first
    }

    /// A datagram came.
    pub(crate) fn datagram(&mut self, now: Instant, bytes: &[u8]) {
        self.catch_up(now);
        self.counters.received_bytes += bytes.len() as u64;
        let frame = match self.seal.open(bytes) {
            Ok(frame) => frame,
            Err(reason) => return self.refuse(reason),
        };
        if frame.sender.addr == self.me.addr {
            // An echo of ours, or somebody else at our address.
            self.claimed(now, frame.sender.generation);
            return;
        }
        if !frame.is_new(&mut self.replays) {
            return self.refuse(Refusal::Replay);
        }
        self.counters.received[frame.kind as usize] += 1;
        self.records.lock().now = now;
        self.heard_at = now;
        self.heard(frame.sender.addr);
        match frame.kind {
            Kind::Swim => self.on_swim(now, &frame),
            Kind::Ask => self.on_ask(now, &frame),
            Kind::List => self.on_list(now, &frame),
            Kind::Leave => self.on_leave(now, &frame),
            Kind::Forget => self.on_forget(now, &frame),
            // Whoever asks is no instance; what one answers is for whoever asked it.
            Kind::Admin if frame.sender.addr == NOWHERE => {
                self.out.push_back(Output::Admin(frame.payload));
            }
            Kind::Admin => self.refuse(Refusal::Elsewhere),
        }
        self.settle(now);
    }

    fn on_swim(&mut self, now: Instant, frame: &Frame) {
        let Some(peek) = Swim::peek(&frame.payload) else {
            return self.refuse(Refusal::Parse);
        };
        if peek.to.addr == self.me.addr && peek.to.generation > self.me.generation {
            // They know a later start at our address: our clock was set back, or somebody else is there.
            self.claimed(now, peek.to.generation);
            return;
        }
        if self.own.is_outside() {
            return;
        }
        if self.swim.datagram(now, &frame.payload).is_err() {
            self.refuse(Refusal::Parse);
        }
        self.look = self.look.or(Some(now + LOOK));
    }

    /// Whether we were stopped. It is seen before anything else is done: what is set from now on is not late.
    fn catch_up(&mut self, now: Instant) {
        let lag = now.saturating_duration_since(self.next_deadline());
        self.counters.lag = self.counters.lag.max(lag);
        if lag > LATE {
            self.counters.stalls += 1;
            self.shift(lag);
        }
    }

    /// Time passes.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.catch_up(now);
        self.records.lock().now = now;
        if !self.own.is_outside() {
            self.swim.tick(now, self.is_deaf(now));
        }
        if self.next_sync <= now {
            self.next_sync = now + self.jittered(self.times.sync);
            self.sync_with = self.sync_with.or_else(|| self.any_member());
        }
        self.ask_if_due(now);
        self.seek_if_due(now);
        if self.next_chores <= now {
            self.next_chores = now + CHORES;
            self.chores(now);
        }
        self.settle(now);
        if self.look.is_some_and(|look| look <= now) {
            // Most of what comes brings nothing new, and a look at a thousand costs more than all the rest of it.
            let is_new = self.is_awaited || self.looked_at != Some(self.digest());
            (self.look, self.look_now) = (None, is_new);
            self.settle(now);
        }
    }

    /// Whether there are several others, and we have heard none of them for two of our probes: it is we who are cut off.
    /// A single one may as well be dead.
    fn is_deaf(&self, now: Instant) -> bool {
        let silence = now.saturating_duration_since(self.heard_at);
        self.swim.active() > 1 && silence > 2 * self.times.probe
    }

    fn shift(&mut self, lag: Duration) {
        self.heard_at += lag;
        self.swim.shift(lag);
        self.seek.shift(lag);
        self.own.shift(lag);
        self.next_sync += lag;
        self.next_chores += lag;
        self.look = self.look.map(|look| look + lag);
    }

    fn chores(&mut self, now: Instant) {
        self.records.lock().sweep(now);
        self.own_chores(now);
        self.warn_the_suspected(now);
        self.forget_the_old(now);
        let instances = self.swim.active() + 1;
        self.swim.set_suspicion(self.times.suspicion(instances));
    }

    /// Does what the last step wants: sends, news, renewals.
    fn settle(&mut self, now: Instant) {
        // News may lead to more of it; each round of it ends something, so there are few.
        for _ in 0..8 {
            let news = self.swim.take_news();
            let is_quiet = news.is_empty();
            for news in news {
                self.on_news(now, news);
            }
            self.flush();
            self.answer_rumours(now);
            if is_quiet {
                break;
            }
        }
        self.adopt_drains(now);
        if self.records.lock().take_changed() {
            self.await_look(now);
        }
        if std::mem::take(&mut self.look_now) {
            (self.look, self.is_awaited) = (None, false);
            self.look_at_members(now);
        }
    }

    /// Something has changed: a look at once, or with the others' changes.
    fn await_look(&mut self, now: Instant) {
        if self.swim.active() <= FEW {
            self.look_now = true;
        } else {
            self.is_awaited = true;
            self.look = self.look.or(Some(now + LOOK));
        }
    }

    fn on_news(&mut self, now: Instant, news: News) {
        self.await_look(now);
        match news {
            News::Up(id) | News::Renamed(_, id)
                if id.addr != self.me.addr && self.is_active(id) =>
            {
                self.records.lock().is_up(id);
                self.sync_with = Some(id.addr);
                self.ask_if_due(now);
            }
            News::Down(id) | News::Renamed(_, id) if id.addr != self.me.addr => {
                self.note_down(now, id);
            }
            News::Up(_) | News::Down(_) | News::Renamed(..) => {}
            News::Dead => self.is_dead(now),
            News::Alone => {
                self.seek.alone(now);
                if !self.own.is_gone() {
                    self.event(GossipEvent::Alone);
                }
            }
        }
    }

    /// Seals what the protocol wants to send.
    fn flush(&mut self) {
        let mut asked_others = false;
        for (to, bytes) in self.swim.take_sends() {
            if let Some(peek) = Swim::peek(&bytes) {
                if peek.incarnation > self.own.incarnation {
                    self.counters.refuted += 1;
                }
                self.own.incarnation = peek.incarnation;
                asked_others |= peek.word == Word::ProbeForMe;
            }
            // It may believe that there was somebody before us here.
            if to.addr != self.me.addr && to.is_reachable() && !self.own.is_outside() {
                self.send(Kind::Swim, to.addr, &bytes);
            }
        }
        self.counters.probes_failed += u64::from(asked_others);
    }

    /// A sealed datagram.
    fn send(&mut self, kind: Kind, to: SocketAddr, payload: &[u8]) {
        let Some(bytes) = self.close(kind, payload) else {
            self.counters.dropped += 1;
            return;
        };
        self.counters.sent[kind as usize] += 1;
        self.counters.sent_bytes += bytes.len() as u64;
        self.out.push_back(Output::Send { to, bytes });
    }

    /// A datagram of ours; `None` when the payload is too long for one.
    pub(crate) fn close(&mut self, kind: Kind, payload: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE];
        self.rng.fill_bytes(&mut nonce);
        self.frames += 1;
        self.seal.close(kind, self.me, self.frames, payload, &nonce)
    }

    pub(crate) fn refuse(&mut self, reason: Refusal) {
        self.counters.refused[reason as usize] += 1;
        self.event(GossipEvent::Refused { reason });
    }

    fn event(&mut self, event: GossipEvent) {
        self.out.push_back(Output::Event(event));
    }

    fn is_alone(&self) -> bool {
        self.swim.active() == 0
    }

    /// A time of about this length, so that a cluster that was started at once does not act at once.
    fn jittered(&mut self, period: Duration) -> Duration {
        period.mul_f64(self.rng.random_range(0.9..1.1))
    }

    /// What is to be done, in order.
    pub(crate) fn next_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    pub(crate) fn set_keyring(&mut self, ring: Keyring) {
        self.seal.set_keyring(ring);
    }

    pub(crate) fn keyring(&self) -> Option<&Keyring> {
        self.seal.ring()
    }

    /// The ring that was made of our picture.
    pub(crate) fn set_ring(&mut self, now: Instant, fingerprint: Option<u64>) {
        if self.ring.map(|(ring, _)| ring) != fingerprint {
            self.ring = fingerprint.map(|fingerprint| (fingerprint, now));
        }
    }

    /// What was odd among the items that others told.
    pub(crate) fn items(&self) -> Counted {
        self.records.lock().counted
    }

    /// Changes that are still passed on: of members, of items.
    pub(crate) fn backlog(&self) -> (usize, usize) {
        self.swim.backlog()
    }
}
