//! Exchanges with one other: whether both know the same, and what each lacks.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::Rng as _;

use super::Instance;
use crate::gossip::events::GossipEvent;
use crate::gossip::frame::{Frame, Kind, Refusal};
use crate::gossip::identity::{Id, is_reachable};
use crate::gossip::records::ItemKey;
use crate::gossip::swim::Known;
use crate::gossip::sync::{self, Ask, Difference, Entry, Life, List, TOLD_FOR, Told, Version};

/// Both rings must have been so for this long: one of two instances always hears of a change first.
const SETTLED: Duration = Duration::from_secs(10);

impl Instance {
    /// Asks whoever is to be asked, once a second at most.
    pub(super) fn ask_if_due(&mut self, now: Instant) {
        if !self.has_joined() && !self.is_alone() {
            self.sync_with = self.sync_with.or_else(|| self.any_member());
        }
        let may_ask = self.sync_with.is_some() && !self.own.is_gone() && !self.own.is_outside();
        if may_ask
            && self.asks.take(now)
            && let Some(with) = self.sync_with.take()
        {
            let token = self.rng.next_u32();
            let ask = self.ask(now, token);
            self.send(Kind::Ask, with, &ask.encode());
        }
    }

    fn ask(&self, now: Instant, token: u32) -> Ask {
        let members = self.entries(now).fold(0, |all, told| {
            all ^ sync::digest(told.id, !told.life.is_active())
        });
        let (ring, since) = self.ring.unwrap_or((0, now));
        Ask {
            token,
            members,
            items: self.records.lock().digest(),
            ring,
            ring_age: seconds(now.saturating_duration_since(since)),
        }
    }

    /// What is told of everybody, us included.
    fn entries(&self, now: Instant) -> impl Iterator<Item = Told> {
        let me = Told {
            id: self.me,
            incarnation: self.own.incarnation,
            life: if self.own.is_gone() {
                Life::Left
            } else {
                Life::Alive
            },
            down_for: 0,
        };
        let others = self.seen.values().filter_map(move |seen| {
            let down_for = seen
                .down_since
                .map(|since| now.saturating_duration_since(since));
            down_for
                .is_none_or(|down_for| down_for < TOLD_FOR)
                .then(|| Told {
                    id: seen.id,
                    incarnation: seen.incarnation,
                    life: seen.life,
                    down_for: seconds(down_for.unwrap_or_default()),
                })
        });
        others.chain([me])
    }

    fn heads(&self, now: Instant) -> Vec<Entry> {
        let records = self.records.lock();
        let entry = |told: Told| Entry {
            told,
            items: records
                .items(told.id)
                .map(|(kind, item)| Version {
                    kind,
                    version: item.version,
                    check: item.hash as u16,
                })
                .collect(),
        };
        self.entries(now).map(entry).collect()
    }

    /// Somebody asks whether we know the same.
    pub(super) fn on_ask(&mut self, now: Instant, frame: &Frame) {
        let Some(theirs) = Ask::decode(&frame.payload) else {
            return self.refuse(Refusal::Parse);
        };
        if self.own.is_outside() || !self.answers.take(now) {
            self.counters.dropped += 1;
            return;
        }
        let ours = self.ask(now, theirs.token);
        if (ours.members, ours.items) == (theirs.members, theirs.items) {
            self.counters.syncs_equal += 1;
            self.compare_rings(frame.sender.addr, &ours, &theirs);
            return self.send(Kind::List, frame.sender.addr, &List::Equal(ours).encode());
        }
        self.counters.syncs_different += 1;
        for list in sync::heads(theirs.token, self.heads(now)) {
            self.send_list(now, frame.sender.addr, &list);
        }
    }

    fn send_list(&mut self, now: Instant, to: SocketAddr, list: &List) {
        match self.budget.spend(to, list.token(), now) {
            true => self.send(Kind::List, to, &list.encode()),
            // The rest is for the next exchange.
            false => self.counters.dropped += 1,
        }
    }

