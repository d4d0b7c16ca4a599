//! What has become of everybody since the last look.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use rand::seq::IteratorRandom as _;

use super::Instance;
use crate::gossip::events::GossipEvent;
use crate::gossip::frame::{Frame, Kind, Refusal};
use crate::gossip::identity::Id;
use crate::gossip::leave;
use crate::gossip::record::{Phase, Record};
use crate::gossip::swim::Known;
use crate::gossip::sync::{Life, List, Told};
use crate::gossip::view::{Member, MemberState};

/// How long those who are down are remembered: somebody may come back from the other side of a partition.
const REMEMBERED: Duration = Duration::from_secs(24 * 3_600);
/// How often somebody is told that it is suspected, and by how many.
const WARNED: Duration = Duration::from_millis(900);
const WARNERS: f64 = 10.0;
/// So many of them at most.
const MOST_DOWN: usize = 4_096;

/// A member, as the last look saw it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) id: Id,
    pub(super) life: Life,
    pub(super) incarnation: u16,
    /// Since when it is so.
    pub(super) since: Instant,
    /// Since when it is down; told by others, that may be long before we heard it.
    pub(super) down_since: Option<Instant>,
    /// When it was last told that it is suspected.
    warned: Option<Instant>,
    member: Arc<Member>,
}

impl Instance {
    /// Looks at everybody, and tells what has changed.
    pub(super) fn look_at_members(&mut self, now: Instant) {
        let known: Vec<_> = self
            .swim
            .known()
            .filter(|known| known.id.addr != self.me.addr)
            .collect();
        let mut found = 0;
        for known in known {
            if !known.life.is_active() && self.seek.is_forgotten(known.id) {
                // Somebody was still passing on that it is down.
                self.swim.forget(now, known.id);
                continue;
            }
            found += 1;
            self.look_at(now, known);
        }
        if found < self.seen.len() {
            let still: std::collections::HashSet<_> =
                self.swim.known().map(|known| known.id.addr).collect();
            self.seen.retain(|addr, _| still.contains(addr));
            self.changed = true;
        }
        self.looked_at = Some(self.digest());
    }

    /// One number for all members, far cheaper than a look at each: while it is the same, so are they.
    pub(super) fn digest(&self) -> u64 {
        // Odd, and with as many ones as zeros.
        const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
        let of = |known: Known| {
            let place = match known.id.addr.ip() {
                IpAddr::V4(ip) => u64::from(ip.to_bits()),
                IpAddr::V6(ip) => (ip.to_bits() ^ ip.to_bits() >> 64) as u64,
            };
            let life = u64::from(known.incarnation) << 2 | known.life as u64;
            let parts = [u64::from(known.id.addr.port()), known.id.generation, life];
            let mix = |mixed: u64, part: u64| (mixed.rotate_left(23) ^ part).wrapping_mul(MIX);
            let mixed = parts.into_iter().fold(place, mix);
            mixed ^ mixed >> 29
        };
        let sum = |sum: u64, known| sum.wrapping_add(of(known));
        self.swim.known().fold(0, sum)
    }

    fn look_at(&mut self, now: Instant, known: Known) {
        let record = self.records.lock().record(known.id);
        let Some(seen) = self.seen.get_mut(&known.id.addr) else {
            return self.is_new(now, known, record.as_deref());
        };
        seen.incarnation = known.incarnation;
        let was = (seen.id, seen.life);
        let life = match (known.life, seen.life) {
            (Life::Down, Life::Left) if seen.id == known.id => Life::Left,
            (life, _) => life,
        };
        let same = was == (known.id, life);
        let before = Arc::clone(&seen.member);
        let is_told = match record.as_deref() {
            // What it said stays to be read while it is down.
            None => same || !life.is_active(),
            Some(record) => says(&before, record),
        };
        if same && is_told {
            return;
        }
        self.changed = true;
        if !same {
            seen.since = now;
            seen.down_since = (!life.is_active()).then(|| seen.down_since.unwrap_or(now));
        }
        (seen.id, seen.life) = (known.id, life);
        let kept = (record.is_none() && (!life.is_active() || seen.id == was.0))
            .then(|| Record::of_member(&before));
        seen.member = Arc::new(member(
            known.id,
            life,
            seen.since,
            record.as_deref().or(kept.as_ref()),
        ));
        let member = Arc::clone(&seen.member);
        let is_later = was.0 != known.id;
        if life.is_active() {
            self.seek.is_up(known.id.addr);
        }
        let event = match (was.1.is_active(), life.is_active()) {
            (true, true) if is_later => Some(GossipEvent::MemberRenewed(Arc::clone(&member))),
            (false, true) => Some(GossipEvent::MemberUp(Arc::clone(&member))),
            (true, true) if life == Life::Suspect && was.1 == Life::Alive => {
                Some(GossipEvent::MemberSuspected(Arc::clone(&member)))
            }
            (true, false) if life == Life::Left => {
                Some(GossipEvent::MemberLeft(Arc::clone(&member)))
            }
            (true, false) => Some(GossipEvent::MemberDown(Arc::clone(&member))),
            _ => None,
        };
        event.into_iter().for_each(|event| self.event(event));
        if !is_told && life.is_active() && record.is_some() {
            let labels = before.labels != member.labels;
            self.event(GossipEvent::RecordChanged { member, labels });
        }
    }

