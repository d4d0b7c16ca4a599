//! The settings of a cluster, apart from its nodes.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::backend::Limits;
use crate::build_error::BuildError;
use crate::connection::credentials::CredentialsProvider;
use crate::connection::decode::DecodeLimits;
use crate::connection::network::Network;
use crate::connection::queue::Bounds;
use crate::health::penalty_box::Penalty;
use crate::node::client_name;
use crate::placement::{HashTags, Placement};
use crate::recovery::choices::Choices;

/// When a command that failed on one node is sent to the next candidate.
///
/// Choosing a stand-in for a node that is already out is routing, and happens in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Deserialize, serde::Serialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
#[doc(alias = "retry")]
pub enum Failover {
    /// Never: the first failure goes to the caller.
    Never,
    /// When it cannot apply a command twice: nothing was sent, the server refused to serve, or the
    /// command only reads. The default. A write that finds a limit of this process reached
    /// ([`ErrorKind::Saturated`](crate::ErrorKind::Saturated)) stays, too: the node serves others.
    #[default]
    IfSafe,
    /// Always, writes included: a write that timed out may still be applied by the first node, later
    /// than the one that took its place.
    Always,
}

/// What happens to a command that a living node refuses: `READONLY`, `OOM`, `MISCONF`, `NOREPLICAS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Deserialize, serde::Serialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum Refusals {
    /// The refusal goes to the caller, verbatim. The default: writes that move to a stand-in while
    /// reads stay make the reads stale for as long as it lasts.
    #[default]
    Return,
    /// The next candidate is tried.
    NextCandidate,
}

/// What happens to a node that is up but much slower than its peers.
///
/// Slow means: a median five times that of the other nodes, and above 20 ms, over at least 50 commands,
/// for three windows of 5 s in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Deserialize, serde::Serialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
#[doc(alias = "outlier detection")]
pub enum SlowNodes {
    /// It is reported (event, status, `fluster_node_degraded`) and keeps its keys. The default: moving
    /// the keys of a sharded store scatters its data.
    #[default]
    Report,
    /// Each slow window is one strike against it.
    Suspect,
}

/// Everything that the builder collects.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) placement: Placement,
    pub(crate) hash_tags: Option<HashTags>,
    pub(crate) penalty: Penalty,
    pub(crate) failover: Failover,
    pub(crate) refusals: Refusals,
    pub(crate) slow_nodes: SlowNodes,
    pub(crate) wait_for_node: Option<Duration>,
    pub(crate) limits: Limits,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) credentials: Option<Arc<dyn CredentialsProvider>>,
    pub(crate) runtime: Option<Handle>,
    pub(crate) network: Network,
    /// The share of hedged reads that may be sent twice.
    pub(crate) hedge_budget: f64,
    pub(crate) recovery: Choices,
    #[cfg(feature = "tls")]
    pub(crate) tls: crate::connection::tls::Tls,
}

impl Default for Options {
    fn default() -> Self {
        let read = DecodeLimits::default();
        Self {
            placement: Placement::default(),
            hash_tags: None,
            penalty: Penalty::default(),
            failover: Failover::default(),
            refusals: Refusals::default(),
            slow_nodes: SlowNodes::default(),
            wait_for_node: None,
            limits: Limits {
                response_timeout: Duration::from_millis(500),
                connect_timeout: Duration::from_millis(500),
                deadline: Duration::from_millis(1500),
                stand_in_ttl: None,
                pool_size: 16,
                pool_wait: Duration::from_millis(250),
                idle_timeout: Duration::from_secs(300),
                max_lifetime: Duration::from_secs(1800),
                max_reply: read.reply as u64,
                max_nesting: read.nesting,
                max_line: read.line,
                bounds: Bounds {
                    calls: 65_536,
                    bytes: 64 << 20,
                },
                is_noting: Arc::default(),
                client_name: Self::CLIENT_NAME.into(),
                cluster: "".into(),
            },
            connect_timeout: None,
            deadline: None,
            credentials: None,
            runtime: None,
            network: Network::default(),
            hedge_budget: 0.1,
            recovery: Choices::default(),
            #[cfg(feature = "tls")]
            tls: crate::connection::tls::Tls::default(),
        }
    }
}

impl Options {
    /// What servers call us where nobody said otherwise.
    const CLIENT_NAME: &'static str = "fluster";
    /// A handshake takes longer than a plain connection.
    pub(crate) const PLAIN_CONNECT: Duration = Duration::from_millis(500);
    pub(crate) const TLS_CONNECT: Duration = Duration::from_secs(1);

