//! What one server holds for one node is worked off, over two connections.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use redis::{Pipeline, Value};

use super::settle::unlink;
use super::way::{Trouble, Way};
use crate::backend::Backend;
use crate::cluster::engine::{Engine, Snapshot};
use crate::recovery::names::{Names, Set};
use crate::recovery::sweep::{Ask, Said, Sweep};

/// So many keys are taken at once.
const PICKED: usize = 1000;

/// The sets of each node that an index names.
pub(super) type Index = BTreeMap<Vec<u8>, Vec<Set>>;

/// What came of a sweep.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Swept {
    pub(super) keys: usize,
    /// There was more than was noted.
    pub(super) is_full: bool,
}

impl Engine {
    /// What there is at a server, and for whom.
    pub(super) async fn index_at(&self, at: &Way, deadline: Instant) -> Result<Index, Trouble> {
        let mut pipeline = Pipeline::new();
        // As many as there are, but not as many as somebody else may have put there.
        let index = self.recovery.journal.names.index();
        pipeline.cmd("SRANDMEMBER").arg(index).arg(100_000);
        let values = at.ask(&pipeline, deadline).await?;
        let mut index = Index::new();
        for entry in members(values) {
            if let Some((node, set)) = Names::read(&entry) {
                index.entry(node.to_vec()).or_default().push(set);
            }
        }
        Ok(index)
    }

    /// Works off what lies at `at` for the node behind `to`, of which the index names these sets.
    pub(super) async fn work_off(
        &self,
        snapshot: &Snapshot,
        at: &Way,
        to: &Way,
        sets: Vec<Set>,
        deadline: Instant,
    ) -> Result<Swept, Trouble> {
        let node = to.backend().id().as_str().as_bytes().to_vec();
        let names = &self.recovery.journal.names;
        let mut sweep = Sweep::<Vec<u8>>::new(fastrand::u64(..));
        let mut said = Said::Index(sets);
        while let Some(ask) = sweep.next(said) {
            let mut pipeline = Pipeline::new();
            said = match ask {
                Ask::Index => {
                    let mut index = self.index_at(at, deadline).await?;
                    Said::Index(index.remove(&node).unwrap_or_default())
                }
                Ask::Close(id) => {
                    let (open, closed) = (Set::Open, Set::Closed(id));
                    pipeline.atomic();
                    let keys = (names.key(&node, open), names.key(&node, closed));
                    pipeline.cmd("RENAMENX").arg(keys.0).arg(keys.1);
                    let entry = Names::entry(&node, closed);
                    pipeline.cmd("SADD").arg(names.index()).arg(entry);
                    at.ask(&pipeline, deadline).await?;
                    Said::Done
                }
                Ask::Pick(id) => {
                    let set = names.key(&node, Set::Closed(id));
                    pipeline.cmd("SRANDMEMBER").arg(set).arg(PICKED);
                    Said::Keys(members(at.ask(&pipeline, deadline).await?))
                }
                Ask::Unlink(keys) => {
                    // Whoever may write our sets may not have any key taken from here.
                    let ours = keys
                        .into_iter()
                        .filter(|key| self.recovery.copies(key).is_some());
                    let ours: Vec<_> = ours.collect();
                    if !ours.is_empty() {
                        pipeline.add_command(unlink(&ours));
                        to.ask(&pipeline, deadline).await?;
                    }
                    Said::Done
                }
                Ask::Settle(id, keys) => {
                    let copies: Vec<_> = keys
                        .iter()
                        .filter(|key| self.is_copy(snapshot, key, at.backend()))
                        .cloned()
                        .collect();
                    if !copies.is_empty() {
                        pipeline.add_command(unlink(&copies));
                    }
                    let set = names.key(&node, Set::Closed(id));
                    pipeline.cmd("SREM").arg(set);
                    for key in &keys {
                        pipeline.arg(key);
                    }
                    at.ask(&pipeline, deadline).await?;
                    Said::Done
                }
                Ask::Forget(set) => {
                    let entry = Names::entry(&node, set);
                    pipeline.cmd("SREM").arg(names.index()).arg(entry);
                    at.ask(&pipeline, deadline).await?;
                    Said::Done
                }
            };
        }
        Ok(Swept {
            keys: sweep.found(),
            is_full: sweep.is_full(),
        })
    }

    /// Whether what a server has of the key is a copy that it was given in place of others.
    fn is_copy(&self, snapshot: &Snapshot, key: &[u8], server: &Arc<Backend>) -> bool {
        let Some(copies) = self.recovery.copies(key) else {
            return false;
        };
        let mut holders = snapshot.table.candidates(key).take(copies);
        !holders.any(|at| snapshot.nodes[at].key() == server.key())
    }
}

fn members(values: Vec<Value>) -> Vec<Vec<u8>> {
    let all = values.into_iter().next();
    let all = match all {
        Some(Value::Array(all) | Value::Set(all)) => all,
        _ => Vec::new(),
    };
    let bytes = all.into_iter().filter_map(|value| match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    });
    bytes.collect()
}
