//! What we say of ourselves, and what we do when somebody else says it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Instance;
use crate::gossip::events::GossipEvent;
use crate::gossip::identity::Id;
use crate::gossip::record::{Phase, Record};

/// With nobody there, an instance is ready after this.
const ALONE: Duration = Duration::from_secs(2);
/// Items that come at the end of an exchange are waited for.
const REST: Duration = Duration::from_millis(200);
/// So often in [`CLAIMS_IN`] we raise our generation above that of somebody else at our address.
const CLAIMS: usize = 3;
const CLAIMS_IN: Duration = Duration::from_secs(60);
/// How long we stand outside then.
const OUTSIDE: Duration = Duration::from_secs(30);

/// What is ours.
#[derive(Debug)]
pub(super) struct Own {
    said: Record,
    version: u64,
    /// The wall clock at the start, in milliseconds.
    wall: u64,
    started: Instant,
    pub(super) since: Instant,
    pub(super) incarnation: u16,
    /// When we have joined.
    joined: Option<Instant>,
    was_ready: bool,
    is_draining: bool,
    gate_is_shut: bool,
    is_leaving: bool,
    is_gone: bool,
    /// Who is told by hand that we go, each time the same.
    pub(super) told: Option<Vec<SocketAddr>>,
    /// When others claimed our address.
    claims: VecDeque<Instant>,
    /// The highest generation of theirs.
    claimed: u64,
    /// Until when we stand outside.
    outside: Option<Instant>,
}

impl Own {
    pub(super) fn new(record: Record, wall: u64, now: Instant) -> Self {
        Self {
            said: record,
            version: 0,
            wall,
            started: now,
            since: now,
            incarnation: 0,
            joined: None,
            was_ready: false,
            is_draining: false,
            gate_is_shut: false,
            is_leaving: false,
            is_gone: false,
            told: None,
            claims: VecDeque::new(),
            claimed: 0,
            outside: None,
        }
    }

    pub(super) fn is_outside(&self) -> bool {
        self.outside.is_some()
    }

    /// Whether we have left.
    pub(super) fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// What we say now.
    pub(super) fn record(&self) -> Record {
        self.said.clone()
    }

    fn phase(&self, now: Instant) -> Phase {
        if self.is_leaving {
            Phase::Leaving
        } else if self.is_draining || self.gate_is_shut || self.is_outside() {
            Phase::Draining
        } else if self.joined.is_some_and(|joined| joined <= now) {
            Phase::Ready
        } else {
            Phase::Joining
        }
    }

    pub(super) fn shift(&mut self, lag: Duration) {
        self.joined = self.joined.map(|joined| joined + lag);
    }

    /// The version of the next item that is said.
    pub(super) fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// The wall clock, in milliseconds.
    pub(super) fn wall(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.started).as_millis();
        let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
        self.wall.saturating_add(elapsed)
    }

    fn generation(&self, now: Instant, above: u64) -> u64 {
        self.wall(now).max(above.saturating_add(1))
    }
}

impl Instance {
    /// Says what we are, under a new version.
    pub(super) fn publish(&mut self, now: Instant) {
        self.own.said.phase = self.own.phase(now);
        let version = self.own.next_version();
        // What does not fit was refused when it was set.
        if let Some(item) = self.own.said.item(self.me, version) {
            self.swim.broadcast(&item);
        }
        self.changed = true;
    }

    /// Says it when it has changed.
    fn publish_if_new(&mut self, now: Instant) {
        let phase = self.own.phase(now);
        if phase != self.own.said.phase {
            self.publish(now);
            if phase == Phase::Ready && !self.own.was_ready {
                self.own.was_ready = true;
                self.event(GossipEvent::Ready);
            }
        }
    }

    pub(super) fn own_chores(&mut self, now: Instant) {
        if self.own.joined.is_none()
            && self.is_alone()
            && now.saturating_duration_since(self.own.started) >= ALONE
        {
            self.own.joined = Some(now);
        }
        if self.own.outside.is_some_and(|until| until <= now) {
            self.own.outside = None;
            self.own.claims.clear();
            self.swim.shift(OUTSIDE);
            // Who leaves does not take its address back.
            if !self.own.is_leaving {
                self.renew(now, self.own.claimed);
            }
        }
        self.publish_if_new(now);
    }

    /// An exchange has ended; whether items are still under way.
    pub(super) fn synced(&mut self, now: Instant, more: bool) {
        let joined = if more { now + REST } else { now };
        self.own.joined = self.own.joined.or(Some(joined));
        self.publish_if_new(now);
    }

    /// Whether everybody was told what there is.
    pub(super) fn has_joined(&self) -> bool {
        self.own.joined.is_some()
    }

