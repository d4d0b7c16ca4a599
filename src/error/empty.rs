//! The error of a cluster of which no node can serve.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::health::verdict::Reason;
use crate::node::NodeId;

/// No node can serve: every candidate of the key is out.
///
/// Returned at once, without a dial; the nodes' next probes are pulled forward by it. It names why
/// each node is out and when asking again may be worthwhile.
///
/// ```
/// use fluster::FlusterCluster;
///
/// let cluster = FlusterCluster::from_urls(["redis://127.0.0.1:6379"])?;
/// if let Err(empty) = cluster.get_client("user:42") {
///     eprintln!("{empty}; trying again in {:?}", empty.retry_after());
/// }
/// # Ok::<(), fluster::BuildError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClusterEmptyError {
    reasons: Reasons,
    retry_after: Duration,
}

/// Why each node is out; shared by all errors of one moment.
pub(crate) type Reasons = Arc<[(NodeId, Reason)]>;

impl ClusterEmptyError {
    pub(crate) fn new(reasons: Reasons, retry_after: Duration) -> Self {
        Self {
            reasons,
            retry_after,
        }
    }

    /// Each node that is out, and why. [Example](crate::guide::by_example#errors).
    #[must_use]
    pub fn reasons(&self) -> &[(NodeId, Reason)] {
        &self.reasons
    }

    /// The time until the next probe of any node that is not drained; before that, asking again is in vain. A second
    /// when all of them are drained. [Example](crate::guide::by_example#errors).
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        self.retry_after
    }
}

impl fmt::Display for ClusterEmptyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 5;
        match self.reasons.len() {
            0 => f.write_str("no node can serve")?,
            1 => f.write_str("the only node is out: ")?,
            n => write!(f, "all {n} nodes are out: ")?,
        }
        for (i, (node, reason)) in self.reasons.iter().take(SHOWN).enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{node} ({reason})")?;
        }
        if self.reasons.len() > SHOWN {
            write!(f, " and {} more", self.reasons.len() - SHOWN)?;
        }
        Ok(())
    }
}

impl std::error::Error for ClusterEmptyError {}
