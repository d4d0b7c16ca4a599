//! What one process makes of the evidence of all: whom it holds, whom it keeps, whom it asks, and for how long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::evidence::{Evidence, NodeHash, Said};
use super::jurors::jurors;
use super::votes::{Ruling, Votes, is_panic};
use crate::clock::later;
use crate::hash::xxh3_64;

/// How long those who went without a word count among the jurors: they may be deciding elsewhere.
const GONE: Duration = Duration::from_secs(60);
/// Who has not heard a doubted node for this long asks it, and again after as long.
const ASK: Duration = Duration::from_secs(2);
/// The longest that a hold outlasts the decision, and after how long its doubling begins anew.
const LONGEST_HOLD: Duration = Duration::from_secs(60);
const FORGOTTEN: Duration = Duration::from_secs(600);
/// Instances place keys differently for a moment whenever the set of nodes changes.
const DIVERGED: Duration = Duration::from_secs(5);

/// What a fleet has agreed to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rules {
    /// Decisions bind; else they are advice.
    pub(crate) agreed: bool,
    /// Without a quorum every keyed call fails.
    pub(crate) refuse: bool,
    pub(crate) jurors: usize,
    /// The share of the nodes that may be out.
    pub(crate) max_out: f64,
    pub(crate) hold_up: Duration,
}

/// How an instance is, and what it says.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    Speaks(Arc<Evidence>),
    /// It is there, and says nothing of this scope.
    Silent,
    /// Gone without a word.
    Down,
    /// Gone, and it said so.
    Left,
}

/// One instance.
#[derive(Clone, Debug)]
pub(crate) struct Voice<I> {
    pub(crate) id: I,
    pub(crate) ring_id: Box<str>,
    pub(crate) seen: Seen,
}

/// What is known here of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Local {
    pub(crate) node: NodeHash,
    /// It does not admit, by its own health.
    pub(crate) is_out: bool,
    /// We say that it is down.
    pub(crate) votes: bool,
    /// Since its last answer.
    pub(crate) silent_for: Duration,
}

/// What is to be done about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) ruling: Ruling,
    pub(crate) votes: Votes,
    pub(crate) hold: bool,
    pub(crate) keep: bool,
    /// It is to be asked now whether it is there.
    pub(crate) ask: bool,
    /// Others have it out and are not ready for it: one that is ready here waits for them, for a while.
    pub(crate) awaited: bool,
}

#[derive(Debug)]
struct Seat {
    ring_id: Box<str>,
    evidence: Arc<Evidence>,
    /// Since when it is down.
    gone: Option<Instant>,
    /// Since when it places keys otherwise than we do.
    other_since: Option<Instant>,
}

#[derive(Debug, Default)]
struct Memory {
    is_out: bool,
    /// When a hold that outlasts its decision ends.
    until: Option<Instant>,
    /// When it was out for the last time, and how often it went out.
    last_out: Option<Instant>,
    ejections: u32,
    asked: Option<Instant>,
    /// When those ask who are no jurors.
    ask_at: Option<Instant>,
}

/// The evidence of all, and what was decided. `I` is by what instances are told apart.
#[derive(Debug)]
pub(crate) struct Council<I> {
    rules: Rules,
    scope: Box<str>,
    me: I,
    seats: BTreeMap<I, Seat>,
    nodes: BTreeMap<NodeHash, Memory>,
}

impl<I: Copy + Ord> Council<I> {
    pub(crate) fn new(rules: Rules, scope: &str, me: I) -> Self {
        Self {
            rules,
            scope: scope.into(),
            me,
            seats: BTreeMap::new(),
            nodes: BTreeMap::new(),
        }
    }

    /// What all instances say, this one among them.
    pub(crate) fn hear(&mut self, now: Instant, voices: impl IntoIterator<Item = Voice<I>>) {
        let mut heard = BTreeSet::new();
        for voice in voices {
            heard.insert(voice.id);
            let known = self.seats.get_mut(&voice.id);
            match (voice.seen, known) {
                (Seen::Speaks(evidence), Some(seat)) => {
                    (seat.ring_id, seat.evidence) = (voice.ring_id, evidence);
                    seat.gone = None;
                }
                (Seen::Speaks(evidence), None) => {
                    let seat = Seat {
                        ring_id: voice.ring_id,
                        evidence,
                        gone: None,
                        other_since: None,
                    };
                    self.seats.insert(voice.id, seat);
                }
                (Seen::Down, Some(seat)) => {
                    seat.gone.get_or_insert(now);
                }
                // A later start of it that has said nothing yet has no opinion.
                (Seen::Silent | Seen::Left, Some(_)) => drop(self.seats.remove(&voice.id)),
                (Seen::Silent | Seen::Left | Seen::Down, None) => {}
            }
        }
        self.seats.retain(|id, seat| {
            let old = |gone: Instant| now.saturating_duration_since(gone) >= GONE;
            heard.contains(id) && !seat.gone.is_some_and(old)
        });
        let mine = self
            .seats
            .get(&self.me)
            .map(|seat| seat.evidence.fingerprint);
        for seat in self.seats.values_mut() {
            let differs = seat.gone.is_none() && mine != Some(seat.evidence.fingerprint);
            seat.other_since = differs.then(|| seat.other_since.unwrap_or(now));
        }
    }

