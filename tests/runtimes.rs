//! Which runtime does the background work, and what becomes of a cluster whose runtime sleeps.

mod asleep;
mod blocked;
mod plain;
mod walk;

use std::time::{Duration, Instant};

use fluster::{Client, Event, FlusterCluster};
use futures_util::FutureExt as _;
use tokio::runtime::{Builder, Runtime};

use crate::support::Server;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What a program with one thread has: nothing runs but inside `block_on`.
fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn client_of(cluster: &FlusterCluster, server: &Server) -> Client {
    cluster.get_client_of_node(server.name()).unwrap()
}

/// Calls `again` until `done`, for `limit` at most; says whether it came to that.
fn within(limit: Duration, mut again: impl FnMut(), done: impl Fn() -> bool) -> bool {
    let until = Instant::now() + limit;
    while Instant::now() < until {
        again();
        if done() {
            return true;
        }
    }
    false
}

/// Lets the runtime run for a while.
fn nap(runtime: &Runtime, millis: u64) {
    runtime.block_on(async { tokio::time::sleep(ms(millis)).await });
}

fn is_out(cluster: &FlusterCluster, server: &Server) -> bool {
    !cluster.status().node(server.name()).unwrap().admits
}

/// The events so far; nobody is waited for.
fn told(events: &mut fluster::Events) -> Vec<Event> {
    std::iter::from_fn(|| events.next().now_or_never().flatten()).collect()
}

fn stalls(events: &mut fluster::Events) -> usize {
    let all = told(events);
    let stalls = all
        .iter()
        .filter(|e| matches!(e, Event::ClientStall { .. }));
    stalls.count()
}
