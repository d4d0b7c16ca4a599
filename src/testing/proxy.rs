//! A proxy in front of one server, which does to what passes through it what a network does.

mod conn;
mod frames;

use std::collections::HashMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use self::conn::Conn;
use super::port::PortClaim;
use super::server::Server;

/// What a [`Proxy`] does to what passes through it. Counting begins when the fault is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing.
    Pass,
    /// The port is closed; established connections go on, until [`Proxy::reset_all`] ends them: with both, the server is
    /// gone.
    Refuse,
    /// New connections are accepted and hear nothing for good; established ones go on.
    Hold,
    /// Nothing passes any more, on no connection, old or new, as if a cable were cut. Those that this caught stay silent
    /// also after it, as with a firewall that has forgotten them.
    Blackhole,
    /// Every reply comes this much later.
    Delay(Duration),
    /// Replies come byte by byte, 1 ms apart.
    Slice,
    /// Every connection ends after so many bytes: those that exist count from now, new ones from their first byte.
    Cut {
        /// Whose bytes are counted.
        way: Way,
        /// How many pass.
        after: u64,
        /// What then happens.
        end: End,
    },
    /// The same for the one connection that gets there first; the others pass.
    CutOnce {
        /// Whose bytes are counted.
        way: Way,
        /// How many pass.
        after: u64,
        /// What then happens.
        end: End,
    },
    /// Replies are replaced by bytes that are no RESP.
    Garbage,
    /// So many of 100 new connections fall silent for good after this many bytes of replies.
    Gray {
        /// Of 100 connections.
        percent: u8,
        /// Bytes of replies that still pass.
        after: u64,
    },
    /// One reply is swallowed, the next that belongs to a command alone on its connection.
    Swallow,
}

/// The direction whose bytes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    Request,
    /// From the server to the client.
    Reply,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order.
    Fin,
    /// By a reset.
    Rst,
    /// It stays open, and nothing passes any more in either direction.
    Silence,
}

/// What a [`Proxy`] has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen {
    /// How often the present fault hit: connections held, cut or silent, replies delayed, sliced, replaced or swallowed.
    /// For [`Fault::Refuse`] 1 when the port is closed.
    pub fired: u64,
    /// Connections accepted since the start.
    pub accepted: u64,
    /// Connections open now.
    pub open: u64,
    /// The most connections that were open at once since the present fault was set.
    pub most: u64,
}

/// A proxy in front of one server: the same server for a client, with a network between that a test can break.
///
/// It has threads of its own and blocking sockets, so that a runtime that stalls does not stall it. Dropping it ends its
/// connections and closes its port.
pub struct Proxy {
    shared: Arc<Shared>,
    claim: PortClaim,
}

impl Proxy {
    /// A proxy in front of `server`, on a port of its own, that passes everything.
    /// [Example](crate::guide::by_example#faults-for-tests).
    pub fn start(server: &Server) -> Self {
        Self::to((Ipv4Addr::LOCALHOST, server.port()).into())
    }

    /// A proxy in front of whatever listens at `upstream`. [Example](crate::guide::by_example#faults-for-tests).
    pub fn to(upstream: SocketAddr) -> Self {
        let claim = PortClaim::new();
        let shared = Arc::new(Shared {
            port: claim.port(),
            upstream,
            state: Mutex::default(),
            listening: AtomicBool::new(false),
        });
        shared.listen();
        Self { shared, claim }
    }

    /// The port that clients connect to, of 127.0.0.1. [Example](crate::guide::by_example#faults-for-tests).
    pub fn port(&self) -> u16 {
        self.claim.port()
    }

    /// The default name of the node behind the proxy: `127.0.0.1:port`. [Example](crate::guide::by_example#faults-for-tests).
    pub fn name(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// `redis://` and the proxy's address. [Example](crate::guide::by_example#faults-for-tests).
    pub fn url(&self) -> String {
        format!("redis://{}", self.name())
    }

    /// Sets the fault; it is in force when this returns. [Example](crate::guide::by_example#faults-for-tests).
    ///
    /// # Panics
    ///
    /// When the port cannot be opened again within 5 s, after [`Fault::Refuse`].
    pub fn set(&self, fault: Fault) {
        self.shared.set(fault);
    }

    /// Ends all present connections with RST; they are gone when this returns.
    /// [Example](crate::guide::by_example#faults-for-tests).
    pub fn reset_all(&self) {
        self.shared.reset_all();
    }

    /// What it has seen. A test whose fault did not hit has shown nothing.
    /// [Example](crate::guide::by_example#faults-for-tests).
    pub fn seen(&self) -> Seen {
        self.shared.state().seen
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("port", &self.port())
            .field("upstream", &self.shared.upstream)
            .field("seen", &self.seen())
            .finish()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.close();
        self.shared.reset_all();
    }
}

struct Shared {
    port: u16,
    upstream: SocketAddr,
    state: Mutex<State>,
    /// Whether the accepting thread is to go on.
    listening: AtomicBool,
}

struct State {
    fault: Fault,
    /// Counts the faults set so far: a connection that sees a new number counts from 0 again.
    armed: u64,
    seen: Seen,
    /// Hundredths of a connection owed to [`Fault::Gray`].
    gray: u32,
    conns: HashMap<u64, Arc<Conn>>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            fault: Fault::Pass,
            armed: 0,
            seen: Seen::default(),
            gray: 0,
            conns: HashMap::new(),
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hit(&self) {
        self.state().seen.fired += 1;
    }

    fn set(self: &Arc<Self>, fault: Fault) {
        {
            let mut state = self.state();
            state.fault = fault;
            state.armed += 1;
            state.gray = 0;
            state.seen.fired = 0;
            state.seen.most = state.seen.open;
            if fault == Fault::Blackhole {
                state.conns.values().for_each(|conn| conn.end(End::Silence));
                state.seen.fired = state.seen.open;
            }
        }
        if fault == Fault::Refuse {
            self.close();
            self.state().seen.fired = 1;
        } else if !self.listening.load(SeqCst) {
            self.listen();
        }
    }

    /// Closes the port.
    fn close(&self) {
        let here = (Ipv4Addr::LOCALHOST, self.port);
        if self.listening.swap(false, SeqCst) {
            // Wakes the accepting thread, which closes the port.
            drop(TcpStream::connect(here));
        }
        while TcpStream::connect(here).is_ok() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn listen(self: &Arc<Self>) {
        let began = Instant::now();
        let listener = loop {
            match TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)) {
                Ok(listener) => break listener,
                // The port is claimed, but a stranger's socket may linger on it for a moment.
                Err(e) => assert!(began.elapsed() < Duration::from_secs(5), "{e}"),
            }
            thread::sleep(Duration::from_millis(5));
        };
        self.listening.store(true, SeqCst);
        let shared = Arc::clone(self);
        thread::spawn(move || {
            for client in listener.incoming() {
                if !shared.listening.load(SeqCst) {
                    return;
                }
                if let Ok(client) = client {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || conn::serve(&shared, client));
                }
            }
        });
    }

    fn reset_all(&self) {
        let ids: Vec<_> = {
            let state = self.state();
            state.conns.values().for_each(|conn| conn.end(End::Rst));
            state.conns.keys().copied().collect()
        };
        while ids.iter().any(|id| self.state().conns.contains_key(id)) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}
