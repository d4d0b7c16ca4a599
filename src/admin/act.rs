//! What the operator may do from the page.

use serde_json::{Value, json};

use super::inner::Inner;
use super::refusal::Refusal;
use super::route::Action;
use crate::error::text::one_line;

/// Does it, and says it in the log: who asks has shown the token.
pub(super) fn act(inner: &Inner, action: Action, node: &str) -> Result<Value, Refusal> {
    let engine = inner.engine();
    if inner.is_closed() {
        return Err(Refusal::Closed);
    }
    let done = match action {
        Action::Drain => engine.drain(node, true),
        Action::Restore => engine.drain(node, false),
        Action::Probe => engine.probe(node),
    };
    done.map_err(|_| Refusal::NoNode)?;
    tracing::info!(
        node = one_line(node),
        action = action.as_str(),
        "asked for on the admin page"
    );
    Ok(json!({ "done": action.as_str(), "node": node }))
}
