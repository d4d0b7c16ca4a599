//! What is said of nodes: ours, to all; theirs, for those who decide by it; and the words on drains, which everybody
//! keeps.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::Instance;
use crate::fleet::{Drains, Full};
use crate::gossip::identity::Id;
use crate::gossip::record::Head;
use crate::gossip::testimony::{self, DRAINS, TESTIMONIES, Testimony};
use crate::gossip::view::{Member, MemberState};
use crate::hash::xxh3_64;

/// What this instance says.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    /// The bodies of its items of evidence, by their kinds; empty ones where more was said once.
    said: Vec<Vec<u8>>,
    drains: Drains,
    /// The bodies of its words on drains.
    words: Vec<Vec<u8>>,
    /// Whether somebody decides by what is said.
    pub(super) is_shared: bool,
    changed: bool,
}

/// What everybody says of nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Picture {
    pub(crate) speakers: Vec<Speaker>,
    pub(crate) drains: Drains,
}

#[derive(Clone, Debug)]
pub(crate) struct Speaker {
    pub(crate) address: SocketAddr,
    pub(crate) ring_id: Box<str>,
    pub(crate) state: MemberState,
    pub(crate) said: Vec<Arc<Testimony>>,
}

impl Instance {
    /// Says this of nodes from now on, if it is new; the parts of all scopes.
    pub(crate) fn testify(&mut self, now: Instant, mut bodies: Vec<Vec<u8>>) {
        let most = TESTIMONIES.count();
        bodies.truncate(most);
        // An item cannot be taken back, only be emptied.
        while bodies.len() < self.fleet.said.len() {
            bodies.push(testimony::nothing());
        }
        let before = std::mem::replace(&mut self.fleet.said, bodies);
        let mut is_new = false;
        for (place, kind) in (0..self.fleet.said.len()).zip(TESTIMONIES) {
            if before.get(place) != Some(&self.fleet.said[place]) {
                self.say_item(kind, &self.fleet.said[place].clone());
                is_new = true;
            }
        }
        if is_new {
            // Not with the next round: while it is unsaid, others send keys elsewhere.
            self.swim.gossip(now);
            self.settle(now);
        }
    }

    /// From now on somebody wants to know what all say.
    pub(crate) fn share(&mut self) {
        if !self.fleet.is_shared {
            (self.fleet.is_shared, self.fleet.changed) = (true, true);
        }
    }

    /// An operator's word on a node of a scope; whether it is news.
    pub(crate) fn say_drain(&mut self, now: Instant, key: u64, on: bool) -> Result<bool, Full> {
        let by = xxh3_64(self.own.record().ring_id.as_bytes());
        let is_new = self.fleet.drains.say(key, on, self.own.wall(now), by)?;
        if is_new {
            self.say_drains();
            self.swim.gossip(now);
            self.settle(now);
        }
        Ok(is_new)
    }

    /// What others say of drains is what we say, too: it must outlive them.
    pub(super) fn adopt_drains(&mut self, now: Instant) {
        let wall = self.own.wall(now);
        let is_new = {
            let mut records = self.records.lock();
            if !records.take_drains_changed() {
                return;
            }
            self.fleet.drains.merge(records.drains(), wall)
        };
        if is_new {
            self.say_drains();
        }
    }

    fn say_drains(&mut self) {
        let bodies = testimony::drain_bodies(self.fleet.drains.words());
        let before = std::mem::replace(&mut self.fleet.words, bodies);
        for (place, kind) in DRAINS.enumerate() {
            if before.get(place) != self.fleet.words.get(place) {
                self.say_item(kind, &self.fleet.words[place].clone());
            }
        }
        self.fleet.changed = true;
    }

    /// Under a new generation or version, all of it.
    pub(super) fn say_again(&mut self) {
        let said: Vec<_> = TESTIMONIES.zip(self.fleet.said.clone()).collect();
        let words: Vec<_> = DRAINS.zip(self.fleet.words.clone()).collect();
        for (kind, body) in said.into_iter().chain(words) {
            self.say_item(kind, &body);
        }
    }

    fn say_item(&mut self, kind: u8, body: &[u8]) {
        let version = self.own.next_version();
        // Each body was made to fit.
        if let Some(item) = Head::item(kind, self.me, version, body) {
            self.swim.broadcast(&item);
        }
    }

    /// What everybody says, us included, if that is new and somebody wants to know; `anew`: members have changed.
    pub(crate) fn take_picture(&mut self, anew: bool) -> Option<Picture> {
        let changed = std::mem::take(&mut self.fleet.changed);
        let said = self.records.lock().take_fleet_changed();
        if !self.fleet.is_shared || !(changed || said || anew) {
            return None;
        }
        let records = self.records.lock();
        let speaker = |member: Arc<Member>| Speaker {
            address: member.address,
            ring_id: member.ring_id.clone(),
            state: member.state,
            said: records
                .testimonies(Id::new(member.address, member.generation))
                .cloned()
                .collect(),
        };
        Some(Picture {
            speakers: self.roster().into_iter().map(speaker).collect(),
            drains: self.fleet.drains.clone(),
        })
    }
}
