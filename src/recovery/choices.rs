//! What is done when a node returns, as an application chooses it.

/// What is taken from a node before it serves again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Deserialize, serde::Serialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum OnReturn {
    /// Nothing: it serves what it had before its outage, also what was replaced or deleted at its stand-ins meanwhile. The
    /// default of a cluster.
    #[default]
    Serve,
    /// The keys that were written or deleted elsewhere meanwhile: they are misses. The default of a
    /// [`Cache`](crate::cache::Cache), for its own keys. For a counter a miss is a reset, for a list it is a loss:
    /// [the guide](crate::guide::returns).
    Invalidate,
}

/// What is done when nobody knows which keys those are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Deserialize, serde::Serialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum OnUnknown {
    /// It serves, and it is said: [`Event::ReturnUnknown`](crate::Event::ReturnUnknown), a metric and a warning. The
    /// default.
    #[default]
    Serve,
    /// Its database is emptied first (`FLUSHDB`): for servers that are nothing but caches.
    Flush,
    /// It stays out until [`restore_node`](crate::FlusterCluster::restore_node) is called.
    StayOut,
}

/// What is set of it.
#[derive(Clone, Debug)]
pub(crate) struct Choices {
    pub(crate) on_return: OnReturn,
    pub(crate) on_unknown: OnUnknown,
    /// So many keys are noted for one node at one server.
    pub(crate) limit: usize,
    /// So long may a node be prepared.
    pub(crate) deadline: std::time::Duration,
    /// What the journal is called.
    pub(crate) name: Box<str>,
}

impl Default for Choices {
    fn default() -> Self {
        Self {
            on_return: OnReturn::default(),
            on_unknown: OnUnknown::default(),
            limit: 100_000,
            deadline: std::time::Duration::from_secs(2),
            name: "".into(),
        }
    }
}
