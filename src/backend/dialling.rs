//! Getting connections: the shared dial of the lane, and the limit on concurrent dials.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout, timeout_at};

use super::Backend;
use crate::backend::lane::{Cause, DIAL_GAP, Dialled, NoLane, Report, Turn, outcome};
use crate::backend::pool::Exclusive;
use crate::clock;
use crate::connection::decode::DecodeLimits;
use crate::connection::dial::{DialError, PushSink, Wanted};
use crate::connection::link::Link;
use crate::connection::meter::Use;
use crate::connection::stats::NodeStats;
use crate::error::Error;
use crate::health::watchdog::LATENESS;

/// How many dials of callers may run at once to one node.
pub(super) const DIALS: u32 = 4;
/// ... and while it is on probation, so that a node that just came back is not overrun.
const DIALS_ON_PROBATION: u32 = 2;
/// A dial may have to wait for others that hang; it is done after so many of them at the latest.
const DIALS_IN_TURN: u32 = 3;
/// A node that gave no answer in time has this share of a dial's time to say anything to a new connection, before
/// those who wait for it go elsewhere.
const PATIENCE: u32 = 4;

impl Backend {
    /// Waits for the shared dial, running it when nobody does.
    pub(super) async fn new_lane(self: &Arc<Self>, deadline: Instant) -> Result<Arc<Link>, Error> {
        let waiting = match self.dial_lane(Cause::NoLane) {
            Ok(receiver) => timeout_at(deadline.into(), outcome(receiver)).await,
            Err(e) => {
                // As in `call`: failing at once must not starve the others.
                tokio::task::yield_now().await;
                Ok(Err(e))
            }
        };
        match waiting {
            Ok(Ok(link)) => Ok(link),
            Ok(Err(no_lane)) => {
                if matches!(no_lane, NoLane::Silent) {
                    // Nor must it keep the dial from its end.
                    tokio::task::yield_now().await;
                }
                Err(self.no_lane(no_lane))
            }
            Err(_) => Err(self.no_lane(NoLane::Dial(DialError::timed_out(
                "the deadline passed while a connection was made",
            )))),
        }
    }

    /// Joins or starts the shared dial.
    pub(super) fn dial_lane(
        self: &Arc<Self>,
        why: Cause,
    ) -> Result<watch::Receiver<Dialled>, NoLane> {
        let patience = DIALS_IN_TURN * self.dialer.timeout + DIAL_GAP;
        let now = clock::now();
        match self.lane.turn(now, why, patience) {
            Turn::Wait(receiver) => Ok(receiver),
            Turn::TooSoon => Err(NoLane::TooSoon),
            Turn::Dial {
                report,
                receiver,
                delay,
                doubted,
            } => {
                let duty = DialDuty {
                    backend: Arc::clone(self),
                    report,
                    doubted,
                    due: now + delay,
                    done: false,
                };
                self.dialer
                    .tasks
                    .spawn(duty.run(delay))
                    .map_err(|e| NoLane::Dial(DialError::closed(e)))?;
                Ok(receiver)
            }
        }
    }

    /// Dials within the node's limit on concurrent dials. The failure is the caller's to report.
    pub(crate) async fn dial(self: &Arc<Self>, kind: Use) -> Result<Link, NoLane> {
        self.dial_for(kind, None).await
    }

    /// What a connection of this kind is to be like.
    pub(crate) fn wanted(&self, kind: Use, ear: Option<PushSink>) -> Wanted {
        Wanted {
            ear,
            limits: match kind {
                Use::Probe => DecodeLimits::of_setup(),
                _ => self.limits.of_replies(),
            },
            proven: kind == Use::Lane,
        }
    }

    /// Dials a connection that hears what the server pushes.
    pub(crate) async fn listen(self: &Arc<Self>, ear: PushSink) -> Result<Link, NoLane> {
        self.dial_for(Use::Subscription, Some(ear)).await
    }

    /// The same for what the server tells of keys that were read over it.
    #[cfg(feature = "near")]
    pub(super) async fn listen_near(self: &Arc<Self>, ear: PushSink) -> Result<Link, NoLane> {
        self.dial_for(Use::Near, Some(ear)).await
    }

    async fn dial_for(self: &Arc<Self>, kind: Use, ear: Option<PushSink>) -> Result<Link, NoLane> {
        let share = match self.gate.read().on_probation() {
            true => DIALS / DIALS_ON_PROBATION,
            false => 1,
        };
        let Ok(_permit) = self.dials.acquire_many(share).await else {
            return Err(NoLane::NodeOut);
        };
        self.follow_name(false).await;
        let pass = self.gate.read();
        if !pass.settles() {
            return Err(NoLane::NodeOut);
        }
        // For exclusive connections too: without its probes a node that goes out would stay out.
        self.observer.dialling();
        NodeStats::count(&self.stats.dials);
        let moves = self.moves();
        let dial = |ear| {
            let open = self.meter.connection(kind);
            self.dialer.dial(pass.epoch(), open, self.wanted(kind, ear))
        };
        let mut dialled = dial(ear.clone()).await;
        if dialled.as_ref().is_err_and(|e| e.no_master) {
            self.seek_master().await;
        }
        let mut after = self.moves();
        if moves != after {
            // The name led elsewhere while we dialled: this one is to the wrong server.
            drop(dialled);
            dialled = dial(ear).await;
            after = after.min(self.moves());
        }
        match dialled {
            // It may have gone out while we dialled: such a link is stale before its first use.
            Ok(link) if self.gate.read().epoch() == pass.epoch() => {
                let link = link.after(after);
                self.open.add(&link);
                match self.asks_sentinels() && self.moves() != after {
                    // Whoever ended those of the old master may have missed this one.
                    true => Err(NoLane::NodeOut),
                    false => Ok(link),
                }
            }
            Ok(_) => Err(NoLane::NodeOut),
            Err(e) => Err(NoLane::Dial(e)),
        }
    }
}

