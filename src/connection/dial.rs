//! From a node's URL to an established, set-up connection, and what is learnt when there is none.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::RedisError;
use tokio::task::AbortHandle;
use tracing::Instrument as _;

use crate::clock;
use crate::connection::credentials::CredentialsProvider;
use crate::connection::decode::DecodeLimits;
use crate::connection::dial_fault::setup_fault;
#[cfg(feature = "tls")]
use crate::connection::dial_fault::tls_fault;
pub(crate) use crate::connection::driver::PushSink;
use crate::connection::driver::{Driver, Manner, Pushes};
use crate::connection::link::Link;
use crate::connection::meter::OpenConnection;
use crate::connection::network::Network;
use crate::connection::proof::Proof;
use crate::connection::queue::Bounds;
use crate::connection::resolve::{self, Resolver};
use crate::connection::role::{self, Role};
use crate::connection::setup::{Greeting, SetupFault};
use crate::connection::socket::Socket;
use crate::connection::stats::NodeStats;
use crate::connection::step::{Progress, SetupStep};
use crate::connection::tokens::Tokens;
use crate::connection::wire::Wire;
use crate::error::text::one_line;
use crate::health::verdict::{Class, Seen};
use crate::node::{Address, NodeEndpoint, NodeId};
use crate::tasks::{SpawnError, Tasks};

/// A failed dial: what was seen, for the verdict, and the error, for the caller.
#[derive(Clone, Debug)]
pub(crate) struct DialError {
    pub(crate) seen: Seen,
    /// What the server said before it hung up.
    pub(crate) line: Option<Class>,
    pub(crate) error: RedisError,
    pub(crate) began: Instant,
    /// Whoever listens there was to be a master, and says that he is none.
    pub(crate) no_master: bool,
}

impl DialError {
    /// The server that sentinels call a master says that it is none. It may be one soon, or they will say who is.
    fn no_master(addr: SocketAddr, role: &Role) -> Self {
        let text =
            format!("{addr} is called the master by its sentinels, and says that it is: {role}");
        let error = io::Error::new(io::ErrorKind::NotConnected, text);
        Self {
            no_master: true,
            ..Self::new(Seen::Error(Class::NotReady), error)
        }
    }

    fn is_auth(&self) -> bool {
        self.seen == Seen::Credentials
            || matches!(
                self.seen,
                Seen::Error(Class::NoAuth | Class::WrongPass | Class::NoPerm)
            )
    }

    fn is_hang_up(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        let ended = [
            BrokenPipe,
            ConnectionAborted,
            ConnectionReset,
            UnexpectedEof,
        ];
        matches!(self.seen, Seen::Io(kind, _) if ended.contains(&kind)) && self.line.is_none()
    }

    pub(super) fn new(seen: Seen, error: impl Into<RedisError>) -> Self {
        Self {
            seen,
            line: None,
            error: error.into(),
            began: clock::now(),
            no_master: false,
        }
    }

    pub(super) fn io(error: io::Error) -> Self {
        Self::new(Seen::Io(error.kind(), error.raw_os_error()), error)
    }

    pub(crate) fn timed_out(what: impl Into<String>) -> Self {
        Self::io(io::Error::new(io::ErrorKind::TimedOut, what.into()))
    }

    pub(crate) fn closed(why: SpawnError) -> Self {
        let text = match why {
            SpawnError::Closed => "the cluster was shut down",
            SpawnError::NoRuntime => {
                "there is no tokio runtime here: call from inside one, or build with `.runtime(..)`"
            }
        };
        Self::new(
            Seen::PoolClosed,
            io::Error::new(io::ErrorKind::ConnectionAborted, text),
        )
    }
}

/// What is wanted of a connection.
#[derive(Clone)]
pub(crate) struct Wanted {
    /// Who hears what the server pushes; the connection then speaks RESP3.
    pub(crate) ear: Option<PushSink>,
    /// The most that is read for one answer, once it is set up.
    pub(crate) limits: DecodeLimits,
    /// Whether tokens prove the order of its replies: not between what one user sends for itself.
    pub(crate) proven: bool,
}

/// What is wanted of a dial.
struct Order<'a> {
    wanted: Wanted,
    progress: &'a Progress,
}

/// Dials one node.
pub(crate) struct Dialer {
    pub(crate) node: NodeId,
    pub(crate) endpoint: NodeEndpoint,
    pub(crate) resolver: Option<Resolver>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<tokio_rustls::TlsConnector>,
    pub(crate) credentials: Option<Arc<dyn CredentialsProvider>>,
    pub(crate) timeout: Duration,
    pub(crate) stats: Arc<NodeStats>,
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) network: Network,
    pub(crate) proof: Arc<Proof>,
    /// What `CLIENT LIST` calls us.
    pub(crate) client_name: Arc<str>,
    /// How much may wait to be written on one connection.
    pub(crate) bounds: Bounds,
}

