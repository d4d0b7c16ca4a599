//! Who is there, and which keys are whose: one immutable picture.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::record::Phase;
use super::rule::{Named, Placed, Rule};
use crate::placement::Fingerprint;

/// How a member is, as far as this instance knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum MemberState {
    /// It answers.
    Alive,
    /// It did not answer somebody, and has some seconds to object. It keeps its keys.
    Suspect,
    /// It is gone, without a word.
    Down,
    /// It is gone, and said so before.
    Left,
}

impl MemberState {
    /// The state in one word: `alive`, `suspect`, `down`, `left`. [Example](crate::guide::by_example#asking-an-instance).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Down => "down",
            Self::Left => "left",
        }
    }
}

/// One instance of the application, as this one sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Where the others reach it.
    pub address: SocketAddr,
    /// Which start at this address it is: later ones have higher numbers.
    pub generation: u64,
    /// The name by which it owns keys; its address until it has said another one.
    pub ring_id: Box<str>,
    /// Where it takes requests.
    pub http: Option<Box<str>>,
    /// How it is.
    pub state: MemberState,
    /// What it wants of the keys.
    pub phase: Phase,
    /// Its share of the keys relative to the others, 1 to 256.
    pub weight: u16,
    /// What it says of itself.
    pub labels: BTreeMap<Box<str>, Box<str>>,
    /// Since when it is in this state.
    pub since: Instant,
    /// Whether it is this instance itself.
    pub is_me: bool,
}

impl Member {
    /// Whether it can be talked to: it is alive, or only suspected. [Example](crate::guide::by_example#asking-an-instance).
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        matches!(self.state, MemberState::Alive | MemberState::Suspect)
    }

    /// Whether it may own keys: it can be talked to, and says that it is ready. [Example](crate::guide::by_example#asking-an-instance).
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.is_reachable() && self.phase == Phase::Ready
    }
}

/// Everybody that an instance knows, and the ring over those that own keys, at one moment.
#[derive(Clone)]
pub struct MemberView {
    epoch: u64,
    members: Arc<[Arc<Member>]>,
    me: Arc<Member>,
    ring: Option<Arc<Ring>>,
    /// Members that are ready and whose ring id a later start has.
    outbid: Arc<[Arc<Member>]>,
    /// Members that are ready and cannot be placed as they want it.
    unfit: Arc<[Arc<Member>]>,
}

/// The table of those that own keys.
struct Ring {
    placed: Placed,
    /// What each node of the table is in the list of members.
    places: Vec<usize>,
    /// Those who wanted to be in it.
    nodes: Vec<Named>,
}

impl MemberView {
    /// The picture of these members, one of which is us. The table is made anew only when its nodes have changed.
    pub(crate) fn new(
        mut members: Vec<Arc<Member>>,
        rule: &Rule,
        before: Option<&Self>,
    ) -> Option<Self> {
        members.sort_by(|a, b| (&a.ring_id, a.address).cmp(&(&b.ring_id, b.address)));
        let me = members.iter().find(|member| member.is_me).cloned()?;
        let mut chosen: BTreeMap<&str, usize> = BTreeMap::new();
        let mut outbid = Vec::new();
        for (place, member) in members.iter().enumerate().filter(|(_, m)| m.is_ready()) {
            let order = |m: &Member| (m.generation, m.address);
            match chosen.get(&*member.ring_id).copied() {
                Some(other) if order(&members[other]) > order(member) => {
                    outbid.push(Arc::clone(member));
                }
                other => {
                    outbid.extend(other.map(|other| Arc::clone(&members[other])));
                    chosen.insert(&member.ring_id, place);
                }
            }
        }
        let wanted: Vec<_> = chosen.values().copied().collect();
        let node = |m: &Arc<Member>| rule.named(&m.ring_id, m.address, m.weight);
        let nodes: Vec<_> = wanted.iter().map(|place| node(&members[*place])).collect();
        let same = before.and_then(|before| before.ring.as_ref());
        let same = same.filter(|ring| ring.nodes == nodes);
        let placed = match same {
            Some(ring) => Some(ring.placed.clone()),
            None => rule.placed(&nodes),
        };
        let unfit: Vec<_> = match &placed {
            Some(placed) => placed.unfit.iter().map(|n| wanted[*n]).collect(),
            None => wanted.clone(),
        };
        let unfit: Vec<_> = unfit.into_iter().map(|n| Arc::clone(&members[n])).collect();
        let ring = placed.map(|placed| {
            let places: Vec<_> = placed.kept.iter().map(|n| wanted[*n]).collect();
            match same {
                Some(ring) if ring.places == places => Arc::clone(ring),
                _ => Arc::new(Ring {
                    placed,
                    places,
                    nodes,
                }),
            }
        });
        Some(Self {
            epoch: before.map_or(1, |before| before.epoch + 1),
            members: members.into(),
            me,
            ring,
            outbid: outbid.into(),
            unfit: unfit.into(),
        })
    }

