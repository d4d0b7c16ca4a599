//! Forwarding described in a configuration file.

use std::time::Duration;

use serde::Deserialize;

use super::arrival::OnDisagree;
use super::attempt::Unreachable;
use super::builder::ForwarderBuilder;
use super::forwarder::Forwarder;
use super::peers::Peers;

/// The section `[forward]` of a configuration file. Fields that are unknown are refused: a mistyped option must not be
/// silently without effect. What is left out has the builder's default.
///
/// ```
/// use fluster::forward::{FixedPeers, ForwardConfig};
///
/// let config: ForwardConfig = toml::from_str(r#"
///     deadline_ms = 5000
///     replay_limit = 65536
///     in_flight = 1024
///     on_disagree = "refuse"      # or handle_anyway, strict_ring
///     unreachable = "stand_in"    # or fail
/// "#)?;
/// let peers = FixedPeers::new("a", [("a", "http://10.0.0.1:8080")])?;
/// let forward = config.builder(peers).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct ForwardConfig {
    /// See [`ForwarderBuilder::deadline`], in milliseconds.
    pub deadline_ms: Option<u64>,
    /// See [`ForwarderBuilder::connect_timeout`], in milliseconds.
    pub connect_timeout_ms: Option<u64>,
    /// See [`ForwarderBuilder::replay_limit`].
    pub replay_limit: Option<usize>,
    /// See [`ForwarderBuilder::call_limit`].
    pub call_limit: Option<usize>,
    /// See [`ForwarderBuilder::in_flight`].
    pub in_flight: Option<usize>,
    /// See [`ForwarderBuilder::on_disagree`].
    pub on_disagree: Option<OnDisagree>,
    /// See [`ForwarderBuilder::unreachable`].
    pub unreachable: Option<Unreachable>,
}

impl ForwardConfig {
    /// A builder with what is set; what is wrong is said by its [`build`](ForwarderBuilder::build). [Example](crate::guide::by_example#forwarding).
    pub fn builder(self, peers: impl Peers) -> ForwarderBuilder {
        let mut builder = Forwarder::builder(peers);
        if let Some(limit) = self.deadline_ms {
            builder = builder.deadline(Duration::from_millis(limit));
        }
        if let Some(limit) = self.connect_timeout_ms {
            builder = builder.connect_timeout(Duration::from_millis(limit));
        }
        if let Some(bytes) = self.replay_limit {
            builder = builder.replay_limit(bytes);
        }
        if let Some(bytes) = self.call_limit {
            builder = builder.call_limit(bytes);
        }
        if let Some(most) = self.in_flight {
            builder = builder.in_flight(most);
        }
        if let Some(policy) = self.on_disagree {
            builder = builder.on_disagree(policy);
        }
        if let Some(policy) = self.unreachable {
            builder = builder.unreachable(policy);
        }
        builder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_is_refused() {
        for text in [
            "deadline = 5",
            "on_disagree = 'perhaps'",
            "unreachable = 'never'",
        ] {
            let error = toml::from_str::<ForwardConfig>(text).expect_err(text);
            assert!(!error.message().is_empty());
        }
    }
}
