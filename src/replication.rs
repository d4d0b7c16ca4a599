//! A key on several nodes: writes that count acknowledgements, reads that choose whom to ask.

mod acks;
mod background;
mod quorum;
mod read;
mod repair;
mod source;
mod take_back;
pub(crate) mod unreached;
mod write;

pub use self::acks::{Acks, QuorumError};
pub use self::quorum::Quorum;
pub use self::repair::ReadRepair;
pub use self::source::{HedgeAfter, ReadFrom};
pub(crate) use self::take_back::TakeBack;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::Backend;
use crate::backend::journal::Note;
use crate::backend::role::Role;
use crate::cluster::FlusterCluster;
use crate::error::{Error, ErrorKind, Outcome};
use crate::node::NodeId;

/// The nodes that hold copies of one key now, as [`replicas`](FlusterCluster::replicas) found them.
///
/// It is a picture of the moment it was taken: ask again for each operation, it costs about as much as a
/// look-up per replica. All of it: [the guide](crate::guide::replication).
///
/// ```no_run
/// use fluster::replication::{Quorum, ReadFrom};
///
/// # async fn run(cluster: fluster::FlusterCluster) -> Result<(), fluster::Error> {
/// let replicas = cluster.replicas("user:42", 2)?;
/// let acks = replicas.write(redis::cmd("SET").arg("user:42").arg("Ann"), Quorum::One).await?;
/// println!("{} of {} so far", acks.count(), acks.requested());
///
/// let name: Option<String> = replicas.read(redis::cmd("GET").arg("user:42"), ReadFrom::FirstAvailable).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Replicas {
    cluster: FlusterCluster,
    key: Arc<[u8]>,
    requested: usize,
    members: Vec<ReplicaMember>,
    repair: Option<ReadRepair>,
    /// The longest life of what a repair puts on a stand-in, beside the cluster's own limit.
    stand_in_ttl: Option<Duration>,
    /// What a write owes to those who should have it and are out.
    owed: Arc<[Note]>,
}

/// The longest time to live that is given to a server; more overflows the clocks of some.
pub(crate) const LONGEST_TTL: Duration = Duration::from_secs(100 * 365 * 86_400);

/// One of the nodes.
#[derive(Clone)]
pub(crate) struct ReplicaMember {
    pub(crate) backend: Arc<Backend>,
    /// It is there in place of a replica that is out.
    pub(crate) stand_in: bool,
}

impl FlusterCluster {
    /// The first `n` live candidates of `key`: its owner and the nodes that come after it, or the
    /// stand-ins of those that are out. No I/O, no waiting.
    ///
    /// With fewer live nodes than `n` there are fewer, and a [`Quorum`](crate::replication::Quorum) still counts against
    /// `n`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] for `n` of 0 or more than the cluster has nodes;
    /// [`ErrorKind::ClusterEmpty`] when every node is out.
    ///
    /// ```
    /// # let cluster = fluster::FlusterCluster::from_urls(["redis://10.0.0.1", "redis://10.0.0.2", "redis://10.0.0.3"])?;
    /// let replicas = cluster.replicas("user:42", 2)?;
    /// assert_eq!(replicas.nodes().count(), 2);
    /// assert_eq!(replicas.nodes().next(), Some(&cluster.get_node("user:42")?));
    /// assert!(cluster.replicas("user:42", 4).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn replicas(&self, key: impl AsRef<[u8]>, n: usize) -> Result<Replicas, Error> {
        let key = key.as_ref();
        let engine = self.engine();
        let snapshot = engine.topology();
        let nodes = snapshot.nodes.len();
        if n == 0 || n > nodes {
            return Err(refused(format!(
                "{n} replicas of a key over {nodes} nodes: ask for 1 to {nodes}"
            )));
        }
        let all_live = snapshot.live.count() == nodes;
        // Most often nobody is out, and nobody stands in.
        let regular: Vec<usize> = match all_live {
            true => Vec::new(),
            false => snapshot.table.candidates(key).take(n).collect(),
        };
        let members: Vec<_> = snapshot
            .live_candidates(key)
            .take(n)
            .map(|i| ReplicaMember {
                backend: Arc::clone(&snapshot.nodes[i]),
                stand_in: !all_live && !regular.contains(&i),
            })
            .collect();
        if members.is_empty() {
            return Err(engine.empty().into());
        }
        let mut owed = Vec::new();
        if !all_live && engine.recovery.is_on() {
            let is_live = |at: usize| snapshot.live.contains(at);
            engine.owe_copies(&snapshot, (key, key), n, is_live, &mut owed);
        }
        let owed = owed.into();
        Ok(Replicas {
            cluster: self.clone(),
            key: key.into(),
            requested: n,
            members,
            repair: None,
            stand_in_ttl: None,
            owed,
        })
    }
}

impl ReplicaMember {
    pub(crate) fn role(&self) -> Role<'static> {
        Role::standing_in(self.stand_in)
    }
}

impl Replicas {
    /// The names of the nodes, the first candidate first. [Example](crate::guide::by_example#replicas).
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &NodeId> {
        self.members.iter().map(|m| m.backend.id())
    }

    /// How many replicas were asked for; there are fewer nodes when not so many are live. [Example](crate::guide::by_example#replicas).
    #[must_use]
    pub fn requested(&self) -> usize {
        self.requested
    }

    /// Whether any of the nodes stands in for one that is out. [Example](crate::guide::by_example#replicas).
    #[must_use]
    pub fn has_stand_in(&self) -> bool {
        self.members.iter().any(|m| m.stand_in)
    }

    /// Lets reads fill what is missing on nodes that came back lately. Default: they do not. [Example](crate::guide::by_example#replicas).
    #[must_use]
    pub fn read_repair(mut self, repair: ReadRepair) -> Self {
        self.repair = Some(repair);
        self
    }

    pub(crate) fn stand_in_ttl(mut self, ttl: Option<Duration>) -> Self {
        self.stand_in_ttl = ttl;
        self
    }

    pub(crate) fn backends(&self) -> impl Iterator<Item = Arc<Backend>> {
        self.members.iter().map(|m| Arc::clone(&m.backend))
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// What to say when there are fewer live replicas than answers needed.
    /// So many are not in: the next probes of those that are out come sooner.
    fn too_few(&self, needed: usize) -> Error {
        self.cluster.engine().demand();
        let (live, asked) = (self.members.len(), self.requested);
        let text = format!("{needed} of {asked} replicas are needed, and {live} are live");
        Error::new(ErrorKind::Quorum, Outcome::NotSent, text)
    }
}

impl fmt::Debug for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replicas")
            .field("key", &self.key.escape_ascii().to_string())
            .field("requested", &self.requested)
            .field("nodes", &self.nodes().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

fn refused(why: String) -> Error {
    Error::new(ErrorKind::Invalid, Outcome::NotSent, why)
}