    /// Somebody answers, or answers our answer.
    pub(super) fn on_list(&mut self, now: Instant, frame: &Frame) {
        let (Some(list), from) = (List::decode(&frame.payload), frame.sender.addr) else {
            return self.refuse(Refusal::Parse);
        };
        if self.own.is_outside() {
            return;
        }
        match list {
            List::Equal(theirs) => {
                let ours = self.ask(now, theirs.token);
                if (ours.members, ours.items) == (theirs.members, theirs.items) {
                    self.compare_rings(from, &ours, &theirs);
                }
                self.synced(now, false);
            }
            List::Heads {
                token,
                from: after,
                to,
                entries,
            } => {
                let told: Vec<_> = entries.iter().map(|entry| entry.told).collect();
                self.hear(now, &told);
                let inside = |addr: SocketAddr| {
                    after.is_none_or(|after| addr > after) && to.is_none_or(|to| addr <= to)
                };
                let mut ours = self.heads(now);
                ours.retain(|entry| inside(entry.told.id.addr));
                let difference = sync::compare(&ours, &entries);
                let more = !difference.wants.is_empty();
                self.fill(now, from, token, &difference);
                if to.is_none() {
                    self.synced(now, more);
                }
            }
            List::Fill {
                token,
                members,
                items,
                wants,
            } => {
                self.hear(now, &members);
                for item in &items {
                    self.records.lock().offer(item);
                }
                let wanted = wants
                    .into_iter()
                    .map(|(owner, kind)| ItemKey { owner, kind });
                let difference = Difference {
                    items: wanted.collect(),
                    ..Difference::default()
                };
                self.fill(now, from, token, &difference);
            }
        }
    }

    fn fill(&mut self, now: Instant, to: SocketAddr, token: u32, difference: &Difference) {
        let lists = {
            let records = self.records.lock();
            sync::fill(token, difference, |key| {
                Some(records.item(key)?.bytes.to_vec())
            })
        };
        for list in lists {
            self.send_list(now, to, &list);
        }
    }

    /// What somebody knows of members.
    fn hear(&mut self, now: Instant, told: &[Told]) {
        let mut heard = Vec::with_capacity(told.len());
        for told in told.iter().filter(|told| is_reachable(told.id.addr)) {
            let id = Id::new(told.id.addr, told.id.generation);
            if id.addr == self.me.addr && id != self.me {
                self.claimed(now, id.generation);
                continue;
            }
            let is_down = !told.life.is_active();
            // They would be remembered for a day from now on, and told of to the next one.
            let is_new = !self.seen.contains_key(&id.addr);
            let is_old = u64::from(told.down_for) >= TOLD_FOR.as_secs();
            if is_down && ((is_new && is_old) || self.seek.is_forgotten(id)) {
                continue;
            }
            heard.push(Told { id, ..*told });
        }
        let known = heard.iter().map(|told| Known {
            id: told.id,
            incarnation: told.incarnation,
            life: told.life,
        });
        self.swim.apply(now, known.collect::<Vec<_>>(), false);
        self.look_now = true;
        self.settle(now);
        heard.retain(|told| !told.life.is_active() && told.id.addr != self.me.addr);
        for told in heard {
            if told.life == Life::Left {
                self.note_left(now, told.id);
            }
            if let Some(seen) = self
                .seen
                .get_mut(&told.id.addr)
                .filter(|seen| seen.id == told.id)
                && let Some(since) = seen.down_since
                && let Some(earlier) = now.checked_sub(Duration::from_secs(told.down_for.into()))
            {
                seen.down_since = Some(since.min(earlier));
            }
        }
    }

    /// With the same members and the same records, two instances have the same ring, or other rules.
    fn compare_rings(&mut self, with: SocketAddr, ours: &Ask, theirs: &Ask) {
        let age = ours.ring_age.min(theirs.ring_age);
        if ours.ring == theirs.ring {
            self.seek.diverged.remove(&with);
        } else if ours.ring != 0
            && theirs.ring != 0
            && age >= seconds(SETTLED)
            && self.seek.diverged.insert(with)
        {
            let roster = self.roster();
            if let Some(member) = roster.into_iter().find(|member| member.address == with) {
                self.event(GossipEvent::RingDiverged(member));
            }
        }
    }
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
