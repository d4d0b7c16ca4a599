//! The handle of forwarding: what is done with a request, and the state that it needs.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use http::request::Parts;
use parking_lot::Mutex;

use super::arrival::{Arrival, Fate, OnDisagree, Owner};
use super::attempt::Unreachable;
use super::builder::{ClientOf, ForwarderBuilder, IsIdempotent};
use super::call::Handler;
use super::client::Pools;
use super::complaint::Complaints;
use super::dial::Secure;
use super::error::{ForwardError, ForwardErrorKind};
use super::flight::Flights;
use super::headers::{MOST_HOPS, Taken};
use super::key::KeyOf;
use super::known::Known;
use super::layer::ForwardLayer;
use super::mark::{self, Mark, Unbelieved};
use super::meter::Meter;
use super::peers::{Peer, Peers};
use crate::clock;
use crate::keys::chance;
use crate::sealed::NONCE;

/// Handles requests here, or forwards them to the owner of their key. Cheap to clone.
///
/// See the [module](crate::forward) for an example, and the [guide](crate::guide::forwarding) for what it promises.
#[derive(Clone)]
pub struct Forwarder {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) peers: Arc<dyn Peers>,
    pub(crate) setup: Setup,
    pub(crate) pools: Arc<Pools>,
    pub(crate) flights: Arc<Flights>,
    pub(crate) complaints: Complaints,
    pub(crate) meter: Meter,
    /// Who answers calls.
    pub(crate) handler: ArcSwapOption<Handler>,
    /// Guards the nonces of marks that came; held for a look-up in a set.
    known: Mutex<Known>,
    /// A nonce never comes twice: nobody guesses the first part, and the second one counts.
    nonce: [u8; NONCE - 8],
    made: AtomicU64,
}

/// What was asked for.
pub(crate) struct Setup {
    pub(crate) deadline: Duration,
    pub(crate) replay_limit: usize,
    pub(crate) call_limit: usize,
    pub(crate) on_disagree: OnDisagree,
    pub(crate) unreachable: Unreachable,
    pub(crate) is_idempotent: Option<IsIdempotent>,
    pub(crate) client_of: Option<ClientOf>,
}

/// What is done with a request.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It is handled here; by then, if another instance sent it and does not wait longer.
    Handle {
        by: Option<Instant>,
        /// Whether another instance sent it.
        is_sent: bool,
    },
    /// It goes to the owner; so many instances passed it on before.
    Forward {
        to: Option<Peer>,
        hops: u8,
    },
    /// 421, with the reason and the owner that this instance sees.
    Refuse(super::arrival::Reason, Option<Peer>),
    Fail(ForwardError),
}

impl Forwarder {
    /// Forwards among these instances, such as those that a [`Gossip`](crate::gossip::Gossip) knows. It holds a handle
    /// of them. [Example](crate::guide::by_example#forwarding).
    ///
    /// # Errors
    ///
    /// See [`build`](ForwarderBuilder::build).
    pub fn new<P: Peers + Clone>(peers: &P) -> Result<Self, ForwardError> {
        Self::builder(peers.clone()).build()
    }

    /// The same, with options. [Example](crate::guide::by_example#forwarding).
    pub fn builder(peers: impl Peers) -> ForwarderBuilder {
        ForwarderBuilder::new(Arc::new(peers))
    }

    pub(crate) fn made(
        peers: Arc<dyn Peers>,
        setup: Setup,
        secure: Secure,
        connect: Duration,
        in_flight: usize,
    ) -> Self {
        let nonce = match chance() {
            Ok(nonce) => nonce,
            // As for keys: there are some once the system has started.
            Err(e) => panic!("{e}"),
        };
        let flights = Flights::new(in_flight, Meter::in_flight(peers.cluster()));
        let meter = Meter::new(peers.cluster());
        let complaints = Complaints::new(peers.cluster());
        Self {
            inner: Arc::new(Inner {
                flights,
                meter,
                complaints,
                peers,
                setup,
                pools: Arc::new(Pools::new(secure, connect)),
                handler: ArcSwapOption::empty(),
                known: Mutex::new(Known::new(clock::now())),
                nonce,
                made: AtomicU64::new(0),
            }),
        }
    }

    /// The layer that handles or forwards whatever goes through it, by the key that `key` finds. It stands inside of
    /// whatever authenticates: the client's headers go on to the owner. [Example](crate::guide::by_example#forwarding).
    pub fn layer<K: KeyOf>(&self, key: K) -> ForwardLayer<K> {
        ForwardLayer::new(self.clone(), key)
    }

