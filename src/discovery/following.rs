//! The task between a source and a cluster, and the handle that stops it.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use super::endpoint::Snapshot;
use super::error::{DiscoveryError, DiscoveryErrorKind};
use super::follow::{EmptyPolicy, Follow, LeftOut};
use super::guards::{Act, Guards, Ruling};
use super::retry::Retry;
use super::{Discovery, NextSnapshot, caught};
use crate::build_error::BuildError;
use crate::cluster::{Engine, FlusterCluster};
use crate::connection::labels::labels;
use crate::node::Node;
use crate::tasks::SpawnError;

/// How often the age is reported.
const TICK: Duration = Duration::from_secs(1);
/// With nothing due.
const FAR: Duration = Duration::from_secs(3_600);

impl FlusterCluster {
    /// Keeps the set of nodes as `source` says it is, with all defaults of [`Follow`].
    ///
    /// The nodes that the cluster was built with serve until the source has answered for the first
    /// time; that answer replaces them at once. From then on a source that fails, hangs or answers with
    /// nothing changes nothing: the last list stays.
    ///
    /// # Errors
    ///
    /// [`BuildError::Closed`] after a shutdown, [`BuildError::Option`] where there is no runtime.
    ///
    /// ```no_run
    /// use fluster::FlusterCluster;
    /// use fluster::discovery::Dns;
    ///
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let cluster = FlusterCluster::from_urls(["redis://cache.internal"])?;
    /// let following = cluster.follow(Dns::new("cache.internal:6379")?)?;
    /// following.ready().await;
    /// # Ok(()) }
    /// ```
    pub fn follow(&self, source: impl Discovery + 'static) -> Result<Following, BuildError> {
        self.follow_with(source, Follow::new())
    }

    /// [`follow`](Self::follow), in another way: credentials, names, weights, guards. [Example](crate::guide::by_example#following-a-source).
    ///
    /// A cluster follows one source. While it does, nodes that are added or removed by hand stay so
    /// only until the source's next change.
    ///
    /// # Errors
    ///
    /// As [`follow`](Self::follow).
    pub fn follow_with(
        &self,
        source: impl Discovery + 'static,
        follow: Follow,
    ) -> Result<Following, BuildError> {
        let engine = self.engine();
        let (ready, _) = watch::channel(false);
        let shared = Arc::new(Shared {
            cluster: Arc::clone(&engine.limits().cluster),
            source: source.source(),
            state: Mutex::new(State {
                snapshot: Snapshot::default(),
                confirmed: Instant::now(),
                error: None,
                refused: None,
            }),
            ready,
        });
        let driver = Driver {
            engine: Arc::downgrade(engine),
            guards: Guards::new(follow.waits),
            follow,
            retry: Retry::default(),
            nodes: Vec::new(),
            warned: None,
            left_out: None,
            shared: Arc::clone(&shared),
        };
        let task = engine.tasks().spawn(driver.run(Box::new(source)));
        let task = task.map_err(|e| match e {
            SpawnError::Closed => BuildError::Closed,
            SpawnError::NoRuntime => BuildError::Option {
                name: "runtime",
                why: "there is no tokio runtime here: call from inside one, or build with `.runtime(..)`".into(),
            },
        })?;
        Ok(Following { task, shared })
    }
}

/// A cluster that follows a source of endpoints. Dropping it ends that; the nodes stay as they are.
///
/// It ends with the cluster, too.
#[must_use = "dropping it ends the following"]
pub struct Following {
    task: AbortHandle,
    shared: Arc<Shared>,
}

struct Shared {
    /// The name of the cluster that follows.
    cluster: Arc<str>,
    source: String,
    /// Guards what is told to those who ask; held for a clone.
    state: Mutex<State>,
    ready: watch::Sender<bool>,
}

struct State {
    snapshot: Snapshot,
    confirmed: Instant,
    error: Option<DiscoveryError>,
    /// Why the latest list is not in force.
    refused: Option<DiscoveryError>,
}

impl Following {
    /// Ends the following; the nodes stay as they are. The same as dropping it. [Example](crate::guide::by_example#following-a-source).
    pub fn stop(self) {}

