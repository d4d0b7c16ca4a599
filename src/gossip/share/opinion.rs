//! What is thought of a node, for those who ask.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::fleet::Ruling;
use crate::health::NodeState;
use crate::node::NodeId;

/// What the fleet decides about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Decision {
    /// It serves its keys.
    Up,
    /// Nothing: too few instances can be heard, or too many nodes would be out.
    Undecided,
    /// It serves no keys.
    Out,
}

impl Decision {
    pub(super) fn of(ruling: Ruling) -> Self {
        match ruling {
            Ruling::Up => Self::Up,
            Ruling::Out => Self::Out,
            Ruling::Alone | Ruling::NoQuorum | Ruling::Panic => Self::Undecided,
        }
    }

    /// The decision in one word: `up`, `undecided`, `out`. [Example](crate::guide::by_example#a-fleet).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Undecided => "undecided",
            Self::Out => "out",
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What comes of it at this instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Effect {
    /// It serves its keys.
    Serves,
    /// Its keys stay with it, and fail, as this instance cannot reach it.
    Kept,
    /// It serves nothing, as the fleet has decided.
    Held,
    /// It serves nothing, as this instance finds it out.
    Out,
    /// It serves nothing, as an operator has said.
    Drained,
}

impl Effect {
    /// The effect in one word: `serves`, `kept`, `held`, `out`, `drained`. [Example](crate::guide::by_example#a-fleet).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serves => "serves",
            Self::Kept => "kept",
            Self::Held => "held",
            Self::Out => "out",
            Self::Drained => "drained",
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is thought of one node.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NodeOpinion {
    /// The node.
    pub node: NodeId,
    /// How it is by this instance's own health.
    pub local: NodeState,
    /// What the fleet decides.
    pub decision: Decision,
    /// How many instances' evidence about it counts.
    pub jurors: usize,
    /// How many of these can be heard.
    pub live: usize,
    /// How many of these say that it is down.
    pub down: usize,
    /// All instances that say so, by ring id, and why; jurors or not.
    pub down_by: Vec<(String, String)>,
    /// Whose word has it drained at all instances, by ring id, where it is; empty for one that is not known any more.
    pub drained_by: Option<String>,
    /// What comes of it here.
    pub effective: Effect,
}

/// A [`NodeOpinion`] in the answer to an [`Operator`](super::super::Operator).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NodeReport {
    /// The scope of the node's cluster.
    pub scope: String,
    /// The node.
    pub node: String,
    /// `up`, `probation`, `half_open` or `down`.
    pub local: String,
    /// `up`, `undecided` or `out`.
    pub decision: String,
    /// How many instances' evidence about it counts.
    pub jurors: u32,
    /// How many of these can be heard.
    pub live: u32,
    /// How many of these say that it is down.
    pub down: u32,
    /// Instances that say so, and why; 16 at most.
    pub down_by: Vec<(String, String)>,
    /// Whose word has it drained at all instances.
    pub drained_by: Option<String>,
    /// `serves`, `kept`, `held`, `out` or `drained`.
    pub effective: String,
}

/// Of these a report has so many, with names of so many bytes at most: it must fit a datagram.
const MOST_NAMED: usize = 16;
const LONGEST_NODE: usize = 255;

impl NodeReport {
    pub(crate) fn new(scope: &str, opinion: &NodeOpinion) -> Self {
        let mut node = opinion.node.to_string();
        if node.len() > LONGEST_NODE {
            node.truncate(boundary(&node, LONGEST_NODE));
        }
        let mut room = 500_usize;
        let named = opinion.down_by.iter().take(MOST_NAMED);
        let down_by = named.take_while(|(who, why)| {
            let takes = who.len() + why.len() + 4;
            let fits = takes <= room;
            room = room.saturating_sub(takes);
            fits
        });
        Self {
            scope: scope.to_owned(),
            node,
            local: opinion.local.as_str().to_owned(),
            decision: opinion.decision.as_str().to_owned(),
            jurors: opinion.jurors as u32,
            live: opinion.live as u32,
            down: opinion.down as u32,
            down_by: down_by.cloned().collect(),
            drained_by: opinion.drained_by.clone(),
            effective: opinion.effective.as_str().to_owned(),
        }
    }
}

/// Where a text may be cut.
fn boundary(text: &str, most: usize) -> usize {
    let is_boundary = |at: &usize| text.is_char_boundary(*at);
    (0..=most).rev().find(is_boundary).unwrap_or(0)
}

/// The opinions as of the last look; cheap to clone, and told apart by where they live.
#[derive(Clone, Default)]
pub(crate) struct Opinions(Arc<Mutex<Arc<[NodeOpinion]>>>);

impl Opinions {
    pub(crate) fn load(&self) -> Arc<[NodeOpinion]> {
        Arc::clone(&self.0.lock())
    }

    pub(super) fn store(&self, opinions: Vec<NodeOpinion>) {
        *self.0.lock() = opinions.into();
    }

    pub(crate) fn are(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
