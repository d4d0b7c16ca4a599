//! A connection's own account of what was sent: beside real servers, with callers that go away and sockets that are
//! full or cut.

mod backlog;
mod hostile;
mod large;
mod relay;
mod storm;

use fluster::FlusterCluster;
#[cfg(feature = "tls")]
use fluster::Tls;

use crate::support::Server;
#[cfg(feature = "tls")]
use crate::support::TlsPki;

/// How a server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Plain,
    #[cfg(feature = "tls")]
    Tls,
}

impl Way {
    #[cfg(feature = "tls")]
    const ALL: [Self; 2] = [Self::Plain, Self::Tls];
    #[cfg(not(feature = "tls"))]
    const ALL: [Self; 1] = [Self::Plain];
}

/// One server that is reached in this way.
struct Site {
    server: Server,
    #[cfg(feature = "tls")]
    pki: Option<TlsPki>,
}

impl Site {
    fn new(way: Way) -> Self {
        match way {
            Way::Plain => Self {
                server: Server::start(),
                #[cfg(feature = "tls")]
                pki: None,
            },
            #[cfg(feature = "tls")]
            Way::Tls => {
                let pki = TlsPki::new();
                Self {
                    server: Server::builder().tls(&pki).start(),
                    pki: Some(pki),
                }
            }
        }
    }

    /// A builder for it, or for a relay before it.
    fn builder(&self, url: String) -> fluster::ClusterBuilder {
        let builder = FlusterCluster::builder().urls([url]);
        #[cfg(feature = "tls")]
        if let Some(pki) = &self.pki {
            return builder.tls(Tls::new().ca_file(pki.ca()));
        }
        builder
    }

    /// How often it executed this command.
    fn calls(&self, command: &str) -> u64 {
        let stats = self.server.raw(["INFO", "commandstats"]);
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        let calls = line.and_then(|line| line.split(',').next());
        calls.map_or(0, |calls| calls.parse().unwrap())
    }
}