    /// Waits until the source's first list is the set of nodes. For ever, if the source never answers or
    /// the cluster is shut down. [Example](crate::guide::by_example#following-a-source).
    ///
    /// # Cancellation
    ///
    /// Safe.
    pub async fn ready(&self) {
        let mut ready = self.shared.ready.subscribe();
        // The sender lives in `self`, so it is never gone.
        if ready.wait_for(|is| *is).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The endpoints in use; none before the first answer. [Example](crate::guide::by_example#following-a-source).
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.shared.state.lock().snapshot.clone()
    }

    /// How long ago the source gave a list that is not empty; before the first, how long it has been
    /// asked. A source that is well keeps it below a minute and a half. [Example](crate::guide::by_example#following-a-source).
    #[must_use]
    pub fn age(&self) -> Duration {
        self.shared.state.lock().confirmed.elapsed()
    }

    /// What the last attempt failed with, or why the last list was refused; `None` while the source
    /// answers and nothing is wrong with its lists. [Example](crate::guide::by_example#following-a-source).
    #[must_use]
    pub fn last_error(&self) -> Option<DiscoveryError> {
        let state = self.shared.state.lock();
        state.error.as_ref().or(state.refused.as_ref()).cloned()
    }

    /// Whether the source is still followed: the cluster is not shut down. [Example](crate::guide::by_example#following-a-source).
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.task.is_finished()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Following")
            .field("source", &self.shared.source)
            .field("age", &self.age())
            .field("running", &self.is_running())
            .finish_non_exhaustive()
    }
}

struct Driver {
    /// Not the cluster: the last handle of it must end us.
    engine: Weak<Engine>,
    guards: Guards,
    follow: Follow,
    retry: Retry,
    /// The nodes as they were last applied.
    nodes: Vec<Node>,
    /// What the log says of the source's lists already: once per episode, not per list.
    warned: Option<Ruling>,
    /// The same, of what cannot be a node.
    left_out: Option<LeftOut>,
    shared: Arc<Shared>,
}

