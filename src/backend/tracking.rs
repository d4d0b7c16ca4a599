//! The connection of a node over which a near cache reads, and its server tells of what changes.
//!
//! It is no lane: nothing is on it but reads of a near cache and questions, so that nobody else's time-out empties the
//! cache, and what the application reads stays in the protocol that it was configured for. It is dialled by the first
//! read that could use it, and never waited for: without it reads go to the lane.

mod ear;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwapOption, Guard};
use parking_lot::Mutex;
use redis::{Cmd, Pipeline, PushInfo, Value};

use self::ear::Ear;
use super::Backend;
use crate::backend::Trouble;
use crate::backend::lane::NoLane;
use crate::clock::{self, later, micros, now_micros};
use crate::connection::link::{Fault, Link};
use crate::connection::reply::Reply;
use crate::connection::request::Request;
use crate::error::text::one_line;
use crate::health::verdict::{ConnectionAction, Seen};
use crate::near::{Answered, Current, Registry};

/// After a failure the next dial waits this long, and twice as long after each further one.
const RETRY: Duration = Duration::from_millis(100);
/// ... up to this. A server that refuses is asked again as rarely.
const RETRY_AT_MOST: Duration = Duration::from_secs(60);
/// What failed so often in a row lasts, and is said.
const LASTS: u32 = 6;
/// A connection that was of use is missed: it is dialled again after a second at the latest.
const WORKED: u32 = 3;
/// A connection that ended sooner counts as a failure like the ones before it.
const LIVED: Duration = Duration::from_secs(10);

/// Whether a node's server tells a near cache of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum NearState {
    /// Nothing was read from it yet that could be kept.
    Unused,
    On,
    /// There is no connection now.
    Lost,
    /// The server does not tell, or speaks no RESP3.
    Refused,
    /// It says that it tells, and does not.
    Mute,
}

/// What a node has for near caches.
#[derive(Debug)]
pub(crate) struct NearSide {
    current: ArcSwapOption<Tracking>,
    /// Guards who dials; held for a look.
    dial: Mutex<Dial>,
    state: AtomicU8,
    trouble: Trouble,
}

#[derive(Debug, Default)]
struct Dial {
    is_running: bool,
    not_before: Option<Instant>,
    failures: u32,
}

impl Default for NearSide {
    fn default() -> Self {
        Self {
            current: ArcSwapOption::empty(),
            dial: Mutex::default(),
            state: AtomicU8::new(NearState::Unused as u8),
            trouble: Trouble::default(),
        }
    }
}

/// The connection, and what it proves.
#[derive(Debug)]
pub(crate) struct Tracking {
    link: Link,
    current: Arc<Current>,
    /// Somebody asks for a sign of life.
    is_asking: AtomicBool,
}

impl Tracking {
    pub(crate) fn current(&self) -> &Current {
        &self.current
    }
}

impl NearSide {
    /// The connection in use. Whether anything is told over it any more, its [`Current`] knows.
    pub(crate) fn tracking(&self) -> Guard<Option<Arc<Tracking>>> {
        self.current.load()
    }

    pub(crate) fn state(&self) -> NearState {
        let state = self.state.load(Relaxed);
        let all = [
            NearState::Unused,
            NearState::On,
            NearState::Lost,
            NearState::Refused,
        ];
        let found = all.into_iter().find(|one| *one as u8 == state);
        found.unwrap_or(NearState::Mute)
    }

    fn be(&self, state: NearState) {
        self.state.store(state as u8, Relaxed);
    }

    /// The node went out, or is given up: nothing from before is current after it.
    pub(super) fn shut(&self) {
        if let Some(tracking) = self.current.swap(None) {
            self.be(NearState::Lost);
            tracking.end();
        }
    }

    /// The connection is of no use any more.
    fn lose(&self, tracking: &Arc<Tracking>, state: NearState, now: Instant) {
        tracking.end();
        let current = self.current.load();
        let is_it = current
            .as_ref()
            .is_some_and(|now| Arc::ptr_eq(now, tracking));
        if !is_it {
            return;
        }
        let before = self.current.compare_and_swap(&*current, None);
        if before
            .as_ref()
            .is_none_or(|before| !Arc::ptr_eq(before, tracking))
        {
            return;
        }
        self.be(state);
        let mut dial = self.dial.lock();
        if tracking.link.age() >= LIVED {
            dial.failures = 0;
        } else if tracking.current.judged().1 > 0 {
            // It worked, and may again.
            dial.failures = dial.failures.min(WORKED);
        }
        dial.failed(state, now);
    }
}

