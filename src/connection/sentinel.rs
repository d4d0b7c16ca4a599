//! Where a master listens now, as the sentinels say that watch it.
//!
//! All of them are asked at once, each within a limit of its own, for the address that Redis documents for clients
//! (`SENTINEL GET-MASTER-ADDR-BY-NAME`) and for how new that is: the master's `config-epoch`, which each failover raises.
//! So one that is cut off from the others and has not heard of a failover is outvoted by any that has. Once more than half
//! have answered the rest is waited for no longer than a moment.
//!
//! What they say is foreign: a host and a port are taken from it, and whoever listens there must say himself that he is a
//! master; see [`role`](super::role).

mod answer;
mod line;
mod watch;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{timeout, timeout_at};

use self::answer::{Answer, Named, Refusal, best};
use self::line::Line;
pub(crate) use self::watch::Watching;
use super::network::Network;
use super::resolve::Resolver;
use crate::clock::{self, later};
use crate::node::{NodeId, SentinelAddress};
use crate::tasks::Tasks;

/// The parts of what one sentinel may take that the others have, once one has answered, ...
const AFTER_ONE: u32 = 3;
/// ... and once more than half have.
const AFTER_MOST: u32 = 8;
/// The name of a sentinel's host is looked up again after this long.
const NAMES: Duration = Duration::from_secs(30);
/// A sentinel that gives no answer for this long is worth a warning.
const FAILING: Duration = Duration::from_secs(60);
/// An address whose server was no master is the last choice for this long after it was last named.
const DENIED: Duration = Duration::from_secs(60);

/// What a node's dials and look-ups share.
pub(crate) struct Setting {
    pub(crate) node: NodeId,
    pub(crate) network: Network,
    pub(crate) lookups: Arc<Semaphore>,
    pub(crate) tasks: Arc<Tasks>,
    /// How long one sentinel may take: its name, its connection, its answer. A dial that waits for it has more.
    pub(crate) limit: Duration,
    /// Those of the node's metrics.
    pub(crate) labels: Vec<metrics::Label>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<tokio_rustls::TlsConnector>,
}

/// The sentinels of one master.
pub(crate) struct Sentinels {
    address: SentinelAddress,
    setting: Setting,
    /// Where each of them is; as many as the address has.
    places: Vec<Resolver>,
    /// Guards what is remembered of their answers; held for a look.
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The highest epoch that was followed.
    epoch: u64,
    /// Who gives no answer, since when, and whether that was said.
    failing: Vec<Option<(Instant, bool)>>,
    /// What was said of a server that was none, and when it was said last.
    denied: Option<(Answer, Instant)>,
    /// What leads to the host that they named last, when that is a name.
    named: Option<(String, u16, Arc<Resolver>)>,
}

/// Where the master listens.
pub(super) struct Found {
    pub(super) addrs: BTreeSet<SocketAddr>,
    /// As they said it: what its certificate is for.
    pub(super) host: String,
}

