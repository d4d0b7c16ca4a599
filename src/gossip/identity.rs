//! Who an instance is: where it is reached, and which start of it this is.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// An instance: 13 bytes on the wire for IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Id {
    /// Where the others send to.
    pub(crate) addr: SocketAddr,
    /// Milliseconds of the wall clock at its start, more at each renewal: of two at one address the higher is meant.
    pub(crate) generation: u64,
}

impl Id {
    pub(crate) fn new(addr: SocketAddr, generation: u64) -> Self {
        Self {
            addr: plain(addr),
            generation,
        }
    }

    /// Whoever is at this address: for those of whom nothing else is known.
    pub(crate) fn whoever(addr: SocketAddr) -> Self {
        Self::new(addr, 0)
    }

    /// Whether an instance can be sent to at all: what peers tell may be nonsense.
    pub(crate) fn is_reachable(&self) -> bool {
        is_reachable(self.addr)
    }
}

/// Whether somebody can be sent to there.
pub(crate) fn is_reachable(addr: SocketAddr) -> bool {
    let is_many = match addr.ip() {
        IpAddr::V4(ip) => ip.is_broadcast() || ip.is_multicast(),
        IpAddr::V6(ip) => ip.is_multicast(),
    };
    !addr.ip().is_unspecified() && addr.port() != 0 && !is_many
}

/// An address as it comes out of the wire: without scope and flow, which peers do not share, and an IPv4 address in
/// the clothes of IPv6 as what it is.
pub(crate) fn plain(addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V4(_) => addr,
        IpAddr::V6(ip) => {
            let ip = ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4);
            SocketAddr::new(ip, addr.port())
        }
    }
}

/// An address that no instance has.
pub(crate) const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.addr, self.generation)
    }
}
