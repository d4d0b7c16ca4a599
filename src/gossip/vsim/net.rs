//! The network between them: it loses, doubles and delays.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::RngExt as _;

use super::World;

/// What the network does to datagrams.
#[derive(Clone, Debug)]
pub(super) struct Net {
    pub(super) loss: f64,
    pub(super) twice: f64,
    pub(super) delay: (u64, u64),
    /// From, to.
    pub(super) cuts: BTreeSet<(usize, usize)>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Flying {
    pub(super) at: Instant,
    order: u64,
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

impl World {
    pub(super) fn fly(&mut self, from: usize, to: SocketAddr, bytes: Vec<u8>) {
        let net = &self.net;
        let Some(target) = self.by_addr.get(&to) else {
            return;
        };
        if net.cuts.contains(&(from, *target)) {
            return;
        }
        let copies = 1 + usize::from(net.twice > 0.0 && self.rng.random_bool(net.twice));
        for _ in 0..copies {
            if net.loss > 0.0 && self.rng.random_bool(net.loss) {
                continue;
            }
            self.sent += 1;
            let delay = self
                .rng
                .random_range(1_000 * net.delay.0..=1_000 * net.delay.1);
            self.flying.push(Reverse(Flying {
                at: self.now + Duration::from_micros(100 + delay),
                order: self.sent,
                from: self.nodes[from].addr,
                to,
                bytes: bytes.clone(),
            }));
        }
    }

    pub(super) fn land(&mut self) {
        let Some(Reverse(flying)) = self.flying.pop() else {
            return;
        };
        let Some(&n) = self.by_addr.get(&flying.to) else {
            return;
        };
        let n = match self.twins {
            Some((one, twin)) if n == one && self.rng.random_bool(0.5) => twin,
            _ => n,
        };
        let (now, node) = (self.now, &mut self.nodes[n]);
        if node.paused.is_some() {
            if node.inbox.len() < 1_000 {
                node.inbox.push(flying.bytes);
            }
        } else if let Some(instance) = &mut node.instance {
            instance.datagram(now, &flying.bytes);
            self.after(n);
        }
    }
}
