//! Follows the nodes of the cluster: a consumer reads all that there are.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Weak};

use crate::cluster::events::{Event, Events};
use crate::queue::shared::{QueueShared, Source};
use crate::queue::{maintenance, reader};

/// Tells those who wait that nothing will come any more, however the task ends.
struct Ending(Weak<QueueShared>);

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.ended.store(true, SeqCst);
            shared.stocked.notify_waiters();
        }
    }
}

/// Reads every node that is part of the cluster, until the consumer is closed.
pub(crate) async fn run(shared: Arc<QueueShared>, mut events: Events) {
    let _ending = Ending(Arc::downgrade(&shared));
    // What changed since the events are heard is among them; what was before is seen here.
    settle(&shared);
    loop {
        let event = tokio::select! {
            biased;
            () = shared.closed() => return,
            event = events.next() => event,
        };
        match event {
            None => return,
            Some(Event::TopologyChanged(_) | Event::Missed(_)) => {
                settle(&shared);
                wake(&shared, |_| true);
            }
            Some(Event::NodeUp { node, .. } | Event::NodeRestored { node, .. }) => {
                wake(&shared, |source| *source.node() == node)
            }
            Some(_) => {}
        }
    }
}

fn wake(shared: &QueueShared, whom: impl Fn(&Source) -> bool) {
    for source in shared.sources().iter().filter(|s| whom(s)) {
        source.back.notify_one();
    }
}

/// Starts to read new nodes, and stops with those that are gone.
fn settle(shared: &Arc<QueueShared>) {
    let clients = shared.queue.cluster.every_client();
    for source in shared.sources() {
        // Another server under an old name is another client.
        if !clients.contains(&source.client) {
            shared.leave(source.slot);
        }
    }
    let known = shared.sources();
    for client in clients {
        if known.iter().any(|source| source.client == client) {
            continue;
        }
        let meter = shared.queue.inner.meter.of(client.node());
        let source = {
            let mut state = shared.state.lock();
            state.next += 1;
            let slot = state.next;
            let source = Arc::new(Source::new(slot, client, meter));
            state.buffer.join(slot);
            state.sources.insert(slot, Arc::clone(&source));
            source
        };
        let tasks = shared.queue.cluster.engine().tasks();
        let reader = tasks.spawn(reader::run(Arc::clone(shared), Arc::clone(&source)));
        let maintenance = tasks.spawn(maintenance::run(Arc::clone(shared), Arc::clone(&source)));
        let mut own = source.tasks.lock();
        // A cluster that is closing starts nothing more, and ends this task too.
        own.reader = reader.ok();
        own.maintenance = maintenance.ok();
    }
}