    /// Those who have placed keys otherwise than we do for so long that it is no change on its way.
    pub(crate) fn diverged(&self, now: Instant) -> impl Iterator<Item = I> {
        let long = move |since: Instant| now.saturating_duration_since(since) >= DIVERGED;
        let seats = self.seats.iter();
        seats.filter_map(move |(id, seat)| seat.other_since.is_some_and(long).then_some(*id))
    }

    /// Those who are heard, with this one.
    pub(crate) fn present(&self) -> usize {
        self.seats
            .values()
            .filter(|seat| seat.gone.is_none())
            .count()
    }

    /// What follows for each of these nodes, which are all that there are.
    pub(crate) fn judge(&mut self, now: Instant, nodes: &[Local]) -> Vec<Order> {
        let bench = Bench::new(self);
        let found: Vec<_> = nodes.iter().map(|local| bench.hear(local)).collect();
        let would_be_out = found
            .iter()
            .filter(|found| found.votes.ruling() == Ruling::Out);
        let panic = is_panic(would_be_out.count(), nodes.len(), self.rules.max_out);
        let present = self.present();
        let (rules, me) = (&self.rules, self.seats.get(&self.me));
        let me = me.map_or("", |seat| &*seat.ring_id);
        let known: BTreeSet<_> = nodes.iter().map(|local| local.node).collect();
        self.nodes.retain(|node, _| known.contains(node));
        nodes
            .iter()
            .zip(found)
            .map(|(local, found)| {
                let ruling = match found.votes.ruling() {
                    Ruling::Up | Ruling::Out if panic => Ruling::Panic,
                    ruling => ruling,
                };
                let memory = self.nodes.entry(local.node).or_default();
                let holds = memory.holds(ruling, now, rules);
                let refuses = rules.agreed && rules.refuse && ruling == Ruling::NoQuorum;
                Order {
                    ruling,
                    votes: found.votes,
                    hold: holds || refuses,
                    keep: refuses || (rules.agreed && ruling == Ruling::Up && !holds),
                    ask: memory.asks(local, &found, ruling, now, || {
                        spread(me, local.node, present)
                    }),
                    awaited: found.is_awaited,
                }
            })
            .collect()
    }

    /// When a hold ends, or somebody is to be asked.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let all = self.nodes.values();
        all.flat_map(|memory| [memory.until, memory.ask_at])
            .flatten()
            .min()
    }
}

impl Memory {
    /// Whether the fleet holds the node, by its decision or for a while after it.
    fn holds(&mut self, ruling: Ruling, now: Instant, rules: &Rules) -> bool {
        if !rules.agreed {
            return false;
        }
        if ruling == Ruling::Out {
            if !self.is_out && self.until.is_none() {
                let old = |at: Instant| now.saturating_duration_since(at) >= FORGOTTEN;
                if self.last_out.is_some_and(old) {
                    self.ejections = 0;
                }
                self.ejections += 1;
            }
            (self.is_out, self.until, self.last_out) = (true, None, Some(now));
            return true;
        }
        if std::mem::take(&mut self.is_out) {
            self.last_out = Some(now);
            let doubled = 1_u32
                .checked_shl(self.ejections.saturating_sub(1))
                .unwrap_or(u32::MAX);
            let longest = LONGEST_HOLD.max(rules.hold_up);
            let lasts = rules.hold_up.saturating_mul(doubled).min(longest);
            self.until = Some(later(now, lasts));
        }
        let is_over = |until: Instant| ruling == Ruling::Panic || until <= now;
        self.until = self.until.filter(|until| !is_over(*until));
        self.until.is_some()
    }

