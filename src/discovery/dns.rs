//! The addresses of one name.

mod rotation;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use self::rotation::{Rotation, Worth};

use super::{Discovery, DiscoveryError, DiscoveryErrorKind, Endpoint, NextSnapshot, Snapshot};
use crate::build_error::BuildError;
use crate::connection::resolve;
use crate::node::{Address, Node};

/// Between two look-ups, ± 20 %: the processes of a fleet do not ask at the same moment.
const EVERY: Duration = Duration::from_secs(5);
/// A look-up that takes longer is an error.
const PATIENCE: Duration = Duration::from_secs(5);
/// Shorter and longer intervals are these.
const OFTENEST: Duration = Duration::from_millis(50);
const RAREST: Duration = Duration::from_secs(24 * 3_600);
/// For a server that is not listed any more to accept a connection.
const ANSWER: Duration = Duration::from_millis(500);
/// Of many that are not listed any more, so many are asked.
const ASKED: usize = 16;

/// Which addresses of a name are servers.
///
/// A server mostly has an address of each family, and would be two nodes with both: a key's copies could
/// be on one machine. All processes of a fleet must use the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Family {
    /// IPv4 where the name has such addresses, IPv6 where it has none.
    #[default]
    Ipv4First,
    /// IPv4 alone.
    Ipv4,
    /// IPv6 alone.
    Ipv6,
    /// All, where each server has one address.
    Both,
}

/// The addresses of one name: each is an endpoint, `address:port`.
///
/// It asks the machine's resolver (`/etc/hosts` included) every 5 s ± 20 %, as that does not tell how
/// long an answer holds. It is for names that list all servers, such as a headless service of Kubernetes;
/// for one server with a name, a node's own URL will do. Of the two families of addresses one is used:
/// [`Family`].
///
/// An answer that takes away servers which still accept connections is believed when three readings in
/// a row agree; 60 (5 min) where answers go round, as those of Consul, which lists three servers of many
/// at random, and where nothing is left of the servers that were known. Until then the last list stays,
/// with a warning. Names that are not the whole list are for `Srv` or `Consul`: each
/// process would use other servers.
///
/// A name is also looked for below the domains of the machine's search list, where a wildcard may answer
/// when the name itself is gone. With a final dot, `cache.internal.:6379`, it is not.
///
/// ```
/// use fluster::discovery::Dns;
///
/// let source = Dns::new("cache.default.svc:6379")?;
/// # Ok::<(), fluster::BuildError>(())
/// ```
#[derive(Debug)]
pub struct Dns {
    host: String,
    port: u16,
    every: Duration,
    family: Family,
    asked: bool,
    rotation: Rotation,
    /// The resolver's call cannot be ended: one that hangs is waited for, not repeated.
    looking: Option<JoinHandle<io::Result<Vec<SocketAddr>>>>,
}

impl Dns {
    /// The addresses of `name:port`; the port is 6379 when left out. [Example](crate::guide::by_example#following-a-source).
    ///
    /// # Errors
    ///
    /// [`BuildError::Url`] when that is no name and port.
    pub fn new(name: impl AsRef<str>) -> Result<Self, BuildError> {
        // The same rules as for the address of a node.
        let node = Node::new(format!("redis://{}", name.as_ref()))?;
        let endpoint = node.endpoint();
        match &endpoint.address {
            Address::Tcp { host, port } if endpoint.password.is_none() && endpoint.db == 0 => {
                Ok(Self {
                    host: host.clone(),
                    port: *port,
                    every: EVERY,
                    family: Family::default(),
                    asked: false,
                    rotation: Rotation::default(),
                    looking: None,
                })
            }
            _ => Err(BuildError::Url {
                url: endpoint.to_string(),
                why: "write a name and a port alone; credentials and database belong into `Follow::like`".into(),
            }),
        }
    }

    /// The time between two look-ups, 50 ms to a day; each waits up to 20 % less or more. Default: 5 s. [Example](crate::guide::by_example#following-a-source).
    #[must_use]
    pub fn every(mut self, interval: Duration) -> Self {
        self.every = interval.clamp(OFTENEST, RAREST);
        self
    }

    /// Which addresses are servers. Default: [`Family::Ipv4First`]. [Example](crate::guide::by_example#following-a-source).
    #[must_use]
    pub fn family(mut self, family: Family) -> Self {
        self.family = family;
        self
    }