    /// Counts the pictures since the start. [Example](crate::guide::by_example#asking-an-instance).
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The ring in 64 bits: instances with the same one give every key the same owner. `None` while nobody is ready. [Example](crate::guide::by_example#asking-an-instance).
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.ring
            .as_ref()
            .map(|ring| ring.placed.table.fingerprint())
    }

    /// All members, those that are down included, by ring id. [Example](crate::guide::by_example#asking-an-instance).
    #[must_use]
    pub fn members(&self) -> &[Arc<Member>] {
        &self.members
    }

    /// This instance. [Example](crate::guide::by_example#asking-an-instance).
    #[must_use]
    pub fn me(&self) -> &Arc<Member> {
        &self.me
    }

    /// The member at this address. [Example](crate::guide::by_example#asking-an-instance).
    #[must_use]
    pub fn at(&self, address: SocketAddr) -> Option<&Arc<Member>> {
        self.members.iter().find(|member| member.address == address)
    }

    /// Those that own keys, by ring id. [Example](crate::guide::by_example#asking-an-instance).
    pub fn ring(&self) -> impl ExactSizeIterator<Item = &Arc<Member>> {
        let places = self.ring.as_ref().map_or(&[][..], |ring| &ring.places);
        places.iter().map(|place| &self.members[*place])
    }

    /// The owner of a key; `None` while nobody is ready. [Example](crate::guide::by_example#asking-an-instance).
    #[inline]
    #[must_use]
    pub fn lookup(&self, key: impl AsRef<[u8]>) -> Option<Arc<Member>> {
        let ring = self.ring.as_ref()?;
        let place = *ring.places.get(ring.placed.table.owner(key.as_ref()))?;
        self.members.get(place).cloned()
    }

    /// The first `n` candidates of a key, the owner first. [Example](crate::guide::by_example#asking-an-instance).
    #[must_use]
    pub fn lookup_n(&self, key: impl AsRef<[u8]>, n: usize) -> Vec<Arc<Member>> {
        let Some(ring) = &self.ring else {
            return Vec::new();
        };
        let candidates = ring.placed.table.candidates(key.as_ref()).take(n);
        candidates
            .filter_map(|node| self.members.get(*ring.places.get(node)?).cloned())
            .collect()
    }

    /// Whether this instance owns the key. [Example](crate::guide::by_example#asking-an-instance).
    #[inline]
    #[must_use]
    pub fn owns(&self, key: impl AsRef<[u8]>) -> bool {
        self.ring.as_ref().is_some_and(|ring| {
            let place = ring.places.get(ring.placed.table.owner(key.as_ref()));
            place.is_some_and(|place| self.members[*place].is_me)
        })
    }

    /// The members that are ready, and own nothing: a later start has their ring id.
    pub(crate) fn outbid(&self) -> &[Arc<Member>] {
        &self.outbid
    }

    /// The members that are ready, and weigh 1 or own nothing: the rule cannot place what they want.
    pub(crate) fn unfit(&self) -> &[Arc<Member>] {
        &self.unfit
    }