impl Dial {
    fn failed(&mut self, state: NearState, now: Instant) {
        let doubled = 1_u32 << self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        let wait = match state {
            NearState::Refused | NearState::Mute => RETRY_AT_MOST,
            _ => RETRY.saturating_mul(doubled).min(RETRY_AT_MOST),
        };
        self.not_before = Some(later(now, wait));
    }
}

impl Tracking {
    fn end(&self) {
        self.current.end();
        self.link.close();
    }
}

/// Why there is no connection.
enum NotTracked {
    Refused(String),
    Failed(String),
}

impl Backend {
    pub(crate) fn near(&self) -> &NearSide {
        &self.near
    }

    /// Dials, unless somebody does, or did in vain a moment ago.
    pub(crate) fn track(self: &Arc<Self>, registry: &Arc<Registry>) {
        let now = clock::now();
        {
            let mut dial = self.near.dial.lock();
            if dial.is_running || dial.not_before.is_some_and(|at| now < at) {
                return;
            }
            dial.is_running = true;
        }
        let (duty, registry) = (Duty(Arc::clone(self)), Arc::clone(registry));
        // A cluster that closes has no use for it, and a caller without a runtime goes to the lane.
        let _ = self
            .dialer
            .tasks
            .spawn(async move { duty.run(&registry).await });
    }

    /// Nothing is told over it any more.
    pub(crate) fn forsake(&self, ended: &Arc<Tracking>) {
        self.near.lose(ended, NearState::Lost, clock::now());
    }

    async fn new_tracking(
        self: &Arc<Self>,
        registry: &Arc<Registry>,
    ) -> Result<Tracking, NotTracked> {
        let current = Arc::new(Current::new());
        let ear = Ear {
            current: Arc::clone(&current),
            registry: Arc::clone(registry),
            told: metrics::counter!("fluster_near_told_total", self.labels()),
            flushed: metrics::counter!("fluster_near_flushes_total", self.labels()),
        };
        let ear = Arc::new(move |push: PushInfo| ear.hear(&push));
        let link = self.listen_near(ear).await.map_err(|why| match why {
            // Its password is another matter, which the lane will tell of.
            NoLane::Dial(e) => match e.seen {
                Seen::Error(_) => NotTracked::Refused(e.error.to_string()),
                _ => NotTracked::Failed(e.error.to_string()),
            },
            _ => NotTracked::Failed("the node is out".to_owned()),
        })?;
        let mut steps = Pipeline::new();
        // Once more, for its answer: a server that speaks RESP2 takes the second one and never tells anything.
        steps.cmd("HELLO").arg("3");
        steps.cmd("CLIENT").arg("TRACKING").arg("ON");
        let limit = self.limits.response_timeout;
        let said = link.call(Request::Many(&steps), Some(limit)).await;
        let said = said.map_err(|e| NotTracked::Failed(e.error.to_string()))?;
        match said.into_values().as_slice() {
            [Value::Map(hello), Value::Okay] if is_resp3(hello) => {}
            [Value::ServerError(e), _] | [_, Value::ServerError(e)] => {
                return Err(NotTracked::Refused(format!(
                    "{} {}",
                    e.code(),
                    e.details().unwrap_or_default()
                )));
            }
            _ => {
                return Err(NotTracked::Refused(
                    "the server does not speak RESP3".to_owned(),
                ));
            }
        }
        Ok(Tracking {
            link,
            current,
            is_asking: AtomicBool::new(false),
        })
    }

    /// Reads `key` over the connection, at `now`, whose number was taken before; the answer, and what to keep it by.
    /// `None` when there is none that says something: then the lane is asked.
    ///
    /// # Cancellation
    ///
    /// Safe.
    pub(crate) async fn read_tracked(
        self: &Arc<Self>,
        tracking: &Arc<Tracking>,
        key: &[u8],
        now: Instant,
        limit: Duration,
    ) -> Option<Answered> {
        let mut both = Pipeline::with_capacity(2);
        both.cmd("GET").arg(key).cmd("PTTL").arg(key);
        let request = Request::Many(&both);
        let reply = self.question(tracking, request, now, limit).await?;
        if self.answered(&reply, tracking.link.epoch(), now, Some(now)) == ConnectionAction::Discard
        {
            self.near.lose(tracking, NearState::Lost, clock::now());
        }
        let mut values = reply.into_values().into_iter();
        match (values.next()?, values.next()?) {
            (Value::BulkString(bytes), Value::Int(left)) => {
                Some(Answered::Value(bytes.into(), left))
            }
            (Value::Nil, Value::Int(left)) => Some(Answered::Nothing(left)),
            _ => None,
        }
    }

