//! What a node missed while it was out, and what is taken from it before it serves again: the decisions.
//!
//! While a node X is out, each write of a key that X should have had is followed, on every node that gets the write and
//! in the same breath, by an entry in a set there: the key is owed to X. When X answers its probes again, whoever finds
//! it prepared works the sets off before it serves: the key is taken from X, and then, with its entry, from the stand-in.
//! A miss, never an old value. Afterwards everybody looks once a second at what lies with the nodes that serve.
//!
//! Here are the names of the sets ([`names`]), who is owed ([`owed`]), in which order a set is worked off ([`sweep`]), and
//! what cannot be known ([`unknown`]). `backend/journal.rs` writes the entries, `cluster/recovery.rs` prepares and looks.
//!
//! A model of servers and processes (`recovery/model.rs`) runs these decisions in virtual steps, through every order of
//! commands, deaths and lost replies that its seeds come upon, and each rule dropped alone breaks it.

pub(crate) mod choices;
pub(crate) mod names;
pub(crate) mod owed;
pub(crate) mod sweep;
pub(crate) mod turns;
pub(crate) mod unknown;

#[cfg(test)]
mod model;
