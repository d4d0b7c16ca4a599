//! From a host name to the one address that a node's connections are dialled to.
//!
//! A name with several addresses would otherwise give every connection another server, which is fatal
//! for sharding; and a silent DNS server would be waited for at every dial. So a name is looked up in
//! the background, once at a time and at most four names at a time, one address per family is pinned,
//! and the last good answer is kept for as long as the resolver fails.

mod pin;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use socket2::{Domain, Socket, Type};
use tokio::sync::{Semaphore, watch};
use tokio::time::{timeout, timeout_at};

use self::pin::Pin;
use crate::clock::{self, micros};
use crate::connection::network::Network;
use crate::connection::sentinel::{Sentinels, Watching};
use crate::tasks::Tasks;

/// How many look-ups may hold a thread of tokio's blocking pool at once, per cluster.
pub(crate) const LOOKUPS: usize = 4;
/// How long a look-up waits for its turn among the others.
const TURN: Duration = Duration::from_secs(1);
/// How long a dial waits for the answer that its name may have moved to; the last good address serves then.
pub(crate) const PATIENCE: Duration = Duration::from_millis(50);
/// Dials that follow each other faster share one look-up.
const GAP: Duration = Duration::from_millis(100);

/// Looks a node's name up and remembers the answer.
#[derive(Debug)]
pub(crate) struct Resolver {
    name: Arc<Name>,
    lookups: Arc<Semaphore>,
    network: Network,
    is_literal: bool,
    /// Guards who listens to the sentinels, if it is they who are asked; held for a look.
    watching: Mutex<Option<Watching>>,
}

/// Who knows where a name leads.
#[derive(Debug)]
enum Source {
    /// The resolver of this machine.
    System {
        port: u16,
    },
    Sentinels(Arc<Sentinels>),
}

#[derive(Debug)]
struct Name {
    host: String,
    source: Source,
    /// Guards the pinned answer and who asks; held for a few instructions.
    pin: Mutex<Pin>,
}

/// A look-up under way.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    began: Instant,
    end: watch::Receiver<Result<(), Failure>>,
}

/// What a look-up failed with; `io::Error` cannot be cloned.
#[derive(Clone, Debug)]
struct Failure {
    kind: io::ErrorKind,
    os: Option<i32>,
    text: Arc<str>,
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        Self {
            kind: e.kind(),
            os: e.raw_os_error(),
            text: e.to_string().into(),
        }
    }
}

impl From<&Failure> for io::Error {
    fn from(e: &Failure) -> Self {
        match e.os {
            Some(os) => Self::from_raw_os_error(os),
            None => Self::new(e.kind, &*e.text),
        }
    }
}

impl Asked {
    /// Waits for the end of the look-up.
    async fn end(mut self) -> io::Result<()> {
        // The sender goes with the claim, however that ends.
        while self.end.changed().await.is_ok() {}
        let end = self.end.borrow();
        end.as_ref().map_err(io::Error::from).copied()
    }

    /// Waits until [`PATIENCE`] after its beginning: whoever comes later to a silent resolver does not wait.
    pub(crate) async fn for_a_moment(self) {
        // What came of it is in the pin; without an answer the last address serves.
        let _ = timeout_at((self.began + PATIENCE).into(), self.end()).await;
    }
}

impl Resolver {
    pub(crate) fn new(host: &str, port: u16, lookups: Arc<Semaphore>) -> Self {
        let literal: Option<IpAddr> = host.parse().ok();
        let addrs = literal
            .map(|ip| SocketAddr::new(ip, port))
            .into_iter()
            .collect();
        Self {
            name: Arc::new(Name {
                host: host.to_owned(),
                source: Source::System { port },
                pin: Mutex::new(Pin {
                    addrs,
                    one_host: true,
                    ..Pin::default()
                }),
            }),
            lookups,
            network: Network::default(),
            is_literal: literal.is_some(),
            watching: Mutex::default(),
        }
    }

    /// One that asks the sentinels of a master.
    pub(crate) fn by_sentinels(sentinels: Sentinels, lookups: Arc<Semaphore>) -> Self {
        Self {
            name: Arc::new(Name {
                host: sentinels.master().to_owned(),
                source: Source::Sentinels(Arc::new(sentinels)),
                pin: Mutex::new(Pin {
                    one_host: true,
                    ..Pin::default()
                }),
            }),
            lookups,
            network: Network::default(),
            is_literal: false,
            watching: Mutex::default(),
        }
    }