impl std::fmt::Debug for Sentinels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sentinels")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Sentinels {
    pub(crate) fn new(address: SentinelAddress, setting: Setting) -> Self {
        let place = |(host, port): &(String, u16)| {
            let lookups = Arc::clone(&setting.lookups);
            Resolver::new(host, *port, lookups).on(setting.network.clone())
        };
        let places: Vec<_> = address.hosts.iter().map(place).collect();
        let known = Known {
            failing: vec![None; places.len()],
            ..Known::default()
        };
        Self {
            known: Mutex::new(known),
            places,
            address,
            setting,
        }
    }

    /// The master's name.
    pub(super) fn master(&self) -> &str {
        &self.address.master
    }

    /// Whoever listens there is no master: for a while another answer is better, and how new the wrong one was is of no
    /// account.
    pub(super) fn deny(&self, host: &str, port: u16) {
        let mut known = self.known.lock();
        let named = Named {
            host: host.to_owned(),
            port,
        };
        let epoch = std::mem::take(&mut known.epoch);
        known.denied = Some((Answer { named, epoch }, clock::now()));
    }

    /// Asks them all.
    ///
    /// # Errors
    ///
    /// None of them named an address, with what each said; or what they named is a name that leads nowhere.
    pub(super) async fn ask(&self) -> io::Result<Found> {
        let named = self.agreed().await?;
        let addrs = self.addresses_of(&named).await?;
        Ok(Found {
            addrs,
            host: named.host,
        })
    }

    async fn agreed(&self) -> io::Result<Named> {
        let all = self.places.len();
        let ask = |n| async move { (n, self.ask_one(n).await) };
        let mut asked: FuturesUnordered<_> = (0..all).map(ask).collect();
        let (mut answers, mut refusals) = (Vec::new(), Vec::new());
        let mut enough = None;
        loop {
            let next = match enough {
                None => asked.next().await,
                // Whoever has not answered by now is not blamed for it.
                Some(until) => timeout_at(until, asked.next()).await.unwrap_or(None),
            };
            match next {
                None => break,
                Some((n, Ok(answer))) => {
                    self.answered(n);
                    answers.push(answer);
                }
                Some((n, Err(refusal))) => {
                    self.refused(n, &refusal);
                    refusals.push(format!("{} {refusal}", self.name(n)));
                }
            }
            let part = match answers.len() {
                0 => continue,
                some if some * 2 > all => AFTER_MOST,
                _ => AFTER_ONE,
            };
            let until: tokio::time::Instant = later(clock::now(), self.setting.limit / part).into();
            enough = Some(enough.map_or(until, |before| until.min(before)));
        }
        let mut known = self.known.lock();
        let now = clock::now();
        let is_over = |at: Instant| now.saturating_duration_since(at) > DENIED;
        drop(known.denied.take_if(|(_, at)| is_over(*at)));
        if let Some((denied, at)) = &mut known.denied
            && answers.iter().any(|answer| answer.is_as_wrong_as(denied))
        {
            *at = now;
        }
        let denied = known.denied.as_ref().map(|(answer, _)| answer);
        let Some((named, epoch)) = best(&answers, all, known.epoch, denied) else {
            let stale = (!answers.is_empty()).then(|| "older news than is known".to_owned());
            refusals.extend(stale);
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!(
                    "no sentinel names the master {:?}: {}",
                    self.address.master,
                    refusals.join("; ")
                ),
            ));
        };
        known.epoch = epoch;
        Ok(named)
    }

    /// One sentinel's answer.
    async fn ask_one(&self, n: usize) -> Result<Answer, Refusal> {
        let asked = async {
            let mut line = self.line(n).await?;
            let master = self.master();
            line.say(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", master]);
            line.say(&["SENTINEL", "MASTER", master]);
            line.flush().await?;
            let address = line.hear().await?;
            let about = line.hear().await?;
            Answer::of(&address, &about)
        };
        match timeout(self.setting.limit, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(Refusal::silent(self.setting.limit)),
        }
    }

    /// A connection to one of them, logged in.
    async fn line(&self, n: usize) -> Result<Line, Refusal> {
        let place = &self.places[n];
        let tasks = &self.setting.tasks;
        if place.is_older_than(NAMES) {
            // A closed cluster needs no address; nobody is to be told.
            let _ = place.look_up(tasks, || {});
        }
        let addrs = place.addresses(tasks, self.setting.limit).await;
        let addrs = addrs.map_err(|e| Refusal::unreachable(&e))?;
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for addr in addrs {
            match self.setting.network.connect(addr).await {
                Ok(socket) => {
                    place.prefer(addr);
                    let socket = self.encrypt(n, socket).await?;
                    let mut line = Line::new(socket);
                    line.log_in(&self.address).await?;
                    return Ok(line);
                }
                Err(e) => last = e,
            }
        }
        // It may be elsewhere by now.
        let _ = place.look_up(tasks, || {});
        Err(Refusal::unreachable(&last))
    }

    #[cfg(feature = "tls")]
    async fn encrypt(
        &self,
        n: usize,
        socket: super::socket::Socket,
    ) -> Result<super::socket::Socket, Refusal> {
        use super::socket::Socket;
        match (&self.setting.tls, socket) {
            (Some(connector), Socket::Tcp(stream)) => {
                let (host, _) = &self.address.hosts[n];
                let stream = super::tls::handshake(connector, host, stream).await;
                let stream = stream.map_err(|e| Refusal::unreachable(&e))?;
                Ok(Socket::Tls(Box::new(stream)))
            }
            (_, socket) => Ok(socket),
        }
    }

    #[cfg(not(feature = "tls"))]
    #[allow(clippy::unused_async, reason = "the signature of the feature's twin")]
    async fn encrypt(
        &self,
        _n: usize,
        socket: super::socket::Socket,
    ) -> Result<super::socket::Socket, Refusal> {
        Ok(socket)
    }

    /// What the host leads to that they named: itself, when it is an address.
    async fn addresses_of(&self, named: &Named) -> io::Result<BTreeSet<SocketAddr>> {
        if let Ok(ip) = named.host.parse() {
            return Ok(BTreeSet::from([SocketAddr::new(ip, named.port)]));
        }
        let place = {
            let mut known = self.known.lock();
            let same = known.named.take();
            let same = same.filter(|(host, port, _)| (host, port) == (&named.host, &named.port));
            let (host, port, place) = same.unwrap_or_else(|| {
                let lookups = Arc::clone(&self.setting.lookups);
                let place = Resolver::new(&named.host, named.port, lookups);
                let place = place.on(self.setting.network.clone());
                (named.host.clone(), named.port, Arc::new(place))
            });
            known.named = Some((host, port, Arc::clone(&place)));
            place
        };
        if let Some(asked) = place.look_up(&self.setting.tasks, || {}) {
            asked.for_a_moment().await;
        }
        let addrs = place
            .addresses(&self.setting.tasks, self.setting.limit)
            .await?;
        Ok(addrs.into_iter().collect())
    }

    /// Where a sentinel is, for those who read it.
    fn name(&self, n: usize) -> String {
        let (host, port) = &self.address.hosts[n];
        match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        }
    }

    fn answered(&self, n: usize) {
        let was = self.known.lock().failing[n].take();
        if was.is_some_and(|(_, said)| said) {
            let (node, sentinel) = (&self.setting.node, self.name(n));
            tracing::info!(%node, %sentinel, "the sentinel answers again");
        }
    }

    fn refused(&self, n: usize, refusal: &Refusal) {
        let (node, sentinel) = (&self.setting.node, self.name(n));
        tracing::debug!(%node, %sentinel, %refusal, "a sentinel named no master");
        let mut labels = self.setting.labels.clone();
        labels.push(metrics::Label::new("reason", refusal.reason()));
        metrics::counter!("fluster_sentinel_refused_total", labels).increment(1);
        let now = clock::now();
        let is_news = {
            let mut known = self.known.lock();
            let (since, said) = known.failing[n].get_or_insert((now, false));
            let long = now.saturating_duration_since(*since) >= FAILING;
            long && !std::mem::replace(said, true)
        };
        if is_news {
            tracing::warn!(%node, %sentinel, %refusal, "the sentinel has named no master for a minute; the others are asked");
        }
    }
}