    /// Says something else of ourselves; the error is that of the record.
    pub(crate) fn change(
        &mut self,
        now: Instant,
        change: impl FnOnce(&mut Record),
    ) -> Result<(), (&'static str, String)> {
        let mut record = self.own.said.clone();
        change(&mut record);
        record.check()?;
        if record != self.own.said {
            self.own.said = record;
            self.publish(now);
            self.settle(now);
        }
        Ok(())
    }

    pub(crate) fn set_draining(&mut self, now: Instant, on: bool) {
        self.own.is_draining = on;
        self.publish_if_new(now);
        self.settle(now);
    }

    /// What the application's gate says.
    pub(crate) fn set_gate(&mut self, now: Instant, open: bool) {
        self.own.gate_is_shut = !open;
        self.publish_if_new(now);
        self.settle(now);
    }

    /// Out of every ring; the others hear it within a second.
    pub(crate) fn begin_leaving(&mut self, now: Instant) {
        self.own.is_leaving = true;
        self.publish_if_new(now);
        self.swim.gossip(now);
        self.settle(now);
    }

    /// Gone: nobody is answered any more.
    pub(crate) fn end_leaving(&mut self, now: Instant) {
        // A third time, and to others.
        self.own.told = None;
        self.tell_leaving();
        self.end_healing();
        self.own.is_gone = true;
        self.own.since = now;
        self.swim.leave(now);
        self.changed = true;
        self.settle(now);
    }

    /// The others gave us up.
    pub(super) fn is_dead(&mut self, now: Instant) {
        // While leaving it is our own good-bye that comes back.
        if self.own.is_leaving || self.own.is_outside() {
            return;
        }
        self.counters.renewed += 1;
        self.renew(now, 0);
        self.event(GossipEvent::Renewed);
    }

    /// From now on we are a later start.
    fn renew(&mut self, now: Instant, above: u64) {
        let above = above.max(self.me.generation);
        self.me = Id::new(self.me.addr, self.own.generation(now, above));
        self.own.since = now;
        self.own.incarnation = 0;
        self.records.lock().renew(self.me);
        self.swim.become_other(now, self.me);
        self.own.version = 0;
        self.publish(now);
        self.say_again();
        self.seek.alone(now);
    }

    /// Somebody says that a generation that we did not make is at our address.
    pub(super) fn claimed(&mut self, now: Instant, generation: u64) {
        if generation <= self.me.generation || self.own.is_leaving {
            return;
        }
        self.own.claimed = self.own.claimed.max(generation);
        if self.own.is_outside() {
            return;
        }
        let claims = &mut self.own.claims;
        claims.retain(|at| now.saturating_duration_since(*at) < CLAIMS_IN);
        if claims.len() < CLAIMS {
            claims.push_back(now);
            self.counters.renewed += 1;
            self.renew(now, generation);
            self.settle(now);
            return;
        }
        // Two processes must not declare each other down for ever.
        self.own.outside = Some(now + OUTSIDE);
        self.event(GossipEvent::AddressTaken);
        self.publish_if_new(now);
        self.settle(now);
    }

    /// What was said of us in items.
    pub(super) fn answer_rumours(&mut self, now: Instant) {
        let (contested, claimed) = {
            let mut records = self.records.lock();
            (records.take_contested(), records.take_claimed())
        };
        if let Some(version) = contested {
            self.own.version = self.own.version.max(version);
            self.publish(now);
            self.say_again();
        }
        if let Some(generation) = claimed {
            self.claimed(now, generation);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::gossip::instance::Setup;
    use crate::gossip::profile::GossipProfile;
    use crate::gossip::view::MemberState;

    #[test]
    fn who_left_while_somebody_else_had_its_address_does_not_come_back() {
        let mut now = Instant::now();
        let setup = Setup {
            cluster: "c".into(),
            address: SocketAddr::from(([10, 0, 0, 1], 7_946)),
            wall: 1_000,
            record: Record {
                ring_id: "a".into(),
                http: None,
                phase: Phase::Joining,
                weight: 1,
                labels: BTreeMap::new(),
            },
            times: GossipProfile::Lan.times(),
            keyring: None,
            seed: [1; 32],
        };
        let mut instance = Instance::new(setup, now);
        for claim in 1..=4 {
            instance.claimed(now, 1_000_000 * claim);
        }
        assert!(instance.own.is_outside());
        instance.begin_leaving(now);
        instance.end_leaving(now);
        let left = instance.me();
        for _ in 0..400 {
            now += Duration::from_millis(250);
            instance.tick(now);
        }
        let me = &instance.roster()[0];
        assert_eq!((instance.me(), me.state), (left, MemberState::Left));
        assert_eq!(me.phase, Phase::Leaving);
        assert!(!instance.own.is_outside());
    }
}