    /// Asks the server, so that what it told until then is known to have come; `false` when nothing came back.
    async fn question(
        self: &Arc<Self>,
        tracking: &Arc<Tracking>,
        request: Request<'_>,
        now: Instant,
        limit: Duration,
    ) -> Option<Reply> {
        let (current, before) = (&tracking.current, tracking.current.told());
        self.stats.sending();
        match tracking.link.call_from(now, request, Some(limit)).await {
            Ok(reply) => {
                if current.prove(micros(now), before) {
                    return Some(reply);
                }
                self.near.lose(tracking, NearState::Mute, clock::now());
                self.say_untracked("own writes of a hundred kept keys did not come back");
                None
            }
            Err(e) if matches!(e.fault, Fault::Saturated | Fault::Misuse) => None,
            Err(_) => {
                self.near.lose(tracking, NearState::Lost, clock::now());
                None
            }
        }
    }

    /// Asks for a sign of life, in the background, once at a time.
    pub(crate) fn ask_tracked(self: &Arc<Self>, tracking: &Arc<Tracking>, limit: Duration) {
        if tracking.is_asking.swap(true, Relaxed) {
            return;
        }
        let asking = Asking(Arc::clone(tracking));
        let backend = Arc::clone(self);
        // Without it the next read asks the server, which is a sign of life as well.
        let _ = self.dialer.tasks.spawn(async move {
            let mut ping = Cmd::new();
            ping.arg("PING");
            let request = Request::One(&ping);
            let now = clock::now();
            let _ = backend.question(&asking.0, request, now, limit).await;
        });
    }

    /// The name has led elsewhere so often: a connection from before is of no use.
    pub(super) fn leave_near(&self, moves: u64) {
        let tracking = self.near.tracking();
        if tracking
            .as_ref()
            .is_some_and(|tracking| tracking.link.moves() != moves)
        {
            self.near.shut();
        }
    }

    fn say_untracked(&self, why: &str) {
        metrics::counter!("fluster_near_refused_total", self.labels()).increment(1);
        if self.near.trouble.failed(now_micros()) {
            let why = one_line(why);
            tracing::warn!(
                node = %self.id(), %why,
                "nothing of this node is kept near: its server must speak RESP3 and allow `+client|tracking`, with no proxy in between; it is tried again once a minute"
            );
        }
    }
}

/// The server's answer says that it speaks RESP3.
fn is_resp3(hello: &[(Value, Value)]) -> bool {
    let proto = |name: &Value| match name {
        Value::BulkString(name) => name == b"proto",
        Value::SimpleString(name) => name == "proto",
        _ => false,
    };
    hello
        .iter()
        .any(|(name, value)| proto(name) && *value == Value::Int(3))
}

/// Dials, and lets others dial when it is dropped.
struct Duty(Arc<Backend>);

impl Duty {
    async fn run(self, registry: &Arc<Registry>) {
        let backend = &self.0;
        let near = &backend.near;
        match backend.new_tracking(registry).await {
            Ok(tracking) => {
                let tracking = Arc::new(tracking);
                near.current.store(Some(Arc::clone(&tracking)));
                near.be(NearState::On);
                near.trouble.worked();
                // What was taken out of use meanwhile has been looked for before it was there.
                let is_stale = tracking.link.epoch() != backend.gate.read().epoch()
                    || tracking.link.moves() != backend.moves();
                if is_stale {
                    near.shut();
                }
            }
            Err(NotTracked::Refused(why)) => {
                near.be(NearState::Refused);
                near.dial.lock().failed(NearState::Refused, clock::now());
                backend.say_untracked(&why);
            }
            Err(NotTracked::Failed(why)) => {
                near.be(NearState::Lost);
                let lasts = {
                    let mut dial = near.dial.lock();
                    dial.failed(NearState::Lost, clock::now());
                    dial.failures >= LASTS
                };
                // A node that is out is told of elsewhere.
                if lasts && backend.gate.read().admits() {
                    backend.say_untracked(&why);
                }
            }
        }
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        self.0.near.dial.lock().is_running = false;
    }
}

/// Lets others ask when it is dropped.
struct Asking(Arc<Tracking>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.is_asking.store(false, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_refuses_is_asked_again_once_a_minute_and_who_fails_ever_more_rarely() {
        let (mut dial, now) = (Dial::default(), clock::now());
        let wait = |dial: &Dial| dial.not_before.map(|at| (at - now).as_millis());
        let mut waits = Vec::new();
        for _ in 0..12 {
            dial.failed(NearState::Lost, now);
            waits.extend(wait(&dial));
        }
        assert_eq!(waits[..4], [100, 200, 400, 800]);
        assert_eq!(waits[11], 60_000);
        let mut refused = Dial::default();
        refused.failed(NearState::Refused, now);
        assert_eq!(wait(&refused), Some(60_000));
    }
}