impl Dialer {
    /// Whether its connections give a password.
    pub(crate) fn logs_in(&self) -> bool {
        self.credentials.is_some() || self.endpoint.password.is_some()
    }

    /// Connects, encrypts, authenticates, selects: all within the connect time-out.
    ///
    /// `epoch` is the node's ejection count now; the link remembers it.
    pub(crate) async fn dial(
        &self,
        epoch: u64,
        open: OpenConnection,
        wanted: Wanted,
    ) -> Result<Link, DialError> {
        let began = clock::now();
        let span = tracing::debug_span!("fluster.dial", node = %self.node);
        let progress = Progress::default();
        let order = Order {
            wanted,
            progress: &progress,
        };
        let attempt = self.attempt(epoch, &order).instrument(span);
        let result = match tokio::time::timeout(self.timeout, attempt).await {
            Ok(result) => result.map(|link| link.counted(open)),
            Err(_) => Err(DialError::timed_out(progress.timed_out(self.timeout))),
        };
        result.map_err(|e| {
            NodeStats::count(&self.stats.failed_dials);
            DialError { began, ..e }
        })
    }

    async fn attempt(&self, epoch: u64, order: &Order<'_>) -> Result<Link, DialError> {
        match self.set_up(epoch, order).await {
            // A token may have been renewed a moment ago: ask for it once more.
            Err(e) if self.credentials.is_some() && e.is_auth() => self.set_up(epoch, order).await,
            // Accepted and hung up on without a word: so end the last connections of a server that is
            // just being killed. The next attempt is refused, which is proof; without it the callers
            // would wait out the gap between dials for a node that is known to be dying.
            Err(e) if e.is_hang_up() => self.set_up(epoch, order).await,
            result => result,
        }
    }

    async fn set_up(&self, epoch: u64, order: &Order<'_>) -> Result<Link, DialError> {
        let Order { wanted, progress } = order;
        progress.at(SetupStep::Credentials);
        let mut greeting = self.greeting().await?;
        let secret = greeting.password.clone().unwrap_or_default();
        let (socket, addr) = self.connect(progress).await?;
        let pushes = match &wanted.ear {
            Some(ear) => Pushes::Expected(Arc::clone(ear)),
            None if self.endpoint.resp3 => Pushes::Possible,
            None => Pushes::Never,
        };
        greeting.resp3 |= wanted.ear.is_some();
        let resp3 = greeting.resp3;
        let manner = Manner {
            pushes,
            limits: wanted.limits,
            tokens: wanted.proven.then(|| Tokens::new(&self.proof)),
        };
        let wire = Wire::new(self.bounds);
        let driver = Driver::new(socket, Arc::clone(&wire), Arc::clone(&self.stats), manner);
        // From here on, whoever drops this ends the task.
        let mut driven = Driven(None);
        let drive = || {
            let task = self.tasks.spawn(driver).map_err(DialError::closed)?;
            driven.0 = Some(task);
            Ok(())
        };
        let given = greeting.give(&wire, &self.proof, progress, drive).await;
        let is_news = given.map_err(|why| setup_fault(&wire, why, &secret))?;
        if let Some(addr) = addr.filter(|_| self.asks_sentinels()) {
            progress.at(SetupStep::Role);
            let role = role::ask(&wire, resp3).await;
            let role = role.map_err(|e| setup_fault(&wire, SetupFault::Lost(e), &secret))?;
            self.judge(addr, &role)?;
        }
        let Some(driver) = driven.keep() else {
            return Err(DialError::closed(SpawnError::Closed));
        };
        wire.setup_done();
        if is_news {
            metrics::counter!("fluster_proofs_refused_total", self.proof.labels()).increment(1);
            tracing::warn!(
                node = %self.node,
                "ECHO is forbidden to our user, so that nothing tells a Redis from another service that accepts the log-in: allow it (`+echo`)"
            );
        }
        Ok(Link::new(wire, driver, epoch))
    }

