//! An instance described in a configuration file.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::Gossip;
use super::builder::GossipBuilder;
use super::error::{GossipError, GossipErrorKind};
use crate::discovery::{Endpoint, File, Static, host_and_port};
use crate::placement::Placement;
use crate::sealed::Keyring;

/// An instance as it stands in a configuration, such as the table `[gossip]` of a TOML file (feature `serde`).
///
/// Everything but `cluster`, and a key or the word that there is none, may be left out and has the builder's default.
/// Unknown keys are refused: a mistyped option must not be silently without effect.
///
/// ```
/// use fluster::gossip::GossipConfig;
///
/// let config: GossipConfig = toml::from_str(r#"
///     cluster = "limiter"
///     bind = "127.0.0.1:0"
///     ring_id = "limiter-0"
///     http = "http://127.0.0.1:8080"
///     seeds = ["127.0.0.1:7946", "limiter.internal:7946"]
///     insecure_plaintext = true
///     profile = "lan"
///     labels = { zone = "a" }
///     drain_ms = 1000
/// "#)?;
/// let builder = config.builder();
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct GossipConfig {
    /// The name of the cluster.
    pub cluster: String,
    /// See [`GossipBuilder::bind`].
    pub bind: Option<SocketAddr>,
    /// See [`GossipBuilder::advertise`].
    pub advertise: Option<SocketAddr>,
    /// See [`GossipBuilder::ring_id`].
    pub ring_id: Option<String>,
    /// See [`GossipBuilder::http`].
    pub http: Option<String>,
    /// See [`GossipBuilder::weight`].
    pub weight: Option<NonZeroU16>,
    /// See [`GossipBuilder::label`].
    pub labels: BTreeMap<String, String>,
    /// Others, as `host:port`; names are looked up again and again.
    pub seeds: Vec<String>,
    /// A file with one other in a line, which is read again when it changes.
    pub seeds_file: Option<PathBuf>,
    /// A name of SRV records.
    #[cfg(feature = "discovery-srv")]
    pub seeds_srv: Option<String>,
    /// See [`Keyring::from_file`].
    pub key_file: Option<PathBuf>,
    /// See [`GossipBuilder::insecure_plaintext`].
    pub insecure_plaintext: bool,
    /// See [`GossipBuilder::insecure_plaintext_on_network`].
    pub insecure_plaintext_on_network: bool,
    /// The rule of the ring, as a text that [`Placement`] reads.
    pub placement: Option<String>,
    /// `lan`, `fast` or `wan`.
    pub profile: Option<String>,
    /// See [`GossipBuilder::drain`], in milliseconds.
    pub drain_ms: Option<u64>,
    /// See [`GossipBuilder::linger`], in milliseconds.
    pub linger_ms: Option<u64>,
}

impl GossipConfig {
    /// A builder with what is set; what is wrong is said by its [`start`](GossipBuilder::start). [Example](crate::guide::by_example#an-instance).
    pub fn builder(self) -> GossipBuilder {
        let mut builder = Gossip::builder(self.cluster.clone());
        let option = |name: &str, why: &dyn std::fmt::Display| {
            GossipError::new(GossipErrorKind::Option, format!("`{name}`: {why}"))
        };
        if let Some(bind) = self.bind {
            builder = builder.bind(bind);
        }
        if let Some(advertise) = self.advertise {
            builder = builder.advertise(advertise);
        }
        if let Some(ring_id) = &self.ring_id {
            builder = builder.ring_id(ring_id.clone());
        }
        if let Some(http) = &self.http {
            builder = builder.http(http.clone());
        }
        if let Some(weight) = self.weight {
            builder = builder.weight(weight);
        }
        for (key, value) in &self.labels {
            builder = builder.label(key.clone(), value.clone());
        }
        if let Some(file) = &self.key_file {
            builder = match Keyring::from_file(file) {
                Ok(keyring) => builder.keyring(keyring),
                Err(e) => builder.wrong(GossipError::new(GossipErrorKind::Key, e)),
            };
        }
        if self.insecure_plaintext_on_network {
            builder = builder.insecure_plaintext_on_network();
        } else if self.insecure_plaintext {
            builder = builder.insecure_plaintext();
        }
        if let Some(placement) = &self.placement {
            builder = match placement.parse::<Placement>() {
                Ok(placement) => builder.placement(placement),
                Err(e) => builder.wrong(option("placement", &e)),
            };
        }
        if let Some(profile) = &self.profile {
            builder = match profile.parse() {
                Ok(profile) => builder.profile(profile),
                Err(e) => builder.wrong(option("profile", &e)),
            };
        }
        if let Some(drain) = self.drain_ms {
            builder = builder.drain(Duration::from_millis(drain));
        }
        if let Some(linger) = self.linger_ms {
            builder = builder.linger(Duration::from_millis(linger));
        }
        self.with_seeds(builder)
    }

    fn with_seeds(&self, builder: GossipBuilder) -> GossipBuilder {
        let sources = usize::from(!self.seeds.is_empty()) + usize::from(self.seeds_file.is_some());
        #[cfg(feature = "discovery-srv")]
        let sources = sources + usize::from(self.seeds_srv.is_some());
        let refuse = |name: &str, why: String| {
            GossipError::new(GossipErrorKind::Option, format!("`{name}`: {why}"))
        };
        if sources > 1 {
            let why = "there is one source of others: leave out all of `seeds`, `seeds_file` and `seeds_srv` but one";
            return builder.wrong(refuse("seeds", why.into()));
        }
        if let Some(file) = &self.seeds_file {
            return builder.seeds(File::new(file));
        }
        #[cfg(feature = "discovery-srv")]
        if let Some(name) = &self.seeds_srv {
            return match crate::discovery::Srv::new(name) {
                Ok(source) => builder.seeds(source),
                Err(e) => builder.wrong(refuse("seeds_srv", e.to_string())),
            };
        }
        let mut endpoints = Vec::new();
        for seed in &self.seeds {
            match host_and_port(seed) {
                Some((host, port)) => endpoints.push(Endpoint::new(host, port)),
                None => {
                    let why = format!("{} is not host:port", crate::error::text::quoted(seed));
                    return builder.wrong(refuse("seeds", why));
                }
            }
        }
        match endpoints.is_empty() {
            true => builder,
            false => builder.seeds(Static::new(endpoints)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_is_refused() {
        let error = toml::from_str::<GossipConfig>("cluster = 'a'\nbnid = '127.0.0.1:0'")
            .expect_err("a typo");
        assert!(error.message().contains("bnid"), "{error}");
    }
}
