//! Finding others, and those again who were lost; doubting, and forgetting for good.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use rand::seq::IndexedRandom as _;

use super::{Instance, Output};
use crate::gossip::events::GossipEvent;
use crate::gossip::frame::{Frame, Kind, Refusal};
use crate::gossip::heal::{self, ANSWER, FAILURES, HealReport, Knocking};
use crate::gossip::identity::{Id, is_reachable, plain};
use crate::gossip::swim::Known;
use crate::gossip::sync::{Life, TOLD_FOR};

/// Doors that are kept.
const MOST_DOORS: usize = 4_096;
/// Who was forgotten on purpose, so that nobody tells us again.
const MOST_FORGOTTEN: usize = 1_024;
/// The same member is not doubted more often.
const DOUBTED: Duration = Duration::from_secs(1);

/// Who is looked for.
#[derive(Debug)]
pub(super) struct Seek {
    doors: Vec<SocketAddr>,
    knocking: Knocking,
    period: Duration,
    next_heal: Instant,
    /// Where an answer is awaited, and until when.
    awaited: BTreeMap<SocketAddr, Instant>,
    /// Everybody at once, by an operator's wish.
    all: Option<All>,
    report: Option<HealReport>,
    doubts: Vec<Doubt>,
    forgotten: VecDeque<Id>,
    /// Who is down, and not listed by the source.
    unlisted: BTreeMap<SocketAddr, Unlisted>,
    /// Who has another ring of the same members.
    pub(super) diverged: BTreeSet<SocketAddr>,
}

/// Somebody of whom the application says that nobody listens there.
#[derive(Debug)]
struct Doubt {
    whom: Id,
    /// Whoever objects has a higher one.
    incarnation: u16,
    /// When it is given up.
    due: Instant,
    since: Instant,
}

/// When the source was looked at, and lacked somebody.
#[derive(Debug)]
struct Unlisted {
    first: Instant,
    last: Instant,
}

#[derive(Debug, Default)]
struct All {
    next: Vec<SocketAddr>,
    awaited: BTreeMap<SocketAddr, Instant>,
    report: HealReport,
}

impl Seek {
    pub(super) fn new(now: Instant, period: Duration) -> Self {
        Self {
            doors: Vec::new(),
            knocking: Knocking::new(now),
            period,
            next_heal: now + period,
            awaited: BTreeMap::new(),
            all: None,
            report: None,
            doubts: Vec::new(),
            forgotten: VecDeque::new(),
            unlisted: BTreeMap::new(),
            diverged: BTreeSet::new(),
        }
    }

    pub(super) fn next_deadline(&self, alone: bool) -> Option<Instant> {
        let knock = alone.then(|| self.knocking.due());
        let doubt = self.doubts.iter().map(|doubt| doubt.due).min();
        [Some(self.next_heal), knock, doubt]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn shift(&mut self, lag: Duration) {
        self.next_heal += lag;
        self.knocking.shift(lag);
        for doubt in &mut self.doubts {
            doubt.due += lag;
        }
        let all = self.all.iter_mut().flat_map(|all| all.awaited.values_mut());
        for due in self.awaited.values_mut().chain(all) {
            *due += lag;
        }
    }

    /// Nobody is there any more: knock at once.
    pub(super) fn alone(&mut self, now: Instant) {
        self.knocking.again(now);
    }

    pub(super) fn is_forgotten(&self, id: Id) -> bool {
        self.forgotten.contains(&id)
    }

    /// Somebody is there again: what the source does not say of it counts anew.
    pub(super) fn is_up(&mut self, addr: SocketAddr) {
        self.unlisted.remove(&addr);
    }

    /// Whether the source has lacked somebody who is down for so long that it will not come back.
    pub(super) fn is_unlisted(&self, addr: SocketAddr) -> bool {
        // A source that does not answer says nothing: its silence makes nobody older.
        let looks = self.unlisted.get(&addr);
        looks.is_some_and(|looks| looks.last.saturating_duration_since(looks.first) >= TOLD_FOR)
    }
}

impl Instance {
    /// Where others may be found, as the source says now.
    pub(crate) fn set_doors(&mut self, now: Instant, doors: impl IntoIterator<Item = SocketAddr>) {
        let me = self.me.addr;
        let doors = doors
            .into_iter()
            .map(plain)
            .filter(|door| *door != me && is_reachable(*door));
        let mut doors: Vec<_> = doors.take(MOST_DOORS).collect();
        doors.sort_unstable();
        doors.dedup();
        if doors != self.seek.doors {
            self.seek.knocking.again(now);
        }
        let down: BTreeSet<_> = self.down().map(|id| id.addr).collect();
        self.seek
            .unlisted
            .retain(|addr, _| down.contains(addr) && !doors.contains(addr));
        for addr in down
            .into_iter()
            .filter(|addr| !doors.is_empty() && !doors.contains(addr))
        {
            let look = Unlisted {
                first: now,
                last: now,
            };
            self.seek.unlisted.entry(addr).or_insert(look).last = now;
        }
        self.seek.doors = doors;
    }