    /// How many requests are being forwarded now. [Example](crate::guide::by_example#forwarding).
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.inner.flights.now()
    }

    /// The owners of keys, each with its keys, in the order of their first key; for
    /// [`call_member`](Self::call_member). Empty while nobody is ready. [Example](crate::guide::by_example#forwarding).
    pub fn by_owner<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Vec<(Peer, Vec<K>)> {
        let mut owners: Vec<(Peer, Vec<K>)> = Vec::new();
        for key in keys {
            let Some(owner) = self.inner.owner(key.as_ref()) else {
                continue;
            };
            match owners.iter_mut().find(|(peer, _)| *peer == owner) {
                Some((_, keys)) => keys.push(key),
                None => owners.push((owner, vec![key])),
            }
        }
        owners
    }
}

impl Inner {
    pub(crate) fn owner(&self, key: &[u8]) -> Option<Peer> {
        self.peers.owner(key)
    }

    pub(crate) fn next_nonce(&self) -> [u8; NONCE] {
        let mut nonce = [0; NONCE];
        let (first, second) = nonce.split_at_mut(self.nonce.len());
        first.copy_from_slice(&self.nonce);
        second.copy_from_slice(&self.made.fetch_add(1, Relaxed).to_le_bytes());
        nonce
    }

    /// What is done with a request that arrives; what was ours has been taken out of it.
    pub(crate) fn judge(&self, parts: &Parts, keys: &[&[u8]], taken: Taken) -> Verdict {
        let Taken {
            mark: value,
            deadline,
            hops,
        } = taken;
        if value.is_none() && keys.iter().all(|key| self.peers.owns(key)) {
            return Verdict::Handle {
                by: None,
                is_sent: false,
            };
        }
        let mark = value.as_ref();
        let mark = mark.and_then(|value| self.opened(value.as_bytes(), parts, keys));
        let by = mark.is_some().then_some(deadline).flatten().map(|left| {
            let left = Duration::from_millis(left).min(self.setup.deadline);
            clock::later(clock::now(), left)
        });
        let owner = self.owner_of_all(keys, &[]);
        let me = self.peers.me();
        let seen = match &owner {
            Found::One(peer) if peer.is_me => Owner::Me,
            Found::One(peer) => Owner::Other(&peer.ring_id),
            Found::Several => Owner::Several,
            Found::Nobody => Owner::Nobody,
        };
        let arrival = Arrival {
            has_key: !keys.is_empty(),
            owner: seen,
            mark: mark.as_ref(),
            me: &me.ring_id,
            is_ready: me.is_ready,
            ring: self.peers.fingerprint().map(|ring| ring.as_u64()),
            is_next: mark.as_ref().is_some_and(|mark| self.is_next(mark, keys)),
        };
        match arrival.fate(self.setup.on_disagree) {
            Fate::Handle => Verdict::Handle {
                by,
                is_sent: mark.is_some(),
            },
            Fate::Forward if hops >= MOST_HOPS => Verdict::Fail(to_and_fro()),
            Fate::Forward => Verdict::Forward {
                to: owner.one(),
                hops,
            },
            Fate::NoMembers => Verdict::Fail(no_members()),
            Fate::KeysDiverged => Verdict::Fail(keys_diverged()),
            Fate::Refuse(reason, _) => {
                self.meter.diverged(reason);
                if let Some(mark) = &mark {
                    self.complaints.diverged(&mark.from, reason.as_str());
                }
                Verdict::Refuse(reason, owner.one())
            }
        }
    }

