//! The one task of a cluster that is shared: says what is seen here, hears what the others say, and does what follows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Inner;
use super::events::FleetEvent;
use super::opinion::{Decision, Effect, NodeOpinion};
use super::settings::Fleet;
use crate::clock;
use crate::cluster::Engine;
use crate::cluster::fleet::{FleetWord, NodeFacts};
use crate::fleet::{
    Council, Evidence, ITEMS, Local, NodeHash, Order, Pace, Ruling, Said, Seen, Voice, node_hash,
    node_key,
};
use crate::gossip::instance::{Picture, Speaker};
use crate::gossip::shared::Shared;
use crate::gossip::testimony;
use crate::gossip::view::MemberState;
use crate::hash::xxh3_64;

/// How often it is looked though nothing happened: time alone changes what was not heard.
const LOOK: Duration = Duration::from_millis(250);
/// How often numbers are told.
const SECOND: Duration = Duration::from_secs(1);

pub(super) struct Sharing {
    inner: Arc<Inner>,
    /// Not the cluster: its last handle must end us.
    engine: Weak<Engine>,
    gossip: Weak<Shared>,
    published: watch::Receiver<u64>,
    picture: watch::Receiver<Arc<Picture>>,
    me: SocketAddr,
    council: Council<SocketAddr>,
    heard: Option<Arc<Picture>>,
    /// What the others said in the last picture.
    voices: Vec<Voice<SocketAddr>>,
    has_left: bool,
    said: Option<Arc<Evidence>>,
    pace: Pace,
    /// When something that was seen may be said.
    say_at: Option<Instant>,
    rulings: BTreeMap<NodeHash, Ruling>,
    quorum: bool,
    panic: bool,
    diverged: BTreeSet<SocketAddr>,
    next_second: Instant,
}

