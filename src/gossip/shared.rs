//! What handles and the driver share: the picture, and wishes.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast, oneshot, watch};

use super::builder::Hook;
use super::counters::Counters;
use super::events::{BACKLOG, GossipEvent};
use super::heal::HealReport;
use super::identity::Id;
use super::instance::{Instance, Picture};
use super::leave::LeaveReport;
use super::record::Record;
use super::records::Counted;
use super::rule::Rule;
use super::share::{MOST_SHARES, NodeOpinion, Opinions};
use super::view::MemberView;
use crate::clock;
use crate::sealed::Keyring;
use crate::tasks::Tasks;

/// Doubts and the like that wait; more are of no use.
const MOST_WISHES: usize = 256;

pub(crate) struct Shared {
    pub(crate) cluster: String,
    pub(crate) started: Instant,
    pub(crate) rule: Rule,
    pub(crate) view: ArcSwap<MemberView>,
    pub(crate) changes: watch::Sender<Arc<MemberView>>,
    pub(crate) events: broadcast::Sender<GossipEvent>,
    /// Guards what is wished until the driver takes it; never held over an await.
    pub(crate) wishes: Mutex<Wishes>,
    pub(crate) wished: Notify,
    /// The source of seeds should be asked again.
    pub(crate) want_seeds: Notify,
    pub(crate) numbers: Mutex<Numbers>,
    /// What all say of nodes, while somebody wants to know.
    pub(crate) picture: watch::Sender<Arc<Picture>>,
    /// Guards the clusters whose health is shared, by scope.
    shares: Mutex<BTreeMap<Box<str>, Opinions>>,
    /// What requests that are forwarded are marked with.
    #[cfg(feature = "forward")]
    pub(crate) keyring: arc_swap::ArcSwapOption<Keyring>,
    pub(crate) left: watch::Sender<Option<LeaveReport>>,
    leaving: Mutex<Option<Leaving>>,
    /// What the leaving runs on, while there is a handle.
    tasks: Mutex<Weak<Tasks>>,
}

/// What leaving is made of; taken by whoever is first.
pub(crate) struct Leaving {
    pub(crate) drain: Duration,
    pub(crate) linger: Duration,
    pub(crate) before: Vec<Hook>,
    pub(crate) after: Vec<Hook>,
}

/// What is to be done by the driver.
pub(crate) struct Wishes {
    /// What we say of ourselves; its phase is not looked at.
    pub(crate) said: Record,
    pub(crate) is_draining: bool,
    pub(crate) keyring: Option<Keyring>,
    pub(crate) doors: Option<Vec<SocketAddr>>,
    pub(crate) doubts: VecDeque<Id>,
    pub(crate) forget: VecDeque<SocketAddr>,
    pub(crate) heals: Vec<oneshot::Sender<HealReport>>,
    pub(crate) leave: Vec<(LeaveStep, oneshot::Sender<usize>)>,
    /// What is said of nodes, by scope.
    pub(crate) testimony: BTreeMap<Box<str>, Vec<Vec<u8>>>,
    pub(crate) testimony_is_new: bool,
    /// Operators' words on nodes.
    pub(crate) drains: VecDeque<(u64, bool)>,
    /// Whether the record or the draining may be new.
    pub(crate) is_new: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaveStep {
    Begin,
    Tell,
    End,
}

/// What the driver counts, as of the last second.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) counters: Counters,
    /// What was odd among the items that others tell.
    pub(crate) items: Counted,
    /// Since the second before: bytes out, bytes in.
    pub(crate) rate: (f64, f64),
    pub(crate) backlog: (usize, usize),
    pub(crate) diverged: usize,
    pub(crate) key_ids: Vec<u8>,
    pub(crate) ring_changes: u64,
    pub(crate) moved: f64,
}

impl Shared {
    pub(crate) fn new(
        cluster: String,
        said: Record,
        leaving: Leaving,
        instance: &Instance,
        rule: &Rule,
    ) -> Option<Self> {
        let view = Arc::new(MemberView::new(instance.roster(), rule, None)?);
        let key_ids = instance.keyring().map(Keyring::ids).unwrap_or_default();
        Some(Self {
            cluster,
            started: clock::now(),
            rule: rule.clone(),
            view: ArcSwap::new(Arc::clone(&view)),
            changes: watch::Sender::new(view),
            events: broadcast::Sender::new(BACKLOG),
            wishes: Mutex::new(Wishes {
                said,
                is_draining: false,
                keyring: None,
                doors: None,
                doubts: VecDeque::new(),
                forget: VecDeque::new(),
                heals: Vec::new(),
                leave: Vec::new(),
                testimony: BTreeMap::new(),
                testimony_is_new: false,
                drains: VecDeque::new(),
                is_new: false,
            }),
            wished: Notify::new(),
            want_seeds: Notify::new(),
            numbers: Mutex::new(Numbers {
                key_ids,
                ..Numbers::default()
            }),
            picture: watch::Sender::default(),
            shares: Mutex::default(),
            #[cfg(feature = "forward")]
            keyring: arc_swap::ArcSwapOption::new(instance.keyring().cloned().map(Arc::new)),
            left: watch::Sender::new(None),
            leaving: Mutex::new(Some(leaving)),
            tasks: Mutex::new(Weak::new()),
        })
    }

