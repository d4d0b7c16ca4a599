//! Going round the nodes, as the original's iteration does.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::client::Client;
use crate::cluster::FlusterCluster;
use crate::cluster::engine::Engine;
use crate::error::{ClusterEmptyError, Error, ErrorKind, Outcome};

impl FlusterCluster {
    /// The clients of all live nodes, round robin, without end.
    ///
    /// There is one cursor per cluster: two iterators, or two handles of one cluster, share the work
    /// between them; two clusters start where each of them likes. Nodes that are out are skipped, and those that
    /// [the fleet](https://docs.rs/fluster/latest/fluster/guide/fleet/index.html) keeps though this process cannot reach them; with all of them out, every item is a [`ClusterEmptyError`].
    ///
    /// ```
    /// # let cluster = fluster::FlusterCluster::from_urls(["redis://127.0.0.1"])?;
    /// for client in cluster.clients().rounds(1) {
    ///     println!("{}", client?.node());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn clients(&self) -> Clients {
        Clients {
            engine: Arc::clone(self.engine()),
        }
    }

    /// The client of the node of this name, whatever keys it has, also while it is out: its calls fail
    /// at once then, as those of any client do.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when the cluster has no node of this name.
    ///
    /// ```
    /// # let cluster = fluster::FlusterCluster::from_urls(["redis://127.0.0.1"])?;
    /// let client = cluster.get_client_of_node("127.0.0.1:6379")?;
    /// assert_eq!(client, cluster.get_client("any key")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get_client_of_node(&self, name: impl AsRef<str>) -> Result<Client, Error> {
        let name = name.as_ref();
        let snapshot = self.engine().snapshot.load();
        match snapshot.nodes.iter().find(|node| *node.id() == *name) {
            Some(node) => Ok(Client::new(Arc::clone(node), 0)),
            None => {
                let text =
                    format!("no node is named {name:?}: see `status()` for the names in use");
                Err(Error::new(ErrorKind::Invalid, Outcome::NotSent, text))
            }
        }
    }

    /// The clients of all nodes in the order of the configuration, in or out.
    pub(crate) fn every_client(&self) -> Vec<Client> {
        let snapshot = self.engine().snapshot.load();
        let nodes = snapshot.nodes.iter();
        nodes.map(|node| Client::new(Arc::clone(node), 0)).collect()
    }

    /// The clients of the nodes that can be called, in the order of the configuration.
    pub(crate) fn live_clients(&self) -> Vec<Client> {
        let snapshot = self.engine().snapshot.load();
        let callable = snapshot.callable();
        callable
            .map(|n| Client::new(Arc::clone(&snapshot.nodes[n]), 0))
            .collect()
    }

    /// The clients of the nodes that admit, in the order in which they would serve `key`.
    pub(crate) fn candidate_clients(&self, key: &[u8]) -> Vec<Client> {
        let snapshot = self.engine().snapshot.load();
        let live = snapshot.live_candidates(key);
        live.enumerate()
            .map(|(rank, n)| Client::new(Arc::clone(&snapshot.nodes[n]), rank))
            .collect()
    }
}

/// The endless iterator over the live nodes; see [`clients`](FlusterCluster::clients).
pub struct Clients {
    engine: Arc<Engine>,
}

impl Clients {
    /// Ends after `n` rounds over the nodes, counted from the first client: the original's
    /// `round_controlled`. [Example](crate::guide::by_example#routing).
    ///
    /// A round is one pass over the nodes as they are when the first client is asked for; nodes that
    /// are out are passed over, so a round never hangs on them.
    #[must_use]
    pub fn rounds(self, n: usize) -> Rounds {
        Rounds {
            clients: self,
            rounds: n,
            left: None,
        }
    }
}

impl Iterator for Clients {
    type Item = Result<Client, ClusterEmptyError>;

    fn next(&mut self) -> Option<Self::Item> {
        let nodes = self.engine.snapshot.load().nodes.len();
        for _ in 0..nodes {
            if let Some(client) = step(&self.engine) {
                return Some(Ok(client));
            }
        }
        Some(Err(self.engine.empty()))
    }
}

/// Moves the cursor by one node; `None` when that node is out.
fn step(engine: &Engine) -> Option<Client> {
    let snapshot = engine.snapshot.load();
    let index = engine.cursor.fetch_add(1, Relaxed) % snapshot.nodes.len();
    snapshot
        .is_callable(index)
        .then(|| Client::new(Arc::clone(&snapshot.nodes[index]), 0))
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").finish_non_exhaustive()
    }
}

/// A limited number of rounds over the live nodes; see [`Clients::rounds`].
#[derive(Debug)]
pub struct Rounds {
    clients: Clients,
    rounds: usize,
    /// Steps left; known from the first call on.
    left: Option<usize>,
}

impl Iterator for Rounds {
    type Item = Result<Client, ClusterEmptyError>;

    fn next(&mut self) -> Option<Self::Item> {
        let engine = &self.clients.engine;
        let left = self.left.get_or_insert_with(|| {
            engine
                .snapshot
                .load()
                .nodes
                .len()
                .saturating_mul(self.rounds)
        });
        while *left > 0 {
            if engine.snapshot.load().callable().next().is_none() {
                *left = 0;
                return Some(Err(engine.empty()));
            }
            *left -= 1;
            if let Some(client) = step(engine) {
                return Some(Ok(client));
            }
        }
        None
    }
}
