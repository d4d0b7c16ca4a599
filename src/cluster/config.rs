//! A cluster described in a configuration file.

mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};

use self::words::without_values;
use crate::build_error::BuildError;
use crate::cluster::FlusterCluster;
use crate::cluster::builder::ClusterBuilder;
use crate::cluster::options::{Failover, Refusals, SlowNodes};
use crate::health::penalty_box::Penalty;
use crate::node::Node;
use crate::placement::{HashTags, Placement};

/// A cluster as it stands in a configuration: TOML, JSON, or environment variables, by way of serde
/// (feature `serde`).
///
/// Everything but `nodes` may be left out and has the builder's default. Times are whole milliseconds.
/// Unknown fields are refused: a mistyped option must not be silently without effect.
///
/// ```
/// use fluster::{Config, FlusterCluster};
///
/// let config: Config = toml::from_str(r#"
///     placement = "ring"
///     response_timeout_ms = 250
///
///     [[nodes]]
///     name = "cache0"
///     url = "redis://127.0.0.1:6379"
///     weight = 2
///     labels = { zone = "a" }
///
///     [[nodes]]
///     url = "redis://127.0.0.1:6380"
/// "#)?;
/// let cluster = FlusterCluster::try_from(config)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A node may also be just its URL (`nodes = ["redis://a", "redis://b"]`), and `nodes` one string with
/// commas, which is how a list comes out of an environment variable.
///
/// `Debug` never shows a password, and no error of fluster does. The `toml` crate's own error, when it is
/// printed, quotes the line it is about, with the URL in it: log its `message()` instead.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, remote = "Self")]
#[non_exhaustive]
pub struct Config {
    /// The nodes, in an order that some placements depend on.
    #[serde(deserialize_with = "nodes")]
    pub nodes: Vec<NodeConfig>,
    /// The placement rule, for example `ring` or `modulo`.
    pub placement: Option<Placement>,
    /// `redis` or `off`.
    pub hash_tags: Option<HashTags>,
    /// `never`, `if-safe` or `always`.
    pub failover: Option<Failover>,
    /// `return` or `next-candidate`.
    pub refusals: Option<Refusals>,
    /// `report` or `suspect`.
    pub slow_nodes: Option<SlowNodes>,
    /// See [`ClusterBuilder::response_timeout`].
    #[serde(deserialize_with = "number")]
    pub response_timeout_ms: Option<u64>,
    /// See [`ClusterBuilder::connect_timeout`].
    #[serde(deserialize_with = "number")]
    pub connect_timeout_ms: Option<u64>,
    /// See [`ClusterBuilder::deadline`].
    #[serde(deserialize_with = "number")]
    pub deadline_ms: Option<u64>,
    /// See [`ClusterBuilder::wait_for_node`].
    #[serde(deserialize_with = "number")]
    pub wait_for_node_ms: Option<u64>,
    /// See [`ClusterBuilder::pool_size`].
    #[serde(deserialize_with = "number")]
    pub pool_size: Option<u64>,
    /// See [`ClusterBuilder::pool_wait`].
    #[serde(deserialize_with = "number")]
    pub pool_wait_ms: Option<u64>,
    /// See [`ClusterBuilder::idle_timeout`].
    #[serde(deserialize_with = "number")]
    pub idle_timeout_ms: Option<u64>,
    /// See [`ClusterBuilder::max_lifetime`].
    #[serde(deserialize_with = "number")]
    pub max_lifetime_ms: Option<u64>,
    /// See [`ClusterBuilder::max_reply`].
    #[serde(deserialize_with = "number")]
    pub max_reply: Option<u64>,
    /// See [`Penalty::min_wait`].
    #[serde(deserialize_with = "number")]
    pub penalty_min_wait_ms: Option<u64>,
    /// See [`Penalty::max_wait`].
    #[serde(deserialize_with = "number")]
    pub penalty_max_wait_ms: Option<u64>,
    /// See [`Penalty::multiplier`].
    #[serde(deserialize_with = "float")]
    pub penalty_multiplier: Option<f64>,
    /// PEM file of the authorities that `rediss://` nodes are verified against.
    #[cfg(feature = "tls")]
    pub tls_ca_file: Option<std::path::PathBuf>,
    /// PEM file of the client's certificate chain; needs `tls_key_file`.
    #[cfg(feature = "tls")]
    pub tls_cert_file: Option<std::path::PathBuf>,
    /// PEM file of the client's private key; needs `tls_cert_file`.
    #[cfg(feature = "tls")]
    pub tls_key_file: Option<std::path::PathBuf>,
}

