//! Serde: a ring travels as its nodes in the order of adding, which decides ties between points.

use std::num::NonZeroU32;

use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{HashRing, RingNode};

impl<T: Serialize> Serialize for HashRing<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut ring = serializer.serialize_struct("HashRing", 2)?;
        ring.serialize_field("virtual_nodes", &self.points_per_weight)?;
        ring.serialize_field("nodes", &self.nodes)?;
        ring.end()
    }
}

#[derive(Deserialize)]
#[serde(rename = "HashRing")]
struct Parts<T> {
    virtual_nodes: NonZeroU32,
    nodes: Vec<RingNode<T>>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for HashRing<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parts = Parts::deserialize(deserializer)?;
        let mut ring = Self::with_virtual_nodes(parts.virtual_nodes);
        let nodes = parts.nodes.len();
        ring.add_all(parts.nodes).map_err(|node| {
            de::Error::custom(format_args!("node \"{}\" has too many points", node.name))
        })?;
        if ring.len() < nodes {
            return Err(de::Error::custom("two nodes have one name"));
        }
        Ok(ring)
    }
}
