//! The one document, of whichever source, as people read it.

use serde::Deserialize;
use serde_json::Value;

use crate::fault::{Fault, UNREACHABLE};
use crate::foreign::one_line;
use crate::out::Ink;
use crate::text::shown;
use crate::time;

/// What of the document is shown. It may come from another version: what it lacks is not shown, what is new is left alone.
#[derive(Debug, Deserialize)]
pub struct View {
    #[serde(default)]
    pub placement: String,
    #[serde(default)]
    pub fingerprint: String,
    #[serde(default)]
    pub fluster: String,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub shares: Vec<f64>,
    #[serde(default)]
    pub queues: Vec<QueueView>,
    pub nodes: Vec<NodeView>,
    /// The servers were asked from here, so that each of them should have answered.
    #[serde(skip)]
    pub is_asked: bool,
}

#[derive(Debug, Deserialize)]
pub struct QueueView {
    pub name: String,
    #[serde(default)]
    pub messages: u64,
    #[serde(default)]
    pub in_flight: u64,
    #[serde(default)]
    pub delayed: u64,
    #[serde(default)]
    pub dead: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeView {
    pub name: String,
    pub address: String,
    pub state: String,
    pub admits: bool,
    pub drained: bool,
    pub degraded: bool,
    pub reason: Option<String>,
    pub out_for_ms: Option<u64>,
    pub retry_after_ms: Option<u64>,
    pub p95_ms: Option<f64>,
    pub commands: u64,
    pub in_flight: u64,
    pub dials: u64,
    pub ejections: u64,
    pub version: Option<String>,
    pub latency_ms: Option<f64>,
    pub role: Option<String>,
    pub memory_bytes: Option<u64>,
    pub memory_max_bytes: Option<u64>,
    pub keys: Option<u64>,
    pub uptime_s: Option<u64>,
    pub clients: Option<u64>,
    pub ops_per_s: Option<u64>,
    pub evicted_keys: Option<u64>,
    pub error: Option<String>,
    pub cause: Option<String>,
    /// Where it stands in the document.
    #[serde(skip)]
    pub at: usize,
}

/// How a node is, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    Out,
    Doubtful,
    Drained,
    Well,
}

impl Health {
    pub fn ink(self) -> Ink {
        match self {
            Self::Out => Ink::Bad,
            Self::Doubtful | Self::Drained => Ink::Doubtful,
            Self::Well => Ink::Good,
        }
    }
}

impl View {
    pub fn read(document: &Value) -> Result<Self, Fault> {
        let wrong = |e| {
            Fault::new(
                UNREACHABLE,
                format!("the answer is no status of fluster: {e}"),
            )
        };
        let mut view = Self::deserialize(document).map_err(wrong)?;
        let first = document["nodes"].get(0);
        view.is_asked = first.is_some_and(|node| node.get("latency_ms").is_some());
        for (at, node) in view.nodes.iter_mut().enumerate() {
            node.at = at;
        }
        Ok(view)
    }

    pub fn health(&self, node: &NodeView) -> Health {
        let is_silent = self.is_asked && node.latency_ms.is_none();
        match node.state.as_str() {
            _ if node.drained => Health::Drained,
            _ if !node.admits || is_silent => Health::Out,
            "up" if !node.degraded => Health::Well,
            _ => Health::Doubtful,
        }
    }

    /// In a word or two, and why.
    pub fn state(&self, node: &NodeView) -> String {
        let cause = || node.reason.as_deref().or(node.cause.as_deref()).map(shown);
        let with = |state: &str, cause: Option<String>| match cause {
            Some(cause) => format!("{state} ({cause})"),
            None => state.to_owned(),
        };
        let is_silent = self.is_asked && node.latency_ms.is_none();
        match node.drained {
            true => with(&shown(&node.state), Some("drained".to_owned())),
            false if !node.admits => with(&shown(&node.state), cause()),
            // It may count as up until it has failed often enough: that is nothing to be shown as well.
            false if is_silent => with("no answer", cause()),
            false if node.degraded => with(&shown(&node.state), Some("slow".to_owned())),
            false => shown(&node.state),
        }
    }