impl Driver {
    async fn run(mut self, mut source: Box<dyn Discovery>) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pause = Duration::ZERO;
        // It may have been asked before, and would wait for a change.
        if let Err(error) = caught::refresh(&mut *source) {
            pause = self.failed(error);
        }
        loop {
            let mut next = after(pause, &mut source);
            let result = loop {
                let now = Instant::now();
                match self.guards.due(now.into_std()) {
                    Some(Act::ReadAgain) => break None,
                    Some(Act::Apply(snapshot)) => {
                        if !self.apply(snapshot) {
                            return;
                        }
                        continue;
                    }
                    None => {}
                }
                let due = self.guards.next_deadline().map(Instant::from_std);
                tokio::select! {
                    result = &mut next => break Some(result),
                    () = sleep_until(due.unwrap_or(now + FAR)) => {}
                    _ = tick.tick() => self.report_age(),
                }
            };
            drop(next);
            pause = match result {
                None => match caught::refresh(&mut *source) {
                    Ok(()) => Duration::ZERO,
                    Err(error) => self.failed(error),
                },
                Some(Ok(snapshot)) => self.seen(&snapshot),
                Some(Err(error)) => self.failed(error),
            };
        }
    }

    /// The source has answered; returns how long to wait before it is asked again.
    fn seen(&mut self, snapshot: &Snapshot) -> Duration {
        if snapshot.is_empty() && self.follow.empty == EmptyPolicy::Error {
            let (kind, source) = (DiscoveryErrorKind::NotFound, &self.shared.source);
            return self.failed(DiscoveryError::new(
                kind,
                source,
                "it has no endpoint for us",
            ));
        }
        if let Err(why) = self.follow.check_length(snapshot) {
            let (kind, source) = (DiscoveryErrorKind::Invalid, &self.shared.source);
            return self.failed(DiscoveryError::new(kind, source, why));
        }
        let verdict = self.guards.seen(snapshot, Instant::now().into_std());
        let source = &self.shared.source;
        {
            let mut state = self.shared.state.lock();
            if state.error.take().is_some() {
                tracing::info!(%source, "the source of nodes answers again");
            }
            if verdict != Ruling::Empty {
                state.confirmed = Instant::now();
            }
        }
        match verdict {
            _ if self.warned == Some(verdict) => {}
            Ruling::Held => tracing::warn!(
                %source, endpoints = snapshot.len(),
                "the source dropped more than half of the nodes: asking again before believing it"
            ),
            Ruling::Empty => {
                tracing::warn!(%source, "the source has no endpoint: the nodes stay as they are");
            }
            Ruling::Unchanged | Ruling::Soon => {}
        }
        self.warned = Some(verdict);
        metrics::gauge!("fluster_discovery_endpoints", self.shared.labels([]))
            .set(snapshot.len() as f64);
        self.count(verdict.as_str());
        self.report_age();
        self.retry.after(true, 0.0)
    }

    fn failed(&mut self, error: DiscoveryError) -> Duration {
        self.guards.failed();
        let wait = self.retry.after(false, fastrand::f64());
        self.count(error.kind().as_str());
        let mut state = self.shared.state.lock();
        // Once per outage: a source that is away for an hour is not worth a hundred lines.
        if state.error.is_none() {
            tracing::warn!("the nodes stay as they are: {error}");
        } else {
            tracing::debug!(?wait, "{error}");
        }
        state.error = Some(error);
        wait
    }

    /// Makes the snapshot the set of nodes; `false` when there is no cluster any more.
    fn apply(&mut self, snapshot: Snapshot) -> bool {
        let Some(engine) = self.engine.upgrade() else {
            return false;
        };
        let nodes = match self.made(&snapshot, &engine) {
            Ok(nodes) => nodes,
            Err(error) => {
                self.refused(error);
                return true;
            }
        };
        if nodes != self.nodes {
            match engine.change(|_| Ok(nodes.clone())) {
                Ok(_) => self.nodes = nodes,
                Err(BuildError::Closed) => return false,
                Err(e) => {
                    let (kind, source) = (DiscoveryErrorKind::Invalid, &self.shared.source);
                    self.refused(DiscoveryError::new(kind, source, e));
                    return true;
                }
            }
        }
        self.count("applied");
        {
            let mut state = self.shared.state.lock();
            state.snapshot = snapshot;
            state.refused = None;
        }
        self.shared.ready.send_replace(true);
        true
    }

    /// The nodes of a snapshot, if they can be those of this cluster.
    fn made(&mut self, snapshot: &Snapshot, engine: &Engine) -> Result<Vec<Node>, DiscoveryError> {
        let source = &self.shared.source;
        let invalid = |why: String| DiscoveryError::new(DiscoveryErrorKind::Invalid, source, why);
        let made = caught::call(source, || self.follow.made(snapshot))?.map_err(invalid)?;
        if made.left_out != self.left_out {
            if let Some(left_out) = &made.left_out {
                left_out.warn(source);
            }
            self.left_out = made.left_out;
        }
        if made.nodes.is_empty() {
            return Err(invalid("no endpoint of it becomes a node".into()));
        }
        let placement = engine.placement();
        self.follow
            .check_points(&made.nodes, placement)
            .map_err(invalid)?;
        Ok(made.nodes)
    }

    /// A list was looked at and is not applied.
    fn refused(&mut self, error: DiscoveryError) {
        self.count("refused");
        let mut state = self.shared.state.lock();
        // Once for one reason, however often the list changes beside it.
        let is_known = state
            .refused
            .as_ref()
            .is_some_and(|known| known.to_string() == error.to_string());
        match is_known {
            true => tracing::debug!("the nodes stay as they are: {error}"),
            false => tracing::error!("the nodes stay as they are: {error}"),
        }
        state.refused = Some(error);
    }

    fn count(&self, result: &'static str) {
        let labels = self.shared.labels([("result", result.to_owned())]);
        metrics::counter!("fluster_discovery_snapshots_total", labels).increment(1);
    }

    fn report_age(&self) {
        let age = self.shared.state.lock().confirmed.elapsed();
        metrics::gauge!("fluster_discovery_age_seconds", self.shared.labels([]))
            .set(age.as_secs_f64());
    }
}

impl Shared {
    /// Those of a series, after that of the source.
    fn labels<const N: usize>(&self, own: [(&'static str, String); N]) -> Vec<metrics::Label> {
        let mut all = labels("", [("source", self.source.to_string())]);
        all.extend(labels(&self.cluster, own));
        all
    }
}

/// The next snapshot, after a pause.
fn after(pause: Duration, source: &mut dyn Discovery) -> NextSnapshot<'_> {
    Box::pin(async move {
        if !pause.is_zero() {
            sleep(pause).await;
        }
        caught::next(source).await
    })
}
