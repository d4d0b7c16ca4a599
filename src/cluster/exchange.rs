//! Two nodes that were two servers and are one now: an alarm, by the ids of the servers' runs.
//!
//! An id is new after each restart, so that two servers that exchange their addresses while they restart are not
//! seen here; the look-ups of [`address`](crate::backend) cure both.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::backend::Backend;
use crate::clock::{self, micros};
use crate::cluster::engine::Engine;
use crate::cluster::events::Event;

/// Two nodes count as two servers when they had different ids at the same time for this long: one server that
/// restarts tells one of its nodes before the other.
const TOGETHER: Duration = Duration::from_secs(1);
/// Runs remembered of each node.
const RUNS: usize = 3;

/// What each node's server said it was. Times are those of [`micros`].
#[derive(Debug, Default)]
pub(super) struct Servers {
    nodes: BTreeMap<u64, Node>,
    /// Pairs that were told of and are still one server.
    told: BTreeSet<(u64, u64)>,
}

#[derive(Debug)]
struct Node {
    runs: VecDeque<Run>,
    /// Nodes of the same number were one server when they were first seen.
    group: u64,
}

#[derive(Debug)]
struct Run {
    id: Arc<str>,
    from: u64,
    until: Option<u64>,
}

/// What is known of another node's connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Other {
    pub(super) key: u64,
    /// Its connection is established.
    pub(super) live: bool,
    /// When it lost one last, 0 for never.
    pub(super) lost: u64,
}

/// What a node's answer shows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Nodes that were another server before and are the same now, told once.
    pub(super) exchanged: Vec<u64>,
    /// Nodes that were the same server from the start: two databases, two names, or a proxy.
    pub(super) twins: Vec<u64>,
}

impl Run {
    fn end(&self, other: Other, now: u64) -> u64 {
        let lost = Some(other.lost).filter(|&lost| !other.live && lost > self.from);
        self.until.or(lost).unwrap_or(now)
    }
}

impl Servers {
    /// The server of `this` says that its run is `id`.
    pub(super) fn says(&mut self, this: Other, id: &Arc<str>, now: u64, others: &[Other]) -> Found {
        let node = self.nodes.entry(this.key).or_insert_with(|| Node {
            runs: VecDeque::new(),
            group: this.key,
        });
        if node.runs.back().is_none_or(|run| run.id != *id) {
            if let Some(last) = node.runs.back_mut() {
                let ended = Other {
                    live: false,
                    ..this
                };
                last.until = Some(last.end(ended, now));
            }
            if node.runs.len() == RUNS {
                node.runs.pop_front();
            }
            node.runs.push_back(Run {
                id: Arc::clone(id),
                from: now,
                until: None,
            });
        }
        let mut found = Found::default();
        for &other in others.iter().filter(|o| o.live && o.key != this.key) {
            self.compare(this, other, now, &mut found);
        }
        found
    }

    fn compare(&mut self, this: Other, other: Other, now: u64, found: &mut Found) {
        let (Some(a), Some(b)) = (self.nodes.get(&this.key), self.nodes.get(&other.key)) else {
            return;
        };
        let pair = (this.key.min(other.key), this.key.max(other.key));
        let (Some(of_a), Some(of_b)) = (a.runs.back(), b.runs.back()) else {
            return;
        };
        if of_a.id != of_b.id {
            self.told.remove(&pair);
            return;
        }
        if a.group == b.group {
            return;
        }
        let together = |r: &Run, s: &Run| {
            let end = r.end(this, now).min(s.end(other, now));
            Duration::from_micros(end.saturating_sub(r.from.max(s.from))) >= TOGETHER
        };
        let differ = |r: &Run| b.runs.iter().any(|s| r.id != s.id && together(r, s));
        if a.runs.iter().any(differ) {
            if self.told.insert(pair) {
                found.exchanged.push(other.key);
            }
            return;
        }
        let (from, to) = (b.group, a.group);
        for node in self.nodes.values_mut().filter(|n| n.group == from) {
            node.group = to;
        }
        found.twins.push(other.key);
    }

    pub(super) fn forget(&mut self, key: u64) {
        self.nodes.remove(&key);
        self.told.retain(|pair| pair.0 != key && pair.1 != key);
    }
}

