//! Serde: the rule and the nodes in the order of adding, which decides ties between scores.

use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Placement, Rendezvous, RingNode};

/// The rule is a RULE string, in which proxenos's secret is readable.
impl<T: Serialize> Serialize for Rendezvous<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = serializer.serialize_struct("Rendezvous", 2)?;
        all.serialize_field("rule", &self.placement)?;
        all.serialize_field("nodes", &self.nodes)?;
        all.end()
    }
}

#[derive(Deserialize)]
#[serde(rename = "Rendezvous")]
struct Parts<T> {
    rule: Placement,
    nodes: Vec<RingNode<T>>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Rendezvous<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parts = Parts::deserialize(deserializer)?;
        if !parts.rule.is_rendezvous() {
            return Err(de::Error::custom(format_args!(
                "rule `{}` is no rendezvous hashing",
                parts.rule.shown()
            )));
        }
        let mut all = Self::of(parts.rule);
        let nodes = parts.nodes.len();
        if all.add_all(parts.nodes).map_err(de::Error::custom)? < nodes {
            return Err(de::Error::custom("two nodes have one name"));
        }
        Ok(all)
    }
}