    /// Checks the options against each other and settles the ones that depend on others.
    pub(crate) fn settle(mut self, any_tls: bool) -> Result<Self, BuildError> {
        let limits = &mut self.limits;
        limits.connect_timeout = self.connect_timeout.unwrap_or(if any_tls {
            Self::TLS_CONNECT
        } else {
            Self::PLAIN_CONNECT
        });
        limits.deadline = self
            .deadline
            .unwrap_or(limits.response_timeout.saturating_mul(3));
        for (name, value) in [
            ("response_timeout", limits.response_timeout),
            ("connect_timeout", limits.connect_timeout),
            ("deadline", limits.deadline),
            ("pool_wait", limits.pool_wait),
            ("idle_timeout", limits.idle_timeout),
            ("max_lifetime", limits.max_lifetime),
        ] {
            in_range(name, value)?;
        }
        if let Some(wait) = self.wait_for_node {
            in_range("wait_for_node", wait)?;
        }
        if let Some(ttl) = limits.stand_in_ttl {
            in_range("stand_in_ttl", ttl)?;
        }
        if !(0.0..=1.0).contains(&self.hedge_budget) {
            return Err(BuildError::Option {
                name: "hedge_budget",
                why: format!("{} is no share: use 0 to 1", self.hedge_budget),
            });
        }
        if limits.deadline < limits.response_timeout {
            return Err(BuildError::Option {
                name: "deadline",
                why: format!(
                    "{:?} is shorter than `response_timeout`, {:?}: raise it, or lower the other",
                    limits.deadline, limits.response_timeout
                ),
            });
        }
        if limits.pool_size == 0 || limits.pool_size > 65_535 {
            return Err(BuildError::Option {
                name: "pool_size",
                why: format!("{} connections per node: use 1 to 65535", limits.pool_size),
            });
        }
        for (name, bytes, least) in [
            ("max_reply", limits.max_reply, 64 << 10),
            ("max_line", limits.max_line as u64, 1 << 10),
            ("max_waiting_bytes", limits.bounds.bytes, 64 << 10),
        ] {
            if bytes < least {
                let why = format!("{bytes} bytes are too few: use at least {least}");
                return Err(BuildError::Option { name, why });
            }
        }
        if !(8..=1024).contains(&limits.max_nesting) {
            return Err(BuildError::Option {
                name: "max_nesting",
                why: format!("{} levels: use 8 to 1024", limits.max_nesting),
            });
        }
        if limits.bounds.calls == 0 {
            return Err(BuildError::Option {
                name: "max_waiting_calls",
                why: "0 would fail every call: use at least 1".to_owned(),
            });
        }
        in_range("return_deadline", self.recovery.deadline)?;
        if self.recovery.limit == 0 {
            return Err(BuildError::Option {
                name: "return_limit",
                why: "0 keys would be none: use at least 1, or `OnReturn::Serve`".to_owned(),
            });
        }
        if let Some(why) = client_name::refusal(&self.recovery.name) {
            return Err(BuildError::Option {
                name: "return_name",
                why: why.to_owned(),
            });
        }
        if let Some(why) = client_name::refusal(&limits.cluster) {
            return Err(BuildError::Option {
                name: "name",
                why: why.to_owned(),
            });
        }
        if limits.named().is_some() && *limits.client_name == *Self::CLIENT_NAME {
            limits.client_name = Arc::clone(&limits.cluster);
        }
        if let Some(why) = client_name::refusal(&limits.client_name) {
            return Err(BuildError::Option {
                name: "client_name",
                why: why.to_owned(),
            });
        }
        self.penalty.validate()?;
        if let Some(tags) = self.hash_tags {
            self.placement = self.placement.hash_tags(tags);
        }
        Ok(self)
    }
}

/// A time of zero would fail every call; one of years overflows the clocks it is added to.
fn in_range(name: &'static str, value: Duration) -> Result<(), BuildError> {
    const LONGEST: Duration = Duration::from_secs(30 * 86_400);
    let why = match value {
        v if v < Duration::from_millis(1) => format!("{v:?} is too short: use at least 1 ms"),
        v if v > LONGEST => format!("{v:?} is too long: use at most 30 days"),
        _ => return Ok(()),
    };
    Err(BuildError::Option { name, why })
}