    /// Wishes something; the driver is woken.
    pub(crate) fn wish<T>(&self, wish: impl FnOnce(&mut Wishes) -> T) -> T {
        let done = wish(&mut self.wishes.lock());
        self.wished.notify_one();
        done
    }

    pub(crate) fn tell(&self, event: GossipEvent) {
        // Without readers nobody hears it.
        let _ = self.events.send(event);
    }

    pub(crate) fn can_leave_by(&self, tasks: &Arc<Tasks>) {
        *self.tasks.lock() = Arc::downgrade(tasks);
    }

    /// A cluster shares its health under this scope from now on; the error says why it cannot.
    pub(crate) fn begin_share(&self, scope: &str, opinions: &Opinions) -> Result<(), String> {
        let mut shares = self.shares.lock();
        if shares.len() >= MOST_SHARES {
            return Err(format!("{MOST_SHARES} clusters share their health already"));
        }
        if shares.contains_key(scope) {
            return Err("another cluster has it: give each its own scope".into());
        }
        shares.insert(scope.into(), opinions.clone());
        Ok(())
    }

    /// Says nothing of the scope any more, unless another cluster has it meanwhile.
    pub(crate) fn end_share(&self, scope: &str, opinions: &Opinions) {
        let mut shares = self.shares.lock();
        if shares.get(scope).is_some_and(|known| known.are(opinions)) {
            shares.remove(scope);
            self.wish(|wishes| {
                wishes.testimony_is_new |= wishes.testimony.remove(scope).is_some();
            });
        }
    }

    /// How many clusters share their health.
    pub(crate) fn shares(&self) -> usize {
        self.shares.lock().len()
    }

    /// What is thought of the nodes of each scope.
    pub(crate) fn opinions(&self) -> Vec<(Box<str>, Arc<[NodeOpinion]>)> {
        let shares = self.shares.lock();
        let all = shares.iter();
        all.map(|(scope, opinions)| (scope.clone(), opinions.load()))
            .collect()
    }

    /// What is said of the nodes of a scope from now on.
    pub(crate) fn testify(&self, scope: &str, opinions: &Opinions, bodies: Vec<Vec<u8>>) {
        let shares = self.shares.lock();
        if shares.get(scope).is_some_and(|known| known.are(opinions)) {
            self.wish(|wishes| {
                wishes.testimony.insert(scope.into(), bodies);
                wishes.testimony_is_new = true;
            });
        }
    }

    /// Begins to leave; whether it had not begun before.
    pub(crate) fn ask_to_leave(self: &Arc<Self>) -> bool {
        // First what it runs on: an operator may ask before there is a handle, and whoever takes the steps must go them.
        let Some(tasks) = self.tasks.lock().upgrade() else {
            return false;
        };
        let Some(leaving) = self.leaving.lock().take() else {
            return false;
        };
        // A task that is not taken, or not ended, is dropped: that, too, ends the waiting.
        let _ = tasks.spawn(super::leaving::leave(Arc::clone(self), leaving));
        true
    }

    /// Whether leaving has begun.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.lock().is_none()
    }
}

impl Wishes {
    /// Owns no keys, or owns them again; whether that is new.
    pub(crate) fn drain(&mut self, on: bool) -> bool {
        let is_new = self.is_draining != on;
        (self.is_draining, self.is_new) = (on, true);
        is_new
    }

    pub(crate) fn doubt(&mut self, whom: Id) {
        if self.doubts.len() < MOST_WISHES && !self.doubts.contains(&whom) {
            self.doubts.push_back(whom);
        }
    }

    pub(crate) fn say_drain(&mut self, key: u64, on: bool) {
        if self.drains.len() < MOST_WISHES {
            self.drains.push_back((key, on));
        }
    }

    pub(crate) fn forget(&mut self, addr: SocketAddr) {
        if self.forget.len() < MOST_WISHES {
            self.forget.push_back(addr);
        }
    }
}