    fn is_new(&mut self, now: Instant, known: Known, record: Option<&Record>) {
        let member = Arc::new(member(known.id, known.life, now, record));
        self.changed = true;
        if known.life.is_active() {
            self.event(GossipEvent::MemberUp(Arc::clone(&member)));
        }
        self.seen.insert(
            known.id.addr,
            Seen {
                id: known.id,
                life: known.life,
                incarnation: known.incarnation,
                since: now,
                down_since: (!known.life.is_active()).then_some(now),
                warned: None,
                member,
            },
        );
    }

    /// Tells those who are suspected that they are, so that they can object: the news of it may have been lost, and
    /// what they send us otherwise is no objection. About ten instances do, whatever their number.
    pub(super) fn warn_the_suspected(&mut self, now: Instant) {
        let chance = (WARNERS / self.seen.len().max(1) as f64).min(1.0);
        let due = |seen: &&mut Seen| {
            let recently = |at: Instant| now.saturating_duration_since(at) < WARNED;
            seen.life == Life::Suspect && !seen.warned.is_some_and(recently)
        };
        let mut told = Vec::new();
        for seen in self.seen.values_mut().filter(due) {
            seen.warned = Some(now);
            told.push(Told {
                id: seen.id,
                incarnation: seen.incarnation,
                life: Life::Suspect,
                down_for: 0,
            });
        }
        for told in told {
            if self.rng.random_bool(chance) {
                let list = List::Fill {
                    token: 0,
                    members: vec![told],
                    items: vec![],
                    wants: vec![],
                };
                self.send(Kind::List, told.id.addr, &list.encode());
            }
        }
    }

    /// Somebody went down: whether it had said so decides what it is called.
    pub(super) fn note_down(&mut self, now: Instant, id: Id) {
        let said = {
            let mut records = self.records.lock();
            let said = records
                .record(id)
                .is_some_and(|record| record.phase == Phase::Leaving);
            records.is_down(id);
            said
        };
        if said {
            self.note_left(now, id);
        }
    }

    /// Somebody said that it goes.
    pub(super) fn note_left(&mut self, now: Instant, id: Id) {
        if let Some(seen) = self.seen.get_mut(&id.addr).filter(|seen| seen.id == id) {
            if seen.life == Life::Left {
                return;
            }
            let was_active = seen.life.is_active();
            (seen.life, seen.since) = (Life::Left, now);
            seen.down_since = seen.down_since.or(Some(now));
            let mut left = (*seen.member).clone();
            (left.state, left.since) = (MemberState::Left, now);
            seen.member = Arc::new(left);
            let member = Arc::clone(&seen.member);
            self.changed = true;
            if was_active {
                self.event(GossipEvent::MemberLeft(member));
            }
        }
    }

    /// A member goes, and says so itself.
    pub(super) fn on_leave(&mut self, now: Instant, frame: &Frame) {
        match postcard::take_from_bytes::<Id>(&frame.payload) {
            // Nobody says it for another.
            Ok((id, _later)) if id == frame.sender => {
                if self.is_active(id) {
                    self.note_left(now, id);
                    let gone = Known {
                        id,
                        incarnation: 0,
                        life: Life::Left,
                    };
                    self.swim.apply(now, [gone], true);
                }
            }
            _ => self.refuse(Refusal::Parse),
        }
    }

