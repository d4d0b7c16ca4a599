//! For whom a node is given what it is given.

/// What a node is to the keys of a request: its writes are for good, or until somebody else is back.
///
/// What follows from it is done in one place, [`Backend::execute`](super::Backend::execute).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role<'a> {
    /// Their owner, or one of their regular replicas.
    Owner,
    /// It stands in for a node that should have all of them.
    StandIn,
    /// It stands in for these alone; it is asked for others too.
    StandInFor(Vec<&'a [u8]>),
}

impl Role<'_> {
    /// Of a node that stands in for all keys of the request, or for none.
    pub(crate) fn standing_in(stands_in: bool) -> Self {
        match stands_in {
            true => Self::StandIn,
            false => Self::Owner,
        }
    }
}
