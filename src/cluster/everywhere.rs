//! The nodes of a command about the whole cluster.

use std::sync::Arc;

use crate::backend::Backend;
use crate::backend::lane::NoLane;
use crate::cluster::engine::Engine;
use crate::error::Error;

impl Engine {
    /// Every configured node, or, when `partial`, those that are live.
    ///
    /// # Errors
    ///
    /// While a node is out, and not `partial`: nothing was sent yet, so nothing is done by halves.
    pub(crate) fn everyone(self: &Arc<Self>, partial: bool) -> Result<Vec<Arc<Backend>>, Error> {
        let snapshot = self.snapshot.load();
        let callable = snapshot.callable().count();
        if callable == 0 {
            return Err(self.empty().into());
        }
        if !partial && callable < snapshot.nodes.len() {
            let nodes = Arc::clone(&snapshot.nodes);
            return Err(self.missing(&nodes));
        }
        Ok(snapshot
            .callable()
            .map(|i| Arc::clone(&snapshot.nodes[i]))
            .collect())
    }

    /// Names the nodes that are out.
    fn missing(self: &Arc<Self>, nodes: &[Arc<Backend>]) -> Error {
        let out: Vec<_> = nodes.iter().filter(|b| !b.gate().read().admits()).collect();
        let names: Vec<_> = out.iter().map(|b| b.id().to_string()).collect();
        let error = match out.first() {
            Some(backend) => backend.no_lane(NoLane::NodeOut),
            None => self.empty().into(),
        };
        error.wrap(&format!(
            "the command is for every node, and {} is out; `allow_partial()` makes do with the others",
            names.join(", ")
        ))
    }
}