    fn sentinels(&self) -> Option<&Arc<Sentinels>> {
        match &self.name.source {
            Source::System { .. } => None,
            Source::Sentinels(sentinels) => Some(sentinels),
        }
    }

    /// Whether sentinels are asked: who is found must say that he is a master, and the one before is left at once.
    pub(crate) fn asks_sentinels(&self) -> bool {
        self.sentinels().is_some()
    }

    /// What the sentinels call the host of their master.
    pub(crate) fn named_host(&self) -> Option<Arc<str>> {
        self.name.pin.lock().host.clone()
    }

    /// Whoever listens at this address is no master, whatever the sentinels say.
    pub(crate) fn deny(&self, addr: SocketAddr) {
        let Some(sentinels) = self.sentinels() else {
            return;
        };
        let host = {
            let pin = self.name.pin.lock();
            pin.host.clone().filter(|_| pin.addrs.contains(&addr))
        };
        if let Some(host) = host {
            sentinels.deny(&host, addr.port());
        }
    }

    /// Sees to it that somebody listens to the sentinels, where they are asked; `doubt` is called when the master may be
    /// another one. It ends with this resolver.
    pub(crate) fn watch(&self, tasks: &Tasks, doubt: impl Fn() + Send + Sync + 'static) {
        let Some(sentinels) = self.sentinels() else {
            return;
        };
        let mut watching = self.watching.lock();
        if watching.as_ref().is_none_or(Watching::is_over) {
            let task = tasks.spawn(Arc::clone(sentinels).watch(doubt));
            // A cluster that closes hears no news.
            *watching = task.ok().map(Watching::new);
        }
    }

    /// The same, asking there.
    pub(crate) fn on(self, network: Network) -> Self {
        Self { network, ..self }
    }

    /// The pinned addresses, looked up now when there are none yet.
    ///
    /// # Errors
    ///
    /// The resolver's error, or `TimedOut`.
    pub(crate) async fn addresses(
        &self,
        tasks: &Tasks,
        limit: Duration,
    ) -> io::Result<Vec<SocketAddr>> {
        let pinned = self.name.pin.lock().addrs.clone();
        if !pinned.is_empty() {
            return Ok(pinned);
        }
        // A first answer moves nobody.
        let Some(asked) = self.look_up(tasks, || {}) else {
            return Err(io::Error::other("the cluster was shut down"));
        };
        match timeout(limit, asked.end()).await {
            Ok(end) => end?,
            Err(_) => {
                let late = "the look-up took too long";
                return Err(io::Error::new(io::ErrorKind::TimedOut, late));
            }
        }
        Ok(self.name.pin.lock().addrs.clone())
    }

    /// The address that is dialled first.
    pub(crate) fn pinned(&self) -> Option<SocketAddr> {
        self.name.pin.lock().addrs.first().copied()
    }

    /// How often the name has led elsewhere; a connection from before the last time leads to the wrong server.
    pub(crate) fn moves(&self) -> u64 {
        self.name.pin.lock().moves
    }

    /// The address that answered is dialled first from now on.
    pub(crate) fn prefer(&self, addr: SocketAddr) {
        let mut pin = self.name.pin.lock();
        if let Some(i) = pin.addrs.iter().position(|a| *a == addr) {
            pin.addrs.swap(0, i);
            if !pin.one_host {
                // The other one may be another server.
                pin.addrs.truncate(1);
            }
        }
    }

    /// Whether the next address may be dialled after this failure of the one before.
    pub(crate) fn falls_back(&self, e: &io::Error) -> bool {
        self.name.pin.lock().one_host || is_no_way(e)
    }

    /// Whether it is a name that nobody has asked for since `age`, whatever came of it: a resolver that fails is no
    /// reason to ask it more often.
    pub(crate) fn is_older_than(&self, age: Duration) -> bool {
        let is_old = |at| clock::since(at) >= age;
        !self.is_literal && self.name.pin.lock().tried.is_none_or(is_old)
    }

    /// Whether the answer is a name's and from before `lost`, when the node lost a connection (in [`micros`]).
    pub(crate) fn is_older_than_loss(&self, lost: u64) -> bool {
        let asked = self.name.pin.lock().asked;
        !self.is_literal && asked.is_some_and(|at| micros(at) <= lost)
    }

