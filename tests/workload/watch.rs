//! The events of a cluster, as they come.

use std::sync::Arc;
use std::time::Instant;

use fluster::{Event, FlusterCluster};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

/// The events of a cluster, each with the time it was seen.
pub struct Watcher {
    seen: Arc<Mutex<Vec<(Instant, Event)>>>,
    task: JoinHandle<()>,
}

impl Watcher {
    pub fn new(cluster: &FlusterCluster) -> Self {
        let mut events = cluster.events();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Some(event) = events.next().await {
                noted.lock().push((Instant::now(), event));
            }
        });
        Self { seen, task }
    }

    pub fn events(&self) -> Vec<Event> {
        self.seen.lock().iter().map(|(_, e)| e.clone()).collect()
    }

    /// The same, each with the time it was seen.
    pub fn timed(&self) -> Vec<(Instant, Event)> {
        self.seen.lock().clone()
    }

    /// When `node` went out for the first time at or after `since`.
    pub fn down(&self, node: &str, since: Instant) -> Option<Instant> {
        self.first(
            since,
            |e| matches!(e, Event::NodeDown { node: n, .. } if *n == *node),
        )
    }

    /// When `node` was back for the first time at or after `since`.
    pub fn up(&self, node: &str, since: Instant) -> Option<Instant> {
        self.first(
            since,
            |e| matches!(e, Event::NodeUp { node: n, .. } if *n == *node),
        )
    }

    fn first(&self, since: Instant, is_it: impl Fn(&Event) -> bool) -> Option<Instant> {
        let seen = self.seen.lock();
        seen.iter()
            .find(|(at, event)| *at >= since && is_it(event))
            .map(|(at, _)| *at)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}
