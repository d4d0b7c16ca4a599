//! Members as a source of endpoints: Redis nodes that instances announce by a label.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use super::view::{Member, MemberView};
use crate::discovery::{
    Discovery, DiscoveryError, DiscoveryErrorKind, Endpoint, NextSnapshot, Snapshot,
};

type Map = dyn Fn(&Member) -> Option<Endpoint> + Send + Sync;

/// The endpoints of all reachable members; made by [`endpoints`](super::Gossip::endpoints).
pub struct MemberEndpoints {
    changes: watch::Receiver<Arc<MemberView>>,
    map: Box<Map>,
    told: Option<Snapshot>,
}

impl MemberEndpoints {
    pub(crate) fn new(
        changes: watch::Receiver<Arc<MemberView>>,
        map: impl Fn(&Member) -> Option<Endpoint> + Send + Sync + 'static,
    ) -> Self {
        Self {
            changes,
            map: Box::new(map),
            told: None,
        }
    }
}

impl Discovery for MemberEndpoints {
    fn source(&self) -> String {
        "gossip".into()
    }

    fn next(&mut self) -> NextSnapshot<'_> {
        Box::pin(async {
            loop {
                let view = Arc::clone(&self.changes.borrow_and_update());
                let reachable = view.members().iter().filter(|member| member.is_reachable());
                let snapshot: Snapshot =
                    reachable.filter_map(|member| (self.map)(member)).collect();
                if self.told.as_ref() != Some(&snapshot) {
                    self.told = Some(snapshot.clone());
                    return Ok(snapshot);
                }
                if self.changes.changed().await.is_err() {
                    return Err(DiscoveryError::new(
                        DiscoveryErrorKind::Unavailable,
                        "gossip",
                        "the last handle of the instance is gone",
                    ));
                }
            }
        })
    }

    fn refresh(&mut self) {
        self.told = None;
    }
}

impl fmt::Debug for MemberEndpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemberEndpoints").finish_non_exhaustive()
    }
}
