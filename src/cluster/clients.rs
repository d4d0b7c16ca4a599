//! Going round the nodes, as the original's iteration does.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::client::Client;
use crate::cluster::FlusterCluster;
use crate::cluster::core::Core;
use crate::error::ClusterEmptyError;

impl FlusterCluster {
    /// The clients of all live nodes, round robin, without end.
    ///
    /// There is one cursor per cluster: two iterators, or two handles of one cluster, share the work
    /// between them; two clusters start where each of them likes. Nodes that are out are skipped; with
    /// all of them out, every item is a [`ClusterEmptyError`].
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
            core: Arc::clone(self.core()),
        }
    }
}

/// The endless iterator over the live nodes; see [`clients`](FlusterCluster::clients).
pub struct Clients {
    core: Arc<Core>,
}

impl Clients {
    /// Ends after `n` rounds over the nodes, counted from the first client: the original's
    /// `round_controlled`.
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
        let nodes = self.core.snapshot.load().nodes.len();
        for _ in 0..nodes {
            if let Some(client) = step(&self.core) {
                return Some(Ok(client));
            }
        }
        Some(Err(self.core.empty()))
    }
}

/// Moves the cursor by one node; `None` when that node is out.
fn step(core: &Core) -> Option<Client> {
    let snapshot = core.snapshot.load();
    let index = core.cursor.fetch_add(1, Relaxed) % snapshot.nodes.len();
    snapshot
        .live
        .contains(index)
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
        let core = &self.clients.core;
        let left = self
            .left
            .get_or_insert_with(|| core.snapshot.load().nodes.len().saturating_mul(self.rounds));
        while *left > 0 {
            if core.snapshot.load().live.count() == 0 {
                *left = 0;
                return Some(Err(core.empty()));
            }
            *left -= 1;
            if let Some(client) = step(core) {
                return Some(Ok(client));
            }
        }
        None
    }
}