impl Exclusive {
    /// Makes a new exclusive connection; a failure is reported, and holds up the next dial.
    pub(crate) async fn dial(backend: &Arc<Backend>) -> Result<Self, NoLane> {
        if !backend.gate().read().admits() {
            return Err(NoLane::NodeOut);
        }
        if !backend.lane().may_dial(clock::now()) {
            return Err(NoLane::TooSoon);
        }
        let epoch = backend.gate().read().epoch();
        match dial_while_others_wait(backend).await {
            // The dial of the lane goes on, and tells.
            Err(NoLane::Silent) => Err(NoLane::Silent),
            Ok(link) => {
                // ± 20 %: connections made together must not all be replaced together.
                let jitter = 0.8 + 0.4 * fastrand::f64();
                Ok(Self::new(
                    link,
                    backend.limits().max_lifetime.mul_f64(jitter),
                ))
            }
            Err(why) => {
                backend.lane().dial_failed(clock::now());
                backend.report_dial(epoch, &why);
                Err(why)
            }
        }
    }
}

/// Dials, and gives up with those who wait for a node that says nothing.
async fn dial_while_others_wait(backend: &Arc<Backend>) -> Result<Link, NoLane> {
    let Some(lane) = backend.lane().doubted() else {
        return dial_in_background(backend).await;
    };
    let mut dial = pin!(dial_in_background(backend));
    tokio::select! {
        biased;
        dialled = &mut dial => dialled,
        lane = outcome(lane) => match lane {
            Err(NoLane::Silent) => {
                // As in `new_lane`.
                tokio::task::yield_now().await;
                Err(NoLane::Silent)
            }
            _ => dial.await,
        },
    }
}

/// Dials on the cluster's runtime, whichever one the caller runs on: the connection may outlive the
/// caller's, and a dial in flight ends with the cluster.
async fn dial_in_background(backend: &Arc<Backend>) -> Result<Link, NoLane> {
    let (sender, receiver) = oneshot::channel();
    let ours = Arc::clone(backend);
    let dial = async move {
        // A caller who gave up has aborted this, or has no use for the connection.
        let _ = sender.send(ours.dial(Use::Dedicated).await);
    };
    let task = backend.dialer().tasks.spawn(dial);
    let mut own = OwnDial {
        backend,
        began: clock::now(),
        task: task.map_err(|e| NoLane::Dial(DialError::closed(e)))?,
        done: false,
    };
    let dialled = receiver.await;
    own.done = true;
    // Without an answer the task was ended: the cluster is closing.
    dialled.unwrap_or(Err(NoLane::NodeOut))
}

/// A dial that ends with its caller.
struct OwnDial<'a> {
    backend: &'a Arc<Backend>,
    began: Instant,
    task: AbortHandle,
    done: bool,
}

impl Drop for OwnDial<'_> {
    fn drop(&mut self) {
        self.task.abort();
        let backend = self.backend;
        // Who gives up does not see how it ends. Where all do, and nothing is heard of the node, nobody would: so the
        // shared dial tells, which has its whole time whoever waits.
        if !self.done && !backend.lane.has_live() && !backend.stats.heard_since(self.began) {
            // A cluster that closes, or a caller without a runtime, learns nothing, and needs not.
            let _ = backend.dial_lane(Cause::NoLane);
        }
    }
}

/// Runs the shared dial; when it is dropped half-way, those who wait are told.
struct DialDuty {
    backend: Arc<Backend>,
    report: Report,
    doubted: bool,
    /// When it was to begin.
    due: Instant,
    done: bool,
}

impl DialDuty {
    async fn run(mut self, delay: Duration) {
        if !delay.is_zero() {
            sleep(delay).await;
        }
        let epoch = self.backend.gate.read().epoch();
        let result = self.dial().await.map(Arc::new);
        self.done = true;
        self.backend.lane.close(&self.report, &result, clock::now());
        // The name may have led elsewhere just before the link was in use.
        self.backend.leave_old_address();
        if let Err(why) = &result {
            self.backend.report_dial(epoch, why);
        }
        let is_up = result.is_ok();
        self.report.tell(result);
        // After those who wait for the lane were told: their commands go first. Each time: it may be another
        // server by now.
        if is_up {
            self.backend.identify().await;
        }
    }

    /// Dials; tells those who wait when a node in doubt does not say a word meanwhile.
    async fn dial(&self) -> Result<Link, NoLane> {
        let mut dial = pin!(self.backend.dial(Use::Lane));
        let began = clock::now();
        // Where nothing runs between calls, a dial has no time but that of those who wait for it.
        let on_time = |due: Instant| clock::since(due) <= LATENESS;
        if self.doubted && on_time(self.due) {
            let patience = self.backend.dialer.timeout / PATIENCE;
            if let Ok(dialled) = timeout(patience, &mut dial).await {
                return dialled;
            }
            let silent = !self.backend.stats.heard_since(began);
            if silent && on_time(began + patience) && self.backend.observer.has_others() {
                self.report.tell(Err(NoLane::Silent));
            }
        }
        dial.await
    }
}

impl Drop for DialDuty {
    fn drop(&mut self) {
        if !self.done {
            let result = Err(NoLane::NodeOut);
            self.backend.lane.close(&self.report, &result, clock::now());
            self.report.tell(result);
        }
    }
}
