//! Many instances in virtual time, with the real protocol: every run is its seed's.

mod complaints;
mod fleet;
mod hostile;
mod net;
mod seeds;
mod thousand;
mod times;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use self::net::{Flying, Net};
use super::events::GossipEvent;
use super::instance::{Instance, Output, Setup};
use super::profile::GossipProfile;
use super::record::{Phase, Record};
use super::view::{Member, MemberState};
use crate::hash::xxh3_64;
use crate::sealed::Keyring;

/// A network, and everybody on it.
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) start: Instant,
    pub(super) rng: StdRng,
    pub(super) nodes: Vec<Node>,
    by_addr: HashMap<SocketAddr, usize>,
    wakes: BTreeSet<(Instant, usize)>,
    flying: BinaryHeap<Reverse<Flying>>,
    sent: u64,
    net: Net,
    pub(super) profile: GossipProfile,
    pub(super) keyring: Option<Keyring>,
    /// How often a living, running instance was believed to be down.
    pub(super) false_downs: u64,
    /// Two processes at one address: what comes for the first one reaches either.
    pub(super) twins: Option<(usize, usize)>,
    /// Every datagram, as it was sent.
    pub(super) tap: Option<Vec<(SocketAddr, SocketAddr, Vec<u8>)>>,
}

pub(super) struct Node {
    pub(super) addr: SocketAddr,
    pub(super) instance: Option<Instance>,
    wake: Option<Instant>,
    /// Stopped until then; the socket keeps what comes, up to a bound.
    paused: Option<Instant>,
    inbox: Vec<Vec<u8>>,
    pub(super) events: Vec<(Instant, GossipEvent)>,
    pub(super) roster: BTreeMap<SocketAddr, Arc<Member>>,
    pub(super) doors: Vec<usize>,
    pub(super) bytes: u64,
    pub(super) ring_id: String,
    pub(super) left: bool,
    /// Whom it told to be there.
    told: BTreeSet<SocketAddr>,
    ring: u64,
}

pub(super) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn addr(n: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 7_946))
}