/// Ends everything when the task ends, by whatever way.
struct End(Arc<Inner>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Sharing {
    pub(super) fn new(
        inner: &Arc<Inner>,
        engine: &Arc<Engine>,
        gossip: &Arc<Shared>,
        fleet: Fleet,
    ) -> Self {
        let me = gossip.view.load().me().address;
        Self {
            inner: Arc::clone(inner),
            engine: Arc::downgrade(engine),
            gossip: Arc::downgrade(gossip),
            published: engine.subscribe(),
            picture: gossip.picture.subscribe(),
            me,
            council: Council::new(fleet.rules(), &fleet.scope, me),
            heard: None,
            voices: Vec::new(),
            has_left: false,
            said: None,
            pace: Pace::default(),
            say_at: None,
            rulings: BTreeMap::new(),
            quorum: true,
            panic: false,
            diverged: BTreeSet::new(),
            next_second: clock::now(),
        }
    }

    pub(super) async fn run(mut self) {
        let _end = End(Arc::clone(&self.inner));
        loop {
            let now = clock::now();
            let Some((engine, gossip)) = self.engine.upgrade().zip(self.gossip.upgrade()) else {
                return;
            };
            self.look(&engine, &gossip, now);
            drop((engine, gossip));
            let due = [self.say_at, self.council.next_deadline()]
                .into_iter()
                .flatten();
            let due = due.fold(now + LOOK, Instant::min).max(now);
            let is_open = tokio::select! {
                changed = self.published.changed() => changed.is_ok(),
                // The sender ends with the last handle of the gossip.
                changed = self.picture.changed() => changed.is_ok(),
                () = tokio::time::sleep_until(due.into()) => true,
            };
            if !is_open {
                return;
            }
        }
    }

    fn look(&mut self, engine: &Arc<Engine>, gossip: &Shared, now: Instant) {
        self.published.mark_unchanged();
        self.hear();
        let (fingerprint, facts) = engine.fleet_facts();
        self.say(gossip, fingerprint, &facts, now);
        let (id, ring_id) = (self.me, self.ring_id());
        let mine = self.said.clone().map(|said| Voice {
            id,
            ring_id,
            seen: Seen::Speaks(said),
        });
        self.council
            .hear(now, self.voices.iter().cloned().chain(mine));
        let locals: Vec<_> = facts.iter().map(local).collect();
        let orders = self.council.judge(now, &locals);
        let drains = self.picture.borrow().drains.clone();
        let is_drained = |node: &str| drains.is_drained(node_key(&self.inner.scope, node));
        let words: BTreeMap<_, _> = facts
            .iter()
            .zip(&orders)
            .map(|(fact, order)| {
                let word = match self.has_left {
                    true => FleetWord::default(),
                    false => FleetWord {
                        hold: order.hold,
                        keep: order.keep,
                        drained: is_drained(fact.node.as_str()),
                        ask: order.ask,
                        awaited: order.awaited,
                    },
                };
                (fact.key, word)
            })
            .collect();
        {
            let is_live = self.inner.is_live.lock();
            if !*is_live {
                return;
            }
            engine.heed(&words);
        }
        self.tell(&facts, &orders, now);
        let (_, facts) = engine.fleet_facts();
        let opinions = self.opinions(&facts, &words, &orders);
        if self.next_second <= now {
            self.next_second = now + SECOND;
            self.measure(&opinions);
        }
        self.inner.opinions.store(opinions);
    }

    fn ring_id(&self) -> Box<str> {
        let picture = self.picture.borrow();
        let me = picture.speakers.iter().find(|s| s.address == self.me);
        me.map_or_else(|| self.me.to_string().into(), |me| me.ring_id.clone())
    }

    /// What the others say, by the latest picture, if it is another one.
    fn hear(&mut self) {
        let picture = Arc::clone(&self.picture.borrow_and_update());
        if self
            .heard
            .as_ref()
            .is_some_and(|heard| Arc::ptr_eq(heard, &picture))
        {
            return;
        }
        self.heard = Some(Arc::clone(&picture));
        let me = picture.speakers.iter().find(|s| s.address == self.me);
        self.has_left = me.is_some_and(|me| me.state == MemberState::Left);
        let others = picture.speakers.iter().filter(|s| s.address != self.me);
        self.voices = others
            .map(|speaker| Voice {
                id: speaker.address,
                ring_id: speaker.ring_id.clone(),
                seen: match speaker.state {
                    MemberState::Down => Seen::Down,
                    MemberState::Left => Seen::Left,
                    MemberState::Alive | MemberState::Suspect => heard(speaker, &self.inner.scope),
                },
            })
            .collect();
    }

    /// Says what is seen here, when it is another than what was said.
    fn say(&mut self, gossip: &Shared, fingerprint: u64, facts: &[NodeFacts], now: Instant) {
        let said = facts.iter().filter_map(|fact| {
            let said = fact.said?;
            Some((node_hash(fact.node.as_str()), said))
        });
        let items = (ITEMS / gossip.shares().max(1)).max(1);
        let evidence = Evidence::new(fingerprint, said, items);
        self.say_at = None;
        if self.said.as_deref() == Some(&evidence) {
            return;
        }
        match self.pace.take(now) {
            Ok(()) => {
                let bodies = testimony::bodies(&self.inner.scope, &evidence);
                gossip.testify(&self.inner.scope, &self.inner.opinions, bodies);
                self.said = Some(Arc::new(evidence));
            }
            Err(next) => self.say_at = Some(next),
        }
    }

    fn event(&self, event: FleetEvent) {
        // Without readers nobody hears it.
        let _ = self.inner.events.send(event);
    }

    /// Tells what is decided now and was not before.
    fn tell(&mut self, facts: &[NodeFacts], orders: &[Order], now: Instant) {
        let scope = &*self.inner.scope;
        let mut rulings = BTreeMap::new();
        for (fact, order) in facts.iter().zip(orders) {
            let hash = node_hash(fact.node.as_str());
            let before = self.rulings.get(&hash).copied().map(Decision::of);
            let decision = Decision::of(order.ruling);
            rulings.insert(hash, order.ruling);
            if before.is_some_and(|before| before != decision) {
                let (node, votes) = (fact.node.clone(), order.votes);
                match decision {
                    Decision::Out => tracing::warn!(
                        %scope, %node, jurors = votes.jurors, live = votes.live, down = votes.down,
                        "the fleet finds a node out"
                    ),
                    _ => tracing::info!(%scope, %node, %decision, "the fleet decides about a node"),
                }
                self.event(FleetEvent::Decided { node, decision });
            }
        }
        self.rulings = rulings;
        let any = |ruling| orders.iter().any(|order| order.ruling == ruling);
        let quorum = !any(Ruling::NoQuorum);
        if std::mem::replace(&mut self.quorum, quorum) != quorum {
            match quorum {
                true => tracing::info!(%scope, "enough instances are heard again"),
                false => {
                    tracing::warn!(%scope, "half of the instances or more cannot be heard: nothing is decided")
                }
            }
            self.event(FleetEvent::Quorum { present: quorum });
        }
        let panic = any(Ruling::Panic);
        if std::mem::replace(&mut self.panic, panic) != panic {
            match panic {
                true => tracing::warn!(%scope, "too many nodes would be out: nothing is decided"),
                false => tracing::info!(%scope, "no longer would too many nodes be out"),
            }
            self.event(FleetEvent::Panic { on: panic });
        }
        let diverged: BTreeSet<_> = self.council.diverged(now).collect();
        for instance in diverged.difference(&self.diverged) {
            let voice = self.voices.iter().find(|voice| voice.id == *instance);
            let ring_id = voice
                .map(|voice| voice.ring_id.to_string())
                .unwrap_or_default();
            tracing::warn!(
                %scope, %instance, member = %ring_id,
                "an instance places keys in another way: it has other nodes, other names or another rule"
            );
            self.event(FleetEvent::TopologyDiverged {
                instance: *instance,
                ring_id,
            });
        }
        self.diverged = diverged;
    }

    fn opinions(
        &self,
        facts: &[NodeFacts],
        words: &BTreeMap<u64, FleetWord>,
        orders: &[Order],
    ) -> Vec<NodeOpinion> {
        let picture = self.picture.borrow();
        let by = |hash: u64| {
            let mut speakers = picture.speakers.iter();
            let author = speakers.find(|s| xxh3_64(s.ring_id.as_bytes()) == hash);
            author.map_or_else(String::new, |s| s.ring_id.to_string())
        };
        let opinion = |(fact, order): (&NodeFacts, &Order)| {
            let word = words.get(&fact.key).copied().unwrap_or_default();
            let key = node_key(&self.inner.scope, fact.node.as_str());
            let drained = picture.drains.word(key).filter(|word| word.on);
            NodeOpinion {
                node: fact.node.clone(),
                local: fact.state,
                decision: Decision::of(order.ruling),
                jurors: order.votes.jurors,
                live: order.votes.live,
                down: order.votes.down,
                down_by: self.down_by(fact),
                drained_by: drained.map(|word| by(word.stamp.by)),
                effective: match (fact.serves, fact.callable) {
                    (true, true) => Effect::Serves,
                    (true, false) => Effect::Kept,
                    _ if fact.is_drained => Effect::Drained,
                    _ if word.hold => Effect::Held,
                    _ => Effect::Out,
                },
            }
        };
        facts.iter().zip(orders).map(opinion).collect()
    }

    fn down_by(&self, fact: &NodeFacts) -> Vec<(String, String)> {
        let node = node_hash(fact.node.as_str());
        let why = |said: Option<Said>| match said {
            Some(Said::Down(reason)) => Some(reason.map_or("other", |reason| reason.as_str())),
            _ => None,
        };
        let mine = self.said.as_ref().and_then(|said| why(said.of(node)));
        let mine = mine.map(|why| (self.ring_id().to_string(), why.to_owned()));
        let others = self.voices.iter().filter_map(|voice| match &voice.seen {
            Seen::Speaks(evidence) => {
                let why = why(evidence.of(node))?;
                Some((voice.ring_id.to_string(), why.to_owned()))
            }
            _ => None,
        });
        mine.into_iter().chain(others).collect()
    }

    fn measure(&self, opinions: &[NodeOpinion]) {
        for opinion in opinions {
            let decision = match opinion.decision {
                Decision::Up => 2.0,
                Decision::Undecided => 1.0,
                Decision::Out => 0.0,
            };
            let kept = f64::from(u8::from(opinion.effective == Effect::Kept));
            gauges(
                &self.inner.scope,
                opinion,
                [decision, opinion.down as f64, kept],
            );
        }
        diverged_gauge(&self.inner.scope, self.diverged.len() as f64);
    }
}

/// The nodes of one speaker's items of a scope, put together.
fn heard(speaker: &Speaker, scope: &str) -> Seen {
    let mut parts = speaker
        .said
        .iter()
        .filter(|said| *said.scope == *scope)
        .peekable();
    match parts.peek().map(|part| part.fingerprint) {
        Some(fingerprint) => {
            let nodes = parts.flat_map(|part| part.nodes.iter().copied());
            Seen::Speaks(Arc::new(Evidence::new(fingerprint, nodes, ITEMS)))
        }
        None => Seen::Silent,
    }
}

fn local(fact: &NodeFacts) -> Local {
    Local {
        node: node_hash(fact.node.as_str()),
        is_out: !fact.state.admits(),
        votes: fact.said.is_some_and(Said::is_vote),
        silent_for: fact.silent_for,
    }
}

fn gauges(scope: &str, opinion: &NodeOpinion, [decision, down, kept]: [f64; 3]) {
    let (scope, node) = (|| scope.to_owned(), || opinion.node.to_string());
    metrics::gauge!("fluster_fleet_decision", "scope" => scope(), "node" => node()).set(decision);
    metrics::gauge!("fluster_fleet_down_votes", "scope" => scope(), "node" => node()).set(down);
    metrics::gauge!("fluster_fleet_kept", "scope" => scope(), "node" => node()).set(kept);
}

fn diverged_gauge(scope: &str, value: f64) {
    metrics::gauge!("fluster_fleet_diverged_instances", "scope" => scope.to_owned()).set(value);
}

/// Nobody decides any more.
pub(super) fn forget_gauges(scope: &str, opinions: &[NodeOpinion]) {
    for opinion in opinions {
        gauges(scope, opinion, [f64::NAN; 3]);
    }
    diverged_gauge(scope, f64::NAN);
}