    async fn look_up(&mut self) -> Result<Vec<SocketAddr>, DiscoveryError> {
        let (host, port) = (self.host.clone(), self.port);
        let looking = self.looking.get_or_insert_with(|| {
            tokio::spawn(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
        });
        let result = tokio::time::timeout(PATIENCE, looking).await;
        let source = self.source();
        let error = |kind, why: String| Err(DiscoveryError::new(kind, source, why));
        let Ok(done) = result else {
            let why = format!("the name is not resolved within {PATIENCE:?}");
            return error(DiscoveryErrorKind::TimedOut, why);
        };
        self.looking = None;
        match done {
            Ok(Ok(addresses)) => match of_family(addresses, self.family) {
                none if none.is_empty() => {
                    let what = match self.family {
                        Family::Ipv4 => "an IPv4 address",
                        Family::Ipv6 => "an IPv6 address",
                        Family::Ipv4First | Family::Both => "an address",
                    };
                    error(
                        DiscoveryErrorKind::NotFound,
                        format!("the name has not {what}"),
                    )
                }
                some => Ok(some),
            },
            Ok(Err(e)) => {
                let e = resolve::cause_of(e);
                error(kind(&e), e.to_string())
            }
            // The runtime is shutting down.
            Err(e) => error(DiscoveryErrorKind::Unavailable, e.to_string()),
        }
    }

    /// What is believed after this answer.
    async fn judge(&mut self, answer: Vec<SocketAddr>) -> &[SocketAddr] {
        let gone: Vec<_> = self.rotation.gone(&answer).take(ASKED).collect();
        let still_answers = any_answers(&gone).await;
        let worth = self.rotation.read(answer, still_answers);
        let source = self.source();
        if worth == Worth::News {
            tracing::warn!(
                %source,
                "the name is not the whole list: it leaves out servers that still answer, and lists others; the nodes stay as \
                 they are. Where its answers go round (Consul), use the sources `Srv` or `Consul`; where a search list may \
                 answer in its place, write it with a final dot"
            );
        }
        if worth != Worth::Believed {
            metrics::counter!("fluster_discovery_snapshots_total", "source" => source, "result" => "partial")
                .increment(1);
        }
        self.rotation.believed()
    }
}

/// Whether one of these servers accepts a connection, or nobody can tell.
async fn any_answers(servers: &[SocketAddr]) -> bool {
    let dials = servers.iter().map(async |server| {
        match tokio::time::timeout(ANSWER, TcpStream::connect(server)).await {
            Ok(Ok(_)) => true,
            Ok(Err(e)) => resolve::is_own_limit(&e),
            Err(_) => false,
        }
    });
    let mut dials: FuturesUnordered<_> = dials.collect();
    while let Some(answers) = dials.next().await {
        if answers {
            return true;
        }
    }
    false
}

/// The addresses that are servers, an IPv4 address within IPv6 as itself.
fn of_family(addresses: Vec<SocketAddr>, family: Family) -> Vec<SocketAddr> {
    let mut all = addresses;
    for address in &mut all {
        address.set_ip(address.ip().to_canonical());
    }
    let has_v4 = all.iter().any(SocketAddr::is_ipv4);
    all.retain(|address| match family {
        Family::Ipv4First => address.is_ipv4() == has_v4,
        Family::Ipv4 => address.is_ipv4(),
        Family::Ipv6 => address.is_ipv6(),
        Family::Both => true,
    });
    all
}

/// Whether the resolver answered that there is no such name, or could not say.
///
/// `getaddrinfo` tells them apart, but the standard library only in words, those of the C library.
fn kind(e: &io::Error) -> DiscoveryErrorKind {
    let text = e.to_string().to_lowercase();
    if resolve::is_own_limit(e) {
        return DiscoveryErrorKind::Unreachable;
    }
    // glibc's and macOS', musl's.
    match text.contains("temporary failure") || text.contains("try again") {
        true => DiscoveryErrorKind::Unreachable,
        false => DiscoveryErrorKind::NotFound,
    }
}

impl Discovery for Dns {
    fn source(&self) -> String {
        format!("dns:{}:{}", self.host, self.port)
    }

    fn next(&mut self) -> NextSnapshot<'_> {
        Box::pin(async {
            if self.asked {
                tokio::time::sleep(self.every.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
            }
            // Also after an error: the wait between attempts is the caller's.
            self.asked = false;
            let answer = self.look_up().await?;
            let believed: Snapshot = self
                .judge(answer)
                .await
                .iter()
                .map(|a| Endpoint::new(a.ip().to_string(), a.port()))
                .collect();
            self.asked = true;
            Ok(believed)
        })
    }

    fn refresh(&mut self) {
        self.asked = false;
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        if let Some(looking) = &self.looking {
            looking.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_and_a_port_will_do() {
        assert_eq!(
            Dns::new("cache.local").unwrap().source(),
            "dns:cache.local:6379"
        );
        assert_eq!(Dns::new("h:7000").unwrap().port, 7000);
        for bad in [
            "",
            "h:99999",
            "u:hunter2@h",
            "h/3",
            "redis://h",
            "a b",
            "h:0",
        ] {
            let error = Dns::new(bad).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[tokio::test]
    async fn addresses_are_endpoints_and_a_name_that_is_none_is_an_error() {
        let mut source = Dns::new("127.0.0.1:7000").unwrap();
        let found = source.next().await.unwrap();
        assert_eq!(found.endpoints()[0].id, "127.0.0.1:7000");
        let mut source = Dns::new("no-such-name.invalid:1").unwrap();
        let error = source.next().await.unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("dns:no-such-name.invalid:1: "),
            "{error}"
        );
    }
}