    /// Everybody who is down, and may come back.
    fn down(&self) -> impl Iterator<Item = Id> {
        self.seen
            .values()
            .filter(|seen| !seen.life.is_active())
            .map(|seen| seen.id)
    }

    /// Where somebody may be who is not with us.
    fn lost(&self) -> Vec<SocketAddr> {
        let active: BTreeSet<_> = self.active().map(|id| id.addr).collect();
        let down = self.seen.values().filter(|seen| seen.life == Life::Down);
        let doors = self
            .seek
            .doors
            .iter()
            .copied()
            .chain(down.map(|seen| seen.id.addr));
        let lost: BTreeSet<_> = doors.filter(|door| !active.contains(door)).collect();
        lost.into_iter().collect()
    }

    /// Who is knocked at: by the last start that is known, so that one whose clock was set back hears of it.
    fn at(&self, door: SocketAddr) -> Id {
        let seen = self.seen.get(&door);
        seen.map_or_else(|| Id::whoever(door), |seen| seen.id)
    }

    pub(super) fn seek_if_due(&mut self, now: Instant) {
        if self.own.is_gone() || self.own.is_outside() {
            self.seek.next_heal = self.seek.next_heal.max(now + ANSWER);
            self.seek.knocking.knocked(now, 1.0);
            return;
        }
        if self.is_alone() && self.seek.knocking.due() <= now {
            let unit = self.rng.random();
            self.seek.knocking.knocked(now, unit);
            for door in heal::some(&self.lost(), &mut self.rng) {
                self.swim.announce(now, self.at(door));
            }
            self.out.push_back(Output::WantSeeds);
        }
        if self.seek.next_heal <= now {
            self.seek.next_heal = now + self.jittered(self.seek.period);
            let lost = self.lost();
            if !self.is_alone()
                && heal::heals(self.swim.active() + 1, &mut self.rng)
                && let Some(door) = lost.choose(&mut self.rng)
            {
                self.seek.awaited.insert(*door, now + ANSWER);
                self.swim.announce(now, self.at(*door));
            }
        }
        self.count_silent(now);
        self.go_on_with_all(now);
        self.judge_doubts(now);
    }

    /// Somebody is at this address.
    pub(super) fn heard(&mut self, from: SocketAddr) {
        if self.seek.awaited.remove(&from).is_some() {
            self.counters.heals_answered += 1;
            self.event(GossipEvent::HealTried {
                to: from,
                answered: true,
            });
        }
        if let Some(all) = &mut self.seek.all
            && all.awaited.remove(&from).is_some()
        {
            all.report.answered.push(from);
        }
    }

    fn count_silent(&mut self, now: Instant) {
        let silent: Vec<_> = self
            .seek
            .awaited
            .iter()
            .filter(|(_, due)| **due <= now)
            .map(|(door, _)| *door)
            .collect();
        for to in silent {
            self.seek.awaited.remove(&to);
            self.counters.heals_silent += 1;
            self.event(GossipEvent::HealTried {
                to,
                answered: false,
            });
        }
    }

    /// Knocks at every door there is.
    pub(crate) fn heal_all(&mut self, now: Instant) {
        if self.own.is_gone() {
            // Nobody is knocked at any more, and nobody waits for it.
            self.seek.report = Some(HealReport::default());
            return;
        }
        if self.seek.all.is_none() {
            let next = self.lost();
            self.seek.all = Some(All {
                next,
                ..All::default()
            });
        }
        self.go_on_with_all(now);
        self.settle(now);
    }

