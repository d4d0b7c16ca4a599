//! What one server holds for one node is worked off, over two connections.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::Arc;
use std::time::Instant;

use redis::{Pipeline, Value};

use super::settle::unlink;
use super::way::{Trouble, Way};
use crate::backend::{Backend, Unheard};
use crate::cluster::engine::{Engine, Snapshot};
use crate::recovery::names::{Names, Set};
use crate::recovery::sweep::{Ask, Said, Sweep};

/// So many keys are taken at once.
const PICKED: usize = 1000;

/// An open set that an index names: its journal, and its node.
pub(super) type Open = (Arc<Names>, Vec<u8>);
/// The sets of each node that an index names.
pub(super) type Index = BTreeMap<Vec<u8>, Vec<Set>>;

/// What came of a sweep.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Swept {
    pub(super) keys: usize,
    /// There was more than was noted.
    pub(super) is_full: bool,
}

impl AddAssign for Swept {
    fn add_assign(&mut self, other: Self) {
        self.keys += other.keys;
        self.is_full |= other.is_full;
    }
}

impl Engine {
    /// What there is in all our journals at a server, and for whom. Open sets of `known` that are empty are left out.
    pub(super) async fn indices_at(
        &self,
        at: &Way,
        known: &[Open],
        deadline: Instant,
    ) -> Result<Vec<(Arc<Names>, Index)>, Trouble> {
        let journals = self.recovery.journals();
        let indices = indices(&journals, known, at, deadline).await?;
        Ok(journals.into_iter().zip(indices).collect())
    }

    /// Works off what lies at `at` for the node behind `to`, of which the journal's index names these sets.
    pub(super) async fn work_off(
        &self,
        snapshot: &Snapshot,
        at: &Way,
        to: &Way,
        (names, sets): (&Arc<Names>, Vec<Set>),
        deadline: Instant,
    ) -> Result<Swept, Trouble> {
        let node = to.backend().id().as_str().as_bytes().to_vec();
        let mut sweep = Sweep::<Vec<u8>>::new(fastrand::u64(..));
        let mut said = Said::Index(sets);
        while let Some(ask) = sweep.next(said) {
            let mut pipeline = Pipeline::new();
            said = match ask {
                Ask::Index => {
                    let index = indices(std::slice::from_ref(names), &[], at, deadline).await?;
                    let of_it = index.into_iter().next();
                    let of_it = of_it.and_then(|mut index| index.remove(&node));
                    Said::Index(of_it.unwrap_or_default())
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
                    Said::Keys(members(at.ask(&pipeline, deadline).await?.pop()))
                }
                Ask::Unlink(keys) => {
                    // Whoever may write our sets may not have any key taken from here.
                    let all = keys.len();
                    let ours = keys.into_iter().filter(|key| names.may_have(key));
                    let ours: Vec<_> = ours.collect();
                    if ours.len() < all {
                        let why = "notes of keys that are none of the cache's";
                        let times = all - ours.len();
                        at.backend().failed_unheard(Unheard::Note, times, why);
                    }
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

/// What there is in each of these journals at a server.
///
/// The name of an open set stays in the index for a day: to close it every second, to find that there is none, would
/// cost more than all the rest. Who knows of it asks how much is in it. **In front**: if it is empty then, whatever
/// somebody had closed before is in the index that is read behind, or was worked off.
async fn indices(
    journals: &[Arc<Names>],
    known: &[Open],
    at: &Way,
    deadline: Instant,
) -> Result<Vec<Index>, Trouble> {
    let mut pipeline = Pipeline::new();
    for (names, node) in known {
        pipeline.cmd("SCARD").arg(names.key(node, Set::Open));
    }
    for names in journals {
        // As many as there are, but not as many as somebody else may have put there.
        let index = names.index();
        pipeline.cmd("SRANDMEMBER").arg(index).arg(100_000);
    }
    let mut values = at.ask(&pipeline, deadline).await?.into_iter();
    let counts: Vec<Value> = values.by_ref().take(known.len()).collect();
    let is_empty = |names: &Arc<Names>, node: &[u8]| {
        let mut all = known.iter().zip(&counts);
        all.any(|((of, name), count)| {
            Arc::ptr_eq(of, names) && name == node && *count == Value::Int(0)
        })
    };
    let indices = journals.iter().zip(values).map(|(names, value)| {
        let mut index = Index::new();
        for entry in members(Some(value)) {
            match Names::read(&entry) {
                Some((node, Set::Open)) if is_empty(names, node) => {}
                Some((node, set)) => index.entry(node.to_vec()).or_default().push(set),
                None => {}
            }
        }
        index
    });
    Ok(indices.collect())
}

fn members(value: Option<Value>) -> Vec<Vec<u8>> {
    let all = match value {
        Some(Value::Array(all) | Value::Set(all)) => all,
        _ => Vec::new(),
    };
    let bytes = all.into_iter().filter_map(|value| match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    });
    bytes.collect()
}
