//! Why a node is out.

use std::fmt;

/// Why a node is or was out of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Nobody listens at the address.
    Refused,
    /// There is no way to the address: host or network unreachable or down.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// Connections break: closed, reset or cut in the middle of a reply.
    Lost,
    /// Something answers, but it does not speak the Redis protocol.
    NotRedis,
    /// The server does not answer a `PING` as it should.
    Protocol,
    /// The name does not resolve.
    Dns,
    /// The server is fine and refuses us: password, permission, database, certificate or protected
    /// mode. Somebody has to change the configuration.
    Config,
    /// The server says that it cannot serve yet: `LOADING`, `MASTERDOWN` or `CLUSTERDOWN`.
    NotReady,
    /// The server is busy with a script: `BUSY`.
    Busy,
    /// The server has all the connections it accepts.
    MaxClients,
    /// The operator has drained it: [`restore_node`](crate::FlusterCluster::restore_node) brings it back.
    Drained,
    /// Other processes find it out, and this one goes by what [they agree on](https://docs.rs/fluster/latest/fluster/guide/fleet/index.html).
    Fleet,
    /// Another error of the operating system.
    Io,
}

impl Reason {
    /// All of them, in an order that is told to others: new ones are appended.
    #[cfg(feature = "gossip")]
    pub(crate) const ALL: [Self; 14] = [
        Self::Refused,
        Self::Unreachable,
        Self::Timeout,
        Self::Lost,
        Self::NotRedis,
        Self::Protocol,
        Self::Dns,
        Self::Config,
        Self::NotReady,
        Self::Busy,
        Self::MaxClients,
        Self::Drained,
        Self::Io,
        Self::Fleet,
    ];

    /// The reason as it appears in metrics, events and logs: `refused`, `timeout`, `not_redis`, ... [Example](crate::guide::by_example#watching).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Lost => "lost",
            Self::NotRedis => "not_redis",
            Self::Protocol => "protocol",
            Self::Dns => "dns",
            Self::Config => "config",
            Self::NotReady => "not_ready",
            Self::Busy => "busy",
            Self::MaxClients => "max_clients",
            Self::Drained => "drained",
            Self::Fleet => "fleet",
            Self::Io => "io",
        }
    }

    /// Whether the cause could as well be our own network: nothing came back at all.
    pub(crate) fn is_silence(self) -> bool {
        matches!(self, Self::Timeout | Self::Unreachable)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
