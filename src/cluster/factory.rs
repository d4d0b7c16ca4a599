//! From a configured node to one that can be talked to, and from all of them to their placement.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use tokio::sync::Semaphore;

use crate::backend::{Backend, Limits};
use crate::build_error::BuildError;
use crate::cluster::engine::Engine;
use crate::cluster::options::Options;
use crate::cluster::reporter::Reporter;
use crate::connection::credentials::CredentialsProvider;
use crate::connection::dial::Dialer;
use crate::connection::labels::labels;
use crate::connection::network::Network;
use crate::connection::proof::Proof;
use crate::connection::resolve::Resolver;
use crate::connection::sentinel::{Sentinels, Setting};
use crate::connection::stats::NodeStats;
use crate::node::{Address, Node, SentinelAddress, Transport};
use crate::placement::{Member, Placement, Table};
use crate::tasks::Tasks;

/// Checks the nodes and builds their placement.
pub(crate) fn table(placement: &Placement, nodes: &[Node]) -> Result<Table, BuildError> {
    if nodes.is_empty() {
        return Err(BuildError::NoNodes);
    }
    let mut names = BTreeSet::new();
    for node in nodes {
        node.validate()?;
        if !names.insert(node.id_ref()) {
            return Err(BuildError::DuplicateName {
                name: node.id_ref().to_string(),
            });
        }
    }
    let members: Vec<_> = nodes.iter().map(Member::from).collect();
    placement.table(&members)
}

/// Makes run-time nodes; what can go wrong goes wrong in [`new`](Self::new), before any is made.
pub(crate) struct BackendFactory {
    credentials: Option<Arc<dyn CredentialsProvider>>,
    network: Network,
    /// One connector for all nodes that verify, one for those that do not; made when needed, since
    /// making one reads files.
    #[cfg(feature = "tls")]
    verifying: Option<tokio_rustls::TlsConnector>,
    #[cfg(feature = "tls")]
    trusting: Option<tokio_rustls::TlsConnector>,
}

impl BackendFactory {
    #[cfg_attr(
        not(feature = "tls"),
        allow(unused_variables, reason = "the nodes matter to TLS alone")
    )]
    pub(crate) fn new(options: &Options, nodes: &[Node]) -> Result<Self, BuildError> {
        #[cfg(feature = "tls")]
        let connector = |transport| {
            let needed = nodes.iter().any(|n| n.endpoint().needs(transport));
            needed
                .then(|| options.tls.connector(transport == Transport::TlsInsecure))
                .transpose()
        };
        Ok(Self {
            credentials: options.credentials.clone(),
            network: options.network.clone(),
            #[cfg(feature = "tls")]
            verifying: connector(Transport::Tls)?,
            #[cfg(feature = "tls")]
            trusting: connector(Transport::TlsInsecure)?,
        })
    }

    #[cfg(feature = "tls")]
    fn connector(&self, transport: Transport) -> Option<tokio_rustls::TlsConnector> {
        match transport {
            Transport::Plain => None,
            Transport::Tls => self.verifying.clone(),
            Transport::TlsInsecure => self.trusting.clone(),
        }
    }

    pub(crate) fn backend(
        &self,
        engine: &Weak<Engine>,
        node: &Node,
        key: u64,
        lookups: &Arc<Semaphore>,
        limits: &Arc<Limits>,
        tasks: &Arc<Tasks>,
    ) -> Arc<Backend> {
        let endpoint = node.endpoint().clone();
        if endpoint.transport == Transport::TlsInsecure {
            tracing::warn!(node = %node.id_ref(), "the server's certificate is NOT verified (#insecure)");
        }
        let resolver = match &endpoint.address {
            Address::Tcp { host, port } => {
                let resolver = Resolver::new(host, *port, Arc::clone(lookups));
                Some(resolver.on(self.network.clone()))
            }
            Address::Unix(_) => None,
            Address::Sentinel(address) => {
                let setting = Setting {
                    node: node.id(),
                    network: self.network.clone(),
                    lookups: Arc::clone(lookups),
                    tasks: Arc::clone(tasks),
                    limit: limits.connect_timeout * 3 / 4,
                    labels: labels(&limits.cluster, [("node", node.id().to_string())]),
                    #[cfg(feature = "tls")]
                    tls: self.connector(address.transport),
                };
                let sentinels = Sentinels::new(SentinelAddress::clone(address), setting);
                Some(Resolver::by_sentinels(sentinels, Arc::clone(lookups)))
            }
        };
        let reporter = Reporter(engine.clone());
        let dialer = Dialer {
            node: node.id(),
            #[cfg(feature = "tls")]
            tls: self.connector(endpoint.transport),
            endpoint,
            resolver,
            credentials: self.credentials.clone(),
            timeout: limits.connect_timeout,
            stats: Arc::new(NodeStats::default()),
            tasks: Arc::clone(tasks),
            network: self.network.clone(),
            proof: Arc::new(Proof::new(
                node.id_ref(),
                &limits.cluster,
                reporter.on_shift(node.id()),
            )),
            client_name: Arc::clone(&limits.client_name),
            bounds: limits.bounds,
        };
        let observer = Arc::new(reporter);
        Arc::new(Backend::new(
            node.clone(),
            key,
            dialer,
            Arc::clone(limits),
            observer,
        ))
    }
}
