//! What is known of a name, and what an answer changes. Pure, but for the times that it is told.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Asked;

/// A name that cannot be looked up for this long is worth a warning.
pub(super) const FAILING: Duration = Duration::from_secs(60);

/// What is known of a name: at most one IPv4 and one IPv6 address, the preferred first.
///
/// With one address of each family these are one host; when one is unreachable the other is tried.
#[derive(Debug, Default)]
pub(super) struct Pin {
    pub(super) addrs: Vec<SocketAddr>,
    /// What the host is called, where sentinels said so.
    pub(super) host: Option<Arc<str>>,
    pub(super) one_host: bool,
    /// When the question to this answer was asked.
    pub(super) asked: Option<Instant>,
    /// When the last question was asked, whatever came of it.
    pub(super) tried: Option<Instant>,
    /// How often the name has led elsewhere.
    pub(super) moves: u64,
    pub(super) running: Option<Asked>,
    pub(super) failing: Option<Failing>,
}

/// Since when a name that once had an address cannot be looked up.
#[derive(Debug)]
pub(super) struct Failing {
    since: Instant,
    pub(super) warned: bool,
}

impl Pin {
    /// Takes the answer to the question of `asked`; tells whether the name leads to another host now.
    pub(super) fn answer(&mut self, found: &BTreeSet<SocketAddr>, asked: Instant) -> bool {
        let next = choose(&self.addrs, found);
        let moved = !self.addrs.is_empty() && !same_host(&self.addrs, &next);
        self.one_host = is_one_host(found);
        self.addrs = next;
        self.asked = Some(asked);
        self.moves += u64::from(moved);
        moved
    }

    /// The question of `asked` got no answer; tells whether that has lasted for long enough to be said, once.
    pub(super) fn fails(&mut self, asked: Instant) -> bool {
        if self.addrs.is_empty() {
            // Whoever dials is told.
            return false;
        }
        let failing = self.failing.get_or_insert(Failing {
            since: asked,
            warned: false,
        });
        let long = asked.saturating_duration_since(failing.since) >= FAILING;
        long && !std::mem::replace(&mut failing.warned, true)
    }
}

pub(super) fn same_host(a: &[SocketAddr], b: &[SocketAddr]) -> bool {
    a.iter().any(|x| b.contains(x))
}

/// Whether the two families can only be two ways to one host.
pub(super) fn is_one_host(found: &BTreeSet<SocketAddr>) -> bool {
    let v4 = found.iter().filter(|a| a.is_ipv4()).count();
    v4 <= 1 && found.len() - v4 <= 1
}

/// One address per family: the one in use while it is still listed, else the lowest; IPv4 first where there is
/// one, whatever the resolver prefers. So all processes pick the same.
///
/// With several addresses of a family those of the other may be of another host, and the order is all that says
/// which one is meant: once one is in use it stays alone.
pub(super) fn choose(pinned: &[SocketAddr], found: &BTreeSet<SocketAddr>) -> Vec<SocketAddr> {
    let pick = |v4: bool| {
        let of_family = || found.iter().filter(move |a| a.is_ipv4() == v4);
        let in_use = of_family().find(|a| pinned.contains(a));
        in_use.or_else(|| of_family().next()).copied()
    };
    let first = pinned.first().is_none_or(SocketAddr::is_ipv4);
    let mut chosen: Vec<_> = [pick(first), pick(!first)].into_iter().flatten().collect();
    if !pinned.is_empty() && !is_one_host(found) {
        chosen.truncate(1);
    }
    chosen
}