impl Engine {
    /// The server behind a node's lane said which run it is.
    pub(super) fn identified(&self, backend: &Arc<Backend>, run_id: &Arc<str>) {
        let snapshot = self.snapshot.load();
        let seen = |b: &Arc<Backend>| Other {
            key: b.key(),
            live: b.lane().has_live(),
            lost: b.stats().last_lost(),
        };
        let others: Vec<_> = snapshot.nodes.iter().map(seen).collect();
        if others.iter().all(|other| other.key != backend.key()) {
            // Removed meanwhile.
            return;
        }
        let of = |key: &u64| snapshot.nodes.iter().find(|b| b.key() == *key);
        let now = micros(clock::now());
        let found = self.locked(|state, effects| {
            let found = state.servers.says(seen(backend), run_id, now, &others);
            for other in found.exchanged.iter().filter_map(of) {
                effects.tell(Event::SameServer {
                    node: backend.id().clone(),
                    other: other.id().clone(),
                });
            }
            found
        });
        for other in found.exchanged.iter().filter_map(of) {
            tracing::warn!(
                node = %backend.id(), other = %other.id(),
                "two nodes lead to one server: the name of one of them has moved; both are looked up"
            );
            backend.doubt_address();
            other.doubt_address();
        }
        // Their ids tell nothing, and each question costs something.
        for twin in found.twins.iter().filter_map(of) {
            twin.inquiry().no_more();
            backend.inquiry().no_more();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    /// Nodes 0, 1, ... and what was seen of their connections.
    struct Town {
        servers: Servers,
        others: Vec<Other>,
        now: u64,
    }

    impl Town {
        fn new(nodes: u64) -> Self {
            let other = |key| Other {
                key,
                live: false,
                lost: 0,
            };
            Self {
                servers: Servers::default(),
                others: (0..nodes).map(other).collect(),
                now: 1,
            }
        }

        fn says(&mut self, key: usize, id: &str) -> Found {
            self.now += 1;
            self.others[key].live = true;
            let (this, id) = (self.others[key], Arc::from(id));
            self.servers.says(this, &id, self.now, &self.others)
        }

        fn loses(&mut self, key: usize) {
            self.now += 1;
            self.others[key].live = false;
            self.others[key].lost = self.now;
        }

        fn pass(&mut self) {
            self.now += 10 * SECOND;
        }
    }

    fn exchanged(key: u64) -> Found {
        Found {
            exchanged: vec![key],
            twins: vec![],
        }
    }

    fn twins(key: u64) -> Found {
        Found {
            exchanged: vec![],
            twins: vec![key],
        }
    }

    #[test]
    fn two_servers_that_become_one_are_told_of_once() {
        let mut town = Town::new(3);
        for (key, id) in [(0, "a"), (1, "b"), (2, "c")] {
            assert_eq!(town.says(key, id), Found::default());
        }
        town.pass();
        town.loses(0);
        assert_eq!(town.says(0, "b"), exchanged(1));
        town.loses(0);
        assert_eq!(town.says(0, "b"), Found::default(), "once");
        town.loses(1);
        assert_eq!(town.says(1, "b"), Found::default(), "nor by the other one");
        town.loses(0);
        assert_eq!(town.says(0, "a2"), Found::default(), "home again");
        town.pass();
        town.loses(0);
        assert_eq!(town.says(0, "b"), exchanged(1), "another time");
    }

    #[test]
    fn one_server_under_two_names_from_the_start_is_no_exchange() {
        let mut town = Town::new(2);
        town.says(0, "x");
        assert_eq!(town.says(1, "x"), twins(0));
        // It restarts, and tells one of them long before the other is used again.
        town.pass();
        town.loses(0);
        assert_eq!(town.says(0, "y"), Found::default());
        town.pass();
        town.loses(1);
        assert_eq!(town.says(1, "y"), Found::default());
    }

    #[test]
    fn one_server_that_restarts_before_its_second_node_is_used_is_no_exchange() {
        let mut town = Town::new(2);
        town.says(0, "x");
        town.pass();
        town.loses(0);
        town.pass();
        assert_eq!(town.says(1, "y"), Found::default());
        town.pass();
        assert_eq!(town.says(0, "y"), twins(1));
    }

    #[test]
    fn what_a_node_said_before_it_lost_its_connection_is_not_compared() {
        let mut town = Town::new(2);
        town.says(0, "a");
        town.says(1, "b");
        town.pass();
        town.loses(0);
        town.loses(1);
        assert_eq!(town.says(0, "b"), Found::default(), "1 is asked again");
        assert_eq!(town.says(1, "b"), exchanged(0));
        town.servers.forget(1);
        assert!(town.servers.told.is_empty());
    }
}
