//! Keeps a subscription where its channels are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use redis::{PushInfo, PushKind};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::timeout_at;

use super::backlog::Sender;
use super::message::{Message, Notice};
use super::{Kind, Topic};
use crate::backend::Backend;
use crate::clock::{self, later};
use crate::cluster::Engine;
use crate::connection::link::{Fault, Link, LinkError};
use crate::connection::request::Request;
use crate::error::{Error, ErrorKind, Outcome};
use crate::health::verdict::ConnectionAction;
use crate::node::NodeId;

/// After a failure the next attempt waits this long.
const RETRY: Duration = Duration::from_millis(100);
/// ... and each one after it twice as long, up to this.
const RETRY_AT_MOST: Duration = Duration::from_secs(2);
/// What failed so often in a row lasts, and is said.
const LASTS: u32 = 5;
/// A silent connection is asked for a sign of life this often.
const PING_EVERY: Duration = Duration::from_secs(2);

/// The task behind a subscription.
pub(super) struct Listener {
    topics: Vec<Topic>,
    ears: BTreeMap<u64, Ear>,
    /// Topics that were confirmed once: whoever gets them from now on may have missed something.
    settled: BTreeSet<usize>,
    /// Nodes to announce a gap for.
    gaps: BTreeSet<NodeId>,
    out: Sender,
    published: watch::Receiver<u64>,
    /// A connection ended, or the reader was too slow.
    woken: Arc<Notify>,
    pinged: Instant,
}

/// A connection that listens to one node.
struct Ear {
    backend: Arc<Backend>,
    link: Link,
    topics: BTreeSet<usize>,
    overrun: Arc<AtomicBool>,
}

impl Listener {
    pub(super) fn new(engine: &Engine, topics: Vec<Topic>, out: Sender) -> Self {
        Self {
            topics,
            ears: BTreeMap::new(),
            settled: BTreeSet::new(),
            gaps: BTreeSet::new(),
            out,
            published: engine.subscribe(),
            woken: Arc::default(),
            pinged: clock::now(),
        }
    }

    /// Settles, within `limit`, and reports how that went; then follows its topics for ever.
    pub(super) async fn run(
        mut self,
        engine: Weak<Engine>,
        limit: Duration,
        report: oneshot::Sender<Option<Error>>,
    ) {
        let deadline = later(clock::now(), limit);
        let mut last = None;
        loop {
            let Some(engine) = engine.upgrade() else {
                return;
            };
            // A server that accepts and says nothing has time-outs of its own, which may be longer.
            let settled = timeout_at(deadline.into(), self.settle(&engine)).await;
            let error = match settled {
                Ok(None) => break,
                Ok(Some(error)) => error,
                Err(_) => last.take().unwrap_or_else(|| {
                    let text = format!("the subscription was not confirmed within {limit:?}");
                    Error::new(ErrorKind::Timeout, Outcome::NotSent, text)
                }),
            };
            // Nor does a server that says no, as to a user who may not hear a channel, say yes a moment later.
            let in_vain = error.outcome() == Outcome::Answered
                || matches!(error.kind(), ErrorKind::Closed | ErrorKind::ClusterEmpty);
            if in_vain || clock::now() >= deadline {
                // Whoever asked may have gone.
                let _ = report.send(Some(error));
                return;
            }
            drop(engine);
            last = Some(error);
            let again = later(clock::now(), RETRY).min(deadline);
            tokio::time::sleep_until(again.into()).await;
        }
        if report.send(None).is_err() {
            return;
        }
        let mut failures = 0;
        loop {
            let failed = match engine.upgrade() {
                Some(engine) => self.settle(&engine).await,
                None => return,
            };
            failures = match &failed {
                Some(error) => {
                    say(failures, error);
                    failures.saturating_add(1)
                }
                None => 0,
            };
            let wait = match (failures, self.tell_gaps()) {
                (0, true) => PING_EVERY.saturating_sub(clock::since(self.pinged)),
                (0, false) => RETRY,
                (failures, _) => back_off(failures),
            };
            tokio::select! {
                changed = self.published.changed() => if changed.is_err() { return },
                // After a failure the connection that it ended would cut the wait short, again and again.
                () = self.woken.notified(), if failures == 0 => {}
                () = tokio::time::sleep(wait) => {}
            }
            if clock::since(self.pinged) >= PING_EVERY {
                self.pinged = clock::now();
                self.ping().await;
            }
        }
    }

    /// Listens wherever the topics are now; the error of a node where that failed.
    async fn settle(&mut self, engine: &Arc<Engine>) -> Option<Error> {
        engine.ensure_monitored();
        self.published.mark_unchanged();
        let mut wanted: BTreeMap<u64, (Arc<Backend>, BTreeSet<usize>)> = BTreeMap::new();
        let mut failed = None;
        {
            let snapshot = engine.topology();
            let mut want = |backend: &Arc<Backend>, topic| {
                let (_, topics) = wanted
                    .entry(backend.key())
                    .or_insert_with(|| (Arc::clone(backend), BTreeSet::new()));
                topics.insert(topic);
            };
            for (i, topic) in self.topics.iter().enumerate() {
                if topic.kind == Kind::Pattern {
                    snapshot
                        .callable()
                        .for_each(|n| want(&snapshot.nodes[n], i));
                } else if let Some(backend) = snapshot.route(&topic.name) {
                    want(backend, i);
                }
            }
            if wanted.is_empty() {
                failed = Some(engine.empty().into());
            }
        }
        // What is dead, or leads to a node that has nothing of ours any more, is closed.
        self.ears.retain(|key, ear| {
            ear.link.wire().is_usable()
                && ear.link.moves() == ear.backend.moves()
                && ear.backend.gate().read().admits()
                && wanted.contains_key(key)
        });
        let work = wanted.into_iter().map(|(key, (backend, topics))| {
            let ear = self.ears.remove(&key);
            (backend, topics, ear)
        });
        let work: Vec<_> = work.collect();
        let (all, out, woken) = (&self.topics, &self.out, &self.woken);
        let heard = join_all(work.into_iter().map(|(backend, topics, ear)| async move {
            let ear = match ear {
                Some(ear) => ear,
                None => Ear::open(&backend, out, woken).await?,
            };
            ear.turn_to(all, topics).await
        }))
        .await;
        for result in heard {
            match result {
                Ok((ear, new)) => {
                    // A pattern is settled as a whole: a node that joins later has been missed.
                    if new.iter().any(|topic| self.settled.contains(topic)) {
                        self.gaps.insert(ear.backend.id().clone());
                    }
                    self.ears.insert(ear.backend.key(), ear);
                }
                Err(error) => failed = Some(error),
            }
        }
        if failed.is_none() {
            self.settled = (0..self.topics.len()).collect();
        }
        failed
    }