    /// Tells some of the others by hand that we go; gives their number.
    pub(crate) fn tell_leaving(&mut self) -> usize {
        let told = match self.own.told.take() {
            // One of two datagrams may be lost: the same hear it again.
            Some(told) => told,
            None => {
                let others: Vec<_> = self.active().map(|id| id.addr).collect();
                let told = leave::told(others.len());
                others.into_iter().sample(&mut self.rng, told)
            }
        };
        let bytes = postcard::to_allocvec(&self.me).unwrap_or_default();
        for to in &told {
            self.send(Kind::Leave, *to, &bytes);
        }
        self.own.told.insert(told).len()
    }

    /// Who is alive or suspect, without us.
    pub(super) fn active(&self) -> impl Iterator<Item = Id> {
        let me = self.me.addr;
        let known = self
            .swim
            .known()
            .filter(move |known| known.life.is_active() && known.id.addr != me);
        known.map(|known| known.id)
    }

    pub(super) fn is_active(&self, id: Id) -> bool {
        self.active().any(|active| active == id)
    }

    pub(super) fn any_member(&mut self) -> Option<SocketAddr> {
        let others: Vec<_> = self.active().collect();
        others.into_iter().choose(&mut self.rng).map(|id| id.addr)
    }

    /// Those who are down for a day are forgotten, and the oldest when there are too many.
    pub(super) fn forget_the_old(&mut self, now: Instant) {
        let mut down: Vec<_> = self
            .seen
            .values()
            .filter_map(|seen| Some((seen.down_since?, seen.id)))
            .collect();
        let over = down.len().saturating_sub(MOST_DOWN);
        down.sort_unstable_by_key(|(since, _)| *since);
        let old = |since: Instant| now.saturating_duration_since(since) >= REMEMBERED;
        for (place, (since, id)) in down.into_iter().enumerate() {
            if place < over || old(since) || self.seek.is_unlisted(id.addr) {
                self.forget(now, id);
            }
        }
    }

    /// Everybody, with us; `None` when nothing has changed since it was taken.
    pub(crate) fn take_roster(&mut self) -> Option<Vec<Arc<Member>>> {
        std::mem::take(&mut self.changed).then(|| self.roster())
    }

    pub(crate) fn roster(&self) -> Vec<Arc<Member>> {
        let others = self.seen.values().map(|seen| Arc::clone(&seen.member));
        others.chain([Arc::new(self.myself())]).collect()
    }

    fn myself(&self) -> Member {
        let life = if self.own.is_gone() {
            Life::Left
        } else {
            Life::Alive
        };
        let record = self.own.record();
        Member {
            is_me: true,
            ..member(self.me, life, self.own.since, Some(&record))
        }
    }
}

fn member(id: Id, life: Life, since: Instant, record: Option<&Record>) -> Member {
    Member {
        address: id.addr,
        generation: id.generation,
        ring_id: record.map_or_else(
            || id.addr.to_string().into(),
            |record| record.ring_id.clone(),
        ),
        http: record.and_then(|record| record.http.clone()),
        state: match life {
            Life::Alive => MemberState::Alive,
            Life::Suspect => MemberState::Suspect,
            Life::Down => MemberState::Down,
            Life::Left => MemberState::Left,
        },
        phase: record.map_or(Phase::Joining, |record| record.phase),
        weight: record.map_or(1, |record| record.weight),
        labels: record
            .map(|record| record.labels.clone())
            .unwrap_or_default(),
        since,
        is_me: false,
    }
}

/// Whether the record says what is known of the member.
fn says(member: &Member, record: &Record) -> bool {
    member.ring_id == record.ring_id
        && member.http == record.http
        && member.phase == record.phase
        && member.weight == record.weight
        && member.labels == record.labels
}

impl Record {
    fn of_member(member: &Member) -> Self {
        Self {
            ring_id: member.ring_id.clone(),
            http: member.http.clone(),
            phase: member.phase,
            weight: member.weight,
            labels: member.labels.clone(),
        }
    }
}
