//! Which nodes the processes of one application agree on: the rule, without a network, a clock or chance.
//!
//! Each process judges nodes by itself. Where several share what they found, the same evidence has to lead to the same
//! decision everywhere, so that a key lives in one place: [`jurors`] says whose evidence about a node counts, [`votes`]
//! what follows from it, and the [`Council`] what a process does about it, and for how long. A node is out for the fleet
//! when more than half of its living jurors say so, two at least; and nothing is decided where more than half of the
//! jurors cannot be heard, or more than half of the nodes would be out.

mod council;
mod drains;
mod evidence;
mod jurors;
mod votes;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod sim;

pub(crate) use self::council::{Council, Local, Order, Rules, Seen, Voice};
pub(crate) use self::drains::{Drains, Full, Stamp, Word, node_key};
pub(crate) use self::evidence::{Evidence, ITEM, ITEMS, NodeHash, Pace, Said, node_hash};
pub(crate) use self::votes::Ruling;
