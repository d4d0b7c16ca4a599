//! The servers that SRV records name.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ProtocolConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{Resolver, TokioResolver};
use tokio::time::Instant;

use super::{Discovery, DiscoveryError, DiscoveryErrorKind, Endpoint, NextSnapshot, Snapshot};

/// However long an answer may be kept, it is asked for again after this.
const LONGEST: Duration = Duration::from_secs(30);
/// Answers that may not be kept at all are still kept for this.
const SHORTEST: Duration = Duration::from_secs(1);
/// For one answer of one name server.
const PATIENCE: Duration = Duration::from_secs(2);

/// The targets of a name's SRV records ([RFC 2782](https://www.rfc-editor.org/rfc/rfc2782)).
///
/// A target is an endpoint, `target:port`, and its host is a name: its address may change and it stays the
/// same node. Of several priorities only the best (lowest) is used; servers of a worse one appear when
/// the last of the best is gone from the answer. The record's weight is the node's, 0 counts as 1. The
/// priority is in `meta`.
///
/// Records are asked for again when their time to live is over, after 30 s at most and 1 s at least. A
/// name without records, or with the target `.` ("there is no such service"), is an error, and the last
/// list stays.
///
/// Name servers are asked over TCP, and over UDP where they do not answer to that: what does not fit into
/// an answer over UDP is left out, and Consul, for one, does not say so.
///
/// ```
/// use fluster::discovery::Srv;
///
/// let source = Srv::new("_redis._tcp.cache.internal")?;
/// # Ok::<(), fluster::discovery::DiscoveryError>(())
/// ```
pub struct Srv {
    name: Name,
    /// The name servers to ask; the machine's own when there is none.
    servers: Vec<SocketAddr>,
    resolvers: Option<Resolvers>,
    /// When the last answer may not be used any more.
    until: Option<Instant>,
}

/// The same name servers, by either protocol.
struct Resolvers {
    config: ResolverConfig,
    options: ResolverOpts,
    udp: TokioResolver,
}

impl Resolvers {
    /// Asks over TCP, and over UDP where no name server answers to that.
    async fn ask(&self, name: Name) -> Result<Lookup, NetError> {
        // A connection of its own each time: one that is kept may outlive the name server, as with dnsmasq,
        // of which a child goes on answering from what it knew.
        let tcp = over(true, &self.config, self.options.clone(), 1)?;
        match tcp.srv_lookup(name.clone()).await {
            Err(NetError::Dns(said)) => Err(NetError::Dns(said)),
            Err(_) => self.udp.srv_lookup(name).await,
            found => found,
        }
    }
}

/// A resolver that asks by one protocol.
fn over(
    tcp: bool,
    config: &ResolverConfig,
    mut options: ResolverOpts,
    attempts: usize,
) -> Result<TokioResolver, NetError> {
    options.timeout = PATIENCE;
    options.attempts = attempts;
    // How long an answer is kept is decided here.
    options.cache_size = 0;
    // Answers over UDP have 512 bytes without it.
    options.edns0 = true;
    let (domain, search, mut servers) = config.clone().into_parts();
    for server in &mut servers {
        let is_wanted = |c: &ConnectionConfig| !tcp || c.protocol == ProtocolConfig::Tcp;
        server.connections.retain(is_wanted);
    }
    let config = ResolverConfig::from_parts(domain, search, servers);
    let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    builder.build()
}

impl Srv {
    /// The records of this name, such as `_redis._tcp.cache.internal`. [Example](crate::guide::by_example#srv-records).
    ///
    /// # Errors
    ///
    /// [`DiscoveryErrorKind::Config`] when that is no name of DNS.
    pub fn new(name: impl AsRef<str>) -> Result<Self, DiscoveryError> {
        let text = name.as_ref();
        let refuse = |why: String| {
            let source = format!("srv:{}", text.escape_debug());
            DiscoveryError::new(DiscoveryErrorKind::Config, source, why)
        };
        if text.is_empty() || text == "." {
            return Err(refuse(
                "the name is empty; write _redis._tcp.cache.internal".into(),
            ));
        }
        let name =
            Name::from_utf8(text).map_err(|e| refuse(format!("it is no name of DNS: {e}")))?;
        Ok(Self {
            name,
            servers: Vec::new(),
            resolvers: None,
            until: None,
        })
    }

    /// Asks this name server. Default: those of the machine (`/etc/resolv.conf`). [Example](crate::guide::by_example#srv-records).
    #[must_use]
    pub fn name_server(mut self, address: SocketAddr) -> Self {
        self.servers.push(address);
        self
    }