    /// The mark, if it is one that is believed.
    fn opened<'a>(&self, value: &'a [u8], parts: &Parts, keys: &[&[u8]]) -> Option<Mark<'a>> {
        let request = self.marked(parts, keys);
        let me = self.peers.me();
        let (keyring, wall) = (self.peers.keyring(), wall());
        let opened = Mark::open(value, &me.ring_id, request, keyring.as_ref(), wall);
        let opened = opened.and_then(|mark| {
            let mut known = self.known.lock();
            let is_new = known.is_new(mark.nonce, clock::now());
            let forgotten = known.forgotten();
            drop(known);
            self.meter.forgotten(forgotten);
            match is_new {
                true => Ok(mark),
                false => Err(Unbelieved {
                    why: mark::Invalid::Replayed,
                    whose: Some(Box::new(mark)),
                }),
            }
        });
        match opened {
            Ok(mark) => {
                self.complaints.believed(&mark.from);
                Some(mark)
            }
            Err(no) => {
                self.meter.not_believed(no.why);
                self.complaints.unbelieved(&no, wall);
                None
            }
        }
    }

    /// The mark for a request that goes to `to`.
    pub(crate) fn mark(
        &self,
        to: &Peer,
        stands_in_for: Option<&str>,
        parts: &Parts,
        keys: &[&[u8]],
    ) -> String {
        let me = self.peers.me();
        let mark = Mark {
            from: (*me.ring_id).into(),
            to: (*to.ring_id).into(),
            at: wall(),
            nonce: self.next_nonce(),
            ring: self.peers.fingerprint().map(|ring| ring.as_u64()),
            stands_in_for: stands_in_for.map(Into::into),
        };
        mark.seal(self.marked(parts, keys), self.peers.keyring().as_ref())
    }

    fn marked<'a>(&'a self, parts: &'a Parts, keys: &'a [&'a [u8]]) -> mark::Request<'a> {
        mark::Request {
            scope: self.peers.cluster(),
            method: parts.method.as_str(),
            target: parts
                .uri
                .path_and_query()
                .map_or("", |target| target.as_str()),
            keys,
        }
    }

    /// The owner of all keys, without those who are left out.
    pub(crate) fn owner_of_all(&self, keys: &[&[u8]], left_out: &[Box<str>]) -> Found {
        if left_out.is_empty() {
            return same(keys.iter().map(|key| self.peers.owner(key)));
        }
        let is_in = |peer: &Peer| left_out.iter().any(|name| **name == *peer.ring_id);
        let of = |key: &&[u8]| {
            let list = self.peers.candidates(key, 1 + left_out.len());
            list.into_iter().find(|peer| !is_in(peer))
        };
        same(keys.iter().map(of))
    }

    /// The candidate after that owner, of all keys, without those who are left out.
    pub(crate) fn next_of_all(&self, of: &str, keys: &[&[u8]], left_out: &[Box<str>]) -> Found {
        let is_in = |peer: &Peer| left_out.iter().any(|name| **name == *peer.ring_id);
        let next = |key: &&[u8]| {
            let list = self.peers.candidates(key, 3 + left_out.len());
            let mut after = list.iter().skip_while(|peer| *peer.ring_id != *of).skip(1);
            // Who is no candidate any more has nobody after it: the owner of today, then.
            match after.find(|peer| !is_in(peer)) {
                Some(peer) => Some(peer.clone()),
                None => list
                    .into_iter()
                    .find(|peer| *peer.ring_id != *of && !is_in(peer)),
            }
        };
        same(keys.iter().map(next))
    }

    /// Whether this instance comes after the owner that the mark says it stands in for.
    fn is_next(&self, mark: &Mark<'_>, keys: &[&[u8]]) -> bool {
        let Some(owner) = &mark.stands_in_for else {
            return false;
        };
        matches!(self.next_of_all(owner, keys, &[]), Found::One(peer) if peer.is_me)
    }
}

/// Who all keys belong to.
#[derive(Debug)]
pub(crate) enum Found {
    One(Peer),
    Several,
    Nobody,
}

impl Found {
    fn one(self) -> Option<Peer> {
        match self {
            Self::One(peer) => Some(peer),
            Self::Several | Self::Nobody => None,
        }
    }
}

fn same(mut owners: impl Iterator<Item = Option<Peer>>) -> Found {
    let Some(Some(first)) = owners.next() else {
        return Found::Nobody;
    };
    for owner in owners {
        match owner {
            Some(owner) if owner.ring_id == first.ring_id => {}
            Some(_) => return Found::Several,
            None => return Found::Nobody,
        }
    }
    Found::One(first)
}

pub(crate) fn no_members() -> ForwardError {
    let why = "no instance is ready: no key has an owner";
    ForwardError::new(ForwardErrorKind::NoMembers, why)
}

pub(crate) fn keys_diverged() -> ForwardError {
    let why = "the keys have several owners: send each owner its own, as `by_owner` parts them";
    ForwardError::new(ForwardErrorKind::KeysDiverged, why)
}

fn to_and_fro() -> ForwardError {
    let why = "instances send the request to each other: clocks or keys differ, or an address leads to another instance";
    ForwardError::new(ForwardErrorKind::Disputed, why)
}

/// The wall clock in milliseconds: instances have no other one in common.
fn wall() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarder")
            .field("me", &self.inner.peers.me())
            .field("setup", &self.inner.setup)
            .field("connections", &self.inner.pools)
            .finish_non_exhaustive()
    }
}