    /// Who we are, as the credentials' provider says now, or the URL.
    async fn greeting(&self) -> Result<Greeting, DialError> {
        let endpoint = &self.endpoint;
        let (user, password) = match &self.credentials {
            None => (endpoint.username.clone(), endpoint.password.clone()),
            Some(provider) => {
                let given = provider.credentials(&self.node).await.map_err(|e| {
                    let text = format!(
                        "the credentials provider failed: {}",
                        one_line(e.to_string())
                    );
                    DialError::io(io::Error::new(io::ErrorKind::PermissionDenied, text))
                })?;
                let (user, password) = given.into_parts();
                (user, Some(password))
            }
        };
        Ok(Greeting {
            user,
            password,
            db: endpoint.db,
            resp3: endpoint.resp3,
            name: Arc::clone(endpoint.client_name.as_ref().unwrap_or(&self.client_name)),
        })
    }

    fn asks_sentinels(&self) -> bool {
        self.resolver.as_ref().is_some_and(Resolver::asks_sentinels)
    }

    /// Whether the server that sentinels named is what they say. One that does not say is believed: writes will tell.
    fn judge(&self, addr: SocketAddr, role: &Role) -> Result<(), DialError> {
        if !matches!(role, Role::Other(_)) {
            return Ok(());
        }
        let mut labels = self.proof.labels();
        labels.push(metrics::Label::new("reason", "no_master"));
        metrics::counter!("fluster_sentinel_refused_total", labels).increment(1);
        if let Some(resolver) = &self.resolver {
            resolver.deny(addr);
        }
        Err(DialError::no_master(addr, role))
    }

    /// The socket, and the address where it leads if that was looked up.
    async fn connect(
        &self,
        progress: &Progress,
    ) -> Result<(Socket, Option<SocketAddr>), DialError> {
        progress.at(SetupStep::Connect);
        match &self.endpoint.address {
            #[cfg(unix)]
            Address::Unix(path) => {
                let stream = tokio::net::UnixStream::connect(path)
                    .await
                    .map_err(DialError::io)?;
                Ok((Socket::Unix(stream), None))
            }
            #[cfg(not(unix))]
            Address::Unix(_) => Err(DialError::io(io::ErrorKind::Unsupported.into())),
            Address::Tcp { host, .. } => {
                let (stream, addr) = self.connect_tcp(progress).await?;
                progress.at(SetupStep::Tls);
                Ok((self.encrypt(host, stream).await?, Some(addr)))
            }
            Address::Sentinel(_) => {
                let (stream, addr) = self.connect_tcp(progress).await?;
                progress.at(SetupStep::Tls);
                let named = self.resolver.as_ref().and_then(Resolver::named_host);
                let host = named.unwrap_or_else(|| addr.ip().to_string().into());
                Ok((self.encrypt(&host, stream).await?, Some(addr)))
            }
        }
    }

    async fn connect_tcp(&self, progress: &Progress) -> Result<(Socket, SocketAddr), DialError> {
        let Some(resolver) = &self.resolver else {
            return Err(DialError::io(io::ErrorKind::Unsupported.into()));
        };
        progress.at(SetupStep::LookUp);
        let addrs = resolver
            .addresses(&self.tasks, self.timeout)
            .await
            .map_err(|e| {
                match resolve::is_own_limit(&e) {
                    // It says nothing about the name, nor about the server.
                    true => DialError::io(e),
                    false => DialError::new(Seen::Dns, e),
                }
            })?;
        progress.at(SetupStep::Connect);
        // At most two: one of each family. The first to accept is tried first next time.
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for addr in addrs {
            match self.network.connect(addr).await {
                Ok(stream) => {
                    resolver.prefer(addr);
                    return Ok((stream, addr));
                }
                Err(e) => last = e,
            }
            if !resolver.falls_back(&last) {
                break;
            }
        }
        Err(DialError::io(last))
    }

    #[cfg(feature = "tls")]
    async fn encrypt(&self, host: &str, socket: Socket) -> Result<Socket, DialError> {
        let (connector, stream) = match (&self.tls, socket) {
            (None, socket) => return Ok(socket),
            (Some(connector), Socket::Tcp(stream)) => (connector, stream),
            (Some(_), _) => return Err(DialError::io(io::ErrorKind::Unsupported.into())),
        };
        match crate::connection::tls::handshake(connector, host, stream).await {
            Ok(stream) => Ok(Socket::Tls(Box::new(stream))),
            Err(e) => Err(tls_fault(e)),
        }
    }

    #[cfg(not(feature = "tls"))]
    #[allow(clippy::unused_async, reason = "the signature of the feature's twin")]
    async fn encrypt(&self, _host: &str, socket: Socket) -> Result<Socket, DialError> {
        Ok(socket)
    }
}

/// The task of a connection that is not handed out yet.
struct Driven(Option<AbortHandle>);

impl Driven {
    /// It is handed out.
    fn keep(mut self) -> Option<AbortHandle> {
        self.0.take()
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}