    fn asks(
        &mut self,
        local: &Local,
        found: &Found,
        ruling: Ruling,
        now: Instant,
        spread: impl FnOnce() -> Duration,
    ) -> bool {
        let is_quiet = local.silent_for >= ASK;
        let wanted = if local.is_out {
            // Others find it well, or ready: its next probe need not wait out its penalty.
            let votes = found.votes;
            local.votes && votes.down < votes.live || found.is_prepared
        } else if found.is_contested && found.is_juror {
            is_quiet
        } else {
            // All others hear of it at once, and must not ask at once.
            ruling == Ruling::Out && is_quiet && {
                let at = *self.ask_at.get_or_insert_with(|| later(now, spread()));
                at <= now
            }
        };
        if ruling != Ruling::Out || local.is_out || wanted {
            self.ask_at = None;
        }
        let recently = |at: Instant| now.saturating_duration_since(at) < ASK;
        let asks = wanted && !self.asked.is_some_and(recently);
        if asks {
            self.asked = Some(now);
        }
        asks
    }
}

/// When one of so many asks: each at another time, within two seconds.
fn spread(me: &str, node: NodeHash, of: usize) -> Duration {
    let within = ASK.min(Duration::from_millis(of as u64));
    let text = [me.as_bytes(), &node.to_le_bytes()].concat();
    let unit = xxh3_64(&text) as f64 / u64::MAX as f64;
    within.mul_f64(unit)
}

/// What the jurors of a node say.
#[derive(Clone, Copy, Debug)]
struct Found {
    votes: Votes,
    is_juror: bool,
    /// Another instance says that it is down: whoever uses the node need not be one of its jurors.
    is_contested: bool,
    /// Another instance has it ready.
    is_prepared: bool,
    /// Another instance that is there has it out, and not ready.
    is_awaited: bool,
}

/// Whoever may be a juror, as one look sees them.
struct Bench<'a> {
    scope: &'a str,
    most: usize,
    ring_ids: Vec<&'a str>,
    /// None: it cannot be heard.
    evidence: Vec<Option<&'a Evidence>>,
    me: Option<usize>,
    everybody_is_there: bool,
    /// Nodes of which somebody says something.
    doubted: BTreeSet<NodeHash>,
}

impl<'a> Bench<'a> {
    fn new<I: Copy + Ord>(council: &'a Council<I>) -> Self {
        let seats = || council.seats.iter();
        let here: BTreeSet<&str> = seats()
            .filter(|(_, seat)| seat.gone.is_none())
            .map(|(_, seat)| &*seat.ring_id)
            .collect();
        let mut bench = Self {
            scope: &council.scope,
            most: council.rules.jurors,
            ring_ids: Vec::new(),
            evidence: Vec::new(),
            me: None,
            everybody_is_there: true,
            doubted: BTreeSet::new(),
        };
        for (id, seat) in seats() {
            let is_there = seat.gone.is_none();
            // One that is gone and whose ring id is there again is that one: a rolling restart costs no quorum.
            if !is_there && here.contains(&*seat.ring_id) {
                continue;
            }
            if *id == council.me {
                bench.me = Some(bench.ring_ids.len());
            }
            bench.ring_ids.push(&seat.ring_id);
            bench.evidence.push(is_there.then_some(&*seat.evidence));
            match is_there {
                true => bench.doubted.extend(seat.evidence.nodes.keys()),
                false => bench.everybody_is_there = false,
            }
        }
        bench
    }

    fn hear(&self, local: &Local) -> Found {
        let all = self.ring_ids.len();
        if !local.votes && self.everybody_is_there && !self.doubted.contains(&local.node) {
            let jurors = all.min(self.most);
            return Found {
                votes: Votes {
                    jurors,
                    live: jurors,
                    down: 0,
                },
                is_juror: false,
                is_contested: false,
                is_prepared: false,
                is_awaited: false,
            };
        }
        let chosen = jurors(&self.ring_ids, self.scope, local.node, self.most);
        let mut found = Found {
            votes: Votes {
                jurors: chosen.len(),
                ..Votes::default()
            },
            is_juror: false,
            is_contested: false,
            is_prepared: false,
            is_awaited: false,
        };
        for place in chosen {
            let Some(evidence) = self.evidence[place] else {
                continue;
            };
            let is_me = self.me == Some(place);
            // What we say ourselves the others may not have heard yet.
            let votes = match is_me {
                true => local.votes,
                false => evidence.votes_down(local.node),
            };
            found.votes.live += 1;
            found.votes.down += usize::from(votes);
            found.is_juror |= is_me;
        }
        let others = self.evidence.iter().enumerate();
        let others = others.filter(|(place, _)| self.me != Some(*place));
        let said = others.filter_map(|(_, evidence)| evidence.and_then(|e| e.of(local.node)));
        for said in said {
            found.is_prepared |= said == Said::Prepared;
            found.is_awaited |= said != Said::Prepared;
            found.is_contested |= said.is_vote();
        }
        found
    }
}
