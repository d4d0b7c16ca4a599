//! Where a node's name leads, and what follows when it leads elsewhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Backend;
use crate::clock::{self, now_micros};
use crate::connection::resolve::{Asked, Resolver};

/// A name is looked up again after this long, ...
const EVERY: Duration = Duration::from_secs(30);
/// ... and after this long where something has just happened, ...
const CLOSELY: Duration = Duration::from_millis(500);
/// ... which is for this long: what names lead to is told late by resolvers that cache.
const UNSETTLED: Duration = Duration::from_secs(30);

impl Backend {
    /// Where it is, for those who read it.
    pub(crate) fn address(&self) -> String {
        let resolver = self.dialer.resolver.as_ref();
        let master = resolver.filter(|resolver| resolver.asks_sentinels());
        match master.and_then(Resolver::pinned) {
            Some(addr) => addr.to_string(),
            None => self.node.endpoint().to_string(),
        }
    }

    /// How often the node's name has led elsewhere.
    pub(crate) fn moves(&self) -> u64 {
        self.dialer.resolver.as_ref().map_or(0, |name| name.moves())
    }

    /// Looks the node's name up again when the last answer is older than `age`, in the background; a new
    /// address takes the old connections out of use.
    pub(crate) fn refresh_address(self: &Arc<Self>, age: Duration) {
        let resolver = self.dialer.resolver.as_ref();
        if resolver.is_some_and(|name| name.is_older_than(age)) {
            // A cluster that closes, or a caller without a runtime, needs no address.
            let _ = self.look_up();
        }
    }

    /// The look-up that is due at any time: each second for a while after a return or a lost connection.
    pub(crate) fn refresh_in_time(self: &Arc<Self>, now: Instant) {
        let lost = self.stats.last_lost();
        let ago = now_micros().saturating_sub(lost);
        let unsettled = (lost > 0 && u128::from(ago) < UNSETTLED.as_micros())
            || self.stats.returned_within(Some(UNSETTLED), now);
        self.refresh_address(if unsettled { CLOSELY } else { EVERY });
    }

    /// Something says that the name may lead elsewhere by now: it is looked up, and closely for a while.
    pub(crate) fn doubt_address(self: &Arc<Self>) {
        self.stats.lost_connection(now_micros());
        self.refresh_address(Duration::ZERO);
    }

    /// Before a dial: when a connection was lost since the name was looked up, or the node is out and `probed`,
    /// asks again and waits for a moment. Without an answer the last good address serves.
    pub(super) async fn follow_name(self: &Arc<Self>, probed: bool) {
        let Some(resolver) = &self.dialer.resolver else {
            return;
        };
        self.watch_sentinels();
        // Sentinels are asked at each dial; those of one moment share the answer.
        let always = resolver.asks_sentinels() || (probed && !self.gate.read().settles());
        let lost = match always {
            true => u64::MAX,
            false => self.stats.last_lost(),
        };
        if !resolver.is_older_than_loss(lost) {
            // Nothing was lost since; or it was never looked up, which the dial waits for as long as it may.
            return;
        }
        let asked = match resolver.asking() {
            None if !resolver.has_just_asked(clock::now()) => self.look_up(),
            asking => asking,
        };
        if let Some(asked) = asked {
            asked.for_a_moment().await;
        }
    }

    /// Takes what leads to an earlier address out of use; what is in flight there goes on. But where sentinels say that
    /// another server is the master it ends: what is written to the old one is lost.
    pub(super) fn leave_old_address(&self) {
        let moves = self.moves();
        self.lane.keep(|link| link.moves() == moves);
        if let Some(pool) = self.pool.get() {
            pool.discard_strays(moves);
        }
        if self.asks_sentinels() {
            self.open.end_strays(moves);
        }
        #[cfg(feature = "near")]
        self.leave_near(moves);
    }

    pub(super) fn asks_sentinels(&self) -> bool {
        let resolver = self.dialer.resolver.as_ref();
        resolver.is_some_and(Resolver::asks_sentinels)
    }

    /// Sees to it that news of the sentinels is heard, where there are any.
    fn watch_sentinels(self: &Arc<Self>) {
        let Some(resolver) = &self.dialer.resolver else {
            return;
        };
        let weak = Arc::downgrade(self);
        resolver.watch(&self.dialer.tasks, move || {
            if let Some(backend) = weak.upgrade() {
                backend.doubt_address();
            }
        });
    }

    /// A dial found no master where the sentinels say that it is: they are asked again, for a moment.
    pub(super) async fn seek_master(self: &Arc<Self>) {
        self.stats.lost_connection(now_micros());
        if let Some(asked) = self.look_up() {
            asked.for_a_moment().await;
        }
    }

    fn look_up(self: &Arc<Self>) -> Option<Asked> {
        let weak = Arc::downgrade(self);
        let moved = move || {
            if let Some(backend) = weak.upgrade() {
                backend.leave_old_address();
                backend.observer.moved(&backend);
            }
        };
        let resolver = self.dialer.resolver.as_ref()?;
        resolver.look_up(&self.dialer.tasks, moved)
    }
}
