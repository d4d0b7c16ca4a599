//! Whom a replicated read asks.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::Value;

/// Whom a read asks, and what it makes of more than one answer.
#[derive(Clone)]
#[non_exhaustive]
pub enum ReadFrom {
    /// The first live candidate, and nobody else: its failure is the read's.
    Owner,
    /// One after the other until one can answer.
    FirstAvailable,
    /// The first, and when it has not answered after a while the second as well; whoever is first wins.
    ///
    /// Such second requests are held to a share of all hedged reads, 10 % by default, see
    /// [`ClusterBuilder::hedge_budget`](crate::ClusterBuilder::hedge_budget). A node that fails is followed by the next
    /// at once, as with `FirstAvailable`, and that costs the budget nothing.
    Hedged {
        /// When the second request is sent.
        after: HedgeAfter,
    },
    /// All of them; of the answers of the first majority the newest counts. See [`ReadFrom::majority`].
    Majority {
        /// Orders two values by age, the newer one greater. No value is older than any.
        newest: Arc<Newest>,
    },
}

/// Orders two values by age.
type Newest = dyn Fn(&Value, &Value) -> Ordering + Send + Sync;

impl ReadFrom {
    /// Asks all replicas, waits for a majority of them, and takes the newest of their values; `newest`
    /// orders two values by age, the newer one greater.
    ///
    /// With writes of [`Quorum::Majority`](crate::replication::Quorum::Majority) a read meets at least one replica that
    /// has the last one. The values themselves must tell their age: a version or a time in front.
    ///
    /// ```
    /// use fluster::replication::ReadFrom;
    /// use redis::Value;
    ///
    /// // Values such as b"17:text".
    /// fn version(value: &Value) -> u64 {
    ///     let Value::BulkString(bytes) = value else { return 0 };
    ///     let digits = bytes.split(|b| *b == b':').next().unwrap_or_default();
    ///     str::from_utf8(digits).ok().and_then(|d| d.parse().ok()).unwrap_or(0)
    /// }
    /// let from = ReadFrom::majority(|a, b| version(a).cmp(&version(b)));
    /// ```
    #[must_use]
    pub fn majority(newest: impl Fn(&Value, &Value) -> Ordering + Send + Sync + 'static) -> Self {
        Self::Majority {
            newest: Arc::new(newest),
        }
    }
}

impl fmt::Debug for ReadFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner => f.write_str("Owner"),
            Self::FirstAvailable => f.write_str("FirstAvailable"),
            Self::Hedged { after } => write!(f, "Hedged {{ after: {after:?} }}"),
            Self::Majority { .. } => f.write_str("Majority { .. }"),
        }
    }
}

/// When a hedged read sends its second request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HedgeAfter {
    /// When the first node has taken longer than 95 of 100 of the last answers of the quicker one of the
    /// two nodes: of its last window of 5 s with at least 50 answers, 20 ms before there was one, and never
    /// less than 1 ms. The default.
    ///
    /// The quicker one, since by its own measure a node that is slow for good is never late.
    #[default]
    P95,
    /// After this long.
    Fixed(Duration),
}

impl HedgeAfter {
    /// Shorter times hedge on the noise of a scheduler.
    const LEAST: Duration = Duration::from_millis(1);
    /// While nothing is known of the node.
    const UNKNOWN: Duration = Duration::from_millis(20);

    /// The wait for a node that usually takes so long.
    pub(crate) fn wait(self, usual: Option<Duration>) -> Duration {
        match self {
            Self::P95 => usual.unwrap_or(Self::UNKNOWN).max(Self::LEAST),
            Self::Fixed(wait) => wait,
        }
    }
}
