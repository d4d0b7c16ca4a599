//! The addresses of one name.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::{Discovery, DiscoveryError, DiscoveryErrorKind, Endpoint, NextSnapshot};
use crate::build_error::BuildError;
use crate::node::{Address, Node};

/// Between two look-ups, ± 20 %: the processes of a fleet do not ask at the same moment.
const EVERY: Duration = Duration::from_secs(5);
/// A look-up that takes longer is an error.
const PATIENCE: Duration = Duration::from_secs(5);

/// The A and AAAA records of one name: each address is an endpoint, `address:port`.
///
/// It asks the machine's resolver (`/etc/hosts` included) every 5 s ± 20 %, as that does not tell how
/// long an answer holds. It is for names that list servers, such as a headless service of Kubernetes;
/// for one server with a name, a node's own URL will do.
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
    asked: bool,
    /// The resolver's call cannot be ended: one that hangs is waited for, not repeated.
    looking: Option<JoinHandle<io::Result<Vec<SocketAddr>>>>,
}

impl Dns {
    /// The addresses of `name:port`; the port is 6379 when left out.
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
                    asked: false,
                    looking: None,
                })
            }
            _ => Err(BuildError::Url {
                url: endpoint.to_string(),
                why: "write a name and a port alone; credentials and database belong into `Follow::like`".into(),
            }),
        }
    }

    /// The time between two look-ups; each waits up to 20 % less or more. Default: 5 s.
    #[must_use]
    pub fn every(mut self, interval: Duration) -> Self {
        self.every = interval;
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
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(e)) => error(kind(&e), e.to_string()),
            // The runtime is shutting down.
            Err(e) => error(DiscoveryErrorKind::Unavailable, e.to_string()),
        }
    }
}

/// Whether the resolver answered that there is no such name, or could not say.
///
/// `getaddrinfo` tells them apart, but the standard library only in words, those of the C library.
fn kind(e: &io::Error) -> DiscoveryErrorKind {
    let text = e.to_string().to_lowercase();
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
            let addresses = self.look_up().await?;
            self.asked = true;
            let endpoints = addresses
                .into_iter()
                .map(|a| Endpoint::new(a.ip().to_string(), a.port()));
            Ok(endpoints.collect())
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
