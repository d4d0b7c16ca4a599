//! Events as JSON.

use serde_json::{Value, json};

use crate::cluster::events::Event;
use crate::cluster::status::json::whole;

/// The event as an object whose `event` says which it is.
pub(super) fn told(event: &Event) -> Value {
    match event {
        Event::NodeDown {
            node,
            reason,
            retry_after,
        } => json!({
            "event": "node_down", "node": node.as_str(), "reason": reason.as_str(), "retry_after_ms": whole(*retry_after),
        }),
        Event::NodeStillDown {
            node,
            reason,
            retry_after,
        } => json!({
            "event": "node_still_down", "node": node.as_str(), "reason": reason.as_str(), "retry_after_ms": whole(*retry_after),
        }),
        Event::NodeUp { node, out_for } => json!({
            "event": "node_up", "node": node.as_str(), "out_for_ms": whole(*out_for),
        }),
        Event::NodeDrained { node } => json!({ "event": "node_drained", "node": node.as_str() }),
        Event::NodeRestored { node } => json!({ "event": "node_restored", "node": node.as_str() }),
        Event::NodeKept { node, kept } => {
            json!({ "event": "node_kept", "node": node.as_str(), "kept": kept })
        }
        Event::NodeSlow { node, slow } => {
            json!({ "event": "node_slow", "node": node.as_str(), "slow": slow })
        }
        Event::TopologyChanged(change) => json!({
            "event": "topology_changed",
            "added": change.added.len(),
            "removed": change.removed.len(),
            "kept": change.kept,
            "moved": change.moved,
        }),
        Event::ClientStall { lasted } => {
            json!({ "event": "client_stall", "lasted_ms": whole(*lasted) })
        }
        Event::AddressChanged { node } => {
            json!({ "event": "address_changed", "node": node.as_str() })
        }
        Event::SameServer { node, other } => json!({
            "event": "same_server", "node": node.as_str(), "other": other.as_str(),
        }),
        Event::RepliesShifted { node } => {
            json!({ "event": "replies_shifted", "node": node.as_str() })
        }
        Event::KeysInvalidated { node, keys } => json!({
            "event": "keys_invalidated", "node": node.as_str(), "keys": keys,
        }),
        Event::ReturnUnknown { node, reason } => json!({
            "event": "return_unknown", "node": node.as_str(), "reason": reason.to_string(),
        }),
        Event::Missed(events) => json!({ "event": "missed", "events": events }),
    }
}
