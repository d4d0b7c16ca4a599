//! A node that is ready here waits for the other processes that have it out: from the moment that one uses it, what another
//! writes elsewhere is not what the first one reads.

use std::time::Instant;

use tokio::time::timeout_at;

use super::prepare::{unless_failed, unlink_left};
use super::way::{Trouble, Way};
use crate::clock::{self, later};
use crate::cluster::engine::Engine;
use crate::recovery::unknown::UnknownReason;

impl Engine {
    /// Until nobody who is known has the node out and is not ready for it, or has taken too long; what writes leave for it
    /// meanwhile is taken from it as they end.
    ///
    /// The error says that it cannot serve: it does not answer, or was given up meanwhile.
    pub(super) async fn wait_for_others(&self, id: u64, way: &Way) -> Result<(), Trouble> {
        let backend = way.backend();
        let (key, began) = (backend.key(), clock::now());
        if !self.locked(|state, _| state.health.ready(key, id, began)) {
            return Err(Trouble::Failed);
        }
        if self.awaits(key, id)?.is_none() {
            return Ok(());
        }
        self.said_anew();
        loop {
            let mut stirred = std::pin::pin!(self.recovery.stirred.notified());
            // Before the look: else what happens in between is missed.
            stirred.as_mut().enable();
            let until = self.awaits(key, id)?;
            let left = self.take_left(key);
            if !left.is_empty() {
                let pipeline = unlink_left(&left);
                let deadline = later(clock::now(), self.recovery.choices.deadline);
                way.ask(&pipeline, deadline).await.or_else(unless_failed)?;
                continue;
            }
            let Some(until) = until else {
                break;
            };
            // Late or not, it is looked at again.
            let _ = timeout_at(until.into(), stirred).await;
        }
        if self.locked(|state, _| state.health.overruled(key).awaited) {
            let node = backend.id();
            metrics::counter!("fluster_return_unready_total", backend.labels()).increment(1);
            tracing::warn!(%node, "a node that returns serves here, though another instance that has it out is not ready for it");
        }
        // Those that are not ready, or are gone, have gone on writing.
        let deadline = later(clock::now(), self.recovery.choices.deadline);
        let snapshot = self.snapshot.load_full();
        let swept = self.sweep_all(&snapshot, way, deadline).await?;
        if swept.is_full {
            self.recovery.doubt(key, UnknownReason::Overflow);
        }
        self.tell_invalidated(backend, swept.keys);
        Ok(())
    }

    fn awaits(&self, key: u64, id: u64) -> Result<Option<Instant>, Trouble> {
        let now = clock::now();
        let awaits = self.locked(|state, _| state.health.awaits(key, id, now));
        awaits.map_err(|_stale| Trouble::Failed)
    }

    /// What this process says of its nodes may be another thing now.
    pub(super) fn said_anew(&self) {
        self.published.send_modify(|n| *n += 1);
    }
}