    /// The share of the keys whose owner another picture changes.
    pub(crate) fn moved(&self, after: &Self) -> f64 {
        match (&self.ring, &after.ring) {
            (Some(before), Some(after)) if Arc::ptr_eq(before, after) => 0.0,
            (Some(before), Some(after)) => {
                before.placed.table.migration(&after.placed.table).moved()
            }
            (None, None) => 0.0,
            _ => 1.0,
        }
    }

    /// Who is in the ring of another picture, and not in this one's.
    pub(crate) fn added(&self, after: &Self) -> Vec<Arc<Member>> {
        let mine: HashMap<_, _> = self.ring().map(|member| (&member.ring_id, ())).collect();
        let new = after
            .ring()
            .filter(|member| !mine.contains_key(&member.ring_id));
        new.cloned().collect()
    }
}

impl fmt::Debug for MemberView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let states = self
            .members
            .iter()
            .map(|m| (&m.ring_id, m.state.as_str(), m.phase.as_str()));
        f.debug_struct("MemberView")
            .field("epoch", &self.epoch)
            .field("fingerprint", &self.fingerprint())
            .field("members", &states.collect::<Vec<_>>())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    #[cfg(feature = "compat")]
    use crate::placement;
    use crate::placement::Placement;

    fn member(port: u16, ring_id: &str) -> Member {
        Member {
            address: SocketAddr::from(([10, 0, 0, 1], port)),
            generation: 1,
            ring_id: ring_id.into(),
            http: None,
            state: MemberState::Alive,
            phase: Phase::Ready,
            weight: 1,
            labels: BTreeMap::new(),
            since: Instant::now(),
            is_me: port == 1,
        }
    }

    fn view(members: &[Member], before: Option<&MemberView>) -> MemberView {
        let members = members.iter().cloned().map(Arc::new).collect();
        MemberView::new(members, &Rule::new(Placement::ring()), before).expect("we are in it")
    }

    #[test]
    fn the_ring_is_blind_to_order_suspicion_and_addresses_and_holds_the_ready_alone() {
        let all = ["a", "b", "c", "d"].map(|id| member(u16::from(id.as_bytes()[0]) - 96, id));
        let ring = view(&all, None);
        let mut other = all.clone();
        other.reverse();
        other[0].state = MemberState::Suspect;
        other[0].address = SocketAddr::from(([10, 9, 9, 9], 9));
        assert_eq!(view(&other, None).fingerprint(), ring.fingerprint());
        for (state, phase) in [
            (MemberState::Down, Phase::Ready),
            (MemberState::Left, Phase::Ready),
            (MemberState::Alive, Phase::Joining),
            (MemberState::Alive, Phase::Draining),
            (MemberState::Suspect, Phase::Leaving),
        ] {
            let mut fewer = all.clone();
            (fewer[3].state, fewer[3].phase) = (state, phase);
            let fewer = view(&fewer, Some(&ring));
            assert_eq!(fewer.fingerprint(), view(&all[..3], None).fingerprint());
            assert_eq!((fewer.ring().len(), fewer.members().len()), (3, 4));
            assert!((0.1..0.4).contains(&ring.moved(&fewer)));
            assert_eq!(fewer.added(&ring).len(), 1);
        }
    }

    proptest! {
        #[test]
        fn whatever_the_order_and_the_states_one_set_of_owners_has_one_ring_and_another_set_another(
            all in proptest::collection::vec((0_u8..2, 0_u8..5, 0_u8..4, 1_u16..5), 1..12),
            seed in any::<u64>(),
        ) {
            use MemberState::{Alive, Down, Left, Suspect};
            use Phase::{Draining, Joining, Leaving, Ready};
            let named = |n: usize| member(n as u16 + 1, &format!("i{n}"));
            let mut members = Vec::new();
            let mut owners = Vec::new();
            for (n, (owns, state, phase, weight)) in all.iter().copied().enumerate() {
                let mut member = named(n);
                member.weight = weight;
                if owns == 1 {
                    owners.push(member.clone());
                }
                (member.state, member.phase) = match (owns, state % 2) {
                    (1, 0) => (Alive, Ready),
                    (1, _) => (Suspect, Ready),
                    (_, 0) => ([Down, Left][usize::from(state / 2) % 2], [Ready, Leaving][usize::from(phase) % 2]),
                    (_, _) => ([Alive, Suspect][usize::from(state / 2)], [Joining, Draining, Leaving][usize::from(phase) % 3]),
                };
                members.push(member);
            }
            // We are the first one, whatever we own.
            let me = Member { phase: Joining, ..named(0) };
            let of = |members: &[Member]| {
                let is_there = members.iter().any(|m| m.is_me);
                let me = (!is_there).then(|| me.clone());
                let members: Vec<_> = members.iter().cloned().chain(me).collect();
                view(&members, None).fingerprint()
            };
            let ring = of(&owners);
            prop_assert_eq!(of(&members), ring);
            fastrand::Rng::with_seed(seed).shuffle(&mut members);
            prop_assert_eq!(of(&members), ring);
            prop_assert_eq!(ring.is_none(), owners.is_empty());
            if let Some(last) = owners.pop() {
                prop_assert_ne!(of(&owners), ring, "without {}", last.ring_id);
                owners.push(Member { weight: last.weight + 1, ..last });
                prop_assert_ne!(of(&owners), ring);
            }
        }
    }

    #[test]
    fn a_lookup_gives_the_owner_and_then_who_would_be_it() {
        let all = ["a", "b", "c"].map(|id| member(u16::from(id.as_bytes()[0]) - 96, id));
        let ring = view(&all, None);
        for key in 0..100 {
            let key = format!("key:{key}");
            let candidates = ring.lookup_n(&key, 9);
            assert_eq!(candidates.len(), 3);
            let owner = ring.lookup(&key).expect("an owner");
            assert_eq!((&candidates[0], owner.is_me), (&owner, ring.owns(&key)));
            let left: Vec<_> = all
                .iter()
                .filter(|m| m.ring_id != owner.ring_id || m.is_me)
                .cloned()
                .collect();
            if !owner.is_me {
                assert_eq!(view(&left, None).lookup(&key), Some(candidates[1].clone()));
            }
        }
        let mut joining = all[0].clone();
        joining.phase = Phase::Joining;
        let nobody = view(&[joining], None);
        assert_eq!(
            (nobody.lookup("k"), nobody.owns("k"), nobody.fingerprint()),
            (None, false, None)
        );
    }

    #[test]
    fn of_two_with_one_ring_id_the_later_start_owns_its_keys() {
        let mut all = ["a", "b", "b"].map(|id| member(1, id));
        for (port, member) in (1..).zip(&mut all) {
            (member.address, member.is_me) = (SocketAddr::from(([10, 0, 0, 1], port)), port == 1);
        }
        all[1].generation = 7;
        let ring = view(&all, None);
        assert_eq!(
            ring.ring().map(|m| m.generation).collect::<Vec<_>>(),
            [1, 7]
        );
        assert_eq!(
            ring.outbid()
                .iter()
                .map(|m| m.address.port())
                .collect::<Vec<_>>(),
            [3]
        );
        all.swap(1, 2);
        assert_eq!(view(&all, None).fingerprint(), ring.fingerprint());
    }

    #[cfg(feature = "compat")]
    #[test]
    fn ringpop_places_by_addresses_and_identities() {
        let rule: Placement = "ringpop".parse().expect("a rule");
        let (a, b) = (member(1, "a"), member(2, "10.0.0.1:2"));
        let members = vec![Arc::new(a), Arc::new(b)];
        let view = MemberView::new(members, &Rule::new(rule.clone()), None).expect("a view");
        let nodes = [
            placement::Member::new("10.0.0.1:2"),
            placement::Member::new("10.0.0.1:1").identity("a"),
        ];
        let table = rule.table(&nodes).expect("a table");
        assert_eq!(view.fingerprint(), Some(table.fingerprint()));
    }
}