    /// What has to be said of a node that is not well.
    pub fn reason(&self, node: &NodeView) -> Option<String> {
        let out = node
            .out_for_ms
            .map(|ms| format!("out for {}", time::shown(ms)));
        let next = node
            .retry_after_ms
            .map(|ms| format!("next probe in {}", time::shown(ms)));
        let times: Vec<String> = [out, next].into_iter().flatten().collect();
        let error = node.error.as_deref().map(|why| shown(one_line(why)));
        match (times.is_empty(), error) {
            (true, None) => None,
            (true, Some(error)) => Some(error),
            (false, None) => Some(times.join(", ")),
            (false, Some(error)) => Some(format!("{}: {error}", times.join(", "))),
        }
    }

    /// The nodes that are not well first; otherwise as they stand.
    pub fn sorted(&self) -> Vec<&NodeView> {
        let mut nodes: Vec<&NodeView> = self.nodes.iter().collect();
        nodes.sort_by_key(|node| self.health(node));
        nodes
    }

    /// Whether each node does what it should.
    pub fn is_well(&self) -> bool {
        self.nodes.iter().all(|node| match self.is_asked {
            true => node.latency_ms.is_some(),
            false => node.admits || node.drained,
        })
    }

    /// What there is to say of all of them.
    pub fn summary(&self) -> String {
        let (done, what) = match self.is_asked {
            true => (
                self.nodes.iter().filter(|n| n.latency_ms.is_some()).count(),
                "answer",
            ),
            false => (self.nodes.iter().filter(|n| n.admits).count(), "in service"),
        };
        let name = self
            .name
            .as_deref()
            .map_or_else(String::new, |name| format!("{}: ", shown(name)));
        format!(
            "{name}{done} of {} nodes {what}; {}, fingerprint {}",
            self.nodes.len(),
            shown(&self.placement),
            shown(&self.fingerprint)
        )
    }
}

/// Bytes in the unit that leaves one to four digits.
pub fn size(bytes: u64) -> String {
    let mut left = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if left < 1024.0 {
            return match unit {
                "B" => format!("{bytes} B"),
                _ => format!("{left:.1} {unit}"),
            };
        }
        left /= 1024.0;
    }
    format!("{left:.1} TiB")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sizes_have_units() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (5 << 30, "5.0 GiB"),
            (3 << 40, "3.0 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn a_node_that_gave_no_answer_is_never_well_whatever_it_counts_as() {
        let node = |latency: Option<f64>, state: &str, admits: bool| json!({ "name": "a", "state": state, "admits": admits, "latency_ms": latency, "cause": "dns" });
        for (one, health, state) in [
            (node(Some(0.1), "up", true), Health::Well, "up"),
            (node(None, "up", true), Health::Out, "no answer (dns)"),
            (node(None, "down", false), Health::Out, "down (dns)"),
            (
                node(Some(0.1), "probation", true),
                Health::Doubtful,
                "probation",
            ),
        ] {
            let view = View::read(&json!({ "nodes": [one] })).expect("a view");
            assert_eq!(view.health(&view.nodes[0]), health);
            assert_eq!(view.state(&view.nodes[0]), state);
            assert_eq!(view.health(&view.nodes[0]) == Health::Well, state == "up");
        }
        // An application does not ask: there is no latency to be missed.
        let node = json!({ "name": "a", "state": "up", "admits": true });
        let view = View::read(&json!({ "nodes": [node], "unknown": 1 })).expect("a view");
        assert_eq!(view.health(&view.nodes[0]), Health::Well);
    }

    #[test]
    fn what_is_no_status_is_refused() {
        for document in [
            json!(null),
            json!([]),
            json!({}),
            json!({ "nodes": 1 }),
            json!({ "nodes": [1] }),
        ] {
            assert!(View::read(&document).is_err(), "{document}");
        }
    }
}