    /// Says where something may have been missed; `false` when the reader has to catch up first.
    fn tell_gaps(&mut self) -> bool {
        for ear in self.ears.values() {
            if ear.overrun.swap(false, SeqCst) {
                self.gaps.insert(ear.backend.id().clone());
            }
        }
        while let Some(node) = self.gaps.pop_first() {
            if !self.out.send(Notice::Gap { node: node.clone() }) {
                self.gaps.insert(node);
                return false;
            }
        }
        true
    }

    /// A peer that fell silent is not told from one with nothing to say, except by asking.
    async fn ping(&mut self) {
        let ping = redis::cmd("PING");
        let asked = self.ears.values().map(|ear| ear.call(&ping));
        let answers = join_all(asked).await;
        let mut answers = answers.into_iter();
        self.ears
            .retain(|_, _| matches!(answers.next(), Some(Ok(_))));
    }
}

fn back_off(failures: u32) -> Duration {
    let doubled = 1_u32 << failures.saturating_sub(1).min(16);
    RETRY.saturating_mul(doubled).min(RETRY_AT_MOST)
}

/// Says that a subscription hears nothing where it should; once for each time that it lasts.
fn say(before: u32, error: &Error) {
    if before + 1 == LASTS {
        let node = error.node().map(ToString::to_string).unwrap_or_default();
        tracing::warn!(node, %error, "a subscription is not confirmed any more; it is tried again every 2 s");
    }
}

impl Ear {
    async fn open(
        backend: &Arc<Backend>,
        out: &Sender,
        woken: &Arc<Notify>,
    ) -> Result<Self, Error> {
        let overrun = Arc::new(AtomicBool::new(false));
        let hear = {
            let (node, out) = (backend.id().clone(), out.clone());
            let (overrun, woken) = (Arc::clone(&overrun), Arc::clone(woken));
            move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    woken.notify_one();
                } else if let Some(message) = Message::read(&node, push)
                    && !out.send(Notice::Message(message))
                    && !overrun.swap(true, SeqCst)
                {
                    woken.notify_one();
                }
            }
        };
        match backend.listen(Arc::new(hear)).await {
            Ok(link) => Ok(Self {
                backend: Arc::clone(backend),
                link,
                topics: BTreeSet::new(),
                overrun,
            }),
            Err(why) => {
                backend.report_dial(backend.gate().read().epoch(), &why);
                Err(backend.no_lane(why))
            }
        }
    }

    /// Subscribes to what it lacks and leaves what is no longer wanted; says what is new.
    async fn turn_to(
        mut self,
        all: &[Topic],
        wanted: BTreeSet<usize>,
    ) -> Result<(Self, Vec<usize>), Error> {
        let new: Vec<usize> = wanted.difference(&self.topics).copied().collect();
        let old: Vec<usize> = self.topics.difference(&wanted).copied().collect();
        let changes = new.iter().map(|t| (*t, true));
        for (topic, on) in changes.chain(old.iter().map(|t| (*t, false))) {
            let (begin, end) = all[topic].kind.verbs();
            let mut cmd = redis::cmd(if on { begin } else { end });
            cmd.arg(&*all[topic].name);
            self.call(&cmd).await?;
        }
        self.topics = wanted;
        Ok((self, new))
    }

    async fn call(&self, cmd: &redis::Cmd) -> Result<(), Error> {
        let limit = self.backend.limits().response_timeout;
        let began = clock::now();
        let result = self.link.call(Request::One(cmd), Some(limit)).await;
        match result {
            Ok(reply) if reply.class().is_none() => Ok(()),
            Ok(reply) => {
                let epoch = self.link.epoch();
                if self.backend.answered(&reply, epoch, began, None) == ConnectionAction::Discard {
                    self.link.wire().retire();
                }
                let refused = reply.into_value().extract_error().err();
                refused.map_or(Ok(()), |e| Err(Error::answered(self.backend.id(), e)))
            }
            Err(e) => Err(self.failed(e, began, limit)),
        }
    }

    fn failed(&self, e: LinkError, began: Instant, limit: Duration) -> Error {
        self.link.wire().retire();
        if e.fault != Fault::Misuse {
            self.backend
                .observe_call(&e, self.link.epoch(), began, Some(limit), false);
        }
        self.backend.call_error(e, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_again_and_again_is_tried_ever_more_rarely() {
        let waits: Vec<_> = (1..8).map(|n| back_off(n).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(back_off(u32::MAX), RETRY_AT_MOST);
    }
}
