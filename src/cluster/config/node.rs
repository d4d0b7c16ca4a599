//! The nodes of a configuration: tables, or their URLs alone.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};

use super::words::without_values;
use crate::build_error::BuildError;
use crate::node::Node;

/// One node of a [`Config`](super::Config).
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

/// Nodes as a list, or as one string with commas.
pub(super) struct Nodes;

impl<'de> DeserializeSeed<'de> for Nodes {
    type Value = Vec<NodeConfig>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

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

/// The URLs of a list with commas. A comma that no URL follows is a part of the one before, such as of its
/// password.
pub(super) fn urls(text: &str) -> impl Iterator<Item = &str> {
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