/// One node of a [`Config`].
///
/// `Debug` never shows the URL's password.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
#[non_exhaustive]
pub struct NodeConfig {
    /// The URL; see [`Node`] for the forms.
    pub url: String,
    /// The name; `host:port[/db]` when left out.
    #[serde(default)]
    pub name: Option<String>,
    /// The weight; 1 when left out.
    #[serde(default)]
    pub weight: Option<u32>,
    /// Labels for the application's own use.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl fmt::Debug for NodeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeConfig")
            .field("name", &self.name)
            .field("weight", &self.weight)
            .field("labels", &self.labels)
            .finish_non_exhaustive()
    }
}

impl TryFrom<NodeConfig> for Node {
    type Error = BuildError;

    fn try_from(config: NodeConfig) -> Result<Self, BuildError> {
        let mut node = Self::new(&config.url)?;
        if let Some(name) = config.name {
            node = node.name(name);
        }
        if let Some(weight) = config.weight {
            node = node.weight(weight);
        }
        Ok(config
            .labels
            .into_iter()
            .fold(node, |node, (k, v)| node.label(k, v)))
    }
}

impl TryFrom<Config> for ClusterBuilder {
    type Error = BuildError;

    fn try_from(config: Config) -> Result<Self, BuildError> {
        let mut b = FlusterCluster::builder();
        for node in config.nodes {
            b = b.node(Node::try_from(node)?);
        }
        macro_rules! set {
            ($($value:expr => $method:ident $(as $convert:expr)?;)*) => {$(
                if let Some(value) = $value {
                    $(let value = $convert(value);)?
                    b = b.$method(value);
                }
            )*};
        }
        set! {
            config.placement => placement;
            config.hash_tags => hash_tags;
            config.failover => failover;
            config.refusals => refusals;
            config.slow_nodes => slow_nodes;
            config.response_timeout_ms => response_timeout as Duration::from_millis;
            config.connect_timeout_ms => connect_timeout as Duration::from_millis;
            config.deadline_ms => deadline as Duration::from_millis;
            config.wait_for_node_ms => wait_for_node as Duration::from_millis;
            config.pool_size => pool_size as saturating;
            config.pool_wait_ms => pool_wait as Duration::from_millis;
            config.idle_timeout_ms => idle_timeout as Duration::from_millis;
            config.max_lifetime_ms => max_lifetime as Duration::from_millis;
            config.max_reply => max_reply;
        }
        let mut penalty = Penalty::default();
        if let Some(wait) = config.penalty_min_wait_ms {
            penalty = penalty.min_wait(Duration::from_millis(wait));
        }
        if let Some(wait) = config.penalty_max_wait_ms {
            penalty = penalty.max_wait(Duration::from_millis(wait));
        }
        if let Some(multiplier) = config.penalty_multiplier {
            penalty = penalty.multiplier(multiplier);
        }
        b = b.penalty(penalty);
        #[cfg(feature = "tls")]
        {
            let mut tls = crate::connection::tls::Tls::new();
            if let Some(ca) = config.tls_ca_file {
                tls = tls.ca_file(ca);
            }
            tls = match (config.tls_cert_file, config.tls_key_file) {
                (None, None) => tls,
                (Some(cert), Some(key)) => tls.client_cert_files(cert, key),
                (cert, _) => {
                    let (name, other) = match cert {
                        Some(_) => ("tls_cert_file", "tls_key_file"),
                        None => ("tls_key_file", "tls_cert_file"),
                    };
                    return Err(BuildError::Option {
                        name,
                        why: format!("it needs `{other}` beside it"),
                    });
                }
            };
            b = b.tls(tls);
        }
        Ok(b)
    }
}

impl TryFrom<Config> for FlusterCluster {
    type Error = BuildError;

    fn try_from(config: Config) -> Result<Self, BuildError> {
        ClusterBuilder::try_from(config)?.build()
    }
}

