//! What a process keeps of a cache in its own memory, and whether that is current; pure.
//!
//! A server tells a connection when a key that was read over it changes. So a value that was read over a connection is
//! current for as long as nothing was told of it, if what the server told has come: which an answer proves, since it
//! comes behind all that the server told before it.
//!
//! * [`Current`]: what one connection proves, and up to when.
//! * [`Places`]: reads under way, so that one that was overtaken keeps nothing.
//! * [`Store`]: the values, and the judgement of a look-up.
//! * [`Registry`]: all stores of a cluster, for what is told of a key.

mod counts;
mod current;
#[cfg(test)]
mod model;
mod options;
mod places;
mod registry;
mod store;

pub(crate) use self::counts::Count;
pub(crate) use self::current::{Current, Told};
pub use self::options::Near;
pub(crate) use self::places::Begun;
pub(crate) use self::registry::Registry;
pub(crate) use self::store::{Answered, Bytes, Found, Store};
