//! From a host name to the one address that a node's connections are dialled to.
//!
//! A name with several addresses would otherwise give every connection another server, which is fatal
//! for sharding; and a silent DNS server would be waited for at every dial. So a name is looked up in
//! the background, at most four at a time, one address per family is pinned, and the last good answer
//! is kept for as long as the resolver fails.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use socket2::{Domain, Socket, Type};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// How many look-ups may hold a thread of tokio's blocking pool at once, per cluster.
pub(crate) const LOOKUPS: usize = 4;

/// The pinned addresses of one host: at most one IPv4 and one IPv6, the preferred first.
///
/// The two families of one name are one host; when one is unreachable the other is tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pin {
    addrs: Vec<SocketAddr>,
    resolved: Option<Instant>,
}

/// Looks a node's name up and remembers the answer.
#[derive(Debug)]
pub(crate) struct Resolver {
    host: String,
    port: u16,
    /// Guards the pinned answer; held for a few instructions.
    pin: Mutex<Pin>,
    lookups: Arc<Semaphore>,
    is_literal: bool,
    refreshing: AtomicBool,
}

impl Resolver {
    pub(crate) fn new(host: &str, port: u16, lookups: Arc<Semaphore>) -> Self {
        let literal: Option<IpAddr> = host.parse().ok();
        let addrs = literal
            .map(|ip| SocketAddr::new(ip, port))
            .into_iter()
            .collect();
        Self {
            host: host.to_owned(),
            port,
            pin: Mutex::new(Pin {
                addrs,
                resolved: None,
            }),
            lookups,
            is_literal: literal.is_some(),
            refreshing: AtomicBool::new(false),
        }
    }

    /// The pinned addresses, looked up now when there are none yet.
    pub(crate) async fn addresses(&self, timeout: Duration) -> io::Result<Vec<SocketAddr>> {
        let pinned = self.pin.lock().addrs.clone();
        if !pinned.is_empty() {
            return Ok(pinned);
        }
        self.look_up(timeout).await?;
        Ok(self.pin.lock().addrs.clone())
    }

    /// The address that is dialled first.
    pub(crate) fn pinned(&self) -> Option<SocketAddr> {
        self.pin.lock().addrs.first().copied()
    }

    /// The address that answered is dialled first from now on.
    pub(crate) fn prefer(&self, addr: SocketAddr) {
        let mut pin = self.pin.lock();
        if let Some(i) = pin.addrs.iter().position(|a| *a == addr) {
            pin.addrs.swap(0, i);
        }
    }

    /// Whether the answer is a name's and older than `age`.
    pub(crate) fn is_older_than(&self, age: Duration) -> bool {
        !self.is_literal
            && self
                .pin
                .lock()
                .resolved
                .is_none_or(|at| at.elapsed() >= age)
    }

    /// Claims the one background look-up; `false` when it is running already.
    pub(crate) fn begin_refresh(&self) -> bool {
        !self.refreshing.swap(true, Relaxed)
    }

    pub(crate) fn end_refresh(&self) {
        self.refreshing.store(false, Relaxed);
    }

    /// Asks the resolver and pins its answer; tells whether the pinned addresses changed.
    ///
    /// # Errors
    ///
    /// The resolver's error, or `TimedOut`; the old answer then stays.
    pub(crate) async fn look_up(&self, timeout: Duration) -> io::Result<bool> {
        if self.is_literal {
            return Ok(false);
        }
        let late = || io::Error::new(io::ErrorKind::TimedOut, "the look-up took too long");
        let work = async {
            let permit = Arc::clone(&self.lookups)
                .acquire_owned()
                .await
                .map_err(|_| io::Error::other("the cluster was shut down"))?;
            let (host, port) = (self.host.clone(), self.port);
            // A task of its own: the permit is held until the blocking thread is free again, also
            // when nobody waits any more; otherwise a silent resolver would eat the whole pool.
            Handle::current()
                .spawn(async move {
                    let found = tokio::net::lookup_host((host.as_str(), port)).await;
                    let found = found.map(Iterator::collect::<Vec<_>>).map_err(cause_of);
                    drop(permit);
                    found
                })
                .await
                .map_err(io::Error::other)?
        };
        let found = tokio::time::timeout(timeout, work)
            .await
            .map_err(|_| late())??;
        let mut pin = self.pin.lock();
        let next = choose(&pin.addrs, found);
        if next.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the name has no address",
            ));
        }
        let changed = !pin.addrs.is_empty() && !same_host(&pin.addrs, &next);
        *pin = Pin {
            addrs: next,
            resolved: Some(Instant::now()),
        };
        Ok(changed)
    }
}