/// Too many connections is for `build` to say, in its own words.
fn saturating(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// Nodes as a list, or as one string with commas.
fn nodes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<NodeConfig>, D::Error> {
    struct Nodes;
    impl<'de> Visitor<'de> for Nodes {
        type Value = Vec<NodeConfig>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of nodes, or URLs with commas between them")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(urls(text).map(NodeConfig::from_url).collect())
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut nodes = Vec::new();
            while let Some(Entry(node)) = seq.next_element()? {
                nodes.push(node);
            }
            Ok(nodes)
        }
    }
    deserializer.deserialize_any(Nodes)
}

/// The URLs of a list with commas. A comma that no URL follows is a part of the one before, such as of its
/// password.
fn urls(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    let urls = std::iter::from_fn(move || {
        let text = rest?;
        let begins_url = |after: &str| {
            let scheme = after.trim_start().split("://").next().unwrap_or_default();
            let is_scheme = |c: char| c.is_ascii_alphabetic() || c == '+';
            let is_end = after.trim_matches([',', ' ', '\t', '\r', '\n']).is_empty();
            is_end || (after.contains("://") && !scheme.is_empty() && scheme.chars().all(is_scheme))
        };
        let comma = text
            .match_indices(',')
            .find(|(at, _)| begins_url(&text[at + 1..]));
        let (url, next) = match comma {
            Some((at, _)) => (&text[..at], Some(&text[at + 1..])),
            None => (text, None),
        };
        rest = next;
        Some(url.trim())
    });
    urls.filter(|url| !url.is_empty())
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;
        impl<'de> Visitor<'de> for Whole {
            type Value = Config;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table with the `nodes` of a cluster")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Config, A::Error> {
                Config::deserialize(MapAccessDeserializer::new(map)).map_err(without_values)
            }
        }
        // What it is decides, not what is asked for: a format that is asked for a table and has a text
        // quotes it without asking us.
        deserializer.deserialize_any(Whole).map_err(without_values)
    }
}

impl<'de> Deserialize<'de> for NodeConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Table;
        impl<'de> Visitor<'de> for Table {
            type Value = NodeConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table with a node's `url`")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<NodeConfig, A::Error> {
                NodeConfig::deserialize(MapAccessDeserializer::new(map)).map_err(without_values)
            }
        }
        deserializer.deserialize_any(Table).map_err(without_values)
    }
}

impl NodeConfig {
    fn from_url(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            name: None,
            weight: None,
            labels: BTreeMap::new(),
        }
    }
}

/// A node as a table, or as its URL alone.
struct Entry(NodeConfig);

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneNode;
        impl<'de> Visitor<'de> for OneNode {
            type Value = NodeConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a node's URL, or a table with its `url`")
            }

            fn visit_str<E: de::Error>(self, url: &str) -> Result<NodeConfig, E> {
                Ok(NodeConfig::from_url(url))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<NodeConfig, A::Error> {
                NodeConfig::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_any(OneNode).map(Entry)
    }
}

/// A number, or a text that is one: environment variables know nothing else.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    struct Number;
    impl Visitor<'_> for Number {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a whole number, 0 or more")
        }

        fn visit_u64<E: de::Error>(self, n: u64) -> Result<u64, E> {
            Ok(n)
        }

        fn visit_i64<E: de::Error>(self, n: i64) -> Result<u64, E> {
            u64::try_from(n).map_err(|_| E::invalid_value(de::Unexpected::Signed(n), &self))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
            text.trim()
                .parse()
                .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }
    deserializer.deserialize_any(Number).map(Some)
}

fn float<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    struct Float;
    impl Visitor<'_> for Float {
        type Value = f64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number")
        }

        fn visit_f64<E: de::Error>(self, n: f64) -> Result<f64, E> {
            Ok(n)
        }

        fn visit_u64<E: de::Error>(self, n: u64) -> Result<f64, E> {
            Ok(n as f64)
        }

        fn visit_i64<E: de::Error>(self, n: i64) -> Result<f64, E> {
            Ok(n as f64)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<f64, E> {
            text.trim()
                .parse()
                .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }
    deserializer.deserialize_any(Float).map(Some)
}

#[cfg(test)]
mod tests;