    /// Whether somebody has just asked, whatever came of it.
    pub(crate) fn has_just_asked(&self, now: Instant) -> bool {
        let tried = self.name.pin.lock().tried;
        tried.is_some_and(|at| now.saturating_duration_since(at) < GAP)
    }

    /// The look-up under way.
    pub(crate) fn asking(&self) -> Option<Asked> {
        self.name.pin.lock().running.clone()
    }

    /// Joins the look-up under way, or starts one; `moved` is called, once, when the name leads elsewhere and
    /// nobody has been told yet. `None` for an address, without a runtime, and when the cluster closes.
    pub(crate) fn look_up(
        &self,
        tasks: &Tasks,
        moved: impl FnOnce() + Send + 'static,
    ) -> Option<Asked> {
        if self.is_literal {
            return None;
        }
        let (asked, claim) = self.name.claim(clock::now());
        if let Some(claim) = claim {
            let lookups = Arc::clone(&self.lookups);
            tasks
                .spawn(claim.run(lookups, self.network.clone(), moved))
                .ok()?;
        }
        Some(asked)
    }
}

impl Name {
    /// The look-up under way, or a new one and the duty to run it.
    fn claim(self: &Arc<Self>, now: Instant) -> (Asked, Option<Claim>) {
        let mut pin = self.pin.lock();
        if let Some(asked) = &pin.running {
            return (asked.clone(), None);
        }
        let never = io::Error::new(io::ErrorKind::Interrupted, "the look-up was not finished");
        let (tell, end) = watch::channel(Err(never.into()));
        let asked = Asked { began: now, end };
        pin.running = Some(asked.clone());
        pin.tried = Some(now);
        let name = Arc::clone(self);
        (asked, Some(Claim { name, tell, now }))
    }
}

/// The right to look a name up; dropped half-way, with its task or its runtime, it lets the next one ask.
struct Claim {
    name: Arc<Name>,
    tell: watch::Sender<Result<(), Failure>>,
    /// When it was claimed.
    now: Instant,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.name.pin.lock().running = None;
    }
}

impl Claim {
    /// Asks, and pins the answer, however late it comes: nobody waits for it any more then, and the thread is
    /// taken anyway.
    async fn run(self, lookups: Arc<Semaphore>, network: Network, moved: impl FnOnce()) {
        let Name { host, source, pin } = &*self.name;
        let mut called = None;
        let found = match source {
            Source::System { port } => {
                let Ok(Ok(_turn)) = timeout(TURN, lookups.acquire()).await else {
                    let all = "all look-ups at once wait for the resolver";
                    self.failed(io::Error::new(io::ErrorKind::TimedOut, all));
                    return;
                };
                network.look_up(host, *port).await.map_err(cause_of)
            }
            // Their names wait for their turns themselves.
            Source::Sentinels(sentinels) => sentinels.ask().await.map(|found| {
                called = Some(found.host.into());
                found.addrs
            }),
        };
        let found = match found {
            Ok(found) if found.is_empty() => Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the name has no address",
            )),
            found => found,
        };
        match found {
            Ok(found) => {
                let (was_failing, has_moved) = {
                    let mut pin = pin.lock();
                    let was_failing = pin.failing.take().is_some_and(|f| f.warned);
                    pin.host = called;
                    (was_failing, pin.answer(&found, self.now))
                };
                if was_failing {
                    tracing::info!(%host, "the name can be looked up again");
                }
                // Before those who wait are told: they dial at once.
                if has_moved {
                    moved();
                }
                drop(self.tell.send_replace(Ok(())));
            }
            Err(e) => self.failed(e),
        }
    }

    fn failed(&self, error: io::Error) {
        let host = &self.name.host;
        tracing::debug!(%host, %error, "look-up failed; the last address stays");
        if self.name.pin.lock().fails(self.now) {
            tracing::warn!(
                %host, %error, "the name cannot be looked up any more; its last address stays in use"
            );
        }
        drop(self.tell.send_replace(Err(error.into())));
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

/// This machine has no way to addresses of that family: nothing of the host's.
fn is_no_way(e: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, NetworkUnreachable, Unsupported};
    /// The address family is not supported.
    const EAFNOSUPPORT: i32 = 97;
    matches!(
        e.kind(),
        AddrNotAvailable | NetworkUnreachable | Unsupported
    ) || (cfg!(target_os = "linux") && e.raw_os_error() == Some(EAFNOSUPPORT))
}