/// ENFILE and EMFILE, the same numbers on every Unix: no file descriptor is left, which is our own limit.
pub(crate) fn is_own_limit(e: &io::Error) -> bool {
    cfg!(unix) && matches!(e.raw_os_error(), Some(23 | 24))
}

/// Why a look-up failed. The C library has no word for "no file descriptor is left", and says that there is
/// no such name, or that it should be asked again: so whether there are any is tried out.
pub(crate) fn cause_of(e: io::Error) -> io::Error {
    // A look-up needs more than one at a time: a file, a socket.
    let socket = || Socket::new(Domain::IPV4, Type::DGRAM, None);
    let spare: io::Result<Vec<_>> = (0..3).map(|_| socket()).collect();
    match spare {
        Err(limit) if is_own_limit(&limit) => limit,
        _ => e,
    }
}

fn same_host(a: &[SocketAddr], b: &[SocketAddr]) -> bool {
    a.iter().any(|x| b.contains(x))
}

/// One address per family: the one in use while it is still listed, else the lowest, so that all
/// processes pick the same; the resolver's preferred family first.
fn choose(pinned: &[SocketAddr], found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(v4_first) = pinned.iter().chain(&found).next().map(SocketAddr::is_ipv4) else {
        return Vec::new();
    };
    let pick = |v4: bool| {
        let of_family = || found.iter().filter(move |a| a.is_ipv4() == v4);
        of_family()
            .find(|a| pinned.contains(a))
            .or_else(|| of_family().min())
            .copied()
    };
    [pick(v4_first), pick(!v4_first)]
        .into_iter()
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addrs(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|a| a.parse().unwrap()).collect()
    }

    #[test]
    fn one_address_per_family_is_chosen_and_kept_while_listed() {
        let two = addrs(&["10.0.0.2:1", "10.0.0.1:1"]);
        assert_eq!(
            choose(&[], two.clone()),
            addrs(&["10.0.0.1:1"]),
            "lowest, whatever the order"
        );
        assert_eq!(
            choose(&addrs(&["10.0.0.2:1"]), two),
            addrs(&["10.0.0.2:1"]),
            "in use"
        );
        let both = addrs(&["[::1]:1", "127.0.0.1:1"]);
        assert_eq!(
            choose(&[], both.clone()),
            both,
            "the resolver's family first"
        );
        assert_eq!(
            choose(&addrs(&["127.0.0.1:1"]), both),
            addrs(&["127.0.0.1:1", "[::1]:1"])
        );
        assert_eq!(
            choose(&addrs(&["10.0.0.9:1"]), addrs(&["10.0.0.3:1"])),
            addrs(&["10.0.0.3:1"])
        );
        assert!(choose(&addrs(&["10.0.0.9:1"]), vec![]).is_empty());
    }

    #[tokio::test]
    async fn a_literal_address_is_never_looked_up() {
        let resolver = Resolver::new("127.0.0.1", 7, Arc::new(Semaphore::new(0)));
        assert_eq!(
            resolver.addresses(Duration::ZERO).await.unwrap(),
            addrs(&["127.0.0.1:7"])
        );
        assert!(!resolver.look_up(Duration::ZERO).await.unwrap());
        assert!(!resolver.is_older_than(Duration::ZERO));
    }

    #[tokio::test]
    async fn a_look_up_that_finds_no_thread_ends_at_its_time_out() {
        let resolver = Resolver::new("localhost", 7, Arc::new(Semaphore::new(0)));
        let e = resolver
            .addresses(Duration::from_millis(20))
            .await
            .unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::TimedOut);
    }
}