    fn go_on_with_all(&mut self, now: Instant) {
        let Some(mut all) = self.seek.all.take() else {
            return;
        };
        let silent: Vec<_> = all
            .awaited
            .iter()
            .filter(|(_, due)| **due <= now)
            .map(|(door, _)| *door)
            .collect();
        for door in silent {
            all.awaited.remove(&door);
            all.report.silent.push(door);
        }
        while all.report.silent.len() + all.awaited.len() < FAILURES
            && let Some(door) = all.next.pop()
        {
            all.awaited.insert(door, now + ANSWER);
            self.swim.announce(now, self.at(door));
        }
        match all.awaited.is_empty() {
            true => self.seek.report = Some(all.report),
            false => self.seek.all = Some(all),
        }
    }

    /// What came of it until now is all that there will be.
    pub(super) fn end_healing(&mut self) {
        self.seek.report = self.seek.all.take().map(|all| all.report);
    }

    /// What came of it.
    pub(crate) fn take_heal_report(&mut self) -> Option<HealReport> {
        self.seek.report.take()
    }

    /// The kernel says that nobody listens there. Like any suspicion, it can be refuted.
    pub(crate) fn doubt(&mut self, now: Instant, whom: Id) {
        let age = |doubt: &Doubt| now.saturating_duration_since(doubt.since);
        self.seek
            .doubts
            .retain(|doubt| age(doubt) < Duration::from_secs(60));
        let recently = |doubt: &Doubt| doubt.whom == whom && age(doubt) < DOUBTED;
        if self.seek.doubts.iter().any(recently) {
            return;
        }
        let known = self
            .swim
            .known()
            .find(|known| known.id == whom && known.life == Life::Alive);
        if let Some(known) = known {
            self.swim.apply(
                now,
                [Known {
                    life: Life::Suspect,
                    ..known
                }],
                true,
            );
            self.seek.doubts.push(Doubt {
                whom,
                incarnation: known.incarnation,
                due: now + self.swim.suspicion(),
                since: now,
            });
            self.look_now = true;
            self.settle(now);
        }
    }

    fn judge_doubts(&mut self, now: Instant) {
        let (due, waiting) = self
            .seek
            .doubts
            .drain(..)
            .partition::<Vec<_>, _>(|doubt| doubt.due <= now);
        self.seek.doubts = waiting;
        for doubt in due {
            let known = self.swim.known().find(|known| known.id == doubt.whom);
            if let Some(known) = known
                && (known.incarnation, known.life) == (doubt.incarnation, Life::Suspect)
            {
                self.swim.apply(
                    now,
                    [Known {
                        life: Life::Down,
                        ..known
                    }],
                    true,
                );
            }
        }
    }

    /// An operator says that somebody who is down will not come back; whether there is such a one.
    pub(crate) fn forget_everywhere(&mut self, now: Instant, addr: SocketAddr) -> bool {
        let Some(id) = self.down().find(|id| id.addr == addr) else {
            return false;
        };
        let bytes = postcard::to_allocvec(&id).unwrap_or_default();
        let others: Vec<_> = self.active().collect();
        for other in others {
            self.send(Kind::Forget, other.addr, &bytes);
        }
        self.forget(now, id);
        self.settle(now);
        true
    }

    pub(super) fn on_forget(&mut self, now: Instant, frame: &Frame) {
        match postcard::take_from_bytes::<Id>(&frame.payload) {
            Ok((id, _later)) => {
                let id = Id::new(id.addr, id.generation);
                // Who lives here is not forgotten because another one lost sight of it.
                if !self.is_active(id) && id.addr != self.me.addr {
                    self.forget(now, id);
                }
            }
            Err(_) => self.refuse(Refusal::Parse),
        }
    }

    pub(super) fn forget(&mut self, now: Instant, id: Id) {
        if !self.seek.is_forgotten(id) {
            self.seek.forgotten.push_back(id);
        }
        if self.seek.forgotten.len() > MOST_FORGOTTEN {
            self.seek.forgotten.pop_front();
        }
        self.seek.unlisted.remove(&id.addr);
        self.seek.diverged.remove(&id.addr);
        self.swim.forget(now, id);
        self.records.lock().is_gone(id);
        self.replays.forget(id);
        self.look_now = true;
    }

    /// How many have another ring of the same members.
    pub(crate) fn diverged(&self) -> usize {
        let active: BTreeSet<_> = self.active().map(|id| id.addr).collect();
        self.seek
            .diverged
            .iter()
            .filter(|addr| active.contains(addr))
            .count()
    }
}