    fn resolvers(&mut self) -> Result<&Resolvers, DiscoveryError> {
        if self.resolvers.is_none() {
            let built = self.build();
            let why = |e| self.error(DiscoveryErrorKind::Config, format!("no resolver: {e}"));
            self.resolvers = Some(built.map_err(why)?);
        }
        match &self.resolvers {
            Some(resolvers) => Ok(resolvers),
            None => Err(self.error(DiscoveryErrorKind::Config, "no resolver")),
        }
    }

    fn build(&self) -> Result<Resolvers, NetError> {
        let (config, options) = if self.servers.is_empty() {
            read_system_conf()?
        } else {
            let servers = self.servers.iter().map(|address| {
                let at = |mut c: ConnectionConfig| {
                    c.port = address.port();
                    c
                };
                let ways = vec![at(ConnectionConfig::tcp()), at(ConnectionConfig::udp())];
                NameServerConfig::new(address.ip(), true, ways)
            });
            let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
            (config, ResolverOpts::default())
        };
        Ok(Resolvers {
            udp: over(false, &config, options.clone(), 2)?,
            config,
            options,
        })
    }

    async fn read(&mut self) -> Result<Snapshot, DiscoveryError> {
        if let Some(until) = self.until {
            tokio::time::sleep_until(until).await;
        }
        self.until = None;
        let name = self.name.clone();
        let found = self.resolvers()?.ask(name).await;
        let found = found.map_err(|e| self.failed(&e))?;
        let records = found.answers().iter();
        let (mut targets, mut life) = (Vec::new(), LONGEST);
        for record in records {
            if let RData::SRV(srv) = &record.data {
                life = life.min(Duration::from_secs(record.ttl.into()));
                targets.push((srv.priority, srv.weight, srv.port, srv.target.clone()));
            }
        }
        targets.retain(|(.., target)| !target.is_root());
        let Some(best) = targets.iter().map(|(priority, ..)| *priority).min() else {
            let why = "its records say that there is no such service here";
            return Err(self.error(DiscoveryErrorKind::NotFound, why));
        };
        self.until = Some(Instant::now() + life.max(SHORTEST));
        let of_best = targets
            .into_iter()
            .filter(|(priority, ..)| *priority == best);
        let endpoints = of_best.map(|(priority, weight, port, target)| {
            // As it is on the wire: a name in another script is written `xn--..` there.
            let host = target.to_ascii();
            let mut endpoint = Endpoint::new(host.trim_end_matches('.').to_lowercase(), port);
            endpoint.weight = u32::from(weight.max(1));
            endpoint
                .meta
                .insert("priority".into(), priority.to_string());
            endpoint
        });
        Ok(endpoints.collect())
    }

    fn failed(&self, e: &NetError) -> DiscoveryError {
        use DiscoveryErrorKind::{Denied, NotFound, TimedOut, Unavailable, Unreachable};
        match e {
            NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
                ResponseCode::Refused => self.error(Denied, "the name server refuses to answer"),
                ResponseCode::NoError | ResponseCode::NXDomain => {
                    self.error(NotFound, "the name has no SRV record")
                }
                code => self.error(Unavailable, format!("the name server answers {code}")),
            },
            NetError::Timeout => self.error(TimedOut, "no name server answers"),
            NetError::NoConnections | NetError::Io(_) => {
                self.error(Unreachable, format!("no name server can be reached: {e}"))
            }
            e => self.error(Unavailable, e),
        }
    }

    fn error(&self, kind: DiscoveryErrorKind, why: impl fmt::Display) -> DiscoveryError {
        DiscoveryError::new(kind, self.source(), why)
    }
}

impl Discovery for Srv {
    fn source(&self) -> String {
        format!("srv:{}", self.name.to_utf8())
    }

    fn next(&mut self) -> NextSnapshot<'_> {
        Box::pin(self.read())
    }

    fn refresh(&mut self) {
        self.until = None;
    }
}

impl fmt::Debug for Srv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Srv")
            .field("name", &self.source())
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_will_do() {
        let name = Srv::new("_redis._tcp.cache.internal").unwrap();
        assert_eq!(name.source(), "srv:_redis._tcp.cache.internal");
        for bad in ["", ".", "a..b", &"x".repeat(300), "\0\n"] {
            if let Err(error) = Srv::new(bad) {
                assert_eq!(error.kind(), DiscoveryErrorKind::Config);
                assert!(!error.to_string().contains('\n'), "{error}");
            } else {
                assert_eq!(bad, "\0\n", "any byte may be in a name");
            }
        }
    }
}
