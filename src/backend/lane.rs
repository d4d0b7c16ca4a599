//! The shared connection of a node, and the one dial that everybody who needs it waits for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::clock::later;
use crate::connection::dial::DialError;
use crate::connection::link::Link;

/// After a failed dial nobody dials the node again for this long, whatever state it is in.
pub(crate) const DIAL_GAP: Duration = Duration::from_millis(100);

/// How the shared dial went; `None` while it runs.
pub(crate) type Dialled = Option<Result<Arc<Link>, NoLane>>;

/// Why there is no lane.
#[derive(Clone, Debug)]
pub(crate) enum NoLane {
    Dial(DialError),
    /// The node went out while the dial ran.
    NodeOut,
    /// A dial failed a moment ago; the next one has to wait.
    TooSoon,
    /// A reply did not come in time, and the dial that follows has brought no sign of life either: it goes on,
    /// and nobody who has somewhere else to go waits for it.
    Silent,
}

/// A node's lane and the dial that makes the next one.
#[derive(Debug)]
pub(crate) struct Lane {
    current: ArcSwapOption<Link>,
    /// Guards the decision to dial, so that any number of callers make one dial.
    dial: Mutex<Dial>,
}

#[derive(Debug)]
struct Dial {
    running: Option<watch::Sender<Dialled>>,
    /// No dial before this.
    not_before: Instant,
    last_began: Option<Instant>,
    /// A reply did not come in time, and no connection was made since.
    doubted: bool,
}

/// Why the lane is dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// There is none, or it has broken.
    NoLane,
    /// A reply did not come in time.
    TimedOut,
    /// The lane was logged in, and is not any more.
    LoggedOut,
}

/// What a caller without a lane has to do.
pub(crate) enum Turn {
    /// Somebody dials: wait for it.
    Wait(watch::Receiver<Dialled>),
    /// Nobody does: run the dial, after `delay`, and report it here.
    Dial {
        report: Report,
        receiver: watch::Receiver<Dialled>,
        delay: Duration,
        /// The node gave no answer before: see [`NoLane::Silent`].
        doubted: bool,
    },
    /// A dial failed less than [`DIAL_GAP`] ago.
    TooSoon,
}

/// The duty to say how a dial went; a report that is dropped says that the node is out.
#[derive(Debug)]
pub(crate) struct Report {
    sender: watch::Sender<Dialled>,
}

impl Lane {
    pub(crate) fn new(now: Instant) -> Self {
        let dial = Dial {
            running: None,
            not_before: now,
            last_began: None,
            doubted: false,
        };
        Self {
            current: ArcSwapOption::empty(),
            dial: Mutex::new(dial),
        }
    }

    /// The lane in use, when there is one that commands may be put on.
    pub(crate) fn get(&self) -> Option<Arc<Link>> {
        self.current
            .load_full()
            .filter(|link| link.wire().is_usable())
    }

    pub(crate) fn has_live(&self) -> bool {
        self.current
            .load()
            .as_ref()
            .is_some_and(|link| link.wire().is_usable())
    }

    /// Takes `link` out of use; what is in flight on it goes on.
    pub(crate) fn retire(&self, link: &Arc<Link>) {
        link.wire().retire();
        let current = self.current.load();
        if current.as_ref().is_some_and(|now| Arc::ptr_eq(now, link)) {
            // Another caller may have put a new link there: then the exchange fails, rightly.
            self.current.compare_and_swap(&*current, None);
        }
    }

    /// Takes the link in use out of use when it is not `fit`; a dial under way goes on.
    pub(crate) fn keep(&self, fit: impl Fn(&Link) -> bool) {
        if let Some(link) = self.current.load_full().filter(|link| !fit(link)) {
            self.retire(&link);
        }
    }

    /// Takes whatever is there out of use, and tells those who wait for a dial that the node is out.
    pub(crate) fn shut(&self) {
        if let Some(link) = self.current.swap(None) {
            link.wire().retire();
        }
        let mut dial = self.dial.lock();
        // A probe looks after it from here.
        dial.doubted = false;
        if let Some(sender) = dial.running.take() {
            sender.send_replace(Some(Err(NoLane::NodeOut)));
        }
    }

    /// Joins the running dial, or becomes the one who runs it.
    ///
    /// A lane that is there and replaced keeps [`DIAL_GAP`] to the dial before: one that times out over and over
    /// must not become a dial storm. A dial that began longer than `patience` ago, which is more than any dial
    /// takes, went to sleep with its runtime, and is not waited for.
    pub(crate) fn turn(&self, now: Instant, why: Cause, patience: Duration) -> Turn {
        let mut dial = self.dial.lock();
        dial.doubted |= why == Cause::TimedOut;
        let asleep = dial.last_began.is_some_and(|at| now > later(at, patience));
        if let (Some(sender), false) = (&dial.running, asleep) {
            return Turn::Wait(sender.subscribe());
        }
        if now < dial.not_before {
            return Turn::TooSoon;
        }
        let start = match dial.last_began {
            Some(began) if why != Cause::NoLane => now.max(began + DIAL_GAP),
            _ => now,
        };
        let (sender, receiver) = watch::channel(None);
        dial.running = Some(sender.clone());
        dial.last_began = Some(start);
        Turn::Dial {
            report: Report { sender },
            receiver,
            delay: start - now,
            doubted: dial.doubted,
        }
    }

