//! A cluster described in a configuration file.

mod key;
mod node;
mod penalty;
mod value;
mod words;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use self::key::Key;
pub use self::node::NodeConfig;
use self::node::Nodes;
use self::penalty::{Parts, Table};
use self::value::{Setting, Value};
use self::words::without_values;
use crate::build_error::BuildError;
use crate::cluster::FlusterCluster;
use crate::cluster::builder::ClusterBuilder;
use crate::cluster::options::{Failover, Refusals, SlowNodes};
use crate::cluster::settings::settings;
use crate::health::penalty_box::Penalty;
use crate::node::Node;
use crate::placement::{HashTags, Placement};
use crate::recovery::choices::{OnReturn, OnUnknown};

/// What keys there are beside those of the list.
#[cfg(feature = "tls")]
const FILES: [&str; 3] = ["tls_ca_file", "tls_cert_file", "tls_key_file"];

/// A field, and a key, for each entry of the list.
macro_rules! config {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident: $type:ty, $how:ident $(($absent:literal))?, [$($path:tt)+], $when:literal;
    )+) => {
        /// A cluster as it stands in a configuration: TOML, JSON, or environment variables, by way of serde
        /// (feature `serde`).
        ///
        /// [The guide](crate::guide::settings) lists every key. Everything but `nodes` may be left out and has the
        /// builder's default. A time is a text with its unit (`deadline = "2s"`), or whole milliseconds under the
        /// same name with `_ms` (`deadline_ms = 2000`). Unknown keys are refused: a mistyped option must not be
        /// silently without effect.
        ///
        /// ```
        /// use fluster::{Config, FlusterCluster};
        ///
        /// let config: Config = toml::from_str(r#"
        ///     placement = "ring"
        ///     response_timeout = "250ms"
        ///
        ///     [penalty]
        ///     max_wait = "10s"
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
        /// commas, which is how a list comes out of an environment variable; a parameter of the penalty may stand
        /// beside the table, as `penalty_max_wait`.
        ///
        /// `Debug` never shows a password, and no error of fluster does. The `toml` crate's own error, when it is
        /// printed, quotes the line it is about, with the URL in it: log its `message()` instead.
        #[derive(Clone, Debug, Default)]
        #[non_exhaustive]
        pub struct Config {
            /// The nodes, in an order that some placements depend on.
            pub nodes: Vec<NodeConfig>,
            $(
                #[doc = concat!("See [`ClusterBuilder::", stringify!($name), "`].")]
                pub $name: Option<$type>,
            )+
            /// How failing nodes are put out and taken back: in a file, a table of [`Penalty`]'s parameters, and of
            /// `preset`, which may be `fluster-py`; or that name alone.
            pub penalty: Option<Penalty>,
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

        impl Config {
            const KEYS: &'static [&'static str] = &["nodes", $(stringify!($name),)+ "penalty"];

            fn times() -> Vec<&'static str> {
                let all = [$((stringify!($name), <$type as Setting>::IS_TIME),)+];
                all.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect()
            }

            /// Reads the value of the option `name`, which was called `key`.
            fn read<'de, A: MapAccess<'de>>(
                &mut self,
                name: &str,
                key: &str,
                parts: &mut Parts,
                map: &mut A,
            ) -> Result<(), A::Error> {
                match name {
                    "nodes" => self.nodes = map.next_value_seed(Nodes)?,
                    "penalty" => map.next_value_seed(Table(parts))?,
                    #[cfg(feature = "tls")]
                    "tls_ca_file" => self.tls_ca_file = Some(map.next_value()?),
                    #[cfg(feature = "tls")]
                    "tls_cert_file" => self.tls_cert_file = Some(map.next_value()?),
                    #[cfg(feature = "tls")]
                    "tls_key_file" => self.tls_key_file = Some(map.next_value()?),
                    $(stringify!($name) => self.$name = Some(map.next_value_seed(Value::of(key))?),)+
                    _ => {
                        let name = name.trim_start_matches("penalty_");
                        parts.read(name, key, map)?;
                    }
                }
                Ok(())
            }

            /// What is set, set.
            fn set(&self, mut builder: ClusterBuilder) -> ClusterBuilder {
                $(if let Some(value) = self.$name.clone() {
                    builder = builder.$name(value);
                })+
                if let Some(penalty) = self.penalty.clone() {
                    builder = builder.penalty(penalty);
                }
                builder
            }
        }
    };
}
settings!(config);

impl TryFrom<Config> for ClusterBuilder {
    type Error = BuildError;

    fn try_from(config: Config) -> Result<Self, BuildError> {
        let mut b = config.set(FlusterCluster::builder());
        for node in config.nodes {
            b = b.node(Node::try_from(node)?);
        }
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

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // What it is decides, not what is asked for: a format that is asked for a table and has a text
        // quotes it without asking us.
        deserializer.deserialize_any(Whole).map_err(without_values)
    }
}

struct Whole;

impl<'de> Visitor<'de> for Whole {
    type Value = Config;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table with the `nodes` of a cluster")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Config, A::Error> {
        let mut config = Config::default();
        let (mut parts, mut seen) = (Parts::default(), BTreeSet::new());
        let known = known();
        let times = [Config::times(), Parts::flat_times()].concat();
        loop {
            let key = Key {
                known,
                times: &times,
                seen: &mut seen,
            };
            let Some(given) = map.next_key_seed(key).map_err(without_values)? else {
                config.penalty = parts.penalty();
                return Ok(config);
            };
            config
                .read(&given.name, &given.key, &mut parts, &mut map)
                .map_err(without_values)?;
        }
    }
}

/// All keys of the table of a cluster.
fn known() -> &'static [&'static str] {
    static ALL: LazyLock<Vec<&str>> = LazyLock::new(|| {
        #[cfg(feature = "tls")]
        let files = &FILES;
        #[cfg(not(feature = "tls"))]
        let files = &[];
        [Config::KEYS, files, Parts::FLAT].concat()
    });
    &ALL
}

#[cfg(test)]
mod guide;
#[cfg(test)]
mod tests;
