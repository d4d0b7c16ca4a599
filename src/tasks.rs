//! The background tasks of one cluster, and their end.

mod entered;
mod here;
mod pulse;

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinHandle};

use self::entered::Entered;
pub(crate) use self::here::runtime_here;
use self::pulse::Pulse;

/// What to do about [`SpawnError::NoRuntime`].
pub(crate) const NO_RUNTIME: &str =
    "there is no tokio runtime here: call from inside one, or build with `.runtime(..)`";

/// Lets others have a turn, before a call fails that has not waited for anything.
///
/// Callers repeat what failed. A loop over calls that are always ready never leaves its worker thread, and a few of
/// them stop a runtime for good: no timer fires, no probe brings a node back, and the loop cannot even be aborted.
pub(crate) async fn give_way() {
    tokio::task::yield_now().await;
}

/// Owns every task that a cluster starts, so that one call ends them all.
#[derive(Debug)]
pub(crate) struct Tasks {
    runtime: Option<Handle>,
    closed: AtomicBool,
    /// Whether the tasks that look after the nodes are alive.
    pulse: Pulse,
    /// Guards the handles of the running tasks; finished ones are swept out as the list grows.
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    handles: Vec<JoinHandle<()>>,
    sweep_at: usize,
}

/// The cluster is closed, or there is no tokio runtime to run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpawnError {
    Closed,
    NoRuntime,
}

impl Tasks {
    pub(crate) fn new(runtime: Option<Handle>) -> Self {
        Self {
            runtime,
            closed: AtomicBool::new(false),
            pulse: Pulse::default(),
            running: Mutex::default(),
        }
    }

    /// The runtime that tasks run on: the one that was named, else the caller's.
    pub(crate) fn runtime(&self) -> Option<Handle> {
        self.runtime.clone().or_else(|| Handle::try_current().ok())
    }

    pub(crate) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// Whether there is a runtime for the timers of a call.
    pub(crate) fn has_runtime(&self) -> bool {
        self.named().is_some() || Handle::try_current().is_ok()
    }

    /// The runtime that was named, unless it has ended: a timer there would panic.
    fn named(&self) -> Option<&Handle> {
        let runtime = self.runtime.as_ref()?;
        (self.pulse.beats() || takes_tasks(runtime)).then_some(runtime)
    }

    /// Whether the application said where everything has to run.
    pub(crate) fn is_placed(&self) -> bool {
        self.runtime.is_some()
    }

    /// The future, inside the runtime that was named, if one was: a call may then come from any thread.
    ///
    /// Whoever makes a timer or a connection must be in it. Those who await nothing but channels and other
    /// futures of ours need not, and the application's own futures must not: they run where they are
    /// polled.
    pub(crate) fn enter<F: Future>(&self, future: F) -> Entered<F> {
        Entered::new(self.named().cloned(), future)
    }

    /// Waits for `pause`, on any thread.
    pub(crate) async fn sleep(&self, pause: Duration) {
        if self.has_runtime() {
            self.enter(async { tokio::time::sleep(pause).await }).await;
        }
    }

    pub(crate) fn spawn(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Result<AbortHandle, SpawnError> {
        self.spawn_on(self.runtime(), task)
    }

    /// Runs the task where the caller runs, also when another runtime was named: that one may be asleep.
    pub(crate) fn spawn_here(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Result<AbortHandle, SpawnError> {
        self.spawn_on(Handle::try_current().ok().or_else(|| self.runtime()), task)
    }

    fn spawn_on(
        &self,
        runtime: Option<Handle>,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Result<AbortHandle, SpawnError> {
        let runtime = runtime.ok_or(SpawnError::NoRuntime)?;
        let mut running = self.running.lock();
        // Under the lock: `close` empties the list under it, so no task slips in behind it.
        if self.is_closed() {
            return Err(SpawnError::Closed);
        }
        if running.handles.len() >= running.sweep_at {
            running.handles.retain(|h| !h.is_finished());
            running.sweep_at = 2 * running.handles.len() + 16;
        }
        let handle = runtime.spawn(task);
        let abort = handle.abort_handle();
        running.handles.push(handle);
        Ok(abort)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    /// How many tasks are running.
    pub(crate) fn count(&self) -> usize {
        self.running
            .lock()
            .handles
            .iter()
            .filter(|h| !h.is_finished())
            .count()
    }

    /// Aborts every task and refuses new ones; returns what was running.
    pub(crate) fn close(&self) -> Vec<JoinHandle<()>> {
        let handles = {
            let mut running = self.running.lock();
            self.closed.store(true, SeqCst);
            std::mem::take(&mut running.handles)
        };
        for handle in &handles {
            handle.abort();
        }
        handles
    }
}

/// Whether the runtime has not ended: one that has drops a new task at once.
fn takes_tasks(runtime: &Handle) -> bool {
    let task = runtime.spawn(std::future::pending::<()>());
    let taken = !task.is_finished();
    task.abort();
    taken
}

/// Waits until aborted tasks are gone, `limit` at most: a task that never yields cannot be ended.
pub(crate) async fn wait_for(handles: Vec<JoinHandle<()>>, limit: Duration) {
    let all = async {
        for handle in handles {
            // An aborted task ends with a JoinError, which is what was asked for.
            let _ = handle.await;
        }
    };
    // Whoever is left after the limit stays aborted and goes at its next await.
    let _ = tokio::time::timeout(limit, all).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn close_ends_all_tasks_and_refuses_new_ones() {
        let tasks = Tasks::new(None);
        for _ in 0..100 {
            tasks.spawn(std::future::pending()).unwrap();
        }
        assert_eq!(tasks.count(), 100);
        wait_for(tasks.close(), Duration::from_secs(5)).await;
        assert_eq!(tasks.count(), 0);
        assert_eq!(tasks.spawn(async {}).unwrap_err(), SpawnError::Closed);
    }

    #[tokio::test]
    async fn finished_tasks_are_swept_out() {
        let tasks = Tasks::new(None);
        for _ in 0..1000 {
            tasks.spawn(async {}).unwrap();
            tokio::task::yield_now().await;
        }
        assert!(tasks.running.lock().handles.len() < 50);
    }

    #[test]
    fn a_runtime_that_has_ended_takes_no_tasks() {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let handle = runtime.handle().clone();
        let tasks = Tasks::new(Some(handle.clone()));
        assert!(takes_tasks(&handle) && tasks.has_runtime());
        runtime.shutdown_timeout(Duration::from_secs(5));
        assert!(!takes_tasks(&handle) && !tasks.has_runtime());
    }

    #[test]
    fn without_a_runtime_nothing_is_started() {
        assert_eq!(
            Tasks::new(None).spawn(async {}).unwrap_err(),
            SpawnError::NoRuntime
        );
    }
}