    /// Whether an exclusive connection may be dialled now: not right after a dial that failed.
    pub(crate) fn may_dial(&self, now: Instant) -> bool {
        now >= self.dial.lock().not_before
    }

    /// The dial under way to a node that is doubted: others need not wait for longer than those who wait for it.
    pub(crate) fn doubted(&self) -> Option<watch::Receiver<Dialled>> {
        let dial = self.dial.lock();
        let running = dial.running.as_ref().filter(|_| dial.doubted);
        running.map(watch::Sender::subscribe)
    }

    /// A probe has just connected: the last failure says nothing any more.
    pub(crate) fn dial_at_will(&self, now: Instant) {
        self.dial.lock().not_before = now;
    }

    /// A dial failed: nobody dials for a while.
    pub(crate) fn dial_failed(&self, now: Instant) {
        self.dial.lock().not_before = now + DIAL_GAP;
    }

    /// Ends the dial that `report` stands for: its link goes into use, or nobody dials for a while.
    ///
    /// [`Report::tell`] comes after it, and after the verdict on a failure: who waits must find the
    /// node's new state.
    pub(crate) fn close(&self, report: &Report, result: &Result<Arc<Link>, NoLane>, now: Instant) {
        let mut dial = self.dial.lock();
        if !dial
            .running
            .as_ref()
            .is_some_and(|s| s.same_channel(&report.sender))
        {
            // The node went out meanwhile; a link that comes this late is not put in use.
            return;
        }
        dial.running = None;
        match result {
            Ok(link) => {
                dial.doubted = false;
                self.current.store(Some(Arc::clone(link)));
            }
            Err(_) => dial.not_before = now + DIAL_GAP,
        }
    }
}

impl Report {
    /// Tells everybody who waits, but for those who were told that the node is out.
    pub(crate) fn tell(&self, result: Result<Arc<Link>, NoLane>) {
        self.sender.send_if_modified(|state| {
            let open = state.is_none();
            if open {
                *state = Some(result);
            }
            open
        });
    }
}

/// Waits for the shared dial.
pub(crate) async fn outcome(mut receiver: watch::Receiver<Dialled>) -> Result<Arc<Link>, NoLane> {
    match receiver.wait_for(Option::is_some).await {
        Ok(state) => state.clone().unwrap_or(Err(NoLane::NodeOut)),
        // The dialling task was ended: the cluster is closing.
        Err(_) => Err(NoLane::NodeOut),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than any dial.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// When the dial begins that is due at `now`, which succeeds at once.
    fn dial(lane: &Lane, now: Instant, why: Cause) -> Instant {
        let Turn::Dial { delay, .. } = lane.turn(now, why, PATIENCE) else {
            panic!("somebody dials, or a dial has failed")
        };
        lane.dial.lock().running = None;
        now + delay
    }

    #[test]
    fn a_lane_that_is_replaced_over_and_over_is_dialled_once_in_a_gap() {
        let began = Instant::now();
        let lane = Lane::new(began);
        let first = dial(&lane, began, Cause::NoLane);
        assert_eq!(first, began, "the first one is due");
        // Each new lane times out 10 ms after it is there.
        let (mut now, mut last) = (began, began);
        for why in [Cause::TimedOut, Cause::LoggedOut].repeat(25) {
            now += Duration::from_millis(10);
            let start = dial(&lane, now, why);
            assert!(start >= last + DIAL_GAP, "{:?}", start - last);
            (now, last) = (start, start);
        }
        assert_eq!(now - began, DIAL_GAP * 50, "and no later than that");
        let much_later = now + DIAL_GAP * 3;
        let late = dial(&lane, much_later, Cause::TimedOut);
        assert_eq!(late, much_later, "one in a while");
    }

    #[test]
    fn a_node_is_doubted_from_a_time_out_until_it_has_a_lane_or_is_out() {
        let now = Instant::now();
        let lane = Lane::new(now);
        let doubted = |why| match lane.turn(now, why, PATIENCE) {
            Turn::Dial {
                doubted, report, ..
            } => {
                assert_eq!(lane.doubted().is_some(), doubted);
                lane.close(&report, &Err(NoLane::Silent), now);
                lane.dial_at_will(now);
                doubted
            }
            _ => panic!("nobody else dials"),
        };
        assert!(!doubted(Cause::NoLane), "the first dial");
        assert!(!doubted(Cause::LoggedOut), "it answers");
        assert!(doubted(Cause::TimedOut));
        assert!(doubted(Cause::NoLane), "the dial after it has failed");
        lane.shut();
        assert!(!doubted(Cause::NoLane), "the probes have seen to it");
    }

    #[test]
    fn a_lane_that_is_lost_is_dialled_at_once() {
        let began = Instant::now();
        let lane = Lane::new(began);
        dial(&lane, began, Cause::NoLane);
        let now = began + Duration::from_millis(10);
        assert_eq!(dial(&lane, now, Cause::NoLane), now);
    }
}