pub(super) const WALL: u64 = 1_800_000_000_000;

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let now = Instant::now() + secs(100_000);
        Self {
            now,
            start: now,
            rng: StdRng::seed_from_u64(seed),
            nodes: Vec::new(),
            by_addr: HashMap::new(),
            wakes: BTreeSet::new(),
            flying: BinaryHeap::new(),
            sent: 0,
            net: Net {
                loss: 0.0,
                twice: 0.0,
                delay: (0, 2),
                cuts: BTreeSet::new(),
            },
            profile: GossipProfile::Lan,
            keyring: None,
            false_downs: 0,
            twins: None,
            tap: None,
        }
    }

    /// So many instances that know the first three of each other, started at once.
    pub(super) fn started(seed: u64, n: usize) -> Self {
        let mut world = Self::new(seed);
        for _ in 0..n {
            world.add();
        }
        world
    }

    pub(super) fn add(&mut self) -> usize {
        let n = self.nodes.len();
        self.nodes.push(Node {
            addr: addr(n),
            instance: None,
            wake: None,
            paused: None,
            inbox: Vec::new(),
            events: Vec::new(),
            roster: BTreeMap::new(),
            doors: (0..3).collect(),
            bytes: 0,
            ring_id: format!("i{n}"),
            left: false,
            told: BTreeSet::new(),
            ring: 0,
        });
        self.by_addr.insert(addr(n), n);
        self.boot(n, 0);
        n
    }

    /// Starts an instance at its address; its wall clock is off by so many milliseconds.
    pub(super) fn boot(&mut self, n: usize, off: i64) {
        let elapsed = (self.now - self.start).as_millis() as u64;
        let setup = Setup {
            cluster: "vsim".into(),
            address: self.nodes[n].addr,
            wall: (WALL + elapsed).saturating_add_signed(off),
            record: Record {
                ring_id: self.nodes[n].ring_id.as_str().into(),
                http: None,
                phase: Phase::Joining,
                weight: 1,
                labels: BTreeMap::new(),
            },
            times: self.profile.times(),
            keyring: self.keyring.clone(),
            seed: self.rng.random(),
        };
        self.boot_as(n, setup);
    }

    pub(super) fn boot_as(&mut self, n: usize, setup: Setup) {
        let mut instance = Instance::new(setup, self.now);
        let doors: Vec<_> = self.nodes[n].doors.iter().map(|door| addr(*door)).collect();
        instance.set_doors(self.now, doors);
        let node = &mut self.nodes[n];
        node.instance = Some(instance);
        node.inbox.clear();
        (node.paused, node.left) = (None, false);
        node.roster.clear();
        node.told.clear();
        self.after(n);
    }

    /// The process ends without a word.
    pub(super) fn kill(&mut self, n: usize) {
        self.nodes[n].instance = None;
        self.wake(n, None);
    }

    pub(super) fn pause(&mut self, n: usize, lasts: Duration) {
        let until = self.now + lasts;
        self.nodes[n].paused = Some(until);
        self.wake(n, Some(until));
    }

    /// Leaves as the driver does it.
    pub(super) fn leave(&mut self, n: usize) {
        self.with(n, |i, now| i.begin_leaving(now));
        self.run(secs(1));
        self.with(n, |i, _| i.tell_leaving());
        self.run(ms(200));
        self.with(n, |i, now| {
            i.tell_leaving();
            i.end_leaving(now);
        });
        self.nodes[n].left = true;
    }

    pub(super) fn with<T: Default>(
        &mut self,
        n: usize,
        act: impl FnOnce(&mut Instance, Instant) -> T,
    ) -> T {
        let now = self.now;
        let done = self.nodes[n]
            .instance
            .as_mut()
            .map(|instance| act(instance, now));
        if done.is_some() {
            self.after(n);
        }
        done.unwrap_or_default()
    }

    fn wake(&mut self, n: usize, at: Option<Instant>) {
        if let Some(old) = std::mem::replace(&mut self.nodes[n].wake, at) {
            self.wakes.remove(&(old, n));
        }
        if let Some(at) = at {
            self.wakes.insert((at, n));
        }
    }

    /// What the driver does after each step.
    fn after(&mut self, n: usize) {
        let (now, mut instance) = (self.now, self.nodes[n].instance.take());
        let Some(inner) = &mut instance else { return };
        while let Some(output) = inner.next_output() {
            match output {
                Output::Send { to, bytes } => {
                    self.nodes[n].bytes += bytes.len() as u64;
                    if let Some(tap) = &mut self.tap {
                        tap.push((self.nodes[n].addr, to, bytes.clone()));
                    }
                    self.fly(n, to, bytes);
                }
                Output::Event(event) => {
                    if let GossipEvent::MemberDown(member) = &event
                        && let Some(other) = self.by_addr.get(&member.address)
                    {
                        let other = &self.nodes[*other];
                        let lives = other
                            .instance
                            .as_ref()
                            .is_some_and(|i| i.me().generation == member.generation);
                        let is_false = lives && other.paused.is_none() && !other.left;
                        self.false_downs += u64::from(is_false);
                        self.tell(|| format!("i{n} gave {} up: false {is_false}", member.ring_id));
                    }
                    if let GossipEvent::MemberSuspected(member) = &event {
                        self.tell(|| format!("i{n} suspects {}", member.ring_id));
                    }
                    let told = &mut self.nodes[n].told;
                    // Nobody comes twice, and nobody goes who is not there.
                    match &event {
                        GossipEvent::MemberUp(m) => {
                            assert!(told.insert(m.address), "{} twice", m.ring_id)
                        }
                        GossipEvent::MemberDown(m) | GossipEvent::MemberLeft(m) => {
                            assert!(told.remove(&m.address), "{} goes twice", m.ring_id);
                        }
                        _ => {}
                    }
                    self.nodes[n].events.push((now, event));
                }
                Output::WantSeeds | Output::Admin(_) => {}
            }
        }
        if let Some(roster) = inner.take_roster() {
            let roster: BTreeMap<_, _> = roster.into_iter().map(|m| (m.address, m)).collect();
            self.nodes[n].ring = ring_of(&roster);
            inner.set_ring(now, Some(self.nodes[n].ring));
            self.nodes[n].roster = roster;
        }
        let deadline = inner.next_deadline();
        self.nodes[n].instance = instance;
        if self.nodes[n].paused.is_none() {
            self.wake(n, Some(deadline));
        }
    }

    /// Lets so much time pass.
    pub(super) fn run(&mut self, lasts: Duration) {
        let end = self.now + lasts;
        loop {
            let wake = self.wakes.first().copied();
            let flight = self.flying.peek().map(|Reverse(flying)| flying.at);
            // A socket is read before timers.
            let next = match (wake, flight) {
                (Some((at, _)), Some(flight)) => at.min(flight),
                (Some((at, _)), None) => at,
                (None, Some(flight)) => flight,
                (None, None) => end,
            };
            if next >= end {
                break;
            }
            self.now = self.now.max(next);
            if flight == Some(next) {
                self.land();
            } else if let Some((_, n)) = wake {
                self.ring(n);
            }
        }
        self.now = end;
    }

    fn ring(&mut self, n: usize) {
        let (now, node) = (self.now, &mut self.nodes[n]);
        node.paused = None;
        let inbox = std::mem::take(&mut node.inbox);
        let Some(instance) = &mut node.instance else {
            return self.wake(n, None);
        };
        for bytes in inbox {
            instance.datagram(now, &bytes);
        }
        instance.tick(now);
        self.after(n);
    }

    /// Runs until it holds, or so long; how long it took.
    pub(super) fn until(
        &mut self,
        limit: Duration,
        what: &str,
        holds: impl Fn(&Self) -> bool,
    ) -> Duration {
        let began = self.now;
        while !holds(self) {
            if self.now - began >= limit {
                panic!(
                    "{what} within {limit:?}: {}",
                    self.disagreement().unwrap_or_default()
                );
            }
            self.run(ms(50));
        }
        self.now - began
    }

    pub(super) fn living(&self) -> Vec<usize> {
        let lives = |node: &Node| node.instance.is_some() && !node.left;
        (0..self.nodes.len())
            .filter(|n| lives(&self.nodes[*n]))
            .collect()
    }

    /// Who sees what, where it is not what there is.
    pub(super) fn disagreement(&self) -> Option<String> {
        let living = self.living();
        let ids: BTreeSet<_> = living
            .iter()
            .filter_map(|n| {
                Some((
                    self.nodes[*n].addr,
                    self.nodes[*n].instance.as_ref()?.me().generation,
                ))
            })
            .collect();
        let rings: BTreeSet<_> = living.iter().map(|n| self.nodes[*n].ring).collect();
        for n in &living {
            let node = &self.nodes[*n];
            // With loss there is always somebody who is suspected for a moment.
            let seen = node.roster.values().filter(|m| m.is_reachable());
            let seen: BTreeSet<_> = seen.map(|m| (m.address, m.generation)).collect();
            let ready = node.roster.values().filter(|m| m.is_ready()).count();
            if seen != ids || ready != living.len() {
                let odd: Vec<_> = node
                    .roster
                    .values()
                    .map(|m| {
                        format!(
                            "{}#{} {} {}",
                            m.ring_id,
                            m.generation % 100_000,
                            m.state.as_str(),
                            m.phase.as_str()
                        )
                    })
                    .collect();
                return Some(format!(
                    "at {:?}, i{n} of {living:?} sees {odd:?}",
                    self.now - self.start
                ));
            }
        }
        let digests: BTreeSet<_> = living
            .iter()
            .filter_map(|n| Some(self.nodes[*n].instance.as_ref()?.records().digest()))
            .collect();
        (rings.len() > 1 || digests.len() > 1)
            .then(|| format!("{} rings, {} digests", rings.len(), digests.len()))
    }

    pub(super) fn agrees(&self) -> bool {
        let living = self.living();
        let first = living.first().map(|n| &self.nodes[*n]);
        let is_like_first = |n: &usize| {
            let node = &self.nodes[*n];
            let ready = node.roster.values().filter(|m| m.is_ready()).count();
            ready == living.len() && first.is_some_and(|first| first.ring == node.ring)
        };
        // The longer look only when the shorter one finds nothing.
        living.iter().all(is_like_first) && self.disagreement().is_none()
    }

    /// All ways between the two groups, in both directions.
    pub(super) fn cut(&mut self, one: &[usize], other: &[usize]) {
        for a in one {
            for b in other {
                self.net.cuts.extend([(*a, *b), (*b, *a)]);
            }
        }
    }

    /// With `VSIM_TELL` set, what happens is told: to understand a seed.
    pub(super) fn tell(&self, what: impl FnOnce() -> String) {
        if std::env::var_os("VSIM_TELL").is_some() {
            println!("{:?}: {}", self.now - self.start, what());
        }
    }

    pub(super) fn count(&self, of: impl Fn(&GossipEvent) -> bool) -> usize {
        let all = self.nodes.iter().flat_map(|node| &node.events);
        all.filter(|(_, event)| of(event)).count()
    }
}

/// One number for who owns keys.
fn ring_of(roster: &BTreeMap<SocketAddr, Arc<Member>>) -> u64 {
    let ready = roster.values().filter(|m| m.is_ready());
    ready.fold(1, |all, m| {
        all ^ (xxh3_64(m.ring_id.as_bytes()).wrapping_mul(u64::from(m.weight)) & !1)
    })
}
